"""A load generator that knows what it was promised: it writes a unique id into each message, keeps every 250.

Each connection pipelines (MAIL, RCPT, DATA of the next message right behind the content of the last), waits where
the protocol makes it wait, and comes back after a lost connection. A message whose answer never came is never sent
again, so any double at the sink is the server's own.

    python -m tests.peers.load --port 2525 --sessions 20 --out accepted.jsonl

ends on SIGTERM, after closing its sessions. Each line of the file is [id, when (CLOCK_MONOTONIC), the reply].
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.peers.process import Process

SIZES: Final = (700, 4096, 4096, 20_000)
"""Octets of content, one of them by chance for each message."""


@dataclass(frozen=True)
class Accepted:
    """One message that was answered 250: `at` is when the answer was read (CLOCK_MONOTONIC)."""

    id: str
    at: float
    reply: str


class Load:
    """The generator as a child process. `stop` and then `accepted`."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        sessions: int = 20,
        pause_s: float = 0.0,
        limit: int = 0,
        sizes: Sequence[int] = SIZES,
    ) -> None:
        self.out = folder / f"accepted-{port}-{os.urandom(3).hex()}.jsonl"
        self.out.touch()
        args = ["--port", str(port), "--out", str(self.out)]
        args += ["--sessions", str(sessions), "--pause", str(pause_s), "--limit", str(limit)]
        args += ["--sizes", *map(str, sizes)]
        self.process = Process.of_module("tests.peers.load", args, folder / "load.log")

    def accepted(self) -> list[Accepted]:
        """Return what has been answered 250 so far."""
        lines = self.out.read_text().split("\n")[:-1]
        return [Accepted(*json.loads(line)) for line in lines]

    def wait(self, timeout_s: float = 120.0) -> None:
        """Wait for the end of a limited run."""
        if self.process.popen.wait(timeout_s) != 0:
            raise RuntimeError(self.process.said())

    def stop(self) -> None:
        status = self.process.stop(30)
        if status != 0:
            raise RuntimeError(self.process.said())

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()


class Generator:
    """All sessions of one run."""

    def __init__(self, port: int, out: Path, pause_s: float, limit: int, sizes: Sequence[int]) -> None:
        self.port, self.pause_s, self.limit, self.sizes = port, pause_s, limit, sizes
        self.run = os.urandom(4).hex()
        self.serial = 0
        self.out = os.open(out, os.O_WRONLY | os.O_APPEND)
        self.stopping = asyncio.Event()

    def _next(self) -> str | None:
        if self.stopping.is_set() or (self.limit and self.serial >= self.limit):
            return None
        self.serial += 1
        return f"{self.run}.{self.serial}@load.example"

    def content(self, id: str) -> bytes:
        head = (
            f"From: <load@source.example>\r\nTo: <sink@target.example>\r\nSubject: {id}\r\nMessage-Id: <{id}>\r\n\r\n"
        )
        size = random.choice(self.sizes)
        line = f"{id} ".encode().ljust(70, b"x") + b"\r\n"
        return head.encode() + line * (size // len(line)) + b".\r\n"

    async def session(self) -> None:
        """Send until told to stop, over as many connections as it takes."""
        while not self.stopping.is_set() and not (self.limit and self.serial >= self.limit):
            with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError, TimeoutError):
                await self._connection()
            await asyncio.sleep(0.02)

    async def _connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        try:
            await self._expect(reader, "220")
            writer.write(b"EHLO load.example\r\n")
            await self._expect(reader, "250")
            opening = b"MAIL FROM:<load@source.example>\r\nRCPT TO:<sink@target.example>\r\nDATA\r\n"
            id = self._next()
            writer.write(opening if id else b"QUIT\r\n")
            while id:
                for wanted in ("250", "250", "354"):
                    await self._expect(reader, wanted)
                # The next transaction's commands go out with this content: RFC 2920 §3.1.
                following = self._next()
                writer.write(self.content(id) + (opening if following else b"QUIT\r\n"))
                reply = await self._reply(reader)
                if reply.startswith("250"):
                    os.write(self.out, json.dumps([id, time.monotonic(), reply]).encode() + b"\n")
                id = following
                if self.pause_s:
                    await asyncio.sleep(self.pause_s)
            await self._reply(reader)
        finally:
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader) -> str:
        while True:
            line = await reader.readline()
            if not line.endswith(b"\n"):
                raise EOFError
            if line[3:4] != b"-":
                return line.decode("latin-1").strip()

    async def _expect(self, reader: asyncio.StreamReader, wanted: str) -> None:
        reply = await self._reply(reader)
        if not reply.startswith(wanted):
            # A temporary refusal is the server's right: start anew, a little later.
            await asyncio.sleep(0.1)
            raise EOFError(reply)


async def generate(asked: argparse.Namespace) -> None:
    generator = Generator(asked.port, Path(asked.out), asked.pause, asked.limit, asked.sizes)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, generator.stopping.set)
    async with asyncio.TaskGroup() as group:
        sessions = [group.create_task(generator.session()) for _ in range(asked.sessions)]
        watch = group.create_task(_end(generator, sessions))
        await asyncio.wait(sessions)
        watch.cancel()


async def _end(generator: Generator, sessions: list[asyncio.Task[None]]) -> None:
    """Cut off what has not ended some seconds after the signal: a server may hang."""
    await generator.stopping.wait()
    await asyncio.sleep(10)
    for each in sessions:
        each.cancel()


def main() -> None:
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    uvloop.run(generate(parser.parse_args()))


if __name__ == "__main__":
    main()
