"""The stored mapping at 10 thousand, 100 thousand and a million identities of three addresses: `make bench-mapping`.

At each size: the time to import it as one revision; the time until a worker can look up, from the database alone
and from a prepared snapshot, both with the files out of the page cache and within; what the workers hold in memory;
translations a second of random people through the table, over a snapshot that a thousand changes lie on; the time
from a change's commit until each of three workers, which look as often as a gateway's do, shows it. Beside it the
same look-ups, alias to primary, by Postfix's own `postmap -q -` on a map of its own, built of the same people.

Rates are of one core: look-ups in a second of CPU, so that who else is busy does not count, postmap's own included.
Of times and latencies the worst counts, of rates the worst of three. Exit status 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.mapping import FILE, FOLLOW_S, MappingDatabase
from mappings import store
from mappings.address import Address
from mappings.directory import Directory, MemoryDirectory
from mappings.encapsulation import Encapsulation, Key
from mappings.reader import MappingReader
from mappings.table import Direction, Table, compile_table
from tests.benchmarks.bench_relay import MEMORY_FILE_SYSTEMS, file_system
from tests.benchmarks.crowd import HOMES, alias, crowd, old, person, primary
from tests.peers.postgres import PostgresServer
from tests.peers.smtp_source import environment

MIB: Final = 1024 * 1024
WORKERS: Final = 3
CHANGED: Final = 1000
LOOK_UPS: Final = 200_000
ASKED: Final = 1_000_000
"""Of postmap, which is quick, and whose time is told in ticks of 10 ms."""
CHANGES: Final = 8

COLD_S: Final = 6.0
PREPARED_S: Final = 0.5
IN_ALL_MIB: Final = 250
PRIVATE_MIB: Final = 64
RATE: Final = 200_000
VISIBLE_S: Final = 1.0

KINDS: Final[dict[str, Callable[[int], tuple[Address, str]]]] = {
    "mhs to smtp": lambda number: (old(number), "smtp"),
    "smtp to mhs": lambda number: (alias(number), "mhs"),
    "smtp alias to primary": lambda number: (alias(number), "smtp"),
}


@dataclass
class Row:
    """What was measured of one size."""

    size: int
    database: str
    import_s: float = 0.0
    cold_s: float = 0.0
    cold_cpu_s: float = 0.0
    prepared_s: float = 0.0
    prepared_cached_s: float = 0.0
    file_mib: float = 0.0
    in_all_mib: float = 0.0
    private_mib: float = 0.0
    rates: dict[str, float] = dataclasses.field(default_factory=dict)
    visible_s: float = 0.0
    postmap: str = ""
    postmap_build_s: float = 0.0
    postmap_rate: float = 0.0

    @property
    def name(self) -> str:
        size = f"{self.size // 1_000_000}M" if self.size >= 1_000_000 else f"{self.size // 1000}k"
        return size if self.database == "sqlite" else f"{size} on PostgreSQL"

    @property
    def rate(self) -> float:
        """Translations a second where each kind is as frequent as the others."""
        return len(self.rates) / sum(1 / rate for rate in self.rates.values())


# -- a worker, in a process of its own


class Served:
    """What a gateway's worker keeps of the mapping, and what it does with it."""

    def __init__(self, url: str, folder: Path) -> None:
        self._reader = MappingReader(MappingDatabase(url, folder).connect, folder / "snapshots")
        self._table = self._compile(MemoryDirectory([]))
        gc.collect()
        self._before = memory()

    def open(self) -> dict[str, float]:
        started, cpu = time.perf_counter(), time.process_time()
        self._table = self._compile(self._reader.open())
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "cpu": time.process_time() - cpu, "size": len(self._table)}

    def memory(self) -> dict[str, float]:
        """Return how much more is resident, and private, than before the mapping was opened; in MiB."""
        gc.collect()
        return {name: (each - self._before[name]) / MIB for name, each in memory().items()}

    def translate(self, kind: str, count: int) -> dict[str, float]:
        """Return how many random people a second are translated."""
        size = len(self._table)
        asked = [KINDS[kind](random.randint(1, size)) for _ in range(count)]
        gc.collect()
        translate, outward = self._table.translate, Direction.OUTWARD
        started = time.process_time()
        for address, network in asked:
            translate(address, network, outward)
        rate = count / (time.process_time() - started)
        if not all(translate(address, network, outward).how == "identity" for address, network in asked):
            raise RuntimeError("somebody was not found")
        return {"rate": rate}

    def watch(self, number: int, name: str) -> dict[str, float]:
        """Look for changes as a gateway does, until a person has a name; return when it had."""
        self._look(lambda: self._table.translate(old(number), "smtp", Direction.OUTWARD).detail == name)
        return {"at": time.monotonic()}

    def _look(self, is_seen: Callable[[], bool]) -> None:
        while not is_seen():
            time.sleep(FOLLOW_S)
            directory = self._reader.refresh()
            if directory is not None:
                self._table = self._compile(directory)

    def _compile(self, directory: Directory) -> Table:
        encapsulation = Encapsulation(["gw.merged.example"], [Key("a", b"a secret of this benchmark")])
        homes = dict(zip(HOMES, ("smtp", "mhs"), strict=True))
        domains = ["merged.example", "acme.example"]
        return compile_table(directory, [], domains=domains, homes=homes, encapsulation=encapsulation, version=1)


def memory() -> dict[str, int]:
    """Return this process's resident and private octets, and its share of what several hold."""
    found = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        found[name.rstrip(":")] = int(value) * 1024
    # A page of a file counts as private as long as one process alone has mapped it.
    return {"rss": found["Rss"], "pss": found["Pss"], "private": found["Private_Dirty"]}


def serve(url: str, folder: Path) -> None:
    served = Served(url, folder)
    for line in sys.stdin:
        what, *given = json.loads(line)
        print(json.dumps(getattr(served, what)(*given)), flush=True)


class Worker:
    """A worker from outside: `ask` and `answer` are a line each, so that several can be busy at once."""

    def __init__(self, url: str, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.bench_mapping", "--serve", url, "--folder", str(folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: str, *given: Any) -> None:
        assert self._process.stdin is not None
        print(json.dumps([what, *given]), file=self._process.stdin, flush=True)

    def answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found

    def call(self, what: str, *given: Any) -> dict[str, float]:
        self.ask(what, *given)
        return self.answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)


@contextmanager
def workers(url: str, folder: Path, count: int = 1) -> Iterator[list[Worker]]:
    started = [Worker(url, folder) for _ in range(count)]
    try:
        for each in started:
            each.call("memory")  # no sooner than it is ready
        yield started
    finally:
        for each in started:
            each.close()


# -- the run


def evict(path: Path) -> None:
    """Take a file out of the page cache, as after the machine was started."""
    if path.exists():
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def measure(size: int, url: str, folder: Path) -> Row:
    row = Row(size, url.partition(":")[0])
    database = MappingDatabase(url, folder)
    snapshot = folder / "snapshots" / "mapping.snapshot"
    stored = folder / "spool" / FILE
    try:
        started = time.perf_counter()
        with database.connect() as connection:
            store.apply(connection, map(store.Put, crowd(size)), who="bench", why="a crowd", at=time.time())
        row.import_s = time.perf_counter() - started
        evict(stored)
        with workers(url, folder) as (worker,):
            opened = worker.call("open")
            row.cold_s, row.cold_cpu_s = opened["seconds"], opened["cpu"]
        row.file_mib = snapshot.stat().st_size / MIB
        change(database, range(1, size, max(1, size // CHANGED)), "changed")
        evict(snapshot)
        evict(stored)
        with workers(url, folder, WORKERS) as several:
            first = several[0].call("open")
            if first["size"] != size:
                raise RuntimeError(f"{first['size']} identities instead of {size}")
            row.prepared_s = first["seconds"]
            row.prepared_cached_s = max(worker.call("open")["seconds"] for worker in several[1:])
            for worker in several:
                for kind in KINDS:
                    rate = worker.call("translate", kind, LOOK_UPS)["rate"]
                    row.rates[kind] = min(row.rates.get(kind, rate), rate)
            held = [worker.call("memory") for worker in several]
            row.private_mib = max(each["private"] for each in held)
            row.in_all_mib = max(each["rss"] for each in held)
            row.visible_s = max(visible(database, several, n, size) for n in range(CHANGES))
    finally:
        database.close()
    postmap(row, folder)
    return row


def change(database: MappingDatabase, numbers: Sequence[int], name: str) -> None:
    """Give some people another name, as one revision."""
    people = [dataclasses.replace(person(number), name=name, id=number) for number in numbers]
    with database.connect() as connection:
        store.apply(connection, map(store.Put, people), who="bench", why="another name", at=time.time())


def visible(database: MappingDatabase, several: Sequence[Worker], turn: int, size: int) -> float:
    """Return how long after a commit the last of the workers shows what it changed."""
    number, name = random.randint(1, size), f"turn {turn}"
    for worker in several:
        worker.ask("watch", number, name)
    time.sleep(random.uniform(1, 2) * FOLLOW_S)
    change(database, [number], name)
    committed = time.monotonic()
    return max(worker.answer()["at"] for worker in several) - committed


def postmap(row: Row, folder: Path) -> None:
    """Build Postfix's map of the same people and look aliases up in it; the quickest kind of map that there is."""
    kinds = subprocess.run(["postconf", "-m"], capture_output=True, text=True, env=environment()).stdout.split()
    row.postmap = next((kind for kind in ("cdb", "lmdb", "hash") if kind in kinds), "")
    if not row.postmap:
        return
    source = folder / "aliases"
    with source.open("w") as lines:
        for number in range(1, row.size + 1):
            lines.write(f"{alias(number).value} {primary(number).value}\n")
    map_ = f"{row.postmap}:{source}"
    started = time.perf_counter()
    # lmdb grows its file as it goes; in one step where it may be larger from the start.
    subprocess.run(["postmap", "-o", map_], check=True, env=environment())
    row.postmap_build_s = time.perf_counter() - started
    keys = "".join(f"{alias(random.randint(1, row.size)).value}\n" for _ in range(ASKED))
    for _ in range(3):
        before = os.times()
        ran = subprocess.run(
            ["postmap", "-q", "-", map_], input=keys, capture_output=True, text=True, env=environment()
        )
        after = os.times()
        taken = after.children_user + after.children_system - before.children_user - before.children_system
        rate = ASKED / taken
        if ran.stdout.count("\n") != ASKED:
            raise RuntimeError(f"postmap found {ran.stdout.count(chr(10))} of {ASKED}: {ran.stderr[-500:]}")
        row.postmap_rate = max(row.postmap_rate, rate)  # in favour of the peer


def report(row: Row) -> None:
    made = f"{row.cold_cpu_s:.2f} s of CPU; a snapshot of {row.file_mib:.1f} MiB written"
    lines = [
        ("import, one revision", f"{row.import_s:.2f} s", f"{row.size / row.import_s:,.0f} identities/s"),
        ("ready from the database", f"{row.cold_s:.2f} s", made),
        ("ready from a snapshot", f"{row.prepared_s:.3f} s", f"from the disk; in cache {row.prepared_cached_s:.3f} s"),
        ("memory of a worker", f"{row.in_all_mib:.1f} MiB", f"{row.private_mib:.1f} MiB of it shared with nobody"),
        *((kind, f"{rate:,.0f}/s", "translations") for kind, rate in row.rates.items()),
        ("change to visible", f"{row.visible_s:.3f} s", f"in {WORKERS} workers that look every {FOLLOW_S} s"),
    ]
    if row.postmap:
        built = f"look-ups, alias to primary; built in {row.postmap_build_s:.2f} s"
        lines.append((f"postmap -q - {row.postmap}:", f"{row.postmap_rate:,.0f}/s", built))
    print(f"\n{row.name}")
    for what, figure, remark in lines:
        print(f"  {what:26}{figure:>12}   {remark}")
    sys.stdout.flush()


def verdict(rows: Sequence[Row]) -> int:
    """Print a line for each measured thing, and return 1 where a bar is missed; they are the largest size's."""
    ok = True

    def line(
        row: Row, what: str, value: float, text: str, bar: float, bar_text: str, *, at_least: bool = False
    ) -> None:
        nonlocal ok
        ok = ok and (value >= bar if at_least else value <= bar)
        print(f"mapping {row.name} {what}: {text} (bar {bar_text})")

    print()
    for row in rows:
        line(row, "cold", row.cold_s, f"{row.cold_s:.2f} s", COLD_S, "6 s")
        line(row, "prepared", row.prepared_s, f"{row.prepared_s:.2f} s", PREPARED_S, "0.5 s")
        held = f"{row.in_all_mib:.0f} MiB, {row.private_mib:.0f} MiB private a worker"
        line(row, "memory", row.in_all_mib, held, IN_ALL_MIB, f"{IN_ALL_MIB} MiB, goal {PRIVATE_MIB} MiB private")
        rate = f"{row.rate:,.0f}/s, {row.rate / row.postmap_rate:.1f}x postmap" if row.postmap else f"{row.rate:,.0f}/s"
        line(row, "translations", row.rate, rate, RATE, f"{RATE:,}/s", at_least=True)
        line(row, "change visible", row.visible_s, f"{row.visible_s:.2f} s", VISIBLE_S, "1 s")
    return 0 if ok else 1


def bench(sizes: Sequence[int], databases: Sequence[str], parent: Path) -> int:
    print(f"{os.cpu_count()} cores, {file_system(parent)} at {parent}")
    rows = []
    with ExitStack() as stack:
        server = None
        if "postgresql" in databases:
            server = PostgresServer(str(parent))
            stack.callback(server.remove)
            server.start()
        for database in databases:
            for size in sizes:
                folder = Path(tempfile.mkdtemp(prefix="gatepost-bench-", dir=parent))
                try:
                    url = (
                        "sqlite:///spool"
                        if server is None or database == "sqlite"
                        else server.new_database(folder.name)
                    )
                    rows.append(measure(size, url, folder))
                finally:
                    shutil.rmtree(folder, ignore_errors=True)
                report(rows[-1])
    return verdict(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000 100000 1000000")
    parser.add_argument("--database", default="sqlite", help="sqlite, postgresql, or both")
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("GATEPOST_BENCH_DIR", "/var/tmp")))
    parser.add_argument("--serve", metavar="URL", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve, asked.folder)
        return 0
    if file_system(asked.folder) in MEMORY_FILE_SYSTEMS:
        print(f"{asked.folder} is in memory; set GATEPOST_BENCH_DIR to a disk", file=sys.stderr)
        return 1
    return bench([int(size) for size in asked.sizes.split()], asked.database.split(), asked.folder)


if __name__ == "__main__":
    sys.exit(main())
