"""Syncs killed at random moments, again and again: `python -m tests.crash.soak_sync --kills 50`.

Two Dovecots, and a mailbox of a few folders that people work with meanwhile: mail comes in, flags are set, messages are
removed, on the left side in mode copy, on both in two-way. Each round a pass is started in a process of its own and
killed (SIGKILL) at some moment after it began to write; in every third round the destination, too, ends the connection
after one or two appends, before it has answered. After the last round passes run to their end.

`--add FILE` writes the counts behind those of earlier pieces, and judges all of them together; each piece begins with
empty mailboxes.

Lost is a message that is not on a side where it should be; doubled, one that is there more than once; changed, one
whose octets or flags are not those of the other side. None of that may be. The end is a table. Exit status 1 if
anything was lost, doubled or changed, if fewer than half of the kills met a pass at work, or if a run broke.
"""

from __future__ import annotations

import argparse
import contextlib
import imaplib
import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from tests.crash.pieces import Counts
from tests.peers import sync_pass
from tests.peers.dovecot import PASSWORD, Dovecot
from tests.peers.liar_imap import Liar
from tests.peers.process import Process

Mode = Literal["copy", "two-way"]
MODES: Final[tuple[Mode, ...]] = ("copy", "two-way")
Item = tuple[str, str, bytes, frozenset[str]]
"""Folder, Message-ID, octets and flags of a message."""
FOLDERS: Final = ("INBOX", "Work", "Work/Old")
EACH_ROUND: Final = 60
"""Messages that come in on a side before each pass."""
LEAST_KILLS: Final = 2
"""Whatever the time."""
POLICY: Final = {"batch_items": 7, "page_items": 40, "delete": "remove", "max_removed": 1.0}


@dataclass
class Side:
    """A mailbox that people work with, and what is in it by their own word: Message-IDs that came, and that went."""

    server: Dovecot
    user: str
    name: str
    came: set[str] = field(default_factory=set)
    went: set[str] = field(default_factory=set)
    marked: set[str] = field(default_factory=set)

    def deliver(self, count: int, chance: random.Random) -> None:
        """Have mail come in, as a delivery agent puts it."""
        home = self.server.folder / "mail" / self.user / "Maildir"
        made: list[Path] = []
        for _ in range(count):
            number = len(self.came)
            id = f"<{self.name}{number}@soak.example>"
            folder = chance.choice(FOLDERS)
            box = home if folder == "INBOX" else home / f".{folder.replace('/', '.')}"
            file = f"{int(time.time())}.M{number:06d}P{self.name}.soak"
            lines = [f"Message-ID: {id}", f"Subject: {number}", "", "text " * chance.randrange(1, 400), ""]
            (box / "tmp" / file).write_bytes("\r\n".join(lines).encode())
            made.append((box / "tmp" / file).rename(box / "new" / file))
            self.came.add(id)
        if os.geteuid() == 0:
            for each in made:
                shutil.chown(each, "nobody", "nogroup")

    def work(self, chance: random.Random, across: Side, state: Path, *, remove: bool) -> None:
        """Set flags here and there; remove some.

        Not what is marked on one side and removed on the other: that is kept. Nor is anything removed that a pass had
        appended here and was killed before it was told so: it can't be known from what was never appended, and is
        copied again.
        """
        spared = across.marked | _under_way(state / "sync.sqlite", "left" if self.name == "l" else "right")
        with self.client() as client:
            for folder in FOLDERS:
                count = int((client.select(f'"{folder}"')[1][0] or b"0").decode())
                some = sorted(chance.sample(range(1, count + 1), min(5, count)))
                if not some:
                    continue
                flag = chance.choice(("\\Seen", "\\Flagged", "\\Answered", "word"))
                ids = {number: self._id(client, number) for number in some}
                if marked := [number for number in some if ids[number] not in across.went]:
                    client.store(",".join(map(str, marked)), "+FLAGS.SILENT", f"({flag})")
                    self.marked.update(ids[number] for number in marked)
                gone = next((number for number in some if ids[number] not in spared), None)
                if remove and gone is not None:
                    client.store(str(gone), "+FLAGS.SILENT", "(\\Deleted)")
                    client.expunge()
                    self.went.add(ids[gone])

    def _id(self, client: imaplib.IMAP4, number: int) -> str:
        parts = client.fetch(str(number), "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")[1]
        return next(_id(part[1]) for part in parts if isinstance(part, tuple))

    @contextlib.contextmanager
    def client(self) -> Iterator[imaplib.IMAP4]:
        client = imaplib.IMAP4("127.0.0.1", self.server.port, timeout=120)
        client.login(self.user, PASSWORD)
        try:
            yield client
        finally:
            client.logout()

    def items(self) -> list[Item]:
        """Return all messages."""
        found: list[Item] = []
        with self.client() as client:
            for folder in FOLDERS:
                told, count = client.select(f'"{folder}"', readonly=True)
                if told != "OK" or count == [b"0"]:
                    continue
                for part in client.fetch("1:*", "(FLAGS BODY.PEEK[])")[1]:
                    if isinstance(part, tuple):
                        flags = {each.decode() for each in imaplib.ParseFlags(part[0])} - {"\\Recent"}
                        found.append((folder, _id(part[1]), part[1], frozenset(flags)))
        return found


def _id(octets: bytes) -> str:
    return octets.partition(b": ")[2].partition(b"\r\n")[0].decode()


def _under_way(database: Path, side: str) -> set[str]:
    """Return the Message-IDs of what was to be appended on a side when a pass was killed."""
    if not database.exists():
        return set()
    with contextlib.closing(sqlite3.connect(database)) as connection:
        try:
            return {row[0] for row in connection.execute("SELECT message_id FROM sync_intent WHERE side = ?", (side,))}
        except sqlite3.OperationalError:  # the pass was killed before it made the tables
            return set()


@dataclass
class Count:
    """What became of the messages of one mode."""

    mode: Mode
    kills: int = 0
    at_work: int = 0
    """Kills that met a pass which had begun to write and had not ended."""
    messages: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.changed) and 2 * self.at_work >= self.kills

    def __str__(self) -> str:
        told = f"{self.mode:8}{self.kills:>6}{self.at_work:>9}{self.messages:>10}"
        told += f"{len(self.lost):>6}{len(self.doubled):>9}{len(self.changed):>9}"
        return told if self.is_good else f"{told}  BAD"


def total(counts: Sequence[Count]) -> str:
    """Return what all came to, in a line."""
    lost, doubled, changed = (sum(len(getattr(one, what)) for one in counts) for what in ("lost", "doubled", "changed"))
    return (
        f"kills {sum(one.kills for one in counts)}, accepted {sum(one.messages for one in counts)}, lost {lost}, "
        f"doubled {doubled}, changed {changed}"
    )


HEAD: Final = f"{'mode':8}{'kills':>6}{'at work':>9}{'messages':>10}{'lost':>6}{'doubled':>9}{'changed':>9}"


def soak(
    folder: Path, mode: Mode, kills: int, seed: int, *, each_round: int = EACH_ROUND, end: float = math.inf
) -> Count:
    """Kill so many passes, and judge. After `end`, by the monotonic clock, no more than `LEAST_KILLS`."""
    chance = random.Random(seed)
    count = Count(mode)
    with ExitStack() as stack:
        servers = [stack.enter_context(Dovecot()) for _ in range(2)]
        left, right = (Side(server, "soak", name) for server, name in zip(servers, "lr", strict=True))
        liar = stack.enter_context(Liar(right.server.port))
        state = folder / f"state-{mode}"
        for side in (left, right):
            with side.client() as client:
                for name in FOLDERS[1:]:
                    client.create(f'"{name}"')
        policy = {**POLICY, "mode": mode}
        for number in range(kills):
            if number >= LEAST_KILLS and time.monotonic() > end:
                break
            left.deliver(each_round, chance)
            if mode == "two-way":
                right.deliver(each_round // 2, chance)
                right.work(chance, left, state, remove=number % 3 == 1)
            left.work(chance, right, state, remove=mode == "two-way" and number % 3 == 0)
            liar.lose_answers = chance.randrange(1, 3) if number % 3 == 2 else 0
            command = sync_pass.command(left.server.port, liar.port, "soak", state, policy=policy)
            count.at_work += _killed(command, state, chance)
            count.kills += 1
        liar.lose_answers = 0
        for _ in range(10):
            did = sync_pass.run(left.server.port, liar.port, "soak", state, policy=policy)
            if not (did["copied"] or did["flagged"] or did["removed"] or did["moved"] or did["adopted"]):
                break
        _judge(count, left, right)
    return count


def _killed(command: Sequence[str], state: Path, chance: random.Random) -> bool:
    """Start a pass and kill it some time after it began to write; tell whether it was still at work."""
    wal = state / "sync.sqlite-wal"
    before = _size(wal)
    state.mkdir(exist_ok=True)
    process = Process(command, state / "out")
    deadline = time.monotonic() + 120
    while process.is_alive and _size(wal) == before and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(chance.uniform(0, 0.4))
    was_alive = process.is_alive
    process.kill()
    return was_alive


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _judge(count: Count, left: Side, right: Side) -> None:
    here, there = left.items(), right.items()
    went = left.went | right.went
    wanted = (left.came | right.came) - went
    count.messages = len(wanted)
    for side, items in ((left, here), (right, there)):
        found = Counter(id for _, id, _, _ in items)
        if side is right or count.mode == "two-way":
            count.lost += [f"{id} on the {side.name}" for id in sorted(wanted - found.keys())]
        count.doubled += [f"{id} on the {side.name}" for id, times in found.items() if times > 1]
        count.changed += [f"{id} is back on the {side.name}" for id in sorted(went & found.keys())]
    one, two = ({each[1]: each for each in items} for items in (here, there))
    if count.mode == "copy":  # what people do on the right is theirs
        two = {id: each for id, each in two.items() if id in one}
    count.changed += [_difference(one[id], two[id]) for id in sorted(one.keys() & two.keys()) if one[id] != two[id]]


def _difference(one: Item, two: Item) -> str:
    """Tell what a message of both sides is that the same on the other is not; its octets by their number."""
    told = (f"{folder}, {len(octets)} octets, {sorted(flags)}" for folder, _, octets, flags in (one, two))
    return f"{one[1]}: {' and '.join(told)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="passes that are killed in each mode")
    parser.add_argument("--minutes", type=float, default=20, help="about so long it may take")
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--add", type=Path, metavar="FILE", help="add up with earlier pieces")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gatepost-soak-", dir="/var/tmp"))
    print(f"seed {asked.seed}", flush=True)
    last = time.monotonic() + asked.minutes * 60
    counts = Counts(asked.add, lambda row: Count(**row))
    broken = False
    try:
        for number, mode in enumerate(asked.modes):
            now = time.monotonic()
            share = max(0.0, last - now) / (len(asked.modes) - number)
            try:
                count = soak(folder, mode, asked.kills, asked.seed, end=now + share * 0.8)
            except (AssertionError, OSError, RuntimeError, TimeoutError, subprocess.SubprocessError) as e:
                print(f"{mode}: BROKEN: {e!r:.1000}", flush=True)
                broken = True
                continue
            counts.add(count)
            for each in [*count.lost[:10], *count.doubled[:10], *count.changed[:10]]:
                print(f"{mode}: {each}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(HEAD)
    for count in counts.rows:
        print(count)
    print(total(counts.rows))
    return 0 if not broken and all(count.is_good for count in counts.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
