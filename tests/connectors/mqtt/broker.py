"""A small broker in a thread, for tests that must know what was acknowledged to it, and say what it refuses.

It keeps sessions, at all qualities of service, MQTT 5.0 and 3.1.1, and sends again what was not acknowledged. It is
built from our own codec; that this speaks MQTT is shown with Mosquitto and paho elsewhere.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from connectors.mqtt.topics import matches
from connectors.mqtt.wire import packets
from connectors.mqtt.wire.encode import encode
from connectors.mqtt.wire.stream import Decoder
from connectors.mqtt.wire.values import NO_PROPERTIES, Properties

T = TypeVar("T")


@dataclass(slots=True)
class Sent:
    """One message for a subscriber; `tag` is what the test knows it by."""

    tag: int
    topic: str
    payload: bytes
    qos: int
    properties: Properties = NO_PROPERTIES
    retain: bool = False
    released: bool = False


@dataclass(slots=True)
class Session:
    filters: dict[str, int] = field(default_factory=dict)
    queue: deque[Sent] = field(default_factory=deque)
    in_flight: dict[int, Sent] = field(default_factory=dict)
    incoming: set[int] = field(default_factory=set)
    next_id: int = 0
    connection: _Connection | None = None


class Broker:
    """One broker on a port of 127.0.0.1. `refuse` is reason codes by topic; all else is taken."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.refuse: dict[str, int] = {}
        self.acknowledged: set[int] = set()
        self.answers: dict[int, int] = {}
        """Reason code by tag."""
        self.published: list[packets.Publish] = []
        self.sessions: dict[str, Session] = {}
        self.connects: list[packets.Connect] = []
        self.duplicates: list[packets.Publish] = []
        self.is_silent = False
        """Nothing is answered any more: a half-open connection."""
        self._early: deque[Sent] = deque()
        """What was put before anybody had subscribed."""
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    # -- from the test's thread

    def _do(self, call: Callable[[], Any]) -> Any:
        async def body() -> Any:
            made = call()
            return await made if asyncio.iscoroutine(made) else made

        return asyncio.run_coroutine_threadsafe(body(), self._loop).result(10)

    def start(self) -> None:
        self._do(self._listen)

    def stop(self) -> None:
        """Close everything, as a broker that ends and keeps its sessions."""
        self._do(self._unlisten)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def put(self, sent: Sent) -> None:
        """Publish to those who are subscribed, or will be."""
        self._loop.call_soon_threadsafe(self._put, sent)

    def cut(self) -> None:
        """Drop all connections."""
        self._do(self._drop_all)

    # -- in the loop

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port)

    async def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._drop_all()

    def _drop_all(self) -> None:
        for session in self.sessions.values():
            if session.connection is not None:
                session.connection.drop()

    def _put(self, sent: Sent) -> None:
        found = [one for one in self.sessions.values() if any(matches(_bare(each), sent.topic) for each in one.filters)]
        for session in found:
            session.queue.append(sent)
            self.pump(session)
        if not found:
            self._early.append(sent)

    def subscribed(self) -> None:
        early, self._early = self._early, deque()
        for sent in early:
            self._put(sent)

    def pump(self, session: Session) -> None:
        connection = session.connection
        while connection is not None and session.queue and len(session.in_flight) < connection.receive_maximum:
            sent = session.queue.popleft()
            if not sent.qos:
                connection.send_publish(sent, 0)
                continue
            session.next_id = next(n for n in range(session.next_id + 1, 65536) if n not in session.in_flight)
            session.in_flight[session.next_id] = sent
            connection.send_publish(sent, session.next_id)

    def answered(self, sent: Sent, code: int) -> None:
        self.answers[sent.tag] = code
        self.acknowledged.add(sent.tag)


def _bare(topic_filter: str) -> str:
    return topic_filter.split("/", 2)[2] if topic_filter.startswith("$share/") else topic_filter


class _Connection(asyncio.Protocol):
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._decoder = Decoder()
        self._session: Session | None = None
        self._transport: asyncio.Transport
        self.receive_maximum = 65535

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._session is not None and self._session.connection is self:
            self._session.connection = None

    def drop(self) -> None:
        if self._session is not None:
            self._session.connection = None
        self._transport.abort()

    def send(self, packet: packets.Packet) -> None:
        if not self._broker.is_silent:
            self._transport.write(encode(packet, self._decoder.version))

    def send_publish(self, sent: Sent, packet_id: int, dup: bool = False) -> None:
        self.send(packets.Publish(sent.topic, sent.payload, sent.qos, sent.retain, dup, packet_id, sent.properties))

    def data_received(self, data: bytes) -> None:
        for packet in self._decoder.feed(data):
            self._take(packet)
        if self._decoder.fault is not None:
            self.drop()

    def _take(self, packet: packets.Packet) -> None:
        broker, session = self._broker, self._session
        if isinstance(packet, packets.Connect):
            self._connect(packet)
            return
        assert session is not None, "the first packet is a CONNECT"
        match packet:
            case packets.Publish():
                self._publish(session, packet)
            case packets.Puback():
                sent = session.in_flight.pop(packet.packet_id, None)
                if sent is not None:
                    broker.answered(sent, packet.code)
            case packets.Pubrec():
                sent = session.in_flight.get(packet.packet_id)
                if sent is not None:
                    broker.answered(sent, packet.code)
                    if packet.code >= 0x80:
                        del session.in_flight[packet.packet_id]
                    else:
                        sent.released = True
                        self.send(packets.Pubrel(packet.packet_id))
            case packets.Pubcomp():
                session.in_flight.pop(packet.packet_id, None)
            case packets.Pubrel():
                session.incoming.discard(packet.packet_id)
                self.send(packets.Pubcomp(packet.packet_id))
            case packets.Subscribe():
                for each in packet.subscriptions:
                    session.filters[each.topic_filter] = each.qos
                self.send(packets.Suback(packet.packet_id, tuple(each.qos for each in packet.subscriptions)))
                broker.subscribed()
            case packets.Unsubscribe():
                for name in packet.filters:
                    session.filters.pop(name, None)
                self.send(packets.Unsuback(packet.packet_id, tuple(0 for _ in packet.filters)))
            case packets.Pingreq():
                self.send(packets.Pingresp())
            case packets.Disconnect():
                self._transport.close()
        broker.pump(session)

    def _connect(self, packet: packets.Connect) -> None:
        broker = self._broker
        broker.connects.append(packet)
        known = broker.sessions.get(packet.client_id)
        if known is not None and known.connection is not None:
            known.connection.drop()
        if known is None or packet.clean_start:
            self._session = broker.sessions[packet.client_id] = Session()
        else:
            self._session = known
        self._session.connection = self
        self.receive_maximum = packet.receive_maximum
        self.send(packets.Connack(0, session_present=known is self._session))
        for packet_id, sent in self._session.in_flight.items():
            if sent.released:
                self.send(packets.Pubrel(packet_id))
            else:
                self.send_publish(sent, packet_id, dup=True)
        broker.pump(self._session)

    def _publish(self, session: Session, packet: packets.Publish) -> None:
        broker = self._broker
        code = broker.refuse.get(packet.topic, 0)
        if packet.qos == 2 and packet.packet_id in session.incoming:
            broker.duplicates.append(packet)
        elif code < 0x80:
            broker.published.append(packet)
            if packet.qos == 2:
                session.incoming.add(packet.packet_id)
        if packet.qos == 1:
            self.send(packets.Puback(packet.packet_id, code))
        elif packet.qos == 2:
            self.send(packets.Pubrec(packet.packet_id, code))
