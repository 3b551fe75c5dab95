"""A client's session with a broker, from CONNACK to the end of the connection, and over to the next.

Promises: raises WireError where the broker breaks the protocol, and nothing else but ValueError for what the caller
asks and MQTT cannot say. What it wants done is in `effects`, to be taken after each call.

Sources: OASIS MQTT 5.0 §3, §4; MQTT 3.1.1 where that is the version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from connectors.mqtt.wire import packets
from connectors.mqtt.wire.effects import Effects, Record, Step, Subscribed
from connectors.mqtt.wire.encode import encode
from connectors.mqtt.wire.inward import Inward
from connectors.mqtt.wire.octets import WireError
from connectors.mqtt.wire.outward import Outward
from connectors.mqtt.wire.packets import V5, Connack, Disconnect, Packet, Subscribe, Unsubscribe
from connectors.mqtt.wire.reasons import FIRST_ERROR, NO_SHARED_SUBSCRIPTIONS, PROTOCOL_ERROR, text
from connectors.mqtt.wire.values import Outgoing, Phase, Subscription

_FILTERS_A_PACKET: Final = 50
_INWARD: Final = frozenset({Step.OPEN_INWARD, Step.CLOSE_INWARD})


class Session:
    """One session, over any number of connections."""

    def __init__(
        self,
        client_id: str,
        run: str,
        *,
        send_maximum: int = 65535,
        inward: Mapping[int, int],
        outward: Mapping[str, tuple[int, Phase]],
    ) -> None:
        """`run` tells this process from every other; `inward` and `outward` are what the journal knows."""
        self.effects = Effects()
        self.ended: Disconnect | None = None
        """What the broker said when it ended the connection."""
        self._inward = Inward(client_id, run, self.effects, inward)
        self.acknowledge = self._inward.acknowledge  # not a call more for each message
        self._outward = Outward(self.effects, send_maximum, outward)
        self._asked: dict[int, Subscribe | Unsubscribe] = {}
        self._forgetting: Record | None = None
        """Until the journal has forgotten durably, its generations are those of other messages."""
        self._connection = 0
        self._connack: Connack | None = None

    @property
    def connection(self) -> int:
        """The number of the connection there is, or of the last one."""
        return self._connection

    @property
    def connack(self) -> Connack | None:
        """What the broker said when the connection there is was made."""
        return self._connack

    @property
    def room(self) -> int:
        return self._outward.room

    @property
    def left(self) -> int:
        """How many messages a kill has left as sent that were not published again."""
        return self._outward.left

    @property
    def unanswered(self) -> int:
        """How many messages that came on this connection wait for us."""
        return self._inward.unanswered

    def connected(self, connack: Connack, version: int, broker: str, *, is_other: bool = False) -> int:
        """Begin a connection. Where the broker has no session of ours, or `is_other` than the journal tells of,
        everything of the old one is forgotten: return how many messages another publishing may double."""
        self._connection += 1
        self._connack = connack
        self.effects.version = version
        self.ended = None
        self._asked.clear()
        doubtful = 0
        if is_other or not connack.session_present or self._forgetting is not None:
            doubtful = self._outward.forget()
            self._inward.forget()
            self._forgetting = Record(Step.FORGET, broker=broker)
            self.effects.records.append(self._forgetting)
        self._inward.connected(self._connection)
        self._outward.connected(connack)
        return doubtful

    def disconnected(self) -> None:
        """The connection is gone, and with it what was to be written."""
        self._connack = None
        self.effects.octets.clear()
        self._inward.disconnected()
        self._outward.disconnected()
        for packet_id in self._asked:
            self._outward.release(packet_id)
        self._asked.clear()

    def receive(self, packet: Packet) -> None:
        """Take a packet that came after CONNACK. Raises: WireError."""
        match packet:
            case packets.Publish():
                self._inward.publish(packet)
            case packets.Puback():
                self._outward.puback(packet)
            case packets.Pubrec():
                self._outward.pubrec(packet)
            case packets.Pubcomp():
                self._outward.pubcomp(packet)
            case packets.Pubrel():
                self._inward.pubrel(packet)
            case packets.Suback() | packets.Unsuback():
                self._answered(packet)
            case packets.Pingresp():
                pass  # that it came is what `link` looks at
            case Disconnect() if self.effects.version == V5:
                self.ended = packet
            case _:
                raise WireError(f"{type(packet).__name__.upper()} is not for a client", PROTOCOL_ERROR)

    def publish(self, out: Outgoing, key: str) -> None:
        """Publish; the end comes as `Settled`. Assumes: connected. Raises: ValueError."""
        self._outward.publish(out, key)

    def give_up(self, *, only_if_waited_for: bool) -> int:
        """Give up what a kill has left as sent and nobody publishes again, where others wait for its place or in any
        case; return how many another publishing may double. Assumes: connected."""
        return self._outward.give_up(only_if_waited_for=only_if_waited_for)

    def subscribe(self, subscriptions: Sequence[Subscription]) -> None:
        """Ask for subscriptions; each answer comes as `Subscribed`. Assumes: connected. Raises: ValueError."""
        assert self._connack is not None
        by_identifier: dict[int | None, list[Subscription]] = {}
        for each in subscriptions:
            if each.topic_filter.startswith("$share/") and not self._connack.shared_available:
                code = NO_SHARED_SUBSCRIPTIONS
                self.effects.subscribed.append(Subscribed(each, code, text(code)))
                continue
            is_known = self.effects.version == V5 and self._connack.subscription_ids_available
            by_identifier.setdefault(each.identifier if is_known else None, []).append(each)
        for identifier, group in by_identifier.items():
            for at in range(0, len(group), _FILTERS_A_PACKET):
                few = tuple(group[at : at + _FILTERS_A_PACKET])
                self._ask(Subscribe(self._outward.allocate(), few, identifier))

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Ask for no more of these. Assumes: connected."""
        for at in range(0, len(filters), _FILTERS_A_PACKET):
            self._ask(Unsubscribe(self._outward.allocate(), tuple(filters[at : at + _FILTERS_A_PACKET])))

    def recorded(self, record: Record, generation: int = 0) -> None:
        """A record is durable; `generation` is what `Journal.open_inward` gave."""
        if record.step is Step.OPEN_INWARD:
            self._inward.opened(record, generation)
        elif record.step is Step.CLOSE_INWARD:
            self._inward.closed(record)
        elif record is self._forgetting:
            self._forgetting = None
        else:
            self._outward.recorded(record)

    def unrecorded(self, record: Record) -> None:
        """A record could not be made durable: whoever drives the session ends the connection."""
        if record.step in _INWARD:
            self._inward.unrecorded(record)
        else:
            self._outward.unrecorded(record)

    def _ask(self, packet: Subscribe | Unsubscribe) -> None:
        self._asked[packet.packet_id] = packet
        self.effects.octets.append(encode(packet, self.effects.version))

    def _answered(self, packet: packets.Suback | packets.Unsuback) -> None:
        asked = self._asked.pop(packet.packet_id, None)
        if asked is None:
            raise WireError("SUBACK or UNSUBACK of nothing we asked", PROTOCOL_ERROR)
        self._outward.release(packet.packet_id)
        if isinstance(asked, Unsubscribe) != isinstance(packet, packets.Unsuback):
            raise WireError("SUBACK and UNSUBACK are taken for each other", PROTOCOL_ERROR)
        if isinstance(asked, Unsubscribe):
            self.effects.unsubscribed += asked.filters
            return
        if len(packet.codes) != len(asked.subscriptions):
            raise WireError("SUBACK has more or fewer answers than we asked for", PROTOCOL_ERROR)
        for subscription, code in zip(asked.subscriptions, packet.codes, strict=True):
            said = text(code, packet.reason) if code >= FIRST_ERROR else ""
            self.effects.subscribed.append(Subscribed(subscription, code, said))
