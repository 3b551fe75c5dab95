"""Back-off stays within its bounds and spreads what failed together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dispatch.backoff import Backoff


@pytest.mark.parametrize(
    ("attempt", "chance", "wanted"),
    [
        (1, 0.0, 60.0),
        (1, 1.0, 90.0),
        (2, 0.0, 120.0),
        (3, 0.5, 300.0),
        (7, 0.0, 2400.0),
        (7, 1.0, 3600.0),
        (1000, 1.0, 3600.0),
        (0, 0.0, 60.0),
    ],
)
def test_delay(attempt: int, chance: float, wanted: float) -> None:
    assert Backoff().delay_s(attempt, chance) == pytest.approx(wanted)


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0.1, 1000), st.floats(1, 100))
def test_never_out_of_bounds(attempt: int, chance: float, least: float, factor: float) -> None:
    backoff = Backoff(least, least * factor)
    assert least <= backoff.delay_s(attempt, chance) <= least * factor * 1.0000001


def test_what_failed_together_is_spread_over_half_the_wait() -> None:
    for attempt in range(1, 12):
        low, high = Backoff().delay_s(attempt, 0.0), Backoff().delay_s(attempt, 1.0)
        assert high - low >= low / 2 - 1e-6 or high == 3600.0
        assert high > low


@pytest.mark.parametrize(
    ("hint", "wanted"), [(None, 60.0), (5.0, 60.0), (600.0, 600.0), (10_000.0, 10_000.0), (10**9, 86_400.0)]
)
def test_a_longer_hint_is_honoured_within_reason(hint: float | None, wanted: float) -> None:
    assert Backoff().next_at(0.0, 1, 0.0, retry_after_s=hint) == wanted


def test_bounds_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="back-off"):
        Backoff(10.0, 5.0)
