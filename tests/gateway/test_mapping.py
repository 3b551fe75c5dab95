"""The stored mapping of a running gateway: first start, changes followed, numbers stored, dump and restore."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.log import get_log
from gateway.mapping import FILE, TOKEN_DAYS, FollowedMapping, MappingDatabase
from gateway.spool.api import SpoolUnusable
from mappings import followers, store
from mappings.directory import Directory
from mappings.identity import Identity, Stage, addresses
from mappings.network import parse
from tests.gateway.spool.conftest import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]  # fixtures

ANN = Identity("Ann Lee", addresses(parse("smtp:ann@merged.example"), parse("mhs:ann@sales")))
BOB = Identity("Bob Ray", addresses(parse("smtp:bob@merged.example")))

Opened = Callable[..., Coroutine[Any, Any, FollowedMapping]]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> MappingDatabase:
    if request.param == "sqlite":
        return MappingDatabase("sqlite:///spool", tmp_path)
    return MappingDatabase(request.getfixturevalue("postgres_url"), tmp_path)


@pytest_asyncio.fixture
async def opened(database: MappingDatabase, tmp_path: Path) -> AsyncIterator[Opened]:
    made = []

    async def open_one(*people: Identity, worker: int = 0) -> FollowedMapping:
        other = MappingDatabase(database._url, tmp_path)
        mapping = FollowedMapping(other, tmp_path / "state", b"secret", time.time, get_log("mapping"))
        await mapping.open(lambda: people)
        made.append(mapping)
        return mapping

    yield open_one
    for mapping in made:
        await mapping.close()


def names(directory: Directory) -> list[str]:
    return [identity.name for identity in directory.identities()]


async def test_the_files_are_taken_over_once(opened: Opened, database: MappingDatabase) -> None:
    first, second = await asyncio.gather(opened(ANN), opened(ANN, worker=1))
    assert names(first.directory) == names(second.directory) == ["Ann Lee"]
    later = await opened(ANN, BOB)
    assert names(later.directory) == ["Ann Lee"]
    with database.connect() as connection:
        (revision,) = store.log(connection, limit=10)
    assert revision.who == "configuration"


async def test_a_change_is_seen_by_all_within_a_second(opened: Opened, database: MappingDatabase) -> None:
    workers = [await opened(ANN), await opened(worker=1)]
    seen: list[list[str]] = [[], []]
    following = [
        asyncio.create_task(w.follow(lambda directory, at=at: seen[at].append(str(names(directory)))))  # type: ignore[misc]  # a default binds the loop's variable
        for at, w in enumerate(workers)
    ]
    await asyncio.sleep(0.1)
    with database.connect() as connection:
        store.apply(connection, [store.Put(BOB)], who="me", why="new", at=0.0)
    await asyncio.sleep(1.0)
    assert seen == [["['Ann Lee', 'Bob Ray']"]] * 2
    for task in following:
        task.cancel()


async def test_a_number_is_stored_and_known_to_the_others(opened: Opened) -> None:
    one, other = await opened(ANN), await opened(worker=1)
    far = parse("smtp:x@far.example")
    number = one.tokens.number(far)
    assert one.is_pending
    assert await one.store()
    assert not one.is_pending
    task = asyncio.create_task(other.follow(lambda directory: None))
    await asyncio.sleep(1.0)
    task.cancel()
    assert other.tokens.address(number) == far
    assert (await opened(worker=2)).tokens.address(number) == far


async def test_two_workers_that_give_one_number_find_out(opened: Opened) -> None:
    one, other = await opened(ANN), await opened(worker=1)
    far, near = parse("smtp:x@far.example"), parse("smtp:x@near.example")
    number = one.tokens.number(far)
    other.tokens._addresses[number] = other.tokens._pending[number] = near
    other.tokens._numbers["smtp", near.key] = number
    assert await one.store()
    assert not await other.store()
    assert other.tokens.address(number) == far
    assert other.tokens.number(near) != number


async def test_a_number_lives_while_it_is_used(opened: Opened) -> None:
    mapping = await opened(ANN)
    used, unused = (
        mapping.tokens.number(parse("smtp:x@far.example")),
        mapping.tokens.number(parse("smtp:y@far.example")),
    )
    await mapping.store()
    mapping.tokens.take_used()
    later = time.time() + (TOKEN_DAYS - 1) * 86_400
    mapping._clock = lambda: later
    mapping.tokens.address(used)
    mapping._keep_tokens()
    assert mapping.tokens.address(unused) is not None
    mapping.tokens.take_used()
    mapping._clock = lambda: later + 2 * 86_400
    mapping._keep_tokens()
    assert mapping.tokens.address(unused) is None
    assert (await opened(worker=1)).tokens.address(used) is not None


async def test_a_long_import_keeps_no_reader_out(opened: Opened, database: MappingDatabase) -> None:
    mapping = await opened(ANN)
    with database.connect() as writing:
        store.apply(writing, [store.Put(BOB)], who="me", why="an import that takes long", at=0.0)
        began = time.monotonic()
        assert await mapping._in_thread(mapping._reader.refresh) is None
        await mapping._in_thread(mapping._read_tokens)
        assert time.monotonic() - began < 1.0
    directory = await mapping._in_thread(mapping._reader.refresh)
    assert directory is not None
    assert names(directory) == ["Ann Lee", "Bob Ray"]


async def test_a_dump_restores_the_revisions(opened: Opened, database: MappingDatabase, tmp_path: Path) -> None:
    mapping = await opened(ANN)
    mapping.tokens.number(parse("smtp:x@far.example"))
    await mapping.store()
    with database.connect() as connection:
        store.apply(connection, [store.Put(BOB)], who="me", why="new", at=5.0)
    database.dump(tmp_path / "saved" / FILE)
    with pytest.raises(FileExistsError):
        database.dump(tmp_path / "saved" / FILE)
    with pytest.raises(SpoolUnusable, match="not empty"):
        database.restore(tmp_path / "saved" / FILE)
    spare = MappingDatabase("sqlite:///spare", tmp_path)
    spare.restore(tmp_path / "saved" / FILE)
    with spare.connect() as connection:
        assert next(r.why for r in store.log(connection, limit=5)) == "new"
        assert [i.name for i in store.load(connection)] == ["Ann Lee", "Bob Ray"]
        assert store.find(connection, "mhs", "ann@sales")[0].name == "Ann Lee"
    spare.close()
    database.close()


async def test_who_is_being_cut_over_is_followed_and_a_nodes_word_is_kept(
    opened: Opened, database: MappingDatabase
) -> None:
    mapping = await opened(replace(ANN, home="oldmail"))
    assert (mapping.head.number, mapping.cutting) == (1, frozenset())
    seen: list[Directory] = []
    following = asyncio.ensure_future(mapping.follow(seen.append))
    try:
        with database.connect() as connection:
            (ann,) = store.load(connection)
            store.apply(connection, [store.Put(replace(ann, stage=Stage.CUTTING))], who="x", why="", at=1.0)
        async with asyncio.timeout(60):
            while not seen:  # noqa: ASYNC110  what is followed looks by itself
                await asyncio.sleep(0.05)
    finally:
        following.cancel()
    assert (mapping.head.number, mapping.cutting) == (2, {ann.id})
    assert await mapping.homes_of(mapping.cutting) == {"oldmail"}
    assert await mapping.homes_of({99}) == {None}
    await mapping.confirm("0", mapping.head)
    with database.read() as connection:
        assert followers.confirmed(connection, 2) == {"0"}
    await mapping.confirm("1", mapping.head)
    with database.read() as connection:
        assert followers.confirmed(connection, 2) == {"1"}, "the other one does not live"
    database.close()
