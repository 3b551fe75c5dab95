"""Store: the connector's own small state, in one SQLite file that one thread of one process writes.

Group commit: while a group waits for the disk, what comes gathers for the next one. A job is done in a savepoint of
its own, so that one that fails takes nothing along; a Stage gathers its changes itself, and writes those of a whole
group by a few statements, for a thread that is beside a busy event loop loses its turn with every statement.

Promises: what a future of here says is done is on the disk (WAL, `synchronous=FULL`). Where a commit fails (the disk
is full, or broken), nothing of its group is kept, all who wait are told by StoreFault, and every Stage is put back to
what the file holds; what is asked for after that is tried anew. The file has exactly one connection, held under an
exclusive lock: SQLite before 3.51.3 can lose pages of a WAL that two connections write, and a second process would
not see what the first has in memory.

Known limit: a disk that fails to sync and says at the next try that all is well has lost what it lost.
Source: https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_locking_mode
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Generic, Protocol, TypeVar

T = TypeVar("T")

Change = Callable[[sqlite3.Connection], None]
Restore = Callable[[], None]

LOCK_S: Final = 10.0
"""So long a file is waited for that another process holds: the last holder of a lease may still be on its way out."""
VERSION: Final = 1
"""Of the tables, as `user_version` of the file."""
_RELOAD_S: Final = 1.0
_PRAGMAS: Final = (
    "locking_mode = EXCLUSIVE",  # before the WAL is looked at, so that no other process ever shares it
    "journal_mode = WAL",
    "synchronous = FULL",
    "journal_size_limit = 8388608",
)
_MENDS: Final = {
    "SQLITE_FULL": "its disk is full; make room there",
    "SQLITE_READONLY": "it may not be written; mend its owner or mode, or the mount",
    "SQLITE_CANTOPEN": "it cannot be opened; mend the owner or mode of its folder",
    "SQLITE_BUSY": "another process holds it; only one gateway may use one folder of state",
    "SQLITE_CORRUPT": "it is damaged; check the disk, and move the file away to begin anew",
    "SQLITE_NOTADB": "it is no database of SQLite; move it away",
    "SQLITE_IOERR": "its disk does not read or write as it should; look into the system's log",
}


class StoreFault(OSError):
    """Nothing of what was asked for is kept. The text names the file, what is wrong and its mend."""


class Stage(Protocol):
    """State in memory that is written by the group: its owner changes it, calls `touch`, and is asked for the rest."""

    def take(self) -> Change:
        """Give what writes all that was changed since the last call. Called in the loop."""
        ...

    def load(self, connection: sqlite3.Connection) -> Restore:
        """Read what the file holds. Called in the thread; what it gives is called in the loop, and puts the state
        back to that, whatever was changed since."""
        ...


@dataclass(slots=True)
class _Job(Generic[T]):
    run: Callable[[sqlite3.Connection], T]
    future: asyncio.Future[T]
    value: T | None = None
    error: Exception | None = None

    def resolve(self, error: Exception | None) -> None:
        fault = error or self.error
        if self.future.done():
            return
        if fault is None:
            self.future.set_result(self.value)  # type: ignore[arg-type]
        else:
            _fail(self.future, fault)


@dataclass(slots=True)
class _Group:
    """What is committed together. The thread fills in how that went."""

    jobs: list[_Job[Any]] = field(default_factory=list)
    stages: dict[Stage, None] = field(default_factory=dict)
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    reload: list[Stage] = field(default_factory=list)
    restores: list[tuple[Stage, Restore]] = field(default_factory=list)
    error: Exception | None = None

    def __bool__(self) -> bool:
        return bool(self.jobs or self.stages or self.reload)


class Store:
    """One file. All methods are called in the event loop in which it was opened."""

    def __init__(self, path: Path, *, lock_s: float = LOCK_S) -> None:
        self.path = path
        self.trouble: str | None = None
        """Why the last group was not committed; None while all is well."""
        self.commits = 0
        self._lock_s = lock_s
        self._loop = asyncio.get_running_loop()
        self._groups: SimpleQueue[_Group | None] = SimpleQueue()
        self._next = _Group()
        self._busy = self._posting = self._closed = False
        self._stale: dict[Stage, None] = {}
        """Stages that could not be put back yet: they take nothing."""
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._connection: sqlite3.Connection | None = None
        self._thread = threading.Thread(target=self._main, name=f"mqtt-{path.stem}", daemon=True)

    @classmethod
    async def open(cls, path: Path, *, lock_s: float = LOCK_S) -> Store:
        """Open the file, or make it and its folders. Raises: StoreFault."""
        store = cls(path, lock_s=lock_s)
        store._thread.start()
        await asyncio.shield(store._opened)
        return store

    async def close(self) -> None:
        """Commit what waits, and let go of the file. Safe to call twice."""
        if not self._closed:
            self._closed = True
            if not self._busy:
                self._finish_posting()
        await asyncio.shield(self._ended)

    async def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Do a job in the thread; what it wrote is durable when this returns.

        It may be done a second time after a fault, so it does nothing but SQL, and neither commits nor rolls back.
        Raises: StoreFault; what the job raises, which takes back what it wrote and nothing else.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        if self._closed:
            raise self._over()
        self._next.jobs.append(_Job(job, future))
        self._schedule()
        return await future

    def touch(self, stage: Stage) -> asyncio.Future[None]:
        """Say that a stage was changed; the future is done once that is durable, or fails with a StoreFault."""
        future: asyncio.Future[None] = self._loop.create_future()
        if self._closed or stage in self._stale:
            _fail(future, self._over() if self._closed else StoreFault(self.trouble or f"{self.path} cannot be read"))
            return future
        group = self._next
        group.stages[stage] = None
        group.waiting.append(future)
        self._schedule()
        return future

    # -- in the loop

    def _over(self) -> StoreFault:
        return StoreFault(f"{self.path} is closed")

    def _schedule(self) -> None:
        # In the next turn of the loop, so that what comes in this one is of the same group.
        if not self._busy and not self._posting:
            self._posting = True
            self._loop.call_soon(self._post)

    def _post(self) -> None:
        self._posting = False
        if self._busy or not self._next:
            return
        group, self._next = self._next, _Group()
        group.changes = [stage.take() for stage in group.stages]
        self._busy = True
        self._groups.put(group)

    def _finish_posting(self) -> None:
        """Hand over the last group, and the word that it is the last."""
        self._post()
        if not self._busy:
            self._groups.put(None)

    def _resolve(self, group: _Group) -> None:
        self._busy = False
        if group.error is not None:
            self.trouble = str(group.error)
            self._put_back(group)
        elif group.jobs or group.changes:
            self.commits += 1
            self.trouble = None
        self._take_restores(group)
        for job in group.jobs:
            job.resolve(group.error)
        for future in group.waiting:
            if not future.done():
                if group.error is None:
                    future.set_result(None)
                else:
                    _fail(future, group.error)
        if self._closed:
            self._finish_posting()
        elif self._next:
            self._post()

    def _put_back(self, group: _Group) -> None:
        """Give up the changes that gathered meanwhile: they were made on top of those that were lost."""
        gathered = self._next
        self._stale.update(group.stages)
        self._stale.update(gathered.stages)
        lost, gathered.waiting = gathered.waiting, []
        gathered.stages.clear()
        for future in lost:
            if not future.done():
                assert group.error is not None
                _fail(future, group.error)
        if self._stale and not group.reload:
            gathered.reload = list(self._stale)

    def _take_restores(self, group: _Group) -> None:
        for stage, restore in group.restores:
            restore()
            self._stale.pop(stage, None)
        if group.reload and self._stale and not self._closed:
            self._loop.call_later(_RELOAD_S, self._reload)

    def _reload(self) -> None:
        if not self._closed and self._stale:
            self._next.reload = list(self._stale)
            self._schedule()

    # -- in the thread

    def _main(self) -> None:
        try:
            self._connect()
        except Exception as error:  # noqa: BLE001  # handed on to the caller of open()
            self._disconnect()
            self._call(_fail, self._opened, self._fault(error))
            self._call(_done, self._ended)
            return
        self._call(_done, self._opened)
        while (group := self._groups.get()) is not None:
            self._serve(group)
            self._call(self._resolve, group)
        self._disconnect()
        self._call(_done, self._ended)

    def _serve(self, group: _Group) -> None:
        try:
            connection = self._connection or self._connect()
            for stage in group.reload:
                group.restores.append((stage, stage.load(connection)))
            if group.jobs or group.changes:
                self._commit(connection, group)
        except Exception as error:  # noqa: BLE001  # told to all who wait
            group.error = self._fault(error)
            self._roll_back()

    def _commit(self, connection: sqlite3.Connection, group: _Group) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for job in group.jobs:
            self._do(connection, job)
        for change in group.changes:
            change(connection)
        connection.execute("COMMIT")

    def _do(self, connection: sqlite3.Connection, job: _Job[Any]) -> None:
        connection.execute("SAVEPOINT job")
        try:
            job.value = job.run(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise  # SQLite has rolled all of it back: the disk is full, or worse
            connection.execute("ROLLBACK TO job")
            job.error = self._fault(error)
        connection.execute("RELEASE job")

    def _roll_back(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()  # the next group begins with a new one

    def _connect(self) -> sqlite3.Connection:
        _make_folders(self.path.parent)
        # Made with its mode: SQLite gives the same to the WAL beside it.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self.path, timeout=self._lock_s, isolation_level=None)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN IMMEDIATE")  # the lock is held from here on
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise StoreFault(f"{self.path} was written by a later release; use that one, or move the file away")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _fault(self, error: Exception) -> Exception:
        """Say a fault of the file's in words; any other is as it is."""
        if isinstance(error, StoreFault) or not isinstance(error, OSError | sqlite3.Error):
            return error
        name = getattr(error, "sqlite_errorname", "") or ""
        mend = next((text for code, text in _MENDS.items() if name.startswith(code)), None)
        if mend is None and isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.OperationalError):
            return error  # a statement that is wrong
        return StoreFault(f"{self.path} cannot be used: {mend or error}")

    def _call(self, function: Callable[..., object], *args: object) -> None:
        # A loop that is closed has nobody who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *args)


def _make_folders(folder: Path) -> None:
    """Make a folder that outlives a power cut: each new name is synced in the folder that holds it."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(each.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # who does not ask need not be told in the log


def _done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def create(statements: Iterable[str]) -> Change:
    """Give the job that makes tables, each by a statement that does nothing where it is there."""

    def job(connection: sqlite3.Connection) -> None:
        for statement in statements:
            connection.execute(statement)

    return job
