"""Durable relay, SMTP to SMTP, beside Postfix: `make bench-relay`.

One run has three rounds, each with every contestant in another order: Postfix, and the gateway with each number of
workers on each spool. smtp-source sends over 20 sessions, the recording sink takes; time ends when the sink has the
last message, and it must have each message once with the body's octets whole. Both spools are on one file system,
never a tmpfs; Postfix is tuned (see tests/peers/postfix.py), the gateway is as shipped. The ratio is taken within a
round, and the worst of the three is told. Bars are held against the first number of workers.

Exit status 1 where a bar is missed or a run lost, doubled or changed a message.
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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tests.crash.honest import honest_answers
from tests.peers import smtp_source
from tests.peers.gateway import Gateway
from tests.peers.postfix import Postfix
from tests.peers.postgres import PostgresServer
from tests.peers.sink import Sink

ROUNDS: Final = 3
SESSIONS: Final = 20
WARM_UP: Final = 400
MEMORY_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})


@dataclass(frozen=True)
class Row:
    """One kind of traffic; bars and goals are ratios to Postfix, None where no bar is set for the spool."""

    name: str
    size: int
    reuse: bool
    messages: int
    bars: dict[str, tuple[float, float]]


ROWS: Final = (
    Row("relay 4k reused", 4096, True, 6000, {"sqlite": (3, 6), "postgresql": (2.5, 5)}),
    Row("relay 4k per connection", 4096, False, 4000, {"sqlite": (2, 4)}),
    Row("relay 100k reused", 100 * 1024, True, 1500, {"sqlite": (1.5, 2.5), "postgresql": (1, 2)}),
)


class Relay(Protocol):
    """What stands between source and sink."""

    @property
    def port(self) -> int: ...

    def cpu_s(self) -> float: ...


@dataclass(frozen=True)
class Contestant:
    """Postfix (no spool of ours), or the gateway on a spool with so many workers."""

    spool: str | None
    workers: int

    def __str__(self) -> str:
        if self.spool is None:
            return "Postfix"
        return f"gatepost {self.spool}, {self.workers} worker{'s' if self.workers > 1 else ''}"


@dataclass(frozen=True)
class Measured:
    """One run of one row."""

    rate: float
    cpu_ms: float


class WrongRun(Exception):
    """A run whose figures count for nothing: messages lost, doubled or changed."""


class OnlyInMemory(Exception):
    """The folder is on a file system where fsync costs nothing."""


@contextmanager
def work_folder(base: Path) -> Iterator[Path]:
    """Make a folder on a disk for as long as the block runs. Raises: OnlyInMemory."""
    if file_system(base) in MEMORY_FILE_SYSTEMS:
        raise OnlyInMemory(f"{base} is in memory, where fsync costs nothing; set GATEPOST_BENCH_DIR to a disk")
    folder = Path(tempfile.mkdtemp(prefix="gatepost-bench-", dir=base))
    # Postfix's own user must reach its queue below.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on."""
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, at, of, *_ = line.split()
        if (f"{folder.resolve()}/").startswith(at.rstrip("/") + "/") and len(at) >= len(best):
            best, kind = at, of
    return kind


def fsync_ms(folder: Path, times: int = 200) -> tuple[float, float]:
    """Return median and 95th percentile of one 4 KiB write with fdatasync, in milliseconds."""
    path = folder / "fsync-probe"
    taken = []
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for n in range(times):
            started = time.perf_counter()
            os.pwrite(fd, b"x" * 4096, n * 4096)
            os.fdatasync(fd)
            taken.append((time.perf_counter() - started) * 1000)
    finally:
        os.close(fd)
        path.unlink()
    taken.sort()
    return statistics.median(taken), taken[int(len(taken) * 0.95)]


@contextmanager
def running(contestant: Contestant, folder: Path, sink: Sink, postgres: PostgresServer | None) -> Iterator[Relay]:
    """Start a contestant afresh, and end it and its spool afterwards."""
    if contestant.spool is None:
        with Postfix(next_hop=sink.port, folder=folder) as postfix:
            yield postfix
        return
    home = Path(tempfile.mkdtemp(prefix="gatepost-", dir=folder))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        spool = None
        if contestant.spool == "postgresql":
            assert postgres is not None
            spool = postgres.new_database(home.name)
            stack.callback(postgres.drop_database, home.name)
        gateway = stack.enter_context(Gateway(home, sink.port, workers=contestant.workers, spool=spool))
        yield gateway
        gateway.stop()


def measure(relay: Relay, sink: Sink, row: Row, body: str) -> Measured:
    """Send a row's messages through and return the rate. Raises: WrongRun."""
    sink.reset()
    cpu = relay.cpu_s()
    started = time.monotonic()
    smtp_source.send(
        smtp_source.args(relay.port, messages=row.messages, size=row.size, sessions=SESSIONS, reuse=row.reuse)
    )
    sink.wait_for(row.messages, 120)
    _, ended = sink.times()
    # The last outcomes are committed after the sink's answer; that work is part of the cost.
    time.sleep(0.5)
    cpu = relay.cpu_s() - cpu
    taken = sink.taken()
    ids = {each.id for each in taken}
    if len(taken) != row.messages or len(ids) != row.messages:
        raise WrongRun(f"{row.name}: sent {row.messages}, the sink has {len(taken)} of {len(ids)} ids")
    if {each.body for each in taken} != {body}:
        raise WrongRun(f"{row.name}: the octets of a body changed on the way")
    return Measured(row.messages / (ended - started), cpu / row.messages * 1000)


def bodies(sink: Sink) -> dict[str, str]:
    """Return the digest of each row's body as smtp-source sends it, seen without anything between."""
    found = {}
    for row in ROWS:
        sink.reset()
        smtp_source.send(smtp_source.args(sink.port, messages=1, size=row.size, sessions=1))
        found[row.name] = sink.taken()[0].body
    return found


def bench(workers: list[int], spools: list[str], folder: Path, scale: float, rounds: int) -> int:
    """Run it all, print, and return the exit status."""
    rows = [Row(r.name, r.size, r.reuse, max(100, int(r.messages * scale)), r.bars) for r in ROWS]
    contestants = [Contestant(None, 0), *(Contestant(s, w) for s in spools for w in workers)]
    results: dict[tuple[int, Contestant, str], Measured] = {}
    median, high = fsync_ms(folder)
    print(
        f"{os.cpu_count()} cores, {file_system(folder)} at {folder}, "
        f"fdatasync of 4 KiB: {median:.2f} ms, 95 % {high:.2f}"
    )
    with ExitStack() as stack:
        postgres = None
        if "postgresql" in spools:
            postgres = PostgresServer(str(folder))
            stack.callback(postgres.remove)
            postgres.start()
            with postgres.connect() as connection:
                for name in ("fsync", "synchronous_commit"):
                    shown = connection.execute(f"SHOW {name}".encode()).fetchone()
                    print(f"PostgreSQL: {name} = {shown[0] if shown else '?'}")
        sink = stack.enter_context(Sink(folder))
        honest, seen = honest_answers(folder, sink.port)
        print(f"honest 250: {honest} of {seen} answers came after the spool's fsync had returned", flush=True)
        expected = bodies(sink)
        for round in range(rounds):
            shift = round % len(contestants)
            for contestant in contestants[shift:] + contestants[:shift]:
                with running(contestant, folder, sink, postgres) as relay:
                    warm = smtp_source.args(relay.port, messages=WARM_UP, sessions=SESSIONS)
                    sink.reset()
                    smtp_source.send(warm)
                    sink.wait_for(WARM_UP, 60)
                    for row in rows:
                        if contestant.spool == "postgresql" and "postgresql" not in row.bars:
                            continue
                        got = measure(relay, sink, row, expected[row.name])
                        results[round, contestant, row.name] = got
                        print(
                            f"round {round + 1}  {contestant!s:32} {row.name:24}"
                            f"{got.rate:8.0f} msg/s {got.cpu_ms:7.3f} ms CPU a message",
                            flush=True,
                        )
    return verdict(rows, contestants, results, rounds, workers[0], ok=honest == seen > 0)


def verdict(
    rows: list[Row],
    contestants: list[Contestant],
    results: dict[tuple[int, Contestant, str], Measured],
    rounds: int,
    judged: int,
    *,
    ok: bool,
) -> int:
    """Print the worst ratio of each row, the judged ones last; return 1 where one is under its bar."""
    others, last = [], []
    for row in rows:
        for contestant in contestants[1:]:
            if (0, contestant, row.name) not in results:
                continue
            ratio = min(
                results[n, contestant, row.name].rate / results[n, contestants[0], row.name].rate for n in range(rounds)
            )
            assert contestant.spool is not None
            name = row.name if contestant.spool == "sqlite" else f"{row.name} on PostgreSQL"
            if contestant.workers != judged:
                others.append(f"{name}, {contestant.workers} workers: {ratio:.1f}x Postfix")
                continue
            bar, goal = row.bars[contestant.spool]
            ok = ok and ratio >= bar
            last.append(f"{name}: {ratio:.1f}x Postfix (bar {bar:g}x, goal {goal:g}x)")
    print("\n".join(["", *others, *last]))
    return 0 if ok else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", default="1 2 4")
    parser.add_argument("--spool", default="sqlite postgresql")
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of messages")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("GATEPOST_BENCH_DIR", "/var/tmp")))
    asked = parser.parse_args()
    try:
        with work_folder(asked.folder) as folder:
            workers = [int(each) for each in asked.workers.split()]
            return bench(workers, asked.spool.split(), folder, asked.scale, asked.rounds)
    except (OnlyInMemory, WrongRun) as fault:
        print(fault, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
