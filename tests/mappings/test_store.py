"""The stored mapping, on SQLite and PostgreSQL: saved whole, read back, versioned; and its migrations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError

from mappings import migrations, store
from mappings.identity import Identity, Kind, addresses
from mappings.network import parse
from tests.mappings.company import PEOPLE
from tests.peers.postgres import PostgresServer


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: object) -> Iterator[sa.Engine]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        engine = sa.create_engine(f"sqlite:///{tmp_path}/mapping.db")
        yield engine
        engine.dispose()
        return
    server: PostgresServer = request.getfixturevalue("server")
    engine = sa.create_engine(server.new_database("mapping").replace("postgresql:", "postgresql+psycopg:"))
    yield engine
    engine.dispose()
    server.drop_database("mapping")


@pytest.fixture
def ready(engine: sa.Engine) -> sa.Engine:
    with engine.begin() as connection:
        migrations.upgrade(connection)
    return engine


def test_migrations_run_once_and_leave_the_tables_of_the_metadata(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        assert migrations.current(connection) is None
        assert migrations.upgrade(connection)[-1] == migrations.head()
    with engine.begin() as connection:
        assert migrations.current(connection) == migrations.head()
        assert migrations.upgrade(connection) == []
        context = MigrationContext.configure(
            connection, opts={"version_table": migrations.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, store.metadata) == []
        assert store.load(connection) == ([], 0)


def test_the_version_table_is_its_own(ready: sa.Engine) -> None:
    """The spool's migrations have theirs in the same database, and neither sees the other's."""
    names = set(sa.inspect(ready).get_table_names())
    assert names == {"mapping_state", "mapping_identities", "mapping_addresses", "mappings_version"}


def test_a_newer_schema_is_refused_and_left_alone(ready: sa.Engine) -> None:
    with ready.begin() as connection:
        connection.execute(sa.text("UPDATE mappings_version SET version_num = 'm9999'"))
    with ready.begin() as connection, pytest.raises(migrations.NewerSchema, match="m9999"):
        migrations.upgrade(connection)
    with ready.begin() as connection:
        assert migrations.current(connection) == "m9999"


def test_an_upgrade_that_is_rolled_back_leaves_nothing(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":  # Python's driver opens no transaction before DDL by itself
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        migrations.upgrade(connection)
        connection.rollback()
    assert sa.inspect(engine).get_table_names() == []


def test_what_is_saved_is_loaded(ready: sa.Engine) -> None:
    with ready.begin() as connection:
        assert store.save(connection, PEOPLE) == 1
    with ready.begin() as connection:
        found, generation = store.load(connection)
    assert (tuple(found), generation) == (PEOPLE, 1)
    assert [[h.address.value for h in who.addresses] for who in found] == [
        [h.address.value for h in who.addresses] for who in PEOPLE
    ]


def test_a_save_replaces_everything_and_advances_the_generation(ready: sa.Engine) -> None:
    one = Identity("One", addresses(parse("smtp:one@far.example")), Kind.DEVICE, "net")
    with ready.begin() as connection:
        store.save(connection, PEOPLE)
        assert store.save(connection, [one], expected=1) == 2
        assert store.load(connection) == ([one], 2)
        assert store.save(connection, []) == 3
        assert store.load(connection) == ([], 3)


def test_a_change_made_from_an_older_generation_is_refused(ready: sa.Engine) -> None:
    with ready.begin() as connection:
        store.save(connection, PEOPLE)
    with pytest.raises(store.StaleMapping, match="generation 0"), ready.begin() as connection:
        store.save(connection, [], expected=0)
    with ready.begin() as connection:
        assert len(store.load(connection)[0]) == len(PEOPLE)


def test_a_failed_save_changes_nothing(ready: sa.Engine) -> None:
    twice = [Identity(name, addresses(parse("smtp:one@far.example"))) for name in "AB"]
    with ready.begin() as connection:
        store.save(connection, PEOPLE)
    with pytest.raises(IntegrityError), ready.begin() as connection:
        store.save(connection, twice)
    with ready.begin() as connection:
        assert store.load(connection) == (list(PEOPLE), 1)


def test_many_identities_keep_their_order(ready: sa.Engine) -> None:
    people = [
        Identity(f"P{n}", addresses(parse(f"smtp:p{n}@far.example"), parse(f"mhs:p{n}@hq"))) for n in range(5000, 0, -1)
    ]
    with ready.begin() as connection:
        store.save(connection, people)
    with ready.begin() as connection:
        assert store.load(connection)[0] == people
