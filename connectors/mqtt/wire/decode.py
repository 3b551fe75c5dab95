"""One control packet of octets, in MQTT 5.0 or 3.1.1, to its value; both directions, strict.

Raises WireError and nothing else. Reason codes are not held against a list: what is 0x80 or more is an error, whatever
it is (a broker may be newer than we are). A Response Topic is not held against the rules for topic names: it comes from
whoever published, and a connection that ends over it would end again at each redelivery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from connectors.mqtt.wire import packets
from connectors.mqtt.wire.octets import Reader, WireError, text_of
from connectors.mqtt.wire.packets import V5, V311, Kind
from connectors.mqtt.wire.properties import message_properties, publish_properties, read_properties
from connectors.mqtt.wire.reasons import (
    FIRST_ERROR,
    PROTOCOL_ERROR,
    RETURN_CODES,
    TOPIC_NAME_INVALID,
    UNSPECIFIED,
    UNSUPPORTED_VERSION,
)
from connectors.mqtt.wire.values import NO_PROPERTIES, Subscription

MAX_PROPERTIES: Final = 65_536
"""A PUBLISH with more octets of properties comes without them, and as one that is oversized."""

_MOST_TOPICS: Final = 4096
_MOST_TOPIC_OCTETS: Final = 256


@dataclass(frozen=True, slots=True)
class Limits:
    """`payload`: octets of the largest that comes whole; of a larger one its first `head` octets come. `other`: octets
    of the largest packet of another kind; a larger one is a fault."""

    payload: int = 268_435_455
    head: int = 65_536
    other: int = 1_048_576


def decode(first: int, octets: bytes, version: int) -> packets.Packet:
    """Decode one packet, no PUBLISH, of its first octet and all that follows its length. Raises: WireError."""
    kind, flags = first >> 4, first & 15
    read = _READ.get(kind)
    if read is None:
        raise WireError(f"there is no packet of kind {kind}")
    if flags != (2 if kind in (Kind.PUBREL, Kind.SUBSCRIBE, Kind.UNSUBSCRIBE) else 0):
        raise WireError(f"{Kind(kind).name} has wrong flags")
    reader = Reader(octets, 0, len(octets))
    packet: packets.Packet = read(reader, version)
    reader.expect_end()
    return packet


def decode_publish(
    first: int, octets: bytes, at: int, end: int, version: int, limits: Limits, missing: int = 0
) -> packets.Publish:
    """Decode a PUBLISH (§3.3) that stands from `at` to `end`, less its last `missing` octets. Raises: WireError."""
    qos = first >> 1 & 3
    if qos == 3 or (first & 8 and not qos):
        raise WireError("PUBLISH has wrong flags")
    if end - at < 2:
        raise WireError("a packet ends within a field")
    stop = at + 2 + (octets[at] << 8 | octets[at + 1])
    # What ends here is not the packet's end where octets are missing, but no topic name is that long.
    if stop + (2 if qos else 0) > end:
        raise WireError("a packet ends within a field")
    name = octets[at + 2 : stop]
    topic = _topics.get(name)
    if topic is None:
        topic = _topic(name)
    packet_id = 0
    if qos:
        packet_id = octets[stop] << 8 | octets[stop + 1]
        if not packet_id:
            raise WireError("a packet identifier is 0", PROTOCOL_ERROR)
        stop += 2
    properties, alias, is_cut = NO_PROPERTIES, None, False
    if version == V5:
        if stop < end and not octets[stop]:
            stop += 1
        else:
            reader = Reader(octets, stop, end)
            size = reader.varint()
            begin, stop = stop, reader.at + size
            if stop > end + missing:
                raise WireError("properties are longer than their packet")
            is_cut = size > MAX_PROPERTIES
            if not is_cut:
                properties, alias = publish_properties(octets[begin:stop])
    if not topic and alias is None:
        raise WireError("a topic name is empty", PROTOCOL_ERROR)
    size = end + missing - stop
    if is_cut or size > limits.payload:
        payload, oversized = octets[stop : min(end, stop + limits.head)], max(1, size)
    else:
        payload, oversized = octets[stop:end], 0
    return packets.Publish(
        topic, payload, qos, bool(first & 1), bool(first & 8), packet_id, properties, alias, oversized
    )


_topics: Final[dict[bytes, str]] = {}
"""Names that were read lately: one topic has many messages, and its name is looked up for each of them."""


def _topic(name: bytes) -> str:
    topic = text_of(name)
    if "#" in topic or "+" in topic:
        raise WireError("a topic name holds a wildcard", TOPIC_NAME_INVALID)
    if len(name) <= _MOST_TOPIC_OCTETS:
        if len(_topics) >= _MOST_TOPICS:
            _topics.clear()
        _topics[name] = topic
    return topic


def _identifier(reader: Reader) -> int:
    packet_id = reader.number(2)
    if not packet_id:
        raise WireError("a packet identifier is 0", PROTOCOL_ERROR)
    return packet_id


def _properties(reader: Reader, kind: Kind, version: int) -> dict[str, Any]:
    found = read_properties(reader, kind) if version == V5 else {}
    if "auth_data" in found and "auth_method" not in found:
        raise WireError("authentication data without a method", PROTOCOL_ERROR)
    return found


def _connect(reader: Reader, version: int) -> packets.Connect:
    """§3.1."""
    if reader.binary() != b"MQTT":
        raise WireError("CONNECT of another protocol", UNSUPPORTED_VERSION)
    level, flags, keep_alive_s = reader.number(1), reader.number(1), reader.number(2)
    if level not in (V5, V311):
        raise WireError(f"CONNECT has protocol level {level}", UNSUPPORTED_VERSION)
    will_qos = flags >> 3 & 3
    if flags & 1 or will_qos == 3 or (flags & 0b0011_1000 and not flags & 4):
        raise WireError("CONNECT has wrong flags")
    if flags & 0x40 and not flags & 0x80 and level == V311:
        raise WireError("CONNECT has a password and no user name")
    found = _properties(reader, Kind.CONNECT, level)
    client_id = reader.text()
    will = _will(reader, level, will_qos, bool(flags & 0x20)) if flags & 4 else None
    return packets.Connect(
        level,
        client_id,
        bool(flags & 2),
        keep_alive_s,
        reader.text() if flags & 0x80 else None,
        reader.binary() if flags & 0x40 else None,
        will,
        **found,
    )


def _will(reader: Reader, version: int, qos: int, retain: bool) -> packets.Will:
    found = _properties(reader, Kind.WILL, version)
    delay_s = found.pop("delay_s", 0)
    topic, payload = reader.text(), reader.binary()
    if not topic or "#" in topic or "+" in topic:
        raise WireError("a will's topic name is empty or holds a wildcard", TOPIC_NAME_INVALID)
    return packets.Will(topic, payload, qos, retain, delay_s, message_properties(found))


def _connack(reader: Reader, version: int) -> packets.Connack:
    """§3.2. One of MQTT 3.1.1 is understood in MQTT 5.0 too: so answers a broker that knows no other."""
    flags, code = reader.number(1), reader.number(1)
    if version == V5 and reader.left:
        found = _properties(reader, Kind.CONNACK, version)
    else:
        found, code = {}, RETURN_CODES[code] if code < len(RETURN_CODES) else UNSPECIFIED
    if flags > 1 or (flags and code):
        raise WireError("CONNACK has wrong flags", PROTOCOL_ERROR)
    return packets.Connack(code, bool(flags), **found)


def _reply(of: type[packets.Reply]) -> Callable[[Reader, int], packets.Reply]:
    """§3.4 to §3.7: what is left out at the end is success and no properties."""
    kind = packets.KINDS[of]

    def read(reader: Reader, version: int) -> packets.Reply:
        packet_id = _identifier(reader)
        if version != V5 or not reader.left:
            return of(packet_id)
        code = reader.number(1)
        return of(packet_id, code, **(_properties(reader, kind, version) if reader.left else {}))

    return read


def _subscription(reader: Reader, version: int, identifier: int | None) -> Subscription:
    topic_filter, options = reader.text(), reader.number(1)
    qos, handling = options & 3, options >> 4 & 3
    if not topic_filter:
        raise WireError("a topic filter is empty")
    if qos == 3 or handling == 3 or options & (0xC0 if version == V5 else 0xFC):
        raise WireError("a subscription has wrong options")
    if version != V5:
        return Subscription(topic_filter, qos)
    no_local = bool(options & 4)
    if no_local and topic_filter.startswith("$share/"):
        raise WireError("a shared subscription asks for No Local", PROTOCOL_ERROR)
    return Subscription(topic_filter, qos, no_local, bool(options & 8), handling, identifier)


def _subscribe(reader: Reader, version: int) -> packets.Subscribe:
    """§3.8."""
    packet_id = _identifier(reader)
    found = _properties(reader, Kind.SUBSCRIBE, version)
    subscriptions = []
    while reader.left:
        subscriptions.append(_subscription(reader, version, found.get("identifier")))
    if not subscriptions:
        raise WireError("SUBSCRIBE without a topic filter", PROTOCOL_ERROR)
    return packets.Subscribe(packet_id, tuple(subscriptions), **found)


def _suback(reader: Reader, version: int) -> packets.Suback:
    """§3.9."""
    packet_id = _identifier(reader)
    found = _properties(reader, Kind.SUBACK, version)
    codes = tuple(reader.take(reader.left))
    if not codes or any(2 < code < FIRST_ERROR for code in codes):
        raise WireError("SUBACK without a known reason code", PROTOCOL_ERROR)
    if version != V5:
        codes = tuple(code if code < FIRST_ERROR else UNSPECIFIED for code in codes)
    return packets.Suback(packet_id, codes, **found)


def _unsubscribe(reader: Reader, version: int) -> packets.Unsubscribe:
    """§3.10."""
    packet_id = _identifier(reader)
    found = _properties(reader, Kind.UNSUBSCRIBE, version)
    filters = []
    while reader.left:
        filters.append(reader.text())
    if not filters or not all(filters):
        raise WireError("UNSUBSCRIBE without a topic filter", PROTOCOL_ERROR)
    return packets.Unsubscribe(packet_id, tuple(filters), **found)


def _unsuback(reader: Reader, version: int) -> packets.Unsuback:
    """§3.11."""
    packet_id = _identifier(reader)
    found = _properties(reader, Kind.UNSUBACK, version)
    codes = tuple(reader.take(reader.left)) if version == V5 else ()
    if version == V5 and not codes:
        raise WireError("UNSUBACK without a reason code", PROTOCOL_ERROR)
    return packets.Unsuback(packet_id, codes, **found)


def _disconnect(reader: Reader, version: int) -> packets.Disconnect:
    """§3.14."""
    if version != V5 or not reader.left:
        return packets.Disconnect()
    code = reader.number(1)
    return packets.Disconnect(code, **(_properties(reader, Kind.DISCONNECT, version) if reader.left else {}))


def _auth(reader: Reader, version: int) -> packets.Auth:
    """§3.15."""
    if version != V5:
        raise WireError("MQTT 3.1.1 has no AUTH")
    if not reader.left:
        return packets.Auth()
    return packets.Auth(reader.number(1), **_properties(reader, Kind.AUTH, version))


_READ: Final[dict[int, Callable[[Reader, int], Any]]] = {
    Kind.CONNECT: _connect,
    Kind.CONNACK: _connack,
    Kind.PUBACK: _reply(packets.Puback),
    Kind.PUBREC: _reply(packets.Pubrec),
    Kind.PUBREL: _reply(packets.Pubrel),
    Kind.PUBCOMP: _reply(packets.Pubcomp),
    Kind.SUBSCRIBE: _subscribe,
    Kind.SUBACK: _suback,
    Kind.UNSUBSCRIBE: _unsubscribe,
    Kind.UNSUBACK: _unsuback,
    Kind.PINGREQ: lambda reader, version: packets.Pingreq(),
    Kind.PINGRESP: lambda reader, version: packets.Pingresp(),
    Kind.DISCONNECT: _disconnect,
    Kind.AUTH: _auth,
}
