"""What goes side by side: whose step comes when, and that nobody waits for ever or pays for another."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from connectors.smtp import abreast
from connectors.smtp.abreast import MOST, PATIENCE, Abreast, step_done


class Row:
    """Works that note their steps, and what was told of them."""

    def __init__(self) -> None:
        self.clients = 1000
        self.abreast = Abreast(lambda: self.clients)
        self.steps: list[str] = []
        self.told: dict[str, object] = {}

    async def _work(self, name: str, steps: int, fault: Exception | None) -> str:
        for number in range(steps):
            if number:
                await step_done()
            self.steps.append(f"{name}{number}")
        if fault is not None:
            raise fault
        return name.upper()

    def add(self, name: str, steps: int = 1, fault: Exception | None = None) -> None:
        self.abreast.add(self._work(name, steps, fault), partial(self._told, name))

    def _told(self, name: str, answer: str | None, fault: Exception | None) -> None:
        self.told[name] = fault or answer

    async def turns(self, most: int) -> int:
        """Wait until something was told, so many turns at most, and return how many it took."""
        before = len(self.told)
        for turn in range(most):
            if len(self.told) > before:
                return turn
            await asyncio.sleep(0)
        return most


async def test_each_step_is_taken_by_all_in_a_row() -> None:
    row = Row()
    for name, steps in (("a", 3), ("b", 1), ("c", 2)):
        row.add(name, steps)
    await row.turns(100)
    assert row.steps == ["a0", "b0", "c0", "a1", "c1", "a2"]
    assert list(row.told.items()) == [("b", "B"), ("c", "C"), ("a", "A")]


async def test_the_fault_of_one_is_its_own() -> None:
    row = Row()
    fault = ValueError("no")
    row.add("a", 2, fault)
    row.add("b", 3)
    await row.turns(100)
    assert row.told == {"a": fault, "b": "B"}


async def test_who_comes_a_little_later_goes_with_the_others() -> None:
    row = Row()
    row.add("a", 2)
    for _ in range(PATIENCE - 1):
        await asyncio.sleep(0)
    row.add("b", 2)
    assert row.steps == []
    await row.turns(100)
    assert row.steps == ["a0", "b0", "a1", "b1"]


async def test_one_alone_is_not_kept_waiting() -> None:
    row = Row()
    row.add("a", 5)
    assert await row.turns(100) <= PATIENCE + 2
    assert row.told == {"a": "A"}


async def test_nobody_waits_for_more_than_there_are() -> None:
    row = Row()
    row.clients = 2
    row.add("a")
    row.add("b")
    assert await row.turns(100) <= 2
    assert row.told == {"a": "A", "b": "B"}


async def test_a_row_sets_out_though_others_keep_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abreast, "MOST", 1_000_000)
    row = Row()
    added = 0
    while not row.told and added < 500:
        row.add(f"{added:03}:")
        added += 1
        await asyncio.sleep(0)
    assert 10 < added < 100
    for _ in range(200):  # the rest ends too
        await asyncio.sleep(0)
    assert len(row.told) == added


async def test_of_very_many_some_go_first_and_the_loop_has_its_turn_between() -> None:
    row = Row()
    for number in range(2 * MOST + 5):
        row.add(f"{number:03}:")
    seen = []
    while len(row.told) < 2 * MOST + 5:
        seen.append(len(row.told))
        await asyncio.sleep(0)
    assert {MOST, 2 * MOST} <= set(seen)
    assert row.steps == sorted(row.steps)
