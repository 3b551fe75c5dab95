"""The stored mapping's tests run on SQLite and on PostgreSQL, the same ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import sqlalchemy as sa

from mappings import migrations
from tests.peers.postgres import PostgresServer

Begin = Callable[[], AbstractContextManager[sa.Connection]]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        engine = sa.create_engine(f"sqlite:///{tmp_path}/mapping.db")
        yield engine
        engine.dispose()
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.lent() as url:
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        yield engine
        engine.dispose()


@pytest.fixture
def begin(engine: sa.Engine) -> Begin:
    """Opens a transaction on a database with the mapping's tables."""
    with engine.begin() as connection:
        migrations.upgrade(connection)
    return engine.begin
