"""Control packets to octets, in MQTT 5.0 or 3.1.1.

Raises ValueError where a value cannot be said: too long, U+0000 or a surrogate in a text, a packet identifier of 0.
What MQTT 3.1.1 has no room for (properties, reason codes of acknowledgements) is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from connectors.mqtt.wire import packets
from connectors.mqtt.wire.octets import binary_out, number_out, text_out, varint_out
from connectors.mqtt.wire.packets import V5, Kind
from connectors.mqtt.wire.properties import message_properties_out, properties_out
from connectors.mqtt.wire.reasons import FIRST_ERROR, RETURN_CODES, SUCCESS, UNSPECIFIED
from connectors.mqtt.wire.values import Properties, Subscription

PINGREQ: Final = bytes((Kind.PINGREQ << 4, 0))
PINGRESP: Final = bytes((Kind.PINGRESP << 4, 0))

_PUBLISH: Final = Kind.PUBLISH << 4
_DUP: Final = 8
_SHORT_REPLY: Final = struct.Struct(">BBH").pack
_FLAGS: Final = {Kind.PUBREL: 2, Kind.SUBSCRIBE: 2, Kind.UNSUBSCRIBE: 2}
"""§2.1.3: the low bits of the first octet; 0 elsewhere, and a PUBLISH has its own."""


def encode(packet: packets.Packet, version: int = V5) -> bytes:
    """Return a packet's octets. Raises: ValueError."""
    return _WRITE[type(packet)](packet, version)


def publish(
    topic: str,
    payload: bytes,
    version: int = V5,
    *,
    qos: int = 0,
    retain: bool = False,
    dup: bool = False,
    packet_id: int = 0,
    properties: Properties,
    topic_alias: int | None = None,
) -> bytes:
    """Return a PUBLISH's octets (§3.3). Raises: ValueError."""
    before, after = publish_around(topic, len(payload), version, qos, retain, properties, topic_alias)
    if dup and qos:
        before = again(before)
    return b"".join((before, _identifier(packet_id) if qos else b"", after, payload))


def publish_around(
    topic: str,
    payload_octets: int,
    version: int,
    qos: int,
    retain: bool,
    properties: Properties,
    topic_alias: int | None = None,
) -> tuple[bytes, bytes]:
    """Return what stands in a PUBLISH before its packet identifier, and between that and the payload.

    Raises: ValueError.
    """
    if not 0 <= qos <= 2:
        raise ValueError(f"there is no QoS {qos}")
    if "#" in topic or "+" in topic:
        raise ValueError("a topic name cannot hold a wildcard")
    if not topic and topic_alias is None:
        raise ValueError("a topic name is empty")
    name = text_out(topic)
    after = b""
    if version == V5:
        after = message_properties_out(Kind.PUBLISH, properties, topic_alias=topic_alias)
    length = len(name) + (2 if qos else 0) + len(after) + payload_octets
    return bytes((_PUBLISH | qos << 1 | retain,)) + varint_out(length) + name, after


def again(before: bytes) -> bytes:
    """Return the beginning of a PUBLISH with DUP (§3.3.1.1)."""
    return bytes((before[0] | _DUP,)) + before[1:]


def reply(kind: Kind, packet_id: int, code: int = SUCCESS, version: int = V5) -> bytes:
    """Return PUBACK, PUBREC, PUBREL or PUBCOMP without properties (§3.4 to §3.7). Raises: ValueError."""
    if not 0 < packet_id < 0x10000:
        raise ValueError(f"{packet_id} is no packet identifier")
    first = kind << 4 | _FLAGS.get(kind, 0)
    if code == SUCCESS or version != V5:
        return _SHORT_REPLY(first, 2, packet_id)
    return _SHORT_REPLY(first, 3, packet_id) + number_out(code, 1)


def _packet(kind: Kind, *pieces: bytes) -> bytes:
    body = b"".join(pieces)
    return number_out(kind << 4 | _FLAGS.get(kind, 0), 1) + varint_out(len(body)) + body


def _identifier(packet_id: int) -> bytes:
    if not packet_id:
        raise ValueError("a packet identifier is 0")
    return number_out(packet_id, 2)


def _connect(packet: packets.Connect, version: int) -> bytes:
    """§3.1. The version is the packet's own."""
    will, is_v5 = packet.will, packet.version == V5
    if packet.password is not None and packet.username is None and not is_v5:
        raise ValueError("MQTT 3.1.1 has no password without a user name")
    flags = packet.clean_start << 1 | (packet.username is not None) << 7 | (packet.password is not None) << 6
    pieces = [text_out(packet.client_id)]
    if will is not None:
        if not 0 <= will.qos <= 2:
            raise ValueError(f"there is no QoS {will.qos}")
        flags |= 4 | will.qos << 3 | will.retain << 5
        if is_v5:
            pieces.append(message_properties_out(Kind.WILL, will.properties, delay_s=will.delay_s))
        pieces += (text_out(will.topic), binary_out(will.payload))
    if packet.username is not None:
        pieces.append(text_out(packet.username))
    if packet.password is not None:
        pieces.append(binary_out(packet.password))
    head = text_out("MQTT") + bytes((packet.version, flags)) + number_out(packet.keep_alive_s, 2)
    return _packet(Kind.CONNECT, head, properties_out(packet) if is_v5 else b"", *pieces)


def _connack(packet: packets.Connack, version: int) -> bytes:
    """§3.2."""
    if version == V5:
        return _packet(Kind.CONNACK, bytes((packet.session_present, packet.code)), properties_out(packet))
    code = RETURN_CODES.index(packet.code if packet.code in RETURN_CODES else RETURN_CODES[3])
    return _packet(Kind.CONNACK, bytes((packet.session_present, code)))


def _publish(packet: packets.Publish, version: int) -> bytes:
    return publish(
        packet.topic,
        packet.payload,
        version,
        qos=packet.qos,
        retain=packet.retain,
        dup=packet.dup,
        packet_id=packet.packet_id,
        properties=packet.properties,
        topic_alias=packet.topic_alias,
    )


def _reply(packet: packets.Reply, version: int) -> bytes:
    kind = packets.KINDS[type(packet)]
    properties = properties_out(packet) if version == V5 else b"\0"
    if properties == b"\0":
        return reply(kind, packet.packet_id, packet.code, version)
    return _packet(kind, _identifier(packet.packet_id), number_out(packet.code, 1), properties)


def _subscription(each: Subscription, version: int) -> bytes:
    if not each.topic_filter:
        raise ValueError("a topic filter is empty")
    if not 0 <= each.qos <= 2 or not 0 <= each.retain_handling <= 2:
        raise ValueError("a subscription's options are out of range")
    options = each.qos
    if version == V5:
        options |= each.no_local << 2 | each.retain_as_published << 3 | each.retain_handling << 4
    return text_out(each.topic_filter) + bytes((options,))


def _subscribe(packet: packets.Subscribe, version: int) -> bytes:
    """§3.8."""
    if not packet.subscriptions:
        raise ValueError("SUBSCRIBE without a topic filter")
    properties = properties_out(packet) if version == V5 else b""
    filters = [_subscription(each, version) for each in packet.subscriptions]
    return _packet(Kind.SUBSCRIBE, _identifier(packet.packet_id), properties, *filters)


def _suback(packet: packets.Suback, version: int) -> bytes:
    """§3.9."""
    if version == V5:
        return _packet(Kind.SUBACK, _identifier(packet.packet_id), properties_out(packet), bytes(packet.codes))
    codes = bytes(code if code < FIRST_ERROR else UNSPECIFIED for code in packet.codes)
    return _packet(Kind.SUBACK, _identifier(packet.packet_id), codes)


def _filters(texts: Sequence[str]) -> bytes:
    if not texts or not all(texts):
        raise ValueError("UNSUBSCRIBE without a topic filter")
    return b"".join(text_out(each) for each in texts)


def _unsubscribe(packet: packets.Unsubscribe, version: int) -> bytes:
    """§3.10."""
    properties = properties_out(packet) if version == V5 else b""
    return _packet(Kind.UNSUBSCRIBE, _identifier(packet.packet_id), properties, _filters(packet.filters))


def _unsuback(packet: packets.Unsuback, version: int) -> bytes:
    """§3.11."""
    if version == V5:
        return _packet(Kind.UNSUBACK, _identifier(packet.packet_id), properties_out(packet), bytes(packet.codes))
    return _packet(Kind.UNSUBACK, _identifier(packet.packet_id))


def _ended(packet: packets.Disconnect | packets.Auth, version: int) -> bytes:
    """§3.14, §3.15."""
    kind = packets.KINDS[type(packet)]
    if version != V5:
        if kind is Kind.AUTH:
            raise ValueError("MQTT 3.1.1 has no AUTH")
        return _packet(kind)
    properties = properties_out(packet)
    if properties != b"\0":
        return _packet(kind, number_out(packet.code, 1), properties)
    if not packet.code:
        return _packet(kind)
    # AUTH may leave out its properties only together with its reason code (§3.15.2.2.1).
    return _packet(kind, number_out(packet.code, 1), properties if kind is Kind.AUTH else b"")


_WRITE: Final[dict[type[Any], Callable[[Any, int], bytes]]] = {
    packets.Connect: _connect,
    packets.Connack: _connack,
    packets.Publish: _publish,
    packets.Puback: _reply,
    packets.Pubrec: _reply,
    packets.Pubrel: _reply,
    packets.Pubcomp: _reply,
    packets.Subscribe: _subscribe,
    packets.Suback: _suback,
    packets.Unsubscribe: _unsubscribe,
    packets.Unsuback: _unsuback,
    packets.Pingreq: lambda packet, version: PINGREQ,
    packets.Pingresp: lambda packet, version: PINGRESP,
    packets.Disconnect: _ended,
    packets.Auth: _ended,
}
