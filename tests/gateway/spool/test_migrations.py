"""The schema: migrations give what the MetaData says; older and newer databases are refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import Engine

from gateway.spool.api import SpoolUnusable
from gateway.spool.migrations import HEAD, VERSIONS, upgrade
from gateway.spool.open import open_spool, upgrade_spool
from gateway.spool.options import SpoolOptions
from gateway.spool.postgres import engine_url
from gateway.spool.schema import VERSION_TABLE, metadata, with_postgresql_options
from gateway.sqlite_engine import open_engine
from tests.gateway.spool.builders import Clock


def engine_of(url: str) -> Engine:
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///")) / "worker-0.db"
        path.parent.mkdir(exist_ok=True)
        return open_engine(path, 1.0, ())
    return create_engine(engine_url(url))


def test_the_migrations_make_what_the_metadata_says(url: str) -> None:
    engine = engine_of(url)
    with engine.connect() as connection:
        upgrade(connection)
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_migrations_make_it_to_the_letter(url: str, tmp_path: Path) -> None:
    """Partial indexes, storage parameters and tables without row numbers are no part of Alembic's comparison."""
    engine = engine_of(url)
    with engine.connect() as connection:
        upgrade(connection)
        made = _letters(engine)
    is_postgresql = engine.dialect.name == "postgresql"
    tables = with_postgresql_options() if is_postgresql else metadata
    with engine.begin() as connection:
        tables.drop_all(connection)
        tables.create_all(connection)
        if is_postgresql:
            for table, column in (("messages", "content"), ("kept", "content"), ("chunks", "data")):
                connection.execute(text(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL"))
    assert _letters(engine) == made
    engine.dispose()


def _letters(engine: Engine) -> list[object]:
    if engine.dialect.name == "sqlite":
        query = f"SELECT name, sql FROM sqlite_master WHERE tbl_name <> '{VERSION_TABLE}' ORDER BY name"
        with engine.begin() as connection:
            return [(n, " ".join((s or "").split())) for n, s in connection.execute(text(query))]
    queries = (
        "SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
        "SELECT attrelid::regclass::text, attname, attstorage, attcollation FROM pg_attribute"
        " WHERE attnum > 0 AND attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind = 'r') ORDER BY 1, 2",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
    )
    with engine.begin() as connection:
        return [tuple(row) for query in queries for row in connection.execute(text(query))]


def test_every_version_is_known_without_alembic() -> None:
    scripts = ScriptDirectory(str(Path(upgrade.__code__.co_filename).parent))
    assert [s.revision for s in scripts.walk_revisions()][::-1] == list(VERSIONS)


async def test_a_newer_schema_is_refused(url: str, clock: Clock) -> None:
    await (await open_spool(url, Path("/"), 0, clock)).close()
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(SpoolUnusable, match=rf"schema 9999, written by a newer release.* up to {HEAD}"):
        await open_spool(url, Path("/"), 0, clock, SpoolOptions(open_timeout_s=0.2))
    with pytest.raises(SpoolUnusable, match="newer release"):
        await upgrade_spool(url, Path("/"))


async def test_an_older_schema_waits_for_an_upgrade(url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await open_spool(url, Path("/"), 0, clock)).close()
    monkeypatch.setattr("gateway.spool.migrations.VERSIONS", (*VERSIONS, "9999"))
    monkeypatch.setattr("gateway.spool.migrations.HEAD", "9999")
    with pytest.raises(SpoolUnusable, match=rf"schema {HEAD}, this release needs 9999: run `gatepost db upgrade`"):
        await open_spool(url, Path("/"), 0, clock, SpoolOptions(open_timeout_s=0.2))


async def test_upgrade_makes_an_empty_database_ready(url: str, clock: Clock) -> None:
    engine = engine_of(url)
    with engine.connect() as connection, connection.begin():
        assert not inspect(connection).has_table("messages")
    engine.dispose()
    (line,) = await upgrade_spool(url, Path("/"))
    assert line.endswith(f"empty -> {HEAD}")
    assert await upgrade_spool(url, Path("/")) == []
    await (await open_spool(url, Path("/"), 0, clock)).close()
