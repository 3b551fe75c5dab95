"""Adoption: a live worker takes over the whole spool file of one that is gone.

The dead worker's lock is taken first and kept to the end, so nobody else can open its file meanwhile. Rows move
in bites: committed here, then removed there. A crash between the two leaves a bite in both files, so at most
that many messages are sent twice, and none is lost. A content file gets a second name of the adopter's before
its row is committed, so that each spool sweeps its own names only.
"""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any, Final, Protocol

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from gateway.process_lock import lock_file
from gateway.spool.api import SpoolUnusable
from gateway.spool.migrations import check_or_create
from gateway.spool.schema import metadata
from gateway.spool.sqlite import SqliteStore, worker_pragmas
from gateway.spool.store import Store
from gateway.sqlite_engine import open_engine

_FILE: Final = re.compile(r"worker-(\d+)\.db")
_MESSAGES: Final = 50
_ROWS: Final = 1000


class Work(Protocol):
    def __call__(self, run: Callable[[Store], int]) -> Awaitable[int]: ...


async def adopt_all(store: SqliteStore, work: Work, live: Collection[int]) -> int:
    """Adopt every worker's file that is not of `live` and whose lock is free; returns how many messages came."""
    adopted = 0
    for path in sorted(store.folder.glob("worker-*.db")):
        found = _FILE.fullmatch(path.name)
        if found is None or int(found[1]) in live:
            continue
        try:
            lock = lock_file(store.folder / f"worker-{found[1]}.lock")
        except BlockingIOError:
            continue  # it runs
        try:
            adopted += await _adopt(_Orphan(store, int(found[1])), work)
        finally:
            os.close(lock)
    return adopted


async def _adopt(orphan: _Orphan, work: Work) -> int:
    await asyncio.to_thread(orphan.open)
    adopted = 0
    try:
        while moved := await work(orphan.move_messages):
            adopted += moved
        for table in ("trace", "dedupe", "kept"):
            while await work(lambda _, table=table: orphan.move_rows(table)):  # type: ignore[misc]  # mypy: a default in a lambda
                pass
    except BaseException:
        await asyncio.to_thread(orphan.close)
        raise
    await asyncio.to_thread(orphan.remove)
    return adopted


class _Orphan:
    """A dead worker's file. `open`, `close` and `remove` run in a thread, the moves in the adopter's writer."""

    def __init__(self, store: SqliteStore, worker: int) -> None:
        self._store = store
        self._path = store.folder / f"worker-{worker}.db"
        self._engine: Engine | None = None
        self._connection: Connection | None = None
        self._raw: sqlite3.Connection

    def open(self) -> None:
        options = self._store.options
        engine = open_engine(self._path, options.open_timeout_s, worker_pragmas(options))
        try:
            connection = engine.connect()
            check_or_create(connection, f"the orphaned spool {self._path}")
        except DBAPIError as error:
            engine.dispose()
            raise SpoolUnusable(f"the orphaned spool {self._path} cannot be opened: {error.orig}") from error
        except BaseException:
            engine.dispose()
            raise
        self._engine, self._connection = engine, connection
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        self._raw = raw

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._engine is not None:
            self._engine.dispose()

    def remove(self) -> None:
        """Remove the file, which is empty by now. What is left of its contents has a second name."""
        self.close()
        for end in ("", "-wal", "-shm", "-journal"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self._path}{end}")

    def move_messages(self, store: Store) -> int:
        """Move one bite of messages with their deliveries and traces; returns how many."""
        ids = [r[0] for r in self._raw.execute("SELECT id FROM messages ORDER BY id LIMIT ?", (_MESSAGES,))]
        if not ids:
            return 0
        marks = f"({', '.join('?' * len(ids))})"
        names = self._copy("messages", f"id IN {marks}", ids)
        for table in ("deliveries", "trace"):
            self._copy(table, f"message_id IN {marks}", ids)
        store.connection.exec_driver_sql(f"UPDATE deliveries SET lease = NULL WHERE message_id IN {marks}", tuple(ids))
        where = [("messages", f"id IN {marks}", ids)]
        where += [(table, f"message_id IN {marks}", ids) for table in ("deliveries", "trace")]
        store.aftermath.then.append(lambda: self._forget(where, names))
        return len(ids)

    def move_rows(self, table: str) -> int:
        """Move one bite of another table; returns how many rows."""
        key = ", ".join(c.name for c in metadata.tables[table].primary_key.columns)
        limit = _MESSAGES if table == "kept" else _ROWS
        rows = self._raw.execute(f"SELECT {key} FROM {table} ORDER BY {key} LIMIT ?", (limit,)).fetchall()
        if not rows:
            return 0
        where, last = f"({key}) <= ({', '.join('?' * len(rows[-1]))})", list(rows[-1])
        names = self._copy(table, where, last)
        self._store.aftermath.then.append(lambda: self._forget([(table, where, last)], names))
        return len(rows)

    def _copy(self, table: str, where: str, values: list[Any]) -> list[str]:
        """Copy rows into the adopter's open transaction; returns the old names of their content files."""
        columns = [c.name for c in metadata.tables[table].columns]
        at = columns.index("content_ref") if "content_ref" in columns else None
        insert = f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        names = []
        for row in self._raw.execute(f"SELECT {', '.join(columns)} FROM {table} WHERE {where}", values).fetchall():
            own = list(row)
            if at is not None and own[at] is not None:
                self._store.may_have_files = True
                path = self._store.content.path(own[at])
                names.append(path)
                with suppress(FileNotFoundError):  # missing there too: the check of the spool will tell
                    own[at] = self._store.content.adopt(path)
            self._store.connection.exec_driver_sql(insert, tuple(own))
        return names

    def _forget(self, where: list[tuple[str, str, list[Any]]], names: list[str]) -> None:
        """Remove what the adopter has committed."""
        self._raw.execute("BEGIN IMMEDIATE")
        for table, condition, values in where:
            self._raw.execute(f"DELETE FROM {table} WHERE {condition}", values)
        self._raw.execute("COMMIT")
        for path in names:
            with suppress(OSError):
                os.unlink(path)
