"""One connection to a broker: made, watched and ended; what its packets mean is the session's business.

Promises: the connection is made, with TLS and CONNACK, within a bound, or OSError or Refused says why not. A broker
that does not speak MQTT 5.0, whether it says so, closes or is silent, is asked in 3.1.1 where that is allowed. A
connection on which nothing comes after a PINGREQ is ended within a bound, however long the operating system would wait.

Sources: OASIS MQTT 5.0 §3.1, §3.1.2.10 (keep alive), §3.12, §4.13.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, cast

from connectors.mqtt.wire.decode import Limits
from connectors.mqtt.wire.encode import PINGREQ, encode
from connectors.mqtt.wire.octets import WireError
from connectors.mqtt.wire.packets import V5, V311, Connack, Connect, Disconnect, Packet, Will
from connectors.mqtt.wire.reasons import FIRST_ERROR, UNSUPPORTED_VERSION, text
from connectors.mqtt.wire.stream import Decoder
from connectors.mqtt.wire.values import Outgoing, Refused

Version = Literal["auto", "5", "3.1.1"]

ANSWER_S: Final = 10.0
"""So long a PINGRESP may take, or half the keep alive where that is shorter."""
UNWRITTEN_OCTETS: Final = 1024 * 1024
"""With more than this in the transport's buffer, nothing more is published."""
_FAREWELL_S: Final = 1.0
_CLOSINGS: Final = 2
"""A broker that closes the connection at CONNECT of version 5 so often in a row is taken to be one that knows no other
way to refuse it (MQTT 3.1.1 §3.1.2.2 asks for a CONNACK, and not all give one)."""
_SILENCE_S: Final = 3.0
"""So long a CONNACK may take where 3.1.1 is to be tried next: a broker may read a CONNECT of version 5 as one of 3.1.1,
and wait for the rest of it for ever."""
_SILENT_S: Final = 3600.0
"""So long a broker that was silent in version 5, and not in 3.1.1, is asked in 3.1.1 at once."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where one is. `tls` None: without."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What a client is told once. `max_payload_octets`: a larger payload comes as its first `head_octets`."""

    brokers: Sequence[Broker]
    client_id: str
    version: Version = "auto"
    username: str | None = None
    password: str | None = None
    keep_alive_s: int = 30
    receive_maximum: int = 2000
    max_in_flight: int = 100
    session_expiry_s: int = 0xFFFFFFFF
    will: Outgoing | None = None
    connect_timeout_s: float = 10.0
    retry_min_s: float = 0.5
    retry_max_s: float = 60.0
    max_payload_octets: int = 16 * 1024 * 1024
    head_octets: int = 64 * 1024

    def connect(self, version: int, *, clean_start: bool, topic_alias_maximum: int) -> Connect:
        """Return the CONNECT that these settings ask for."""
        will = self.will
        return Connect(
            version,
            self.client_id,
            clean_start=clean_start,
            keep_alive_s=self.keep_alive_s,
            username=self.username,
            password=None if self.password is None else self.password.encode(),
            will=None if will is None else Will(will.topic, will.payload, will.qos, will.retain, 0, will.properties),
            session_expiry_s=self.session_expiry_s,
            receive_maximum=self.receive_maximum,
            topic_alias_maximum=topic_alias_maximum,
        )


class Link(asyncio.Protocol):
    """A connection. Packets that come before `begin` wait for it."""

    def __init__(self, broker: Broker, version: int, limits: Limits) -> None:
        self.broker = broker
        self.version = version
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done once the connection is gone, with the reason in words."""
        self.is_blocked = False
        """The transport holds so much unwritten that nothing is to be added."""
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder(version, limits)
        self._transport: asyncio.Transport | None = None
        self._early: list[Packet] = []
        self._came = asyncio.Event()
        self._take: Callable[[list[Packet]], None] | None = None
        self._unblocked: Callable[[], None] = _nothing
        self._why = ""
        self._is_held = False
        self._heard_at = self._wrote_at = self._loop.time()
        self._pinged_at: float | None = None

    @property
    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport.set_write_buffer_limits(high=UNWRITTEN_OCTETS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(self._why or (str(exc) if exc else "the broker closed the connection"))
        self._came.set()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        packets = self._decoder.feed(data)
        if self._take is None:
            self._early += packets
            self._came.set()
        else:
            self._take(packets)
            self._look_for_fault()

    def pause_writing(self) -> None:
        self.is_blocked = True

    def resume_writing(self) -> None:
        self.is_blocked = False
        self._unblocked()

    def begin(self, take: Callable[[list[Packet]], None], unblocked: Callable[[], None]) -> None:
        """Hand packets over from now on, those that came behind CONNACK first."""
        self._take, self._unblocked = take, unblocked
        early, self._early = self._early, []
        take(early)
        self._look_for_fault()

    def hold(self, on: bool) -> None:
        """Stop or go on reading: the broker's octets wait in its buffers and ours."""
        if on == self._is_held or self._transport is None:
            return
        self._is_held = on
        if on:
            self._transport.pause_reading()
        else:
            self._heard_at = self._loop.time()
            self._transport.resume_reading()

    def write(self, octets: bytes) -> None:
        if octets and self._transport is not None and not self._transport.is_closing():
            self._wrote_at = self._loop.time()
            self._transport.write(octets)

    def end(self, why: str, code: int | None = None) -> None:
        """Close the connection; with a reason code, MQTT 5.0 says it first."""
        self._why = self._why or why
        if self._transport is None or self._transport.is_closing():
            return
        if code is not None and (self.version == V5 or not code):
            self._transport.write(encode(Disconnect(code), self.version))
        self._transport.close()
        self._loop.call_later(_FAREWELL_S, self.abort, why)  # what it cannot write would keep it open

    def abort(self, why: str) -> None:
        """Drop the connection: who is at the other end hears nothing."""
        self._why = self._why or why
        if self._transport is not None:
            self._transport.abort()

    async def connack(self) -> Connack:
        """Wait for the broker's first word. Raises: OSError, Refused, WireError."""
        while not self._early:
            if self._decoder.fault is not None:
                raise self._decoder.fault
            if self.closed.done():
                raise ConnectionResetError(self.closed.result())
            self._came.clear()
            await self._came.wait()
        first = self._early.pop(0)
        if not isinstance(first, Connack):
            raise WireError("the broker began with another packet than CONNACK")
        if first.code >= FIRST_ERROR:
            raise Refused(first.code, text(first.code, first.reason))
        return first

    async def part(self, patience_s: float) -> None:
        """Say that no more is to come, and give a broker that waits for more the time to say its last word."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()
            await asyncio.wait((self.closed,), timeout=patience_s)

    async def watch(self, keep_alive_s: float) -> str:
        """Keep the connection alive until it ends, and end it where the other side is gone. Return why it ended."""
        answer_s = min(ANSWER_S, keep_alive_s / 2) if keep_alive_s else 0.0
        step_s = min(answer_s, keep_alive_s / 4) or None
        while not self.closed.done():
            await asyncio.wait((self.closed,), timeout=step_s)
            if keep_alive_s:
                self._look(keep_alive_s, answer_s)
        return self.closed.result()

    def _look(self, keep_alive_s: float, answer_s: float) -> None:
        now = self._loop.time()
        if self._is_held:
            self._heard_at = now  # what we do not read says nothing about who sends it
        if self._pinged_at is not None:
            if self._heard_at >= self._pinged_at:
                self._pinged_at = None
            elif now - self._pinged_at >= answer_s:
                self.abort("the broker does not answer")
                return
        if self._pinged_at is None and now - min(self._heard_at, self._wrote_at) >= keep_alive_s / 2:
            self.write(PINGREQ)
            self._pinged_at = now

    def _look_for_fault(self) -> None:
        fault = self._decoder.fault
        if fault is not None:
            self.end(f"the broker broke the protocol: {fault.text}", fault.code)


class Silent(TimeoutError):
    """The connection was made, and no CONNACK came within `silence_s`."""


async def open_link(
    settings: ClientSettings, broker: Broker, connect: Connect, limits: Limits, *, silence_s: float | None = None
) -> tuple[Link, Connack]:
    """Connect to one broker in one version.

    Raises: OSError (so TimeoutError, Silent, ssl.SSLError), Refused, WireError.
    """
    link = Link(broker, connect.version, limits)
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            await asyncio.get_running_loop().create_connection(
                lambda: link,
                broker.host,
                broker.port,
                ssl=broker.tls,
                server_hostname=broker.host if broker.tls else None,
            )
            link.write(encode(connect, connect.version))
            try:
                async with asyncio.timeout(silence_s):
                    return link, await link.connack()
            except TimeoutError as e:
                silence_s = silence_s or 0.0
                await link.part(min(_FAREWELL_S, silence_s))
                raise Silent(f"no CONNACK within {silence_s:g} s") from e
    except BaseException:
        link.abort("the connection was not made")
        raise


class Dialler:
    """Connects to one of several brokers, in the best version it speaks."""

    def __init__(self, settings: ClientSettings, limits: Limits, topic_alias_maximum: int) -> None:
        self._settings = settings
        self._limits = limits
        self._topic_alias_maximum = topic_alias_maximum
        self._closings: dict[Broker, int] = {}
        self._silent_until: dict[Broker, float] = {}
        self._patient: set[Broker] = set()
        """Brokers whose CONNACK is waited for to the end: they have spoken version 5, or are slow in both."""

    async def dial(self, broker: Broker, *, clean_start: bool) -> tuple[Link, Connack]:
        """Connect to one broker. Raises: OSError, Refused, WireError."""
        settings = self._settings
        connect = settings.connect(V5, clean_start=clean_start, topic_alias_maximum=self._topic_alias_maximum)
        old = replace(connect, version=V311)
        if settings.version == "3.1.1":
            return await open_link(settings, broker, old, self._limits)
        if settings.version == "5":
            return await open_link(settings, broker, connect, self._limits)
        if self._silent_until.get(broker, 0.0) > asyncio.get_running_loop().time():
            return await open_link(settings, broker, old, self._limits)
        silence_s = None if broker in self._patient else min(_SILENCE_S, settings.connect_timeout_s / 3)
        try:
            link, connack = await open_link(settings, broker, connect, self._limits, silence_s=silence_s)
        except Refused as refused:
            if refused.code != UNSUPPORTED_VERSION:
                raise
        except ConnectionResetError:
            self._closings[broker] = self._closings.get(broker, 0) + 1
            if self._closings[broker] < _CLOSINGS:
                raise
        except Silent:
            return await self._dial_silent(broker, old, silence_s)
        else:
            self._closings.pop(broker, None)
            self._patient.add(broker)
            return link, connack
        return await open_link(settings, broker, old, self._limits)

    async def _dial_silent(self, broker: Broker, old: Connect, silence_s: float | None) -> tuple[Link, Connack]:
        """Ask a broker in 3.1.1 that said nothing to version 5: it has as long to answer as it had there, so that one
        that is only slow is not taken for an old one. Raises: OSError, Refused, WireError."""
        try:
            made = await open_link(self._settings, broker, old, self._limits, silence_s=silence_s)
        except Silent:
            self._patient.add(broker)
            raise
        self._silent_until[broker] = asyncio.get_running_loop().time() + _SILENT_S
        return made


def _nothing() -> None:
    pass
