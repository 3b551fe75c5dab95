"""Nobody relays who may not: the ways in which open relays are looked for, at a gateway as it ships.

The gateway has one domain with one mailbox, and a smart host that would take anything. A probe is refused, or it names
a mailbox of ours letter for letter, which nobody has; nothing ever reaches the smart host.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.gateway import Gateway
from tests.peers.raw import RawClient
from tests.peers.sink import Sink

SENDERS = [
    "spam@far.example",
    "",
    "spam@ours.example",
    "ann@ours.example",
    "spam@gw.example",
    "spam@localhost",
    "spam@[127.0.0.1]",
    "postmaster@ours.example",
]
"""What probes claim to be: strangers, nobody, one of ours, the gateway itself."""

RECIPIENTS = [
    "victim@far.example",
    '"victim@far.example"',
    '"victim"@far.example',
    "victim%far.example@ours.example",
    "victim%far.example@gw.example",
    "victim%far.example@[127.0.0.1]",
    "victim%far.example",
    "victim%far.example@localhost",
    "victim@far.example@ours.example",
    "victim@far.example@[127.0.0.1]",
    '"victim@far.example"@ours.example',
    '"victim%far.example"@ours.example',
    '"victim@far.example"@[127.0.0.1]',
    '"far.example!victim"@ours.example',
    '"\\"victim@far.example\\""@ours.example',
    "far.example!victim",
    "far.example!victim@ours.example",
    "far.example!victim@[127.0.0.1]",
    "ours.example!far.example!victim",
    "far.example!victim%ours.example",
    "victim%far.example%ours.example@ours.example",
    "@ours.example:victim@far.example",
    "@[127.0.0.1]:victim@far.example",
    "@ours.example,@gw.example:victim@far.example",
    "@gw.example:victim%far.example@ours.example",
    "@far.example:ann@far.example",
    "victim@far.example.",
    "victim@FAR.EXAMPLE",
    "victim@ours.example.far.example",
    "victim@xours.example",
    "victim@[192.0.2.1]",
    "victim@[IPv6:2001:db8::1]",
    "victim@192.0.2.1",
    "victim@3221225985",
    "victim@far",
    "victim@",
    "@far.example",
    "postmaster@far.example",
    "abuse@[192.0.2.1]",
    "victim@far.example,ann@ours.example",
    "victim@far.example ann@ours.example",
    "victim@far.example\tann@ours.example",
    "victim@far.example\0@ours.example",
    "victim(ann@ours.example)@far.example",
    "ours.example:victim@far.example",
    "smtp:victim@far.example",
    "victim;far.example@ours.example",
    "victim\\@far.example@ours.example",
    "victim+40far.example@ours.example",
    "IMCEASMTP-victim+40far+2Eexample@ours.example",
    "IMCEAFAX-+2B15551234@gw.example",
    "victim=far.example@gw.example",
    "SRS0=xxxx=yy=far.example=victim@ours.example",
    "SRS1=xxxx=far.example==yyyy=zz=far.example=victim@gw.example",
    "prvs=0123456789=victim@far.example",
    "xn--victim@far.example",
    "v\xefctim@far.example",
    "victim@f\xe4r.example",
    "\xff\xfe@far.example",
    "fidonet:victim@far.example",
    "/O=far/S=victim@ours.example",
    "/C=US/A=far/S=victim/@gw.example",
    "a" * 300 + "@far.example",
]

CONFIG = """
[mapping]
domains = ["ours.example"]
import = ["people.csv"]
"""


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Sink]]:
    folder = tmp_path_factory.mktemp("relay")
    (folder / "people.csv").write_text("name,home,smtp\nAnn Lee,internet,ann@ours.example\n")
    with Sink(folder, keep=True) as sink:
        patient = "max_errors = 100000\nmax_messages_per_minute = 100000"
        gateway = Gateway(folder, sink.port, connector=patient, more=CONFIG)
        # No network of ours: this client is a stranger.
        text = gateway.config.read_text()
        assert "127.0.0.0/8" in text
        gateway.config.write_text(text.replace("127.0.0.0/8", "192.0.2.0/24"))
        with gateway:
            yield gateway, sink


def forms(recipient: str) -> list[bytes]:
    """Return the ways to write a recipient's command: as it should be, and as careless servers take it too."""
    octets = recipient.encode("latin-1")
    return [b"RCPT TO:<" + octets + b">", b"RCPT TO:" + octets, b"RCPT TO: <" + octets + b"> NOTIFY=NEVER"]


@pytest.mark.parametrize("sender", SENDERS, ids=[each or "nobody" for each in SENDERS])
def test_every_probe_is_refused(sender: str, closed: tuple[Gateway, Sink]) -> None:
    gateway, sink = closed
    taken = []
    for extended in (b"EHLO", b"HELO"):
        with RawClient(gateway.port) as client:
            client.say(extended + b" probe.far.example")
            assert client.say(b"MAIL FROM:<" + sender.encode() + b">").code == 250
            for recipient in RECIPIENTS:
                for command in forms(recipient):
                    code = client.say(command).code
                    assert code, f"closed at {command!r}"
                    if code // 100 == 2:
                        taken.append(command)
            assert client.say(b"DATA").code in (503, 554)
    assert taken == []
    assert sink.taken() == []


def test_the_mailbox_itself_is_served(closed: tuple[Gateway, Sink]) -> None:
    """So that the refusals say something."""
    gateway, _ = closed
    with RawClient(gateway.port) as client:
        client.say(b"EHLO probe.far.example")
        assert client.say(b"MAIL FROM:<spam@far.example>").code == 250
        assert client.say(b"RCPT TO:<ann@ours.example>").code == 250


def test_no_recipient_slips_through_by_a_chunk_or_a_reset(closed: tuple[Gateway, Sink]) -> None:
    """What was refused stays refused, however the content then comes."""
    gateway, sink = closed
    for content in (b"DATA\r\nx\r\n.\r\n", b"BDAT 3 LAST\r\nx\r\n"):
        with RawClient(gateway.port) as client:
            client.say(b"EHLO probe.far.example")
            lines = [b"MAIL FROM:<spam@far.example>", b"RCPT TO:<victim@far.example>"]
            client.send(b"\r\n".join(lines) + b"\r\n" + content)
            assert [client.reply().code, client.reply().code] == [250, 550]
            assert client.reply().code in (503, 554)
    assert sink.taken() == []
