"""The operator's functions on a real spool: what they change, what they return, and the words it is told in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway import ids, telling
from gateway.answers import merge
from gateway.control import ControlError
from gateway.dispatch import lane as lanes
from gateway.operate import COMMANDS, Desk, filter_from, read_id
from gateway.spool.api import Again, DeliveryId, Done, LaneKey, QueueFilter, State, TraceEvent
from gateway.spool.durable import DurableSpool
from gateway.spool.open import open_spool
from gateway.status import NO_ANSWER
from tests.gateway.spool.builders import LANE, OTHER_LANE, Clock, Maker


@dataclass
class Lane:
    lane: lanes.Lane


@dataclass
class Live:
    """A dispatcher that only remembers what it was asked."""

    busy: set[DeliveryId] = field(default_factory=set)
    forgotten: set[DeliveryId] = field(default_factory=set)
    dropped: set[DeliveryId] = field(default_factory=set)
    reopened: set[LaneKey] = field(default_factory=set)
    flushed: list[LaneKey | None] = field(default_factory=list)
    known: dict[LaneKey, Lane] = field(default_factory=dict)

    def forget(self, ids: Collection[DeliveryId], *, dropped: bool = False) -> set[DeliveryId]:
        self.forgotten |= set(ids)
        if dropped:
            self.dropped |= set(ids)
        return self.busy & set(ids)

    async def reopen(self, keys: Collection[LaneKey]) -> None:
        self.reopened |= set(keys)

    def flush(self, key: LaneKey | None = None) -> None:
        self.flushed.append(key)

    def lanes(self) -> Mapping[LaneKey, Lane]:
        return self.known


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def maker(clock: Clock) -> Maker:
    return Maker(clock)


@pytest.fixture
async def spool(tmp_path: Path, clock: Clock) -> AsyncIterator[DurableSpool]:
    async with await open_spool(f"sqlite:///{tmp_path}/spool", tmp_path, 0, clock) as opened:
        yield opened


@pytest.fixture
def live() -> Live:
    return Live()


@pytest.fixture
def desk(spool: DurableSpool, clock: Clock, live: Live) -> Desk:
    return Desk(spool, clock, live)


async def do(desk: Desk, command: str, /, **given: Any) -> Any:
    return await COMMANDS[command](desk, given)


# -- filters


def test_filter_from() -> None:
    shown = ids.text(2**62)
    assert filter_from({"id": f"{shown}/3", "older_s": 60, "state": "held"}, 1000.0) == QueueFilter(
        message_id=2**62, n=3, older_than=940.0, state=State.HELD
    )
    assert filter_from({}, 0) == QueueFilter()


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"colour": 1}, "no condition 'colour'"),
        ({"state": "lost"}, "no state 'lost'; there are: queued, held, parked"),
        ({"id": "short"}, "it has 13 characters"),
        ({"id": "0000000000000/x"}, "write ID/N"),
    ],
)
def test_a_filter_that_cannot_be_read(where: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ControlError, match=said):
        filter_from(where, 0)


def test_read_id() -> None:
    assert read_id("0000000000010/2") == (32, 2)
    assert read_id(" 0000000000010 ") == (32, None)


# -- the queue


async def test_list_is_oldest_first_and_bounded(desk: Desk, spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    for _ in range(3):
        await spool.accept(maker.message())
        clock.now += 60
    answer = await do(desk, "queue.list", limit=2)
    assert [r["arrived_at"] for r in answer["rows"]] == [clock.now - 180, clock.now - 120]
    assert answer["more"]
    row = answer["rows"][0]
    assert (row["connector"], row["next_hop"], row["state"]) == (*LANE, "queued")
    assert telling.queue_row(row, clock.now)[1:6] == [
        "3 min",
        "smtp:ann@acme.example",
        "smtp:b0@acme.example",
        "internet",
        "mx.example",
    ]


async def test_lanes_by_age(desk: Desk, spool: DurableSpool, maker: Maker, clock: Clock, live: Live) -> None:
    await spool.accept(maker.message(2))
    clock.now += 2000
    await spool.accept(maker.message(lane=OTHER_LANE))
    down = lanes.told_down(lanes.new(lanes.Limits(), 0.5), clock.now + 120, NO_ANSWER)
    live.known[LANE] = Lane(down)
    answer = await do(desk, "queue.lanes")
    first, second = answer["lanes"]
    assert (first["queued"], first["by_age"], first["lane"]) == (2, [0, 0, 2, 0, 0, 0], "closed")
    assert (second["queued"], second["by_age"], second["lane"]) == (1, [1, 0, 0, 0, 0, 0], None)
    assert telling.lane_columns(answer["ages_s"])[6:] == [
        "<5 min", "<30 min", "<1 h", "<4 h", "<1 d", ">1 d", "oldest", "next hop's last word",
    ]  # fmt: skip
    assert telling.lane_row(first, clock.now)[-2:] == [
        "33 min",
        f"down, next probe in 2 min; {NO_ANSWER.code} {NO_ANSWER.text}",
    ]


async def test_hold_and_release(desk: Desk, spool: DurableSpool, maker: Maker, live: Live) -> None:
    message = maker.message(2)
    await spool.accept(message)
    first = f"{ids.text(message.id)}/0"
    live.busy = {(message.id, 0)}
    assert await do(desk, "queue.hold", where={"id": first}) == {"changed": [first], "in_flight": [first]}
    assert live.forgotten == {(message.id, 0)}
    held = await do(desk, "queue.list", where={"state": "held"})
    assert [r["delivery"] for r in held["rows"]] == [first]
    told = await do(desk, "queue.release", all=True)
    assert told["changed"] == [first]
    assert live.flushed == [LANE]
    assert live.reopened == {LANE}
    assert (await do(desk, "queue.list", where={"state": "held"}))["rows"] == []


async def test_a_change_needs_a_condition(desk: Desk) -> None:
    for command in ("hold", "release", "requeue", "drop"):
        with pytest.raises(ControlError, match="say which deliveries, or --all"):
            await do(desk, f"queue.{command}")


async def test_requeue_makes_due_and_gives_a_parked_one_its_time_anew(
    desk: Desk, spool: DurableSpool, maker: Maker, clock: Clock
) -> None:
    queued, parked = maker.message(), maker.message(state=State.PARKED)
    await spool.accept(queued)
    await spool.accept(parked)
    await spool.settle([Again((queued.id, 0), clock.now + 3000, 1, "4.4.1 no answer", None)])
    clock.now += 10
    told = await do(desk, "queue.requeue", all=True)
    assert len(told["changed"]) == 2
    rows = {r["delivery"][:13]: r for r in (await do(desk, "queue.list"))["rows"]}
    assert {r["state"] for r in rows.values()} == {"queued"}
    assert {r["next_attempt_at"] for r in rows.values()} == {clock.now}
    assert rows[ids.text(parked.id)]["expires_at"] == clock.now + desk.expire_after_s
    assert rows[ids.text(queued.id)]["expires_at"] < clock.now + desk.expire_after_s


async def test_drop_leaves_its_reason_in_the_trace(desk: Desk, spool: DurableSpool, maker: Maker, live: Live) -> None:
    message = maker.message()
    await spool.accept(message)
    shown = ids.text(message.id)
    assert (await do(desk, "queue.drop", where={"id": shown}, why="spam"))["changed"] == [f"{shown}/0"]
    assert live.dropped == {(message.id, 0)}
    told = await do(desk, "why", id=shown)
    assert told["recipients"][0]["state"] == "dropped"
    assert "spam" in "\n".join(telling.why_lines(told))


async def test_what_is_released_without_a_gateway_is_tried_when_there_is_one(
    spool: DurableSpool, maker: Maker, clock: Clock
) -> None:
    await spool.lane_down(LANE, clock() + 3600, 1)
    await spool.accept(maker.message())
    assert (await do(Desk(spool, clock), "queue.requeue", all=True))["changed"]
    assert await spool.lanes_down() == {}


class Oldmhs:
    """A destination as reroute asks it."""

    def next_hop(self, address: Any) -> str:
        return str(address.value).partition("@")[2]

    async def deliver(self, batch: Any) -> None:
        raise AssertionError("nothing is sent here")


async def test_reroute_asks_the_connector_for_the_next_hop(
    spool: DurableSpool, maker: Maker, clock: Clock, live: Live
) -> None:
    desk = Desk(spool, clock, live, {"oldmhs": Oldmhs()})
    message = maker.message(2)
    await spool.accept(message)
    shown = ids.text(message.id)
    told = await do(desk, "queue.reroute", where={"id": f"{shown}/1"}, to="oldmhs")
    assert told["changed"] == [f"{shown}/1"]
    rows = {r["delivery"][-1]: r for r in (await do(desk, "queue.list"))["rows"]}
    assert (rows["1"]["connector"], rows["1"]["next_hop"]) == ("oldmhs", "there.example")
    assert rows["0"]["connector"] == "internet"
    with pytest.raises(ControlError, match="no connector 'nowhere' that can send; there are: oldmhs"):
        await do(desk, "queue.reroute", where={"id": shown}, to="nowhere")
    with pytest.raises(ControlError, match="say where to"):
        await do(desk, "queue.reroute", where={"id": shown})


async def test_reroute_without_a_gateway_needs_the_next_hop(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    desk = Desk(spool, clock)
    await spool.accept(maker.message())
    with pytest.raises(ControlError, match="name the next hop too"):
        await do(desk, "queue.reroute", all=True, to="oldmhs")
    assert len((await do(desk, "queue.reroute", all=True, to_next_hop="mx2"))["changed"]) == 1
    assert (await do(desk, "queue.list"))["rows"][0]["next_hop"] == "mx2"


# -- one message


async def test_why_while_it_waits(
    desk: Desk, spool: DurableSpool, maker: Maker, clock: Clock, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "clock_time", lambda at: f"T{at - 1_800_000_000:+.0f}")
    message = maker.message()
    await spool.accept(message)
    clock.now += 5
    detail = {"to": "smtp:Bob0@there.example", "hop": "mx.example", "status": "4.2.1", "reply": "450 4.2.1 busy"}
    event = TraceEvent(message.id, clock.now, "deferred", 0, detail)
    await spool.settle([Again((message.id, 0), clock.now + 60, 1, "450 4.2.1 busy", event)])
    clock.now += 10
    told = await do(desk, "why", id=ids.text(message.id))
    assert telling.why_lines(told) == [
        f"Message {ids.text(message.id)} from smtp:ann@acme.example, {message.content.size} B",
        f"  Message-ID <{message.id}@acme.example>",
        "  came in T+0 (15 s ago) by connector internet from 127.0.0.1 (client.example) with ESMTP",
        "",
        "to smtp:b0@acme.example, written there as smtp:Bob0@there.example",
        "  where:     in the queue for connector internet, next hop mx.example",
        "  last try:  T+5 (10 s ago): 450 4.2.1 busy",
        "  next try:  T+65 (in 50 s)",
        f"  given up:  {telling.moment(message.deliveries[0].expires_at, clock.now)}; 1 attempt so far",
    ]  # fmt: skip
    live.known[LANE] = Lane(lanes.told_down(lanes.new(lanes.Limits(), 0.5), clock.now + 30, NO_ANSWER))
    lines = telling.why_lines(await do(desk, "why", id=ids.text(message.id)))
    assert any(line.startswith("  next hop:  does not answer (4.4.1") for line in lines)


@pytest.mark.parametrize("kind", ["delivered", "failed"])
async def test_why_after_the_end(desk: Desk, spool: DurableSpool, maker: Maker, clock: Clock, kind: str) -> None:
    message = maker.message()
    await spool.accept(message)
    event = TraceEvent(message.id, clock.now + 1, kind, 0, {"reply": "250 2.0.0 ok as 77", "remote": "mx1.example"})
    await spool.settle([Done((message.id, 0), event)])
    told = await do(desk, "why", id=ids.text(message.id))
    assert told["recipients"][0]["state"] == kind
    text = "\n".join(telling.why_lines(told))
    assert f"{kind} " in text
    assert "mx1.example said: 250 2.0.0 ok as 77" in text


async def test_why_of_one_delivery_and_of_nothing(desk: Desk, spool: DurableSpool, maker: Maker) -> None:
    message = maker.message(3)
    await spool.accept(message)
    told = await do(desk, "why", id=f"{ids.text(message.id)}/2")
    assert [r["n"] for r in told["recipients"]] == [2]
    assert await do(desk, "why", id=ids.text(5)) is None


async def test_trace_by_id_message_id_and_address(desk: Desk, spool: DurableSpool, maker: Maker) -> None:
    message, other = maker.message(), maker.message(sender="zoe@far.example")
    await spool.accept(message)
    await spool.accept(other)
    shown = ids.text(message.id)
    for what in (shown, f"<{message.id}@acme.example>", "ann@acme.example"):
        answer = await do(desk, "trace", what=what)
        assert [m["id"] for m in answer["messages"]] == [shown]
    lines = telling.trace_lines(answer["messages"][0])
    assert "accepted from smtp:ann@acme.example" in lines[0]
    assert lines[1].endswith("came by connector internet from 127.0.0.1 (client.example) with ESMTP")
    assert lines[2].endswith("to smtp:b0@acme.example as smtp:Bob0@there.example by internet, next hop mx.example")
    with pytest.raises(ControlError, match="say what to trace"):
        await do(desk, "trace", what=" ")


# -- several workers


def test_answers_about_one_delivery_are_told_once() -> None:
    row = {"delivery": "a/0", "arrived_at": 1.0}
    later = {"delivery": "b/0", "arrived_at": 2.0}
    answers = [{"rows": [later, row], "more": False, "limit": 9}, {"rows": [row], "more": False, "limit": 9}]
    assert merge("queue.list", answers) == {"rows": [row, later], "more": False, "limit": 9}
    bounded = [{**a, "limit": 1} for a in answers]
    assert merge("queue.list", bounded) == {"rows": [row], "more": True, "limit": 1}
    changed = [{"changed": ["b/0", "a/0"], "in_flight": []}, {"changed": ["a/0"], "in_flight": ["a/0"]}]
    assert merge("queue.hold", changed) == {"changed": ["a/0", "b/0"], "in_flight": ["a/0"]}
    event = {"at": 1.0, "kind": "accepted", "n": None, "detail": {}}
    traces = [{"messages": [{"id": "a", "events": [event]}], "more": False}] * 2
    assert merge("trace", traces) == {"messages": [{"id": "a", "events": [event]}], "more": False}
    assert merge("why", [None, {"recipients": []}]) == {"recipients": []}
    assert merge("why", [None, None]) is None


def test_lanes_are_summed_but_not_where_the_spool_is_shared() -> None:
    def answer(shared: bool) -> dict[str, Any]:
        lane = {
            "connector": "x", "next_hop": "y", "queued": 2, "held": 0, "moving": 0, "parked": 0, "by_age": [2, 0],
            "oldest_at": 5.0, "reason": "", "lane": None, "closed_until": None, "lane_reason": "",
        }  # fmt: skip
        return {"lanes": [lane], "ages_s": [60.0], "more": False, "shared": shared}

    assert merge("queue.lanes", [answer(False), answer(False)])["lanes"][0]["queued"] == 4
    assert merge("queue.lanes", [answer(True), answer(True)])["lanes"][0]["queued"] == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (86_400, "1 d"),
        (190_800, "2 d 5 h"),
    ],
)
def test_span(seconds: float, text: str) -> None:
    assert telling.span(seconds) == text
