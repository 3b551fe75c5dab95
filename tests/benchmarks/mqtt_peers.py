"""What the gateway's MQTT connector is measured beside, and with: brokers, publishers, subscribers that check.

Each measure has Mosquittos of its own, with persistence and without a bound on their queues, gone afterwards.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho

from tests.benchmarks.bench_relay import WrongRun
from tests.peers.mosquitto import Mosquitto, program
from tests.peers.process import Process, free_port, wait_until

SIZE: Final = 100
TOPICS: Final = 10
PAHO_WINDOW: Final = 100
TIMEOUT_S: Final = 90.0

BROKER: Final = "max_queued_messages 0\nmax_inflight_messages 2000\nsys_interval 1\n"
BRIDGE: Final = """
connection onward
address 127.0.0.1:{port}
topic # out 1
cleansession false
restart_timeout 1
"""


@dataclass(frozen=True)
class Measured:
    """Messages a second, and what the gateway's CPU did for each."""

    rate: float
    cpu_ms: float | None = None


# -- what is sent, and what has to come of it


def lines_of(count: int) -> list[bytes]:
    return [f"{n} ".ljust(SIZE, "x").encode() for n in range(count)]


def publish(broker: Mosquitto, prefix: str, lines: list[bytes], qos: int) -> float:
    """Publish lines by mosquitto_pub, a run for each of some topics; return the seconds it took."""
    shares = []
    for n in range(min(TOPICS, len(lines))):
        share = broker.folder / f"lines-{n}"
        share.write_bytes(b"".join(line + b"\n" for line in lines[n::TOPICS]))
        shares.append(share)
    started = time.monotonic()
    for n, share in enumerate(shares):
        command = [program("mosquitto_pub"), "-p", str(broker.port), "-t", f"{prefix}/{n}", "-q", str(qos), "-l"]
        with share.open("rb") as text:
            subprocess.run(command, check=True, stdin=text, timeout=TIMEOUT_S)
    return time.monotonic() - started


def must_be(what: str, got: Counter[str], wanted: Counter[str]) -> None:
    """Raises: WrongRun where they differ."""
    if got != wanted:
        lost, more = (wanted - got).total(), (got - wanted).total()
        raise WrongRun(f"{what}: of {wanted.total()} messages {lost} are missing, {more} came twice or changed")


def digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


# -- the subscriber


@dataclass(frozen=True)
class Came:
    """What a subscriber has: topics and payloads' digests, and when the first and the last came (UNIX time)."""

    messages: Counter[tuple[str, str]]
    first: float
    last: float


class Subscriber:
    """mosquitto_sub that ends by itself with the last of so many messages. Its session is there from the start on,
    and the broker keeps for it what comes before `listen`."""

    def __init__(self, broker: Mosquitto, topic_filter: str, qos: int) -> None:
        self._broker = broker
        self._out = broker.folder / "subscriber"
        where = ["-p", str(broker.port), "-i", "subscriber", "-c", "-t", topic_filter, "-q", str(qos)]
        self._command = [program("mosquitto_sub"), *where]
        self._process: Process | None = None
        subprocess.run([*self._command, "-E"], check=True, timeout=20)

    def listen(self, count: int) -> None:
        """Connect, to take so many messages."""
        self._count = count
        had = self._broker.said().count(" as subscriber ")
        self._process = Process([*self._command, "-C", str(count), "-F", "%U %t %x"], self._out)
        wait_until(lambda: self._broker.said().count(" as subscriber ") > had, 60, "the subscriber is connected")

    def wait(self) -> Came:
        """Return when all have come. Raises: WrongRun where one does not, or one more does."""
        assert self._process is not None, "it does not listen"
        try:
            self._process.popen.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.stop()
            raise WrongRun(f"{len(self._read())} of {self._count} messages came to the subscriber") from None
        time.sleep(0.5)
        if more := left_for("subscriber", self._broker):
            raise WrongRun(f"the broker had {more} messages more than {self._count}")
        came = self._read()
        messages = Counter((topic, digest(bytes.fromhex(payload))) for _, topic, payload in came)
        return Came(messages, float(came[0][0]), float(came[-1][0]))

    def _read(self) -> list[list[str]]:
        return [line.split() for line in self._out.read_text().splitlines()]

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()


def left_for(name: str, broker: Mosquitto) -> int:
    """Return how many messages a broker still has for a client, sent before or not. They stay there."""
    found = []
    resumed = threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv5, manual_ack=True)
    client.on_connect = lambda client, data, flags, *_: flags.session_present and resumed.set()
    client.on_log = lambda client, data, level, text: found.append(text) if "Received PUB" in text else None
    client.connect("127.0.0.1", broker.port, clean_start=False)
    client.loop_start()
    if not resumed.wait(10):
        raise WrongRun(f"the broker has no session of {name}")
    time.sleep(0.5)
    client.loop_stop()
    return len(found)


@contextmanager
def new_broker(folder: Path, settings: str = "", port: int | None = None) -> Iterator[Mosquitto]:
    home = Path(tempfile.mkdtemp(prefix="mosquitto-", dir=folder))
    # Mosquitto's own user must be able to write there.
    home.chmod(0o777)
    with Mosquitto(home, quiet=True, settings=BROKER + settings, port=port) as broker:
        yield broker
    shutil.rmtree(home, ignore_errors=True)


# -- the peers


def mosquitto_pub(folder: Path, count: int) -> Measured:
    with new_broker(folder) as broker:
        took = _pipe(broker, lines_of(count))
        counter = "$SYS/broker/publish/messages/received"
        ask = [program("mosquitto_sub"), "-p", str(broker.port), "-t", counter, "-C", "1", "-W", "10"]
        # The broker tells it once a second, and of QoS 1 alone.
        wait_until(lambda: int(subprocess.check_output(ask)) == count, 60, f"the broker has got {count} lines", 0.2)
    return Measured(count / took)


def mosquitto_pub_to(folder: Path, count: int) -> Measured:
    """The same, from the first to the last message at a subscriber, which must have each once and unchanged."""
    load = lines_of(count)
    with new_broker(folder) as broker, Subscriber(broker, "peer", 1) as subscriber:
        subscriber.listen(count)
        _pipe(broker, load)
        came = subscriber.wait()
        must_be("mosquitto_pub", payloads(came), Counter(map(digest, load)))
    return Measured((count - 1) / (came.last - came.first))


def _pipe(broker: Mosquitto, load: list[bytes]) -> float:
    """Have mosquitto_pub publish lines at QoS 1; return the seconds it took."""
    lines = broker.folder / "lines"
    lines.write_bytes(b"".join(line + b"\n" for line in load))
    command = [program("mosquitto_pub"), "-p", str(broker.port), "-t", "peer", "-q", "1", "-l"]
    with lines.open("rb") as text:
        started = time.monotonic()
        subprocess.run(command, check=True, stdin=text, timeout=TIMEOUT_S)
        return time.monotonic() - started


def paho_publish(folder: Path, count: int) -> Measured:
    with new_broker(folder) as broker:
        window, all_done, done = threading.Semaphore(PAHO_WINDOW), threading.Event(), 0

        def published(*_: Any) -> None:
            nonlocal done
            done += 1
            window.release()
            if done == count:
                all_done.set()

        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.max_inflight_messages_set(PAHO_WINDOW)
        client.on_publish = published
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        wait_until(client.is_connected, 60, "paho is connected")
        started = time.monotonic()
        for line in lines_of(count):
            window.acquire()
            client.publish("peer", line, 1)
        if not all_done.wait(TIMEOUT_S):
            raise WrongRun(f"paho had {done} of {count} messages acknowledged")
        took = time.monotonic() - started
        client.disconnect()
        client.loop_stop()
    return Measured(count / took)


def paho_subscribe(folder: Path, count: int) -> Measured:
    with new_broker(folder) as broker:
        load = lines_of(count)
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, "taker", False, protocol=paho.MQTTv311)
        subscribed, all_came, came = threading.Event(), threading.Event(), []

        def took_one(client: object, data: object, message: paho.MQTTMessage) -> None:
            came.append(message.payload)
            if len(came) == count:
                all_came.set()

        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = took_one
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        wait_until(client.is_connected, 60, "paho is connected")
        client.subscribe("peer/#", 1)
        subscribed.wait(10)
        client.disconnect()
        client.loop_stop()
        publish(broker, "peer", load, 1)
        started = time.monotonic()
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        all_came.wait(TIMEOUT_S)
        took = time.monotonic() - started
        client.disconnect()
        client.loop_stop()
        must_be("paho subscribe", Counter(map(digest, came)), Counter(map(digest, load)))
    return Measured(count / took)


def bridge(folder: Path, count: int) -> Measured:
    load = lines_of(count)
    port = free_port()
    with new_broker(folder, BRIDGE.format(port=port)) as near:
        publish(near, "peer", load, 1)
        with new_broker(folder, port=port) as far, Subscriber(far, "peer/#", 1) as subscriber:
            subscriber.listen(count)
            came = subscriber.wait()
        must_be("the bridge", payloads(came), Counter(map(digest, load)))
    return Measured((count - 1) / (came.last - came.first))


def payloads(came: Came) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_, payload), times in came.messages.items():
        found[payload] += times
    return found
