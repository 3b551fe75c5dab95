"""The state, on SQLite and PostgreSQL: its tables, what is written and read back, and a pass on each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from gateway.contract import Folder
from gateway.sync import backup, migrations
from gateway.sync.database import StateUnusable, open_database
from gateway.sync.engine import run_pass
from gateway.sync.schema import METADATA, VERSION_TABLE
from gateway.sync.state import State
from gateway.sync.values import FolderPair, Intent, Noted, Pair, Pairing, Place, Policy, Print, Problem
from tests.gateway.sync.memory import Memory
from tests.gateway.sync.test_engine import filled
from tests.peers.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    if request.param == "sqlite":
        yield tmp_path / "sync.sqlite"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    yield server.new_database("sync")
    server.drop_database("sync")


def test_the_migrations_make_what_the_metadata_says(where: Path | str) -> None:
    engine = open_database(where)
    with engine.begin() as connection:
        assert migrations.current(connection) == migrations.head()
        assert migrations.upgrade(connection) == []
        METADATA.drop_all(connection)
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
        assert migrations.upgrade(connection, by_steps=True) == list(migrations.VERSIONS)
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []
    engine.dispose()
    scripts = ScriptDirectory(str(Path(migrations.__file__ or "").parent))
    assert [script.revision for script in scripts.walk_revisions()] == list(reversed(migrations.VERSIONS))


def test_a_newer_state_is_refused_and_left_alone(where: Path | str) -> None:
    engine = open_database(where)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = 's9999'"))
    engine.dispose()
    with pytest.raises(StateUnusable, match="s9999"):
        State(where)


def test_all_is_read_back_as_it_was_written(where: Path | str) -> None:
    odd, words = Print(7, "<a@b>", b"\0" * 16, 1.5e9), frozenset(("seen", "wörd"))
    pairing = Pairing("p", "set", Place("old", "ann"), Place("new", "ann"), "ann", "first", "two-way")
    intent = Intent("k.1", 1, "right", "l.1", words, odd, 0, b"\1" * 16)

    async def write(state: State) -> None:
        await state.add_pairing(pairing)
        await state.add_pairing(pairing)
        await state.set_stage("p", "seeding", "begun")
        folder = FolderPair(0, "l", "r", ("Gelöscht", "a/b"), "1", "2", "3", "4", True, "limits")
        assert await state.put_folder("p", folder) == 1
        row = Pair(0, "l.1", None, 1, 1, words, frozenset(), odd, b"\2" * 16, "object", None)
        problem = Problem(1, "left", "l.2", "5.6.0", "refused", words=words, print=odd)
        await state.settle("p", [row], problems=[problem], notes=[Noted(1, "left", "l.1", "NUL taken out")])
        await state.settle("p", problems=[problem], notes=[Noted(1, "left", "l.1", "a line folded")])
        await state.intend("p", [intent])

    async def read(state: State) -> None:
        assert await state.pairings() == [(pairing, "seeding")]
        (folder,) = await state.folders("p")
        assert folder == FolderPair(1, "l", "r", ("Gelöscht", "a/b"), "1", "2", "3", "4", True, "limits")
        (row,) = await state.pairs("p", ["l.1"], [])
        assert row == Pair(1, "l.1", None, 1, 1, words, frozenset(), odd, b"\2" * 16, "object", None)
        assert [page async for page in state.base("p", 1)] == [[row]]
        assert await state.intents("p") == [intent]
        (problem,) = await state.problems("p")
        assert (problem.tries, problem.text, problem.words, problem.print) == (2, "refused", words, odd)
        assert [each.text for each in await state.notes("p")] == ["a line folded"]
        assert [(step, detail) for step, detail, _ in await state.journal("p")] == [("seeding", "begun")]
        assert (await state.count("p"), await state.count("p", 2), await state.count("q")) == (1, 0, 0)
        await state.settle("p", [row], forget=[1], intents=["k.1"], solved=[("left", "l.2")])
        assert await state.count("p") == 0
        assert await state.intents("p") == []
        assert await state.problems("p") == []

    for work in (write, read):
        state = State(where)
        try:
            asyncio.run(work(state))
        finally:
            state.close()


def test_passes_go_on_from_it(where: Path | str) -> None:
    left, right = filled(60), Memory()
    for copied in (60, 0, 1):
        state = State(where)
        if copied == 1:
            left.put(b"Subject: one more\r\n\r\ntext\r\n")
        result = asyncio.run(run_pass("p", left, right, state, Policy()))  # type: ignore[arg-type]
        state.close()
        assert result.report.copied == copied
    assert right.shown() == left.shown()


def test_a_pairing_is_worked_on_by_one_at_a_time(where: Path | str) -> None:
    async def body() -> None:
        one, two = State(where), State(where)
        try:
            async with one.locked("p") as mine, two.locked("q") as other:
                assert mine
                assert other
                if isinstance(where, str):
                    async with two.locked("p") as twice:
                        assert not twice
            async with two.locked("p") as again:
                assert again
        finally:
            one.close()
            two.close()

    asyncio.run(body())


def test_a_backup_brings_it_back_into_either_kind(where: Path | str, tmp_path: Path) -> None:
    left, right = filled(40), Memory()
    state = State(where)
    asyncio.run(run_pass("p", left, right, state, Policy()))  # type: ignore[arg-type]
    removed = next(iter(right.items))
    right.drop(removed)
    state.close()
    saved = tmp_path / "saved" / backup.FILE
    assert backup.is_there(where)
    backup.dump(where, saved)
    assert [file.name for file in saved.parent.iterdir()] == [backup.FILE]
    with pytest.raises(FileExistsError):
        backup.dump(where, saved)
    with pytest.raises(StateUnusable, match="beside none"):
        backup.restore(saved, where)
    engine = open_database(where)
    METADATA.drop_all(engine)
    with engine.begin() as connection:
        connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    engine.dispose()
    backup.restore(saved, where)
    left.put(b"Subject: one more\r\n\r\n")
    left.list_folders["new"] = Folder("new", ("New",))
    state = State(where)
    report = asyncio.run(run_pass("p", left, right, state, Policy())).report  # type: ignore[arg-type]
    state.close()
    assert (report.copied, report.problems) == (1, 0), "what a user removed stays removed"


def test_where_nothing_was_synced_there_is_nothing_to_back_up(where: Path | str) -> None:
    assert not backup.is_there(where)
