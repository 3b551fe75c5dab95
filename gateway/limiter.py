"""Limiter: how often something may be done in a span of time, by key. Pure counting, bounded in memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_REMEMBERED: Final = 100_000


class Limiter:
    """A bucket for each key: `burst` at once, refilled evenly to `per_hour`. Not safe to use from several threads."""

    def __init__(self, per_hour: float = 60.0, burst: int = 20) -> None:
        self.per_hour = per_hour
        self.burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and when that was so

    def _left(self, key: str, now: float) -> float:
        left, at = self._buckets.get(key, (float(self.burst), now))
        return min(float(self.burst), left + max(0.0, now - at) * self.per_hour / 3600)

    def has_room(self, key: str, now: float) -> bool:
        """Say whether `take` would succeed."""
        return self._left(key, now) >= 1.0

    def take(self, key: str, now: float) -> bool:
        """Count one, if there is room for it."""
        left = self._left(key, now)
        if left < 1.0:
            return False
        self._buckets[key] = (left - 1.0, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)  # the one that was used longest ago, so mostly full again
        return True
