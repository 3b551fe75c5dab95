"""One connection to an IMAP server: octets in, octets out, an end that is noticed. What is said is others' business.

Promises: all octets of one turn of the loop go out in one piece; a content that is not in memory is sent in pieces, as
fast as the server takes them; a server that is silent for `timeout_s` while commands are under way, or that breaks the
protocol, is hung up on, and every command that was under way or waiting is answered with `Closed`.
Source: RFC 9051 §2, §6.2.1 (STARTTLS), RFC 4978 (COMPRESS).
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Callable
from typing import Any, Final, cast

from connectors.imap.wire.commands import Command, Literal
from connectors.imap.wire.dialogue import Dialogue, Taker, Untagged
from connectors.imap.wire.responses import BYE, Data, Said, response
from connectors.imap.wire.tokens import Cutter, Limits, Spill, WireError

PIECE: Final = 256 * 1024
_GREETING_S: Final = 60.0


class Closed(Exception):
    """The connection is over; what was under way may have been done."""


class Refused(Exception):
    """The server said NO or BAD."""

    def __init__(self, said: Said) -> None:
        self.said = said
        super().__init__(str(said))


class NotLoggedIn(Refused):
    """The server said NO or BAD to a log-in."""


class Connection(asyncio.Protocol):
    """A connection; made by `connect`."""

    def __init__(self, *, timeout_s: float, spill: Callable[[bytes, int], Spill | None] | None, limits: Limits) -> None:
        self.capabilities: frozenset[str] = frozenset()
        self.unasked: Callable[[Untagged], None] = lambda what: None
        """Takes what no command asked for."""
        self._timeout_s = timeout_s
        self._limits = limits
        self._spill = spill
        self._cutter = Cutter(limits, spill)
        self._dialogue = Dialogue(self._untagged)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._greeting: asyncio.Future[Said] = self._loop.create_future()
        self._ended: str | None = None
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_due = False
        self._lull: asyncio.TimerHandle | None = None
        self._streaming: asyncio.Task[None] | None = None
        self._heard_at = self._loop.time()
        self._watch: asyncio.TimerHandle | None = None
        self._inflate: Any = None
        self._deflate: Any = None

    # -- what is said

    @property
    def is_open(self) -> bool:
        return self._ended is None

    @property
    def under_way(self) -> int:
        """How many commands are not answered."""
        return self._dialogue.under_way

    def put(
        self,
        command: Command,
        done: Callable[[Said], None],
        takes: Taker | None = None,
        *,
        goes: Callable[[bytes], bytes | None] | None = None,
        alone: bool = False,
    ) -> None:
        """Say a command; `done` is called with its answer, of BYE where the connection ended before."""
        if self._ended is not None:
            done(Said("", BYE, None, self._ended))
            return
        if not self._dialogue.under_way:
            self._heard_at = self._loop.time()
        self._dialogue.say(command, done, takes, goes=goes, alone=alone)
        self._soon()

    def interject(self, octets: bytes) -> None:
        """Send octets that belong to the command under way, such as DONE of IDLE."""
        if self._ended is None:
            self._write(octets)

    async def ask(
        self,
        command: Command,
        takes: Taker | None = None,
        *,
        goes: Callable[[bytes], bytes | None] | None = None,
        alone: bool = False,
    ) -> Said:
        """Say a command and return its OK. Raises: Refused, Closed."""
        return await self.answer(self.say(command, takes, goes=goes, alone=alone))

    def say(
        self,
        command: Command,
        takes: Taker | None = None,
        *,
        goes: Callable[[bytes], bytes | None] | None = None,
        alone: bool = False,
    ) -> asyncio.Future[Said]:
        """Say a command and return what will be its answer, for `answer`; it is in the pipe when this returns."""
        said: asyncio.Future[Said] = self._loop.create_future()

        def done(what: Said) -> None:
            if not said.done():
                said.set_result(what)

        self.put(command, done, takes, goes=goes, alone=alone)
        return said

    async def answer(self, asked: asyncio.Future[Said]) -> Said:
        """Return the OK to what was said. Raises: Refused, Closed."""
        said = await asked
        if said.word == BYE:
            raise Closed(said.text)
        if said.word != "OK":
            raise Refused(said)
        self.learn(said)
        return said

    def learn(self, what: Untagged) -> bool:
        """Take the server's capabilities from where it told them; say whether it did."""
        if isinstance(what, Data) and what.name == "CAPABILITY":
            told = what.values
        elif isinstance(what, Said) and what.code is not None and what.code.name == "CAPABILITY":
            told = what.code.values
        else:
            return False
        self.capabilities = frozenset(
            each.decode("ascii", "replace").upper() for each in told if isinstance(each, bytes)
        )
        self._dialogue.literal_plus = "LITERAL+" in self.capabilities
        self._dialogue.literal_minus = bool(self.capabilities & {"LITERAL-", "IMAP4REV2"})
        return True

    async def greeting(self) -> Said:
        """Return what the server said first. Raises: Closed."""
        try:
            async with asyncio.timeout(_GREETING_S):
                said = await self._greeting
        except TimeoutError:
            self.end("no greeting")
            raise Closed("no greeting") from None
        self.learn(said)
        if said.word == BYE:
            self.end(said.text)
            raise Closed(said.text)
        return said

    async def start_tls(self, context: ssl.SSLContext, name: str) -> None:
        """Go on by TLS, after the server's OK to STARTTLS. Raises: OSError (also of what was sent before its time)."""
        assert self._transport is not None
        # What came in the clear behind the answer was put there by somebody else.
        self._cutter = Cutter(self._limits, self._spill)
        self.capabilities = frozenset()
        made = await self._loop.start_tls(self._transport, self, context, server_hostname=name)
        if made is None:
            raise ConnectionError("the connection ended in the TLS handshake")
        self._transport = made

    def compress(self) -> None:
        """Go on compressed, after the server's OK to COMPRESS DEFLATE."""
        self._inflate = zlib.decompressobj(-15)
        self._deflate = zlib.compressobj(wbits=-15)

    def lull(self, seconds: float) -> None:
        """Let what the server says lie for so long, to take all of it at once: to be woken for each answer costs more
        than to take it, the server, too, where it is on this machine."""
        if self._lull is None and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._lull = self._loop.call_later(seconds, self._end_of_lull)

    def _end_of_lull(self) -> None:
        self._lull = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # -- the end

    def end(self, why: str) -> None:
        """Hang up."""
        if self._ended is None:
            self._ended = why
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Return when the connection is over."""
        await asyncio.shield(self._over)

    # -- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=4 * PIECE)
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_s / 4, self._look)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            if self._inflate is not None:
                self._inflated(data)
            else:
                self._take(data)
        except (WireError, zlib.error) as fault:
            self.end(f"the server broke the protocol: {fault}")
            return
        self._soon()

    def _inflated(self, data: bytes) -> None:
        """Take compressed octets in bounded pieces: a few of them can be very many."""
        while data:
            self._take(self._inflate.decompress(data, PIECE))
            data = self._inflate.unconsumed_tail

    def _take(self, octets: bytes) -> None:
        for parts in self._cutter.feed(octets):
            what = response(parts)
            if not self._greeting.done():
                if not isinstance(what, Said) or what.tag:
                    raise WireError("no greeting")
                self._greeting.set_result(what)
                continue
            self._dialogue.heard(what)

    def _untagged(self, what: Untagged) -> None:
        if isinstance(what, Said) and what.word == BYE:
            self._ended = self._ended or f"the server hung up: {what.text}"
        elif not self.learn(what):
            self.unasked(what)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = self._ended or f"the connection was lost{f': {exc}' if exc else ''}"
        for timer in (self._watch, self._lull):
            if timer is not None:
                timer.cancel()
        if self._streaming is not None:
            self._streaming.cancel()
        self._writable.set()
        gone = Said("", BYE, None, self._ended)
        if not self._greeting.done():
            self._greeting.set_result(gone)
        self._dialogue.over(gone)
        if not self._over.done():
            self._over.set_result(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()
        self._soon()

    def _look(self) -> None:
        """Hang up on a server that says nothing while it is asked, and takes nothing of what it is told."""
        now = self._loop.time()
        if self._dialogue.under_way and now - self._heard_at > self._timeout_s:
            self.end(f"the server was silent for {self._timeout_s:g} s")
            return
        self._watch = self._loop.call_later(self._timeout_s / 4, self._look)

    # -- out

    def _soon(self) -> None:
        if not self._is_due and self._streaming is None:
            self._is_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_due = False
        if self._ended is not None or self._streaming is not None or not self._writable.is_set():
            return
        ready: list[bytes] = []
        for chunk in self._dialogue.output():
            if isinstance(chunk, bytes):
                ready.append(chunk)
            elif chunk.content.is_inline and chunk.size <= PIECE:
                ready.append(chunk.content.octets())
            elif chunk.content.is_inline and chunk.size <= 4 * PIECE:  # not copied once more to be in one piece
                self._write(b"".join(ready))
                ready.clear()
                self._write(chunk.content.octets())
            else:
                self._write(b"".join(ready))
                self._streaming = self._loop.create_task(self._stream(chunk))
                return
        self._write(b"".join(ready))

    def _write(self, octets: bytes) -> None:
        if not octets or self._transport is None:
            return
        if self._deflate is not None:
            octets = self._deflate.compress(octets) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        self._transport.write(octets)

    async def _stream(self, literal: Literal) -> None:
        """Send a large content, in pieces."""
        chunks = iter(literal.content.chunks())
        try:
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                for at in range(0, len(chunk), PIECE):
                    await self._writable.wait()
                    self._write(chunk[at : at + PIECE])
                    self._heard_at = self._loop.time()
        except OSError as fault:
            self.end(f"a message cannot be read: {fault}")
        finally:
            self._streaming = None
            self._soon()
