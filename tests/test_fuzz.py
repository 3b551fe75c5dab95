"""Every input that ever broke a parser is replayed, and the fuzzer itself gets a short run."""

from __future__ import annotations

import pytest

from tests.fuzz import KEPT, TARGETS, fuzz


def test_what_broke_once_does_not_again() -> None:
    for path in sorted(KEPT.glob("*-*")):
        for name, target in TARGETS.items():
            try:
                target(path.read_bytes())
            except Exception as fault:
                raise AssertionError(f"{name} is broken again by {path.name}") from fault


@pytest.mark.parametrize("octets", [b"", b"\0", b"\r\n", b"\n" * 1000, b"\xff" * 1000, b"<" * 1000, b"." * 1000])
def test_the_plainest_oddities(octets: bytes) -> None:
    for target in TARGETS.values():
        target(octets)


def test_a_short_run_breaks_nothing() -> None:
    assert fuzz(seconds=5, seed=1) == 0
