"""Run: targets by time or by number of inputs, and an input that breaks one made short and kept."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final, Generic

from tests.fuzz.target import REFUSED, Input, Target

KEPT: Final = Path(__file__).parents[1] / "corpus"
TURN_S: Final = 0.05
MAX_POOL: Final = 4000
SHRINK_S: Final = 20.0
HANGS: Final = 4
"""How many times its limit an input may take before it is broken off."""


class TooSlow(Exception):
    """An input took more CPU time than its target allows."""


class Run(Generic[Input]):
    """One target being fuzzed; its chance is its own, so a seed gives the same inputs whatever runs beside it."""

    def __init__(self, target: Target[Input], seed: int) -> None:
        self.target: Target[Input] = target
        self.inputs = self.refused = 0
        self.took_s = self.slowest_s = 0.0
        self._seed = seed
        self._chance = Random(f"{seed}:{target.name}")
        self._pool: list[Input] = list(target.seeds())
        self._outcomes: set[str] = set()

    def until(
        self, at: float | None = None, inputs: int | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> bool:
        """Run until a time of the clock, or to a number of inputs. Returns: False where one broke it."""
        started = clock()
        try:
            while (inputs is None or self.inputs < inputs) and (at is None or clock() < at):
                if not self._one():
                    return False
            return True
        finally:
            self.took_s += clock() - started

    @property
    def outcomes(self) -> int:
        return len(self._outcomes)

    def __str__(self) -> str:
        read = 1 - self.refused / max(self.inputs, 1)
        return (
            f"{self.target.name:<20}{self.inputs:>9} inputs {self.inputs / max(self.took_s, 1e-9):>7.0f}/s "
            f"{read:>4.0%} taken {len(self._outcomes):>6} outcomes  slowest {self.slowest_s * 1000:.1f} ms"
        )

    def _one(self) -> bool:
        r = self._chance.random
        pool = self._pool
        given = self.target.mutated(pool[int(r() * len(pool))], pool[int(r() * len(pool))], self._chance)
        self.inputs += 1
        try:
            try:
                outcome, took = timed(self.target, given)
            except TooSlow:
                # What was imported or collected meanwhile, or a busy machine, is not the input's fault: once more.
                outcome, took = timed(self.target, given)
        except Exception as fault:  # noqa: BLE001  # any fault at all is what is looked for
            self._tell(given, fault)
            return False
        self.slowest_s = max(self.slowest_s, took)
        if outcome.startswith(REFUSED):
            self.refused += 1
        if outcome not in self._outcomes:
            self._outcomes.add(outcome)
            if len(given) <= self.target.longest:
                if len(pool) < MAX_POOL:
                    pool.append(given)
                else:
                    pool[int(r() * MAX_POOL)] = given
        return True

    def _tell(self, given: Input, fault: Exception) -> None:
        short = shrunk(given, lambda some: _same_fault(self.target, some, fault))
        try:
            timed(self.target, short)
        except Exception:  # noqa: BLE001
            traceback.print_exc()
        print(f"{self.target.name} is broken by {short!r}, kept as {keep(self.target, short)}")
        print(f"it was input {self.inputs} of --seed {self._seed} --target {self.target.name}, {given!r}")


def timed(target: Target[Input], given: Input) -> tuple[str, float]:
    """Check one input. Returns: (its outcome, the CPU time it took). Raises: TooSlow, and what the target does."""
    started = time.thread_time()
    with _no_longer_than(HANGS * target.limit_s):
        outcome = target.check(given)
    took = time.thread_time() - started
    if took > target.limit_s:
        raise TooSlow(f"{took:.1f} s for an input of {len(given)}")
    return outcome, took


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    """Raise TooSlow in the middle of what would never end: signals come to the main thread alone."""
    if threading.current_thread() is not threading.main_thread() or not seconds:
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _too_slow(number: int, frame: object) -> None:
    raise TooSlow("it does not come to an end")


def shrunk(given: Input, breaks: Callable[[Input], bool]) -> Input:
    """Return an input with all left out that need not be in it to break the same."""
    until = time.perf_counter() + SHRINK_S
    size = max(len(given) // 2, 1)
    while True:
        at = 0
        before = len(given)
        while at < len(given) and time.perf_counter() < until:
            less = given[:at] + given[at + size :]
            if breaks(less):
                given = less
            else:
                at += size
        if time.perf_counter() >= until or (size == 1 and len(given) == before):
            return given
        size = max(size // 2, 1)


def _same_fault(target: Target[Input], given: Input, fault: Exception) -> bool:
    try:
        timed(target, given)
    except Exception as found:  # noqa: BLE001
        return type(found) is type(fault) and _place(found) == _place(fault)
    return False


def _place(fault: Exception) -> tuple[str, int | None]:
    last = traceback.extract_tb(fault.__traceback__)[-1]
    return last.filename, last.lineno


def keep(target: Target[Input], given: Input) -> Path:
    """Keep an input that broke a target."""
    octets = target.octets(given)
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"{target.name}-{hashlib.sha256(octets).hexdigest()[:12]}"
    path.write_bytes(octets)
    return path


def fuzz(targets: Iterable[Target[Any]], seed: int, *, seconds: float | None = None, inputs: int | None = None) -> int:
    """Run each target for so many inputs, or all in turns for so long; return 1 where an input broke one."""
    runs = [Run(target, seed) for target in targets]
    if inputs is not None:
        for run in runs:
            fine = run.until(inputs=inputs)
            print(run, flush=True)
            if not fine:
                return 1
        return 0
    until = time.perf_counter() + (seconds or 0)
    while time.perf_counter() < until:
        for run in runs:
            if not run.until(min(time.perf_counter() + TURN_S, until)):
                return 1
    for run in runs:
        print(run)
    print(f"fuzz: {sum(run.inputs for run in runs)} inputs, nothing broken (seed {seed})")
    return 0
