"""Pull the plug at random moments: `make soak-power POINTS=200`.

A gateway runs under load with a recorder preloaded (shim.c): each write, rename and fsync below its spool and each
250 it sends, in order. Its next hop takes mail for a while, then hangs, so that there is mail in every state. Then
for each of many random points of that record the disk is rebuilt from what was synced by then and random parts of
the rest (disk.py), and a gateway is started on it: every message that had been answered 250 must be with the next
hop by then, or come out of the rebuilt spool now.

The control does the same with an fsync that does nothing; if it lost nothing, the check would prove nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.crash.disk import Disk, Record, read
from tests.crash.soak_crash import KilledGateway
from tests.peers.gateway import Gateway
from tests.peers.load import Load
from tests.peers.process import wait_until
from tests.peers.sink import Sink

SIZES: Final = (700, 4096, 4096, 20_000, 400_000)
"""The last is over the inline limit: a content file."""
FLOOR: Final = 300


@dataclass(frozen=True)
class Recorded:
    """What one run under the recorder left: its record, and for each message when it was promised and passed on."""

    records: list[Record]
    root: Path
    inode: int
    answered: dict[str, int]
    """Message -> the place in the record of the 250 that promised it."""
    passed_on: dict[str, float]
    """Message -> when the next hop had taken it (CLOCK_MONOTONIC)."""


def build_shim(folder: Path) -> Path:
    """Compile the recorder. Raises: CalledProcessError with the compiler's words."""
    target = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = ["cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(target), str(source), "-ldl", "-lpthread"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return target


def record(folder: Path, shim: Path, messages: int, *, nosync: bool) -> Recorded:
    """Run a gateway under load and the recorder, and kill it at its height."""
    home = Path(tempfile.mkdtemp(prefix="recorded-", dir=folder))
    root, log = home / "spool", home / "record"
    root.mkdir(mode=0o700)
    env = {"LD_PRELOAD": str(shim), "POWER_ROOT": str(root), "POWER_LOG": str(log)}
    with Sink(home) as sink:
        gateway = Gateway(home, sink.port, env={**env, **({"POWER_NOSYNC": "1"} if nosync else {})})
        with gateway, Load(home, gateway.port, limit=messages, sizes=SIZES) as load:
            sink.wait_for(messages // 2, 120)
            sink.behave({"MAIL": "hang"})
            load.wait(120)
            time.sleep(0.5)
            gateway.kill()
        accepted = load.accepted()
        passed_on = {each.id: each.at for each in reversed(sink.taken())}
    records = list(read(log))
    answers = b"\0".join(b"%d %s" % (place, each.data) for place, each in enumerate(records) if each.kind == "A")
    where = _places(answers)
    return Recorded(records, root, root.stat().st_ino, {a.id: where[a.reply] for a in accepted}, passed_on)


def _places(answers: bytes) -> dict[str, int]:
    """Return for each reply line where it was first sent."""
    found: dict[str, int] = {}
    for each in answers.split(b"\0"):
        place, _, text = each.partition(b" ")
        for line in text.split(b"\r\n"):
            found.setdefault(line.decode("latin-1").strip(), int(place))
    return found


@dataclass
class Tally:
    """What the points of one record came to."""

    points: int = 0
    bad: int = 0
    lost: int = 0
    doubled: int = 0
    in_flight: int = 0

    def __str__(self) -> str:
        flight = f"in flight at kill at most {self.in_flight}"
        return f"lost {self.lost}, doubled {self.doubled} ({flight})"


def try_point(point: int, disk: Disk, run: Recorded, folder: Path, chance: random.Random, tally: Tally) -> None:
    """Rebuild the disk, start a gateway on it, and add to `tally` what was promised and is nowhere."""
    tally.points += 1
    home = Path(tempfile.mkdtemp(prefix=f"point-{point}-", dir=folder))
    now = run.records[point].at
    promised = {id for id, place in run.answered.items() if place <= point}
    wanted = {id for id in promised if run.passed_on.get(id, now) >= now}
    passed_on = {id for id, at in run.passed_on.items() if at < now}
    lost: set[str] = set()
    try:
        (home / "spool").mkdir(mode=0o700)
        disk.lose_power(home / "spool", chance)
        with Sink(home) as sink:
            gateway = KilledGateway(home, sink.port)
            left = _left(gateway)
            tally.in_flight += len(left & passed_on)
            # What no row tells of can't come out any more, so there is no point in waiting for it.
            coming = wanted & left
            with gateway:
                with contextlib.suppress(TimeoutError):
                    wait_until(lambda: not coming or _has(sink, coming), 60, "all of it comes out", 0.1)
                gateway.stop()
            lost = wanted - {each.id for each in sink.taken()}
            tally.doubled += len({each.id for each in sink.taken()} & passed_on)
    except RuntimeError as fault:
        # A spool that no gateway starts on has lost everything that was in it.
        print(f"point {point}: {str(fault)[-600:]}", flush=True)
        lost = wanted or {"(the start itself)"}
    finally:
        shutil.rmtree(home, ignore_errors=True)
    tally.lost += len(lost)
    tally.bad += bool(lost)


def _left(gateway: KilledGateway) -> set[str]:
    """Return what a rebuilt spool holds; nothing where the file is not yet one."""
    try:
        return gateway.left()
    except sqlite3.Error:
        return set()


def _has(sink: Sink, wanted: set[str]) -> bool:
    return wanted <= {each.id for each in sink.taken()}


def check(run: Recorded, points: int, folder: Path, seed: int) -> Tally:
    """Try random points of one record."""
    chance = random.Random(seed)
    disk = Disk(run.root, run.inode)
    chosen = sorted(chance.sample(range(len(run.records)), min(points, len(run.records))))
    tally = Tally()
    for place, each in enumerate(run.records):
        disk.take(each)
        while chosen and chosen[0] == place:
            chosen.pop(0)
            try_point(place, disk, run, folder, chance, tally)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--control-points", type=int, default=10)
    parser.add_argument("--messages", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gatepost-power-", dir=os.environ.get("GATEPOST_BENCH_DIR", "/var/tmp")))
    try:
        return soak(folder, asked.points, asked.control_points, asked.messages, asked.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def soak(folder: Path, points: int, control_points: int, messages: int, seed: int) -> int:
    """Run the check and its control; print both, and return the exit status."""
    print(f"seed {seed}", flush=True)
    shim = build_shim(folder)
    run = record(folder, shim, messages, nosync=False)
    syncs = sum(each.kind == "E" for each in run.records)
    print(f"recorded {len(run.records)} steps, {syncs} of them fsyncs, {len(run.answered)} answers of 250", flush=True)
    tally = check(run, points, folder, seed)
    control = check(record(folder, shim, messages, nosync=True), control_points, folder, seed)
    floor = min(FLOOR, messages)
    print(
        f"control, fsync a no-op: {control.bad} of {control.points} points lost messages, {control.lost} in all "
        f"({'as it must' if control.bad else 'the check proves nothing'})"
    )
    print(f"floor of accepted {floor}; a kill is a point at which the power goes and the disk is rebuilt")
    print(f"kills {tally.points}, accepted {len(run.answered)}, {tally}")
    good = tally.bad == 0 and tally.doubled <= tally.in_flight and control.bad and len(run.answered) >= floor
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
