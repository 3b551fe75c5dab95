"""What a broker publishes to us: from PUBLISH to the last acknowledgement.

Promises:
- QoS 2 is exact: an identifier's generation is durable before the message is handed over, so the hand-over after a
  kill has the same key; it is closed durably before PUBCOMP, so that an identifier used again is a new message.
- QoS 1: a message that comes again on the next connection, and whose PUBACK was never written, is known by its
  identifier and DUP: it is not handed over again, and answered once it is acknowledged. Content is never compared.
- What comes without DUP on a new connection is new, even where its identifier is open: a broker that was killed and
  went back to an older state of its own gives identifiers anew, and to know such a message would be to lose it.
- PUBACK and PUBREC go out in the order in which the messages came (§4.6), in whatever order they are acknowledged.
Limits: a PUBACK written to a connection that then breaks may or may not have come; such a message may come twice. A
broker that sends more than our receive maximum is not cut off with 0x93 (§4.9): Mosquitto 2.0 does so after each
reconnection (github.com/eclipse-mosquitto/mosquitto issue 2301). Whoever drives it reads less, by `unanswered`.

Sources: §3.3, §4.3, §4.4, §4.6, §4.9.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum, auto
from typing import Final

from connectors.mqtt.wire import encode
from connectors.mqtt.wire.effects import Effects, Record, Step
from connectors.mqtt.wire.octets import WireError
from connectors.mqtt.wire.packets import V5, Kind, Publish, Pubrel
from connectors.mqtt.wire.reasons import (
    FIRST_ERROR,
    PACKET_ID_NOT_FOUND,
    PROTOCOL_ERROR,
    SUCCESS,
    TOPIC_ALIAS_INVALID,
)
from connectors.mqtt.wire.values import Arrived

TOPIC_ALIAS_MAXIMUM: Final = 64
"""A topic has at most 65,535 octets, so aliases hold 4 MiB at most."""


class _State(Enum):
    UNKNOWN = auto()
    """The journal has it open since before this process: whether PUBREC went out is not known."""
    OPENING = auto()
    HANDED = auto()
    REFUSING = auto()
    """Acknowledged with an error, and waiting for its identifier to be closed."""
    ANSWERED = auto()
    """Acknowledged, and PUBACK or PUBREC not yet written."""
    RECEIVED = auto()
    """PUBREC was written, and PUBREL is waited for."""
    CLOSING = auto()


class _Held:
    """One message from its PUBLISH until the last answer to it."""

    __slots__ = ("code", "is_here", "key", "packet_id", "publish", "qos", "record", "state")

    def __init__(self, packet_id: int, qos: int, state: _State, key: str = "") -> None:
        self.packet_id = packet_id
        self.qos = qos
        self.state = state
        self.key = key
        self.publish: Publish | None = None
        self.record: Record | None = None
        """What has to be durable before it goes on."""
        self.code = SUCCESS
        self.is_here = False
        """It came, or came again, on the connection there is."""


class Inward:
    """The receiving half of a session. Calls come one after the other; `effects` is where it puts what it wants."""

    def __init__(self, client_id: str, run: str, effects: Effects, opened: Mapping[int, int]) -> None:
        """`run` tells this process from every other; `opened` is what the journal has open."""
        self._client_id = client_id
        self._run = run
        self._effects = effects
        self._held = {packet_id: self._known(packet_id, generation) for packet_id, generation in opened.items()}
        self._acks: dict[int, deque[_Held]] = {1: deque(), 2: deque()}
        """What waits for PUBACK, and for PUBREC, in order of arrival on this connection."""
        self._aliases: dict[int, str] = {}
        self._count = 0
        self._connection = 0

    @property
    def unanswered(self) -> int:
        """How many messages came on this connection and have neither PUBACK nor PUBREC."""
        return len(self._acks[1]) + len(self._acks[2])

    def connected(self, connection: int) -> None:
        self._connection = connection

    def disconnected(self) -> None:
        """What came on this connection may come again on the next; what had come before it has had its chance."""
        self._aliases.clear()
        for queue in self._acks.values():
            queue.clear()
        for each in list(self._held.values()):
            if each.qos == 1 and not each.is_here:
                del self._held[each.packet_id]
            elif each.state is _State.CLOSING:
                each.state = _State.RECEIVED  # the broker, without PUBCOMP, sends PUBREL again
            each.is_here = False

    def forget(self) -> None:
        """The broker has no session of ours: its identifiers mean nothing from now on."""
        self._held.clear()

    def publish(self, packet: Publish) -> None:
        """Take a PUBLISH. Raises: WireError."""
        topic = self._topic(packet)
        if packet.qos == 0:
            self._hand_over(packet, topic, "")
            return
        held = self._held.get(packet.packet_id)
        if held is None:
            self._new(packet, topic)
        elif held.is_here:
            self._repeated(held, packet)
        elif packet.dup and held.qos == packet.qos:
            self._again(held, packet, topic)
        else:
            if held.qos == 2:
                self._effects.records.append(Record(Step.CLOSE_INWARD, held.packet_id))
            self._new(packet, topic)

    def acknowledge(self, arrived: Arrived, code: int = SUCCESS) -> None:
        """Answer a message, whichever connection it came by. Nothing where the session has no more to do with it."""
        held = self._held.get(arrived.packet_id)
        if held is None or held.key != arrived.key or held.state is not _State.HANDED:
            return
        if self._effects.version != V5:
            code = SUCCESS  # §3.4 of MQTT 3.1.1: there is no other
        held.code = code
        if held.qos == 2 and code >= FIRST_ERROR:
            held.state = _State.REFUSING
            self._record(held, Step.CLOSE_INWARD)
            return
        held.state = _State.ANSWERED
        self._answer(held.qos)

    def pubrel(self, packet: Pubrel) -> None:
        """Take a PUBREL. Raises: WireError."""
        held = self._held.get(packet.packet_id)
        if held is None or held.qos == 1:
            # §4.3.3: after a lost PUBCOMP the identifier is closed already.
            self._complete(packet.packet_id, PACKET_ID_NOT_FOUND)
        elif held.state in (_State.UNKNOWN, _State.RECEIVED):
            self._come(held)
            held.state = _State.CLOSING
            self._record(held, Step.CLOSE_INWARD)
        elif held.state is not _State.CLOSING:
            raise WireError("PUBREL before PUBREC", PROTOCOL_ERROR)

    def opened(self, record: Record, generation: int) -> None:
        """The generation of a message is durable: it may be handed over."""
        held = self._waiting(record)
        if held is None or held.publish is None:
            return
        held.key = self._key(held.packet_id, generation)
        packet, held.publish = held.publish, None
        held.state = _State.HANDED
        self._hand_over(packet, packet.topic, held.key)

    def closed(self, record: Record) -> None:
        """The identifier is closed durably: the last answer may go out."""
        held = self._waiting(record)
        if held is None:
            return
        if held.state is _State.REFUSING and held.is_here:
            held.state = _State.ANSWERED
            self._answer(2)
            return
        self._leave(held)
        if held.state is _State.CLOSING:
            self._complete(held.packet_id, SUCCESS)

    def unrecorded(self, record: Record) -> None:
        """A step could not be made durable, and the connection is given up: what it was for begins again."""
        held = self._waiting(record)
        if held is None:
            return
        if held.state is _State.OPENING:
            self._leave(held)
        elif held.state is _State.REFUSING:
            held.state = _State.UNKNOWN
        elif held.state is _State.CLOSING:
            held.state = _State.RECEIVED

    def _record(self, held: _Held, step: Step) -> None:
        held.record = Record(step, held.packet_id)
        self._effects.records.append(held.record)

    def _waiting(self, record: Record) -> _Held | None:
        """The message that waits for just this record; None where its identifier was given up meanwhile."""
        held = self._held.get(record.packet_id)
        if held is None or held.record is not record:
            return None
        held.record = None
        return held

    def _topic(self, packet: Publish) -> str:
        """§3.3.2.3.4: an alias is set by a PUBLISH with a topic, and stands for it where there is none."""
        alias = packet.topic_alias
        if alias is None:
            return packet.topic
        if alias > TOPIC_ALIAS_MAXIMUM:
            raise WireError(f"a topic alias is {alias}", TOPIC_ALIAS_INVALID)
        if packet.topic:
            self._aliases[alias] = packet.topic
            return packet.topic
        topic = self._aliases.get(alias)
        if topic is None:
            raise WireError(f"topic alias {alias} stands for nothing", PROTOCOL_ERROR)
        return topic

    def _new(self, packet: Publish, topic: str) -> None:
        if packet.qos == 1:
            self._count += 1
            key = f"{self._client_id}:{self._run}-{self._connection}:{packet.packet_id}:{self._count}"
            held = _Held(packet.packet_id, 1, _State.HANDED, key)
        else:
            held = _Held(packet.packet_id, 2, _State.OPENING)
        self._held[packet.packet_id] = held
        self._come(held)
        self._acks[packet.qos].append(held)
        if packet.qos == 1:
            self._hand_over(packet, topic, held.key)
            return
        held.publish = packet if topic == packet.topic else replace(packet, topic=topic)
        self._record(held, Step.OPEN_INWARD)

    def _repeated(self, held: _Held, packet: Publish) -> None:
        """It comes once more on one connection, which MQTT 3.1.1 allows."""
        if not packet.dup or held.qos != packet.qos:
            raise WireError("a packet identifier is used again before its end", PROTOCOL_ERROR)
        if held.state is _State.RECEIVED:
            self._effects.octets.append(encode.reply(Kind.PUBREC, held.packet_id, held.code, self._effects.version))

    def _again(self, held: _Held, packet: Publish, topic: str) -> None:
        """A message that is known comes again on a new connection."""
        self._come(held)
        self._acks[held.qos].append(held)
        if held.state is _State.UNKNOWN:
            held.state = _State.HANDED
            self._hand_over(packet, topic, held.key)
            return
        if held.state is _State.RECEIVED:
            held.state = _State.ANSWERED
        self._answer(held.qos)

    def _come(self, held: _Held) -> None:
        held.is_here = True

    def _leave(self, held: _Held) -> None:
        del self._held[held.packet_id]

    def _hand_over(self, packet: Publish, topic: str, key: str) -> None:
        self._effects.arrived.append(
            Arrived(
                topic,
                packet.payload,
                packet.qos,
                packet.retain,
                packet.dup,
                packet.properties,
                packet.packet_id,
                key,
                self._connection,
                packet.oversized,
            )
        )

    def _answer(self, qos: int) -> None:
        """Write what may be written of PUBACK or PUBREC: up to the first message that is not acknowledged."""
        queue, effects = self._acks[qos], self._effects
        kind = Kind.PUBACK if qos == 1 else Kind.PUBREC
        while queue and queue[0].state is _State.ANSWERED:
            held = queue.popleft()
            effects.octets.append(encode.reply(kind, held.packet_id, held.code, effects.version))
            if qos == 1 or held.code >= FIRST_ERROR:
                del self._held[held.packet_id]
            else:
                held.state = _State.RECEIVED

    def _complete(self, packet_id: int, code: int) -> None:
        self._effects.octets.append(encode.reply(Kind.PUBCOMP, packet_id, code, self._effects.version))

    def _known(self, packet_id: int, generation: int) -> _Held:
        return _Held(packet_id, 2, _State.UNKNOWN, self._key(packet_id, generation))

    def _key(self, packet_id: int, generation: int) -> str:
        return f"{self._client_id}:{packet_id}:{generation}"
