"""Session: one client's connection, between the transport, the dialogue (`server_wire`) and the intake.

Promises: 250 only after the intake has the message; replies in the order of the commands; at most one task, and
none while nothing is awaited; reading stops while the intake or the client is slow; a message whose end has come is
answered even if the node stops. The session keeps no timer: its source looks at `deadline`.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from functools import partial
from typing import Final, cast

from connectors.smtp import refusals
from connectors.smtp.clients import client_of
from connectors.smtp.commands import Mail, Rcpt
from connectors.smtp.reception import Reception
from connectors.smtp.replies import refusal, reply
from connectors.smtp.server_events import CLOSED, NEED_DATA, WAIT, Dropped, End, Event, Piece, StartTls, WireSettings
from connectors.smtp.server_tls import TlsLayer
from connectors.smtp.server_wire import ServerWire
from connectors.smtp.sharing import Sharing
from gateway.contract import AddressError, Origin, Receipt, Status

READ_AHEAD: Final = 64 * 1024
"""Octets that a client may send ahead of our answers before reading stops."""

LINGER_S: Final = 2.0
"""How long what a client still sends is thrown away after our last reply: to close at once would let the kernel
answer it with a reset, which can destroy the reply before the client has read it."""

TLS_HANDSHAKE_S: Final = 30.0

STOPPING: Final = b"421 4.3.2 this system is going down for a moment, try again later\r\n"
_TIMEOUT: Final = b"421 4.4.2 nothing came for too long, closing\r\n"
_RATE: Final = Status("4.7.1", "too many messages from your address, try again later")
_TOO_EARLY: Final = b"554 5.5.1 a client waits for the greeting (RFC 5321 section 3.1)\r\n"


class _HandedOver:
    """Stands where a session's task does while checks or the intake have its message: it ends by a call."""

    def done(self) -> bool:
        return False

    def cancel(self) -> None:
        """Do nothing: what was handed over may be committed already."""


HANDED_OVER: Final = _HandedOver()


class Session(asyncio.Protocol):
    """One connection. `implicit_tls` begins it with a handshake."""

    __slots__ = (
        "_at_eof",
        "_client",
        "_congested",
        "_counted",
        "_implicit_tls",
        "_is_asked",
        "_layer",
        "_lingers",
        "_loop",
        "_message_ends",
        "_origin",
        "_peer",
        "_reading",
        "_reception",
        "_shared",
        "_stops",
        "_task",
        "_tls",
        "_transport",
        "_wire",
        "deadline",
    )

    def __init__(self, shared: Sharing, loop: asyncio.AbstractEventLoop, *, implicit_tls: bool = False) -> None:
        self._shared = shared
        self._loop = loop
        self._implicit_tls = implicit_tls
        self._transport: asyncio.Transport | None = None
        self._wire: ServerWire = _NO_WIRE
        self._peer = ""
        self._client = ""
        """The peer as the limits see it."""
        self._counted = False
        self._task: asyncio.Task[None] | _HandedOver | None = None
        self._reception: Reception | None = None
        self._origin: Origin | None = None
        self._layer: TlsLayer | None = None
        self._tls = ""
        self._is_asked = False
        """What the task awaits is a check, so that it may be given up."""
        self._reading = True
        self._congested = False
        self._at_eof = False
        self._lingers = False
        self._stops = False
        self._message_ends = math.inf
        self.deadline = math.inf

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peername = transport.get_extra_info("peername")
        self._peer = peer = peername[0] if peername else ""
        shared = self._shared
        trusted = shared.is_trusted(peer)
        self._client = client_of(peer)
        why = shared.clients.enter(self._client, trusted=trusted)
        if why is not None:
            shared.context.count("connections_refused")
            if not self._implicit_tls:
                self._transport.write(reply(421, "4.7.0", why))
            self._transport.close()
            return
        self._counted = True
        shared.sessions.add(self)
        self._wire = shared.new_wire(peer)
        self.deadline = self._loop.time() + shared.client_timeout_s
        if self._implicit_tls:
            self._begin_tls()
        else:
            self._welcome(0 if trusted else shared.greet_delay_s)

    def data_received(self, data: bytes) -> None:
        wire = self._wire
        if self._layer is not None:
            data = self._uncover(self._layer, data)
            if not data:
                return
        wire.receive(data)
        if self._task is not None or self._congested:
            if wire.waiting > READ_AHEAD:
                self._pause()
            return
        self._go_on()

    def eof_received(self) -> bool:
        # A client that has shut its side may still read the answer to what it sent.
        self._at_eof = self._task is not None and not self._lingers and not self._wire.is_closed
        return self._at_eof

    def pause_writing(self) -> None:
        self._congested = True
        self._pause()

    def resume_writing(self) -> None:
        self._congested = False
        if self._task is None:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._wire.close()
        self._leave()
        if self._task is None:  # else the task sees that the transport is gone
            self._abandon()

    # What the source calls

    def stop(self) -> None:
        """Take no new transaction: finish the content under way, and tell the rest to come back."""
        self._stops = True
        if self._lingers:
            self.kill()
        elif self._task is None and not self._wire.in_content:
            self._wire.close(STOPPING)
            self._flush(lingers=False)

    def expire(self) -> None:
        """End a connection whose deadline is over: with a reply at first, then without."""
        handshakes = self._layer is not None and not self._layer.is_ready
        if self._lingers or self._wire.is_closed or self._task is not None or handshakes:
            self.kill()
            return
        self._shared.context.count("client_timeouts")
        self._wire.close(_TIMEOUT)
        self._flush()

    def kill(self) -> None:
        """End the connection at once. A task of its own must have ended, or goes on without it."""
        if self._task is not None and self._task.done():
            self._task = None
        if self._transport is not None:
            self._transport.abort()
        self._wire.close()
        self._leave()
        if self._task is None:
            self._abandon()

    # The dialogue

    def _welcome(self, delay_s: float) -> None:
        """Let the dialogue begin, now or after a delay."""
        if delay_s:
            self._task = self._shared.spawn(self._greet_later(delay_s))
        else:
            self._greet()

    def _greet(self) -> None:
        self._wire.greet()
        self._go_on()

    async def _greet_later(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._task = None
        if self._wire.waiting:
            self._shared.context.count("early_talkers")
            self._wire.close(_TOO_EARLY)
            self._flush()
        elif self._stops:
            self.stop()
        else:
            self._welcome(0)

    def _go_on(self) -> None:
        """Work off what the wire has, until it needs data, an answer of the intake, or a client that reads."""
        wire = self._wire
        while self._task is None and not self._congested:
            event = wire.next_event()
            if event is NEED_DATA:
                if self._at_eof:
                    wire.close()
                elif self._stops and not wire.in_content:
                    wire.close(STOPPING)
                break
            if event is CLOSED or event is WAIT:
                break
            self._act(event)
        self._flush()

    def _act(self, event: Event) -> None:
        match event:
            case Rcpt():
                self._rcpt(event)
            case Mail():
                self._mail(event)
            case End():
                self._end(event)
            case Piece():
                self._piece(event)
            case Dropped():
                self._abandon()
            case StartTls():
                self._abandon()  # a message may have begun, and what came of it be stored
                self._flush()  # the last reply in clear
                self._begin_tls()

    def _flush(self, *, lingers: bool = True) -> None:
        """Send the replies that are due, set the deadline, read on; or close where the dialogue is over."""
        wire, transport = self._wire, self._transport
        if transport is None or self._lingers:
            return
        if self._is_asked and not wire.is_closed:
            # Whoever pipelined waits for the last reply: those before it leave with it, in one piece.
            self.deadline = math.inf
            return
        out = wire.take_output()
        if out:
            if self._layer is None:
                transport.write(out)
            elif self._layer.is_ready:
                self._layer.send(out)
                self._send_protected(self._layer)
        if wire.is_closed:
            self._close(transport, lingers and not wire.has_quit)
            return
        now = self._loop.time()
        if self._task is not None:
            self.deadline = math.inf  # it is not the client that takes its time
        elif not wire.in_content:
            self._message_ends = math.inf
            if out:  # a command was worked off; a single octet now and then does not put the end off
                self.deadline = now + self._shared.client_timeout_s
            if not self._reading and not self._congested:
                self._resume()
        else:
            if self._message_ends == math.inf:
                self._message_ends = now + self._shared.receive_timeout_s
            self.deadline = min(self._message_ends, now + self._shared.client_timeout_s)
            if not self._reading and not self._congested:
                self._resume()

    def _close(self, transport: asyncio.Transport, lingers: bool) -> None:
        self._lingers = True
        self.deadline = self._loop.time() + LINGER_S
        if self._layer is not None:
            self._layer.close()
            self._send_protected(self._layer)
        if lingers and transport.can_write_eof():
            transport.write_eof()
            self._resume()
        else:
            transport.close()

    def _pause(self) -> None:
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and self._transport is not None and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def _leave(self) -> None:
        if self._counted:
            self._counted = False
            self._shared.clients.leave(self._client)
            self._shared.sessions.discard(self)

    # What the wire asks

    def _mail(self, mail: Mail) -> None:
        wire, shared = self._wire, self._shared
        if not wire.trusted and not shared.clients.may_send(self._client, self._loop.time()):
            shared.context.count("messages_refused", status=_RATE.code)
            self._tell_refused(mail, _RATE)
            wire.refuse(refusal(_RATE), is_error=False)
            return
        try:
            self._begin(mail)
        except AddressError as fault:
            wire.refuse(reply(553, "5.1.7", fault.message))

    def _begin(self, mail: Mail) -> None:
        """Begin a transaction, and answer the MAIL. Raises: AddressError."""
        shared = self._shared
        self._reception = Reception(shared.intake, shared.context.log, mail, self._origin_for(mail))
        self._wire.take()

    def _tell_refused(self, mail: Mail, status: Status) -> None:
        """Leave a line in the log of a message that was refused before it began."""
        refusals.line(
            self._shared.context.log,
            "refused",
            "gateway",
            "mail",
            peer=self._peer,
            helo=self._wire.helo or "",
            user=self._wire.user,
            sender=f"<{mail.path}>",
            recipients="",
            status=status,
        )

    def _origin_for(self, mail: Mail) -> Origin:
        wire, origin = self._wire, self._origin
        protocol = wire.protocol
        if mail.smtputf8:
            protocol = "UTF8" + protocol.removeprefix("E")  # RFC 6531 §4.3
        helo = wire.helo or ""
        if origin is None or origin.helo != helo or origin.protocol != protocol:
            self._origin = origin = Origin(
                self._shared.name, peer=self._peer, helo=helo, protocol=protocol, tls=self._tls, trusted=wire.trusted
            )
        return origin

    def _rcpt(self, rcpt: Rcpt) -> None:
        wire, reception = self._wire, self._reception
        assert reception is not None
        try:
            status = reception.add(rcpt)
        except AddressError as fault:
            wire.refuse(reply(553, "5.1.3", fault.message), is_error=not wire.trusted)
            return
        if status is None:
            self._take_rcpt(reception)
        else:
            self._shared.context.count("recipients_refused", status=status.code)
            reception.tell_refused("rcpt", status, f"<{rcpt.path}>")
            # A stranger who tries names is stopped at some time; a trusted client may have a long, old list.
            wire.refuse(refusal(status), is_error=status.is_permanent and not wire.trusted)

    def _take_rcpt(self, reception: Reception) -> None:
        """Answer an RCPT that the intake takes."""
        self._wire.take()

    def _piece(self, piece: Piece) -> None:
        reception = self._reception
        assert reception is not None
        if not reception.write(piece.octets):
            self._pause()
            self._task = self._shared.spawn(self._drain(reception))

    def _end(self, end: End) -> None:
        reception = self._reception
        assert reception is not None
        message = reception.whole(end)
        if message is None:
            self._task = self._shared.spawn(self._complete(reception, end))
        else:
            self._task = HANDED_OVER
            self._shared.intake.take(message, partial(self._taken, reception))

    def _taken(self, reception: Reception, receipt: Receipt | None, fault: BaseException | None) -> None:
        if not isinstance(fault, asyncio.CancelledError):  # else the node stops, and nobody knows what is committed
            self._answer(reception, *reception.taken(receipt, fault))

    async def _drain(self, reception: Reception) -> None:
        await reception.drain()
        self._task = None
        if self._transport is not None:
            self._go_on()
        else:
            self._abandon()

    async def _complete(self, reception: Reception, end: End) -> None:
        self._answer(reception, *await reception.complete(end))

    def _answer(self, reception: Reception, answer: bytes, accepted: bool) -> None:
        # Nothing stands between the commit and the reply.
        self._task = self._reception = None
        self._finish(reception, answer, accepted)
        if self._transport is not None:
            self._go_on()

    def _finish(self, reception: Reception, answer: bytes, accepted: bool) -> None:
        self._wire.finish(answer, accepted=accepted)

    def _abandon(self) -> None:
        if self._reception is not None:
            removal = self._reception.abandon()
            self._reception = None
            if removal is not None:
                self._shared.spawn(removal)

    # TLS

    def _begin_tls(self) -> None:
        assert self._shared.tls is not None
        self._layer = TlsLayer(self._shared.tls)
        self.deadline = self._loop.time() + min(TLS_HANDSHAKE_S, self._shared.client_timeout_s)

    def _uncover(self, layer: TlsLayer, data: bytes) -> bytes:
        """Return what protected octets stand for; where they are none, the connection ends."""
        was_ready = layer.is_ready
        try:
            data = layer.receive(data)
        except ssl.SSLError as fault:
            self._shared.context.count("client_tls_faults")
            self._shared.context.log.debug("TLS failed", peer=self._peer, fault=str(fault))
            self._send_protected(layer)
            if self._transport is not None:
                self._transport.close()
            self._wire.close()
            return b""
        self._send_protected(layer)
        if layer.is_ready and not was_ready:
            self._tls = layer.description
            self._origin = None
            self._wire.tls_started()
            if self._implicit_tls:
                self._welcome(0)
            else:
                self._go_on()
        return data

    def _send_protected(self, layer: TlsLayer) -> None:
        out = layer.output()
        if out and self._transport is not None:
            self._transport.write(out)


def _closed_wire() -> ServerWire:
    wire = ServerWire(WireSettings(""))
    wire.close()
    return wire


_NO_WIRE: Final = _closed_wire()
"""The dialogue of a connection that was not let in: over before it began."""
