"""The system on the other side of a file drop, for the conformance kit."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from gateway.contract import Address
from gateway.testing import Bench, DestinationDriver, Got, SourceDriver
from mappings.network import network

_TO = re.compile(rb"^X-Receiver: <(.*)>\r?\n", re.MULTILINE)


class FileDropDriver(SourceDriver, DestinationDriver):
    """Writes files into `in`, as MHS users would, and reads those in `out`."""

    in_flight_bound = 20
    flood = 100

    def __init__(self, bench: Bench) -> None:
        self.inbox, self.outbox = bench.tmp / "in", bench.tmp / "out"
        self.inbox.mkdir()
        self.outbox.mkdir()
        self._submitted: set[int] = set()

    def submit(self, number: int, octets: bytes) -> None:
        writing = self.inbox / f"{number:06d}.tmp"
        writing.write_bytes(octets)
        writing.rename(self.inbox / f"{number:06d}.eml")
        self._submitted.add(number)

    def _numbers(self, folder: Path, pattern: str) -> set[int]:
        found = re.compile(pattern)
        return {int(match[1]) for name in os.listdir(folder) if (match := found.fullmatch(name))}

    def acknowledged(self) -> set[int]:
        """Return those whose files are gone: a look in the order of a file's way, so that none is missed."""
        there = self._numbers(self.inbox, r"(\d{6})\.eml")
        for folder in (self.inbox / ".claimed").glob("*"):
            there |= self._numbers(folder, r"[0-9a-f]{16}\.(\d{6})\.eml")
        return self._submitted - there - self.refused()

    def refused(self) -> set[int]:
        bad = self._numbers(self.inbox, r"(\d{6})\.eml\.bad")
        return bad & self._numbers(self.inbox, r"(\d{6})\.eml\.reason\.txt")

    def recipient(self, number: int) -> Address:
        return network("mhs").parse(f"user{number}@sales")

    def utf8_recipient(self) -> Address:
        return network("mhs").parse("jürgen@sales")

    def received(self) -> list[Got]:
        found = []
        for path in sorted(self.outbox.glob("*.eml")):
            octets = path.read_bytes()
            head = octets[: octets.find(b"\n\r\n")]
            found.append(Got(frozenset(to.decode() for to in _TO.findall(head)), octets))
        return found

    def break_peer(self) -> None:
        self.outbox.rename(self.outbox.with_suffix(".away"))

    def mend_peer(self) -> None:
        if self.outbox.with_suffix(".away").exists():
            shutil.rmtree(self.outbox, ignore_errors=True)
            self.outbox.with_suffix(".away").rename(self.outbox)
