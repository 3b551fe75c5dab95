"""A session with a POP3 server: connected, logged in, its commands sent in a row where the server takes that.

Promises: the password is sent only once TLS is on, where TLS is asked for; STLS is never left out since the server
does not offer it; what the server offers is asked for again after each step that may change it.
Source: RFC 1939; RFC 2449 (CAPA, PIPELINING), RFC 2595 §4 (STLS), RFC 5034 (AUTH), RFC 4616 (PLAIN), RFC 7628
(OAUTHBEARER); XOAUTH2 as Google and Microsoft describe it.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from connectors.pop.faults import Closed, Refused
from connectors.pop.taking import Taken
from connectors.pop.wire import Replies, Reply, WireError
from gateway.contract import Content
from gateway.mailbox_login import Login

WINDOW: Final = 20
"""How many commands go ahead of their answers: what they take never fills a socket's buffer."""

_PIECE: Final = 256 * 1024
_MOST_LIST: Final = 128 * 1024 * 1024
_LONGEST_FIRST: Final = 200
"""A longer first response of SASL goes on a line of its own (RFC 5034 §4)."""


class Session:
    """A connection that is logged in; made by `open_session`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout_s: float) -> None:
        self._reader = reader
        self._writer = writer
        self._timeout_s = timeout_s
        self._replies = Replies()
        self._answers: list[Reply] = []
        self.offers: dict[str, str] = {}
        self.ahead = 1
        self.is_open = True
        self.numbers: dict[str, int] = {}
        """The messages' numbers in this session by what they are known by."""
        self.sizes: dict[str, int] = {}
        self.is_listed = False

    async def _more(self) -> None:
        """Read what comes next. Raises: Closed, WireError, TimeoutError, OSError."""
        async with asyncio.timeout(self._timeout_s):
            octets = await self._reader.read(_PIECE)
        if not octets:
            raise Closed("the server has hung up")
        self._replies.feed(octets)

    def _send(self, line: str, sink: Taken | None = None, *, many: bool = False) -> None:
        if any(char in line for char in "\r\n\0"):
            raise WireError("a name or a password has a line's end in it")
        self._replies.expect(self._answers.append, many=many, sink=None if sink is None else sink.write)
        self._writer.write(line.encode() + b"\r\n")

    async def ask(self, line: str, sink: Taken | None = None, *, many: bool = False) -> Reply:
        """Send a command and return its answer. Raises: Refused, Closed, WireError, TimeoutError, OSError."""
        (reply,) = await self.ask_all([(line, sink)], many=many)
        if not reply.ok:
            raise Refused(reply)
        return reply

    async def ask_all(self, commands: Sequence[tuple[str, Taken | None]], *, many: bool = False) -> list[Reply]:
        """Send commands, ahead of their answers as far as the server takes it; return all answers."""
        return [reply async for reply in self.each(commands, many=many)]

    async def each(self, commands: Sequence[tuple[str, Taken | None]], *, many: bool = False) -> AsyncGenerator[Reply]:
        """Send commands and yield each answer as it is there; what is not asked for yet waits at the server."""
        sent = 0
        done = False
        self._answers.clear()
        try:
            for got in range(len(commands)):
                while sent < len(commands) and sent - got < self.ahead:
                    self._send(*commands[sent], many=many)
                    sent += 1
                await self._writer.drain()
                while not self._answers:
                    await self._more()
                yield self._answers.pop(0)
            done = True
        finally:
            if not done:  # answers are under way that nobody waits for
                self.close()

    async def greeted(self) -> None:
        """Wait for the greeting."""
        self._replies.expect(self._answers.append)
        while not self._answers:
            await self._more()
        reply = self._answers.pop(0)
        if not reply.ok:
            raise Refused(reply)

    async def learn(self) -> None:
        """Ask what the server offers; one that does not know the command offers nothing."""
        told = Taken(_MOST_LIST)
        (reply,) = await self.ask_all([("CAPA", told)], many=True)
        self.offers = {}
        if reply.ok:
            for line in told.lines():
                name, _, rest = line.partition(" ")
                self.offers[name.upper()] = rest.upper()

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        await self.ask("STLS")
        if self._replies.awaited or self._replies.has_more or self._reader._buffer:  # type: ignore[attr-defined]
            raise WireError("the server says something between STLS and TLS")
        await self._writer.start_tls(context, server_hostname=host)

    async def log_in(self, login: Login) -> None:
        """Log in. Raises: Refused with `login`."""
        ways = self.offers.get("SASL", "").split()
        way = login.way
        if way == "auto":
            way = "plain" if "PLAIN" in ways or login.act_as else "user"
        try:
            if way == "user":
                await self.ask(f"USER {login.name}")
                await self.ask(f"PASS {login.secret}")
            elif way == "plain":
                await self._sasl("PLAIN", f"{login.act_as}\0{login.name}\0{login.secret}")
            elif way == "xoauth2":
                await self._sasl("XOAUTH2", f"user={login.name}\1auth=Bearer {login.secret}\1\1")
            else:
                await self._sasl("OAUTHBEARER", f"n,a={login.name},\1auth=Bearer {login.secret}\1\1")
        except Refused as refused:
            raise Refused(refused.reply, login=True) from None

    async def _sasl(self, mechanism: str, first: str) -> None:
        text = b64encode(first.encode()).decode()
        if len(text) <= _LONGEST_FIRST and "SASL" in self.offers:
            reply = await self.ask(f"AUTH {mechanism} {text}")
        else:
            reply = await self.ask(f"AUTH {mechanism}")
            if reply.goes_on:
                reply = await self.ask(text)
        if reply.goes_on:  # the server tells what is wrong with the token, and wants an empty answer
            reply = await self.ask("" if mechanism == "XOAUTH2" else b64encode(b"\1").decode())
            if reply.goes_on:
                raise WireError("the log-in has no end")

    async def retrieve(self, numbers: Sequence[int], folder: Path) -> AsyncGenerator[Content | Reply]:
        """Yield messages by their numbers, or what the server said instead; large ones are kept in `folder`."""
        takers = [Taken(None, folder) for _ in numbers]
        commands: list[tuple[str, Taken | None]] = [
            (f"RETR {number}", taken) for number, taken in zip(numbers, takers, strict=True)
        ]
        replies = self.each(commands, many=True)
        try:
            for at in range(len(numbers)):
                reply = await anext(replies)
                taken, takers[at] = takers[at], Taken(0)
                commands[at] = ("", None)
                yield taken.content() if reply.ok else reply
            await anext(replies, None)
        finally:
            await replies.aclose()

    async def told(self, what: str) -> dict[int, str]:
        """Return what LIST or UIDL tells of each message; nothing where the server refuses."""
        lines = Taken(_MOST_LIST)
        (reply,) = await self.ask_all([(what, lines)], many=True)
        found: dict[int, str] = {}
        for line in lines.lines() if reply.ok else []:
            number, _, rest = line.partition(" ")
            if number.isascii() and number.isdigit() and len(number) < 10:
                found[int(number)] = rest.strip()
        if not reply.ok and what == "LIST":
            raise Refused(reply)
        return found

    async def headers(self, numbers: Sequence[int]) -> list[bytes]:
        """Return headers by TOP, the first MiB of each; empty ones where the server refuses."""
        takers = [Taken(1024 * 1024, cut=True) for _ in numbers]
        commands = [(f"TOP {number} 0", taken) for number, taken in zip(numbers, takers, strict=True)]
        replies = await self.ask_all(commands, many=True)
        return [taken.octets() if reply.ok else b"" for reply, taken in zip(replies, takers, strict=True)]

    async def quit(self) -> Reply | None:
        """Say goodbye, by which what was deleted goes; None where the server does not answer."""
        try:
            return await self.ask("QUIT") if self.is_open else None
        finally:
            self.close()

    def close(self) -> None:
        """Hang up; nothing is deleted then."""
        self.is_open = False
        self._writer.close()


async def open_session(
    host: str,
    port: int,
    login: Login,
    *,
    tls: ssl.SSLContext | None,
    starttls: bool,
    connect_timeout_s: float,
    timeout_s: float,
    pipelining: bool,
) -> Session:
    """Connect and log in. Raises: Refused, Closed, WireError, OSError, TimeoutError."""
    async with asyncio.timeout(connect_timeout_s):
        now = tls if not starttls else None
        reader, writer = await asyncio.open_connection(host, port, ssl=now, limit=2 * _PIECE)
        session = Session(reader, writer, timeout_s)
        try:
            await session.greeted()
            await session.learn()
            if starttls:
                assert tls is not None
                await session.start_tls(tls, host)
                await session.learn()
            await session.log_in(login)
            await session.learn()
            if pipelining and "PIPELINING" in session.offers:
                session.ahead = WINDOW
        except BaseException:
            session.close()
            with suppress(Exception):
                await writer.wait_closed()
            raise
    return session
