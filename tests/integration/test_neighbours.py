"""The mail servers of Debian as neighbours: each takes the gateway's mail and sends mail through it, with reports."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from contextlib import ExitStack
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.peers.gateway import Gateway
from tests.peers.neighbours import CourierMta, EximServer, Neighbour, OpenSmtpd, PostfixServer, Sendmail
from tests.peers.process import free_port, wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink

KINDS: tuple[type[Neighbour], ...] = (PostfixServer, EximServer, Sendmail, OpenSmtpd, CourierMta)

pytestmark = pytest.mark.xdist_group("neighbours")

CONTENT = (
    "From: Änn Lee <ann@far.example>\r\nTo: bob@{domain}\r\nSubject: =?utf-8?q?caf=C3=A9?=\r\n"
    "Date: Mon, 30 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{id}@far.example>\r\nMIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    ".a dot\r\n..two\r\nFrom the start\r\nä ö ü\r\n \r\n\tblanks at the end  \r\n"
)


def content(domain: str, id: str) -> bytes:
    return CONTENT.replace("Änn", "Ann").format(domain=domain, id=id).encode()


@pytest.fixture(scope="module")
def sink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with Sink(tmp_path_factory.mktemp("sink"), keep=True) as sink:
        yield sink


@pytest.fixture(scope="module")
def gateway(sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, dict[str, Neighbour]]]:
    """A gateway with a connector for each neighbour; nobody of `ours.example` is known to it."""
    folder: Path = tmp_path_factory.mktemp("neighbours")
    port = free_port()
    with ExitStack() as stack:
        neighbours = {kind.name: kind(port) for kind in KINDS}
        connectors = "".join(
            f'[connector.{each.name}]\ntype = "smtp"\nsmart_host = "127.0.0.1:{each.port}"\n'
            f'[[route]]\nmatch = "smtp:*@{each.domain}"\nto = "{each.name}"\n'
            for each in neighbours.values()
        )
        made = Gateway(
            folder,
            sink.port,
            gateway='retry_min = "1s"\nretry_max = "2s"\n[mapping]\ndomains = ["ours.example"]\n',
            port=port,
            connector=connectors,  # in front of the route for all other mail
        )
        stack.callback(lambda: print(made.said()[-6000:]))
        yield stack.enter_context(made), neighbours


@pytest.fixture(params=[kind.name for kind in KINDS])
def neighbour(
    request: pytest.FixtureRequest, gateway: tuple[Gateway, dict[str, Neighbour]]
) -> Iterator[tuple[Gateway, Neighbour]]:
    made, neighbours = gateway
    with neighbours[request.param] as started:
        yield made, started
        print(started.said()[-4000:])


def body(octets: bytes) -> list[str]:
    """Return the lines of a message's text, decoded, without blanks at their ends: some take those away."""
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    part = message.get_body(("plain",))
    assert part is not None
    return [line.rstrip() for line in str(part.get_content()).splitlines()]


def reports(messages: list[bytes]) -> list[bytes]:
    return [each for each in messages if b"multipart/report" in each and b"delivery-status" in each]


def test_a_neighbour(neighbour: tuple[Gateway, Neighbour], sink: Sink) -> None:
    """Both ways, and with a recipient on either side whom nobody knows: the sender is told by whoever had the mail."""
    gateway, peer = neighbour
    mine = content(peer.domain, f"to-{peer.name}")
    assert send(gateway.port, "ann@far.example", [peer.address], mine).code == 250
    assert send(gateway.port, "ann@far.example", [f"gone@{peer.domain}"], mine).code == 250
    theirs = content("far.example", f"from-{peer.name}")
    assert send(peer.port, peer.address, ["zoe@far.example"], theirs).code == 250
    assert send(peer.port, peer.address, ["gone@ours.example"], theirs).code == 250

    wait_until(lambda: any(b"<to-" in each for each in peer.mailbox()), 60, f"{peer.name} has the gateway's mail")
    arrived = next(each for each in peer.mailbox() if b"<to-" in each and b"delivery-status" not in each)
    # A server that writes mbox files marks lines that begin with From.
    assert [line.removeprefix(">") for line in body(arrived)] == body(mine)
    assert b"gw.example" in arrived

    def came(text: bytes, to: str) -> list[bytes]:
        taken = [each for each in sink.taken() if to in each.recipients and each.octets is not None]
        return [each.octets for each in taken if each.octets is not None and text in each.octets]

    wait_until(lambda: came(f"<from-{peer.name}@".encode(), "zoe@far.example"), 60, f"mail of {peer.name} goes on")
    (sent,) = came(f"<from-{peer.name}@".encode(), "zoe@far.example")
    assert body(sent) == body(theirs)
    gone = f"gone@{peer.domain}".encode()
    wait_until(lambda: reports(came(gone, "ann@far.example")), 60, f"that {peer.name} refused is reported")
    (report,) = reports(came(gone, "ann@far.example"))
    assert b"Action: failed" in report

    def told() -> list[bytes]:
        return [each for each in peer.mailbox() if b"gone@ours.example" in each and b"Action: failed" in each]

    wait_until(told, 60, f"the report of {peer.name} on what the gateway refused")
