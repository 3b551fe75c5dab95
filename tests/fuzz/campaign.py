"""Campaign: each target for a CPU time of its own, in a process of its own, several at once; a table at the end.

A process of its own shows what memory a target takes, and bounds it; and what breaks one stops no other.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from typing import Final

from tests.fuzz.run import Run
from tests.fuzz.targets import TARGETS

DATA_OCTETS: Final = 1024 * 1024 * 1024
"""What a process may take: no input is large, so a target that wants more has no bound."""
_PATIENCE: Final = 20
"""Times its own seconds of the processor that a target may take on a machine that has other work to do."""
_SLACK_S: Final = 300.0
"""What a process takes to begin, and to make a finding short."""
_HEAD: Final = "target                          inputs     a second  taken  outcomes   slowest    memory  result"


@dataclass(frozen=True)
class Figures:
    """What became of one target. `memory` is the most that its process held, in octets."""

    name: str
    inputs: int
    took_s: float
    taken: float
    outcomes: int
    slowest_s: float
    memory: int
    broken: bool

    def __str__(self) -> str:
        result = "BROKEN" if self.broken else "fine"
        rate = self.inputs / max(self.took_s, 1e-9)
        return (
            f"{self.name:<26}{self.inputs:>12,}{rate:>13.0f}{self.taken:>7.0%}{self.outcomes:>10,}"
            f"{self.slowest_s * 1000:>7.0f} ms{self.memory / 2**20:>6.0f} MiB  {result}"
        )


def run_one(name: str, seed: int, seconds: float) -> int:
    """Run one target in this process, and print its figures as the last line. Returns: 1 where an input broke it."""
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_OCTETS, DATA_OCTETS))
    run = Run(TARGETS[name], seed)
    fine = run.until(time.process_time() + seconds, clock=time.process_time)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    taken = 1 - run.refused / max(run.inputs, 1)
    made = Figures(name, run.inputs, run.took_s, taken, run.outcomes, run.slowest_s, memory, not fine)
    print(json.dumps(asdict(made)))
    return 0 if fine else 1


def campaign(names: Sequence[str], seed: int, seconds: float, jobs: int) -> int:
    """Run targets, `jobs` at once; print a table. Returns: 1 where an input broke one, or one did not end."""
    made: list[Figures] = []
    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(_apart, name, seed, seconds) for name in names]):
            figures, told = done.result()
            made.append(figures)
            if told:
                print(told, flush=True)
            print(figures, flush=True)
    broken = [each.name for each in made if each.broken]
    print(f"\n{_HEAD}")
    for each in sorted(made, key=lambda each: names.index(each.name)):
        print(each)
    total = sum(each.inputs for each in made)
    what = f"broken: {', '.join(sorted(broken))}" if broken else "nothing broken"
    spent = f"{seconds:.0f} s of CPU time for each of {len(made)} targets"
    print(f"fuzz: {total:,} inputs, {spent}, {what} (seed {seed})", flush=True)
    return 1 if broken else 0


def _apart(name: str, seed: int, seconds: float) -> tuple[Figures, str]:
    """Return the figures of a process that runs one target, and what it told of a finding."""
    command = [sys.executable, "-m", "tests.fuzz", "--one", name, "--seed", str(seed), "--seconds", str(seconds)]
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE * seconds + _SLACK_S,
            check=False,
        )
        output, said = ended.stdout, ended.stderr
    except subprocess.TimeoutExpired:
        output, said = "", f"{name} does not come to an end"
    *before, last = output.splitlines() or [""]
    try:
        return Figures(**json.loads(last)), "\n".join([*before, said]).strip()
    except (ValueError, TypeError):  # the process died of an input
        return Figures(name, 0, 0.0, 0.0, 0, 0.0, 0, True), f"{output}\n{said}".strip()
