"""The short form of `python -m tests.crash.soak_sync`: a few kills in each mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.pieces import Counts
from tests.crash.soak_sync import MODES, Count, Mode, soak, total


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_lost_nothing_doubled_and_nothing_changed(tmp_path: Path, mode: Mode) -> None:
    count = soak(tmp_path, mode, 4, seed=5, each_round=40)
    print(count)
    assert not count.lost
    assert not count.doubled
    assert not count.changed
    assert count.at_work >= 1


def test_a_count_judges() -> None:
    assert Count("copy", kills=4, at_work=2).is_good
    assert not Count("copy", kills=4, at_work=1).is_good
    assert not Count("copy", kills=4, at_work=4, lost=["x"]).is_good
    assert str(Count("copy", 4, 4, 9, doubled=["x"])).endswith("BAD")


def test_pieces_add_up(tmp_path: Path) -> None:
    file = tmp_path / "counts"
    one, two = Count("copy", 4, 4, 90), Count("two-way", 5, 3, 80, doubled=["x"])
    for count in (one, two):
        Counts(file, lambda row: Count(**row)).add(count)
    both = Counts(file, lambda row: Count(**row)).rows
    assert both == [one, two]
    assert Counts(None, lambda row: Count(**row)).rows == []
    assert total(both) == "kills 9, accepted 170, lost 0, doubled 1, changed 0"
