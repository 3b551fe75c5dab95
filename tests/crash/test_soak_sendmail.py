"""The short form of `python -m tests.crash.soak_sendmail`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.soak_sendmail import Count, soak


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    count = soak(tmp_path, kills=2, seed=1)
    print(count)
    assert count.is_good, count
    assert count.dropped


def test_a_count_judges() -> None:
    assert Count(2, 100, 10, 0, 0).is_good
    assert not Count(2, 100, 10, 1, 0).is_good
    assert not Count(2, 100, 10, 0, 1).is_good
    assert not Count(2, 5, 0, 0, 0).is_good
