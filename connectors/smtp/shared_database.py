"""A database of a connector's own that its worker processes share."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

BUSY_S: Final = 10.0
"""How long one process waits for another one."""
_AGAIN_S: Final = 0.01


def opened(path: Path, schema: str) -> sqlite3.Connection:
    """Open it, and make what is missing. It may be used in another thread, and waits for other processes.

    Blocks. Raises: sqlite3.Error.
    """
    database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            # Where several are the first at once, one is told that it is locked, and SQLite does not wait by itself.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.executescript(schema)
        except sqlite3.OperationalError:
            if time.monotonic() >= deadline:
                database.close()
                raise
            time.sleep(_AGAIN_S)
        else:
            return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Do what is within all or not at all, while no other process writes. Raises: sqlite3.Error."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        database.execute("ROLLBACK")
        raise
