"""Back-off: how long to wait before the next attempt. Pure; the caller brings the random number.

Promises: never under `least_s` nor over `most_s`, except where the peer itself asked for longer.
Source: RFC 5321 §4.5.4.1.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubling from `least_s` to `most_s`, with jitter so that what failed together is not tried together."""

    least_s: float = 60.0
    most_s: float = 3600.0

    def __post_init__(self) -> None:
        if not 0 < self.least_s <= self.most_s:
            raise ValueError(f"back-off from {self.least_s} s to {self.most_s} s: it must grow from over 0")

    def delay_s(self, attempt: int, chance: float) -> float:
        """Return the seconds to wait after the `attempt`-th failure (from 1); `chance` is in 0..1.

        The wait is spread over half of its own length: upwards, or downwards where the upper bound is near.
        """
        # 2**30 minutes is beyond any bound; the limit keeps the power small for a message tried for years.
        base = min(self.most_s, self.least_s * 2.0 ** min(max(attempt, 1) - 1, 30))
        high = min(self.most_s, base * 1.5)
        low = max(self.least_s, min(base, high / 1.5))
        return low + (high - low) * chance

    def next_at(
        self,
        now: float,
        attempt: int,
        chance: float,
        *,
        retry_after_s: float | None = None,
        hint_max_s: float = 86_400.0,
    ) -> float:
        """Return when to try again; a peer's `retry_after_s` counts where it is longer, up to `hint_max_s`."""
        delay = self.delay_s(attempt, chance)
        if retry_after_s is not None and retry_after_s > delay:
            delay = min(retry_after_s, hint_max_s)
        return now + delay
