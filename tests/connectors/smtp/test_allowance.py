"""Allowances: what one worker counts, and what several give out together."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from connectors.smtp import allowance
from connectors.smtp.allowance import Allowance, Buckets, Ledger

from .server_kit import context, settled


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def workers(
    folder: Path, limit: float, count: int = 4, per_s: float = 3600.0, clock: Callable[[], float] | None = None
) -> Iterator[list[Allowance]]:
    """Make one limit as so many workers have it."""
    clock = clock or Clock()
    made = [
        Allowance("x", limit, per_s, context(folder, Counter(), worker=each, workers=count), clock)
        for each in range(count)
    ]
    try:
        yield made
    finally:
        for each in made:
            each.close()


def test_tokens_come_back_evenly() -> None:
    buckets = Buckets(2, 10.0)
    assert [buckets.take("a", 0.0) for _ in range(3)] == [0, 0, 5]
    assert buckets.take("b", 0.0) == 0
    assert buckets.take("a", 5.0) == 0
    assert buckets.take("a", 5.0) == 5
    assert buckets.wait_for("a", 7.5) == 2.5
    assert [buckets.take("a", 1000.0) for _ in range(3)] == [0, 0, 5]
    buckets.give_back("a", 1000.0, 1.0)
    assert [buckets.take("a", 999.0) for _ in range(2)] == [0, 5], "also where the clock steps back"


def test_buckets_are_bounded() -> None:
    buckets = Buckets(1, 10.0, most_keys=100)
    for n in range(1000):
        assert buckets.take(str(n), 0.0) == 0
    assert len(buckets) == 100
    assert buckets.take("999", 0.0) > 0


def test_a_database_that_another_one_makes_just_now_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "allowances.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other, ThreadPoolExecutor(1) as thread:
        other.execute("BEGIN EXCLUSIVE")
        made = thread.submit(Ledger, path)
        time.sleep(0.1)
        assert not made.done()
        other.execute("COMMIT")
        made.result(10).close()


@pytest.mark.parametrize("limit", [1, 3, 100, 1000])
async def test_workers_together_give_out_the_limit_and_no_more(tmp_path: Path, limit: int) -> None:
    with workers(tmp_path, limit) as made:

        async def asks(worker: Allowance) -> int:
            given = 0
            for _ in range(limit):
                given += await worker.take("ann") == 0
            return given

        given = sum(await asyncio.gather(*(asks(each) for each in made)))
        assert given == limit
        assert await made[0].take("bob") == 0


async def test_one_worker_alone_gives_nearly_all_though_others_have_begun(tmp_path: Path) -> None:
    with workers(tmp_path, 100) as made:
        for each in made:
            assert [await each.take("ann") for _ in range(2)] == [0, 0]  # the second draws a slice
        given = 8
        while await made[0].take("ann") == 0:
            given += 1
        assert 85 <= given <= 100


async def test_what_a_worker_has_no_use_for_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "HOLD_S", 0.02)
    clock = Clock()
    with workers(tmp_path, 100, 2, clock=clock) as (one, other):
        assert [await one.take("ann") for _ in range(2)] == [0, 0]
        assert one._held["ann"].tokens > 0
        clock.now += 1
        await settled(lambda: not one._held)
        assert sum([await other.take("ann") == 0 for _ in range(100)]) == 98


async def test_a_worker_that_stops_gives_back_what_it_holds(tmp_path: Path) -> None:
    with workers(tmp_path, 100, 2) as (one, other):
        assert [await one.take("ann") for _ in range(2)] == [0, 0]
        one.close()
        await settled(lambda: one._ledger is None)
        assert await one.take("ann") == 0, "a connection that is still there"
        assert sum([await other.take("ann") == 0 for _ in range(100)]) == 97


async def test_tokens_come_back_to_all_workers(tmp_path: Path) -> None:
    clock = Clock()
    with workers(tmp_path, 2, 2, per_s=20.0, clock=clock) as (one, other):
        assert [await one.take("a"), await other.take("a"), await one.take("a")] == [0, 0, 10]
        assert one.wait_for("a") == 10
        assert other.wait_for("a") == 0, "it has not asked"
        clock.now += 10
        assert [await other.take("a"), await one.take("a")] == [0, 10]
        other.give_back("a", 1.0)
        assert await other.take("a", 2.0) == 10
        assert await other.take("a", 3.0) == 20, "more than there ever is"


async def test_a_clock_that_was_set_back_holds_nobody_up(tmp_path: Path) -> None:
    clock = Clock()
    with workers(tmp_path, 10, 2, per_s=100.0, clock=clock) as (one, other):
        assert sum([await each.take("a") == 0 for _ in range(10) for each in (one, other)]) == 10
        clock.now -= 86_400.0
        for each in (one, other):
            assert await each.take("a") <= 100.0
        clock.now += 50.0
        assert [await one.take("a") for _ in range(4)] == [0] * 4


async def test_counts_outlive_the_workers(tmp_path: Path) -> None:
    for expected in (0, 0, 1800):
        with workers(tmp_path, 2, 2) as (one, _):
            assert await one.take("ann") == expected
            one.close()
            await settled(lambda: one._ledger is None)


async def test_without_its_database_each_worker_gives_its_share(tmp_path: Path) -> None:
    (tmp_path / "allowances.db").mkdir()
    with workers(tmp_path, 100) as made:
        for each in made:
            assert sum([await each.take("ann") == 0 for _ in range(100)]) == 25
            assert each.wait_for("ann") > 0


async def test_one_worker_needs_no_database(tmp_path: Path) -> None:
    with workers(tmp_path, 2, 1) as (one,):
        assert [await one.take("ann") for _ in range(3)] == [0, 0, 1800]
        assert one.wait_for("ann") == 1800
    assert not (tmp_path / "allowances.db").exists()


def test_the_database_is_bounded_and_tells_nobody_who_writes(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "allowances.db", most_keys=100)
    for n in range(allowance.CLEAN_EVERY):
        assert ledger.draw(str(n).encode(), 1 + n / 1000, 1e9, 10, 1.0, 0.0) == (1 + n / 1000, 0)
    assert ledger.count() == 100
    assert ledger.draw(b"999", 9, 1e9, 10, 1.0, 0.0)[1] > 0, "those that are used most are kept"
    for _ in range(allowance.CLEAN_EVERY):
        ledger.draw(b"x", 0.001, 1e9, 10, 1.0, 100.0)
    assert ledger.count() == 1
    ledger.close()


async def test_most_questions_ask_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = 0
    draw = Ledger.draw

    def counted(self: Ledger, *given: float | bytes) -> tuple[float, float]:
        nonlocal drawn
        drawn += 1
        return draw(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "draw", counted)
    with workers(tmp_path, 1000) as (one, *_):
        for _ in range(1000):
            assert await one.take("ann") == 0
        for _ in range(1000):
            assert await one.take("ann") > 0
    assert drawn < 200
