"""What a mapping of a million identities costs each message: relay with it beside relay with none.

Two gateways run side by side, as shipped but for what their mapping holds, each with one worker and a spool on SQLite.
smtp-source sends to each in turn, in pairs whose order alternates; every message has a recipient of its own, who is
one of the million, anywhere in the snapshot, and whose address stays as it is, so that no other work differs. The
median over the pairs of the ratio of rates, and of CPU per message, is told. Exit status 1 where either misses its
bar, or a run lost, doubled or changed a message.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from gateway.mapping import MappingDatabase
from mappings import store
from mappings.identity import Held, Identity, Role
from tests.benchmarks.bench_relay import MEMORY_FILE_SYSTEMS, Measured, WrongRun, file_system
from tests.benchmarks.crowd import alias, old, primary
from tests.peers import smtp_source
from tests.peers.gateway import Gateway
from tests.peers.sink import Sink

PAIRS: Final = 7
MESSAGES: Final = 3000
SESSIONS: Final = 20
SIZE: Final = 1_000_000
RATE_BAR: Final = 0.9
CPU_BAR: Final = 1.1

_STRIDE: Final = 611_953
"""Prime, so that recipients one after the other are scattered over all records."""


def people(size: int) -> Iterator[Identity]:
    for number in range(1, size + 1):
        held = (
            Held(alias(number * _STRIDE % size + 1), Role.PRIMARY),
            Held(primary(number), Role.ALIAS),
            Held(old(number), Role.PRIMARY),
        )
        yield Identity(f"Person {number}", held, home="internet")


def fill(gateway: Gateway, size: int) -> None:
    """Store the identities before the gateway starts."""
    database = MappingDatabase("sqlite:///spool", gateway.folder)
    try:
        with database.connect() as connection:
            store.apply(connection, map(store.Put, people(size)), who="bench", why="a crowd", at=time.time())
    finally:
        database.close()


def measure(gateway: Gateway, sink: Sink, messages: int) -> Measured:
    """Send messages through one gateway. Raises: WrongRun."""
    sink.reset()
    cpu = gateway.cpu_s()
    started = time.monotonic()
    smtp_source.send(
        smtp_source.args(
            gateway.port, messages=messages, sessions=SESSIONS, recipient="load@acme.example", numbered=True
        )
    )
    sink.wait_for(messages, 120)
    _, ended = sink.times()
    # The last outcomes are committed after the sink's answer; that work is part of the cost.
    time.sleep(0.5)
    cpu = gateway.cpu_s() - cpu
    taken = sink.taken()
    if len(taken) != messages or len({each.id for each in taken}) != messages:
        raise WrongRun(f"sent {messages}, the sink has {len(taken)}")
    recipients = {recipient for each in taken for recipient in each.recipients}
    if len(recipients) != messages or not all(each.endswith("load@acme.example") for each in recipients):
        raise WrongRun(f"{messages} recipients became {len(recipients)}, such as {sorted(recipients)[:2]}")
    return Measured(messages / (ended - started), cpu / messages * 1000)


def bench(folder: Path, size: int, pairs: int, messages: int) -> int:
    with ExitStack() as stack:
        sink = stack.enter_context(Sink(folder))
        gateways = {}
        for name in ("empty", "mapped"):
            home = folder / name
            home.mkdir()
            gateways[name] = Gateway(home, sink.port)
        fill(gateways["mapped"], size)
        for name, gateway in gateways.items():
            started = time.perf_counter()
            stack.enter_context(gateway)
            print(f"{name}: healthy after {time.perf_counter() - started:.1f} s", flush=True)
            measure(gateway, sink, 400)
        rates, cpus = [], []
        for pair in range(pairs):
            order = ("empty", "mapped") if pair % 2 else ("mapped", "empty")
            found = {name: measure(gateways[name], sink, messages) for name in order}
            rates.append(found["mapped"].rate / found["empty"].rate)
            cpus.append(found["mapped"].cpu_ms / found["empty"].cpu_ms)
            print(
                f"pair {pair + 1}  "
                + "  ".join(f"{name} {found[name].rate:6.0f} msg/s {found[name].cpu_ms:.3f} ms CPU" for name in found),
                flush=True,
            )
        for gateway in gateways.values():
            gateway.stop()
    rate, cpu = statistics.median(rates), statistics.median(cpus)
    print(
        f"\nrelay with {size:,} identities: {rate:.2f}x the rate, {cpu:.2f}x the CPU a message of an empty mapping "
        f"(bar {RATE_BAR:g}x, {CPU_BAR:g}x)"
    )
    return 0 if rate >= RATE_BAR and cpu <= CPU_BAR else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("GATEPOST_BENCH_DIR", "/var/tmp")))
    asked = parser.parse_args()
    if file_system(asked.folder) in MEMORY_FILE_SYSTEMS:
        print(f"{asked.folder} is in memory; set GATEPOST_BENCH_DIR to a disk", file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="gatepost-bench-", dir=asked.folder))
    try:
        return bench(folder, asked.size, asked.pairs, asked.messages)
    except WrongRun as fault:
        print(fault, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
