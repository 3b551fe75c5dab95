"""What holds for SQLite alone: one connection per file, the lock, adoption, the shared file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from gateway.message import Traits
from gateway.spool import sqlite_fresh, sqlite_group
from gateway.spool.api import QueueFilter, SpoolError, SpoolUnusable, State
from gateway.spool.durable import DurableSpool
from gateway.spool.jobs import Packed
from gateway.spool.open import open_spool, spool_workers
from gateway.spool.options import SpoolOptions
from gateway.spool.rows import Row
from gateway.spool.sqlite import PAGE_BYTES, SqliteStore
from tests.gateway.spool.builders import LANE, Clock, Maker, submit_all

ALL = QueueFilter()


async def opened(folder: Path, clock: Clock, worker: int = 0, **options: object) -> DurableSpool:
    options.setdefault("open_timeout_s", 0.2)
    return await open_spool(f"sqlite:///{folder}", Path("/"), worker, clock, SpoolOptions(**options))  # type: ignore[arg-type]  # by name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


async def test_the_folder_is_private(folder: Path, clock: Clock) -> None:
    os.mkdir(folder, 0o755)
    async with await opened(folder, clock):
        for path in (folder, folder / "content"):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o700


async def test_a_relative_url_starts_at_the_base(tmp_path: Path, clock: Clock) -> None:
    async with await open_spool("sqlite:///here", tmp_path, 3, clock):
        assert (tmp_path / "here" / "worker-3.db").exists()
    assert spool_workers("sqlite:///here", tmp_path) == [3]


@pytest.mark.parametrize("url", ["", "sqlite:", "sqlite:///", "mysql://x", "/var/spool"])
async def test_a_url_that_is_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="is not a spool"):
        await open_spool(url, tmp_path)


async def test_exactly_one_connection_per_file(folder: Path, clock: Clock, maker: Maker) -> None:
    async with await opened(folder, clock) as spool:
        writer = spool.content()
        writer.write(b"x" * 600_000)
        await spool.accept(maker.message(content=await writer.finish(Traits(True, False))))
        await asyncio.gather(*(spool.accept(maker.message()) for _ in range(50)))
        await asyncio.gather(spool.due(clock()), spool.stats(), spool.trace(text="a"), spool.rows(ALL, 10))
        await spool.backup(folder / "copy")
        held = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_link(fd)]
        assert held.count(str(folder / "worker-0.db")) == 1
        assert held.count(str(folder / "worker-0.db-wal")) == 1
        # No shared-memory file: nobody could join even by mistake.
        assert not (folder / "worker-0.db-shm").exists()

        def modes(store: object) -> list[object]:
            assert isinstance(store, SqliteStore)
            run = store.connection.exec_driver_sql
            return [run(f"PRAGMA {p}").scalar() for p in ("locking_mode", "journal_mode", "synchronous")]

        assert await spool._work(modes) == ["exclusive", "wal", 2]
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite3.connect(folder / "worker-0.db", timeout=0).execute("SELECT * FROM messages")


def _is_link(fd: str) -> bool:
    try:
        os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False
    return True


async def test_the_shared_file_has_no_write_ahead_log(folder: Path, clock: Clock) -> None:
    async with await opened(folder, clock) as one, await opened(folder, clock, 1) as two:
        await one.lane_down(LANE, clock() + 60, None)
        assert await two.lanes_down() == {LANE: clock() + 60}
        mode = await one._shared(lambda store: store.connection.exec_driver_sql("PRAGMA journal_mode").scalar())
        assert mode == "truncate"
        assert not (folder / "shared.db-wal").exists()


async def test_a_file_in_use_is_refused_in_words(folder: Path, clock: Clock) -> None:
    async with await opened(folder, clock):
        with pytest.raises(SpoolUnusable, match=r"worker-0\.db is in use by another process"):
            await opened(folder, clock)


async def test_a_file_that_somebody_opened_by_hand_is_refused_in_words(folder: Path, clock: Clock) -> None:
    await (await opened(folder, clock)).close()
    stranger = sqlite3.connect(folder / "worker-0.db", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolUnusable, match="held by another process"):
        await opened(folder, clock)
    stranger.close()
    await (await opened(folder, clock)).close()


async def test_a_damaged_file_is_refused_in_words(folder: Path, clock: Clock) -> None:
    os.mkdir(folder, 0o700)
    (folder / "worker-0.db").write_bytes(b"no database " * 1000)
    with pytest.raises(SpoolUnusable, match="damaged"):
        await opened(folder, clock)


async def test_a_failed_open_lets_go(folder: Path, clock: Clock) -> None:
    os.mkdir(folder, 0o700)
    (folder / "shared.db").write_bytes(b"no database " * 1000)
    with pytest.raises(SpoolUnusable):
        await opened(folder, clock)
    (folder / "shared.db").unlink()
    await (await opened(folder, clock)).close()


async def test_the_log_is_bounded(folder: Path, clock: Clock, maker: Maker) -> None:
    async with await opened(folder, clock, wal_pages=500) as spool:
        for _ in range(20):
            messages = [maker.message(body=b"x" * 20_000) for _ in range(50)]
            await asyncio.gather(*(spool.accept(m) for m in messages))
            await spool.settle([maker.done(m.deliveries[0].id) for m in messages])
        # One group may go beyond the limit; the next one begins the log anew.
        assert (folder / "worker-0.db-wal").stat().st_size < 2 * 500 * PAGE_BYTES
        assert (folder / "worker-0.db").stat().st_size < 8 * 1024 * 1024


async def test_a_dead_workers_file_is_adopted_whole(folder: Path, clock: Clock) -> None:
    dead, maker = await opened(folder, clock, 1, keep_delivered_s=1e9), Maker(clock, 1)
    messages = [maker.message(2, dedupe_key=f"k{i}") for i in range(120)]
    await asyncio.gather(*(dead.accept(m) for m in messages))
    writer = dead.content()
    writer.write(b"y" * 700_000)
    large = maker.message(content=await writer.finish(Traits(True, False)))
    await dead.accept(large)
    kept = maker.message()
    await dead.accept(kept)
    await dead.settle([maker.done(kept.deliveries[0].id)])
    await dead.close()

    async with await opened(folder, clock, 0, keep_delivered_s=1e9) as spool:
        assert await spool.adopt_orphans({1}) == 0
        assert await spool.adopt_orphans(()) == 121
        assert not (folder / "worker-1.db").exists()
        assert [(d.lane, d.due) for d in await spool.due(clock())] == [(LANE, 241)]
        assert await spool.adopt_orphans(()) == 0
        stored = await spool.load(large.id)
        assert stored is not None
        assert b"".join(stored.content.chunks()) == b"y" * 700_000
        assert await spool.load_kept(kept.id) is not None
        assert [e.kind for e in await spool.trace(message_id=kept.id)] == ["accepted", "delivered"]
        assert await spool.accept(Maker(clock, 5).message(dedupe_key="k7")) is not None
        assert await spool.fsck() == []
        # The dead worker comes back, sweeps what is its own, and harms nobody.
        async with await opened(folder, clock, 1) as again:
            assert await again.rows(ALL, 1) == []
        assert await spool.fsck() == []
    async with await opened(folder, clock, 0) as spool:
        stored = await spool.load(large.id)
        assert stored is not None
        assert b"".join(stored.content.chunks()) == b"y" * 700_000


async def test_a_live_workers_file_is_not_adopted(folder: Path, clock: Clock) -> None:
    async with await opened(folder, clock, 1) as live, await opened(folder, clock, 0) as spool:
        await live.accept(Maker(clock, 1).message())
        assert await spool.adopt_orphans(()) == 0
        assert len(await live.rows(ALL, 10)) == 1


_KILLED_WORKER = """
import asyncio, os, signal, sys, time
from pathlib import Path
from gateway.spool.open import open_spool
from tests.gateway.spool.builders import Clock, Maker
async def main():
    clock = Clock()
    spool = await open_spool(sys.argv[1], Path("/"), 1, clock)
    maker = Maker(clock, 1)
    await asyncio.gather(*(spool.accept(maker.message()) for _ in range(30)))
    assert await spool.hold_singleton("inbox")
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""


async def test_a_killed_workers_file_and_leases(folder: Path, clock: Clock) -> None:
    async with await opened(folder, clock, 0) as spool:
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", _KILLED_WORKER, f"sqlite:///{folder}"], check=False
        )
        assert done.returncode == -9
        assert await spool.adopt_orphans({0}) == 30
        assert not await spool.hold_singleton("inbox")
        clock.now += 21
        assert await spool.hold_singleton("inbox")
        # And the same worker, restarted, need not wait for its own lease.
        assert not (await spool.rows(QueueFilter(state=State.HELD), 1))


async def test_orphaned_contents_are_swept_at_the_start(folder: Path, clock: Clock, maker: Maker) -> None:
    spool = await opened(folder, clock)
    writer = spool.content()
    writer.write(b"z" * 700_000)
    message = maker.message(content=await writer.finish(Traits(True, False)))
    await spool.accept(message)
    left = [spool.content() for _ in range(2)]
    for one in left:
        one.write(b"z" * 700_000)
    await left[0].finish()
    await left[1].drain()
    await spool.close()

    def files() -> list[Path]:
        return [p for p in (folder / "content").rglob("*") if p.is_file()]

    assert len(files()) == 3
    async with await opened(folder, clock) as spool:
        assert len(files()) == 1
        stored = await spool.load(message.id)
        assert stored is not None
        assert b"".join(stored.content.chunks()) == b"z" * 700_000


async def test_a_failed_sync_leaves_no_refused_message_behind(
    folder: Path, clock: Clock, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fsync the log may hold the commit all the same: the file is opened anew and the message,
    whose peer was told to try again, taken back."""
    async with await opened(folder, clock) as spool:
        good = maker.message()
        await spool.accept(good)
        store = spool._store
        assert isinstance(store, SqliteStore)
        commit = sqlite_group.commit

        def commit_and_fail(
            raw: sqlite3.Connection, packed: Sequence[Packed], taken: Sequence[Row], done: Sequence[Row], me: int
        ) -> None:
            commit(raw, packed, taken, done, me)
            monkeypatch.setattr(sqlite_group, "commit", commit)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error

        monkeypatch.setattr(sqlite_group, "commit", commit_and_fail)
        refused = maker.message()
        with pytest.raises(SpoolError) as error:
            await spool.accept(refused)
        assert error.value.status.code == "4.3.0"
        assert await spool.load(refused.id) is None
        assert [e.kind for e in await spool.trace(message_id=refused.id)] == ["accepted", "dropped"]
        await spool.accept(maker.message())
        await spool.settle([maker.done(good.deliveries[0].id)])


def test_a_delay_shorter_than_the_loops_timer_can_tell(folder: Path, clock: Clock) -> None:
    """uvloop counts in whole milliseconds and makes of a shorter delay something that is no timer."""

    async def accept_many() -> None:
        async with await opened(folder, clock, accept_gap_s=0.0003, settle_delay_s=0.0003) as spool:
            maker = Maker(clock)
            for _ in range(3):
                await asyncio.gather(*(spool.accept(maker.message()) for _ in range(20)))

    uvloop.run(accept_many())


async def test_many_outcomes_are_one_statement(folder: Path, clock: Clock, maker: Maker) -> None:
    async with await opened(folder, clock) as spool:
        messages = [maker.message() for _ in range(sqlite_group.MOST_ROWS + 20)]
        await asyncio.gather(*(spool.accept(m) for m in messages))
        gone = messages[7]
        await spool.drop(QueueFilter(message_id=gone.id), "by hand")
        raw = spool._store._raw  # type: ignore[attr-defined]  # SQLite's
        seen: set[str] = set()
        raw.set_trace_callback(lambda sql: seen.add(sql.lstrip()[:22]))
        await spool.settle([maker.done(m.deliveries[0].id) for m in messages])
        raw.set_trace_callback(None)
        assert {sql for sql in seen if not sql.startswith(("BEGIN", "COMMIT", "PRAGMA"))} == {"INSERT INTO one_group "}
        assert await spool.rows(ALL, 10) == []
        assert await spool.load(messages[0].id) is None
        late = [(await spool.trace(message_id=m.id))[-1].detail.get("late", False) for m in (gone, messages[8])]
        assert late == [True, False]


async def test_many_messages_are_one_statement_and_written_as_any_other(
    folder: Path, clock: Clock, maker: Maker, tmp_path: Path
) -> None:
    """A group of which some have two recipients goes table by table, and must come to the same."""
    messages = [maker.message(body=f"{n}\r\n".encode(), priority=n % 3) for n in range(sqlite_fresh.MOST // 4 + 3)]
    messages[5] = replace(messages[5], deliveries=(replace(messages[5].deliveries[0], orcpt=None, at_once=False),))
    found = []
    for each, others in ((folder, []), (tmp_path / "other", [maker.message(recipients=2)])):
        async with await opened(each, clock) as spool:
            raw = spool._store._raw  # type: ignore[attr-defined]  # SQLite's
            seen: list[str] = []
            raw.set_trace_callback(lambda sql, seen=seen: seen.append(sql.lstrip()[:18]))
            await asyncio.gather(*submit_all(spool, [*messages, *others]))
            raw.set_trace_callback(None)
            assert ("INSERT INTO fresh " in seen) is (not others)
            assert any(sql.startswith("BEGIN") for sql in seen) is bool(others)
            assert spool._store.figures.commits == 1
            for other in others:
                await spool.drop(QueueFilter(message_id=other.id), "by hand")
            tables = [
                raw.execute(f"SELECT * FROM {table} WHERE {id} <= ? ORDER BY {id}", (messages[-1].id,)).fetchall()
                for table, id in (("messages", "id"), ("deliveries", "message_id"), ("trace", "message_id"))
            ]
            found.append([[row[:1] + row[2:] if len(row) == 6 else row for row in table] for table in tables])
    assert found[0] == found[1], "but for a trace row's place"
    assert [len(table) for table in found[0]] == [len(messages)] * 3


@pytest.mark.parametrize("beside", [0, 1], ids=["alone", "with an outcome"])
async def test_one_of_many_that_cannot_be_stored_fails_alone(
    folder: Path, clock: Clock, maker: Maker, beside: int
) -> None:
    async with await opened(folder, clock) as spool:
        first, over = maker.message(), maker.message()
        await spool.accept(first)
        await spool.accept(over)
        messages = [maker.message() for _ in range(60)]
        messages[7] = replace(messages[7], id=first.id)  # which is taken
        messages[9] = replace(messages[9], envelope=replace(messages[9].envelope, dedupe_key="a key"))
        told = submit_all(spool, messages)
        if beside:
            told.append(spool.submit_settlements([maker.done(over.deliveries[0].id)]))  # type: ignore[arg-type]
        said = await asyncio.gather(*told, return_exceptions=True)
        assert [n for n, each in enumerate(said) if each is not None] == [7]
        assert isinstance(said[7], sqlite3.IntegrityError)
        assert len(await spool.rows(ALL, 100)) == 61 - beside


async def test_a_claim_of_many_takes_few_steps(folder: Path, clock: Clock, maker: Maker) -> None:
    """Each row that a statement gives by itself is a step, around which the interpreter's lock is fought for."""
    async with await opened(folder, clock) as spool:
        messages = [maker.message() for _ in range(60)]
        await asyncio.gather(*(spool.accept(m) for m in messages))
        await spool.give_back([m.deliveries[0].id for m in messages])
        store = spool._store
        assert isinstance(store, SqliteStore)
        run = store.run
        rows: list[Row] = []

        class Counting:
            def __init__(self, cursor: sqlite3.Cursor) -> None:
                self._cursor = cursor
                self.fetchone, self.rowcount = cursor.fetchone, cursor.rowcount

            def fetchall(self) -> list[Row]:
                found = self._cursor.fetchall()
                rows.extend(found)
                return found

        store.run = lambda sql, arguments: Counting(run(sql, arguments))  # type: ignore[method-assign]
        claims = await spool.claim(LANE, 50, clock())
        assert len(claims) == 50
        assert not rows
        assert [c.message.content.octets() for c in claims] == [m.content.octets() for m in messages[:50]]
