"""Any order of accepts, claims, outcomes, operator's changes and crashes leaves the spool as a plain model says."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text

from gateway.message import Content, Traits
from gateway.spool.api import DeliveryId, DuplicateHandOver, LaneKey, QueueFilter, State, Stored
from gateway.spool.durable import DurableSpool
from gateway.spool.open import open_spool
from gateway.spool.options import SpoolOptions
from gateway.spool.postgres import PostgresStore
from gateway.spool.schema import metadata
from tests.gateway.spool.builders import LANE, OTHER_LANE, Clock, Maker
from tests.peers.postgres import PostgresServer

T = TypeVar("T")
LANES = st.sampled_from([LANE, OTHER_LANE, ("internet", "other.example")])
ALL = QueueFilter()


@dataclass
class Entry:
    """What the model knows of a delivery."""

    lane: LaneKey
    next_attempt_at: float
    expires_at: float
    priority: int
    state: State = State.QUEUED
    attempts: int = 0
    leased: bool = True


@dataclass
class Model:
    entries: dict[DeliveryId, Entry] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)
    trace: dict[int, list[str]] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)

    def claimable(self, lane: LaneKey, now: float) -> set[DeliveryId]:
        return {
            i
            for i, e in self.entries.items()
            if e.lane == lane and e.state is State.QUEUED and not e.leased and e.next_attempt_at <= now
        }


class SpoolMachine(RuleBasedStateMachine):
    server: PostgresServer | None = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.maker = Maker(self.clock)
        self.model = Model()
        self.folder = Path(tempfile.mkdtemp(prefix="spool-machine-"))
        self.generation = 0
        self.spool: DurableSpool

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(what)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/{self.generation}" if self.server is None else self.server.url("machine")

    async def open(self) -> None:
        self.spool = await open_spool(
            self.url, Path("/"), 0, self.clock, SpoolOptions(settle_delay_s=0.0, wal_pages=50, trace_days=1e4)
        )

    @initialize()
    def start(self) -> None:
        self.run(self.open())
        if self.server is not None:
            names = ", ".join(t for t in metadata.tables if t not in ("nodes", "meta"))
            self.run(self.spool._work(lambda store: store.connection.execute(text(f"TRUNCATE {names}"))))

    def teardown(self) -> None:
        self.run(self.spool.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    # -- mail comes in

    def _add(self, message: Stored) -> None:
        for d in message.deliveries:
            self.model.entries[d.id] = Entry(
                d.lane, d.next_attempt_at, d.expires_at, d.priority, d.state, leased=d.state is State.QUEUED
            )
        self.model.contents[message.id] = b"".join(message.content.chunks())
        self.model.trace[message.id] = ["accepted"]

    @rule(
        recipients=st.integers(1, 4), sender=st.sampled_from("abc"), priority=st.sampled_from([0, 0, 5]), lane=LANES,
        key=st.sampled_from([None, None, "k1", "k2"]), state=st.sampled_from([State.QUEUED] * 3 + [State.HELD]),
    )  # fmt: skip
    def accept(self, recipients: int, sender: str, priority: int, lane: LaneKey, key: str | None, state: State) -> None:
        message = self.maker.message(
            recipients, sender=f"{sender}@x.example", priority=priority, lane=lane, dedupe_key=key, state=state
        )
        result = self.run(self.spool.accept(message))
        if key is not None and key in self.model.keys:
            assert result == DuplicateHandOver(self.model.keys[key])
            return
        assert result is None
        if key is not None:
            self.model.keys[key] = message.id
        self._add(message)

    @rule(count=st.integers(2, 40), lane=LANES)
    def accept_many(self, count: int, lane: LaneKey) -> None:
        messages = [self.maker.message(sender=f"{i % 3}@x.example", lane=lane) for i in range(count)]

        async def together() -> None:
            await asyncio.gather(*(self.spool.accept(m) for m in messages))

        self.run(together())
        for message in messages:
            self._add(message)

    @rule(size=st.integers(262_145, 900_000))
    def accept_large(self, size: int) -> None:
        async def write() -> Content:
            writer = self.spool.content()
            writer.write(b"A: b\r\n\r\n")
            writer.write(bytes(size))
            return await writer.finish(Traits(True, False, True))

        message = self.maker.message(content=self.run(write()))
        assert self.run(self.spool.accept(message)) is None
        self._add(message)

    # -- and goes out

    @rule(lane=LANES, limit=st.integers(1, 20))
    def claim(self, lane: LaneKey, limit: int) -> None:
        claimable = self.model.claimable(lane, self.clock())
        claims = self.run(self.spool.claim(lane, limit, self.clock()))
        got = [d.id for c in claims for d in c.deliveries]
        assert set(got) <= claimable
        assert len(got) == len(set(got)) == min(limit, len(claimable))
        if got and len(got) < len(claimable):
            # Nothing of a lower priority goes before what is left of a higher one, but for its own message.
            left = max(self.model.entries[i].priority for i in claimable - set(got))
            assert all(c.deliveries[0].priority >= left for c in claims)
        for claim in claims:
            assert b"".join(claim.message.content.chunks()) == self.model.contents[claim.message.id]
            for d in claim.deliveries:
                entry = self.model.entries[d.id]
                assert (d.attempts, d.lane, d.expires_at) == (entry.attempts, entry.lane, entry.expires_at)
                entry.leased = True

    def _leased(self) -> list[DeliveryId]:
        return [i for i, e in self.model.entries.items() if e.leased]

    def _gone(self, id: DeliveryId, kind: str) -> None:
        del self.model.entries[id]
        self.model.trace[id[0]].append(kind)

    @precondition(lambda self: self._leased())
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self._leased()), min_size=1, max_size=10, unique=True))
        outcomes = []
        for id in chosen:
            if data.draw(st.booleans()):
                outcomes.append(self.maker.done(id))
                self._gone(id, "delivered")
                continue
            entry = self.model.entries[id]
            entry.attempts += 1
            entry.next_attempt_at = self.clock() + 60
            keep = data.draw(st.booleans())
            entry.leased = keep and entry.state is State.QUEUED
            outcomes.append(self.maker.again(id, after=60, attempts=entry.attempts, keep_lease=keep))  # type: ignore[arg-type]  # Done or Again
            self.model.trace[id[0]].append("deferred")
        self.run(self.spool.settle(outcomes))

    @rule()
    def expire(self) -> None:
        """As dispatch does: what it claims past its time fails, with a report."""
        for id in self._leased():
            if self.model.entries[id].expires_at <= self.clock():
                report = replace(self.maker.message(), is_report=True)
                self.run(self.spool.settle([self.maker.done(id, "failed")], [report]))
                self._gone(id, "failed")
                self._add(report)

    @precondition(lambda self: self._leased())
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(self._leased()), min_size=1, unique=True))
        self.run(self.spool.give_back(chosen))
        for id in chosen:
            self.model.entries[id].leased = False

    @rule(seconds=st.sampled_from([1.0, 61.0, 3600.0, 200_000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    # -- the operator

    def _matching(self, lane: LaneKey) -> tuple[QueueFilter, list[DeliveryId]]:
        ids = sorted(i for i, e in self.model.entries.items() if e.lane == lane)
        return QueueFilter(connector=lane[0], next_hop=lane[1]), ids

    @rule(lane=LANES, state=st.sampled_from([State.HELD, State.QUEUED, State.PARKED]))
    def set_state(self, lane: LaneKey, state: State) -> None:
        where, ids = self._matching(lane)
        assert self.run(self.spool.change(where, state=state)) == ids
        for id in ids:
            entry = self.model.entries[id]
            if state is not State.QUEUED:
                kind = state.value
            else:
                kind = "requeued" if entry.state is State.QUEUED else "released"
            self.model.trace[id[0]].append(kind)
            entry.state = state  # a lease stays, since it may be on its way

    @rule(lane=LANES, to=LANES)
    def reroute(self, lane: LaneKey, to: LaneKey) -> None:
        where, ids = self._matching(lane)
        assert self.run(self.spool.change(where, lane=to, next_attempt_at=self.clock())) == ids
        for id in ids:
            self.model.trace[id[0]].append("rerouted")
            entry = self.model.entries[id]
            entry.lane, entry.next_attempt_at = to, self.clock()

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        message_id = data.draw(st.sampled_from(sorted({i[0] for i in self.model.entries})))
        ids = sorted(i for i in self.model.entries if i[0] == message_id)
        assert self.run(self.spool.drop(QueueFilter(message_id=message_id), "test")) == ids
        for id in ids:
            self._gone(id, "dropped")

    # -- and the power fails

    @rule()
    def crash(self) -> None:
        if self.server is None:
            # What lies on the disk at this moment, the log not written back.
            shutil.copytree(self.folder / str(self.generation), self.folder / str(self.generation + 1))
            self.run(self.spool.close())
            self.generation += 1
        else:
            store = self.spool._store
            assert isinstance(store, PostgresStore)
            assert store._raw is not None
            store._raw.close()  # no farewell: the node's row and its leases stay
            self.run(self.spool.close())
        self.run(self.open())
        for entry in self.model.entries.values():
            entry.leased = False

    @rule()
    def stop_and_start(self) -> None:
        self.run(self.spool.close())
        self.run(self.open())
        for entry in self.model.entries.values():
            entry.leased = False

    # -- at any time

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        if not hasattr(self, "spool"):
            return
        rows = self.run(self.spool.rows(ALL, 100_000))
        found = {
            d.id: (d.lane, d.next_attempt_at, d.state, d.attempts, leased)
            for d, leased in ((r.delivery, r.leased) for r in rows)
        }
        assert found == {
            i: (e.lane, e.next_attempt_at, e.state, e.attempts, e.leased) for i, e in self.model.entries.items()
        }

    @invariant()
    def due_is_as_the_model_says(self) -> None:
        if not hasattr(self, "spool"):
            return
        expected: dict[LaneKey, tuple[int, float]] = {}
        for e in self.model.entries.values():
            if e.state is State.QUEUED and not e.leased:
                count, earliest = expected.get(e.lane, (0, float("inf")))
                expected[e.lane] = (count + (e.next_attempt_at <= self.clock()), min(earliest, e.next_attempt_at))
        due = self.run(self.spool.due(self.clock()))
        assert {d.lane: (d.due, d.earliest_at) for d in due} == {
            lane: (min(256, count), earliest) for lane, (count, earliest) in expected.items()
        }

    @rule()
    def traces_and_contents_are_whole(self) -> None:
        for id, kinds in self.model.trace.items():
            assert sorted(e.kind for e in self.run(self.spool.trace(message_id=id))) == sorted(kinds)
            stored = self.run(self.spool.load(id))
            assert (stored is not None) == any(i[0] == id for i in self.model.entries)
            if stored is not None:
                assert b"".join(stored.content.chunks()) == self.model.contents[id]
        assert self.run(self.spool.fsck()) == []


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.timeout(300)
def test_machine(database: str, request: pytest.FixtureRequest) -> None:
    class Machine(SpoolMachine):
        pass

    server: PostgresServer | None = None
    if database == "postgresql":
        server = request.getfixturevalue("postgres")
        server.new_database("machine")
        Machine.server = server
    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=12, stateful_step_count=25, suppress_health_check=list(HealthCheck)),
    )
    if server is not None:
        server.drop_database("machine")
