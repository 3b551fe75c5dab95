"""The soak of fetching and local delivery in its small form."""

from __future__ import annotations

from tests.crash.soak_local import course


def test_nothing_is_lost_and_nothing_doubled() -> None:
    assert course(kills=3, messages=20, seed=7) == (0, 0)
