"""Tally: counts that the worker processes of a machine tell each other, by key, in memory that they share.

Each worker has a file in the connector's folder that it alone writes; all map them into memory. To tell a count, or to
ask for those of the others, costs a microsecond or two: no lock, no call of the system, nothing to wait for.

Promises: a count is never taken for one of another key; files and memory are of one size whatever is counted. Of two
keys whose place is the same the one that was there first is told, and of the other each worker knows its own count
alone. What a worker that died had told stands until it starts again, or until its time is over.
Limits: a count is read as it was a moment ago; machines count each for themselves.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from collections.abc import Callable
from errno import ENOSPC
from functools import lru_cache
from hashlib import blake2b
from math import ceil
from pathlib import Path
from typing import Any, Final

PLACES: Final = 65_536
_SIZE: Final = 16 * PLACES
"""Octets: a place has the key's mark and its count with the time until which that counts, each a number of 64 bits, so
that a reader finds the whole of it or nothing."""
_MOST: Final = (1 << 32) - 1
_LOOK_AGAIN_S: Final = 1.0


class Tally:
    """One worker's counts and its sight of those of the others. `clock` gives seconds, the same in all workers."""

    def __init__(self, folder: Path, worker: int, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises: OSError."""
        self._clock = clock
        self._own = _mapped(_path(folder, worker), mine=True)
        self._missing = {each: _path(folder, each) for each in range(workers) if each != worker}
        self._others: list[memoryview] = []
        self._look_at = 0.0

    def tell(self, key: str, count: int, until: float = _MOST) -> None:
        """Let the others know a count, which is 0 from `until` on, a time of the clock in whole seconds."""
        mark, place = _mark(key)
        own = self._own
        if own[place] != mark:
            if own[place] and _count(own[place + 1], self._clock()):
                return
            own[place + 1] = 0  # nobody takes what stands there for this key's
            own[place] = mark
        own[place + 1] = min(count, _MOST) << 32 | min(_MOST, ceil(until))

    def others(self, key: str) -> int:
        """Return what the other workers have told of a key, in all."""
        now = self._clock()
        if self._missing and now >= self._look_at:
            self._look(now)
        mark, place = _mark(key)
        total = 0
        for each in self._others:
            if each[place] == mark:
                total += _count(each[place + 1], now)
        return total

    def _look(self, now: float) -> None:
        """See whether those of whom there was nothing have begun."""
        self._look_at = now + _LOOK_AGAIN_S
        for worker, path in list(self._missing.items()):
            try:
                self._others.append(_mapped(path, mine=False))
            except (OSError, ValueError):
                continue
            del self._missing[worker]


def _path(folder: Path, worker: int) -> Path:
    return folder / f"tally-{worker}"


def _count(value: int, now: float) -> int:
    return value >> 32 if value & _MOST > now else 0


@lru_cache(4096)
def _mark(key: str) -> tuple[int, int]:
    """Return what stands for a key, never 0, and its place."""
    mark = int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), sys.byteorder) or 1
    return mark, 2 * (mark % PLACES)


def _mapped(path: Path, *, mine: bool) -> memoryview[Any]:
    """Map a worker's file; one's own is emptied. It is never made shorter, since others may have it mapped.

    Raises: OSError, ValueError where another's file is not whole yet.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC if mine else os.O_RDONLY | os.O_CLOEXEC, 0o600)
    try:
        if mine and os.pwrite(descriptor, bytes(_SIZE), 0) < _SIZE:
            # Written, not stretched: where the disk is full, who writes what is mapped would be killed.
            raise OSError(ENOSPC, os.strerror(ENOSPC), str(path))
        whole = mmap.mmap(descriptor, _SIZE, access=mmap.ACCESS_WRITE if mine else mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
    return memoryview(whole).cast("Q")
