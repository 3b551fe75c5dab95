"""From the internet to a FidoNet system and back: SMTP, the whole gateway, packets, CrashMail II, and a reply."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from email import message_from_bytes
from email.message import Message
from email.policy import default

import pytest

from connectors.filedrop.formats.ftn.packets import PackedMessage
from connectors.filedrop.formats.ftn.stored import StoredMessage, read_stored, write_stored
from connectors.filedrop.formats.ftn.text import MessageText, read_text
from tests.peers.crashmail import Crashmail
from tests.peers.gateway import Gateway
from tests.peers.process import wait_until
from tests.peers.raw import RawClient, stuffed
from tests.peers.sink import EXTENSIONS, Sink

PEOPLE = """\
name,home,smtp,ftn
Bob Ray,fido,bob@ours.example,Bob Ray@2:280/464
"""

MORE = """
[mapping]
domains = ["ours.example"]
import = ["people.csv"]

[connector.fido]
type = "filedrop"
format = "ftn"
network = "ftn"
inbox = "fido/in"
outbox = "{out}"
errors = "fido/bad"
status = "{out}"
create_folders = true
ready = "rename"
poll_s = 0.2

[connector.fido.ftn]
aka = "2:280/999"
uplink = "2:280/464"
passwords = {{ "2:280/464" = "SECRET" }}
layout = "{layout}"
{paths}

[[route]]
match = "ftn:*"
to = "fido"
"""

WITHIN_S = 40

MAIL = """\
From: Ann Lee <ann@acme.example>
To: Bob Ray <bob@ours.example>
Subject: Hello
Message-ID: <1@acme.example>
Date: Tue, 24 Nov 2026 01:02:03 +0100
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

K=C3=B6rper =E2=80=93 gru=C3=9F
--b
Content-Type: text/html; charset=utf-8

<p>K&ouml;rper</p>
--b--
"""


class Both:
    """The gateway, the internet behind it, and the FidoNet system with a mailer's work done by hand."""

    def __init__(self, gateway: Gateway, internet: Sink, peer: Crashmail, sent: str, own: Crashmail | None) -> None:
        """`own` is the gateway's own tosser, where there is one."""
        self.gateway, self.internet, self.peer = gateway, internet, peer
        self._sent = sent
        self._own = own
        self.inbox = gateway.folder / "fido" / "in"
        self.outbox = gateway.folder / "fido" / "out" if own is None else own.outbound
        self.errors = gateway.folder / "fido" / "bad"

    def send(self, octets: str, to: str = "bob@ours.example", notify: str = "") -> None:
        with RawClient(self.gateway.port) as client:
            assert client.say(b"EHLO peer.example").code == 250
            assert client.say(b"MAIL FROM:<ann@acme.example>").code == 250
            assert client.say(f"RCPT TO:<{to}>{notify}".encode()).code == 250
            assert client.say(b"DATA").code == 354
            client.send(stuffed(octets.replace("\n", "\r\n").encode()))
            assert client.reply().code == 250

    def bring(self) -> None:
        """Bring what waits to the peer, once."""
        if self._own is not None:
            self._own.scan()
        for number, path in enumerate(sorted(p for p in self.outbox.glob(self._sent) if not p.name.startswith("."))):
            path.rename(self.peer.inbound / f"{len(self.peer.stored()):04x}{number:04x}.pkt")
        self.peer.toss()

    def tossed(self, count: int) -> tuple[StoredMessage, MessageText]:
        """Bring what waits to the peer until it has this many netmails; return the newest."""

        def look() -> bool:
            self.bring()
            return len(self.peer.stored()) >= count

        wait_until(look, WITHIN_S, f"the peer has {count} netmails", pause_s=0.2)
        found = read_stored(self.peer.stored()[-1])
        assert found is not None
        return found, read_text(found.message.text, "cp437")

    def answer(
        self, number: int, text: bytes, kludges: bytes = b"", attributes: int = 0x0101, to: bytes = b"UUCP"
    ) -> None:
        """Have Bob write a netmail to the gateway, and bring it there as a mailer does."""
        body = b"\x01INTL 2:280/999 2:280/464\r" + kludges + text
        date = b"24 Nov 26  03:02:03"
        message = PackedMessage((280, 464), (280, 999), attributes, 0, date, b"UUCP", b"Bob Ray", b"Re: Hello", body)
        (self.peer.netmail / f"{number}.msg").write_bytes(write_stored(StoredMessage(message, (2, 2))))
        self.peer.scan()
        (self.peer.outbound / "011803e7.out").rename(self.inbox / f"{number:08x}.pkt")

    def arrived(self, count: int) -> Message:
        wait_until(lambda: len(self.internet.taken()) >= count, WITHIN_S, f"the internet has {count} messages")
        octets = self.internet.taken()[-1].octets
        assert octets is not None
        return message_from_bytes(octets, policy=default)


@pytest.fixture(scope="module", params=["packets", "bso", "messages"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("fidonet")
    peer = Crashmail(folder / "peer", aka="2:280/464", link="2:280/999", password="SECRET")
    with ExitStack() as stack:
        # Without DSN the next hop tells no success, so that the gateway does.
        extensions = tuple(each for each in EXTENSIONS if each != "DSN")
        internet = stack.enter_context(Sink(folder, keep=True, extensions=extensions))
        home = folder / "gateway"
        home.mkdir()
        (home / "people.csv").write_text(PEOPLE)
        own = None
        if request.param == "messages":
            own = Crashmail(folder / "own", aka="2:280/999", link="2:280/464", password="SECRET", more="ALLOWKILLSENT")
        out = "fido/out" if own is None else str(own.netmail)
        paths = "" if own is None else f'outbound_path = "{out}"'
        gateway = Gateway(home, internet.port, more=MORE.format(layout=request.param, out=out, paths=paths))
        stack.enter_context(gateway)
        yield Both(gateway, internet, peer, "*.pkt" if request.param == "packets" else "*.out", own)


@pytest.fixture
def both(running: Both) -> Iterator[Both]:
    """Both systems with nothing under way, and no netmail that was read before."""
    wait_until(lambda: not running.gateway.queued(), WITHIN_S, "nothing is under way")
    running.internet.reset()
    running.internet.behave()
    running.bring()
    for path in running.peer.netmail.glob("*.msg"):
        path.unlink()
    yield running
    print(f"--- gateway\n{running.gateway.said()[-4000:]}\n--- peer\n{running.peer.log[-2000:]}")


def test_mail_goes_there_and_answers_come_back_in_the_thread(both: Both) -> None:
    both.send(MAIL)
    stored, text = both.tossed(1)
    assert (stored.message.sender, stored.message.to, stored.message.subject) == (b"Ann Lee", b"Bob Ray", b"Hello")
    assert text.lines[0] == "Körper - gruß"  # the dash has no place in CP437
    assert text.get("REPLYADDR") == "ann@acme.example"
    assert text.get("MSGID") == "<1@acme.example> f2efefae"

    reply = f"\x01MSGID: 2:280/464 0000abcd\r\x01REPLY: {text.get('MSGID')}\r".encode()
    both.answer(20, b"To: ann@acme.example\r\rHi Ann\r", reply)
    message = both.arrived(1)
    assert message["To"] == "ann@acme.example"
    assert message["In-Reply-To"] == "<1@acme.example>"
    assert message["Message-ID"] == "<MSGID_2=3A280=2F464_0000abcd@fidonet.org>"
    assert "bob@ours.example" in message["From"]
    assert str(message.get_payload()).strip() == "Hi Ann"

    again = MAIL.replace("<1@", "<3@").replace("Subject:", f"In-Reply-To: {message['Message-ID']}\nSubject:")
    both.send(again)
    _, text = both.tossed(3)
    assert text.get("REPLY") == "2:280/464 0000abcd"


def test_netmail_that_cannot_be_sent_on_is_kept_or_told_of(both: Both) -> None:
    both.answer(20, b"Hi whoever you are\r", b"\x01MSGID: 2:280/464 00000001\r")
    wait_until(lambda: list(both.errors.glob("*.reason.txt")), WITHIN_S, "the netmail without an address is kept")
    [reason] = both.errors.glob("*.reason.txt")
    assert "ftn.no-to-line" in reason.read_text()
    both.internet.behave(recipients={"eve@acme.example": "550 5.1.1 nobody of this name"})
    both.answer(21, b"To: eve@acme.example\r\rHi\r", b"\x01MSGID: 2:280/464 00000002\r")
    before = len(both.peer.stored())
    stored, text = both.tossed(before + 1)
    assert (stored.message.to, stored.message.sender) == (b"Bob Ray", b"Mail Delivery")
    assert text.get("REPLY") == "2:280/464 00000002"
    assert text.lines[0] == "smtp:eve@acme.example: not delivered"
    assert "5.1.1" in text.lines[1]


def test_a_return_receipt_is_given(both: Both) -> None:
    both.answer(20, b"To: ann@acme.example\r\rHi\r", b"\x01MSGID: 2:280/464 00000003\r", attributes=0x1101)
    both.arrived(1)
    before = len(both.peer.stored())
    stored, text = both.tossed(before + 1)
    assert (stored.message.sender, stored.message.subject) == (b"Postmaster", b"Return receipt")
    assert stored.message.attributes & 0x2000
    assert text.get("REPLY") == "2:280/464 00000003"
