"""Every message of the corpus that SMTP can carry comes out with the octets that went in.

A file's line ends become CRLF, as every client makes them; what then still holds a CR of its own cannot be carried
and must be refused. All files are sent, messages or not: a content is octets. Two things may differ: a Bcc field is
taken out, and lines over 998 octets, which no server need take (RFC 5321 §4.5.3.1.6), are encoded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.gateway import Gateway
from tests.peers.raw import RawClient
from tests.peers.sink import Sink

LONGEST_LINE = 998
_BCC = re.compile(rb"^bcc:.*\r\n(?:[ \t].*\r\n)*", re.IGNORECASE | re.MULTILINE)


def corpus() -> Path:
    """Return the corpus' folder. In continuous integration its absence is a failure, elsewhere it is said."""
    named = os.environ.get("GATEPOST_CORPUS")
    if named and Path(named).is_dir():
        return Path(named)
    if os.environ.get("CI"):
        pytest.fail("GATEPOST_CORPUS names no folder")
    pytest.skip("GATEPOST_CORPUS is not set: the corpus of third-party test mail is not at hand")


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each file's path and its octets with CRLF line ends."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
        octets = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        yield str(path.relative_to(folder)), octets if octets.endswith(b"\r\n") or not octets else octets + b"\r\n"


def parts(octets: bytes) -> tuple[bytes, bytes]:
    """Return header and body; the body is all of it where there is no empty line."""
    if octets.startswith(b"\r\n"):
        return b"", octets[2:]
    head, found, body = octets.partition(b"\r\n\r\n")
    return (head + b"\r\n", body) if found else (b"", octets)


@pytest.mark.timeout(600)
def test_every_message_of_the_corpus(gateway: Gateway, sink: Sink) -> None:
    sent: dict[str, tuple[str, bytes]] = {}
    refused: list[str] = []
    client = RawClient(gateway.port)
    for n, (name, octets) in enumerate(contents(corpus())):
        recipient = f"n{n}@target.example"
        reply = client.message("ann@source.example", [recipient], octets, options="BODY=8BITMIME")
        if b"\r" in octets.replace(b"\r\n", b""):
            assert 500 <= reply.code < 600, f"{name}: a CR of its own, and still {reply}"
            refused.append(name)
            client.close()
            client = RawClient(gateway.port)
            continue
        assert reply.code == 250, f"{name}: {reply}"
        sent[recipient] = name, octets
    client.close()
    sink.wait_for(len(sent), 120)
    came = {taken.recipients[0]: taken.octets for taken in sink.taken()}
    assert came.keys() == sent.keys()
    mended = []
    with_nul = 0
    for recipient, (name, octets) in sent.items():
        got = came[recipient]
        assert got is not None
        if max(map(len, octets.split(b"\r\n"))) > LONGEST_LINE:
            mended.append(name)
            continue
        head, body = parts(octets)
        with_nul += b"\0" in octets
        assert got.endswith(body), f"{name}: the body changed"
        assert got.endswith((octets, _BCC.sub(b"", head) + b"\r\n" + body)), f"{name}: the header changed"
    print(
        f"{len(sent)} carried, {len(refused)} refused for a bare CR, "
        f"{len(mended)} with a line over {LONGEST_LINE}, {with_nul} with NUL"
    )
    assert len(sent) > 1500
