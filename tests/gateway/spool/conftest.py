"""The spool's tests run on SQLite and on PostgreSQL, the same ones."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio

from gateway.spool.durable import DurableSpool
from gateway.spool.open import open_spool
from gateway.spool.options import SpoolOptions
from tests.gateway.spool.builders import Clock, Maker
from tests.peers.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    with postgres.lent() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/spool"
    made: str = request.getfixturevalue("postgres_url")
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def maker(clock: Clock) -> Maker:
    return Maker(clock)


class OpenSpool(Protocol):
    async def __call__(self, worker: int = 0, **options: object) -> DurableSpool: ...


@pytest_asyncio.fixture
async def opened(url: str, clock: Clock) -> AsyncIterator[OpenSpool]:
    """Opens spools that are closed at the end of the test."""
    spools: list[DurableSpool] = []

    async def open_one(worker: int = 0, **options: object) -> DurableSpool:
        spool = await open_spool(url, Path("/"), worker, clock, SpoolOptions(**options))  # type: ignore[arg-type]  # by name
        spools.append(spool)
        return spool

    yield open_one
    for spool in spools:
        with contextlib.suppress(Exception):
            await spool.close()


@pytest_asyncio.fixture
async def spool(opened: Callable[..., object]) -> DurableSpool:
    return await opened()  # type: ignore[misc,no-any-return]  # the fixture's own function
