"""One connection of the sending side: the transport around a ClientWire, with one timer and few wakes.

All that happens between a reply and the next write happens in one callback: events are handed to the work, the
next transaction is taken and its commands leave in the same write as the content before them. Only a content
that is not in memory is sent by the coroutine in `run`, piece by piece, as fast as the peer takes it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final, Protocol, cast

from connectors.smtp import faults
from connectors.smtp.client_config import ClientConfig
from connectors.smtp.client_wire import ClientWire, Event, Extensions, PeerError, Reply, Stage, Transaction
from connectors.smtp.faults import HopFault
from connectors.smtp.mx import Target
from connectors.smtp.tls import TlsOptions
from gateway.contract import Content, Deferred, Scope, Status

_WRITE_HIGH: Final = 256 * 1024
_QUIT_S: Final = 5.0


@unique
class Ending(Enum):
    """Why a connection is of no more use."""

    LOST = "lost"
    """Closed or reset by the peer."""
    CLOSING = "closing"
    """The peer said 421: it ends in good order."""
    SILENT = "silent"
    GARBAGE = "garbage"
    OURS = "ours"
    """Given up by us: cancelled, or a content that could not be read."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What stood open when a connection ended.

    `unanswered` are those whose dot was sent and not answered; `cut` is the transaction whose content was not sent
    to its end; `unsent` the one of whose content nothing was sent.
    """

    why: Ending
    status: Status
    unanswered: Sequence[tuple[Transaction, int]] = ()
    cut: Transaction | None = None
    unsent: Transaction | None = None


class Work(Protocol):
    """What a connection works on; called in the connection's callbacks, never waits."""

    def next(self, peer: Extensions) -> Transaction | None:
        """Return the next transaction, None where there is none (now)."""
        ...

    def content(self, tx: Transaction) -> Content: ...

    def answered(self, event: Event) -> None:
        """Take a reply that decides about recipients."""
        ...

    def mended(self) -> None:
        """Hear that a content held bare newlines, which were sent as CRLF."""
        ...

    def ended(self, ended: Ended) -> None:
        """Take what is left open; nothing further comes from this connection."""
        ...

    @property
    def must_read(self) -> bool:
        """Whether `next` returned None only because a content's octets must be looked at first, by `read`."""
        ...

    async def read(self) -> None: ...


class Connection(asyncio.Protocol):
    """An open connection, used for one piece of work after the other."""

    def __init__(self, target: Target, config: ClientConfig, on_end: Callable[[Connection], None]) -> None:
        self.target = target
        self.wire = ClientWire(lmtp=config.protocol_out == "lmtp", ignore=config.ignore_offers)
        self.ended: Ended | None = None
        self.is_reused = False
        self.tls = ""
        self._config = config
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._work: Work | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._early: Reply | None = None
        """A reply that came before `reply` was called, as a greeting may."""
        self._wake: asyncio.Future[None] | None = None
        self._drain: asyncio.Future[None] | None = None
        self._paused = False
        self._streaming: Transaction | None = None
        self._begun_at = 0.0
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._armed_for: float = 0.0
        command = config.command_timeout_s
        self._timeouts = dict.fromkeys(Stage, command) | {
            Stage.GREETING: config.greeting_timeout_s,
            Stage.DATA: config.data_timeout_s,
            Stage.DOT: config.dot_timeout_s,
            Stage.QUIT: _QUIT_S,
        }

    @property
    def is_fit(self) -> bool:
        """Whether it can take further work."""
        wire = self.wire
        full = wire.messages >= self._config.max_messages_per_connection
        return self.ended is None and wire.is_quiet and not wire.closing and not full

    # --- use

    async def run(self, work: Work) -> None:
        """Do work until there is no more of it, the connection is full, or it ends. `ended` says which.

        Cancellation aborts the connection: what was under way is handed to `work.ended`.
        """
        if self.ended is not None:
            work.ended(Ended(self.ended.why, self.ended.status))
            return
        self._work = work
        try:
            self._proceed()
            while not self._is_done():
                if self._streaming is not None:
                    await self._stream(self._streaming)
                elif work.must_read:
                    await work.read()
                    self._proceed()
                else:
                    self._wake = self._loop.create_future()
                    await self._wake
        finally:
            if not self._is_done():
                self.abort("given up while under way")
            self._work = self._wake = None

    def quit(self) -> None:
        """Say QUIT and close once it is answered, or soon (RFC 5321 §4.1.1.10)."""
        if self.ended is not None:
            return
        if self.wire.closing or not self.wire.is_quiet:
            self.abort("closed")
            return
        self.wire.command(Stage.QUIT, b"QUIT")
        self._flush()
        self._watch()

    def abort(self, cause: str) -> None:
        """Close at once."""
        self._end(Ending.OURS, faults.lost(self.wire.awaiting, self.target.name, cause))

    # --- opening; the steps are called by `opening`

    async def reply(self) -> Reply:
        """Wait for the reply to the command just given. Raises: HopFault where none comes."""
        if self.ended is not None:
            raise HopFault(Deferred(self.ended.status, Scope.HOP))
        if self._early is not None:
            early, self._early = self._early, None
            return early
        self._flush()
        self._watch()
        self._answer = self._loop.create_future()
        try:
            return await self._answer
        finally:
            self._answer = None

    async def start_tls(self, tls: TlsOptions) -> None:
        """Put TLS under the connection. Raises: OSError (of which SSLError is one)."""
        assert tls.context is not None
        if self._transport is None or not self.wire.is_quiet:
            # RFC 3207 §6: what came in the clear behind the 220 may be another's.
            raise ssl.SSLError("octets in the clear after the answer to STARTTLS")
        transport = await self._loop.start_tls(
            self._transport,
            self,
            tls.context,
            server_hostname=tls.server_name or self.target.name,
            ssl_handshake_timeout=self._config.connect_timeout_s,
        )
        if transport is None or self.ended is not None:
            raise ssl.SSLError("the connection was lost in the TLS handshake")
        if tls.check is not None:
            tls.check(transport.get_extra_info("ssl_object"))
        self.connection_made(transport)
        self.wire.restart()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH)
        inner = transport.get_extra_info("ssl_object")
        if inner is not None:
            self.tls = inner.version() or "TLS"

    def data_received(self, data: bytes) -> None:
        wire = self.wire
        if self.ended is not None:
            return
        replies = wire.replies
        try:
            events = wire.receive(data)
        except PeerError as fault:
            for event in fault.events:
                if event.reply.code != 354:
                    self._take(event)
            said = fault.status
            self._end(Ending.GARBAGE, Status(said.code, said.text, said.cause, remote=self.target.name))
            return
        if wire.replies == replies:
            return  # part of a line: it must not put the time-out off
        for event in events:
            self._take(event)
        if wire.closing:
            said = Status("4.3.2", "the next hop is closing the connection", remote=self.target.name)
            last = events[-1].reply if events and events[-1].reply.code == 421 else None
            self._end(Ending.CLOSING, faults.status(last, self.target.name) if last else said)
        elif self._work is not None:
            self._proceed()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        cause = str(exc) if exc else "closed by the peer"
        self._end(Ending.LOST, faults.lost(self.wire.awaiting, self.target.name, cause))

    def pause_writing(self) -> None:
        self._paused = True
        self._watch()

    def resume_writing(self) -> None:
        self._paused = False
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
        self._watch()

    # --- within

    def _take(self, event: Event) -> None:
        tx = event.transaction
        if tx is None:
            if event.stage is Stage.QUIT:
                self._end(Ending.OURS, faults.lost(None, self.target.name, "quit"))
            elif self._answer is not None and not self._answer.done():
                self._answer.set_result(event.reply)
            else:
                self._early = event.reply
            return
        work = self._work
        if work is None:
            return
        work.answered(event)
        if event.stage is Stage.DATA and event.reply.code == 354:
            content = work.content(tx)
            if self.wire.current is not tx or not self.wire.in_content:
                return  # refused in the same breath
            if content.is_inline:
                self.wire.content(content.octets())
                if self.wire.end_content():
                    work.mended()
            else:
                self._streaming = tx

    def _proceed(self) -> None:
        """Take the next transaction where one can begin, send what there is, and see whether `run` must wake."""
        work, wire = self._work, self.wire
        if work is None or self.ended is not None:
            return
        if wire.can_begin and wire.messages < self._config.max_messages_per_connection:
            tx = work.next(wire.extensions)
            if tx is not None:
                wire.begin(tx)
                self._begun_at = self._loop.time()
        self._flush()
        self._watch()
        wake = self._wake
        if wake is not None and not wake.done() and (self._streaming or work.must_read or self._is_done()):
            wake.set_result(None)

    def _is_done(self) -> bool:
        work = self._work
        if self.ended is not None:
            return True
        return self.wire.awaiting is None and self.wire.can_begin and not (work is not None and work.must_read)

    def _flush(self) -> None:
        octets = self.wire.take_output()
        if octets and self._transport is not None:
            self._transport.write(octets)

    async def _stream(self, tx: Transaction) -> None:
        """Send a content that is not in memory, a piece at a time; never more than the peer has taken."""
        assert self._work is not None
        try:
            async for piece in self._work.content(tx).stream():
                if self.ended is not None:
                    return
                self.wire.content(piece)
                self._flush()
                if self._paused:
                    self._drain = self._loop.create_future()
                    await self._drain
                    self._drain = None
                if self.ended is not None:
                    return
        except OSError as fault:
            # Without the rest there must be no dot, or half a message would be delivered.
            self._end(Ending.OURS, Status("4.3.0", "the content cannot be read", cause=str(fault)))
            return
        self._streaming = None
        if self.wire.end_content() and self._work is not None:
            self._work.mended()
        self._proceed()

    def _watch(self) -> None:
        """Set the time by which the peer must have done what it owes. One timer serves; it is moved when it fires."""
        stage = self.wire.awaiting
        if self._paused:
            wait_s = self._config.block_timeout_s
        elif stage is not None:
            wait_s = self._timeouts[stage]
        else:
            self._deadline = None
            return
        now = self._loop.time()
        self._deadline = deadline = now + wait_s
        if self._work is not None:
            self._deadline = deadline = min(deadline, self._begun_at + self._config.message_timeout_s)
        self._armed_for = wait_s
        if self._timer is None or self._timer_at > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._timed_out)

    def _timed_out(self) -> None:
        self._timer = None
        deadline = self._deadline
        if deadline is None or self.ended is not None:
            return
        if self._loop.time() < deadline:
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._timed_out)
            return
        stage = Stage.DOT if self._paused else self.wire.awaiting
        self._end(Ending.SILENT, faults.silent(stage, self.target.name, self._armed_for))

    def _end(self, why: Ending, status: Status) -> None:
        if self.ended is not None:
            return
        wire = self.wire
        current, begun = wire.current, wire.in_content
        self.ended = Ended(why, status, wire.unanswered(), current if begun else None, None if begun else current)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            if why is Ending.OURS and current is None:
                self._transport.close()
            else:
                self._transport.abort()
        if self._work is not None:
            self._work.ended(self.ended)
        for waiter in (self._wake, self._drain):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(HopFault(Deferred(status, Scope.HOP)))
        self._on_end(self)
