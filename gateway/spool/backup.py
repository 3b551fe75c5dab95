"""Backup and restore. A restored spool starts held: nothing of it is sent before an operator releases it, since
what the original sent after the backup was made would go out twice."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Final, Protocol

from gateway.spool.api import SpoolUnusable
from gateway.spool.copying import copy_durably, sync_file
from gateway.spool.folder import make_folder, sqlite_folder
from gateway.spool.migrations import VERSIONS
from gateway.spool.store import Store

_WORKER_FILE: Final = re.compile(r"worker-\d+\.db")

# Trace rows first, while it can still be told what was queued.
_HOLD: Final = (
    """
    INSERT INTO trace (message_id, seq, at, n, kind, detail)
    SELECT message_id, {seq} + n, {now}, n, 'held', '{{"why":"restored from a backup"}}'
    FROM deliveries WHERE state IN ('queued', 'moving')
    """,
    "UPDATE deliveries SET lease = NULL WHERE lease IS NOT NULL",
    "UPDATE deliveries SET state = 'held' WHERE state IN ('queued', 'moving')",
    "DELETE FROM leases",
    "DELETE FROM lanes",
)


class Outside(Protocol):
    def __call__(self, run: Callable[[Store], None], shared: bool) -> Awaitable[None]: ...


async def backup(outside: Outside, has_shared: bool, dest: Path) -> None:
    """Write one worker's spool into a folder, and what the workers share where no other has done so yet."""
    await outside(lambda store: store.backup(dest), False)
    if has_shared and not (dest / "shared.db").exists():
        await outside(lambda store: store.backup(dest), True)


async def restore_spool(url: str, base_dir: Path, src: Path) -> None:
    """Make a spool of a backup; its deliveries are held. Durable when this returns.

    Raises: SpoolUnusable where the spool is not empty or `src` is no backup that this release can read; OSError.
    """
    await asyncio.to_thread(_restore, url, base_dir, src)


def _restore(url: str, base_dir: Path, src: Path) -> None:
    folder = sqlite_folder(url, base_dir)
    if folder is None:
        _restore_database(url, src)
    else:
        _restore_files(folder, src)


def _restore_files(folder: Path, src: Path) -> None:
    files = [path for path in sorted(src.glob("worker-*.db")) if _WORKER_FILE.fullmatch(path.name)]
    if not files:
        raise SpoolUnusable(f"{src} is not the backup of a SQLite spool: it has no worker-N.db")
    make_folder(folder)
    there = [path.name for path in (*folder.glob("worker-*.db"), *folder.glob("shared.db"))]
    if there:
        raise SpoolUnusable(
            f"the spool {folder} is not empty ({', '.join(sorted(there))}): move its files away, then restore"
        )
    if (src / "content").is_dir():
        for path in sorted((src / "content").rglob("*")):
            if path.is_file():
                copy_durably(path, folder / "content" / path.relative_to(src / "content"))
    if (src / "shared.db").exists():
        files.insert(0, src / "shared.db")
    made: list[Path] = []
    for path in files:
        part = folder / f"{path.name}.part"
        shutil.copyfile(path, part)
        with closing(sqlite3.connect(part, isolation_level=None)) as connection:
            _check_version(connection, path)
            connection.execute("BEGIN")
            for statement in hold_statements():
                connection.execute(statement)
            connection.execute("COMMIT")
        sync_file(part)
        made.append(part)
    for part in made:
        copy = part.with_suffix("")
        part.rename(copy)
    sync_file(folder)


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    try:
        row = connection.execute("SELECT version_num FROM spool_version").fetchone()
    except sqlite3.Error as error:
        raise SpoolUnusable(f"{path} is not the backup of a spool: {error}") from error
    if row is None or row[0] not in VERSIONS:
        raise SpoolUnusable(f"{path} has schema {row and row[0]}, which this release does not know: use the newer one")


def hold_statements() -> list[str]:
    """Return what makes a restored spool start held, alike in both databases."""
    return [statement.format(seq=time.time_ns(), now=time.time()) for statement in _HOLD]


def _restore_database(url: str, src: Path) -> None:
    import psycopg  # only where there is PostgreSQL: it is slow to import

    from gateway.spool.dump import MANIFEST, load_database
    from gateway.spool.postgres import engine_url, upgrade_database

    if not (src / MANIFEST).exists():
        raise SpoolUnusable(f"{src} is not the backup of a PostgreSQL spool: it has no {MANIFEST}")
    upgrade_database(url)
    conninfo = engine_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    try:
        with psycopg.connect(conninfo) as connection:
            load_database(connection, src, hold_statements())
    except psycopg.Error as error:
        raise SpoolUnusable(f"the backup {src} cannot be restored: {error}") from error
