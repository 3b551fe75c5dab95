"""Mailboxes copied from one IMAP server to another, beside mbsync: `make bench-sync`.

Two Dovecots on a disk, each round another mailbox, the contestants in another order each round:

    small       3,000 messages of about 8 KB in one folder
    large       300 messages of 1 MB in one folder
    unchanged   50 folders with 20,000 messages, both sides the same and known to be: a pass that does nothing
    growth      from 1,000 to 100,000 small messages in 20 folders: what a message costs must not grow with how many
                there are, nor memory with it

Contestants: `mbsync`; `gatepost` is `gatepost sync run` from its start to its end; `a pass` is what of it a gateway
that runs already has to do; `single` is a pass at a server that takes one message by one command (no MULTIAPPEND).
After each copy every message is counted at the destination. Ratios are taken within a round, the worst round is told;
where that is within a tenth of the bar, the median of seven further pairs is held against it (see `pairs`).
Memory is the most that the process held.

Exit status 1 where a bar is missed, or a message is missing or there twice.
"""

from __future__ import annotations

import argparse
import email.utils
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.bench_relay import OnlyInMemory, WrongRun, file_system, fsync_ms, work_folder
from tests.benchmarks.pairs import Judged, judge
from tests.peers import sync_pass
from tests.peers.dovecot import PASSWORD, Dovecot
from tests.peers.mbsync import Mbsync, Ran, timed

CONFIG: Final = """
[gateway]
name = "gw.bench.example"
spool = "sqlite:///{folder}/spool"

[connector.old]
type = "imap"
host = "127.0.0.1"
port = {left}
tls = "none"
password = "{password}"

[connector.new]
type = "imap"
host = "127.0.0.1"
port = {right}
tls = "none"
password = "{password}"

[sync.bench]
from = "old"
to = "new"

[[sync.bench.pair]]
from = "{user}"
to = "{right_user}"
"""
GATEPOST: Final = Path(sys.executable).with_name("gatepost")
ROUNDS: Final = 3
TIMEOUT_S: Final = 1800.0
LINE: Final = b"0123456789" * 7 + b"abcdef\r\n"
BARS: Final = {
    ("small", "a pass"): 1.5,
    ("small", "gatepost"): 1.5,
    ("small", "single"): 1.0,
    ("large", "a pass"): 1.0,
    ("large", "gatepost"): 1.0,
    ("large", "single"): 1.0,
    ("unchanged", "a pass"): 1.0,
    ("unchanged", "gatepost"): 0.5,
}
"""How many times as quick as mbsync. Of large messages no more is asked for than that: the server that takes them has
something to do for more than nine tenths of the time, be it by mbsync or by us."""
MOST_REMOVED: Final = 1000
"""So many files may be removed between two copies without making the next one slower."""
MOST_GROWTH: Final = 1.5
"""How many times as much a message may cost among 100 times as many."""


@dataclass(frozen=True)
class Measured:
    """What one contestant took for one row."""

    seconds: float
    memory: int
    count: int

    @property
    def rate(self) -> float:
        return self.count / self.seconds


@dataclass(frozen=True)
class Load:
    """What lies in a mailbox: so many messages of about so many octets, evenly in so many folders."""

    count: int
    size: int
    folders: int = 1


LOADS: Final = {
    "small": Load(3000, 8 * 1024),
    "large": Load(300, 1024 * 1024),
    "unchanged": Load(20_000, 512, 50),
}
GROWTH: Final = (1_000, 10_000, 100_000)


def message(number: int, size: int) -> bytes:
    """Return a message, its lines ended by CRLF."""
    head = f"From: <anna@bench.example>\r\nTo: <bob@bench.example>\r\nSubject: bench {number}\r\n"
    head += f"Message-ID: <{number}@bench.example>\r\nDate: {email.utils.formatdate(1_600_000_000 + number)}\r\n\r\n"
    return head.encode() + LINE * max(1, (size - len(head)) // len(LINE))


def fill(server: Dovecot, user: str, load: Load) -> None:
    """Write a mailbox as Dovecot keeps it, which is quicker by far than to append all of it."""
    home = server.folder / "mail" / user / "Maildir"
    for place in range(load.folders):
        box = home if place == 0 else home / f".Folder{place:03d}"
        for each in ("cur", "new", "tmp"):
            (box / each).mkdir(parents=True, exist_ok=True)
        if place:
            (box / "maildirfolder").touch()
        for number in range(place, load.count, load.folders):
            octets = message(number, load.size)
            at = 1_600_000_000 + number
            file = box / "cur" / f"{at}.M{number:06d}.bench,S={len(octets)},W={len(octets)}:2,S"
            file.write_bytes(octets)
            os.utime(file, (at, at))
    names = [""] + [f"Folder{place:03d}" for place in range(1, load.folders)]
    (home / "subscriptions").write_text("".join(f"{name}\n" for name in names if name))
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "nobody:nogroup", str(server.folder / "mail" / user)], check=True)


def counted(server: Dovecot, user: str) -> int:
    """Return how many messages a mailbox has, by the server's own tool."""
    told = server.adm("-f", "tab", "mailbox", "status", "-u", user, "messages", "*", timeout_s=TIMEOUT_S).splitlines()[
        1:
    ]
    return sum(int(line.split("\t")[1]) for line in told)


def same(servers: Sequence[Dovecot], users: Sequence[str], load: Load, *, sizes: bool) -> None:
    """Raise WrongRun unless the second mailbox has each message of the first once; of the same size where `sizes`."""
    fields = "hdr.message-id date.received" + (" size.virtual" if sizes else "")
    found = []
    for server, user in zip(servers, users, strict=True):
        told = server.adm("-f", "tab", "fetch", "-u", user, fields, "mailbox", "*", "all", timeout_s=TIMEOUT_S)
        found.append(sorted(told.splitlines()[1:]))
    if len(found[1]) != load.count or found[0] != found[1]:
        raise WrongRun(f"{load.count} messages at the source, {len(found[1])} at {users[1]}, and they differ")


class Bench:
    """The servers of a run, and where its files are."""

    def __init__(self, folder: Path, left: Dovecot, right: Dovecot) -> None:
        self._folder = folder
        self._left, self._right = left, right
        self._turn = 0

    def _new(self) -> tuple[str, Path]:
        self._turn += 1
        return f"to{self._turn}", self._folder / f"turn{self._turn}"

    def _done(self, user: str, folder: Path, load: Load) -> None:
        """Remove what a copy made, where it is large. Of what is many files it stays until the end: for a minute or
        five ext4 gives no inode away that was just freed, and looks through all of those whenever it makes a file, so
        that each copy would take longer than the one before it."""
        if load.count <= MOST_REMOVED:
            shutil.rmtree(self._right.folder / "mail" / user, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)

    def source(self, name: str, load: Load) -> None:
        """Fill the mailbox that is copied from, and have its server look at it once."""
        fill(self._left, name, load)
        counted(self._left, name)

    # -- copies

    def copy(self, row: str, load: Load, who: str) -> Measured:
        """Copy a mailbox to a new one and look whether all of it is there."""
        user, folder = self._new()
        if who == "mbsync":
            ran = Mbsync(folder, (self._left.port, row), (self._right.port, user)).run(TIMEOUT_S)
            measured = Measured(ran.seconds, ran.memory, load.count)
        elif who == "gatepost":
            ran = self._command(row, user, folder)
            measured = Measured(ran.seconds, ran.memory, load.count)
        else:
            told = self._pass(row, user, folder, who)
            measured = Measured(told["seconds"][0], told["memory"], load.count)
        same((self._left, self._right), (row, user), load, sizes=who != "mbsync")  # which adds a field
        self._done(user, folder, load)
        return measured

    def _pass(self, row: str, user: str, folder: Path, who: str, passes: int = 1) -> dict[str, Any]:
        options = {"connector": {"multiappend": False}} if who == "single" else {}
        return sync_pass.run(
            self._left.port,
            self._right.port,
            row,
            folder,
            right_user=user,
            passes=passes,
            timeout_s=TIMEOUT_S,
            **options,
        )

    def _command(self, row: str, user: str, folder: Path) -> Ran:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "gatepost.toml"
        ports = {"left": self._left.port, "right": self._right.port}
        config.write_text(CONFIG.format(folder=folder, password=PASSWORD, user=row, right_user=user, **ports))
        return timed([GATEPOST, "sync", "run", "bench", "-c", config], folder / "gatepost.out", TIMEOUT_S)

    # -- passes in which nothing is to be done

    def known(self, row: str, load: Load) -> tuple[str, Path]:
        """Make a second mailbox that is the same, known to be so to both contestants."""
        user, folder = self._new()
        fill(self._right, user, load)
        sides = []
        for server, name in ((self._left, row), (self._right, user)):
            told = server.adm("-f", "tab", "mailbox", "status", "-u", name, "messages uidvalidity", "*").splitlines()
            cells = [line.split("\t") for line in told[1:]]
            sides.append({name: (int(validity), int(messages)) for name, messages, validity in cells})
        mbsync = Mbsync(folder / "mbsync", (self._left.port, row), (self._right.port, user))
        for name, (_, messages) in sides[0].items():
            if messages:
                mbsync.adopt(name, sides[0][name], sides[1][name])
        mbsync.run(TIMEOUT_S)
        ran = self._pass(row, user, folder / "ours", "a pass")
        if ran["copied"] or ran["adopted"] != load.count:
            raise WrongRun(f"of {load.count} messages that were there {ran['adopted']} were known again")
        self._pass(row, user, folder / "ours", "a pass")
        for _ in range(2):
            self._command(row, user, folder / "command")
        if counted(self._right, user) != load.count:
            raise WrongRun(f"{load.count} messages became {counted(self._right, user)}")
        return user, folder

    def unchanged(self, row: str, known: tuple[str, Path], load: Load, who: str) -> Measured:
        user, folder = known
        if who == "mbsync":
            mbsync = Mbsync(folder / "mbsync", (self._left.port, row), (self._right.port, user))
            runs = [mbsync.run(TIMEOUT_S) for _ in range(5)]
            return Measured(statistics.median(r.seconds for r in runs), runs[0].memory, load.count)
        if who == "gatepost":
            runs = [self._command(row, user, folder / "command") for _ in range(5)]
            return Measured(statistics.median(r.seconds for r in runs), runs[0].memory, load.count)
        ran = self._pass(row, user, folder / "ours", who, passes=6)
        if ran["copied"] or ran["read"]:
            raise WrongRun("something was copied, and nothing has changed")
        return Measured(statistics.median(ran["seconds"][1:]), ran["memory"], load.count)


def bench(folder: Path, rounds: int, scale: float, only: str, growth: bool) -> int:
    """Run it all, print, and return the exit status."""
    median, high = fsync_ms(folder)
    print(
        f"{os.cpu_count()} cores, {file_system(folder)} at {folder}, "
        f"fdatasync of 4 KiB: {median:.2f} ms, 95 % {high:.2f}",
        flush=True,
    )
    judged: dict[tuple[str, str], Judged] = {}
    with Dovecot(_folder(folder, "left")) as left, Dovecot(_folder(folder, "right")) as right:
        runs = Bench(folder, left, right)
        for row, whole in LOADS.items():
            if only not in row:
                continue
            load = Load(max(20, int(whole.count * scale)), whole.size, whole.folders)
            runs.source(row, load)
            known = runs.known(row, load) if row == "unchanged" else None

            def run(who: str, row: str = row, load: Load = load, known: tuple[str, Path] | None = known) -> Measured:
                return runs.copy(row, load, who) if known is None else runs.unchanged(row, known, load, who)

            judged |= of_a_row(row, rounds, run)
        ok = verdict(judged)
        if growth and only in "growth":
            ok = grows(runs, scale) and ok
    return 0 if ok else 1


def _folder(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def of_a_row(row: str, rounds: int, run: Callable[[str], Measured]) -> dict[tuple[str, str], Judged]:
    """Run a row in rounds, and in pairs what its rounds can't tell of; print each run, and return how all stand to
    their bars. Pairs are run while the row's mailbox is what was read last, as the rounds are."""
    bars = {who: bar for (at, who), bar in BARS.items() if at == row}
    names = ["mbsync", *bars]
    got: dict[tuple[int, str], Measured] = {}
    for turn in range(rounds):
        shift = turn * len(names) // rounds
        for who in names[shift:] + names[:shift]:
            did = got[turn, who] = run(who)
            print(
                f"round {turn + 1}  {row:9} {who:9} {did.seconds:8.3f} s  {did.rate:9.0f} messages/s  "
                f"{did.memory / 2**20:5.0f} MiB",
                flush=True,
            )
    judged: dict[tuple[str, str], Judged] = {}
    for who, bar in bars.items():
        worst = min(got[n, "mbsync"].seconds / got[n, who].seconds for n in range(rounds))

        def ours(who: str = who) -> float:
            return run(who).rate

        def tell(line: str, who: str = who) -> None:
            print(f"{row:9} {who:9} {line}", flush=True)

        judged[row, who] = judge(worst, bar, ours, lambda: run("mbsync").rate, tell)
    return judged


def verdict(judged: dict[tuple[str, str], Judged]) -> bool:
    """Print how each row stands to its bar; return whether all are over them."""
    print()
    for (row, who), each in judged.items():
        print(each.line(f"sync {row}, {who}", "mbsync"))
    return all(each.is_met for each in judged.values())


def grows(runs: Bench, scale: float) -> bool:
    """Print what a message costs, and the memory, as a mailbox grows; return whether it keeps within the bar."""
    costs: list[float] = []
    for most in GROWTH:
        load = Load(max(100, int(most * scale)), 512, 20)
        runs.source(f"growth{most}", load)
        did = runs.copy(f"growth{most}", load, "a pass")
        costs.append(did.seconds / load.count)
        print(f"growth    {load.count:7d} messages  {did.rate:7.0f}/s  {did.memory / 2**20:5.0f} MiB", flush=True)
    ratio = costs[-1] / costs[0]
    print(f"sync growth: a message costs {ratio:.2f}x among 100 times as many (bar {MOST_GROWTH:g}x)")
    return ratio <= MOST_GROWTH


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of messages")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--no-growth", action="store_true", help="leave the growth out, which takes longest")
    parser.add_argument("--folder", type=Path, default=Path(os.environ.get("GATEPOST_BENCH_DIR", "/var/tmp")))
    asked = parser.parse_args()
    try:
        with work_folder(asked.folder) as folder:
            return bench(folder, asked.rounds, asked.scale, asked.only, not asked.no_growth)
    except (OnlyInMemory, WrongRun, RuntimeError, TimeoutError, subprocess.SubprocessError) as fault:
        print(fault, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
