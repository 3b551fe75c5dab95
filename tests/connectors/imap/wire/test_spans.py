"""Sets of UIDs as runs: as sets of Python's have it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.imap.wire.spans import Spans

NUMBERS = st.sets(st.integers(1, 60), max_size=40)


@given(NUMBERS, NUMBERS, st.integers(0, 50))
def test_they_are_sets(one: set[int], two: set[int], count: int) -> None:
    left, right = Spans.of(one), Spans.of(two)
    assert list(left) == sorted(one)
    assert len(left) == len(one)
    assert set(left | right) == one | two
    assert set(left - right) == one - two
    assert set(left & right) == one & two
    assert {n for n in range(62) if n in left} == one
    assert (left == right) == (one == two)
    some, rest = left.taken(count)
    assert list(some) == sorted(one)[:count]
    assert list(rest) == sorted(one)[count:]
    assert Spans.read(left.text()) == left


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("", []), ("7", [7]), ("1:3,5", [1, 2, 3, 5]), ("5,3:1", [1, 2, 3, 5]), ("1:2,2:4", [1, 2, 3, 4])],
)
def test_a_sequence_set(text: str, numbers: list[int]) -> None:
    assert list(Spans.read(text)) == numbers


@pytest.mark.parametrize("text", ["*", "1:*", "1,,2", "-1", "1:2:3", "99999999999", "a", " 1"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="no sequence set"):
        Spans.read(text)


def test_a_million_cost_what_their_gaps_do() -> None:
    many = Spans.read("1:4000000000")
    start = time.perf_counter()
    for _ in range(1000):
        some, rest = many.taken(500)
        many = rest
        assert len(some) == 500
    assert many.text() == "500001:4000000000"
    assert time.perf_counter() - start < 5
