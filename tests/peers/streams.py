"""Big messages without the memory for them: many sessions that each send one of tens of megabytes, at once."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

LINE: Final = b"0123456789" * 7 + b"abcdef\r\n"
PIECE: Final = LINE * 1000


@dataclass(frozen=True)
class Big:
    """One kind of big message; `digest` is that of its body."""

    size_bytes: int
    digest: str

    @property
    def pieces(self) -> int:
        return self.size_bytes // len(PIECE)


@lru_cache
def big(size_bytes: int) -> Big:
    """Return the message of about this size."""
    digest = hashlib.sha256()
    for _ in range(size_bytes // len(PIECE)):
        digest.update(PIECE)
    return Big(size_bytes, digest.hexdigest())


async def send_one(port: int, id: str, message: Big) -> None:
    """Send one message and read its 250. Raises: AssertionError with what was said instead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def expect(wanted: bytes) -> None:
        while (line := await reader.readline())[3:4] == b"-":
            pass
        assert line.startswith(wanted), line

    try:
        await expect(b"220")
        writer.write(b"EHLO big.example\r\n")
        await expect(b"250")
        writer.write(b"MAIL FROM:<big@source.example> SIZE=%d\r\n" % message.size_bytes)
        await expect(b"250")
        writer.write(b"RCPT TO:<sink@target.example>\r\n")
        await expect(b"250")
        writer.write(b"DATA\r\n")
        await expect(b"354")
        writer.write(f"From: <big@source.example>\r\nSubject: big\r\nMessage-Id: <{id}>\r\n\r\n".encode())
        for _ in range(message.pieces):
            writer.write(PIECE)
            await writer.drain()
        writer.write(b".\r\n")
        await expect(b"250")
        writer.write(b"QUIT\r\n")
        await expect(b"221")
    finally:
        writer.close()


async def send_many(port: int, count: int, at_once: int, size_bytes: int) -> None:
    """Send `count` messages with ids big-0, big-1 ..., `at_once` at a time; all have their 250 when this returns."""
    message = big(size_bytes)
    numbers = iter(range(count))

    async def session() -> None:
        for n in numbers:
            await send_one(port, f"big-{n}", message)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(session())
