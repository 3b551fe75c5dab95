"""The store: what it says is kept is kept, a fault is told to whom it concerns, and one process has the file."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from connectors.mqtt.store import VERSION, Change, Restore, Store, StoreFault, create
from tests.peers.gateway import SmallDisk

TABLE = "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, text TEXT)"


class Numbers:
    """A Stage: numbers and texts, written by the group."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.kept: dict[int, str] = {}
        self.fresh: dict[int, str] = {}

    def add(self, n: int, text: str = "") -> asyncio.Future[None]:
        self.kept[n] = self.fresh[n] = text
        return self.store.touch(self)

    def take(self) -> Change:
        fresh, self.fresh = self.fresh, {}
        return lambda connection: insert(connection, fresh)

    def load(self, connection: sqlite3.Connection) -> Restore:
        rows = dict(connection.execute("SELECT n, text FROM t").fetchall())

        def restore() -> None:
            self.kept, self.fresh = rows, {}

        return restore


def insert(connection: sqlite3.Connection, rows: dict[int, str]) -> None:
    for row in rows.items():
        connection.execute("INSERT INTO t VALUES (?, ?)", row)


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    store = await Store.open(path, lock_s=0.2)
    try:
        await store.write(create([TABLE]))
        yield store
    finally:
        await store.close()


def rows(path: Path) -> list[int]:
    connection = sqlite3.connect(path)
    try:
        return [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")]
    finally:
        connection.close()


def room(pages: int) -> Change:
    """Leave room for so many more pages, as a disk that fills up does."""

    def job(connection: sqlite3.Connection) -> None:
        (count,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {count + pages}")

    return job


def page_room(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA max_page_count = 1000000")


async def test_what_is_written_is_there_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "in.db"
    async with opened(path) as store:
        assert await store.write(lambda connection: connection.execute("SELECT 40 + 2").fetchone()[0]) == 42
        await store.write(lambda connection: insert(connection, {1: "x"}))
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    async with opened(path) as store:
        assert await store.write(lambda connection: connection.execute("SELECT n FROM t").fetchall()) == [(1,)]


async def test_what_waits_together_is_committed_together(tmp_path: Path) -> None:
    async with opened(tmp_path / "in.db") as store:
        before = store.commits
        numbers = Numbers(store)
        jobs = [store.write(lambda connection, n=n: insert(connection, {n: ""})) for n in range(300)]
        await asyncio.gather(*jobs, *(numbers.add(n) for n in range(1000, 2000)))
        assert store.commits - before <= 2
    assert len(rows(tmp_path / "in.db")) == 1300


async def test_a_job_that_fails_takes_nothing_along(tmp_path: Path) -> None:
    def half(connection: sqlite3.Connection) -> None:
        insert(connection, {7: "half"})
        raise KeyError("a fault of the job's own")

    async with opened(tmp_path / "in.db") as store:
        numbers = Numbers(store)
        results = await asyncio.gather(
            store.write(lambda connection: insert(connection, {1: ""})),
            store.write(half),
            store.write(lambda connection: insert(connection, {1: "twice"})),
            store.write(lambda connection: insert(connection, {2: ""})),
            numbers.add(3),
            return_exceptions=True,
        )
        assert [type(each) for each in results] == [
            type(None), KeyError, sqlite3.IntegrityError, type(None), type(None),
        ]  # fmt: skip
        assert store.trouble is None
    assert rows(tmp_path / "in.db") == [1, 2, 3]


async def test_who_does_not_wait_any_more_harms_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path / "in.db") as store:
        tasks = [
            asyncio.create_task(store.write(lambda connection, n=n: insert(connection, {n: ""}))) for n in range(20)
        ]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(each is None for each in results) == 10
    assert set(rows(tmp_path / "in.db")) >= set(range(1, 20, 2))


async def test_a_full_disk_is_told_and_puts_memory_back(tmp_path: Path) -> None:
    async with opened(tmp_path / "in.db") as store:
        numbers = Numbers(store)
        await numbers.add(1)
        await store.write(room(1))
        first = numbers.add(2, "x" * 100_000)
        await asyncio.sleep(0)  # it is on its way to the disk
        later = numbers.add(3)
        for future in (first, later):
            with pytest.raises(StoreFault, match=r"in\.db cannot be used: its disk is full; make room"):
                await future
        assert store.trouble is not None
        await store.write(lambda connection: None)
        assert numbers.kept == {1: ""}, "what was made on top of what is lost is lost too"
        await numbers.add(4)
        assert store.trouble is None
        with pytest.raises(StoreFault):
            await store.write(lambda connection: insert(connection, {5: "x" * 100_000}))
        await store.write(page_room)
        await numbers.add(5, "x" * 100_000)
    assert rows(tmp_path / "in.db") == [1, 4, 5]


async def test_a_stage_that_cannot_be_read_takes_nothing_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.mqtt.store._RELOAD_S", 0.05)
    async with opened(tmp_path / "in.db") as store:
        numbers = Numbers(store)
        await numbers.add(1)
        real, broken = numbers.load, [True]

        def load(connection: sqlite3.Connection) -> Restore:
            if broken[0]:
                raise sqlite3.OperationalError("disk I/O error")
            return real(connection)

        monkeypatch.setattr(numbers, "load", load)
        await store.write(room(1))
        with pytest.raises(StoreFault):
            await numbers.add(2, "x" * 100_000)
        with pytest.raises(StoreFault):
            await numbers.add(3)
        await asyncio.sleep(0.1)
        with pytest.raises(StoreFault):
            await numbers.add(4)
        broken[0] = False
        await asyncio.sleep(0.3)
        assert numbers.kept == {1: ""}
        await numbers.add(5)
        assert numbers.kept == {1: "", 5: ""}
    assert rows(tmp_path / "in.db") == [1, 5]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with SmallDisk(tmp_path / "disk", 1) as folder:
        yield folder


async def test_a_real_disk_that_others_fill(small: Path) -> None:
    async with opened(small / "in.db") as store:
        numbers = Numbers(store)
        await numbers.add(0, "x" * 50_000)
        with (small / "stuffing").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        results = await asyncio.gather(*(numbers.add(n, "x" * 50_000) for n in range(1, 9)), return_exceptions=True)
        assert all(isinstance(each, StoreFault) and "full" in str(each) for each in results)
        (small / "stuffing").unlink()
        await store.write(lambda connection: None)
        await numbers.add(9)
        assert sorted(numbers.kept) == [0, 9]
        assert store.trouble is None
        kept = await store.write(lambda connection: connection.execute("SELECT n FROM t").fetchall())
    assert kept == [(0,), (9,)]
    assert rows(small / "in.db") == [0, 9]


HOLDER = """
import asyncio, sys
from pathlib import Path
from connectors.mqtt.store import Store

async def main():
    store = await Store.open(Path(sys.argv[1]))
    print("held", flush=True)
    sys.stdin.read(1)
    await store.close()

asyncio.run(main())
"""


async def test_a_file_that_another_process_holds(tmp_path: Path) -> None:
    path = tmp_path / "in.db"
    pipe = asyncio.subprocess.PIPE
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, path, stdin=pipe, stdout=pipe)
    assert other.stdout is not None
    assert other.stdin is not None
    assert await other.stdout.readline() == b"held\n"
    with pytest.raises(StoreFault, match="another process holds it"):
        await Store.open(path, lock_s=0.1)
    waiting = asyncio.create_task(Store.open(path, lock_s=10))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    other.stdin.write(b"x")
    await other.wait()
    await (await waiting).close()


async def test_one_process_cannot_open_a_file_twice(tmp_path: Path) -> None:
    async with opened(tmp_path / "in.db"):
        with pytest.raises(StoreFault, match="another process holds it"):
            await Store.open(tmp_path / "in.db", lock_s=0.1)


async def test_files_that_are_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "in.db"
    path.write_bytes(b"this is no database of any kind\n" * 100)
    with pytest.raises(StoreFault, match="no database of SQLite; move it away"):
        await Store.open(path)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StoreFault, match="written by a later release"):
        await Store.open(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFault, match="cannot be used"):
        await Store.open(tmp_path / "file" / "in.db")


async def test_closing_commits_what_waits_and_takes_no_more(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "in.db")
    await store.write(create([TABLE]))
    numbers = Numbers(store)
    futures = [numbers.add(n) for n in range(50)]
    await asyncio.sleep(0)
    futures += [numbers.add(n) for n in range(50, 60)]
    await store.close()
    await store.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(StoreFault, match="is closed"):
        await store.write(lambda connection: None)
    with pytest.raises(StoreFault, match="is closed"):
        await numbers.add(99)
    assert rows(tmp_path / "in.db") == list(range(60))
    assert os.listdir(tmp_path) == ["in.db"], "no WAL is left behind"
