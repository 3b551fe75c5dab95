"""What the workers of one machine share on SQLite: singleton leases and the lanes found down, in `shared.db`.

`journal_mode=TRUNCATE`, since several processes write it: the WAL that a worker's own file uses must not be
shared (see `sqlite.py`). Written seldom, so it has a thread of its own beside the writer's; its waits for the
disk never hold up an accept. The address table's store uses the same file by its own connection.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from gateway.spool.api import SpoolError, SpoolUnusable
from gateway.spool.copying import copy_database
from gateway.spool.folder import make_folder
from gateway.spool.migrations import check_or_create
from gateway.spool.options import SpoolOptions
from gateway.spool.sqlite import SqliteStore
from gateway.sqlite_engine import open_engine
from gateway.status import SPOOL_DOWN

SHARED_PRAGMAS = (
    "journal_mode=TRUNCATE",
    "synchronous=FULL",
    "temp_store=MEMORY",
    "secure_delete=OFF",
    "cache_size=-2048",
)


def open_shared(folder: Path, timeout_s: float) -> Engine:
    """Return an engine of one connection to the shared file, its spool tables made or checked.

    Raises: SpoolUnusable.
    """
    make_folder(folder)
    path = folder / "shared.db"
    engine = open_engine(path, timeout_s, SHARED_PRAGMAS)
    try:
        until = time.monotonic() + timeout_s
        while True:
            try:
                with engine.connect() as connection:
                    check_or_create(connection, f"the shared file {path}")
                return engine
            except DBAPIError as error:
                # Two workers that start together may both have found no tables: the second looks again.
                if time.monotonic() > until or not _passes(error):
                    raise SpoolUnusable(f"the shared file {path} cannot be opened: {error.orig}") from error
                time.sleep(0.05)
    except BaseException:
        engine.dispose()
        raise


def _passes(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or "already exists" in str(error.orig)


class SharedStore(SqliteStore):
    """The shared file behind a writer of its own."""

    def __init__(self, folder: Path, worker: int, options: SpoolOptions, clock: Callable[[], float]) -> None:
        super().__init__(folder, worker, options, clock)
        self.path = folder / "shared.db"

    def connect(self) -> None:
        self._open()

    def _open(self) -> None:
        self._engine = open_shared(self.folder, self.options.open_timeout_s)
        self.connection = self._engine.connect()
        raw = self.connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        self._raw = raw

    @contextmanager
    def transaction(self, durable: bool, ids: Sequence[int] = (), reports: Sequence[int] = ()) -> Iterator[None]:
        if self._engine is None:
            try:
                self._open()
            except SpoolUnusable as error:
                raise SpoolError(SPOOL_DOWN.but(cause=str(error))) from error
        with self.connection.begin():
            yield

    def tick(self) -> None:
        return

    def backup(self, dest: Path) -> None:
        if self._engine is None:
            self._open()
        assert self._raw is not None
        copy_database(self._raw, dest / self.path.name, self.between)
