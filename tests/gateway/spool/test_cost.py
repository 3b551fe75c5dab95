"""What a message costs the spool: statements, commits and writes of its content, counted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.spool.api import QueueFilter
from gateway.spool.open import open_spool
from gateway.spool.options import SpoolOptions
from gateway.spool.postgres import PostgresStore
from gateway.spool.sqlite import SqliteStore
from tests.gateway.spool.builders import Clock, Maker

GROUP = 20
"""As many as the benchmark has sessions; they come together, as under load."""


async def test_a_group_costs_one_statement(tmp_path: Path, clock: Clock) -> None:
    spool = await open_spool(f"sqlite:///{tmp_path}/spool", Path("/"), 0, clock, SpoolOptions())
    async with spool:
        store = spool._store
        assert isinstance(store, SqliteStore)
        assert store._raw is not None
        maker = Maker(clock)
        messages = [maker.message() for _ in range(GROUP)]
        await spool.accept(maker.message())
        store.tick()
        seen: set[str] = set()
        before = store.figures.commits
        # What the trigger does is told under its statement's name too.
        store._raw.set_trace_callback(lambda sql: seen.add(sql[:22]))
        await asyncio.gather(*(spool.accept(m) for m in messages))
        await spool.settle([maker.done(m.deliveries[0].id) for m in messages])
        store._raw.set_trace_callback(None)
        # No BEGIN, no COMMIT: the statement is its own transaction. A lone accept may go ahead of the group.
        assert seen == {"INSERT INTO one_group "}
        assert store.figures.commits - before <= 3
        assert len(await spool.rows(QueueFilter(), 50)) == 1


async def test_a_group_costs_one_round_trip(postgres_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = await open_spool(postgres_url, Path("/"), 0, clock, SpoolOptions())
    async with spool:
        store = spool._store
        assert isinstance(store, PostgresStore)
        wire = store._wire
        assert wire is not None
        run, trips = wire.run, []

        def counted(calls: list[tuple[str, list[bytes]]]) -> object:
            trips.append([name for name, _ in calls])
            return run(calls)

        monkeypatch.setattr(wire, "run", counted)
        maker = Maker(clock)
        messages = [maker.message() for _ in range(GROUP)]
        await asyncio.gather(*(spool.accept(m) for m in messages))
        assert len(trips) <= 2
        assert {tuple(trip) for trip in trips} == {("alive", "messages", "deliveries", "trace")}
        trips.clear()
        await spool.settle([maker.done(m.deliveries[0].id) for m in messages])
        assert trips == [["alive", "lock_shared", "done", "leave"]]


async def test_a_content_is_written_once_and_never_read_back(tmp_path: Path, clock: Clock) -> None:
    """In the good case: it goes into the row, and leaves with it."""
    spool = await open_spool(f"sqlite:///{tmp_path}/spool", Path("/"), 0, clock, SpoolOptions())
    async with spool:
        store = spool._store
        assert isinstance(store, SqliteStore)
        assert store._raw is not None
        maker = Maker(clock)
        message = maker.message()
        read: list[str] = []
        store._raw.set_trace_callback(lambda sql: read.append(sql) if sql.lstrip().startswith("SELECT") else None)
        await spool.accept(message)
        await spool.settle([maker.done(message.deliveries[0].id)])
        store._raw.set_trace_callback(None)
    assert not read
