"""Tokens: up to where each watched folder has been read, in a file of the connector's own.

A cache: a lost token costs one full listing of the folder, and no mail, since what was taken has left the folder or
carries the mark. So it is written without waiting for the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gateway.contract import Context

_T = TypeVar("_T")

_CREATE = """
CREATE TABLE IF NOT EXISTS token (
    mailbox TEXT NOT NULL, folder TEXT NOT NULL, token TEXT NOT NULL, PRIMARY KEY (mailbox, folder)
) WITHOUT ROWID
"""


class Tokens:
    """Sync tokens by mailbox and folder. Used by one process; all disk work happens in a thread."""

    def __init__(self, path: Path, context: Context) -> None:
        self._path = path
        self._log = context.log
        self._lock = asyncio.Lock()
        # A task that is cancelled lets go of its lock while its thread still works on the file: closing under it would
        # crash the process.
        self._guard = threading.Lock()
        self._database: sqlite3.Connection | None = None

    async def get(self, mailbox: str, folder: str) -> str | None:
        """Return the last token, None where there is none (or its file is damaged)."""
        async with self._lock:
            return await asyncio.to_thread(self._guarded, self._get, mailbox, folder)

    async def put(self, mailbox: str, folder: str, token: str | None) -> None:
        """Keep a token; None forgets it. A disk that takes nothing is logged: the token is a cache."""
        async with self._lock:
            await asyncio.to_thread(self._guarded, self._put, mailbox, folder, token)

    async def close(self) -> None:
        """Close the file; safe to call twice."""
        async with self._lock:
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        with self._guard:
            database, self._database = self._database, None
            if database is not None:
                database.close()

    def _guarded(self, work: Callable[..., _T], *given: str | None) -> _T:
        with self._guard:
            return work(*given)

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            database = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10.0)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = OFF")
                database.execute(_CREATE)
            except BaseException:
                database.close()
                raise
            self._database = database
        return self._database

    def _get(self, mailbox: str, folder: str) -> str | None:
        try:
            found = (
                self._open()
                .execute("SELECT token FROM token WHERE mailbox = ? AND folder = ?", (mailbox, folder))
                .fetchone()
            )
        except sqlite3.Error as e:
            self._renew(e)
            return None
        return None if found is None else str(found[0])

    def _put(self, mailbox: str, folder: str, token: str | None) -> None:
        try:
            if token is None:
                self._open().execute("DELETE FROM token WHERE mailbox = ? AND folder = ?", (mailbox, folder))
            else:
                self._open().execute("INSERT OR REPLACE INTO token VALUES (?, ?, ?)", (mailbox, folder, token))
        except sqlite3.Error as e:
            self._renew(e)

    def _renew(self, fault: sqlite3.Error) -> None:
        """Put a damaged file away: a new one is begun at the next use."""
        self._log.warning("the file of sync tokens cannot be used", path=str(self._path), cause=str(fault))
        database, self._database = self._database, None
        if database is not None:
            database.close()
        if isinstance(fault, sqlite3.OperationalError):
            return  # a full disk, or a lock: the file itself is whole
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
