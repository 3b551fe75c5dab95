"""Open a spool by its URL: `sqlite:///folder` or `postgresql://user@host/database`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.spool.api import SpoolUnusable
from gateway.spool.durable import DurableSpool
from gateway.spool.options import SpoolOptions
from gateway.spool.shared import SharedStore
from gateway.spool.sqlite import SqliteStore

_WORKER_FILE: Final = re.compile(r"worker-(\d+)\.db")


def sqlite_folder(url: str, base_dir: Path) -> Path | None:
    """Return the folder that a `sqlite:` URL names, relative ones from `base_dir`; None for another kind.

    Raises: SpoolUnusable where it is no URL of a spool.
    """
    kind, separator, rest = url.partition(":///")
    if separator and kind == "sqlite" and rest:
        return base_dir / rest  # an absolute one, of four slashes, stays as it is
    if url.startswith(("postgresql://", "postgres://")):
        return None
    raise SpoolUnusable(f"{url!r} is not a spool: write sqlite:///folder or postgresql://user@host/database")


def spool_workers(url: str, base_dir: Path) -> list[int]:
    """Return the workers that have a file in a SQLite spool; [0] for a database that all share."""
    folder = sqlite_folder(url, base_dir)
    if folder is None:
        return [0]
    found = [int(m[1]) for path in folder.glob("worker-*.db") if (m := _WORKER_FILE.fullmatch(path.name))]
    return sorted(found) or [0]


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
