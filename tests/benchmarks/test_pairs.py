"""Bars: which figure is held against one, in which order pairs are run, and what the line says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.benchmarks.pairs import PAIRS, Judged, is_near, judge


class Ran:
    """Two contestants that are not there: what was run, and the rates they tell."""

    def __init__(self, ours: Sequence[float], theirs: float = 10.0) -> None:
        self.order: list[str] = []
        self._rates = iter(ours)
        self._theirs = theirs

    def ours(self) -> float:
        self.order.append("ours")
        return next(self._rates)

    def theirs(self) -> float:
        self.order.append("peer")
        return self._theirs


def _judged(worst: float, bar: float, ran: Ran, tell: Callable[[str], None] = lambda line: None) -> Judged:
    return judge(worst, bar, ran.ours, ran.theirs, tell)


@pytest.mark.parametrize(
    ("worst", "bar", "near"),
    [
        (1.0, 1.0, True),
        (0.9, 1.0, True),
        (1.1, 1.0, True),
        (0.89, 1.0, False),
        (1.11, 1.0, False),
        (1.44, 1.5, True),
        (1.34, 1.5, False),
        (0.275, 0.25, True),
        (0.28, 0.25, False),
        (3.3, 3.0, True),
        (2.7, 3.0, True),
    ],
)
def test_a_tenth_of_the_bar_on_either_side_is_near(worst: float, bar: float, near: bool) -> None:
    assert is_near(worst, bar) is near


@pytest.mark.parametrize(("worst", "met"), [(0.8, False), (1.2, True)])
def test_what_is_far_is_judged_by_the_worst_round_and_runs_nothing(worst: float, met: bool) -> None:
    ran = Ran([])
    judged = _judged(worst, 1.0, ran)
    assert (judged.is_met, judged.ratio, ran.order) == (met, worst, [])


def test_pairs_alternate_in_their_order() -> None:
    ran = Ran([10.0] * PAIRS)
    _judged(1.0, 1.0, ran)
    assert ran.order[:6] == ["peer", "ours", "ours", "peer", "peer", "ours"]
    assert ran.order.count("ours") == ran.order.count("peer") == PAIRS == 7


def test_the_median_of_the_pairs_counts_and_no_round() -> None:
    judged = _judged(0.95, 1.0, Ran([5.0, 10.2, 10.3, 10.1, 9.0, 30.0, 9.9]))
    assert judged.ratio == pytest.approx(1.01)
    assert judged.is_met
    assert not _judged(1.05, 1.0, Ran([5.0, 9.8, 10.3, 10.1, 9.0, 30.0, 9.9])).is_met


def test_each_pair_is_told() -> None:
    lines: list[str] = []
    _judged(1.0, 1.0, Ran([10.0, 12.0] + [10.0] * 5), lines.append)
    assert len(lines) == PAIRS
    assert lines[1] == "pair 2 of 7  ours 12/s, peer 10/s: 1.20x"


def test_lines() -> None:
    assert Judged(1.234, 1.0).line("row", "peer") == "row: 1.23x peer (bar 1x)"
    assert Judged(4.12, 3.0).line("row", "peer", goal=6, digits=1) == "row: 4.1x peer (bar 3x, goal 6x)"
    assert Judged(0.5, 1.0).line("row", "peer") == "row: 0.50x peer (bar 1x)  MISSED"
    near = Judged(0.95, 1.0, [1.02] * PAIRS)
    assert near.line("row", "peer", digits=1) == (
        "row: 1.02x peer (bar 1x) judged by the median of 7 pairs, worst round 0.95x"
    )
    assert Judged(1.05, 1.0, [0.98] * PAIRS).line("row", "peer").endswith("worst round 1.05x  MISSED")
