"""Faults of every kind at random moments under load, both ways over MQTT: `python -m tests.crash.soak_mqtt`.

A publisher (paho) publishes numbered messages to a real Mosquitto, the gateway makes mail of them; at the same time
mail comes in by SMTP, and a subscriber (paho) takes what the gateway publishes of it. The gateway speaks to the broker
through a relay that sees each hand-over and each acknowledgement. Every now and then one of these happens:

    gateway   kill -9 of the gateway
    stop      SIGTERM of the broker, which saves what it holds
    broker    kill -9 of the broker, which had saved some seconds before
    cut       all connections are reset
    silent    the connections stay open, and nothing passes any more

The next hop of SMTP takes no mail before the end, so that a mail that is there twice was taken twice from the broker.

Lost is what its sender was told is safe and nobody has; what the broker had acknowledged and forgot by its own kill is
its own loss, counted apart: the relay knows who had the message last. Doubled is what came more than once. At QoS 1
that may be what was in flight at a fault: published and not acknowledged, or acknowledged and not yet written down as
such (in the spool of the killed gateway). At QoS 2 it may be nothing, unless the broker itself had lost its memory.

Each fault has its turn in MQTT 5 and 3.1.1, at QoS 1 and 2. `--kills` is how often each happens in all, spread over
these four; where the time of `--minutes` is short, it happens less often, but never less than `LEAST` times each. The
end is a table, a line for each combination and way, and their sum. `--versions`, `--qos` and `--faults` take some of
the combinations, and `--add FILE` adds up what such pieces have counted.

Exit status 1 if anything was lost that is not the broker's own loss, or doubled beyond what may be, or if a run broke.
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.crash.pieces import Counts
from tests.crash.soak_crash import KilledGateway
from tests.peers.load import Load
from tests.peers.mosquitto import Mosquitto
from tests.peers.mqtt_relay import MqttRelay
from tests.peers.process import wait_until
from tests.peers.sink import Sink

FAULTS: Final = ("gateway", "stop", "broker", "cut", "silent")
VERSIONS: Final = ("5", "3.1.1")
QUALITIES: Final = (1, 2)
LEAST: Final = 3
"""Faults in one run, whatever the time."""
FLOOR_PER_FAULT: Final = 50
KEEP_ALIVE_S: Final = 5
"""The shortest that can be set: a silent connection is found within one and a half of it."""
PAUSE_S: Final = 0.004
"""Between two messages of the publisher: what is broken is to be under load, and not the machine."""
WAITING: Final = 300
"""Messages that the publisher has under way."""
WINDOW: Final = 20
"""As many at once as Mosquitto takes of a client at QoS 2, unless told otherwise."""

BROKER: Final = "autosave_interval 2\nmax_queued_messages 0\n"
"""It saves every two seconds."""
WIDE: Final = "max_inflight_messages 2000\n"
"""Where it goes down: that leaves it some identifiers of the publisher's (paho) that it believes to be in flight for
good, and that count against its window. What comes on top it refuses by PUBREC, 0x97, and paho takes that for done."""
CONFIG: Final = """
[[mapping.rule]]
match = "smtp:{{name}}@target.example"
to = "mqtt:out/{{name}}"

[connector.things]
type = "mqtt"
brokers = ["mqtt://127.0.0.1:{port}"]
version = "{version}"
client_id = "gateway"
keep_alive_s = {keep_alive}
retry_min_s = 0.1
retry_max_s = 0.5

[[connector.things.subscribe]]
topic = "in/#"
qos = {qos}
payload = "rfc822"
recipients = ["smtp:bob@peer.example"]

[[connector.things.publish]]
topic = "out/{{name}}"
qos = {qos}
payload = "rfc822"
senders = ["*"]
max_per_minute = 1000000

[[route]]
match = "mqtt:*"
to = "things"
"""


class Publisher:
    """Publishes without an end, and knows what the broker has acknowledged."""

    def __init__(self, port: int, qos: int) -> None:
        self.qos = qos
        self.run = f"{random.getrandbits(32):08x}"
        self.acknowledged: set[str] = set()
        self._waiting: dict[int, str] = {}
        self._answers: deque[int] = deque()
        self._client = client("publisher", port)
        self._client.on_publish = lambda client, data, mid, *_: self._answers.append(mid)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._publish, daemon=True)
        self._thread.start()

    def _publish(self) -> None:
        number = 0
        while not self._stopping.is_set():
            time.sleep(PAUSE_S)
            self._heed()
            if len(self._waiting) < WAITING:
                number += 1
                id = f"{self.run}.{number}@things.example"
                text = f"From: <thing@source.example>\r\nMessage-Id: <{id}>\r\nSubject: {number}\r\n\r\n{number}\r\n"
                self._waiting[self._client.publish(f"in/{number % 7}", text.encode(), self.qos).mid] = id
        deadline = time.monotonic() + 60
        while self._waiting and time.monotonic() < deadline:
            time.sleep(0.01)
            self._heed()

    def _heed(self) -> None:
        while self._answers:
            self.acknowledged.add(self._waiting.pop(self._answers.popleft()))

    def stop(self) -> None:
        """Publish no more, and wait until all that was published is acknowledged."""
        self._stopping.set()
        self._thread.join()
        assert not self._waiting, f"the broker has not acknowledged {len(self._waiting)} messages"

    def close(self) -> None:
        self._stopping.set()
        self._client.loop_stop()


class Subscriber:
    """Takes all that the gateway publishes, over breaks of the connection."""

    def __init__(self, port: int, qos: int) -> None:
        self.copies: Counter[str] = Counter()
        self.resent: Counter[str] = Counter()
        """How often each came, where the broker said that it may have come before."""
        self._client = client("subscriber", port)
        self._client.on_message = self._take
        granted = threading.Event()
        self._client.on_subscribe = lambda *_: granted.set()
        self._client.on_connect = lambda *_: self._client.subscribe("out/#", qos)
        self._client.reconnect()
        assert granted.wait(10)

    def _take(self, client: object, data: object, message: Any) -> None:
        head = message.payload.partition(b"\r\n\r\n")[0].lower()
        id = head.partition(b"message-id: <")[2].partition(b">")[0].decode()
        self.copies[id] += 1
        if message.dup:
            self.resent[id] += 2  # that one, and the one before

    def come_again(self) -> None:
        """Have another connection."""
        self._client.reconnect()

    def close(self) -> None:
        self._client.loop_stop()


def client(name: str, port: int) -> paho.Client:
    """Return a connected client of paho's whose session the broker keeps."""
    made = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
    made.max_inflight_messages_set(WINDOW // 2)
    made.reconnect_delay_set(1, 1)
    lasting = Properties(PacketTypes.CONNECT)
    lasting.SessionExpiryInterval = 0xFFFFFFFF
    made.connect("127.0.0.1", port, clean_start=False, properties=lasting)
    made.loop_start()
    wait_until(made.is_connected, 60, f"the {name} is connected")
    return made


@dataclass
class Count:
    """What became of the messages of one way."""

    way: str
    qos: int
    faults: int = 0
    accepted: int = 0
    lost: list[str] = field(default_factory=list)
    by_broker: int = 0
    """Lost by the broker, in its own kill."""
    doubled: int = 0
    again: int = 0
    """Doubled where the broker went down: begun anew by it, by its publisher, or by us where it knew us no more."""
    in_flight: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        own = f"; by the broker itself lost {self.by_broker}, doubled {self.again}"
        return (
            f"{self.way} QoS {self.qos}: kills {self.faults}, accepted {self.accepted}, lost {len(self.lost)}, "
            f"doubled {self.doubled} (in flight at kill at most {self.bound}){own}"
        )

    @property
    def bound(self) -> int:
        return sum(self.in_flight) if self.qos == 1 else 0

    @property
    def is_good(self) -> bool:
        return not self.lost and self.doubled <= self.bound and self.accepted >= FLOOR_PER_FAULT * self.faults


class Run:
    """One gateway between a broker and an SMTP sink, at one quality of service and version."""

    def __init__(self, folder: Path, qos: int, version: str, stack: ExitStack, quiet_s: float, *, wide: bool) -> None:
        self.quiet_s = quiet_s
        self.sink = stack.enter_context(Sink(folder))
        self.sink.behave({"CONNECT": "421 4.3.2 come back later"})
        (folder / "broker").mkdir()
        self.broker = stack.enter_context(Mosquitto(folder / "broker", settings=BROKER + (WIDE if wide else "")))
        self.relay = stack.enter_context(MqttRelay(self.broker.port))
        more = CONFIG.format(port=self.relay.port, version=version, qos=qos, keep_alive=KEEP_ALIVE_S)
        quick = 'retry_min = "1s"\nretry_max = "2s"'
        self.gateway = KilledGateway(folder, self.sink.port, gateway=quick, more=more)
        stack.callback(self._end)
        self.subscriber = Subscriber(self.broker.port, qos)
        stack.callback(self.subscriber.close)
        self.inward, self.outward = Count("in", qos), Count("out", qos)
        self.was_down = self.has_forgotten = False
        """The broker was stopped or killed; it was killed, and may have lost what it had acknowledged."""

    def _end(self) -> None:
        if self.gateway.process is not None and self.gateway.process.is_alive:
            self.gateway.kill()

    def start(self) -> None:
        self.gateway.start()
        wait_until(lambda: "in/#" in self.broker.said(), 60, "the gateway has subscribed", 0.1)

    # -- the faults

    def fault(self, name: str) -> None:
        """Have one fault, and wait until all are back."""
        getattr(self, f"fault_{name}")()
        for count in (self.inward, self.outward):
            count.faults += 1

    def fault_gateway(self) -> None:
        with self._noting() as unsettled:
            self.gateway.kill()
            unsettled |= self.gateway.left() & self.relay.to_broker.begun.keys()
        self.gateway.start()

    def fault_stop(self) -> None:
        with self._noting():
            pass  # what comes twice of what is sent from here on is known by `was_down`
        self.was_down = True
        self.broker.stop()
        self.broker.start()

    def fault_broker(self) -> None:
        with self._noting():
            pass
        self.broker.kill()
        self.was_down = self.has_forgotten = True
        self.broker.start()

    def fault_cut(self) -> None:
        with self._noting():
            self.relay.cut()

    def fault_silent(self) -> None:
        with self._noting():
            self.relay.go_silent()
            begun = self.relay.to_client.begun.total()
        patience_s = 3 * KEEP_ALIVE_S
        wait_until(lambda: self.relay.to_client.begun.total() > begun, patience_s, "the silence was noticed", 0.1)

    @contextmanager
    def _noting(self) -> Iterator[set[str]]:
        """Note what may come twice by the fault that happens within: what is in flight at any moment of it, and what is
        put into the given set."""
        unsettled: set[str] = set()
        ways = self.relay.to_client, self.relay.to_broker
        for way in ways:
            way.watch()
        yield unsettled
        inward, outward = (way.watched() for way in ways)
        self.inward.in_flight.append(len(inward))
        self.outward.in_flight.append(len(outward | unsettled))

    # -- what it comes to

    def judge(self, published: set[str], posted: set[str]) -> None:
        """Let all come to its end, and count. Both sets are what the senders were told is safe."""
        self.sink.behave()
        for _ in range(2):
            self._settle(self._mails, published)
            self._settle(lambda: self.subscriber.copies, posted)
            if published <= self._mails().keys() and posted <= self.subscriber.copies.keys():
                break
            # Mosquitto 2.0.11 can keep the last of a queue back, once its window was full, up to the next connection.
            self.relay.cut()
            self.subscriber.come_again()
        taken_in, taken_out = self.relay.to_client.taken, self.relay.to_broker.taken
        # A publisher sends once more what a broker that went down had not answered; the broker begins it anew.
        anew = self.relay.to_client.begun if self.was_down else Counter()
        self._count(self.inward, published | taken_in, self._mails(), taken_in, anew)
        # Where the broker has forgotten our session we begin anew, knowing no more; what it took it has to pass on.
        # It may hold what has ended since, too, and pass that on once more when it is released again.
        to_broker = self.relay.to_broker
        anew = to_broker.begun + to_broker.released_again if self.has_forgotten else Counter()
        # What comes to the subscriber with DUP is the second try of the broker, and none of ours.
        self._count(self.outward, posted, self.subscriber.copies, posted - taken_out, anew + self.subscriber.resent)

    def _count(
        self, count: Count, accepted: set[str], copies: Counter[str], ours: set[str], anew: Counter[str]
    ) -> None:
        """Count one way. `ours` are those for which nobody but the gateway can stand; `anew` is how often the broker
        had a reason to have one twice."""
        missing = accepted - copies.keys()
        own = missing & ours if self.has_forgotten else missing
        count.accepted = len(accepted)
        count.lost = sorted(own)
        count.by_broker = len(missing - own)
        count.again = sum(max(0, min(copies[id], times) - 1) for id, times in anew.items())
        count.doubled = copies.total() - len(copies) - count.again

    def _mails(self) -> Counter[str]:
        return Counter(each.id for each in self.sink.taken())

    def _settle(self, copies: Callable[[], Counter[str]], wanted: set[str], timeout_s: float = 180.0) -> None:
        """Return when all has come and then it is quiet, when nothing is left to come, or when time is up."""
        # Where the broker has lost some, waiting for them is in vain.
        long_s = self.quiet_s * (3 if self.has_forgotten else 6)
        deadline = time.monotonic() + timeout_s
        last, since = -1, time.monotonic()
        while time.monotonic() < deadline:
            now = copies()
            if now.total() != last:
                last, since = now.total(), time.monotonic()
            elif time.monotonic() - since > (self.quiet_s if wanted <= now.keys() else long_s):
                if wanted <= now.keys() or not self.gateway.queued():
                    return
                since = time.monotonic()
            time.sleep(0.2)


def soak(
    folder: Path,
    qos: int,
    version: str,
    faults: Sequence[str],
    seed: int,
    pause_s: tuple[float, float] = (0.3, 1.5),
    quiet_s: float = 3.0,
    end: float = math.inf,
    load_pause_s: float = 0.01,
) -> tuple[Count, Count]:
    """Run through these faults, and return the counts of both ways. It is over when nothing comes for `quiet_s`;
    `load_pause_s` is between the messages of one of the ten sessions in which mail comes.

    After `end`, by the monotonic clock, there are no more than `LEAST` faults.
    """
    chance = random.Random(seed)
    home = Path(tempfile.mkdtemp(prefix="mqtt-", dir=folder))
    with ExitStack() as stack:
        run = Run(home, qos, version, stack, quiet_s, wide=bool({"stop", "broker"}.intersection(faults)))
        run.start()
        publisher = Publisher(run.broker.port, qos)
        stack.callback(publisher.close)
        load = stack.enter_context(Load(home, run.gateway.port, sessions=10, pause_s=load_pause_s, sizes=[700]))
        for number, name in enumerate(faults):
            if number >= LEAST and time.monotonic() > end:
                break
            _under_load(publisher, load)
            time.sleep(chance.uniform(*pause_s))
            run.fault(name)
        _under_load(publisher, load)
        publisher.stop()
        load.stop()
        run.judge(publisher.acknowledged, {each.id for each in load.accepted()})
        return run.inward, run.outward


def _under_load(publisher: Publisher, load: Load) -> None:
    """Return once messages flow again both ways."""
    published, posted = len(publisher.acknowledged), len(load.accepted())
    for what in (lambda: len(publisher.acknowledged) - published, lambda: len(load.accepted()) - posted):
        wait_until(lambda what=what: what() >= FLOOR_PER_FAULT, 60, "there is a load", 0.05)


@dataclass
class Row:
    """One combination, and what it came to; `broken` where the run itself did not come to its end."""

    version: str
    fault: str
    counts: tuple[Count, ...] = ()
    broken: str = ""

    @classmethod
    def read(cls, row: dict[str, Any]) -> Row:
        """Return what `asdict` made of one."""
        return cls(row["version"], row["fault"], tuple(Count(**each) for each in row["counts"]), row["broken"])

    @property
    def is_good(self) -> bool:
        return not self.broken and all(count.is_good for count in self.counts)


HEADING: Final = (
    f"{'MQTT':6}{'QoS':>3}  {'fault':8}{'way':4}{'kills':>6}{'accepted':>10}{'lost':>6}{'doubled':>9}{'at most':>9}"
    f"{'broker lost':>13}{'again':>7}"
)


def table(rows: Sequence[Row]) -> str:
    """Return a line for each combination and way, and what all come to. `again` is what came twice since the broker
    had lost its memory, or its publishers theirs of it."""
    lines = [HEADING]
    for row in rows:
        for one in row.counts:
            mark = "" if one.is_good else "  BAD"
            lines.append(
                f"{row.version:6}{one.qos:>3}  {row.fault:8}{one.way:4}{one.faults:>6}{one.accepted:>10}"
                f"{len(one.lost):>6}{one.doubled:>9}{one.bound:>9}{one.by_broker:>13}{one.again:>7}{mark}"
            )
        if row.broken:
            lines.append(f"{row.version:6}     {row.fault:8}BROKEN: {row.broken}")
    counts = [one for row in rows for one in row.counts]
    lines.append(
        f"kills {sum(one.faults for one in counts) // 2}, accepted {sum(one.accepted for one in counts)}, "
        f"lost {sum(len(one.lost) for one in counts)}, doubled {sum(one.doubled for one in counts)} "
        f"(in flight at kill at most {sum(one.bound for one in counts)})"
    )
    return "\n".join(lines)


def one_run(folder: Path, version: str, qos: int, fault: str, kills: int, seed: int, end: float) -> Row:
    """Have one combination."""
    row = Row(version, fault)
    began = time.monotonic()
    try:
        row.counts = soak(folder, qos, version, [fault] * kills, seed, end=end)
    except (AssertionError, OSError, RuntimeError, TimeoutError) as broken:
        row.broken = f"QoS {qos}: {broken!r}"[:300]
        print(f"MQTT {version}, {fault}: {row.broken}", flush=True)
    for count in row.counts:
        print(f"MQTT {version}, {fault}: {count} [{time.monotonic() - began:.0f} s]", flush=True)
        for each in count.lost[:20]:
            print(f"lost: {each}")
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how often each fault happens in all")
    parser.add_argument("--minutes", type=float, default=30, help="about so long it may take")
    parser.add_argument("--faults", nargs="+", default=FAULTS, choices=FAULTS)
    parser.add_argument("--versions", nargs="+", default=VERSIONS, choices=VERSIONS)
    parser.add_argument("--qos", nargs="+", type=int, default=QUALITIES, choices=QUALITIES)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--add", type=Path, metavar="FILE", help="add up with earlier pieces")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gatepost-soak-", dir="/var/tmp"))
    folder.chmod(0o755)
    print(f"seed {asked.seed}", flush=True)
    ways = [(version, qos, fault) for version in asked.versions for qos in asked.qos for fault in asked.faults]
    kills = max(LEAST, -(-asked.kills // (len(VERSIONS) * len(QUALITIES))))
    last = time.monotonic() + asked.minutes * 60
    rows = Counts(asked.add, Row.read)
    try:
        for number, (version, qos, fault) in enumerate(ways):
            now = time.monotonic()
            share = max(0.0, last - now) / (len(ways) - number)
            # What it takes to start and to come to the end is no time for faults.
            rows.add(one_run(folder, version, qos, fault, kills, asked.seed, now + share * 0.7))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{table(rows.rows)}")
    return 0 if all(row.is_good for row in rows.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
