"""Migrations of the state of syncs: an Alembic branch of its own, with the version table `sync_version`.

Promises: `upgrade` works on a Connection handed in, inside its transaction, and commits nothing; a database of a newer
release is refused and left alone. Each step only expands, so that the release before runs on beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from gateway.sync.schema import METADATA, VERSION_TABLE

VERSIONS: Final = ("s0001",)
"""Every revision, oldest first; known without importing Alembic, which a start can do without."""
_VERSION_TABLE: Final = (
    f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL, "
    f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num))"
)
"""As Alembic makes it."""


class NewerSchema(Exception):
    """The state was made by a newer release than this one."""


def head() -> str:
    """Return the revision that this release needs."""
    return VERSIONS[-1]


def current(connection: Connection) -> str | None:
    """Return the database's revision, None where it has no state of syncs."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    row = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).first()
    return None if row is None else str(row[0])


def upgrade(connection: Connection, *, by_steps: bool = False) -> list[str]:
    """Bring the tables to `head()` and return the revisions applied, oldest first; none where they are there already.

    Durable once the caller has committed. Where there are none they are made as they are now, which comes to what all
    steps make, or `by_steps`.
    Raises: NewerSchema.
    """
    found = current(connection)
    if found == head():
        return []
    if found is None and not by_steps:
        METADATA.create_all(connection, checkfirst=False)
        connection.execute(text(_VERSION_TABLE))
        connection.execute(text(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES (:head)"), {"head": head()})
        return list(VERSIONS)
    if found is not None and found not in VERSIONS:
        raise NewerSchema(
            f"the state of syncs is of revision {found}, which this release does not know; "
            "use the release that made it, or restore a backup made before"
        )
    from alembic.migration import MigrationContext  # slow to import, and rarely needed
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(__file__).parent))
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    applied = []
    with Operations.context(context):
        for step in reversed(list(scripts.iterate_revisions(head(), found or "base"))):
            step.module.upgrade()
            context.stamp(scripts, step.revision)
            applied.append(step.revision)
    return applied
