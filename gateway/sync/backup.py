"""The state of syncs in a backup: written into a SQLite file, whichever database it is in, and read back into any.

One that is older than the mailboxes does no harm: what both sides have gained meanwhile is found to be the same by its
content, as after a state that was lost. What is lost with one is which items a user removed at the destination, and
where each mailbox is on its course; so it is kept.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import BigInteger, Connection, Engine, func, select

from gateway.spool.content import sync_folder
from gateway.spool.copying import sync_file
from gateway.sync import migrations
from gateway.sync.database import StateUnusable, locking_engine, open_database
from gateway.sync.schema import METADATA

FILE: Final = "sync.sqlite"
"""Of a state beside a spool, and of one in a backup."""
_ROWS: Final = 2000


def is_there(where: Path | str) -> bool:
    """Tell whether there is a state, without making one. Raises: SQLAlchemyError."""
    if isinstance(where, Path):
        return where.exists()
    engine = locking_engine(where)
    try:
        with engine.connect() as connection:
            return migrations.current(connection) is not None
    finally:
        engine.dispose()


def dump(where: Path | str, to: Path) -> None:
    """Write the state of one moment into a new file, durably.

    Raises: FileExistsError, OSError, SQLAlchemyError, StateUnusable.
    """
    if to.exists():
        raise FileExistsError(f"{to} is there already")
    to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = to.with_name(to.name + ".part")
    part.unlink(missing_ok=True)
    source, target = open_database(where), open_database(part)
    try:
        with source.connect() as read, target.begin() as write:
            if read.dialect.name == "postgresql":
                read = read.execution_options(isolation_level="REPEATABLE READ")
            with read.begin():
                _copy(read, write)
        _in_one_file(target)
    finally:
        source.dispose()
        target.dispose()
    sync_file(part)
    part.rename(to)
    sync_folder(str(to.parent))


def restore(source: Path, where: Path | str) -> None:
    """Fill a state that has nothing yet from a backup, which is brought to this release first.

    Raises: StateUnusable, OSError, SQLAlchemyError.
    """
    engine = open_database(source)
    try:
        target = open_database(where)
        try:
            with engine.connect() as read, read.begin(), target.begin() as write:
                for table in METADATA.sorted_tables:
                    if write.execute(select(func.count()).select_from(table)).scalar_one():
                        raise StateUnusable("there is a state of syncs: a backup is restored beside none only")
                _copy(read, write)
                if write.dialect.name == "postgresql":
                    _number_on(write)
        finally:
            target.dispose()
    finally:
        engine.dispose()


def _copy(source: Connection, target: Connection) -> None:
    for table in METADATA.sorted_tables:
        for rows in source.execution_options(yield_per=_ROWS).execute(table.select()).partitions():
            target.execute(table.insert(), [dict(row._mapping) for row in rows])


def _number_on(target: Connection) -> None:
    """Let PostgreSQL number new rows on from those that brought their numbers along."""
    for table in METADATA.sorted_tables:
        column = table.autoincrement_column
        if column is None or not isinstance(column.type, BigInteger):
            continue
        most = select(func.coalesce(func.max(column), 0) + 1).scalar_subquery()
        target.execute(select(func.setval(func.pg_get_serial_sequence(table.name, column.name), most, False)))


def _in_one_file(engine: Engine) -> None:
    """Have all of a SQLite database in its own file, none of it in a log beside it."""
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA journal_mode=DELETE").fetchall()
