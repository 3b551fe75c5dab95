"""The properties of MQTT 5.0 (§2.2.2): one table, read in both directions.

Promises: a property stands only where the table allows it, once but for those that may repeat, within its range;
anything else is a WireError (protocol error, §2.2.2.2). Reading is linear in the octets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from connectors.mqtt.wire.octets import Reader, WireError, binary_out, number_out, text_out, varint_out
from connectors.mqtt.wire.packets import KINDS, Kind
from connectors.mqtt.wire.reasons import PROTOCOL_ERROR
from connectors.mqtt.wire.values import NO_PROPERTIES, Properties

_KNOWN: Final = 100
_SHORT: Final = 8
"""Blocks up to this are remembered: they hold little else than a subscription identifier, the same in each message."""


class _Type(Enum):
    FLAG = "one octet, 0 or 1, as a truth"
    BYTE = "one octet, 0 or 1, as a number"
    TWO = "two octets"
    FOUR = "four octets"
    VARINT = "variable byte integer"
    TEXT = "text"
    BINARY = "binary"
    PAIR = "two texts"


@dataclass(frozen=True, slots=True, eq=False)
class _Property:
    number: int
    name: str
    """The field of the packet, or of `Properties`, that it is."""
    type: _Type
    kinds: frozenset[Kind]
    least: int = 0
    repeats: bool = False


_MESSAGE: Final = frozenset({Kind.PUBLISH, Kind.WILL})
_OPENING: Final = frozenset({Kind.CONNECT, Kind.CONNACK})
_ANSWER: Final = frozenset({Kind.CONNACK})
_LOGIN: Final = frozenset({Kind.CONNECT, Kind.CONNACK, Kind.AUTH})
_REASONED: Final = frozenset({
    Kind.CONNACK, Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP, Kind.SUBACK, Kind.UNSUBACK, Kind.DISCONNECT,
    Kind.AUTH,
})  # fmt: skip
_ALL: Final = frozenset(Kind) - {Kind.PINGREQ, Kind.PINGRESP}

_TABLE: Final = (
    _Property(0x01, "payload_format", _Type.BYTE, _MESSAGE),
    _Property(0x02, "message_expiry_s", _Type.FOUR, _MESSAGE),
    _Property(0x03, "content_type", _Type.TEXT, _MESSAGE),
    _Property(0x08, "response_topic", _Type.TEXT, _MESSAGE),
    _Property(0x09, "correlation_data", _Type.BINARY, _MESSAGE),
    _Property(0x0B, "subscription_ids", _Type.VARINT, frozenset({Kind.PUBLISH}), least=1, repeats=True),
    _Property(0x0B, "identifier", _Type.VARINT, frozenset({Kind.SUBSCRIBE}), least=1),
    _Property(0x11, "session_expiry_s", _Type.FOUR, _OPENING | {Kind.DISCONNECT}),
    _Property(0x12, "assigned_client_id", _Type.TEXT, _ANSWER),
    _Property(0x13, "server_keep_alive_s", _Type.TWO, _ANSWER),
    _Property(0x15, "auth_method", _Type.TEXT, _LOGIN),
    _Property(0x16, "auth_data", _Type.BINARY, _LOGIN),
    _Property(0x17, "request_problem", _Type.FLAG, frozenset({Kind.CONNECT})),
    _Property(0x18, "delay_s", _Type.FOUR, frozenset({Kind.WILL})),
    _Property(0x19, "request_response", _Type.FLAG, frozenset({Kind.CONNECT})),
    _Property(0x1A, "response_information", _Type.TEXT, _ANSWER),
    _Property(0x1C, "server_reference", _Type.TEXT, _ANSWER | {Kind.DISCONNECT}),
    _Property(0x1F, "reason", _Type.TEXT, _REASONED),
    _Property(0x21, "receive_maximum", _Type.TWO, _OPENING, least=1),
    _Property(0x22, "topic_alias_maximum", _Type.TWO, _OPENING),
    _Property(0x23, "topic_alias", _Type.TWO, frozenset({Kind.PUBLISH}), least=1),
    _Property(0x24, "maximum_qos", _Type.BYTE, _ANSWER),
    _Property(0x25, "retain_available", _Type.FLAG, _ANSWER),
    _Property(0x26, "user", _Type.PAIR, _ALL, repeats=True),
    _Property(0x27, "maximum_packet", _Type.FOUR, _OPENING, least=1),
    _Property(0x28, "wildcards_available", _Type.FLAG, _ANSWER),
    _Property(0x29, "subscription_ids_available", _Type.FLAG, _ANSWER),
    _Property(0x2A, "shared_available", _Type.FLAG, _ANSWER),
)
_BY_NUMBER: Final = {(kind, each.number): each for each in _TABLE for kind in each.kinds}
_OF: Final = {kind: tuple(each for each in _TABLE if kind in each.kinds) for kind in Kind}


def _octet(reader: Reader) -> int:
    value = reader.number(1)
    if value > 1:
        raise WireError("a property is neither 0 nor 1", PROTOCOL_ERROR)
    return value


def _pair(reader: Reader) -> tuple[str, str]:
    return reader.text(), reader.text()


_READ: Final[Mapping[_Type, Callable[[Reader], Any]]] = {
    _Type.FLAG: lambda reader: bool(_octet(reader)),
    _Type.BYTE: _octet,
    _Type.TWO: lambda reader: reader.number(2),
    _Type.FOUR: lambda reader: reader.number(4),
    _Type.VARINT: Reader.varint,
    _Type.TEXT: Reader.text,
    _Type.BINARY: Reader.binary,
    _Type.PAIR: _pair,
}
_WRITE: Final[Mapping[_Type, Callable[[Any], bytes]]] = {
    _Type.FLAG: lambda value: number_out(int(value), 1),
    _Type.BYTE: lambda value: number_out(value, 1),
    _Type.TWO: lambda value: number_out(value, 2),
    _Type.FOUR: lambda value: number_out(value, 4),
    _Type.VARINT: varint_out,
    _Type.TEXT: text_out,
    _Type.BINARY: binary_out,
    _Type.PAIR: lambda value: text_out(value[0]) + text_out(value[1]),
}


def read_properties(reader: Reader, kind: Kind) -> dict[str, Any]:
    """Read a block with its length in front, to values by field name. Raises: WireError."""
    size = reader.varint()
    if size > reader.left:
        raise WireError("properties are longer than their packet")
    end, reader.end = reader.end, reader.at + size
    found: dict[str, Any] = {}
    repeated: dict[str, list[Any]] = {}
    while reader.at < reader.end:
        known = _BY_NUMBER.get((kind, reader.varint()))
        if known is None:
            raise WireError(f"{kind.name} has a property that it cannot have", PROTOCOL_ERROR)
        value = _READ[known.type](reader)
        if known.least and value < known.least:
            raise WireError(f"{known.name} is 0", PROTOCOL_ERROR)
        if known.repeats:
            repeated.setdefault(known.name, []).append(value)
        elif known.name in found:
            raise WireError(f"{known.name} stands twice", PROTOCOL_ERROR)
        else:
            found[known.name] = value
    reader.end = end
    found.update((name, tuple(values)) for name, values in repeated.items())
    return found


def message_properties(found: dict[str, Any]) -> Properties:
    """Make the properties of a message of what `read_properties` found."""
    return Properties(**found) if found else NO_PROPERTIES


def publish_properties(block: bytes) -> tuple[Properties, int | None]:
    """Read a PUBLISH's whole block: its properties and its topic alias. Raises: WireError."""
    return _remembered(block) if len(block) <= _SHORT else _published(block)


def _published(block: bytes) -> tuple[Properties, int | None]:
    found = read_properties(Reader(block, 0, len(block)), Kind.PUBLISH)
    alias = found.pop("topic_alias", None)
    return message_properties(found), alias


_remembered: Final = lru_cache(maxsize=256)(_published)


def _block(kind: Kind, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> bytes:
    pieces: list[bytes] = []
    for each in _OF[kind]:
        value = values.get(each.name)
        if value is None or value == defaults[each.name]:
            continue
        pieces += [_written(each, one) for one in (value if each.repeats else (value,))]
    body = b"".join(pieces)
    return varint_out(len(body)) + body


def _written(property: _Property, value: Any) -> bytes:
    if property.type in (_Type.FLAG, _Type.BYTE) and value not in (0, 1):
        raise ValueError(f"{property.name} is {value!r}, not 0 or 1")
    if property.least and value < property.least:
        raise ValueError(f"{property.name} is {value!r}")
    return number_out(property.number, 1) + _WRITE[property.type](value)


def _ones(*values: Any) -> bytes:
    """Write those properties of a PUBLISH that stand in it once, each None where it has none."""
    return b"".join([_written(each, value) for each, value in zip(_ONES, values, strict=True) if value is not None])


def _pair_out(pair: tuple[str, str]) -> bytes:
    return _written(_USER, pair)


_known_ones: Final = lru_cache(maxsize=1024)(_ones)
_known_pair: Final = lru_cache(maxsize=1024)(_pair_out)
"""What is the same in many messages: a Content Type, who writes, and our own mark."""


def _publish_block(properties: Properties) -> bytes:
    """Write what most PUBLISHes have, as `_block` does, without a look for what they have not."""
    p = properties
    kind, topic, correlation = p.content_type, p.response_topic, p.correlation_data
    is_known = topic is None and correlation is None and (kind is None or len(kind) <= _KNOWN)
    body = (_known_ones if is_known else _ones)(p.payload_format, p.message_expiry_s, kind, topic, correlation)
    if p.subscription_ids:
        body += b"".join([_written(_IDENTIFIERS, one) for one in p.subscription_ids])
    for pair in p.user:
        body += (_known_pair if len(pair[0]) + len(pair[1]) <= _KNOWN else _pair_out)(pair)
    return varint_out(len(body)) + body


def _defaults(of: type[Any]) -> dict[str, Any]:
    return {each.name: None if each.default is MISSING else each.default for each in fields(of)}


_DEFAULTS: Final[dict[Kind, dict[str, Any]]] = {kind: _defaults(of) for of, kind in KINDS.items() if kind in _ALL}
_MESSAGE_FIELDS: Final = tuple(each.name for each in fields(Properties))
_MESSAGE_DEFAULTS: Final = {**_defaults(Properties), "topic_alias": None, "delay_s": 0}
_ONES: Final = tuple(each for each in _OF[Kind.PUBLISH] if each.name in _MESSAGE_FIELDS[:5])
_USER, _IDENTIFIERS = (next(each for each in _TABLE if each.name == name) for name in ("user", "subscription_ids"))


def properties_out(packet: Any) -> bytes:
    """Write the properties among a packet's fields, those left out that are as if absent. Raises: ValueError."""
    kind = KINDS[type(packet)]
    return _block(kind, {each.name: getattr(packet, each.name) for each in _OF[kind]}, _DEFAULTS[kind])


def message_properties_out(
    kind: Kind, properties: Properties, *, topic_alias: int | None = None, delay_s: int = 0
) -> bytes:
    """Write the properties of a PUBLISH or a will. Raises: ValueError."""
    if topic_alias is None and not delay_s:
        if properties is NO_PROPERTIES:
            return b"\0"
        if kind is Kind.PUBLISH:
            return _publish_block(properties)
    values = {name: getattr(properties, name) for name in _MESSAGE_FIELDS}
    return _block(kind, {**values, "topic_alias": topic_alias, "delay_s": delay_s}, _MESSAGE_DEFAULTS)
