"""Durations and sizes as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.quantity import parse_duration, parse_size, show_duration, show_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5d", 432_000), ("4h", 14_400), ("1m", 60), ("90s", 90), ("1d12h", 129_600), ("1.5h", 5400), ("0", 0), (7, 7)],
)
def test_duration(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 days", "d", "-1h", -1, True, None, "5D", "1h 2m"])
def test_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="a duration such as"):
        parse_duration(text)


@given(st.integers(1, 10**8))
def test_duration_there_and_back(seconds: int) -> None:
    assert parse_duration(show_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "octets"),
    [("64MiB", 64 << 20), ("1 GB", 10**9), ("1kB", 1000), ("1.5KiB", 1536), ("12", 12), (12, 12), ("0", 0)],
)
def test_size(text: object, octets: int) -> None:
    assert parse_size(text) == octets


@pytest.mark.parametrize("text", ["", "MiB", "-1", -1, 1.5, True, "5 apples"])
def test_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="a size such as"):
        parse_size(text)


@pytest.mark.parametrize("octets", [0, 1023, 1024, 1 << 20, 100 << 20, 5 << 40])
def test_size_there_and_back(octets: int) -> None:
    assert parse_size(show_size(octets)) == octets
