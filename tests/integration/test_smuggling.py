"""No second message is smuggled in or out: only CRLF.CRLF ends a message, whatever looks like it.

Source: RFC 5321 §2.3.8, §4.1.1.4; CVE-2023-51764, CVE-2023-51765, CVE-2023-51766.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.gateway import Gateway
from tests.peers.process import wait_until
from tests.peers.raw import RawClient, send
from tests.peers.sink import Sink

QUICK = 'retry_min = "1s"\nretry_max = "2s"'
SEQUENCES = [
    b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r",
    b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\n\n.\r\n", b"\n\r.\n\r",
]  # fmt: skip
SMUGGLED = (
    b"MAIL FROM:<evil@source.example>\r\nRCPT TO:<victim@target.example>\r\nDATA\r\n"
    b"From: evil@source.example\r\nSubject: smuggled\r\n\r\nyou have won\r\n"
)
HEAD = b"From: <ann@source.example>\r\nTo: <bob@target.example>\r\nSubject: outer\r\n\r\nfirst"


def published() -> list[bytes]:
    """Return the sequences of the public scanner, where the corpus is at hand."""
    path = Path(os.environ.get("GATEPOST_CORPUS", "/nowhere")) / "smtp-smuggling-tools" / "eod_sequences.json"
    if not path.exists():
        return []
    lists = json.loads(path.read_text())
    return [each.encode("latin-1") for name in sorted(lists) for each in lists[name]]


ALL = sorted({*SEQUENCES, *published()})


def lines_that_end_data(octets: bytes) -> list[bytes]:
    """Return what a careless server could take for the end of the data: a dot alone, whatever is around it.

    `octets` are those of a message as it stood on the wire, without its own end, dots still doubled.
    """
    return re.findall(rb"(?:[\r\n]|\r\n\0)\.(?:\0?[\r\n])", octets)


PICKUP = """
[connector.drop]
type = "filedrop"
inbox = "in"
create_folders = true
poll_s = 0.2
"""


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Sink]]:
    """One gateway for all, which takes mail and files, and what is behind it."""
    folder = tmp_path_factory.mktemp("way")
    with Sink(folder, keep=True) as sink, Gateway(folder, sink.port, gateway=QUICK, more=PICKUP) as gateway:
        yield gateway, sink


@pytest.fixture
def sink(way: tuple[Gateway, Sink]) -> Sink:
    """The sink, which has nothing yet, once the test before has left nothing behind."""
    gateway, sink = way
    wait_until(lambda: gateway.queued() == 0, 60, "nothing is under way")
    sink.reset()
    return sink


@pytest.mark.parametrize("sequence", ALL, ids=[repr(each) for each in ALL])
def test_nothing_is_smuggled_in(sequence: bytes, way: tuple[Gateway, Sink], sink: Sink) -> None:
    gateway, _ = way
    with RawClient(gateway.port) as client:
        client.envelope("ann@source.example", ["bob@target.example"])
        assert client.say(b"DATA").code == 354
        client.send(HEAD + sequence + SMUGGLED + b".\r\n")
        reply = client.reply()
        refused = reply.code == 0 or 500 <= reply.code < 600
        assert refused or reply.code == 250, str(reply)
        if reply.code:
            # One reply for one message, then the session goes on as if nothing had happened.
            assert client.say(b"NOOP").code in (250, 0)
    assert send(gateway.port, "ann@source.example", ["after@target.example"], HEAD + b"\r\n").code == 250
    sink.wait_for(1 if refused else 2)
    taken = {t.recipients[0]: t for t in sink.taken()}
    assert taken.keys() == ({"after@target.example"} if refused else {"bob@target.example", "after@target.example"})
    if not refused:
        outer = taken["bob@target.example"].wire
        assert outer is not None
        assert b"Subject: smuggled" in outer, "the rest of the message is content"
        assert not lines_that_end_data(outer), "and harmless to the next hop"


@pytest.mark.parametrize("sequence", ALL, ids=[repr(each) for each in ALL])
def test_nothing_is_smuggled_out(sequence: bytes, way: tuple[Gateway, Sink], sink: Sink) -> None:
    """A file may hold any octets; what leaves for an SMTP server must not end early for the most careless of them."""
    gateway, _ = way
    folder = gateway.folder
    octets = b"X-Sender: <ann@source.example>\r\nX-Receiver: <bob@target.example>\r\n" + HEAD + sequence + SMUGGLED
    (folder / "in" / "a.tmp").write_bytes(octets)
    (folder / "in" / "a.tmp").rename(folder / "in" / "a.eml")
    sink.wait_for(1)
    assert send(gateway.port, "ann@source.example", ["after@target.example"], HEAD + b"\r\n").code == 250
    sink.wait_for(2)
    taken = sink.taken()
    assert "victim@target.example" not in {r for t in taken for r in t.recipients}
    # A file that was refused came back to its sender as a report, which quotes it at most.
    for each in taken:
        wire = each.wire
        assert wire is not None
        assert b"\n" not in wire.replace(b"\r\n", b""), "no LF of its own goes out"
        assert b"\r" not in wire.replace(b"\r\n", b""), "no CR of its own goes out"
        assert not lines_that_end_data(wire)
