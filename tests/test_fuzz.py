"""Every input that ever broke a parser is replayed, and the fuzzer itself gets a short run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import KEPT, TARGETS, fuzz

INPUTS = sorted(path for path in KEPT.glob("*-*") if path.is_file())


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.name)
def test_what_broke_once_does_not_again(path: Path) -> None:
    for target in TARGETS.values():
        target(path.read_bytes())


@pytest.mark.parametrize("octets", [b"", b"\0", b"\r\n", b"\n" * 1000, b"\xff" * 1000, b"<" * 1000, b"." * 1000])
def test_the_plainest_oddities(octets: bytes) -> None:
    for target in TARGETS.values():
        target(octets)


def test_a_short_run_breaks_nothing() -> None:
    assert fuzz(seconds=5, seed=1) == 0
