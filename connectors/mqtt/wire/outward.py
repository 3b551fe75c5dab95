"""What we publish: from PUBLISH to the broker's last answer.

Promises:
- QoS 2 is exact over a kill: key and packet identifier are durable before PUBLISH is written, `released` before PUBREL,
  and a key that was done is not sent again. A key found `sent` goes out under its identifier with DUP once it is
  published again, before all that is new; one found `released` gets its PUBREL at once.
- A key found `sent` that nobody publishes again (`give_up`) gets PUBREL: the broker ends the exchange if it has one,
  and the identifier is free. Until then it counts against the broker's window, so that this never overflows.
- What the broker has not answered when a connection breaks is sent again with DUP on the next (§4.4), and publishing
  the same key again joins it.
- Never more messages are in flight than the broker's receive maximum and ours (§4.9); what comes on top waits. MQTT
  3.1.1 has no such word: there it is `WINDOW_IN_311` at QoS 2, since Mosquitto drops what is beyond its window, and
  answers as if it had it. At QoS 2 half of the broker's window is used, so that what a kill leaves there, and nobody
  publishes again so soon, does not hold up what is new.
- A broker that was killed may come back with an older state, and hold exchanges of QoS 2 that have ended since. With
  PUBREL it is made to end them, on every connection that resumes a session and where it says that it is full, or that
  an identifier is in use: what it held is neither taken for what comes next, nor does it fill its window for good.
Where the broker has lost the session, what was written is forgotten, as a new session knows nothing of it; whoever
publishes it again may double it: `forget` tells how many.
Limit: what was given up, and is published after all, may be doubled; `give_up` tells how many that may be.

Sources: §3.3 to §3.7, §4.3, §4.4, §4.9.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Final

from connectors.mqtt.wire import encode
from connectors.mqtt.wire.effects import Effects, Record, Settled, Step
from connectors.mqtt.wire.identifiers import Identifiers
from connectors.mqtt.wire.octets import WireError
from connectors.mqtt.wire.packets import V311, Connack, Kind, Puback, Pubcomp, Pubrec, Reply
from connectors.mqtt.wire.reasons import (
    FIRST_ERROR,
    PACKET_ID_IN_USE,
    PACKET_ID_NOT_FOUND,
    PACKET_TOO_LARGE,
    PROTOCOL_ERROR,
    QUOTA_EXCEEDED,
    RETAIN_NOT_SUPPORTED,
    SUCCESS,
    text,
)
from connectors.mqtt.wire.values import Outgoing, Phase, Refused

FINISHED_KEPT: Final = 20_000
"""So many keys are remembered after their end: the delivery whose outcome was not committed is asked for again."""
WINDOW_IN_311: Final = 20
"""What Mosquitto holds for one client unless told otherwise, and the least that other brokers do."""
_AHEAD: Final = 4
"""So many windows' worth may wait behind what a kill has left, until that is published again."""


class _Flight:
    """One message at QoS 1 or 2 from when it was asked for until the last answer."""

    __slots__ = (
        "around",
        "code",
        "is_counted",
        "is_released",
        "key",
        "out",
        "packet_id",
        "qos",
        "record",
        "was_written",
    )

    def __init__(self, key: str, out: Outgoing | None, qos: int, packet_id: int = 0) -> None:
        self.key = key
        self.around: tuple[int, bytes, bytes] | None = None
        """A protocol level, and what stands around the packet identifier in it, where that is made and not yet sent."""
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
        self._left: dict[str, _Flight] = {}
        """Those that a kill has left as sent, and that were not published again."""
        self._waiting: OrderedDict[str, _Flight] = OrderedDict()
        self._finished: OrderedDict[str, int] = OrderedDict()
        self._counted = 0
        self._exact = 0
        """How many of those counted are at QoS 2."""
        self._window = self._exact_quota = 0
        """What the broker holds of ours at QoS 2, and how much of that is used."""
        self._has_swept = False
        self._quota = 0
        self._connack = Connack()
        self._is_connected = False
        # What was sent comes last: where its identifier is another's too, that one's end was not recorded any more. One
        # that was released had come to its end; one that was but sent was refused or never written, and goes out anew.
        ended: set[int] = set()
        for key, (packet_id, phase) in sorted(known.items(), key=lambda row: row[1][1] is Phase.SENT):
            if phase is Phase.DONE:
                self._finish(key, SUCCESS)
                ended.add(packet_id)
                continue
            former = self._by_id.get(packet_id)
            if former is not None:
                del self._flights[former.key]
                self._left.pop(former.key, None)
                if former.is_released:
                    self._finish(former.key, SUCCESS)
            flight = self._flights[key] = self._by_id[packet_id] = _Flight(key, None, 2, packet_id)
            flight.was_written = True
            flight.is_released = phase is Phase.RELEASED
            if not flight.is_released:
                self._left[key] = flight
        self._ids = Identifiers(self._by_id, ended)

    @property
    def room(self) -> int:
        """How many more may be published now: what goes out at once, and with something left by a kill some more, for
        that may come behind others."""
        if not self._is_connected:
            return 0
        quota = self._quota if not self._left else self._quota * _AHEAD
        return max(0, quota - self._counted - len(self._waiting))

    @property
    def left(self) -> int:
        """How many a kill has left as sent that were not published again."""
        return len(self._left)

    def connected(self, connack: Connack) -> None:
        """Send again what the broker has not answered, in its order (§4.4, §4.6)."""
        self._connack = connack
        self._quota = min(connack.receive_maximum, self._limit)
        self._window = WINDOW_IN_311 if self._effects.version == V311 else connack.receive_maximum
        self._exact_quota = min(self._limit, max(1, self._window // 2))
        self._is_connected = True
        self._has_swept = False
        self._ask_about(self._ids.ended())
        for flight in self._flights.values():
            if flight.is_released:
                # §4.9 asks only for what is published anew to be counted; a broker may count what it holds.
                self._take_place(flight)
                if flight.record is None:
                    self._reply(Kind.PUBREL, flight.packet_id)
            elif flight.out is not None and flight.record is None:
                self._waiting[flight.key] = flight
        self._pump()

    def disconnected(self) -> None:
        """Forget what was never written; the rest is for the next connection."""
        self._is_connected = False
        self._counted = self._exact = 0
        self._waiting.clear()
        self._ids.disconnected()
        for flight in list(self._flights.values()):
            flight.is_counted = False
            if not flight.was_written:  # under its identifier the broker may hold what has ended
                del self._flights[flight.key]
                if flight.packet_id:
                    self._effects.records.append(Record(Step.REFUSED, flight.packet_id, flight.key))
                    del self._by_id[flight.packet_id]
                    self._ids.give_back(flight.packet_id)

    def forget(self) -> int:
        """The broker has no session of ours. Return how many it may have had, which another publishing doubles."""
        doubtful = sum(flight.was_written for flight in self._flights.values())
        self._flights.clear()
        self._by_id.clear()
        self._left.clear()
        self._waiting.clear()
        self._counted = self._exact = 0
        self._ids.forget()
        return doubtful

    def give_up(self, *, only_if_waited_for: bool) -> int:
        """Give up what a kill has left and nobody has published again; where others do not wait for its place, only if
        told so. Return how many another publishing may double. Assumes: connected."""
        if only_if_waited_for and not self._waiting:
            return 0
        gone, self._left = self._left, {}
        for flight in gone.values():
            del self._flights[flight.key]
            del self._by_id[flight.packet_id]
            self._effects.records.append(Record(Step.REFUSED, flight.packet_id, flight.key))
            self._ids.ask(flight.packet_id)
            self._reply(Kind.PUBREL, flight.packet_id)
        self._pump()
        return len(gone)

    def publish(self, out: Outgoing, key: str) -> None:
        """Publish under a key. Its end comes as `Settled`. Raises: ValueError where it cannot be said in MQTT."""
        effects, connack = self._effects, self._connack
        done = self._finished.get(key)
        if done is not None:
            effects.settled.append(Settled(key, done))
            return
        flight = self._flights.get(key)
        if flight is not None and flight.out is not None:
            return
        # What the broker has said it will not take is not even sent (§3.2.2.3.4 to §3.2.2.3.6).
        if out.retain and not connack.retain_available:
            self._refuse(key, RETAIN_NOT_SUPPORTED)
            return
        most = connack.maximum_packet
        if most is not None and len(out.payload) + 7 > most:
            self._refuse(key, PACKET_TOO_LARGE)
            return
        qos = min(out.qos, connack.maximum_qos)
        before, after = self._around(out, qos)
        if most is not None and len(before) + (2 if qos else 0) + len(after) + len(out.payload) > most:
            self._refuse(key, PACKET_TOO_LARGE)
            return
        if qos == 0:
            effects.octets += (before, after, out.payload)
            effects.settled.append(Settled(key, SUCCESS))
            return
        if flight is None:
            flight = self._flights[key] = _Flight(key, out, qos)
            if qos == 1 and self._counted < self._quota and not (self._waiting or self._left) and self._ids.is_any_left:
                # Nothing is in front of it, as nearly always: who publishes asks for `room` before.
                flight.is_counted = flight.was_written = True
                self._counted += 1
                packet_id = flight.packet_id = self._ids.take()
                self._by_id[packet_id] = flight
                effects.octets += (before, packet_id.to_bytes(2, "big"), after, out.payload)
                return
            self._waiting[key] = flight
            flight.around = effects.version, before, after
            self._pump()
        else:
            flight.out = out
            if not flight.is_released:
                self._left.pop(key, None)
                self._waiting[key] = flight
                self._waiting.move_to_end(key, last=False)
                self._pump()

    def puback(self, packet: Puback) -> None:
        """Take a PUBACK. Raises: WireError."""
        flight = self._by_id.get(packet.packet_id)
        if flight is None:
            return
        if flight.qos != 1:
            raise WireError("PUBACK of a message at QoS 2", PROTOCOL_ERROR)
        if packet.code == QUOTA_EXCEEDED and self._ids.has_ended:
            self._sweep()
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
            if packet.code == QUOTA_EXCEEDED:
                self._sweep()
            self._end(flight, packet, is_held=packet.code == PACKET_ID_IN_USE)
        else:
            flight.code = packet.code
            flight.is_released = True
            self._waiting.pop(flight.key, None)
            self._left.pop(flight.key, None)
            self._record(flight, Step.RELEASED)

    def pubcomp(self, packet: Pubcomp) -> None:
        """Take a PUBCOMP. One that says it knows no such identifier tells that it came to its end before."""
        flight = self._by_id.get(packet.packet_id)
        if flight is None:
            self._ids.answered(packet.packet_id)
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
        else:
            self._write(flight)

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
        """Return a packet identifier that nothing uses, until it is released (§2.2.1). Raises: WireError."""
        return self._ids.take()

    def release(self, packet_id: int) -> None:
        self._ids.give_back(packet_id)

    def _pump(self) -> None:
        """Send what waits, as far as there is room."""
        while self._waiting and self._counted < self._quota and self._ids.is_any_left:
            flight = next(iter(self._waiting.values()))
            if flight.qos == 2 and self._exact >= self._exact_quota:
                return
            if self._left and not flight.packet_id and not self._is_room_beside_left(flight):
                return
            del self._waiting[flight.key]
            self._take_place(flight)
            if flight.packet_id:
                self._write(flight)
                continue
            flight.packet_id = self._ids.take()
            self._by_id[flight.packet_id] = flight
            if flight.qos == 2:
                self._record(flight, Step.SENT)
            else:
                self._write(flight)

    def _is_room_beside_left(self, flight: _Flight) -> bool:
        """Whether the broker takes one more, where it holds all that a kill has left."""
        left = len(self._left)
        if flight.qos == 2 and self._exact + left >= self._window:
            return False
        return self._counted + left < self._connack.receive_maximum

    def _take_place(self, flight: _Flight) -> None:
        flight.is_counted = True
        self._counted += 1
        if flight.qos == 2:
            self._exact += 1

    def _sweep(self) -> None:
        """Have the broker end whatever it holds of ours that we know nothing of; once a connection."""
        if not self._has_swept:
            self._has_swept = True
            self._ask_about(self._ids.all_free())

    def _ask_about(self, packet_ids: Iterator[int]) -> None:
        for packet_id in packet_ids:
            self._reply(Kind.PUBREL, packet_id)

    def _write(self, flight: _Flight) -> None:
        out, around, version = flight.out, flight.around, self._effects.version
        assert out is not None, "there is nothing to write of a message that only the journal knows"
        if around is not None and around[0] == version:
            _, before, after = around
        else:
            before, after = self._around(out, flight.qos)
        if flight.was_written:
            before = encode.again(before)
        self._effects.octets += (before, flight.packet_id.to_bytes(2, "big"), after, out.payload)
        flight.was_written = True
        flight.around = None

    def _refuse(self, key: str, code: int) -> None:
        self._effects.settled.append(Settled(key, Refused(code, text(code))))

    def _around(self, out: Outgoing, qos: int) -> tuple[bytes, bytes]:
        return encode.publish_around(
            out.topic, len(out.payload), self._effects.version, qos, out.retain, out.properties
        )

    def _record(self, flight: _Flight, step: Step) -> None:
        flight.record = Record(step, flight.packet_id, flight.key)
        self._effects.records.append(flight.record)

    def _reply(self, kind: Kind, packet_id: int, code: int = SUCCESS) -> None:
        self._effects.octets.append(encode.reply(kind, packet_id, code, self._effects.version))

    def _end(self, flight: _Flight, said: Reply, *, is_held: bool = False) -> None:
        self._drop(flight, is_held=is_held)
        if said.code >= FIRST_ERROR:
            end: int | Refused = Refused(said.code, text(said.code, said.reason))
        else:
            end = said.code
            self._finish(flight.key, said.code)
        self._effects.settled.append(Settled(flight.key, end))
        if self._waiting:
            self._pump()

    def _drop(self, flight: _Flight, *, is_held: bool = False) -> None:
        del self._flights[flight.key]
        del self._by_id[flight.packet_id]
        if is_held:  # the broker has another exchange under this identifier: it is to end that first
            self._ids.ask(flight.packet_id)
            self._reply(Kind.PUBREL, flight.packet_id)
        elif self._ids.give_back(flight.packet_id, was_exact=flight.is_released):
            self._reply(Kind.PUBREL, flight.packet_id)
        if self._waiting:
            self._waiting.pop(flight.key, None)
        if flight.is_counted:
            flight.is_counted = False
            self._counted -= 1
            if flight.qos == 2:
                self._exact -= 1

    def _finish(self, key: str, code: int) -> None:
        self._finished[key] = code
        if len(self._finished) > FINISHED_KEPT:
            self._finished.popitem(last=False)
