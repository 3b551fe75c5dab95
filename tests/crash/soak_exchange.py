"""Faults of every kind at random moments under load, both ways over EWS: `python -m tests.crash.soak_exchange`.

Mail comes in by SMTP for a mailbox of the EWS peer, and items of another mailbox go out by SMTP, while now and then one
of these happens:

    gateway    kill -9 of the gateway
    cut        all connections to Exchange are cut
    away       Exchange listens to nobody for a second
    throttle   half of what is asked is answered by ErrorServerBusy, for two seconds
    unknown    half of what is asked is done, and the connection cut before its answer, for a second
    truncate   half of the answers are cut off, for a second
    forget     no sync state is known any more

The next hop of SMTP takes no mail before the end, so that a mail that is there twice was taken twice from the mailbox.

Lost is what its sender was told is safe, or what lay in the folder, and nobody has; doubled is what is there twice. By
look-up and by ItemId neither may happen, whatever fails.

`--kills` is how often each fault happens; where the time of `--minutes` is short, less often, but never less than
`LEAST` times each. The end is a table. Exit status 1 if anything was lost or doubled, or if a run broke.
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.crash.soak_crash import KilledGateway, ids_in
from tests.peers.ews.process import EwsCompany, EwsPeer
from tests.peers.load import Load
from tests.peers.process import wait_until
from tests.peers.sink import Sink

FAULTS: Final = ("gateway", "cut", "away", "throttle", "unknown", "truncate", "forget")
LEAST: Final = 2
"""Faults in one run, whatever the time."""
FLOOR_PER_FAULT: Final = 10
"""Messages each way between two faults, at least."""
PAUSE_S: Final = 0.03
"""Between two items that are put into the mailbox: what is broken is to be under load, and not the machine."""
DOMAIN: Final = "target.example"
CONFIG: Final = """
[connector.office]
type = "ews"
url = "{url}"
auth = "{auth}"
username = "{username}"
password = "{password}"
timeout_s = 10
poll_s = 2

[[connector.office.watch]]
mailbox = "ann@target.example"
folder = "Out"
recipients = ["bob@peer.example"]
trusted = true

[[route]]
match = "smtp:*@target.example"
to = "office"
"""


class Writer:
    """Puts items into a folder without an end, and knows which lie there by the peer's word."""

    def __init__(self, company: EwsCompany) -> None:
        self.run = f"{random.getrandbits(32):08x}"
        self.written: set[str] = set()
        self._company = company
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        number = 0
        while not self._stopping.wait(PAUSE_S):
            number += 1
            id = f"{self.run}.{number}@{DOMAIN}"
            lines = [f"From: <ann@{DOMAIN}>", f"Message-Id: <{id}>", f"Subject: {number}", "", str(number), ""]
            self._company.put("ann", "\r\n".join(lines).encode(), folder="Out")
            self.written.add(id)

    def stop(self) -> None:
        """Write no more."""
        self._stopping.set()
        self._thread.join(60)


@dataclass
class Count:
    """What became of the messages of one way."""

    way: str
    faults: int = 0
    accepted: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: int = 0

    def __str__(self) -> str:
        told = f"accepted {self.accepted}, lost {len(self.lost)}, doubled {self.doubled}"
        return f"{self.way}: faults {self.faults}, {told}"

    @property
    def is_good(self) -> bool:
        return not self.lost and not self.doubled and self.accepted >= FLOOR_PER_FAULT * self.faults


class Run:
    """One gateway between an Exchange organisation and an SMTP sink."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.sink = stack.enter_context(Sink(folder))
        self.sink.behave({"CONNECT": "421 4.3.2 come back later"})
        self.peer = stack.enter_context(EwsPeer())
        self.company = self.peer.organisation("ann", "sink", domain=DOMAIN, honest=False)
        access = {key: str(value) for key, value in self.company.access().items()}
        quick = 'retry_min = "1s"\nretry_max = "2s"'
        self.gateway = KilledGateway(folder, self.sink.port, gateway=quick, connector=CONFIG.format(**access))
        stack.callback(self._end)

    def _end(self) -> None:
        if self.gateway.process is not None and self.gateway.process.is_alive:
            self.gateway.kill()

    # -- the faults

    def fault(self, name: str) -> None:
        """Have one fault, and end it."""
        getattr(self, f"fault_{name}")()

    def fault_gateway(self) -> None:
        self.gateway.kill()
        self.gateway.start(60)

    def fault_cut(self) -> None:
        self.peer.cut()

    def fault_away(self) -> None:
        self.peer.refuse(True)
        time.sleep(1.0)
        self.peer.refuse(False)

    def fault_throttle(self) -> None:
        self.company.fault("*", "busy", chance=0.5, ms=200)
        time.sleep(2.0)
        self.company.calm()

    def fault_unknown(self) -> None:
        self.company.fault("*", "cut_after", chance=0.5)
        time.sleep(1.0)
        self.company.calm()

    def fault_truncate(self) -> None:
        self.company.fault("*", "truncate", chance=0.5)
        time.sleep(1.0)
        self.company.calm()

    def fault_forget(self) -> None:
        self.company.expire_sync()

    # -- what it comes to

    def mails(self) -> Counter[str]:
        """Return how often each item came to the next hop."""
        return Counter(each.id for each in self.sink.taken())

    def items(self) -> Counter[str]:
        """Return how often each mail lies in the mailbox."""
        return Counter(id for item in self.company.items("sink") for id in ids_in(item.octets))

    def judge(self, written: set[str], posted: set[str]) -> tuple[Count, Count]:
        """Let all come to its end, and count. Both sets are what is known to have come in."""
        self.sink.behave()
        counts = []
        for way, wanted, there in (("out of mailboxes", written, self.mails), ("into mailboxes", posted, self.items)):
            found = _settled(there, wanted)
            missing = sorted(wanted - found.keys())
            counts.append(Count(way, 0, len(wanted), missing, found.total() - len(found)))
        return counts[0], counts[1]


def _settled(there: Callable[[], Counter[str]], wanted: set[str], timeout_s: float = 240.0) -> Counter[str]:
    """Return what is there when all has come and then nothing more for a while, or when time is up."""
    deadline = time.monotonic() + timeout_s
    found = there()
    while time.monotonic() < deadline:
        before = found.total()
        time.sleep(1.5)
        found = there()
        if wanted <= found.keys() and found.total() == before:
            break
    return found


def soak(
    folder: Path,
    faults: Sequence[str],
    seed: int,
    pause_s: tuple[float, float] = (0.3, 1.5),
    end: float = math.inf,
) -> tuple[Count, Count]:
    """Run through these faults, and return the counts of both ways.

    After `end`, by the monotonic clock, there are no more than `LEAST` faults.
    """
    chance = random.Random(seed)
    home = Path(tempfile.mkdtemp(prefix="exchange-", dir=folder))
    done = 0
    with ExitStack() as stack:
        run = Run(home, stack)
        writer = Writer(run.company)
        stack.callback(writer.stop)
        wait_until(lambda: bool(writer.written), 60, "the folder is there")
        run.gateway.start(60)
        load = stack.enter_context(Load(home, run.gateway.port, sessions=4, pause_s=0.1, sizes=[700]))
        for number, name in enumerate(faults):
            if number >= LEAST and time.monotonic() > end:
                break
            _under_load(run, load)
            time.sleep(chance.uniform(*pause_s))
            run.fault(name)
            done += 1
        _under_load(run, load)
        writer.stop()
        load.stop()
        counts = run.judge(writer.written, {each.id for each in load.accepted()})
        violations = run.peer.violations()
        assert not violations, violations[:5]
    for count in counts:
        count.faults = done
    return counts


def _under_load(run: Run, load: Load) -> None:
    """Return once messages flow again both ways."""
    posted, taken = len(load.accepted()), _taken(run)
    for what in (lambda: len(load.accepted()) - posted, lambda: _taken(run) - taken):
        wait_until(lambda what=what: what() >= FLOOR_PER_FAULT, 120, "there is a load", 0.1)


def _taken(run: Run) -> int:
    """Return how many mails the gateway holds or has passed on."""
    return sum(1 for request in run.company.log("MoveItem", whole=False) for code in request.codes if code == "NoError")


def table(rows: Sequence[tuple[str, tuple[Count, ...], str]]) -> str:
    """Return a line for each fault and way, and their sum."""
    lines = [f"{'fault':10}{'way':18}{'faults':>7}{'accepted':>10}{'lost':>6}{'doubled':>9}"]
    for name, counts, broken in rows:
        for one in counts:
            mark = "" if one.is_good else "  BAD"
            lines.append(
                f"{name:10}{one.way:18}{one.faults:>7}{one.accepted:>10}{len(one.lost):>6}{one.doubled:>9}{mark}"
            )
        if broken:
            lines.append(f"{name:10}BROKEN: {broken}")
    every = [one for _, counts, _ in rows for one in counts]
    lines.append(
        f"faults {sum(one.faults for one in every) // 2}, accepted {sum(one.accepted for one in every)}, "
        f"lost {sum(len(one.lost) for one in every)}, doubled {sum(one.doubled for one in every)}"
    )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how often each fault happens")
    parser.add_argument("--minutes", type=float, default=20, help="about so long it may take")
    parser.add_argument("--faults", nargs="+", default=FAULTS, choices=FAULTS)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gatepost-soak-", dir="/var/tmp"))
    folder.chmod(0o755)
    print(f"seed {asked.seed}", flush=True)
    last = time.monotonic() + asked.minutes * 60
    rows: list[tuple[str, tuple[Count, ...], str]] = []
    try:
        for number, fault in enumerate(asked.faults):
            now = time.monotonic()
            share = max(0.0, last - now) / (len(asked.faults) - number)
            counts: tuple[Count, ...] = ()
            broken = ""
            try:
                # What it takes to start and to come to the end is no time for faults.
                counts = soak(folder, [fault] * asked.kills, asked.seed, end=now + share * 0.6)
            except (AssertionError, OSError, RuntimeError, TimeoutError) as e:
                broken = repr(e)[:300]
            rows.append((fault, counts, broken))
            for count in counts:
                print(f"{fault}: {count} [{time.monotonic() - now:.0f} s]", flush=True)
                for each in count.lost[:20]:
                    print(f"lost: {each}")
            if broken:
                print(f"{fault}: BROKEN: {broken}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{table(rows)}")
    return 0 if all(counts and not broken and all(one.is_good for one in counts) for _, counts, broken in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
