"""What a row's bar is held against: the worst of its rounds, or, where that is too near to the bar to tell, the median
of seven pairs.

A machine that others use, too, swings by more than a tenth within minutes, so that a ratio within a tenth of its bar,
on either side, says little. Such a row is run again in pairs, peer and ours one right behind the other and the order
turned with each pair (peer, ours, ours, peer, ...), and the median of the seven counts. All seven are new ones: the
rounds that led to them would draw the median towards the bar.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

PAIRS: Final = 7
NEAR: Final = 0.1
"""So much of the bar."""


@dataclass(frozen=True, slots=True)
class Judged:
    """How a row stands to its bar, in ratios of our rate to the peer's; `pairs` where the worst round can't tell."""

    worst: float
    bar: float
    pairs: Sequence[float] = ()

    @property
    def ratio(self) -> float:
        """Return what is held against the bar."""
        return statistics.median(self.pairs) if self.pairs else self.worst

    @property
    def is_met(self) -> bool:
        return self.ratio >= self.bar

    def line(self, title: str, peer: str, *, goal: float | None = None, digits: int = 2) -> str:
        """Return the line of a row; `digits` where the worst round tells, two at least where it does not."""
        bars = f"bar {self.bar:g}x" + (f", goal {goal:g}x" if goal is not None else "")
        missed = "" if self.is_met else "  MISSED"
        if not self.pairs:
            return f"{title}: {self.worst:.{digits}f}x {peer} ({bars}){missed}"
        digits = max(2, digits)
        return (
            f"{title}: {self.ratio:.{digits}f}x {peer} ({bars}) judged by the median of {len(self.pairs)} pairs, "
            f"worst round {self.worst:.{digits}f}x{missed}"
        )


def is_near(worst: float, bar: float) -> bool:
    """Tell whether the worst round is too near to the bar to tell."""
    return abs(worst - bar) <= NEAR * bar * (1 + 1e-9)  # 1.1 is within a tenth of 1, whatever floats make of it


def judge(
    worst: float,
    bar: float,
    ours: Callable[[], float],
    theirs: Callable[[], float],
    tell: Callable[[str], None] = lambda line: None,
) -> Judged:
    """Judge a row by the worst ratio of its rounds; where that can't tell, run the pairs. `ours` and `theirs` run the
    row once and return the rate, more being better; `tell` is given a line of each pair."""
    if not is_near(worst, bar):
        return Judged(worst, bar)
    ratios: list[float] = []
    for turn in range(PAIRS):
        if turn % 2:
            our = ours()
            their = theirs()
        else:
            their = theirs()
            our = ours()
        ratios.append(our / their)
        tell(f"pair {turn + 1} of {PAIRS}  ours {our:.5g}/s, peer {their:.5g}/s: {our / their:.2f}x")
    return Judged(worst, bar, ratios)
