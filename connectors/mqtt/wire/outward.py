"""What we publish: from PUBLISH to the broker's last answer.

Promises:
- QoS 2 is exact over a kill: key and packet identifier are durable before PUBLISH is written, `released` before PUBREL,
  and a key that was done is not sent again. A key found `sent` goes out under its identifier with DUP once it is
  published again; one found `released` gets its PUBREL at once.
- What the broker has not answered when a connection breaks is sent again with DUP on the next (§4.4), and publishing
  the same key again joins it.
- Never more messages are in flight than the broker's receive maximum and ours (§4.9); what comes on top waits.
Where the broker has lost the session, what was written is forgotten, as a new session knows nothing of it; whoever
publishes it again may double it: `forget` tells how many.
Limit: a key left `sent` by a kill and never published again keeps its identifier until the session is lost.

Sources: §3.3 to §3.7, §4.3, §4.4, §4.9.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from connectors.mqtt.wire import encode
from connectors.mqtt.wire.effects import Effects, Record, Settled, Step
from connectors.mqtt.wire.octets import WireError
from connectors.mqtt.wire.packets import Connack, Kind, Puback, Pubcomp, Pubrec, Reply
from connectors.mqtt.wire.reasons import (
    FIRST_ERROR,
    PACKET_ID_NOT_FOUND,
    PACKET_TOO_LARGE,
    PROTOCOL_ERROR,
    RETAIN_NOT_SUPPORTED,
    SUCCESS,
    text,
)
from connectors.mqtt.wire.values import Outgoing, Phase, Refused

FINISHED_KEPT: Final = 20_000
"""So many keys are remembered after their end: the delivery whose outcome was not committed is asked for again."""
_IDENTIFIERS: Final = 65_535


class _Flight:
    """One message at QoS 1 or 2 from when it was asked for until the last answer."""

    __slots__ = ("code", "is_counted", "is_released", "key", "out", "packet_id", "qos", "record", "was_written")

    def __init__(self, key: str, out: Outgoing | None, qos: int, packet_id: int = 0) -> None:
        self.key = key
        self.out = out
        """None where a kill has left but the journal's row of it."""
        self.qos = qos
        self.packet_id = packet_id
        self.code = SUCCESS
        self.record: Record | None = None
        self.is_counted = False
        """It holds a place of the broker's receive maximum on this connection."""
        self.is_released = False
        """PUBREC has come: PUBREL is what is sent from now on."""
        self.was_written = False


class Outward:
    """The sending half of a session."""

    def __init__(self, effects: Effects, limit: int, known: Mapping[str, tuple[int, Phase]]) -> None:
        """At most `limit` in flight, whatever the broker would take; `known` is what the journal has."""
        self._effects = effects
        self._limit = limit
        self._flights: dict[str, _Flight] = {}
        self._by_id: dict[int, _Flight] = {}
        self._reserved: set[int] = set()
        self._waiting: OrderedDict[str, _Flight] = OrderedDict()
        self._finished: OrderedDict[str, int] = OrderedDict()
        self._next_id = 0
        self._counted = 0
        self._quota = 0
        self._connack = Connack()
        self._is_connected = False
        # What was sent comes last: where its identifier is another's too, that one's end was not recorded any more.
        for key, (packet_id, phase) in sorted(known.items(), key=lambda row: row[1][1] is Phase.SENT):
            if phase is Phase.DONE:
                self._finish(key, SUCCESS)
                continue
            former = self._by_id.get(packet_id)
            if former is not None:
                del self._flights[former.key]
                self._finish(former.key, SUCCESS)
            flight = self._flights[key] = self._by_id[packet_id] = _Flight(key, None, 2, packet_id)
            flight.was_written = True
            flight.is_released = phase is Phase.RELEASED

    @property
    def room(self) -> int:
        """How many more may be published now and go out at once."""
        return max(0, self._quota - self._counted - len(self._waiting)) if self._is_connected else 0

    def connected(self, connack: Connack) -> None:
        """Send again what the broker has not answered, in its order (§4.4, §4.6)."""
        self._connack = connack
        self._quota = min(connack.receive_maximum, self._limit)
        self._is_connected = True
        for flight in self._flights.values():
            if flight.is_released:
                # §4.9 asks only for what is published anew to be counted; a broker may count what it holds.
                flight.is_counted = True
                self._counted += 1
                if flight.record is None:
                    self._reply(Kind.PUBREL, flight.packet_id)
            elif flight.out is not None and flight.record is None:
                self._waiting[flight.key] = flight
        self._pump()

    def disconnected(self) -> None:
        """Forget what was never written; the rest is for the next connection."""
        self._is_connected = False
        self._counted = 0
        self._waiting.clear()
        for flight in list(self._flights.values()):
            flight.is_counted = False
            if not flight.packet_id:
                del self._flights[flight.key]

    def forget(self) -> int:
        """The broker has no session of ours. Return how many it may have had, which another publishing doubles."""
        doubtful = sum(flight.was_written for flight in self._flights.values())
        self._flights.clear()
        self._by_id.clear()
        self._waiting.clear()
        self._counted = 0
        return doubtful

    def publish(self, out: Outgoing, key: str) -> None:
        """Publish under a key. Its end comes as `Settled`. Raises: ValueError where it cannot be said in MQTT."""
        refused = self._refused(out)
        if refused is not None:
            self._effects.settled.append(Settled(key, refused))
            return
        qos = min(out.qos, self._connack.maximum_qos)
        if qos == 0:
            self._effects.octets.append(self._octets(out, 0))
            self._effects.settled.append(Settled(key, SUCCESS))
            return
        done = self._finished.get(key)
        if done is not None:
            self._effects.settled.append(Settled(key, done))
            return
        flight = self._flights.get(key)
        if flight is None:
            self._octets(out, qos, packet_id=_IDENTIFIERS)
            flight = self._flights[key] = self._waiting[key] = _Flight(key, out, qos)
            self._pump()
        elif flight.out is None:
            flight.out = out
            if not flight.is_released:
                self._waiting[key] = flight
                self._pump()

    def puback(self, packet: Puback) -> None:
        """Take a PUBACK. Raises: WireError."""
        flight = self._by_id.get(packet.packet_id)
        if flight is None:
            return
        if flight.qos != 1:
            raise WireError("PUBACK of a message at QoS 2", PROTOCOL_ERROR)
        self._end(flight, packet)

    def pubrec(self, packet: Pubrec) -> None:
        """Take a PUBREC. Raises: WireError."""
        flight = self._by_id.get(packet.packet_id)
        if flight is None:
            if packet.code < FIRST_ERROR:
                self._reply(Kind.PUBREL, packet.packet_id, PACKET_ID_NOT_FOUND)
            return
        if flight.qos != 2:
            raise WireError("PUBREC of a message at QoS 1", PROTOCOL_ERROR)
        if flight.is_released:
            if flight.record is None:
                self._reply(Kind.PUBREL, flight.packet_id)
        elif packet.code >= FIRST_ERROR:
            self._effects.records.append(Record(Step.REFUSED, flight.packet_id, flight.key))
            self._end(flight, packet)
        else:
            flight.code = packet.code
            flight.is_released = True
            self._waiting.pop(flight.key, None)
            self._record(flight, Step.RELEASED)

    def pubcomp(self, packet: Pubcomp) -> None:
        """Take a PUBCOMP. One that says it knows no such identifier tells that it came to its end before."""
        flight = self._by_id.get(packet.packet_id)
        if flight is None:
            return
        if flight.qos != 2 or not flight.is_released:
            raise WireError("PUBCOMP before PUBREL", PROTOCOL_ERROR)
        self._effects.records.append(Record(Step.DONE, flight.packet_id, flight.key))
        self._end(flight, Reply(flight.packet_id, flight.code))

    def recorded(self, record: Record) -> None:
        """A row is durable: what it was for may be written."""
        flight = self._flights.get(record.key)
        if flight is None or flight.record is not record:
            return
        flight.record = None
        if not self._is_connected:
            return
        if record.step is Step.RELEASED:
            self._reply(Kind.PUBREL, flight.packet_id)
        elif flight.is_counted:
            self._write(flight)
        else:  # the connection it had its place on is gone
            self._waiting[flight.key] = flight
            self._pump()

    def unrecorded(self, record: Record) -> None:
        """A row could not be made durable, and the connection is given up."""
        flight = self._flights.get(record.key)
        if flight is None or flight.record is not record:
            return
        flight.record = None
        if record.step is Step.RELEASED:
            flight.is_released = False  # PUBLISH goes out again under its identifier, and PUBREC comes again
        elif not flight.was_written:
            self._drop(flight)

    def allocate(self) -> int:
        """Return a packet identifier that nothing uses, and reserve it (§2.2.1)."""
        for _ in range(_IDENTIFIERS):
            self._next_id = self._next_id % _IDENTIFIERS + 1
            if self._next_id not in self._by_id and self._next_id not in self._reserved:
                self._reserved.add(self._next_id)
                return self._next_id
        raise WireError("all packet identifiers are in use", PROTOCOL_ERROR)

    def release(self, packet_id: int) -> None:
        self._reserved.discard(packet_id)

    def _pump(self) -> None:
        """Send what waits, as far as there is room."""
        while self._waiting and self._counted < self._quota and len(self._by_id) < _IDENTIFIERS:
            _, flight = self._waiting.popitem(last=False)
            flight.is_counted = True
            self._counted += 1
            if flight.packet_id:
                self._write(flight)
                continue
            flight.packet_id = self.allocate()
            self.release(flight.packet_id)
            self._by_id[flight.packet_id] = flight
            if flight.qos == 2:
                self._record(flight, Step.SENT)
            else:
                self._write(flight)

    def _write(self, flight: _Flight) -> None:
        assert flight.out is not None, "there is nothing to write of a message that only the journal knows"
        self._effects.octets.append(
            self._octets(flight.out, flight.qos, packet_id=flight.packet_id, dup=flight.was_written)
        )
        flight.was_written = True

    def _octets(self, out: Outgoing, qos: int, *, packet_id: int = 0, dup: bool = False) -> bytes:
        return encode.publish(
            out.topic,
            out.payload,
            self._effects.version,
            qos=qos,
            retain=out.retain,
            dup=dup,
            packet_id=packet_id,
            properties=out.properties,
        )

    def _refused(self, out: Outgoing) -> Refused | None:
        """What the broker has said it will not take is not even sent (§3.2.2.3.4 to §3.2.2.3.6)."""
        if out.retain and not self._connack.retain_available:
            return Refused(RETAIN_NOT_SUPPORTED, text(RETAIN_NOT_SUPPORTED))
        most = self._connack.maximum_packet
        if most is not None and len(out.payload) + 7 > most:
            return Refused(PACKET_TOO_LARGE, text(PACKET_TOO_LARGE))
        if most is not None and len(self._octets(out, out.qos, packet_id=_IDENTIFIERS)) > most:
            return Refused(PACKET_TOO_LARGE, text(PACKET_TOO_LARGE))
        return None

    def _record(self, flight: _Flight, step: Step) -> None:
        flight.record = Record(step, flight.packet_id, flight.key)
        self._effects.records.append(flight.record)

    def _reply(self, kind: Kind, packet_id: int, code: int = SUCCESS) -> None:
        self._effects.octets.append(encode.reply(kind, packet_id, code, self._effects.version))

    def _end(self, flight: _Flight, said: Reply) -> None:
        self._drop(flight)
        if said.code >= FIRST_ERROR:
            end: int | Refused = Refused(said.code, text(said.code, said.reason))
        else:
            end = said.code
            self._finish(flight.key, said.code)
        self._effects.settled.append(Settled(flight.key, end))
        self._pump()

    def _drop(self, flight: _Flight) -> None:
        del self._flights[flight.key]
        del self._by_id[flight.packet_id]
        self._waiting.pop(flight.key, None)
        if flight.is_counted:
            flight.is_counted = False
            self._counted -= 1

    def _finish(self, key: str, code: int) -> None:
        self._finished[key] = code
        if len(self._finished) > FINISHED_KEPT:
            self._finished.popitem(last=False)
