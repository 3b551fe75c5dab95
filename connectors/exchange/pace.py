"""Pace: until when the server, or one mailbox of it, is to be left alone. Pure but for the clock.

Promises: while it holds nothing is asked; it never holds longer than was said, so that mail goes on at once. What a
server says of its back-off is heeded by everything that goes out, since asking on makes it longer (learn.microsoft.com
"EWS throttling in Exchange").
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

EVERYWHERE: Final = ""
_MOST_HOPS: Final = 10_000


class Pace:
    """Holds by mailbox and for all. `clock` gives seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def hold(self, seconds: float, hop: str = EVERYWHERE) -> None:
        """Leave the server, or one mailbox, alone for so long from now; a longer hold stays."""
        now = self._clock()
        if len(self._until) >= _MOST_HOPS:
            self._until = {each: at for each, at in self._until.items() if at > now}
        self._until[hop] = max(self._until.get(hop, 0.0), now + seconds)

    def left(self, hop: str = EVERYWHERE) -> float:
        """Return for how many seconds more nothing is to be asked of a mailbox; 0 where it may be asked."""
        now = self._clock()
        until = 0.0
        for each in {hop, EVERYWHERE}:
            at = self._until.get(each)
            if at is None:
                continue
            if at <= now:
                del self._until[each]
            else:
                until = max(until, at)
        return max(0.0, until - now)
