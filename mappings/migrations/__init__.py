"""Migrations of the mapping's tables: an Alembic branch of its own, with the version table `mappings_version`.

Promises: `upgrade` works on a Connection handed in, inside its transaction, and commits nothing; a database of a newer
release is refused and left alone. Each step only expands, so that a node of the release before runs on beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

VERSION_TABLE: Final = "mappings_version"


class NewerSchema(Exception):
    """The mapping's tables were made by a newer release than this one."""


def head() -> str:
    """Return the revision that this release needs."""
    found = _scripts().get_current_head()
    if found is None:
        raise RuntimeError("the distribution lacks mappings/migrations/versions; install it again")
    return found


def current(connection: Connection) -> str | None:
    """Return the database's revision, None where it has no mapping tables."""
    return _context(connection).get_current_revision()


def upgrade(connection: Connection) -> list[str]:
    """Bring the tables to `head()` and return the revisions applied, oldest first; none where they are there already.

    Durable once the caller has committed.
    Raises: NewerSchema.
    """
    scripts = _scripts()
    context = _context(connection)
    found = context.get_current_revision()
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise NewerSchema(
            f"the mapping's tables are of revision {found}, which this release does not know; "
            "use the release that made them, or restore a backup made before"
        )
    steps = list(scripts.iterate_revisions(head(), found or "base"))
    applied = []
    with Operations.context(context):
        for step in reversed(steps):
            step.module.upgrade()
            context.stamp(scripts, step.revision)
            applied.append(step.revision)
    return applied


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent))


def _context(connection: Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
