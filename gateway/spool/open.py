"""Open a spool by its URL: `sqlite:///folder` or `postgresql://user@host/database`."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sqlalchemy.exc import DBAPIError

from gateway.spool.api import SpoolUnusable
from gateway.spool.durable import DurableSpool
from gateway.spool.folder import sqlite_folder, worker_lock
from gateway.spool.migrations import upgrade_and_say
from gateway.spool.options import SpoolOptions
from gateway.spool.shared import SHARED_PRAGMAS, SharedStore
from gateway.spool.sqlite import SqliteStore, worker_pragmas
from gateway.sqlite_engine import open_engine

_WORKER_FILE: Final = re.compile(r"worker-(\d+)\.db")


def spool_workers(url: str, base_dir: Path) -> list[int]:
    """Return the workers that have a file in a SQLite spool; [0] for a database that all share."""
    folder = sqlite_folder(url, base_dir)
    if folder is None:
        return [0]
    found = [int(m[1]) for path in folder.glob("worker-*.db") if (m := _WORKER_FILE.fullmatch(path.name))]
    return sorted(found) or [0]


async def upgrade_spool(url: str, base_dir: Path, options: SpoolOptions | None = None) -> list[str]:
    """Bring the schema of every file of a spool, or of its database, to this release's; nobody may be using it.

    Returns what was upgraded, as `file: 0001 -> 0002`. Raises: SpoolUnusable.
    """
    return await asyncio.to_thread(_upgrade, url, base_dir, options or SpoolOptions())


def _upgrade(url: str, base_dir: Path, options: SpoolOptions) -> list[str]:
    folder = sqlite_folder(url, base_dir)
    if folder is None:
        from gateway.spool.postgres import upgrade_database

        return upgrade_database(url)
    done = []
    for path in sorted([*folder.glob("worker-*.db"), *folder.glob("shared.db")]):
        found = _WORKER_FILE.fullmatch(path.name)
        if found is None and path.name != "shared.db":
            continue
        with contextlib.ExitStack() as stack:
            if found is not None:
                stack.enter_context(worker_lock(folder, int(found[1]), options.open_timeout_s))
            pragmas = SHARED_PRAGMAS if found is None else worker_pragmas(options)
            engine = open_engine(path, options.open_timeout_s, pragmas)
            stack.callback(engine.dispose)
            try:
                with engine.connect() as connection:
                    done += upgrade_and_say(connection, str(path))
            except DBAPIError as error:
                raise SpoolUnusable(f"{path} cannot be upgraded: {error.orig}") from error
    return done


async def open_spool(
    url: str,
    base_dir: Path,
    worker: int = 0,
    clock: Callable[[], float] = time.time,
    options: SpoolOptions | None = None,
) -> DurableSpool:
    """Open the spool as worker `worker` of this machine, making it where there is none.

    What the same worker had leased before is free again. Raises: SpoolUnusable where an operator must act (in
    use, of another schema, damaged), SpoolError where it may pass (no space, no answer).
    """
    options = options or SpoolOptions()
    folder = sqlite_folder(url, base_dir)
    if folder is None:
        from gateway.spool.postgres import PostgresStore  # psycopg is imported only where it is used

        spool = DurableSpool(PostgresStore(url, worker, options, clock), None, options, clock)
    else:
        shared = SharedStore(folder, worker, options, clock)
        spool = DurableSpool(SqliteStore(folder, worker, options, clock), shared, options, clock)
    await spool.start()
    return spool
