"""Files in and out, beside Postfix's `sendmail -t`: `make bench-filedrop`.

In: a gateway that has taken some files already finds a folder with so many of 4 KiB, each a message for the internet.
It claims them, commits their messages and archives them. The time runs from the first file's leaving the folder to the
last one's reaching the archive, both as the file system tells them. Out: so many messages wait for a folder; the time
runs from their release to the last file's appearing, each file and the folder synced. Beside it in every round 8
processes hand the same files to Postfix, `sendmail -t < FILE`, one after the other. What was taken in waits in both
queues: the next hop is held. The gateway is as shipped, but for `max_files_in_outbox`; `one a commit` has
`max_in_flight = 1`.

Exit status 1 where a bar is missed in the worst round, or a file was lost, doubled or changed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.benchmarks.bench_relay import OnlyInMemory, WrongRun, file_system, fsync_ms, work_folder
from tests.peers.gateway import Gateway
from tests.peers.postfix import Postfix
from tests.peers.process import AS_ROOT, free_port, wait_until

ROUNDS: Final = 3
PROCESSES: Final = 8
PEER_FILES: Final = 400
ONE_FILES: Final = 2000
WARM_UP: Final = 500
"""Files that are taken before, since a thousand are over before a gateway that has just started is at its pace."""
OCTETS: Final = 4096
BAR, GOAL = 40.0, 100.0
ONE_BAR: Final = 3.0
FLAT_BAR: Final = 0.8
"""The slowest of 1 k, 10 k and 100 k files is to be at least so much of the fastest."""

DROP: Final = """
[connector.drop]
type = "filedrop"
network = "mhs"
inbox = "in"
archive = "done"
{more}
[connector.out]
type = "filedrop"
network = "mhs"
outbox = "out"
max_files_in_outbox = 1_000_000

[[route]]
match = "mhs:*"
to = "out"
"""


@dataclass
class Results:
    """Rates in files a second, by round."""

    taken: dict[tuple[int, int], float] = field(default_factory=dict)
    put: dict[tuple[int, int], float] = field(default_factory=dict)
    one: dict[int, float] = field(default_factory=dict)
    peer: dict[int, float] = field(default_factory=dict)


def message(number: int, to: str) -> bytes:
    fields = {
        "From": "ann@source.example",
        "To": to,
        "Date": "Tue, 24 Nov 2026 01:02:03 +0000",
        "Message-ID": f"<{number}@bench>",
        "Subject": number,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode() + b"\r\n"
    line = b"x" * 70 + b"\r\n"
    return head + line * ((OCTETS - len(head)) // len(line))


def fill(folder: Path, count: int, to: str) -> None:
    """Write so many files."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:06d}.eml").write_bytes(message(number, to))


def files_in(folder: Path) -> int:
    with os.scandir(folder) as found:
        return sum(not entry.name.startswith(".") for entry in found)


def last_change(folder: Path) -> float:
    """Return when the last of a folder's files came to its name."""
    with os.scandir(folder) as found:
        return max(entry.stat().st_ctime for entry in found if not entry.name.startswith("."))


def wait_for_files(folder: Path, count: int, timeout_s: float) -> None:
    # The folder's link count and size tell nothing of its files, so they are counted, seldom where there are many.
    # The end is told by the files' own times.
    wait_until(lambda: files_in(folder) >= count, timeout_s, f"{count} files in {folder.name}", max(0.02, count / 2e4))


def taken(home: Path, count: int, more: str = "") -> float:
    """Return the rate at which files are claimed, committed and archived. Raises: WrongRun."""
    home.mkdir()
    inbox, archive, full = home / "in", home / "done", home / "full"
    fill(inbox, WARM_UP, "bob@target.example")
    fill(full, count, "bob@target.example")
    archive.mkdir()
    (home / "out").mkdir()
    with os.scandir(full) as found:
        first = inbox / next(found).name
    # Nobody answers at the next hop's port, so that what is taken in stays in the queue.
    with Gateway(home, free_port(), more=DROP.format(more=f"poll_s = 0.2\n{more}")) as gateway:
        wait_for_files(archive, WARM_UP, 60)
        archive.rename(home / "warm")
        archive.mkdir()
        inbox.rename(home / "empty")
        full.rename(inbox)
        wait_until(lambda: not os.path.exists(first), 60, "the first file is claimed", 0.0005)
        started = time.time()
        wait_for_files(archive, count, 600)
        rate = count / (last_change(archive) - started)
        if files_in(inbox) or files_in(archive) != count:
            raise WrongRun(f"{files_in(inbox)} files are left of {count}, {files_in(archive)} in the archive")
        queued = gateway.metrics()["gatepost_accepted_total"]
        if queued != count + WARM_UP:
            raise WrongRun(f"{count} files gave {queued - WARM_UP} messages")
        gateway.stop()
    shutil.rmtree(home)
    return rate


def put(home: Path, count: int) -> float:
    """Return the rate at which waiting messages become files. Raises: WrongRun."""
    home.mkdir()
    inbox, outbox, archive, full = home / "in", home / "out", home / "done", home / "full"
    fill(full, count, "bob@sales")
    for folder in (inbox, outbox, archive):
        folder.mkdir()
    with Gateway(home, free_port(), more=DROP.format(more="poll_s = 0.2")) as gateway:
        # Without its folder the lane is closed, and everything waits in the spool.
        outbox.rename(home / "away")
        inbox.rename(home / "empty")
        full.rename(inbox)
        wait_for_files(archive, count, 600)
        (home / "away").rename(outbox)
        started = time.time()
        gateway.cli("queue", "requeue", "--all", "--connector", "out", timeout_s=600)
        wait_for_files(outbox, count, 600)
        rate = count / (last_change(outbox) - started)
        time.sleep(1)
        if files_in(outbox) != count:
            raise WrongRun(f"{count} messages gave {files_in(outbox)} files")
        gateway.stop()
    shutil.rmtree(home)
    return rate


def sendmail(folder: Path) -> float:
    """Return the rate at which 8 processes hand files to Postfix by `sendmail -t`. Raises: WrongRun."""
    files = folder / "peer"
    fill(files, PEER_FILES, "bob@target.example")
    # As above: what was taken in stays in the queue.
    with Postfix(next_hop=free_port(), folder=folder, settings={"defer_transports": "smtp, relay"}) as postfix:
        config = postfix.folder / "etc"
        command = f'for each; do sendmail -C {config} -i -t < "$each" || exit 1; done'
        names = sorted(str(each) for each in files.iterdir())
        env = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin"}
        started = time.time()
        running = [
            subprocess.Popen([*AS_ROOT, "sh", "-c", command, "sh", *names[n::PROCESSES]], env=env)
            for n in range(PROCESSES)
        ]
        if any(each.wait() for each in running):
            raise WrongRun("sendmail refused a file")
        rate = PEER_FILES / (time.time() - started)
    shutil.rmtree(files)
    return rate


def bench(counts: Sequence[int], folder: Path, rounds: int) -> int:
    """Run it all, print, and return the exit status."""
    median, high = fsync_ms(folder)
    print(
        f"{os.cpu_count()} cores, {file_system(folder)} at {folder}, "
        f"fdatasync of 4 KiB: {median:.2f} ms, 95 % {high:.2f}",
        flush=True,
    )
    got = Results()
    for round in range(rounds):
        shift = round % len(counts)
        got.peer[round] = sendmail(folder)
        print(f"round {round + 1}  sendmail -t in {PROCESSES} processes {got.peer[round]:9.0f} files/s", flush=True)
        got.one[round] = taken(folder / "one", ONE_FILES, "max_in_flight = 1")
        print(f"round {round + 1}  in, one a commit           {got.one[round]:9.0f} files/s", flush=True)
        for count in [*counts[shift:], *counts[:shift]]:
            # Few files are over in a moment, so they are taken several times.
            times = max(1, 5000 // count)
            got.taken[round, count] = sum(taken(folder / "in", count) for _ in range(times)) / times
            print(
                f"round {round + 1}  in, {count:>6} files waiting  {got.taken[round, count]:9.0f} files/s", flush=True
            )
            got.put[round, count] = put(folder / "out", count)
            print(f"round {round + 1}  out, {count:>6} files         {got.put[round, count]:9.0f} files/s", flush=True)
    return verdict(got, counts, rounds)


def verdict(got: Results, counts: Sequence[int], rounds: int) -> int:
    """Print the worst ratio of each row; return 1 where one is under its bar."""
    ok = True
    print()
    for count in counts:
        ratio = min(got.put[n, count] / got.peer[n] for n in range(rounds))
        print(f"filedrop out, {count} files: {ratio:.1f}x sendmail -t in {PROCESSES} processes")
    for count in counts:
        ratio = min(got.taken[n, count] / got.peer[n] for n in range(rounds))
        ok = ok and ratio >= BAR
        told = f"(bar {BAR:g}x, goal {GOAL:g}x)"
        print(f"filedrop in, {count} files: {ratio:.1f}x sendmail -t in {PROCESSES} processes {told}")
    middle = counts[len(counts) // 2]
    ratio = min(got.taken[n, middle] / got.one[n] for n in range(rounds))
    ok = ok and ratio >= ONE_BAR
    print(f"filedrop in, {middle} files: {ratio:.1f}x one a commit (bar {ONE_BAR:g}x)")
    # Of each number of files its best round: noise only ever slows one down.
    best = {count: max(got.taken[n, count] for n in range(rounds)) for count in counts}
    flat = min(best.values()) / max(best.values())
    ok = ok and flat >= FLAT_BAR
    print(f"filedrop in, {counts[0]} to {counts[-1]} files: {flat:.2f}x of the fastest (bar {FLAT_BAR:g}x)")
    return 0 if ok else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="1000 10000 100000")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("GATEPOST_BENCH_DIR", "/var/tmp")))
    asked = parser.parse_args()
    try:
        with work_folder(asked.folder) as folder:
            return bench([int(each) for each in asked.counts.split()], folder, asked.rounds)
    except (OnlyInMemory, WrongRun) as fault:
        print(fault, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
