"""What is put somewhere and goes before any listing tells it: a removal is a removal all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.contract import Changes, Folder
from gateway.sync.values import Policy
from tests.gateway.sync.memory import HOLDS, Memory, mail
from tests.gateway.sync.test_engine import TWO_WAY, step

MIRROR = Policy(mode="mirror", delete="remove")


def filled() -> Memory:
    left = Memory()
    left.list_folders["work"] = Folder("work", ("Work",))
    for number in range(6):
        left.put(mail(number), name=f"<{number}@example.org>")
    return left


@pytest.mark.parametrize("tells", [True, False])
def test_it_is_taken_over_or_made_again(tmp_path: Path, tells: bool) -> None:
    for policy in (TWO_WAY, MIRROR):
        folder = tmp_path / policy.mode
        folder.mkdir()
        left, right = filled(), Memory(holding=replace(HOLDS, tells_unseen=tells))
        step(folder, left, right, policy)
        right.drop(list(right.items)[1])
        report = step(folder, left, right, policy).report
        assert (report.removed, report.copied) == ((1, 0) if policy is TWO_WAY else (0, 1))
        assert left.shown() == right.shown()
        assert len(left.items) == (5 if policy is TWO_WAY else 6)
        for _ in range(2):
            report = step(folder, left, right, policy).report
            assert (report.removed, report.copied, report.read) == (0, 0, 0)


def test_it_is_moved_and_moved_on(tmp_path: Path) -> None:
    left, right = filled(), Memory()
    step(tmp_path, left, right, TWO_WAY)
    step(tmp_path, left, right, TWO_WAY)
    left.carry(next(iter(left.items)), "work")
    assert step(tmp_path, left, right, TWO_WAY).report.moved == 1
    moved = next(id for id, held in right.items.items() if right.list_folders[held.folder].path == ("Work",))
    right.drop(moved)
    assert step(tmp_path, left, right, TWO_WAY).report.removed == 1
    assert left.shown() == right.shown()
    assert len(left.items) == 5


class Late(Memory):
    """Tells what is new only once it is asked a second time."""

    is_late = False

    async def changes(self, folder: str, token: str | None, limit: int = 500) -> Changes:
        told = await super().changes(folder, token, limit)
        if not self.is_late or token is None:
            return told
        return Changes((), told.removed, token, more=False)


def test_what_a_store_is_late_to_tell_is_not_gone(tmp_path: Path) -> None:
    left, right = filled(), Late()
    step(tmp_path, left, right, TWO_WAY)
    right.is_late = True
    for _ in range(2):
        assert step(tmp_path, left, right, TWO_WAY).report.removed == 0
    right.is_late = False
    right.drop(list(right.items)[1])
    assert step(tmp_path, left, right, TWO_WAY).report.removed == 1
    assert len(left.items) == len(right.items) == 5
