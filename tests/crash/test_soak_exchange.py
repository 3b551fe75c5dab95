"""The short form of `python -m tests.crash.soak_exchange`: each fault once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.soak_exchange import FAULTS, FLOOR_PER_FAULT, Count, soak, table


@pytest.mark.timeout(300)
def test_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    for count in soak(tmp_path, FAULTS, seed=3, pause_s=(0.1, 0.5)):
        print(count)
        assert not count.lost
        assert not count.doubled
        assert count.accepted >= FLOOR_PER_FAULT * len(FAULTS)


def test_a_count_judges_and_the_table_sums_up() -> None:
    good = Count("out of mailboxes", faults=2, accepted=100)
    assert good.is_good
    assert not Count("x", faults=2, accepted=100, lost=["a"]).is_good
    assert not Count("x", faults=2, accepted=100, doubled=1).is_good
    assert not Count("x", faults=20, accepted=100).is_good
    rows = [("cut", (good, Count("into mailboxes", 2, 50, ["a"], 1)), ""), ("away", (), "TimeoutError()")]
    assert table(rows).splitlines() == [
        "fault     way                faults  accepted  lost  doubled",
        "cut       out of mailboxes        2       100     0        0",
        "cut       into mailboxes          2        50     1        1  BAD",
        "away      BROKEN: TimeoutError()",
        "faults 2, accepted 150, lost 1, doubled 1",
    ]
