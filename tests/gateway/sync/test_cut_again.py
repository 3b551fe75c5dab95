"""First passes that are cut, with people at work meanwhile: what they remove is gone on both sides, nothing is doubled.

A row is written after what it is of was appended, and a page is noted after its rows. Whatever goes between two of
these moments is told by no listing that begins later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.sync import line
from gateway.sync.state import State
from gateway.sync.values import Pair, Policy
from tests.gateway.sync.memory import HOLDS, Killed, Memory, mail
from tests.gateway.sync.test_engine import step

POLICY = Policy(mode="two-way", delete="remove", min_removed=100, batch_items=2, page_items=4)


def put(box: Memory, *numbers: int) -> list[str]:
    return [box.put(mail(number), at=1.6e9 + number, name=f"<{number}@example.org>") for number in numbers]


def cut(path: Path, left: Memory, right: Memory, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do a pass that is killed before it notes the rows of so many batches; with 0, before it notes what it read."""
    settle, count = State.settle, 0

    async def killed(self: State, pairing: str, rows: Sequence[Pair] = (), **more: Any) -> None:
        nonlocal count
        count += bool(rows)
        if (at and count >= at) or (not at and "folders" in more and more["folders"]):
            raise Killed
        await settle(self, pairing, rows, **more)

    with monkeypatch.context() as patch:
        patch.setattr(State, "settle", killed)
        patch.setattr(line, "_AT_ONCE", 1)  # else so few batches are noted at once
        patch.setattr(line, "_UNNOTED_S", 0.0)
        with pytest.raises(Killed):
            step(path, left, right, POLICY)


def come_in_step(path: Path, left: Memory, right: Memory, count: int) -> None:
    for _ in range(2):
        step(path, left, right, POLICY)
    assert left.shown() == right.shown()
    assert len(left.items) == count


@pytest.mark.parametrize("cuts", [(2, 2), (2, 3), (2, 2, 2), (3, 3)])
@pytest.mark.parametrize("gone", [0, 2, 3, 6])
def test_what_goes_after_the_first_of_several_cuts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuts: tuple[int, ...], gone: int
) -> None:
    left, right = Memory(), Memory()
    ids = put(left, *range(12))
    for number, at in enumerate(cuts):
        cut(tmp_path, left, right, at, monkeypatch)
        if not number:
            left.drop(ids[gone])
    come_in_step(tmp_path, left, right, 11)


@pytest.mark.parametrize("at", [1, 2])
def test_what_was_copied_back_is_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    left, right = Memory(), Memory()
    put(right, *range(6))
    cut(tmp_path, left, right, at, monkeypatch)
    assert left.items, "some of it is there, with no row"
    come_in_step(tmp_path, left, right, 6)


@pytest.mark.parametrize("at", [1, 2])
def test_what_was_copied_back_and_is_worked_with_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    left, right = Memory(), Memory()
    ids = put(right, *range(6))
    cut(tmp_path, left, right, at, monkeypatch)
    first, second = ids[2 * at - 2], ids[2 * at - 1]
    right.drop(first)
    right.mark(second, ["seen", "word"])
    come_in_step(tmp_path, left, right, 5)
    assert [words for _, _, words in left.shown() if words] == [("seen", "word")]


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("how", ["copied", "copied back", "found on both sides", "copied at first"])
@pytest.mark.parametrize("gone", ["left", "right"])
def test_what_is_done_and_goes_before_what_was_read_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tells: bool, how: str, gone: str
) -> None:
    left, right = (Memory(holding=replace(HOLDS, tells_unseen=tells)) for _ in range(2))
    put(left, *range(6))
    if how != "copied at first":
        for _ in range(2):
            step(tmp_path, left, right, POLICY)
    before = {"left": set(left.items), "right": set(right.items)}
    put(right if how == "copied back" else left, 6, 7)
    if how == "found on both sides":
        put(right, 6, 7)
    cut(tmp_path, left, right, 0, monkeypatch)
    box = left if gone == "left" else right
    box.drop(next(id for id in box.items if how == "copied at first" or id not in before[gone]))
    for _ in range(3):
        step(tmp_path, left, right, POLICY)
    come_in_step(tmp_path, left, right, 7)
    report = step(tmp_path, left, right, POLICY).report
    assert (report.listed, report.read) == (0, 0)


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("marked", ["left", "right"])
def test_what_was_copied_and_is_marked_before_it_has_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, marked: str
) -> None:
    left, right = Memory(), Memory()
    put(left, *range(6))
    cut(tmp_path, left, right, at, monkeypatch)
    box = left if marked == "left" else right
    box.mark(list(right.items)[-1] if box is right else list(left.items)[2 * at - 1], ["seen", "word"])
    come_in_step(tmp_path, left, right, 6)
    assert [words for _, _, words in left.shown() if words] == [("seen", "word")]
