"""The journal against a model that remembers everything, over kills and full disks."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.mqtt import journal as module
from connectors.mqtt.journal import SqliteJournal
from connectors.mqtt.store import Store, StoreFault
from connectors.mqtt.wire.values import Phase
from tests.connectors.mqtt.test_store import page_room, room


@asynccontextmanager
async def opened(path: Path, session: str = "gw", now: float = 1000.0) -> AsyncIterator[SqliteJournal]:
    store = await Store.open(path)
    try:
        yield await SqliteJournal.open(store, session, lambda: now)
    finally:
        await store.close()


def killed(path: Path) -> Path:
    """Return the file as a process that is killed now leaves it."""
    folder = Path(tempfile.mkdtemp(dir=path.parent.parent))
    for each in path.parent.iterdir():
        shutil.copy(each, folder / each.name)
    return folder / path.name


packets = st.integers(1, 4)
keys = st.sampled_from(["a", "b", "ünder\n'\"", "d"])
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["open", "close", "settle"]), packets),
        st.tuples(st.just("sent"), keys, st.integers(1, 65535)),
        st.tuples(st.sampled_from(["released", "done", "refused"]), keys),
        st.tuples(st.just("forget"), st.sampled_from(["", "broker-2"])),
        st.tuples(st.just("subscribe"), st.lists(st.text(max_size=5), max_size=2)),
        st.tuples(st.sampled_from(["commit", "kill", "full"])),
    ),
    max_size=40,
)


class Model:
    """What a journal says, said in the plainest way."""

    def __init__(self) -> None:
        self.inward: dict[int, int] = {}
        self.settled: set[int] = set()
        self.outward: dict[str, tuple[int, Phase]] = {}
        self.broker = ""
        self.subscribed: list[str] = []

    def apply(
        self, journal: SqliteJournal, step: tuple[Any, ...], given_before: set[int]
    ) -> list[asyncio.Future[None]]:
        match step:
            case ("open", packet):
                generation, future = journal.open_inward(packet)
                if packet in self.inward:
                    assert generation == self.inward[packet]
                else:
                    assert generation not in given_before
                    given_before.add(generation)
                    self.inward[packet] = generation
            case ("close", packet):
                future = journal.close_inward(packet)
                self.inward.pop(packet, None)
                self.settled.discard(packet)
            case ("settle", packet):
                journal.settler(packet)()
                self.settled |= {packet} & self.inward.keys()
                return []
            case ("sent", key, packet):
                future = journal.sent(key, packet)
                self.outward[key] = (packet, Phase.SENT)
            case ("released" | "done" as how, key) if key not in self.outward:
                assert isinstance(getattr(journal, how)(key).exception(), StoreFault)
                return []
            case ("released", key):
                future = journal.released(key)
                self.outward[key] = (self.outward[key][0], Phase.RELEASED)
            case ("done", key):
                future = journal.done(key)
                self.outward[key] = (self.outward[key][0], Phase.DONE)
            case ("refused", key):
                future = journal.refused(key)
                self.outward.pop(key, None)
            case ("forget", broker):
                future = journal.forget(broker)
                self.inward, self.settled, self.broker, self.subscribed = {}, set(), broker, []
                self.outward = {key: each for key, each in self.outward.items() if each[1] is Phase.DONE}
            case ("subscribe", lines):
                future = journal.subscribe(lines)
                self.subscribed = lines
            case _:
                raise AssertionError(step)
        return [future]

    async def check(self, journal: SqliteJournal) -> None:
        assert dict(journal.inward()) == self.inward
        assert dict(journal.outward()) == self.outward
        assert journal.broker() == self.broker
        assert list(journal.subscribed()) == self.subscribed
        assert {packet for packet in range(1, 5) if await journal.is_settled(packet)} == self.settled

    def copy(self) -> Model:
        other = Model()
        other.inward, other.settled, other.outward = dict(self.inward), set(self.settled), dict(self.outward)
        other.broker, other.subscribed = self.broker, self.subscribed
        return other


@settings(max_examples=80, deadline=None)
@given(steps)
def test_it_says_what_was_done_over_kills_and_full_disks(done: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder) / "first" / "in.db", done))


async def play(path: Path, done: list[tuple[Any, ...]]) -> None:
    model, durable = Model(), Model()
    given_before: set[int] = set()
    store = await Store.open(path)
    journal = await SqliteJournal.open(store, "gw")
    waiting: list[asyncio.Future[None]] = []
    for step in done:
        if step == ("full",):
            # Everything since the last commit is lost, and its futures say so.
            await asyncio.gather(*waiting)
            await store.write(lambda connection: None)  # a settled message waits for nobody
            durable, waiting = model.copy(), []
            await store.write(room(0))
            lost = [journal.forget(), journal.open_inward(1)[1]]
            lost += [journal.sent(f"{n}" * 300, 1) for n in range(100)]
            given_before.update(journal.inward().values())
            assert all(isinstance(each, StoreFault) for each in await asyncio.gather(*lost, return_exceptions=True))
            await store.write(page_room)
            await store.write(lambda connection: None)
        elif step[0] in ("commit", "kill"):
            await asyncio.gather(*waiting)
            await model.check(journal)
            durable, waiting = model.copy(), []
        else:
            waiting += model.apply(journal, step, given_before)
            continue
        await model.check(journal)
        if step == ("kill",):
            await store.write(lambda connection: None)
            left = killed(path)
            await store.close()
            path, store = left, await Store.open(left)
            journal = await SqliteJournal.open(store, "gw")
            await durable.check(journal)
    await asyncio.gather(*waiting)
    await store.close()


async def test_nothing_is_said_to_be_kept_before_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path / "a" / "in.db") as journal:
        await journal.sent("first", 1)
        futures = [journal.open_inward(n)[1] for n in range(1, 101)]
        assert not any(future.done() for future in futures)
        assert len(journal.inward()) == 100, "known at once"
        await asyncio.gather(*futures)
        async with opened(killed(tmp_path / "a" / "in.db")) as other:
            assert dict(other.inward()) == dict(journal.inward())


async def test_sessions_share_a_file_and_nothing_else(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "in.db")
    one, two = [await SqliteJournal.open(store, name) for name in ("one", "two")]
    await asyncio.gather(one.open_inward(1)[1], one.sent("a", 5), two.open_inward(2)[1], two.subscribe(["x"]))
    await two.forget("elsewhere")
    await store.close()
    store = await Store.open(tmp_path / "in.db")
    one, two = [await SqliteJournal.open(store, name) for name in ("one", "two")]
    assert (list(one.inward()), dict(one.outward()), one.broker()) == ([1], {"a": (5, Phase.SENT)}, "")
    assert (list(two.inward()), dict(two.outward()), two.broker()) == ([], {}, "elsewhere")
    await store.close()


async def test_a_journal_that_was_removed_gives_no_generation_again(tmp_path: Path) -> None:
    given_before = set()
    for now in (1000.0, 1000.01):
        async with opened(tmp_path / str(now) / "in.db", now=now) as journal:
            for _ in range(200):
                generation, future = journal.open_inward(1)
                assert generation not in given_before
                given_before.add(generation)
                journal.close_inward(1)
            await future


async def test_what_is_done_goes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DONE_MOST", 10)
    path = tmp_path / "in.db"
    async with opened(path) as journal:
        await journal.sent("open", 1)
        for n in range(25):
            journal.sent(f"{n}", n + 2)
            await journal.done(f"{n}")
        assert set(journal.outward()) == {"open", *map(str, range(15, 25))}
        journal.sent("15", 99)  # once more, from the beginning
        await journal.done("15")
        await asyncio.gather(journal.sent("x", 100), journal.done("x"))
        assert set(journal.outward()) == {"open", "15", "x", *map(str, range(17, 25))}
    async with opened(path) as journal:
        assert set(journal.outward()) == {"open", "15", "x", *map(str, range(17, 25))}
        monkeypatch.setattr(module, "DONE_S", 0.0)
        await asyncio.sleep(0.01)
        await asyncio.gather(journal.sent("y", 100), journal.done("y"))
        assert set(journal.outward()) <= {"open", "y"}
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM outward").fetchone()[0] <= 2
    connection.close()


async def test_a_settler_knows_its_message(tmp_path: Path) -> None:
    async with opened(tmp_path / "in.db") as journal:
        journal.open_inward(1)
        settle = journal.settler(1)
        await journal.close_inward(1)
        await journal.open_inward(1)[1]
        settle()
        assert not await journal.is_settled(1), "another message has the identifier by now"
        journal.settler(1)()
        assert await journal.is_settled(1)
        assert not await journal.is_settled(2)


async def test_twenty_thousand_messages_are_written_by_few_statements(tmp_path: Path) -> None:
    statements: list[str] = []
    async with opened(tmp_path / "in.db") as journal:
        await journal._store.write(lambda connection: connection.set_trace_callback(statements.append))
        for base in range(0, 20_000, 1000):
            await asyncio.gather(*(journal.open_inward(n % 60_000 + 1)[1] for n in range(base, base + 1000)))
            await asyncio.gather(*(journal.close_inward(n % 60_000 + 1) for n in range(base, base + 1000)))
        assert not journal.inward()
    assert len(statements) < 20 * 2 * 6


async def test_a_generation_whose_row_was_never_written_is_not_given_again(tmp_path: Path) -> None:
    path = tmp_path / "first" / "in.db"
    async with opened(path) as journal:
        left = killed(path)
        given_before = {journal.open_inward(n % 60_000 + 1)[0] for n in range(module.RANGE // 3)}
        later = killed(path)
    for each in (left, later):
        async with opened(each) as journal:
            assert journal.open_inward(1)[0] > max(given_before)


async def test_ranges_follow_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RANGE", 10)
    last = 0
    for _ in range(3):
        async with opened(tmp_path / "in.db") as journal:
            for _ in range(40):
                generation, future = journal.open_inward(1)
                assert generation > last
                last = generation
                journal.close_inward(1)
                await future
