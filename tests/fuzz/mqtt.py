"""Targets for MQTT: any octets as a stream of packets, any packets from a broker to a session, any order of events.

The broker of `mqtt-session` keeps to nothing; that of `mqtt-world` keeps to the standard, and there nothing may be lost
and, at QoS 2, nothing doubled.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Final

from connectors.mqtt.wire import packets as p
from connectors.mqtt.wire.decode import Limits
from connectors.mqtt.wire.effects import Step
from connectors.mqtt.wire.encode import encode
from connectors.mqtt.wire.octets import WireError
from connectors.mqtt.wire.packets import V5, V311, Packet
from connectors.mqtt.wire.reasons import UNSPECIFIED
from connectors.mqtt.wire.session import Session
from connectors.mqtt.wire.stream import Decoder
from connectors.mqtt.wire.values import Arrived, Outgoing, Phase, Subscription
from tests.connectors.mqtt.wire.test_codec import EXAMPLES, FAULTS
from tests.connectors.mqtt.wire.world import World, choices, played
from tests.fuzz.mutate import Octets
from tests.fuzz.target import Target, same_octets

_SMALL: Final = Limits(payload=50, head=5, other=2000)
_STEPS: Final = len(World.steps)
_MOST_STEPS: Final = 400
_TOKENS: Final = (
    b"\x00", b"\x01", b"\x02", b"\x7f", b"\x80", b"\xff", b"\xff\xff\xff\x7f", b"\x80\x00", b"\x20\x03\x01\x00\x00",
    b"\x32", b"\x34", b"\x3c", b"\x40\x02\x00\x01", b"\x50\x02\x00\x01", b"\x62\x02\x00\x01", b"\x70\x02\x00\x01",
    b"\x90\x04\x00\x01\x00\x01", b"\xc0\x00", b"\xd0\x00", b"\xe0\x00", b"\x00\x03a/b", b"\x23\x00\x01", b"\x0b\x01",
    b"\x26\x00\x01a\x00\x01b", b"\x1f\x00\x01r", b"\xc3\xa9", b"\xed\xa0\x80", b"x" * 60,
)  # fmt: skip


def _version(octets: bytes) -> tuple[int, bytes]:
    """Take the version from the first octet."""
    return V311 if octets[:1] and octets[0] & 1 else V5, octets[1:]


def check_packets(octets: bytes) -> str:
    """Check that a stream reads the same however it is cut, and that what was read can be written and read again."""
    version, stream = _version(octets)
    whole, cut = Decoder(version, _SMALL), Decoder(version, _SMALL)
    packets = whole.feed(stream)
    chance = Random(octets[:64])
    at, pieces = 0, []
    while at < len(stream):
        size = chance.choice((1, 2, 7, 100, 4000))
        pieces += cut.feed(stream[at : at + size])
        at += size
    assert pieces == packets
    assert str(cut.fault) == str(whole.fault)
    current = version
    for packet in packets:
        if isinstance(packet, p.Connect):
            current = packet.version
        if isinstance(packet, p.Publish) and packet.oversized:
            assert len(packet.payload) <= _SMALL.head
        elif not (isinstance(packet, p.Connack) and packet.code == UNSPECIFIED):  # any reserved code of 3.1.1
            assert Decoder(current).feed(encode(packet, current)) == [packet]
    return f"{[type(packet).__name__ for packet in packets[:3]]} {whole.fault}"


class _Driven:
    """A session, the commits and the application that go with it, all by chance."""

    def __init__(self, version: int, chance: Random) -> None:
        self.version = version
        self.chance = chance
        self.keys = [f"k{n}" for n in range(5)]
        known = {"k0": (1, Phase.SENT), "k1": (2, Phase.RELEASED), "k2": (3, Phase.DONE)}
        self.session = Session("us", "run", inward={1: 1, 2: 2}, outward=known, send_maximum=4)
        self.held: list[Arrived] = []
        self.generation = 2
        self.connect()

    def connect(self) -> None:
        connack = p.Connack(session_present=self.chance.random() < 0.8, receive_maximum=self.chance.randint(1, 5))
        self.session.connected(connack, self.version, "here")
        self.session.subscribe([Subscription("a")])
        self.turn()

    def turn(self) -> None:
        """Do something of what the session wants and what the application may do; look at what it writes."""
        effects, chance = self.session.effects, self.chance
        self.held += effects.arrived
        effects.arrived.clear()
        while effects.records and chance.random() < 0.9:
            record = effects.records.pop(0)
            if chance.random() < 0.05:
                self.session.unrecorded(record)
            elif record.step is Step.OPEN_INWARD:
                self.generation += 1
                self.session.recorded(record, self.generation)
            else:
                self.session.recorded(record)
        if self.held and chance.random() < 0.5:
            self.session.acknowledge(self.held.pop(chance.randrange(len(self.held))), chance.choice((0, 0, 0, 0x97)))
        if chance.random() < 0.2:
            self.session.publish(Outgoing("a", b"x", chance.randrange(3)), chance.choice(self.keys))
        written = Decoder(self.version)
        written.feed(effects.take_octets())
        assert written.fault is None
        assert self.session.room >= 0

    def take(self, packet: Packet) -> str:
        try:
            self.session.receive(packet)
        except WireError as fault:
            self.turn()
            self.session.disconnected()
            self.connect()
            return f"{type(packet).__name__}: {fault.text}"
        self.turn()
        return ""


def check_session(octets: bytes) -> str:
    """Check that whatever a broker sends is taken or is a WireError, and leaves a session that goes on."""
    version, stream = _version(octets)
    driven = _Driven(version, Random(octets))
    faults = [driven.take(packet) for packet in Decoder(version, _SMALL).feed(stream)[:200]]
    return " ".join(sorted({fault for fault in faults if fault}))


def check_world(octets: bytes) -> str:
    """Check that events in the order the octets say lose nothing."""
    version, steps = _version(octets)
    world = played([octet % _STEPS for octet in steps[:_MOST_STEPS]], version)
    return f"{world.runs} {len(world.sent)} {len(world.wanted)}"


@cache
def _streams() -> tuple[bytes, ...]:
    examples = [(version, bytes.fromhex(octets)) for _, version, octets in EXAMPLES]
    faults = [(version, bytes.fromhex(octets)) for octets, version, _, _ in FAULTS]
    return tuple(bytes((version == V311,)) + octets for version, octets in (*examples, *faults))


@cache
def _talks() -> tuple[bytes, ...]:
    """What a broker may well say, several packets at a time."""
    return tuple(_talk(Random(seed)) for seed in range(40))


def _talk(chance: Random) -> bytes:
    version = chance.choice((V5, V311))
    said = b"".join(encode(each, version) for each in _said(chance))
    return bytes((version == V311,)) + said


def _said(chance: Random) -> Iterator[Packet]:
    for _ in range(chance.randint(1, 30)):
        packet_id = chance.randint(1, 4)
        qos, dup = chance.choice((1, 2)), chance.random() < 0.5
        yield chance.choice((
            p.Publish("a", b"x", qos, False, dup, packet_id), p.Publish("a", b"x"), p.Puback(packet_id),
            p.Pubrec(packet_id), p.Pubrel(packet_id), p.Pubcomp(packet_id), p.Suback(packet_id, (1,)), p.Pingresp(),
        ))  # fmt: skip


@cache
def _orders() -> tuple[bytes, ...]:
    return tuple(bytes((seed & 1, *choices(Random(seed)))) for seed in range(20))


_EVENTS: Final = tuple(bytes((number,)) for number in range(_STEPS))
TARGETS: Final = (
    Target("mqtt-packets", check_packets, _streams, Octets(_TOKENS), same_octets, same_octets, 2.0, 5000),
    Target("mqtt-session", check_session, _talks, Octets(_TOKENS), same_octets, same_octets, 2.0, 2000),
    Target("mqtt-world", check_world, _orders, Octets(_EVENTS), same_octets, same_octets, 5.0, 400),
)
