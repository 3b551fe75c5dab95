"""The mailboxes of a machine, for the conformance kit: one class for each format."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from gateway.contract import Address
from gateway.formats import mbox, mmdf
from gateway.testing import Bench, DestinationDriver, Got
from mappings.network import network

_TO = re.compile(rb"^Delivered-To: ([^\r\n]*)\r?\n", re.MULTILINE)


class InMemory:
    """Octets as a Blob."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.size = len(octets)

    def read(self, offset: int, length: int) -> bytes:
        return self._octets[offset : offset + length]


def crlf(octets: bytes) -> bytes:
    """Return octets with the line ends of a message; files have LF."""
    return re.sub(rb"(?<!\r)\n", b"\r\n", octets)


class MaildirBoxes(DestinationDriver):
    """Users with a Maildir each."""

    def __init__(self, bench: Bench) -> None:
        self.root = bench.tmp / "mail"
        self.root.mkdir()
        for user in (*(f"user{n}" for n in range(31)), "jürgen"):
            self.make(user)

    def make(self, user: str) -> None:
        (self.root / user).mkdir()

    def recipient(self, number: int) -> Address:
        return network("smtp").parse(f"user{number}@local.example")

    def utf8_recipient(self) -> Address:
        return network("smtp").parse("jürgen@local.example")

    def refused_recipient(self) -> Address:
        return network("smtp").parse("nobody@local.example")

    def messages(self) -> Iterator[bytes]:
        for path in sorted(self.root.glob("*/new/*")):
            yield crlf(path.read_bytes())

    def received(self) -> list[Got]:
        found = []
        for octets in self.messages():
            head = octets[: octets.find(b"\r\n\r\n")]
            found.append(Got(frozenset(to.decode() for to in _TO.findall(head + b"\r\n")), octets))
        return found

    def break_peer(self) -> None:
        self.root.rename(self.root.with_suffix(".away"))

    def mend_peer(self) -> None:
        if self.root.with_suffix(".away").exists():
            shutil.rmtree(self.root, ignore_errors=True)
            self.root.with_suffix(".away").rename(self.root)


class MboxBoxes(MaildirBoxes):
    """Users with an mbox file each."""

    def make(self, user: str) -> None:
        (self.root / user).touch()

    def files(self) -> Iterator[Path]:
        yield from (path for path in sorted(self.root.iterdir()) if not path.name.startswith("."))

    def messages(self) -> Iterator[bytes]:
        for path in self.files():
            octets = path.read_bytes()
            for entry in mbox.scan(InMemory(octets)):
                assert isinstance(entry, mbox.Entry)
                yield b"".join(entry.filter(iter((octets[entry.head : entry.end],))))


class MmdfBoxes(MboxBoxes):
    """Users with an MMDF file each."""

    def messages(self) -> Iterator[bytes]:
        for path in self.files():
            octets = path.read_bytes()
            for frame in mmdf.scan(InMemory(octets)):
                assert isinstance(frame, mmdf.Frame)
                yield crlf(octets[frame.head : frame.end])
