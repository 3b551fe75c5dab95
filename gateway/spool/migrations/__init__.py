"""Versions of the spool's schema, by Alembic, with the version table `spool_version`.

A migration expands first and contracts in a later release, so that a node of the previous release runs beside
one of the new. An empty database is brought to the newest version at once; an older one waits for
`gatepost db upgrade`, since its operator may want a backup first; a newer one is refused.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from gateway.spool.api import SpoolUnusable
from gateway.spool.schema import VERSION_TABLE

VERSIONS: Final = ("0001", "0002")
"""Every version, oldest first; known without importing Alembic, which a start can do without."""

HEAD: Final = VERSIONS[-1]

_LOCK: Final = 0x67617465


def current(connection: Connection) -> str | None:
    """Return the version of the database's schema, None where it has none of our tables."""
    with connection.begin():
        if not inspect(connection).has_table(VERSION_TABLE):
            return None
        row = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).first()
        return None if row is None else str(row[0])


def check_or_create(connection: Connection, where: str) -> None:
    """See that the schema is the newest; make it in an empty database. `where` names the spool in errors.

    Raises: SpoolUnusable where it is older or newer.
    """
    version = current(connection)
    if version == HEAD:
        return
    if version is None:
        upgrade(connection)
    elif version in VERSIONS:
        raise SpoolUnusable(
            f"{where} has schema {version}, this release needs {HEAD}: run `gatepost db upgrade` "
            "(a backup first is wise)"
        )
    else:
        raise SpoolUnusable(
            f"{where} has schema {version}, written by a newer release; this one knows schemas up to {HEAD}: "
            "start the newer release again, or restore a backup made before its upgrade"
        )


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring the schema to a version, in one transaction. The connection must not be in one."""
    from alembic import command  # slow to import, and rarely needed
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "gateway.spool:migrations")
    config.attributes["connection"] = connection
    with connection.begin():
        if connection.dialect.name == "postgresql":
            # Of nodes that start together one makes the tables, and the others then find them.
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        command.upgrade(config, to)


def upgrade_and_say(connection: Connection, where: str) -> list[str]:
    """Bring a schema to the newest version; returns one line where there was something to do.

    Raises: SpoolUnusable where it is newer than this release.
    """
    version = current(connection)
    if version == HEAD:
        return []
    if version is not None and version not in VERSIONS:
        check_or_create(connection, where)
    upgrade(connection)
    return [f"{where}: {version or 'empty'} -> {HEAD}"]
