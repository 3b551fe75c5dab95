"""The targets that take octets: what comes over the wire, from the file system, and as a message."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Final

from connectors.smtp.client_wire import PeerError
from connectors.smtp.commands import Mail, Rcpt, Refusal, parse_bdat, parse_hello, parse_mail, parse_rcpt
from connectors.smtp.server_events import WireSettings
from gateway.message import Content
from mappings.address import AddressError
from mappings.interchange import read_csv
from mappings.network import parse
from mappings.rewrite import rewrite_head
from tests.connectors.smtp import test_client_wire as client
from tests.connectors.smtp import test_commands as commands
from tests.connectors.smtp import test_server_wire as server
from tests.fuzz.mutate import Octets
from tests.fuzz.run import KEPT
from tests.fuzz.target import Target, same_octets

MAX_SEED: Final = 20_000
TOKENS: Final = (
    b"\r\n", b"\n", b"\r", b"\0", b".", b"\r\n.\r\n", b"\n.\n", b"<", b">", b"@", b'"', b"\\", b"(", b")", b",", b";",
    b":", b" ", b"\t", b"=?utf-8?q?x?=", b"=?", b"?=", b"\xff", b"\xc3\xa9", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>",
    b"DATA\r\n", b"BDAT 5 LAST\r\n", b"EHLO x\r\n", b"RSET\r\n", b"From: a@b\r\n", b"To: ", b"Bcc: x@y\r\n",
    b"\r\n\r\n", b"X-Sender: ", b"X-Receiver: ", b"250 ok\r\n", b"250-x\r\n", b"354 go\r\n", b"421 bye\r\n",
    b"gp.a.", b"IMCEA",
)  # fmt: skip


def _pieces(octets: bytes) -> list[bytes]:
    """Cut octets where they say so themselves, so that an input alone tells how it was fed."""
    chance = random.Random(octets[:64])
    pieces, at = [], 0
    while at < len(octets):
        size = chance.choice((1, 7, 100, 4000))
        pieces.append(octets[at : at + size])
        at += size
    return pieces


def fuzz_server(octets: bytes) -> None:
    made = WireSettings("gw.example", inline_limit=64, max_message_bytes=1000)
    cut, whole = server.talk(_pieces(octets), made), server.talk([octets], made)
    assert cut.replies == whole.replies
    assert cut.messages == whole.messages


def fuzz_client(octets: bytes) -> None:
    wire = client.ready()
    wire.begin(client.transaction(2))
    with contextlib.suppress(PeerError):
        for piece in _pieces(octets):
            wire.receive(piece)


def fuzz_commands(octets: bytes) -> None:
    for line in octets.split(b"\r\n")[:50]:
        assert isinstance(parse_mail(line, commands.ALL), Mail | Refusal)
        assert isinstance(parse_rcpt(line, commands.ALL, smtputf8=True), Rcpt | Refusal)
        assert isinstance(parse_bdat(line), tuple | Refusal)
        assert isinstance(parse_hello(line), str | Refusal)


def fuzz_content(octets: bytes) -> None:
    content = Content(octets)
    head, body = content.head, b"".join(content.body_chunks())
    assert octets.startswith(head)
    assert octets.endswith(body)
    for each in content.fields:
        content.get(each.name)
    prefixed = content.with_prefix(b"Received: x\r\n")
    assert prefixed.octets().endswith(body)
    assert b"".join(content.with_head(head).body_chunks()) == body


def fuzz_rewrite(octets: bytes) -> None:
    head = Content(octets).head
    told = rewrite_head(head, lambda address: None, read=lambda local, domain: None, write=str)
    if not any(each.name == b"bcc" for each in Content(octets).fields):
        assert told.head == head


def fuzz_addresses(octets: bytes) -> None:
    for line in octets.decode("utf-8", "replace").splitlines()[:50]:
        for prefix in ("smtp:", "mhs:", ""):
            with contextlib.suppress(AddressError):
                found = parse(prefix + line)
                assert parse(str(found)) == found


def fuzz_csv(octets: bytes) -> None:
    read_csv(octets)


def seeds() -> Iterator[bytes]:
    """Yield inputs to begin with: the corpus of third-party mail where it is at hand, and what the tests have."""
    folders = [KEPT, KEPT.parent / "dialogs", KEPT.parent / "data"]
    named = os.environ.get("GATEPOST_CORPUS")
    if named:
        folders.append(Path(named))
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size <= MAX_SEED:
                yield path.read_bytes()
    yield b""


@cache
def _all_seeds() -> tuple[bytes, ...]:
    return tuple(seeds())


def _check(check: Callable[[bytes], None], octets: bytes) -> str:
    check(octets)
    return ""


TARGETS: Final = tuple(
    Target(
        name.removeprefix("fuzz_"),
        partial(_check, each),
        _all_seeds,
        Octets(TOKENS),
        same_octets,
        same_octets,
        5.0,
        MAX_SEED,
    )
    for name, each in sorted(globals().items())
    if name.startswith("fuzz_")
)
