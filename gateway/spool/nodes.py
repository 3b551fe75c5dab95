"""Which nodes of a spool live: those whose word is to be waited for before a mailbox is cut over.

On SQLite a node is a worker, which lives as long as it holds its lock; on PostgreSQL it lives until its lease ends. A
node that begins afterwards reads the mapping as it is by then.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from gateway.process_lock import lock_file
from gateway.spool.options import SpoolOptions
from gateway.spool.postgres_statements import NOW

OUTSIDE_WORKER: Final = 999
"""The worker's number of a command on a shared database, which no worker of a node has."""

_LOCK: Final = re.compile(r"worker-(\d+)\.lock")


def live_nodes(connection: Connection, folder: Path | None) -> dict[str, str]:
    """Return the nodes that live, by the names under which they follow the mapping, each with a name for people.

    `folder` is the SQLite spool's; None asks the database of `connection`, in whatever transaction it is.
    """
    if folder is None:
        if not inspect(connection).has_table("nodes"):
            return {}  # no gateway ever ran
        query = text(f"SELECT id, host, worker FROM nodes WHERE beat_at >= {NOW} - :lease AND worker <> :outside")
        rows = connection.execute(query, {"lease": SpoolOptions().lease_s, "outside": OUTSIDE_WORKER})
        return {str(row.id): f"worker {row.worker} on {row.host}" for row in rows}
    found = {}
    for path in sorted(folder.glob("worker-*.lock")):
        named = _LOCK.fullmatch(path.name)
        if named is not None and _is_held(path):
            found[named[1]] = f"worker {named[1]}"
    return found


def stopped_workers(folder: Path | None) -> list[str]:
    """Return the workers of a SQLite spool that do not live, and may have something in their queues."""
    files = [] if folder is None else sorted(folder.glob("worker-*.db"))
    return [path.stem.replace("-", " ") for path in files if not _is_held(path.with_suffix(".lock"))]


def _is_held(path: Path) -> bool:
    """Tell whether a process holds a lock, which is not made. One that begins at this very moment tries again."""
    if not path.exists():
        return False
    try:
        os.close(lock_file(path))
    except BlockingIOError:
        return True
    return False
