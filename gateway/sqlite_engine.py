"""How any part of the gateway opens a SQLite file: with transactions that begin where we say so."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import Pool, StaticPool

READING: Final = "gatepost_reading"
"""The execution option of a connection whose transactions write nothing."""


def open_engine(
    path: Path,
    timeout_s: float,
    pragmas: Sequence[str],
    *,
    new_page_bytes: int | None = None,
    pool: type[Pool] = StaticPool,
) -> Engine:
    """Return an engine in which transactions begin where we say so; of one connection, unless `pool` has more."""

    def connect() -> sqlite3.Connection:
        raw = sqlite3.connect(
            path, timeout=timeout_s, isolation_level=None, check_same_thread=False, cached_statements=300
        )
        try:
            if new_page_bytes is not None:
                raw.execute(f"PRAGMA page_size={new_page_bytes}")
            for pragma in pragmas:
                raw.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            raw.close()
            raise
        return raw

    engine = create_engine("sqlite://", creator=connect, poolclass=pool)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        raw = connection.connection.driver_connection
        assert raw is not None
        # Who only reads may do so while another process writes, until that one commits.
        raw.execute("BEGIN" if connection.get_execution_options().get(READING) else "BEGIN IMMEDIATE")

    return engine
