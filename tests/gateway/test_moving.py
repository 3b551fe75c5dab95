"""Mover: a node's queue in accord with who is being cut over, whatever was in it and whenever it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.ids import IdSource
from gateway.log import Silence
from gateway.message import Notify
from gateway.moving import Mover
from gateway.planner import Planner
from gateway.spool.api import DeliveryId, LaneKey, QueueFilter, SpoolError, State, Stored
from gateway.spool.durable import DurableSpool
from gateway.spool.open import open_spool
from gateway.status import SPOOL_DOWN
from mappings.identity import Identity, Stage, addresses
from mappings.network import parse
from mappings.store import Head
from tests.gateway.test_planner import BOB, NOW, mail, planner, ways

ANN = Identity("Ann Lee", addresses(parse("smtp:ann@merged.example")), home="old", id=7)
CUT = replace(ANN, stage=Stage.CUTTING)
MOVED = Identity(
    "Ann Lee", addresses(parse("smtp:a.lee@merged.example"), former=(parse("smtp:ann@merged.example"),)),
    home="new", stage=Stage.MOVED, id=7,
)  # fmt: skip


@dataclass
class Mapping:
    """What a node says of itself in the mapping's database."""

    said: list[int] = field(default_factory=list)
    has_said: asyncio.Event = field(default_factory=asyncio.Event)

    homes: set[str | None] = field(default_factory=lambda: {"old"})

    async def homes_of(self, ids: Collection[int]) -> set[str | None]:
        assert set(ids) == {7}
        return self.homes

    async def confirm(self, node: str, seen: Head) -> None:
        assert node == "0"
        self.said.append(seen.number)
        self.has_said.set()


@dataclass
class Live:
    """A dispatcher; `busy` is what it is sending."""

    busy: set[DeliveryId] = field(default_factory=set)
    flushed: list[LaneKey | None] = field(default_factory=list)

    def forget(self, ids: Collection[DeliveryId], *, dropped: bool = False) -> set[DeliveryId]:
        return self.busy & set(ids)

    def flush(self, key: LaneKey | None = None) -> None:
        self.flushed.append(key)


class Node:
    """A node's parts, and a planner that a test replaces."""

    def __init__(self, spool: DurableSpool) -> None:
        self.spool = spool
        self.mapping, self.live = Mapping(), Live()
        self.ids = IdSource(1, lambda: NOW)
        self.planner = self.plan(ANN)
        self.now = 1_800_000_000.0
        self.mover = Mover(
            spool, self.mapping, self.live, lambda: self.planner, lambda: self.now, Silence({})  # type: ignore[arg-type]  # a stand-in
        )  # fmt: skip

    def plan(self, *people: Identity) -> Planner:
        """Return a planner of these people and Bob, whose ids go on from the last one's."""
        made = planner(*people, BOB)
        made._ids = self.ids
        return made

    async def take(self, to: str = "smtp:ann@merged.example") -> Stored:
        """Take a message in, and give its leases back."""
        stored = self.planner.plan(mail(to)).message
        await self.spool.accept(stored)
        await self.spool.give_back([d.id for d in stored.deliveries])
        return stored

    async def in_force(self, number: int, *people: Identity) -> None:
        """Put a revision in force, and let the mover do its work."""
        self.planner = self.plan(*people)
        cutting = frozenset(who.id for who in people if who.stage is Stage.CUTTING)
        self.mover.in_force(Head(number, "mark"), cutting)
        await self.step()

    async def step(self) -> None:
        """Do what is to be done now."""
        await self.mover._try(confirms=True)

    async def states(self) -> dict[DeliveryId, tuple[State, str, str]]:
        rows = await self.spool.rows(QueueFilter(), 100)
        return {r.delivery.id: (r.delivery.state, r.delivery.lane[0], str(r.delivery.address)) for r in rows}


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with await open_spool(f"sqlite:///{tmp_path}/spool", Path("/")) as spool:
        yield Node(spool)


async def test_what_waits_is_kept_and_goes_to_the_new_home(node: Node) -> None:
    before, bobs = await node.take(), await node.take("smtp:bob@merged.example")
    await node.in_force(2, CUT)
    assert node.mapping.said == [2]
    later = await node.take()
    states = await node.states()
    assert states[before.id, 0] == states[later.id, 0] == (State.MOVING, "old", "smtp:ann@merged.example")
    assert {states[bobs.id, n][0] for n in (0, 1)} == {State.QUEUED}, "Bob's copy goes to the same system"
    await node.in_force(3, MOVED)
    states = await node.states()
    assert states[before.id, 0] == states[later.id, 0] == (State.QUEUED, "new", "smtp:a.lee@merged.example")
    assert node.mapping.said == [2, 3]
    assert node.live.flushed == [("new", "merged.example")]


async def test_it_goes_on_as_it_was_where_the_cut_over_is_given_up_or_nobody_has_the_address(node: Node) -> None:
    before = await node.take()
    ways_out: list[tuple[int, tuple[Identity, ...]]] = [(2, (ANN,)), (4, ())]
    for number, people in ways_out:
        await node.in_force(number, CUT)
        assert (await node.states())[before.id, 0][0] is State.MOVING
        await node.in_force(number + 1, *people)
        assert (await node.states())[before.id, 0] == (State.QUEUED, "old", "smtp:ann@merged.example")


async def test_what_an_operator_holds_or_has_sent_elsewhere_is_left_alone(node: Node) -> None:
    held, elsewhere = await node.take(), await node.take()
    await node.spool.change(QueueFilter(message_id=held.id), state=State.HELD)
    await node.spool.change(QueueFilter(message_id=elsewhere.id), lane=("backup", "host"))
    await node.in_force(2, CUT)
    states = await node.states()
    assert (states[held.id, 0][0], states[elsewhere.id, 0][:2]) == (State.HELD, (State.QUEUED, "backup"))


async def test_a_copy_for_the_second_mailbox_is_not_kept(node: Node) -> None:
    node.planner = node.plan(replace(ANN, copy_home="new"))
    stored = await node.take()
    await node.in_force(2, replace(CUT, copy_home="new"))
    assert [(d[0], d[1]) for d in (await node.states()).values()] == [(State.MOVING, "old"), (State.QUEUED, "new")]
    assert [way[0] for way in ways(stored)] == ["old", "new"]


async def test_a_home_that_the_routes_decide_is_held_too(node: Node) -> None:
    node.planner = node.plan(replace(ANN, home=None))
    stored = await node.take()
    node.mapping.homes = {None}
    await node.in_force(2, replace(CUT, home=None))
    assert (await node.states())[stored.id, 0][:2] == (State.MOVING, "internet")


async def test_nothing_is_said_while_something_is_on_its_way(node: Node) -> None:
    stored = node.planner.plan(mail("smtp:ann@merged.example")).message
    await node.spool.accept(stored)  # leased, and being sent
    node.live.busy = {(stored.id, 0)}
    await node.in_force(2, CUT)
    assert node.mapping.said == []
    running = asyncio.ensure_future(node.mover.run())
    try:
        await asyncio.sleep(0.3)
        assert node.mapping.said == []
        await node.spool.give_back([(stored.id, 0)])
        async with asyncio.timeout(60):
            await node.mapping.has_said.wait()
        assert node.mapping.said == [2]
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_what_was_planned_before_and_stored_after_is_found(node: Node) -> None:
    planned = node.planner.plan(mail("smtp:ann@merged.example")).message
    await node.in_force(2, CUT)
    kept = node.planner.plan(mail("smtp:ann@merged.example")).message
    await node.spool.accept(planned)
    await node.spool.give_back([(planned.id, 0)])
    node.now += 6
    await node.step()
    assert (await node.states())[planned.id, 0][0] is State.MOVING
    await node.in_force(3, MOVED)
    await node.spool.accept(kept)  # it was to wait for what is over
    node.mover.look()
    await node.step()
    assert {state[:2] for state in (await node.states()).values()} == {(State.QUEUED, "new")}


async def test_a_spool_that_is_away_is_tried_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = await node.take()
    real = node.spool.waiting

    async def away(*given: Any) -> Any:
        raise SpoolError(SPOOL_DOWN)

    monkeypatch.setattr(node.spool, "waiting", away)
    await node.in_force(2, CUT)
    assert node.mapping.said == []
    monkeypatch.setattr(node.spool, "waiting", real)
    await node.step()
    assert (node.mapping.said, (await node.states())[stored.id, 0][0]) == ([2], State.MOVING)


async def test_a_node_says_where_it_stands_at_its_start(node: Node) -> None:
    await node.in_force(5, ANN)
    assert node.mapping.said == [5]
    await node.in_force(6, ANN)
    await node.in_force(0)
    assert node.mapping.said == [5, 6]


async def test_a_start_does_not_wait_until_it_may_say_so(node: Node) -> None:
    stored = await node.take()
    node.planner = node.plan(CUT)
    node.mover.in_force(Head(2, "mark"), frozenset({7}))
    await node.mover.begin()
    assert node.mapping.said == []
    assert (await node.states())[stored.id, 0][0] is State.MOVING


def test_a_report_waits_too() -> None:
    planned = planner(CUT)
    report = planned.plan_report(parse("smtp:ann@merged.example"), mail("smtp:x@y.example").content)
    assert report.deliveries[0].state is State.MOVING
    assert report.deliveries[0].notify is Notify.NEVER
    (delivery,) = planned.plan(mail("smtp:ann@merged.example")).message.deliveries
    assert delivery.state is State.MOVING
    assert planned.plan(mail("smtp:ann@merged.example")).message.why[0].endswith("home of the identity: old")
    assert "cut over: what comes waits here" in planned.plan(mail("smtp:ann@merged.example")).message.why[0]
