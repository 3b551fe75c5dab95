"""A mailbox on Dovecot, for the conformance kit: people's mail comes into it, and somebody fetches it."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Final

from gateway.testing import Bench, SourceDriver
from tests.peers.dovecot import Dovecot

_COUNT: Final = itertools.count(1)
_NAME: Final = re.compile(r"(\d+)\.kit\b")
_KIT: Final = re.compile(r"<kit-(\d+)@")


class FetchedDriver(SourceDriver):
    """Puts messages into a Maildir of a user's own, as a delivery agent does. What is gone from it was fetched."""

    in_flight_bound = 16
    flood = 40
    server: ClassVar[Dovecot]

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.user = bench.peer_port = next(_COUNT)
        bench.port = self._port()
        self.maildir = self.server.folder / "mail" / f"user{self.user}" / "Maildir"
        for folder in ("cur", "new", "tmp"):
            (self.maildir / folder).mkdir(parents=True)
        self._give(self.maildir.parent, self.maildir, *self.maildir.iterdir())
        self._submitted: set[int] = set()

    def _port(self) -> int:
        return self.server.port

    def _give(self, *paths: Path) -> None:
        if os.geteuid() == 0:
            for path in paths:
                shutil.chown(path, "nobody", "nogroup")

    def submit(self, number: int, octets: bytes) -> None:
        path = self.maildir / "tmp" / f"{number}.kit"
        path.write_bytes(octets)
        self._give(path)
        path.rename(self.maildir / "new" / path.name)
        self._submitted.add(number)

    def _there(self) -> Iterator[int]:
        for folder in ("new", "cur"):
            for name in os.listdir(self.maildir / folder):
                if (found := _NAME.match(name)) is not None:
                    yield int(found[1])

    def acknowledged(self) -> set[int]:
        return self._submitted - set(self._there()) - self.refused()

    def refused(self) -> set[int]:
        """Return those that are still there, and told in the log."""
        told = {
            int(n) for line in list(self._bench.log.lines) if "refused" in str(line) for n in _KIT.findall(str(line))
        }
        return told & set(self._there())

    def body_carried(self, body: bytes) -> bytes:
        """Dovecot gives each line the end of a message's, and has no NUL."""
        return re.sub(rb"(?<!\r)\n", b"\r\n", body).replace(b"\0", b"\x80")


class FetchedByPop(FetchedDriver):
    """The same, by POP3."""

    def _port(self) -> int:
        return self.server.pop_port

    def body_carried(self, body: bytes) -> bytes:
        """Lines are what POP3 carries, and the last one has an end, too."""
        lines = re.sub(rb"(?<!\r)\n", b"\r\n", body)
        return lines if not lines or lines.endswith(b"\r\n") else lines + b"\r\n"
