"""The short form of `python -m tests.crash.soak_sync`: a few kills in each mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.soak_sync import MODES, Count, Mode, soak


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
