"""A scripted SMTP or LMTP server that misbehaves as told, one field a fault, and records all that it was sent.

It runs in the test's own event loop and shares no code with the client under test.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HANG = "HANG"
"""In place of a reply: say nothing, for ever."""
CLOSE = "CLOSE"
"""In place of a reply: close the connection. Behind a reply (`250 ok CLOSE`): close after it."""
RESET = "RESET"
"""In place of a reply: reset the connection."""

OFFERS = ("PIPELINING", "8BITMIME", "SIZE 1000000", "DSN", "SMTPUTF8", "ENHANCEDSTATUSCODES")

_DEFAULTS = {
    "GREETING": "220 bad.test ESMTP",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go on",
    ".": "250 2.0.0 taken",
    "RSET": "250 2.0.0 ok",
    "QUIT": "221 2.0.0 bye",
    "STARTTLS": "220 2.0.0 ready",
    "AUTH": "235 2.7.0 in",
    "HELO": "250 bad.test",
}


@dataclass
class Taken:
    """One message that came to its dot: arguments of MAIL and RCPT as sent, content as sent (dots unstuffed)."""

    mail: str
    rcpts: list[str]
    content: bytes


@dataclass
class Session:
    """One connection: its command lines, its messages, and its TLS version."""

    commands: list[str] = field(default_factory=list)
    messages: list[Taken] = field(default_factory=list)
    tls: str = ""
    is_open: bool = True
    quit: bool = False


class _Over(Exception):
    """The session ends here."""


class BadSmtp:
    """A server on a loopback port. Use it as an async context.

    `replies` maps a verb (`MAIL`), a verb with an address (`RCPT b@y.example`, `. b@y.example` under LMTP), `GREETING`
    or `EHLO` to one reply, or to several that are used up in turn, the last one staying. A reply is text without its
    line end, or raw bytes, or HANG, CLOSE, RESET.
    """

    def __init__(
        self,
        replies: Mapping[str, str | bytes | Sequence[str | bytes]] | None = None,
        *,
        offers: Sequence[str] = OFFERS,
        lmtp: bool = False,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        cut_content_after: int | None = None,
        stall_content_after: int | None = None,
        by_byte: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.replies: dict[str, list[str | bytes]] = {}
        for key, value in (replies or {}).items():
            self.replies[key] = [value] if isinstance(value, str | bytes) else list(value)
        self.offers = tuple(offers)
        self.lmtp = lmtp
        self.tls = tls
        self.implicit_tls = implicit_tls
        self.cut_content_after = cut_content_after
        self.stall_content_after = stall_content_after
        self.by_byte = by_byte
        self.sessions: list[Session] = []
        self._host, self._port = host, port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        return self._port

    @property
    def messages(self) -> list[Taken]:
        return [message for session in self.sessions for message in session.messages]

    @property
    def open_sessions(self) -> int:
        return sum(session.is_open for session in self.sessions)

    async def __aenter__(self) -> BadSmtp:
        context = self.tls if self.implicit_tls else None
        self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=2**20, ssl=context)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close_idle(self) -> None:
        """Close every open connection, as a server does with those that have been idle for too long."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session()
        self.sessions.append(session)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self.implicit_tls:
                session.tls = writer.get_extra_info("ssl_object").version()
            await self._dialog(session, reader, writer)
        except (_Over, ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            session.is_open = False
            self._tasks.discard(task)
            writer.close()

    def _next_reply(self, verb: str, address: str = "") -> str | bytes:
        for key in (f"{verb} {address}", verb):
            if key in self.replies:
                left = self.replies[key]
                return left.pop(0) if len(left) > 1 else left[0]
        return _DEFAULTS.get(verb, "500 5.5.1 what?")

    async def _answer(self, writer: asyncio.StreamWriter, verb: str, address: str = "") -> str:
        reply = self._next_reply(verb, address)
        if isinstance(reply, bytes):
            writer.write(reply)
            await writer.drain()
            return ""
        if reply == HANG:
            await asyncio.sleep(3600)
        if reply == RESET:
            writer.transport.abort()
            raise _Over
        text, closes = reply.removesuffix(CLOSE), reply.endswith(CLOSE)
        if text:
            octets = text.rstrip().encode() + b"\r\n"
            for piece in (octets[i : i + 1] for i in range(len(octets))) if self.by_byte else (octets,):
                writer.write(piece)
                await writer.drain()
                if self.by_byte:
                    await asyncio.sleep(0)
        if closes:
            raise _Over
        return text

    async def _dialog(self, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._answer(writer, "GREETING")
        mail = ""
        rcpts: list[str] = []
        addresses: list[str] = []
        while True:
            line = (await reader.readuntil(b"\r\n")).decode("utf-8", "surrogateescape").rstrip("\r\n")
            session.commands.append(line)
            verb, _, rest = line.partition(" ")
            verb = verb.upper()
            address = rest[rest.find("<") + 1 : rest.find(">")] if "<" in rest else ""
            if verb in ("EHLO", "LHLO"):
                if verb in self.replies:
                    await self._answer(writer, verb)
                    continue
                lines = ["bad.test", *self.offers]
                for n, text in enumerate(lines):
                    writer.write(f"250{'-' if n < len(lines) - 1 else ' '}{text}\r\n".encode())
                await writer.drain()
            elif verb == "STARTTLS" and self.tls is not None and not session.tls:
                if not (await self._answer(writer, verb)).startswith("220"):
                    continue
                await writer.start_tls(self.tls)
                session.tls = writer.get_extra_info("ssl_object").version()
            elif verb == "MAIL":
                said = await self._answer(writer, verb, address)
                mail, rcpts, addresses = rest, [], []
                if not said.startswith("2"):
                    mail = ""
            elif verb == "RCPT":
                said = await self._answer(writer, verb, address)
                if said.startswith("2"):
                    rcpts.append(rest)
                    addresses.append(address)
            elif verb == "DATA":
                said = await self._answer(writer, verb)
                if said.startswith("354"):
                    content = await self._content(reader)
                    session.messages.append(Taken(mail, rcpts, content))
                    for each in addresses if self.lmtp else [""]:
                        await self._answer(writer, ".", each)
                    mail, rcpts, addresses = "", [], []
            elif verb == "QUIT":
                session.quit = True
                await self._answer(writer, verb)
                raise _Over
            elif verb == "AUTH" and line.upper() == "AUTH LOGIN":
                for prompt in ("334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"):
                    writer.write(prompt.encode() + b"\r\n")
                    session.commands.append((await reader.readuntil(b"\r\n")).decode().strip())
                await self._answer(writer, "AUTH")
            else:
                await self._answer(writer, verb)

    async def _content(self, reader: asyncio.StreamReader) -> bytes:
        lines: list[bytes] = []
        size = 0
        while (line := await reader.readuntil(b"\n")) != b".\r\n":
            size += len(line)
            if self.cut_content_after is not None and size > self.cut_content_after:
                raise _Over
            if self.stall_content_after is not None and size > self.stall_content_after:
                await asyncio.sleep(3600)
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)
