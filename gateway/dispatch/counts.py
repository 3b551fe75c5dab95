"""Figures since the start, for metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """`put_off`: left for later without an attempt, since the lane was closed. `left_behind`: calls of `deliver` that
    did not even end when they were cancelled."""

    delivered: int = 0
    deferred: int = 0
    failed: int = 0
    put_off: int = 0
    handed_over: int = 0
    claimed: int = 0
    batches: int = 0
    settled_twice: int = 0
    hung: int = 0
    raised: int = 0
    left_behind: int = 0
    lease_lost: int = 0
