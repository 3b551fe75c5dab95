"""The short form of `make soak-crash`: three kills of the gateway, and one of Postfix by the same harness."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.soak_crash import FLOOR_PER_KILL, IN_FLIGHT_BOUND, Count, soak_gateway, soak_postfix

KILLS = 3
PAUSE_S = 0.1
"""Enough for a load, beside that of Postfix's own source; a whole soak sends as fast as the server takes it."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own folder, whose mode keeps Postfix's user out."""
    with tempfile.TemporaryDirectory(prefix="gatepost-soak-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.timeout(300)
def test_nothing_is_lost_by_kills(folder: Path) -> None:
    count = soak_gateway(folder, KILLS, seed=3, pause_s=PAUSE_S)
    print(count)
    assert not count.lost
    assert count.doubled <= sum(count.in_flight)
    assert max(count.in_flight) <= IN_FLIGHT_BOUND
    assert count.accepted >= FLOOR_PER_KILL * KILLS


@pytest.mark.timeout(300)
def test_the_harness_counts_postfix_in_the_same_way(folder: Path) -> None:
    count = soak_postfix(folder, 1, seed=3, pause_s=PAUSE_S)
    print(count)
    assert not count.lost
    assert count.accepted >= FLOOR_PER_KILL


def test_a_count_judges() -> None:
    good = Count(kills=2, accepted=100, doubled=3, in_flight=[1, 2])
    assert good.is_good
    assert str(good) == "kills 2, accepted 100, lost 0, doubled 3 (in flight at kill at most 3)"
    assert not Count(kills=2, accepted=100, lost=["x"], in_flight=[0, 0]).is_good
    assert not Count(kills=2, accepted=100, doubled=4, in_flight=[1, 2]).is_good
    assert not Count(kills=2, accepted=99, in_flight=[0, 0]).is_good
    assert not Count(kills=1, accepted=100, in_flight=[IN_FLIGHT_BOUND + 1]).is_good
