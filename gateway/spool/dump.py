"""A PostgreSQL spool in files: every table by COPY, from one snapshot, and back into an empty database."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from gateway.spool.api import SpoolUnusable
from gateway.spool.content import sync_folder
from gateway.spool.copying import sync_file
from gateway.spool.migrations import HEAD
from gateway.spool.schema import metadata

MANIFEST: Final = "spool.json"
# Not the nodes, nor what they hold: a restored spool has none.
TABLES: Final = ("messages", "kept", "deliveries", "trace", "dedupe", "blobs", "chunks")
_ROWS: Final[dict[str, str]] = {
    "blobs": "WHERE node IS NULL",
    "chunks": "WHERE blob_id IN (SELECT id FROM blobs WHERE node IS NULL)",
}


def _columns(table: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(c.name) for c in metadata.tables[table].columns)


def dump_database(conninfo: str, dest: Path, between: Callable[[], None]) -> None:
    """Write every table into a file of its own, by a connection of its own. Raises: OSError, psycopg.Error."""
    dest.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (dest / MANIFEST).exists():
        raise FileExistsError(f"{dest / MANIFEST} is there already")
    counts: dict[str, int] = {}
    with psycopg.connect(conninfo) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        for table in TABLES:
            query = sql.SQL("COPY (SELECT {} FROM {} {}) TO STDOUT (FORMAT binary)").format(
                _columns(table), sql.Identifier(table), sql.SQL(_ROWS.get(table, ""))
            )
            path = dest / f"{table}.copy"
            cursor = connection.cursor()
            with path.open("wb") as file, cursor.copy(query) as copy:
                for i, piece in enumerate(copy):
                    file.write(piece)
                    if i % 64 == 0:
                        between()
            counts[table] = cursor.rowcount
            sync_file(path)
    # Last: a folder without it is no backup.
    (dest / MANIFEST).write_text(json.dumps({"schema": HEAD, "tables": counts}, indent=2))
    sync_file(dest / MANIFEST)
    sync_folder(str(dest))


def load_database(connection: psycopg.Connection[Any], src: Path, then: Sequence[str]) -> None:
    """Fill an empty database from a dump and run some statements on it, in the connection's transaction.

    Raises: SpoolUnusable, OSError, psycopg.Error.
    """
    manifest = json.loads((src / MANIFEST).read_text())
    if manifest["schema"] != HEAD:
        raise SpoolUnusable(
            f"the backup {src} has schema {manifest['schema']}, this release restores {HEAD}: "
            "restore it with the release that made it, then run `gatepost db upgrade`"
        )
    for table in TABLES:
        found = connection.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(table))).fetchone()
        if found is not None:
            raise SpoolUnusable(f"the spool is not empty ({table}): a backup is restored into an empty one only")
    for table in TABLES:
        query = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(sql.Identifier(table), _columns(table))
        with (src / f"{table}.copy").open("rb") as file, connection.cursor().copy(query) as copy:
            while piece := file.read(1 << 20):
                copy.write(piece)
    connection.execute(
        "SELECT setval(pg_get_serial_sequence('blobs', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM blobs))"
    )
    for statement in then:
        connection.execute(statement.encode())
