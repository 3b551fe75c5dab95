"""Runners' places: how many calls of `deliver` run at one time, and which lane is next where all are taken. Pure.

Promises: lanes that are not known to live never take all the places; lanes in line are served in turn, the three kinds
alternating, so that neither many busy lanes nor many dead ones keep a new one waiting.
"""

from __future__ import annotations

from collections import deque

from gateway.dispatch.live import Kind, LiveLane


class Places:
    """The places and the line for them."""

    def __init__(self, most: int, most_unproven: int, most_probing: int) -> None:
        self._most = most
        self._limits = {Kind.PROVEN: most, Kind.UNPROVEN: most_unproven, Kind.PROBING: most_probing}
        self._taken = dict.fromkeys(Kind, 0)
        self._lines: dict[Kind, deque[LiveLane]] = {kind: deque() for kind in Kind}
        self._turn = deque(Kind)
        self.total = 0

    def take(self, kind: Kind) -> bool:
        """Take a place of this kind, if one is free."""
        if self.total >= self._most or self._taken[kind] >= self._limits[kind]:
            return False
        self._taken[kind] += 1
        self.total += 1
        return True

    def give(self, kind: Kind) -> None:
        """Free a place."""
        self._taken[kind] -= 1
        self.total -= 1

    def join(self, live: LiveLane) -> None:
        """Put a lane in line, once."""
        if not live.waiting:
            live.waiting = True
            self._lines[live.kind].append(live)

    def next(self) -> LiveLane | None:
        """Return the lane in line that a free place may go to, or None; it leaves the line."""
        for _ in range(len(self._turn)):
            kind = self._turn[0]
            self._turn.rotate(-1)
            if self._lines[kind] and self.total < self._most and self._taken[kind] < self._limits[kind]:
                live = self._lines[kind].popleft()
                live.waiting = False
                return live
        return None

    def is_tight(self, kind: Kind) -> bool:
        """Say whether over half the places of a kind are taken, so that no lane should have several."""
        return 2 * self._taken[kind] > self._limits[kind]

    def wanted(self, kind: Kind) -> bool:
        """Say whether a lane waits for such a place as a runner of this kind holds."""
        lines = self._lines
        if lines[kind]:
            return True
        if self.total < self._most:
            return False
        return any(line and self._taken[k] < self._limits[k] for k, line in lines.items())
