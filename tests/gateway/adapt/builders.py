"""Messages and a small table for the tests of adaptation."""

from __future__ import annotations

import email
import email.policy
from pathlib import Path

from gateway.contract import Capabilities
from gateway.message import Content, Envelope, Notify, Origin, Recipient
from gateway.spool.api import Delivery, Stored
from mappings.identity import Identity, addresses
from mappings.network import registry
from mappings.table import compile_table

PARSE = registry().parse


class FileBlob:
    """A content file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.largest = 0

    def read(self, offset: int, length: int) -> bytes:
        self.largest = max(self.largest, length)
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def message(
    octets: bytes | Content, *, to: str = "smtp:ann@far.example", sender: str | None = "smtp:bob@acme.example",
    prefix: bytes = b"",
) -> Stored:  # fmt: skip
    address = PARSE(to)
    path = None if sender is None else PARSE(sender)
    delivery = Delivery((1, 0), ("out", "hop"), address, address, Notify.UNSET, None, "s", 0, 0.0, 9e9)
    content = octets if isinstance(octets, Content) else Content(octets)
    envelope = Envelope(path, (Recipient(address),), Origin("in"))
    return Stored(1, envelope, prefix, content, 0.0, (delivery,))


TABLE = compile_table(
    [
        Identity("Bob", addresses(PARSE("smtp:bob@acme.example"), PARSE("mhs:bob@sales")), home="oldmhs"),
        Identity("Ann", addresses(PARSE("smtp:ann@acme.example"), PARSE("smtp:a.lee@acme.example"))),
    ],
    [],
    domains=["acme.example"],
    homes={"oldmhs": "mhs"},
    encapsulation=None,
    version=1,
)


def is_carried(octets: bytes, capabilities: Capabilities) -> None:
    """Check that octets are what a destination can carry, and that a mail program can read them."""
    if not capabilities.eight_bit:
        assert octets.isascii()
    if not capabilities.nul:
        assert b"\0" not in octets
    if not capabilities.bare_newlines:
        assert octets.count(b"\r\n") == octets.count(b"\n") == octets.count(b"\r")
    if capabilities.max_line_octets is not None:
        assert max(map(len, octets.split(b"\r\n"))) <= capabilities.max_line_octets
    email.message_from_bytes(octets, policy=email.policy.compat32)
