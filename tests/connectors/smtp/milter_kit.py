"""A filter for the tests: it notes what it hears, and answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

CONTINUE = b"c"
SILENT = {"C": 0x1000, "H": 0x2000, "M": 0x4000, "R": 0x8000, "T": 0x10000, "L": 0x80, "N": 0x40000, "B": 0x80000}
"""The flag by which a command has no answer."""
Say = Callable[[bytes, bytes], Awaitable[list[bytes]]]


def framed(packet: bytes) -> bytes:
    """Return a packet with its length; `packet` is letter and data."""
    return struct.pack(">I", len(packet)) + packet


@dataclass
class Filter:
    """Answers each command by `answers`: by its letter (in text, `M`), or letter and first text (`R<bob@…>`)."""

    answers: dict[str, list[bytes]] = field(default_factory=dict)
    version: int = 6
    actions: int = 0x1FF
    wishes: int = 0
    macros: dict[int, bytes] = field(default_factory=dict)
    """Those it wants, by stage."""
    hangs_at: str = ""
    closes_at: str = ""
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    connections: int = 0
    place: str = ""

    @property
    def letters(self) -> str:
        """The commands in order, without the macros."""
        return "".join(letter for letter, _ in self.heard if letter != "D")

    def data(self, letter: str) -> list[bytes]:
        return [data for known, data in self.heard if known == letter]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = struct.unpack(">I", await reader.readexactly(4))
                packet = await reader.readexactly(length)
                letter, data = chr(packet[0]), packet[1:]
                self.heard.append((letter, data))
                if letter == self.closes_at:
                    break
                if letter == self.hangs_at:
                    await asyncio.sleep(3600)
                for said in self._answer(letter, data):
                    writer.write(framed(said))
        writer.close()

    def _answer(self, letter: str, data: bytes) -> list[bytes]:
        if letter in "DAQK":
            return []
        if letter == "O":
            wanted = b"".join(struct.pack(">I", stage) + names + b"\0" for stage, names in self.macros.items())
            return [b"O" + struct.pack(">III", self.version, self.actions, self.wishes) + wanted]
        exact = letter + data.split(b"\0")[0].decode("latin-1")
        if exact not in self.answers and self.wishes & SILENT.get(letter, 0):
            return []
        return self.answers.get(exact) or self.answers.get(letter) or [CONTINUE]


@contextlib.asynccontextmanager
async def filtering(filter_: Filter) -> AsyncIterator[Filter]:
    """Run a filter on a free loopback port."""
    server = await asyncio.start_server(filter_.serve, "127.0.0.1", 0)
    filter_.place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield filter_
    finally:
        server.close()
