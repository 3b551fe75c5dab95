"""Any control packet, as hypothesis makes them."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from connectors.mqtt.wire import packets
from connectors.mqtt.wire.packets import V5, V311, Packet
from connectors.mqtt.wire.values import NO_PROPERTIES, Properties, Subscription

_CHARACTERS: Final = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT: Final = st.text(_CHARACTERS, max_size=20)
TOPIC: Final = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0#+"), min_size=1, max_size=20)
OCTETS: Final = st.binary(max_size=40)
IDS: Final = st.integers(1, 0xFFFF)
FOUR: Final = st.integers(0, 0xFFFFFFFF)
CODES: Final = st.integers(0, 0xFF)
PAIRS: Final = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
VARINTS: Final = st.integers(1, 268_435_455)

PROPERTIES: Final = st.builds(
    Properties,
    st.none() | st.integers(0, 1),
    st.none() | FOUR,
    st.none() | TEXT,
    st.none() | TOPIC,
    st.none() | OCTETS,
    PAIRS,
    st.lists(VARINTS, max_size=2).map(tuple),
)


def _will(version: int) -> st.SearchStrategy[packets.Will]:
    if version == V311:
        return st.builds(packets.Will, TOPIC, OCTETS, st.integers(0, 2), st.booleans())
    no_ids = PROPERTIES.map(
        lambda each: Properties(
            each.payload_format,
            each.message_expiry_s,
            each.content_type,
            each.response_topic,
            each.correlation_data,
            each.user,
        )
    )
    return st.builds(packets.Will, TOPIC, OCTETS, st.integers(0, 2), st.booleans(), FOUR, no_ids)


def publishes(version: int) -> st.SearchStrategy[packets.Publish]:
    properties = PROPERTIES if version == V5 else st.just(NO_PROPERTIES)
    alias = st.none() | IDS if version == V5 else st.none()
    at_0 = st.builds(
        packets.Publish, TOPIC, OCTETS, st.just(0), st.booleans(), st.just(False), st.just(0), properties, alias
    )
    above = st.builds(packets.Publish, TOPIC, OCTETS, st.integers(1, 2), st.booleans(), st.booleans(), IDS, properties)
    return at_0 | above


def _replies(version: int) -> st.SearchStrategy[Packet]:
    kinds = (packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp)
    if version == V311:
        return st.one_of(*(st.builds(kind, IDS) for kind in kinds))
    return st.one_of(*(st.builds(kind, IDS, CODES, TEXT, PAIRS) for kind in kinds))


def _subscribes(version: int) -> st.SearchStrategy[packets.Subscribe]:
    filters = TEXT.filter(bool)
    if version == V311:
        each = st.builds(Subscription, filters, st.integers(0, 2))
        return st.builds(packets.Subscribe, IDS, st.lists(each, min_size=1, max_size=3).map(tuple))
    options = st.tuples(filters, st.integers(0, 2), st.booleans(), st.integers(0, 2))
    return st.builds(
        lambda packet_id, several, identifier, user: packets.Subscribe(
            packet_id,
            tuple(Subscription(name, qos, False, keep, how, identifier) for name, qos, keep, how in several),
            identifier,
            user,
        ),
        IDS,
        st.lists(options, min_size=1, max_size=3),
        st.none() | VARINTS,
        PAIRS,
    )


def _answers(version: int) -> st.SearchStrategy[Packet]:
    granted = st.lists(st.sampled_from((0, 1, 2, 0x80)), min_size=1, max_size=4).map(tuple)
    if version == V311:
        return st.builds(packets.Suback, IDS, granted) | st.builds(packets.Unsuback, IDS)
    return st.builds(packets.Suback, IDS, granted, TEXT, PAIRS) | st.builds(
        packets.Unsuback, IDS, st.lists(CODES, min_size=1, max_size=3).map(tuple), TEXT, PAIRS
    )


def _connects(version: int) -> st.SearchStrategy[packets.Connect]:
    will = st.none() | _will(version)
    if version == V311:
        login = st.tuples(st.none(), st.none()) | st.tuples(TEXT, st.none() | OCTETS)
        return st.builds(
            lambda name, clean, alive, who, will: packets.Connect(V311, name, clean, alive, *who, will),
            TEXT,
            st.booleans(),
            st.integers(0, 0xFFFF),
            login,
            will,
        )
    return st.builds(
        packets.Connect,
        st.just(V5),
        TEXT,
        st.booleans(),
        st.integers(0, 0xFFFF),
        st.none() | TEXT,
        st.none() | OCTETS,
        will,
        FOUR,
        IDS,
        st.none() | st.integers(1, 0xFFFFFFFF),
        st.integers(0, 0xFFFF),
        st.booleans(),
        st.booleans(),
        user=PAIRS,
    )


def _connacks(version: int) -> st.SearchStrategy[packets.Connack]:
    if version == V311:
        return st.builds(packets.Connack, st.just(0), st.booleans()) | st.builds(
            packets.Connack, st.sampled_from((0x84, 0x85, 0x86, 0x87, 0x88))
        )
    return st.builds(
        packets.Connack,
        st.just(0),
        st.booleans(),
        st.none() | FOUR,
        IDS,
        st.integers(0, 2),
        st.booleans(),
        st.none() | st.integers(1, 0xFFFFFFFF),
        st.none() | TEXT,
        st.integers(0, 0xFFFF),
        TEXT,
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.none() | st.integers(0, 0xFFFF),
        st.none() | TEXT,
        st.none() | TEXT,
        user=PAIRS,
    )


def packets_of(version: int) -> st.SearchStrategy[Packet]:
    """Every kind of packet that this version has."""
    kinds: list[st.SearchStrategy[Packet]] = [
        publishes(version),
        _replies(version),
        _subscribes(version),
        _answers(version),
        _connects(version),
        _connacks(version),
        st.builds(packets.Unsubscribe, IDS, st.lists(TEXT.filter(bool), min_size=1, max_size=3).map(tuple)),
        st.sampled_from((packets.Pingreq(), packets.Pingresp(), packets.Disconnect())),
    ]
    if version == V5:
        kinds += [
            st.builds(packets.Disconnect, CODES, st.none() | FOUR, TEXT, st.none() | TEXT, PAIRS),
            st.builds(packets.Auth, CODES, TEXT, st.none() | OCTETS, TEXT, PAIRS),
        ]
    return st.one_of(*kinds)
