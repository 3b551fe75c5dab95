"""A small world: a session and its journal, a spool, a broker that keeps to the standard, and a network that breaks.

Everything happens one step at a time, in the order that a list of choices says; what was not durable at a kill is gone.
The broker and the spool never fail: what is lost or doubled here is the session's doing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from connectors.mqtt.wire import packets as p
from connectors.mqtt.wire.effects import Record, Step
from connectors.mqtt.wire.encode import encode
from connectors.mqtt.wire.packets import V5, Packet
from connectors.mqtt.wire.session import Session
from connectors.mqtt.wire.stream import Decoder
from connectors.mqtt.wire.values import Arrived, Outgoing, Phase

ROUNDS_A_MESSAGE = 10
BROKER = "mqtt://broker:1883"


@dataclass
class Disk:
    """What the journal has on disk, and the spool."""

    inward: dict[int, int] = field(default_factory=dict)
    outward: dict[str, tuple[int, Phase]] = field(default_factory=dict)
    generation: int = 0
    spool: dict[str, str] = field(default_factory=dict)
    """Dedupe key -> payload."""
    unkeyed: list[str] = field(default_factory=list)
    delivered: set[str] = field(default_factory=set)
    """Keys whose outcome was committed."""


class Broker:
    """Keeps to the standard: one session, everything in memory, never killed."""

    def __init__(self, version: int, receive_maximum: int) -> None:
        self.version = version
        self.receive_maximum = receive_maximum
        self.has_session = False
        self.queue: deque[tuple[str, int]] = deque()
        self.flights: dict[int, tuple[str, int, bool, bool]] = {}
        """Packet identifier -> payload, QoS, whether PUBREC has come, whether it was sent on an earlier connection."""
        self.unreleased: dict[int, str] = {}
        self.unfinished: set[int] = set()
        """Identifiers published on this connection and not completed."""
        self.received: Counter[str] = Counter()
        self.compares = False
        """It takes what comes again for new where it is another message than before, as Mosquitto does."""
        self._next = 0

    def connect(self) -> list[Packet]:
        self.unfinished.clear()
        present, self.has_session = self.has_session, True
        out: list[Packet] = [p.Connack(session_present=present, receive_maximum=self.receive_maximum)]
        for packet_id, (payload, qos, is_released, _) in self.flights.items():
            self.flights[packet_id] = (payload, qos, is_released, True)
            out.append(
                p.Pubrel(packet_id) if is_released else p.Publish("in", payload.encode(), qos, False, True, packet_id)
            )
        return out

    def send(self) -> list[Packet]:
        """Send the next message, where one waits and four are not under way."""
        if not self.queue or len(self.flights) >= 4:
            return []
        payload, qos = self.queue.popleft()
        if not qos:
            return [p.Publish("in", payload.encode())]
        while self._next in self.flights or not self._next:
            self._next = self._next % 4 + 1
        self.flights[self._next] = (payload, qos, False, False)
        return [p.Publish("in", payload.encode(), qos, packet_id=self._next)]

    def take(self, packet: Packet) -> list[Packet]:
        match packet:
            case p.Puback(packet_id) if self.flights.get(packet_id, ("", 0))[1] == 1:
                del self.flights[packet_id]
            case p.Pubrec(packet_id, code):
                known = self.flights.get(packet_id)
                if known is None or known[1] != 2:
                    return [p.Pubrel(packet_id, 0x92 if self.version == V5 else 0)]
                if code >= 0x80:
                    del self.flights[packet_id]
                    return []
                self.flights[packet_id] = (known[0], 2, True, known[3])
                return [p.Pubrel(packet_id)]
            case p.Pubcomp(packet_id):
                if self.flights.get(packet_id, ("", 0, False))[2]:
                    del self.flights[packet_id]
            case p.Publish(payload=payload, qos=1, packet_id=packet_id):
                self.received[payload.decode()] += 1
                return [p.Puback(packet_id)]
            case p.Publish(payload=payload, qos=2, packet_id=packet_id):
                held = self.unreleased.get(packet_id)
                if held is not None:
                    assert packet.dup, "an identifier is used for another message before its end"
                    assert held == payload.decode() or self.compares
                if held != payload.decode():
                    self.unreleased[packet_id] = payload.decode()
                    self.received[payload.decode()] += 1
                self.unfinished.add(packet_id)
                assert self.version != V5 or len(self.unfinished) <= self.receive_maximum
                return [p.Pubrec(packet_id)]
            case p.Pubrel(packet_id):
                self.unfinished.discard(packet_id)
                known_here = self.unreleased.pop(packet_id, None)
                return [p.Pubcomp(packet_id, 0 if known_here is not None or self.version != V5 else 0x92)]
            case _:
                raise AssertionError(f"a broker does not expect {packet}")
        return []


class World:
    """Steps are methods without arguments; `go` takes them by number."""

    def __init__(self, version: int = V5, receive_maximum: int = 3) -> None:
        self.version = version
        self.disk = Disk()
        self.broker = Broker(version, receive_maximum)
        self.is_connected = False
        self.to_broker: deque[bytes] = deque()
        self.to_client: deque[bytes] = deque()
        self.sent: dict[str, int] = {}
        """What was published to us: payload -> QoS."""
        self.wanted: dict[str, int] = {}
        """What we are to publish: key -> QoS."""
        self.answered: deque[str] = deque()
        self.runs = 0
        self._start()

    steps: tuple[str, ...] = (
        "publish_1", "publish_2", "publish_0", "broker_sends", "broker_sends", "client_takes", "client_takes",
        "broker_takes", "broker_takes", "commit", "commit", "hand_over", "acknowledge_first", "acknowledge_last",
        "want_1", "want_2", "try_again", "connect", "connect", "breaks", "kill",
    )  # fmt: skip

    def go(self, choices: Iterable[int]) -> None:
        """Take steps, then let everything come to its end."""
        for choice in choices:
            getattr(self, self.steps[choice % len(self.steps)])()
        self.settle()

    def settle(self) -> None:
        for _ in range(100 + ROUNDS_A_MESSAGE * (len(self.sent) + len(self.wanted))):
            self.connect()
            for step in ("broker_sends", "client_takes", "commit", "hand_over", "acknowledge_first", "broker_takes"):
                getattr(self, step)()
            self.try_again()
            if self.is_quiet:
                return
        raise AssertionError("it does not come to an end")

    @property
    def is_quiet(self) -> bool:
        under_way = (self.to_broker, self.to_client, self.pending, self.arrived, self.held)
        is_sent = not self.broker.queue and not self.broker.flights
        return not any(under_way) and is_sent and self.disk.delivered == set(self.wanted)

    def check(self) -> None:
        """Nothing is lost, and at QoS 2 nothing doubled."""
        stored = Counter(self.disk.spool.values())
        for payload, qos in self.sent.items():
            if qos:
                assert stored[payload] >= 1, f"{payload} was lost"
            if qos == 2:
                assert stored[payload] == 1, f"{payload} was stored {stored[payload]} times"
        assert max(Counter(self.disk.unkeyed).values(), default=0) <= 1
        for key, qos in self.wanted.items():
            assert self.broker.received[key] >= 1, f"{key} was lost"
            if qos == 2:
                assert self.broker.received[key] == 1, f"{key} was published {self.broker.received[key]} times"
        assert not self.disk.inward
        assert all(phase is Phase.DONE for _, phase in self.disk.outward.values())

    # what the client does

    def _start(self) -> None:
        self.runs += 1
        self.pending: deque[tuple[Record, int]] = deque()
        self.arrived: deque[Arrived] = deque()
        self.held: deque[Arrived] = deque()
        self.session = Session(
            "us", f"run{self.runs}", inward=dict(self.disk.inward), outward=dict(self.disk.outward), send_maximum=5
        )
        self.decoder = Decoder(self.version)
        self.open_now = dict(self.disk.inward)

    def _drain(self) -> None:
        effects = self.session.effects
        for record in effects.records:
            generation = 0
            if record.step is Step.OPEN_INWARD:
                if record.packet_id not in self.open_now:
                    self.disk.generation += 1
                    self.open_now[record.packet_id] = self.disk.generation
                generation = self.open_now[record.packet_id]
            elif record.step is Step.CLOSE_INWARD:
                self.open_now.pop(record.packet_id, None)
            elif record.step is Step.FORGET:
                self.open_now.clear()
            self.pending.append((record, generation))
        effects.records.clear()
        self.arrived += effects.arrived
        effects.arrived.clear()
        for settled in effects.settled:
            assert isinstance(settled.end, int)
            self.answered.append(settled.key)
        effects.settled.clear()
        octets = effects.take_octets()
        if octets and self.is_connected:
            self.to_broker.append(octets)

    def commit(self) -> None:
        """One record becomes durable."""
        if not self.pending:
            return
        record, generation = self.pending.popleft()
        disk = self.disk
        match record.step:
            case Step.OPEN_INWARD:
                disk.inward[record.packet_id] = generation
            case Step.CLOSE_INWARD:
                disk.inward.pop(record.packet_id, None)
            case Step.SENT:
                disk.outward[record.key] = (record.packet_id, Phase.SENT)
            case Step.RELEASED:
                disk.outward[record.key] = (record.packet_id, Phase.RELEASED)
            case Step.DONE:
                disk.outward[record.key] = (record.packet_id, Phase.DONE)
            case Step.REFUSED:
                disk.outward.pop(record.key, None)
            case Step.FORGET:
                disk.inward.clear()
                disk.outward = {key: row for key, row in disk.outward.items() if row[1] is Phase.DONE}
        self.session.recorded(record, generation)
        self._drain()

    def hand_over(self) -> None:
        """What has arrived is committed to the spool, and waits for being acknowledged."""
        if not self.arrived:
            return
        arrived = self.arrived.popleft()
        if arrived.key:
            self.disk.spool.setdefault(arrived.key, arrived.payload.decode())
            self.held.append(arrived)
        else:
            self.disk.unkeyed.append(arrived.payload.decode())

    def acknowledge_first(self) -> None:
        if self.held:
            self.session.acknowledge(self.held.popleft())
            self._drain()

    def acknowledge_last(self) -> None:
        if self.held:
            self.session.acknowledge(self.held.pop())
            self._drain()

    def want_1(self) -> None:
        self._want(1)

    def want_2(self) -> None:
        self._want(2)

    def _want(self, qos: int) -> None:
        key = f"k{len(self.wanted)}"
        self.wanted[key] = qos
        self._publish(key)

    def _publish(self, key: str) -> None:
        if self.is_connected:
            self.session.publish(Outgoing("out", key.encode(), self.wanted[key]), key)
            self._drain()

    def try_again(self) -> None:
        """Outcomes that have come are committed, and what has none is published again under its key."""
        self.disk.delivered.update(self.answered)
        self.answered.clear()
        for key in self.wanted:
            if key not in self.disk.delivered:
                self._publish(key)

    def client_takes(self) -> None:
        if self.to_client:
            for packet in self.decoder.feed(self.to_client.popleft()):
                if isinstance(packet, p.Connack):
                    self.session.connected(packet, self.version, BROKER)
                else:
                    self.session.receive(packet)
                self._drain()
            assert self.decoder.fault is None

    # what the broker does

    def publish_0(self) -> None:
        self._publish_to_us(0)

    def publish_1(self) -> None:
        self._publish_to_us(1)

    def publish_2(self) -> None:
        self._publish_to_us(2)

    def _publish_to_us(self, qos: int) -> None:
        payload = f"m{len(self.sent)}"
        self.sent[payload] = qos
        self.broker.queue.append((payload, qos))

    def broker_sends(self) -> None:
        if self.is_connected:
            self._to_client(self.broker.send())

    def broker_takes(self) -> None:
        if self.to_broker:
            decoder = Decoder(self.version)
            for packet in decoder.feed(self.to_broker.popleft()):
                self._to_client(self.broker.take(packet))
            assert decoder.fault is None

    def _to_client(self, packets: list[Packet]) -> None:
        self.to_client += [encode(packet, self.version) for packet in packets]

    # what the network and the operator do

    def connect(self) -> None:
        if not self.is_connected:
            self.is_connected = True
            self.decoder = Decoder(self.version)
            self._to_client(self.broker.connect())
            self.client_takes()

    def breaks(self) -> None:
        """Both ways are cut: what was under way is lost."""
        if self.is_connected:
            self.is_connected = False
            self.to_broker.clear()
            self.to_client.clear()
            self.session.disconnected()
            self._drain()

    def kill(self) -> None:
        self.is_connected = False
        self.to_broker.clear()
        self.to_client.clear()
        self.answered.clear()
        self._start()


class Forgetful(World):
    """Its broker is killed now and then, and comes back with an older state of its own: it holds exchanges of QoS 2
    that have ended since, and none of those begun since. What it had passed on it has passed on."""

    steps = (*World.steps, "want_2", "want_2", "broker_takes", "broker_saves", "broker_is_killed")

    def __init__(self, version: int = V5, receive_maximum: int = 3) -> None:
        self.saved: dict[int, str] = {}
        super().__init__(version, receive_maximum)
        self.broker.compares = True

    def broker_saves(self) -> None:
        if self.broker.unreleased:
            self.saved = dict(self.broker.unreleased)

    def broker_is_killed(self) -> None:
        if self.saved.keys() <= self.broker.unreleased.keys():
            return  # a kill is of use once it brings something back
        self.breaks()
        self.broker.unreleased = dict(self.saved)

    def check(self) -> None:
        """Nothing is lost, and nothing stands for ever; at QoS 2 what the broker forgot may come twice to it."""
        for key in self.wanted:
            assert self.broker.received[key] >= 1, f"{key} was lost"
        assert all(phase is Phase.DONE for _, phase in self.disk.outward.values())
        assert not self.broker.unreleased, "the broker holds an exchange for good"


def choices(chance: Random, steps: Sequence[str] = World.steps) -> list[int]:
    """Make choices in which some steps come often, and others seldom or not at all: each run tries another mood."""
    weights = [chance.choice((0, 1, 1, 3, 10)) for _ in steps]
    if not any(weights):
        weights = [1] * len(weights)
    return chance.choices(range(len(steps)), weights, k=chance.choice((30, 100, 300)))


def played(choice: Iterable[int], version: int = V5, kind: type[World] = World) -> World:
    """Play choices in a new world to their end."""
    world = kind(version)
    world.go(choice)
    world.check()
    return world
