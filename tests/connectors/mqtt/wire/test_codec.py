"""Control packets to octets and back: the standard's own examples, every property, every fault, every cut."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.mqtt.wire import packets as p
from connectors.mqtt.wire.decode import MAX_PROPERTIES, Limits
from connectors.mqtt.wire.encode import encode, reply
from connectors.mqtt.wire.octets import Reader, WireError, varint_out
from connectors.mqtt.wire.packets import V5, V311, Kind, Packet
from connectors.mqtt.wire.reasons import UNSPECIFIED
from connectors.mqtt.wire.stream import Decoder
from connectors.mqtt.wire.values import Properties, Subscription
from gateway.testing import feed
from tests.connectors.mqtt.wire.strategies import packets_of


def decoded(octets: bytes, version: int = V5, limits: Limits | None = None) -> list[Packet]:
    """Decode octets whole, by halves and by octet, all with the same end."""

    def read(pieces: list[bytes]) -> tuple[list[Packet], str]:
        decoder = Decoder(version, limits)
        found = [packet for piece in pieces for packet in decoder.feed(piece)]
        return found, str(decoder.fault)

    found, fault = feed(read, octets)
    assert fault == "None", fault
    return found


def fault_of(octets: bytes, version: int = V5) -> WireError:
    decoder = Decoder(version)
    decoder.feed(octets)
    assert decoder.fault is not None
    assert decoder.feed(reply(Kind.PUBACK, 1)) == [], "nothing comes after a fault"
    return decoder.fault


@pytest.mark.parametrize(
    ("value", "octets"),
    # MQTT 5.0 table 1-1
    [(0, "00"), (127, "7f"), (128, "8001"), (16383, "ff7f"), (16384, "808001"), (2097151, "ffff7f"),
     (2097152, "80808001"), (268435455, "ffffff7f")],
)  # fmt: skip
def test_variable_byte_integers(value: int, octets: str) -> None:
    assert varint_out(value) == bytes.fromhex(octets)
    assert Reader(bytes.fromhex(octets), 0, 4).varint() == value


def test_a_variable_byte_integer_has_an_end() -> None:
    with pytest.raises(WireError, match="more than four"):
        Reader(b"\xff\xff\xff\xff\x01", 0, 5).varint()
    with pytest.raises(WireError, match="longer than it needs"):
        Reader(b"\x80\x00", 0, 2).varint()
    with pytest.raises(ValueError, match="no variable"):
        varint_out(268_435_456)


EXAMPLES = [
    # MQTT 3.1.1 §3.8.3.1 and §3.9.3, §3.10.3: the non-normative examples
    (p.Subscribe(10, (Subscription("a/b", 1), Subscription("c/d", 2))), V311,
     "82 0e 00 0a 00 03 61 2f 62 01 00 03 63 2f 64 02"),
    (p.Suback(10, (0, 2, 0x80)), V311, "90 05 00 0a 00 02 80"),
    (p.Unsubscribe(10, ("a/b", "c/d")), V311, "a2 0c 00 0a 00 03 61 2f 62 00 03 63 2f 64"),
    (p.Unsuback(10), V311, "b0 02 00 0a"),
    # §3.3.2.3: topic a/b, identifier 10
    (p.Publish("a/b", b"", 1, packet_id=10), V311, "32 07 00 03 61 2f 62 00 0a"),
    (p.Publish("a/b", b"x", 1, True, True, 10), V5, "3b 09 00 03 61 2f 62 00 0a 00 78"),
    (p.Publish("a", b"x", properties=Properties(subscription_ids=(1, 200)), topic_alias=5), V5,
     "30 0d 00 01 61 08 0b 01 0b c8 01 23 00 05 78"),
    # §3.8.3.1 of MQTT 5.0, with its example of options
    (p.Subscribe(10, (Subscription("a/b", 1, False, False, 0), Subscription("c/d", 2, False, False, 0))), V5,
     "82 0f 00 0a 00 00 03 61 2f 62 01 00 03 63 2f 64 02"),
    (p.Subscribe(1, (Subscription("a", 1, True, True, 2, 7),), 7), V5, "82 09 00 01 02 0b 07 00 01 61 2d"),
    # §3.1.2.3 and figure 3-6 of MQTT 3.1.1: user name, password, will, clean session
    (p.Connect(V311, "c", True, 10, "u", b"p", p.Will("w", b"m", 1)), V311,
     "10 19 00 04 4d 51 54 54 04 ce 00 0a 00 01 63 00 01 77 00 01 6d 00 01 75 00 01 70"),
    (p.Connect(V5, "", False, 0, session_expiry_s=10), V5,
     "10 12 00 04 4d 51 54 54 05 00 00 00 05 11 00 00 00 0a 00 00"),
    (p.Connack(session_present=True), V5, "20 03 01 00 00"),
    (p.Connack(0x87), V311, "20 02 00 05"),
    (p.Puback(1), V5, "40 02 00 01"),
    (p.Puback(1, 0x10), V5, "40 03 00 01 10"),
    (p.Pubrec(1, 0x97, "q"), V5, "50 08 00 01 97 04 1f 00 01 71"),
    (p.Pubrel(1), V5, "62 02 00 01"),
    (p.Pubcomp(1, 0x92), V5, "70 03 00 01 92"),
    (p.Pingreq(), V5, "c0 00"),
    (p.Pingresp(), V5, "d0 00"),
    (p.Disconnect(), V5, "e0 00"),
    (p.Disconnect(0x8E), V5, "e0 01 8e"),
    (p.Disconnect(), V311, "e0 00"),
    (p.Auth(), V5, "f0 00"),
    (p.Auth(0x18, "m"), V5, "f0 06 18 04 15 00 01 6d"),
]  # fmt: skip


@pytest.mark.parametrize(("packet", "version", "octets"), EXAMPLES, ids=[example[2][:11] for example in EXAMPLES])
def test_examples(packet: Packet, version: int, octets: str) -> None:
    raw = bytes.fromhex(octets)
    assert encode(packet, version) == raw
    found = decoded(raw, version)
    if version == V311 and isinstance(packet, p.Subscribe):
        assert [(each.topic_filter, each.qos) for each in found[0].subscriptions] == [  # type: ignore[union-attr]
            (each.topic_filter, each.qos) for each in packet.subscriptions
        ]
    else:
        assert found == [packet]


@settings(max_examples=50)
@given(st.data(), st.sampled_from((V5, V311)))
def test_what_is_written_is_read_however_it_is_cut(data: st.DataObject, version: int) -> None:
    sent = data.draw(st.lists(packets_of(version), min_size=1, max_size=4))
    octets = b"".join(encode(each, version) for each in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=6)))
    decoder = Decoder(version)
    edges = [0, *cuts, len(octets)]
    found = [each for at, end in itertools.pairwise(edges) for each in decoder.feed(octets[at:end])]
    assert decoder.fault is None
    assert found == sent


@settings(max_examples=50)
@given(st.data(), st.sampled_from((V5, V311)))
def test_what_is_changed_is_read_or_is_a_fault(data: st.DataObject, version: int) -> None:
    octets = bytearray(encode(data.draw(packets_of(version)), version))
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    whole, cut = Decoder(version), Decoder(version)
    at_once = whole.feed(bytes(octets))
    one_by_one = [packet for octet in octets for packet in cut.feed(bytes((octet,)))]
    assert one_by_one == at_once
    assert str(cut.fault) == str(whole.fault)
    for packet in at_once:
        if version == V311 and isinstance(packet, p.Connack) and packet.code == UNSPECIFIED:
            continue  # of a return code that 3.1.1 reserves
        again = Decoder(version)
        assert again.feed(encode(packet, version)) == [packet]


FAULTS = [
    ("00 00", V5, 0x81, "no packet of kind 0"),
    ("f0 00", V311, 0x81, "no AUTH"),
    ("36 05 00 01 61 00 01", V5, 0x81, "wrong flags"),  # QoS 3
    ("38 04 00 01 61 00", V5, 0x81, "wrong flags"),  # DUP at QoS 0
    ("60 02 00 01", V5, 0x81, "PUBREL has wrong flags"),
    ("80 07 00 01 00 00 01 61 01", V5, 0x81, "SUBSCRIBE has wrong flags"),
    ("41 02 00 01", V5, 0x81, "PUBACK has wrong flags"),
    ("30 04 00 05 61 61", V5, 0x81, "ends within a field"),
    ("30 01 00", V5, 0x81, "ends within a field"),
    ("30 03 00 00 00", V5, 0x82, "topic name is empty"),
    ("30 04 00 01 23 00", V5, 0x90, "wildcard"),
    ("30 04 00 01 2b 00", V5, 0x90, "wildcard"),
    ("30 04 00 01 00 00", V5, 0x81, "U\\+0000"),
    ("30 04 00 01 ff 00", V5, 0x81, "no UTF-8"),
    ("30 06 00 03 ed a0 80 00", V5, 0x81, "no UTF-8"),  # a surrogate, §1.5.4
    ("32 06 00 01 61 00 00 00", V5, 0x82, "packet identifier is 0"),
    ("40 02 00 00", V5, 0x82, "packet identifier is 0"),
    ("30 05 00 01 61 05 01", V5, 0x81, "properties are longer"),
    ("30 06 00 01 61 02 01 02", V5, 0x82, "neither 0 nor 1"),
    ("30 08 00 01 61 04 01 01 01 01", V5, 0x82, "stands twice"),
    ("30 07 00 01 61 03 23 00 00", V5, 0x82, "topic_alias is 0"),
    ("30 06 00 01 61 02 0b 00", V5, 0x82, "subscription_ids is 0"),
    ("30 09 00 01 61 05 11 00 00 00 00", V5, 0x82, "cannot have"),  # session expiry in a PUBLISH
    ("30 06 00 01 61 02 7e 00", V5, 0x82, "cannot have"),
    ("30 06 00 01 61 02 03 00", V5, 0x81, "ends within a field"),
    ("20 03 02 00 00", V5, 0x82, "wrong flags"),
    ("20 03 01 87 00", V5, 0x82, "wrong flags"),  # a session, and refused: §3.2.2.1.1
    ("20 06 00 00 03 21 00 00", V5, 0x82, "receive_maximum is 0"),
    ("82 03 00 01 00", V5, 0x82, "without a topic filter"),
    ("82 07 00 01 00 00 01 61 03", V5, 0x81, "wrong options"),
    ("82 07 00 01 00 00 01 61 30", V5, 0x81, "wrong options"),
    ("82 07 00 01 00 00 01 61 41", V5, 0x81, "wrong options"),
    ("82 06 00 01 00 01 61 04", V311, 0x81, "wrong options"),
    ("82 06 00 01 00 00 00 01", V5, 0x81, "topic filter is empty"),
    ("82 10 00 01 00 00 0a 24 73 68 61 72 65 2f 67 2f 61 05", V5, 0x82, "No Local"),
    ("a2 03 00 01 00", V5, 0x82, "without a topic filter"),
    ("90 04 00 01 00 03", V5, 0x82, "known reason code"),
    ("90 03 00 01 00", V5, 0x82, "known reason code"),
    ("b0 03 00 01 00", V5, 0x82, "without a reason code"),
    ("c0 01 00", V5, 0x81, "goes on"),
    ("40 05 00 01 00 00 00", V5, 0x81, "goes on"),
    ("e0 04 00 02 26 00", V5, 0x81, "ends within a field"),
    ("f0 05 18 03 16 00 00", V5, 0x82, "without a method"),
    ("30 ff ff ff ff 01", V5, 0x81, "more than four"),
    ("30 84 00 00 01 61 00", V5, 0x81, "longer than it needs"),
    ("10 0c 00 04 4d 51 54 54 03 02 00 00 00 00", V5, 0x84, "protocol level 3"),
    ("10 0e 00 06 4d 51 49 73 64 70 03 02 00 00 00 00", V5, 0x84, "another protocol"),
    ("10 0c 00 04 4d 51 54 54 04 01 00 00 00 00", V5, 0x81, "wrong flags"),
    ("10 0c 00 04 4d 51 54 54 04 18 00 00 00 00", V5, 0x81, "wrong flags"),
    ("10 0e 00 04 4d 51 54 54 04 42 00 00 00 00 00 00", V5, 0x81, "no user name"),
    ("50 ff ff ff 7f", V5, 0x95, "packet of 268435455 octets"),
]


@pytest.mark.parametrize(("octets", "version", "code", "text"), FAULTS, ids=[fault[0][:23] for fault in FAULTS])
def test_faults(octets: str, version: int, code: int, text: str) -> None:
    fault = fault_of(bytes.fromhex(octets), version)
    assert fault.code == code
    with pytest.raises(WireError, match=text):
        raise fault


def test_packets_before_a_fault_come() -> None:
    decoder = Decoder()
    assert decoder.feed(reply(Kind.PUBACK, 7) + b"\0\0") == [p.Puback(7)]
    assert decoder.fault is not None


def test_a_short_connack_in_version_5_is_that_of_a_broker_of_311() -> None:
    assert decoded(bytes.fromhex("20 02 00 01")) == [p.Connack(0x84)]


def test_a_connect_sets_the_version() -> None:
    octets = encode(p.Connect(V311, "c")) + encode(p.Publish("a", b"x"), V311)
    assert decoded(octets, V5) == [p.Connect(V311, "c"), p.Publish("a", b"x")]


@pytest.mark.parametrize("version", [V5, V311])
@pytest.mark.parametrize("size", [99, 100, 101, 5000, 300_000])
def test_of_an_oversized_payload_the_beginning_comes(version: int, size: int) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    sent = p.Publish("a/b", payload[:size], 1, packet_id=3)
    octets = encode(sent, version) + encode(p.Puback(9), version)
    limits = Limits(payload=100, head=10)
    head = 10 if size > 100 else size
    wanted = [dataclasses.replace(sent, payload=payload[:head], oversized=size if size > 100 else 0), p.Puback(9)]
    for step in (len(octets), 1000, 7 if size < 10_000 else 777):
        decoder = Decoder(version, limits)
        found = [each for at in range(0, len(octets), step) for each in decoder.feed(octets[at : at + step])]
        assert decoder.fault is None
        assert found == wanted


def test_of_an_oversized_payload_no_more_than_the_beginning_is_held() -> None:
    decoder = Decoder(V5, Limits(payload=1000, head=100))
    octets = encode(p.Publish("a/b", bytes(5_000_000), 1, packet_id=3))
    for at in range(0, len(octets) - 1, 65536):
        assert decoder.feed(octets[at : min(at + 65536, len(octets) - 1)]) == []
        assert len(decoder._gathered) < 200_000
    (found,) = decoder.feed(octets[-1:])
    assert isinstance(found, p.Publish)
    assert found.oversized == 5_000_000
    assert len(found.payload) == 100


def test_too_many_properties_are_left_out() -> None:
    many = Properties(user=tuple((f"name {n}", "x" * 1000) for n in range(MAX_PROPERTIES // 1000 + 10)))
    found = decoded_once(encode(p.Publish("a/b", b"payload", 1, packet_id=3, properties=many)))
    assert found == p.Publish("a/b", b"payload", 1, packet_id=3, oversized=7)


def decoded_once(octets: bytes) -> Packet:
    decoder = Decoder()
    (found,) = decoder.feed(octets)
    return found


@pytest.mark.parametrize(
    "packet",
    [
        p.Publish("a\0b", b""),
        p.Publish("a/#", b""),
        p.Publish("", b""),
        p.Publish("a", b"", 1),
        p.Publish("a", b"", 3, packet_id=1),
        p.Publish("x" * 65536, b""),
        p.Publish("a\ud800", b""),
        p.Publish("a", b"", properties=Properties(payload_format=2)),
        p.Publish("a", b"", properties=Properties(message_expiry_s=-1)),
        p.Publish("a", b"", properties=Properties(subscription_ids=(0,))),
        p.Publish("a", b"", properties=Properties(user=(("a\0", "b"),))),
        p.Puback(0),
        p.Subscribe(1, ()),
        p.Subscribe(1, (Subscription(""),)),
        p.Subscribe(1, (Subscription("a", 3),)),
        p.Unsubscribe(1, ("",)),
        p.Connect(V311, "c", password=b"p"),
        p.Connect(V5, "c", keep_alive_s=70000),
    ],
)
def test_what_mqtt_cannot_say_is_not_written(packet: Packet) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode(packet, getattr(packet, "version", V5))
