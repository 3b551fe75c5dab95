"""Migrations of the mapping's tables: an Alembic branch of its own, with the version table `mappings_version`.

Promises: `upgrade` works on a Connection handed in, inside its transaction, and commits nothing; a database of a newer
release is refused and left alone. Each step only expands, so that a node of the release before runs on beside it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

VERSION_TABLE: Final = "mappings_version"

VERSIONS: Final = ("m0001", "m0002", "m0003", "m0004")
"""Every revision, oldest first; known without importing Alembic, which a start can do without."""


class NewerSchema(Exception):
    """The mapping's tables were made by a newer release than this one."""


def head() -> str:
    """Return the revision that this release needs."""
    return VERSIONS[-1]


@cache
def _scripts() -> ScriptDirectory:
    """Return the steps, which are read once."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(Path(__file__).parent))


def current(connection: Connection) -> str | None:
    """Return the database's revision, None where it has no mapping tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    row = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).first()
    return None if row is None else str(row[0])


def upgrade(connection: Connection) -> list[str]:
    """Bring the tables to `head()` and return the revisions applied, oldest first; none where they are there already.

    Durable once the caller has committed.
    Raises: NewerSchema.
    """
    found = current(connection)
    if found == head():
        return []
    if found is not None and found not in VERSIONS:
        raise NewerSchema(
            f"the mapping's tables are of revision {found}, which this release does not know; "
            "use the release that made them, or restore a backup made before"
        )
    from alembic.migration import MigrationContext  # slow to import, and rarely needed
    from alembic.operations import Operations

    scripts = _scripts()
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    applied = []
    with Operations.context(context):
        for step in reversed(list(scripts.iterate_revisions(head(), found or "base"))):
            step.module.upgrade()
            context.stamp(scripts, step.revision)
            applied.append(step.revision)
    return applied
