"""The database that the state of syncs is in: a SQLite file, or a PostgreSQL database that it shares with the spool."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, NullPool, QueuePool, create_engine, text
from sqlalchemy.exc import DBAPIError

from gateway.sqlite_engine import open_engine
from gateway.sync import migrations

_TIMEOUT_S: Final = 30.0
_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY", "foreign_keys=OFF")
_LOCK: Final = 0x73796E63


class StateUnusable(Exception):
    """The database can't be had, or is of another release; the text says what to do."""


def open_database(where: Path | str) -> Engine:
    """Return an engine of one connection on a SQLite file, or on a PostgreSQL database by its URL, with its tables made
    or brought to this release. Raises: StateUnusable."""
    engine = _engine(where)
    name = "the database of the syncs" if isinstance(where, str) else str(where)
    until = time.monotonic() + _TIMEOUT_S
    try:
        while True:
            try:
                with engine.begin() as connection:
                    if connection.dialect.name == "postgresql":
                        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))  # one process at a time
                    migrations.upgrade(connection)
            except migrations.NewerSchema as newer:
                raise StateUnusable(str(newer)) from newer
            except DBAPIError as error:
                # Of two that start together the second may find tables half made: it looks again.
                if time.monotonic() > until or "already exists" not in str(error.orig):
                    raise StateUnusable(f"{name} cannot be opened: {error.orig}") from error
                time.sleep(0.05)
            else:
                return engine
    except BaseException:
        engine.dispose()
        raise


def locking_engine(where: str) -> Engine:
    """Return an engine on a PostgreSQL database whose every connection is its holder's: what it locks is its own."""
    from gateway.spool.postgres import connect_arguments, engine_url

    # Each waits for its holder outside of any transaction.
    return create_engine(
        engine_url(where),
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args=connect_arguments("gatepost sync lock"),
    )


def _engine(where: Path | str) -> Engine:
    if isinstance(where, Path):
        return open_engine(where, _TIMEOUT_S, _PRAGMAS)
    from gateway.spool.postgres import connect_arguments, engine_url  # psycopg is imported only where it is used

    # A connection that was lost between two passes is made again before it is used.
    return create_engine(
        engine_url(where),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args=connect_arguments("gatepost sync"),
    )
