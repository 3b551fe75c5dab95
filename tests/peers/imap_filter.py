"""A man in the middle of IMAP: between a client and a real server, it answers some commands itself, and alters answers.

Commands and responses are taken whole, with their literals, so that what is done to them is told by what they are. A
command is gone on with as it came, but for its literals, which are all sent without waiting (RFC 7888).
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

_LITERAL: Final = re.compile(rb"\{([0-9]+)(\+?)\}\r\n$")


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its tag, its verb in capitals (with `UID` in front), all its text, and its literals."""

    tag: bytes
    verb: str
    text: bytes
    literals: tuple[bytes, ...]


class Lose:
    """The command goes to the server, and the connection is lost before its answer comes."""


@dataclass(frozen=True, slots=True)
class Bye:
    """The connection ends with this instead of an answer."""

    text: bytes = b""


Answer = bytes | Lose | Bye | None
"""What is answered instead of the server, without the tag in front of its last line. None: what the server says."""


@dataclass
class ImapFilter:
    """Stands before the server at `behind`, and listens at `port`. `answer` and `alter` may be changed meanwhile."""

    behind: int
    answer: Callable[[Command], Answer] = lambda command: None
    alter: Callable[[bytes], bytes | None] = lambda response: response
    """Makes something else of a response; None swallows it."""
    rewrite: Callable[[bytes], bytes] = lambda text: text
    """Makes something else of a command's line before the server gets it."""
    port: int = 0
    commands: list[Command] = field(default_factory=list)
    """All that came, in order, without their literals."""
    open: int = 0
    """Connections that are open now, and the most that ever were."""
    most_open: int = 0

    def verbs(self) -> list[str]:
        """Return the verbs of what came."""
        return [command.verb for command in self.commands]

    def bodies(self) -> int:
        """Return how many commands asked for whole messages."""
        return sum(b"BODY.PEEK[]" in command.text for command in self.commands)

    def __enter__(self) -> ImapFilter:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        if not ready.wait(60):
            raise TimeoutError("the filter does not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(60)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._client, "127.0.0.1", self.port, limit=1 << 26)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._end.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        there_writer: asyncio.StreamWriter | None = None
        try:
            there, there_writer = await asyncio.open_connection("127.0.0.1", self.behind, limit=1 << 26)
            lost: set[bytes] = set()
            ways = [
                asyncio.ensure_future(self._up(reader, writer, there_writer, lost)),
                asyncio.ensure_future(self._down(there, writer, lost)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()
            if there_writer is not None:
                there_writer.close()
            self._tasks.discard(task)

    async def _up(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamWriter,
        lost: set[bytes],
    ) -> None:
        while octets := await reader.readline():
            parts, literals = [octets], []
            while found := _LITERAL.search(octets):
                if not found[2]:
                    writer.write(b"+ go on\r\n")
                literals.append(await reader.readexactly(int(found[1])))
                parts[-1] = _LITERAL.sub(b"{%d+}\r\n" % len(literals[-1]), octets)
                octets = await reader.readline()
                parts += [literals[-1], octets]
            text = b"".join(parts[::2])
            words = text.split()
            verb = b" ".join(words[1:3] if words[1:2] == [b"UID"] else words[1:2]).upper().decode("latin-1")
            command = Command(words[0] if words else b"", verb, text, tuple(literals))
            self.commands.append(Command(command.tag, verb, text[:400], ()))
            answer = self.answer(command)
            if isinstance(answer, Bye):
                writer.write(b"* BYE " + answer.text + b"\r\n")
                await writer.drain()
                return
            if isinstance(answer, bytes):
                *before, last = answer.split(b"\r\n")
                writer.write(b"".join(line + b"\r\n" for line in before) + command.tag + b" " + last + b"\r\n")
                continue
            if isinstance(answer, Lose):
                lost.add(command.tag)
            there.write(self.rewrite(parts[0]) + b"".join(parts[1:]))
            await there.drain()

    async def _down(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: set[bytes]) -> None:
        while octets := await there.readline():
            response = octets
            while found := _LITERAL.search(octets):
                octets = await there.readexactly(int(found[1])) + await there.readline()
                response += octets
            if response.split(b" ", 1)[0] in lost:
                return
            altered = self.alter(response)
            if altered is not None:
                writer.write(altered)
                await writer.drain()
