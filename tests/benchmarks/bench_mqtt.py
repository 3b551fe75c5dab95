"""MQTT in and out through the spool, beside mosquitto_pub, paho and Mosquitto's bridge: `make bench-mqtt`.

All in one round, in another order each round, each with fresh private Mosquittos (persistence on, queues without a
bound) and messages of 100 octets:

    mosquitto_pub -l    lines published at QoS 1, by itself, to a broker that nobody has subscribed to
    ... to subscriber   the same lines, from the first to the last message at a subscriber (mosquitto_sub), which must
                        have each once and unchanged
    paho publish        a plain loop of paho's, QoS 1, 100 under way
    paho subscribe      a plain subscriber of paho's, which takes a load that waits at the broker
    Mosquitto's bridge  passes a load on that waits at one broker, QoS 1; from the first to the last message at a
                        subscriber of the other broker
    in                  the load waits at the broker, so that its publisher takes no share of the processors; from the
                        gateway's connection to the commit of the last message (its counter, looked at 20 times a
                        second), the next hop being held. Then the gateway is stopped, and the broker must have nothing
                        left for it: each PUBACK or PUBCOMP was given
    in to SMTP sink     the same, to the last message at the recording sink, which must have each once and unchanged
    out                 mail waits in the spool, the broker being stopped in its tracks; from the first to the last
                        message at a subscriber (mosquitto_sub), which must have each once and unchanged
    SMTP to MQTT        from smtp-source's start to the last message at that subscriber, 20 sessions

The gateway is as shipped, with mapping, routing and the rules that are needed; `max_per_minute` is raised. Ratios are
taken within a round, and the worst round is told; where that is within a tenth of the bar, the median of seven further
pairs is held against it (see `pairs`). A row is held against the peer whose time ends where its own does:
what comes in against mosquitto_pub by itself, both ending with an acknowledgement; what goes out to a subscriber
against mosquitto_pub to the same subscriber, which works the same processors. Its ratio to mosquitto_pub by itself is
told beside it.

Exit status 1 where a bar is missed, or a message was lost, doubled or changed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.benchmarks.bench_relay import OnlyInMemory, WrongRun, file_system, fsync_ms, work_folder
from tests.benchmarks.mqtt_peers import (
    SIZE,
    TIMEOUT_S,
    Measured,
    Subscriber,
    bridge,
    digest,
    left_for,
    lines_of,
    mosquitto_pub,
    mosquitto_pub_to,
    must_be,
    new_broker,
    paho_publish,
    paho_subscribe,
    publish,
)
from tests.benchmarks.pairs import judge
from tests.peers import smtp_source
from tests.peers.gateway import Gateway
from tests.peers.mosquitto import Mosquitto
from tests.peers.process import free_port, wait_until
from tests.peers.sink import Sink

ROUNDS: Final = 3
SESSIONS: Final = 20
PEER: Final = "mosquitto_pub -l"
PEER_TO: Final = "mosquitto_pub -l to subscriber"

THINGS: Final = """
[mapping]
domains = ["gw.example"]

[[mapping.rule]]
match = "smtp:{{name}}@target.example"
to = "mqtt:out/{{name}}"

[connector.things]
type = "mqtt"
brokers = ["mqtt://127.0.0.1:{port}"]
client_id = "gateway"

[[connector.things.subscribe]]
topic = "in/{{plant}}"
qos = {qos}
recipients = ["smtp:bob@peer.example"]

[[connector.things.publish]]
topic = "out/{{name}}"
qos = {qos}
senders = ["*"]
max_per_minute = 10_000_000

[[route]]
match = "mqtt:*"
to = "things"
"""


def mails_into(gateway: Gateway, count: int) -> Counter[tuple[str, str]]:
    """Send mails whose text is SIZE octets, each to a recipient of its own; return what has to be published."""
    mail = gateway.folder / "mail"
    text = "x" * SIZE
    mail.write_text(f"From: <load@source.example>\nTo: <things@target.example>\nSubject: bench\n\n{text}")
    command = smtp_source.args(
        gateway.port, messages=count, sessions=SESSIONS, recipient="thing@target.example", file=mail, numbered=True
    )
    smtp_source.send(command, TIMEOUT_S)
    # smtp-source ends it with an empty line.
    return Counter((f"out/{n}thing", digest(f"{text}\n\n".encode())) for n in range(1, count + 1))


class Connected(threading.Thread):
    """Watches for the gateway's connection to the broker: when it came, and the gateway's CPU seconds until then."""

    def __init__(self, gateway: Gateway, broker: Mosquitto) -> None:
        super().__init__(daemon=True)
        self._gateway, self._broker = gateway, broker
        self._had = self._seen()
        self.at = self.cpu_s = 0.0
        self.start()

    def _seen(self) -> int:
        return self._broker.said().count(" as gateway ")

    def run(self) -> None:
        wait_until(lambda: self._seen() > self._had, TIMEOUT_S, "the gateway is connected", 0.002)
        self.at = time.monotonic()
        self.cpu_s = self._gateway.cpu_s()


@contextmanager
def new_gateway(folder: Path, broker: Mosquitto, next_hop: int, qos: int) -> Iterator[Gateway]:
    """A gateway that has connected to the broker; it may be stopped and started within."""
    home = Path(tempfile.mkdtemp(prefix="gatepost-", dir=folder))
    with Gateway(home, next_hop, more=THINGS.format(port=broker.port, qos=qos)) as gateway:
        wait_until(lambda: gateway.said().count(": connected") == 2, 60, "the gateway is connected both ways")
        yield gateway
        if gateway.process is not None and gateway.process.is_alive:
            gateway.stop()
    shutil.rmtree(home)


def taken_in(folder: Path, count: int, qos: int, sink: Sink | None) -> Measured:
    """Measure the way in, to the commit or, with a sink, to the last message there. Raises: WrongRun."""
    load = lines_of(count)
    # Where nobody answers at the next hop's port, what is taken in stays in the queue.
    next_hop = free_port() if sink is None else sink.port
    with new_broker(folder) as broker, new_gateway(folder, broker, next_hop, qos) as gateway:
        gateway.stop()
        publish(broker, "in", load, qos)
        connected = Connected(gateway, broker)
        gateway.start()
        if sink is None:
            wait_until(lambda: accepted(gateway) >= count, TIMEOUT_S, f"{count} messages are committed", 0.05)
            ended = time.monotonic()
        else:
            sink.wait_for(count, TIMEOUT_S)
            ended = sink.times()[1]
        # The last acknowledgements and outcomes come after that; their work is part of the cost.
        time.sleep(1)
        cpu_s = gateway.cpu_s() - connected.cpu_s
        if accepted(gateway) != count:
            raise WrongRun(f"{count} messages of the broker gave {accepted(gateway):g}")
        gateway.stop()
        if left := left_for("gateway", broker):
            raise WrongRun(f"the broker has {left} messages left that were not acknowledged")
        if sink is not None:
            bodies = Counter(each.body for each in sink.taken())
            must_be("in to SMTP sink", bodies, Counter(digest(line + b"\r\n") for line in load))
            sink.reset()
    return Measured(count / (ended - connected.at), cpu_s / count * 1000)


def accepted(gateway: Gateway) -> float:
    return gateway.metrics()["gatepost_accepted_total"]


def put_out(folder: Path, count: int, qos: int) -> Measured:
    """Measure the way out of what waits in the spool. Raises: WrongRun."""
    with (
        new_broker(folder) as broker,
        Subscriber(broker, "out/#", qos) as subscriber,
        new_gateway(folder, broker, free_port(), qos) as gateway,
    ):
        subscriber.listen(count)
        # As long as the broker stands still, all waits in the spool but what is in flight. It must not do so for as
        # long as the connection is believed to live.
        broker.freeze()
        wanted = mails_into(gateway, count)
        cpu_s = gateway.cpu_s()
        broker.thaw()
        came = subscriber.wait()
        cpu_s = gateway.cpu_s() - cpu_s
        must_be("out", came.messages, wanted)
    return Measured((count - 1) / (came.last - came.first), cpu_s / count * 1000)


def through(folder: Path, count: int, qos: int) -> Measured:
    """Measure the whole way from SMTP to a subscriber. Raises: WrongRun."""
    with (
        new_broker(folder) as broker,
        Subscriber(broker, "out/#", qos) as subscriber,
        new_gateway(folder, broker, free_port(), qos) as gateway,
    ):
        subscriber.listen(count)
        cpu_s, started = gateway.cpu_s(), time.time()
        wanted = mails_into(gateway, count)
        came = subscriber.wait()
        cpu_s = gateway.cpu_s() - cpu_s
        must_be("SMTP to MQTT", came.messages, wanted)
    return Measured(count / (came.last - started), cpu_s / count * 1000)


# -- the run


@dataclass(frozen=True)
class Row:
    """One thing that is measured with so many messages; bar and goal are ratios to `peer`."""

    name: str
    count: int
    measure: Callable[[Path, int, Sink], Measured]
    bar: tuple[float, float] | None = None
    peer: str = PEER


ROWS: Final = (
    Row(PEER, 40_000, lambda folder, count, sink: mosquitto_pub(folder, count)),
    Row(PEER_TO, 20_000, lambda folder, count, sink: mosquitto_pub_to(folder, count)),
    Row("paho publish QoS 1", 10_000, lambda folder, count, sink: paho_publish(folder, count)),
    Row("paho subscribe QoS 1", 10_000, lambda folder, count, sink: paho_subscribe(folder, count)),
    Row("Mosquitto's bridge QoS 1", 20_000, lambda folder, count, sink: bridge(folder, count)),
    Row("in QoS 1", 20_000, lambda folder, count, sink: taken_in(folder, count, 1, None), (0.25, 0.5)),
    Row("in QoS 2", 10_000, lambda folder, count, sink: taken_in(folder, count, 2, None)),
    Row("in QoS 1 to SMTP sink", 6_000, lambda folder, count, sink: taken_in(folder, count, 1, sink)),
    Row("out QoS 1", 8_000, lambda folder, count, sink: put_out(folder, count, 1), (0.2, 0.5), PEER_TO),
    Row("out QoS 2", 6_000, lambda folder, count, sink: put_out(folder, count, 2), peer=PEER_TO),
    Row("SMTP to MQTT QoS 1", 6_000, lambda folder, count, sink: through(folder, count, 1), peer=PEER_TO),
)


def bench(folder: Path, rows: list[Row], rounds: int, scale: float) -> int:
    """Run it all, print, and return the exit status."""
    median, high = fsync_ms(folder)
    print(
        f"{os.cpu_count()} cores, {file_system(folder)} at {folder}, "
        f"fdatasync of 4 KiB: {median:.2f} ms, 95 % {high:.2f}",
        flush=True,
    )
    got: dict[tuple[int, str], Measured] = {}
    by_name = {row.name: row for row in rows}
    with Sink(folder) as sink:

        def run(name: str) -> Measured:
            row = by_name[name]
            return row.measure(folder, max(100, int(row.count * scale)), sink)

        for round in range(rounds):
            shift = round * len(rows) // rounds
            for row in rows[shift:] + rows[:shift]:
                measured = got[round, row.name] = run(row.name)
                cpu = "" if measured.cpu_ms is None else f" {measured.cpu_ms:7.3f} ms CPU a message"
                print(f"round {round + 1}  {row.name:30} {measured.rate:8.0f} msg/s{cpu}", flush=True)
        return verdict(got, rows, rounds, run)


def verdict(got: dict[tuple[int, str], Measured], rows: list[Row], rounds: int, run: Callable[[str], Measured]) -> int:
    """Print the worst ratio of each row, those with a bar last, run again by `run` where that is near to it; return 1
    where one is under its bar."""

    def worst(row: Row, peer: str) -> float:
        return min(got[n, row.name].rate / got[n, peer].rate for n in range(rounds))

    def rate(name: str) -> float:
        return run(name).rate

    def tell(name: str, line: str) -> None:
        print(f"{name:12} {line}", flush=True)

    lines, ok = [], True
    for row in sorted(rows, key=lambda row: row.bar is not None):
        if row.name in (PEER, PEER_TO):
            continue
        if row.bar is None:
            line = f"mqtt {row.name}: {worst(row, row.peer):.2f}x {row.peer}"
        else:
            bar, goal = row.bar
            ours, theirs = partial(rate, row.name), partial(rate, row.peer)
            judged = judge(worst(row, row.peer), bar, ours, theirs, partial(tell, row.name))
            ok = ok and judged.is_met
            line = judged.line(f"mqtt {row.name}", row.peer, goal=goal)
        lines.append(line if row.peer == PEER else f"{line}, {worst(row, PEER):.2f}x by itself")
    print("\n".join(["", *lines]))
    return 0 if ok else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of messages")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="rows whose name holds this, beside mosquitto_pub's")
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("GATEPOST_BENCH_DIR", "/var/tmp")))
    asked = parser.parse_args()
    try:
        with work_folder(asked.folder) as folder:
            rows = [row for row in ROWS if row.name in (PEER, PEER_TO) or asked.only in row.name]
            return bench(folder, rows, asked.rounds, asked.scale)
    except (OnlyInMemory, WrongRun, TimeoutError) as fault:
        print(fault, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
