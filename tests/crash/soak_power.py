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
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.crash.disk import Disk, Record, read
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


def lost_at(point: int, disk: Disk, run: Recorded, folder: Path, chance: random.Random) -> set[str]:
    """Rebuild the disk, start a gateway on it, and return the promised messages that are nowhere."""
    home = Path(tempfile.mkdtemp(prefix=f"point-{point}-", dir=folder))
    now = run.records[point].at
    promised = {id for id, place in run.answered.items() if place <= point}
    wanted = {id for id in promised if run.passed_on.get(id, now) >= now}
    try:
        (home / "spool").mkdir(mode=0o700)
        disk.lose_power(home / "spool", chance)
        with Sink(home) as sink, Gateway(home, sink.port) as gateway:
            if wanted:
                try:
                    wait_until(lambda: sink.count >= len(wanted) and _has(sink, wanted), 10, "all of it comes out", 0.1)
                except TimeoutError:
                    return wanted - {each.id for each in sink.taken()}
            gateway.stop()
        return set()
    except RuntimeError as fault:
        # A spool that no gateway starts on has lost everything that was in it.
        print(f"point {point}: {str(fault)[-600:]}", flush=True)
        return wanted or {"(the start itself)"}
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _has(sink: Sink, wanted: set[str]) -> bool:
    return wanted <= {each.id for each in sink.taken()}


def check(run: Recorded, points: int, folder: Path, seed: int) -> tuple[int, int]:
    """Try random points of one record; return how many lost something, and how many messages at most."""
    chance = random.Random(seed)
    disk = Disk(run.root, run.inode)
    chosen = sorted(chance.sample(range(len(run.records)), min(points, len(run.records))))
    bad = worst = 0
    for place, each in enumerate(run.records):
        disk.take(each)
        while chosen and chosen[0] == place:
            chosen.pop(0)
            lost = lost_at(place, disk, run, folder, chance)
            if lost:
                bad += 1
                worst = max(worst, len(lost))
    return bad, worst


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
    bad, worst = check(run, points, folder, seed)
    control = record(folder, shim, messages, nosync=True)
    control_bad, control_worst = check(control, control_points, folder, seed)
    print(
        f"control, fsync a no-op: {control_bad} of {control_points} points lost messages, at most {control_worst} "
        f"({'as it must' if control_bad else 'the check proves nothing'})"
    )
    floor = min(FLOOR, messages)
    print(
        f"points {points}, accepted {len(run.answered)}, lost at {bad} points, at most {worst} (floor {floor} accepted)"
    )
    return 0 if bad == 0 and control_bad and len(run.answered) >= floor else 1


if __name__ == "__main__":
    sys.exit(main())
