"""What any spool promises, on both databases."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from gateway.message import Content, Traits
from gateway.spool import operate
from gateway.spool.api import DuplicateHandOver, QueueFilter, SpoolError, State, TraceEvent
from gateway.spool.durable import DurableSpool
from gateway.status import SPOOL_DOWN
from tests.gateway.spool.builders import LANE, OTHER_LANE, Clock, Maker, smtp
from tests.gateway.spool.conftest import OpenSpool

ALL = QueueFilter()


async def test_accept_keeps_everything_of_a_message(spool: DurableSpool, maker: Maker) -> None:
    message = maker.message(3, body=bytes(range(256)) * 20)
    message = replace(message, is_report=True, content=Content(message.content.octets(), attributes={"ftn.area": "Ä"}))
    assert await spool.accept(message) is None
    stored = await spool.load(message.id)
    assert stored is not None
    assert replace(stored, content=message.content) == message
    assert stored.content.octets() == message.content.octets()
    assert stored.content.attributes == {"ftn.area": "Ä"}


async def test_an_address_keeps_its_key(spool: DurableSpool, maker: Maker) -> None:
    message = maker.message()
    await spool.accept(message)
    stored = await spool.load(message.id)
    assert stored is not None
    assert stored.deliveries[0].address.key == message.deliveries[0].address.key
    assert stored.envelope.recipients[0].address.key == message.envelope.recipients[0].address.key


@pytest.mark.parametrize("value", ["a b@x", "jörg@x", "日本@x", 'a"\\b@x', "100%_@x", "a:b:c"])
async def test_odd_addresses_survive_and_are_found(spool: DurableSpool, maker: Maker, value: str) -> None:
    message = maker.message()
    odd = smtp(value)
    message = replace(message, deliveries=(replace(message.deliveries[0], address=odd, original=odd),))
    await spool.accept(message)
    stored = await spool.load(message.id)
    assert stored is not None
    assert stored.deliveries[0].address == odd
    assert len(await spool.rows(QueueFilter(recipient=value), 10)) == 1
    assert len(await spool.rows(QueueFilter(recipient=str(odd)), 10)) == 1
    assert [e.message_id for e in await spool.trace(text=value)] == [message.id]


async def test_what_is_accepted_is_leased_and_not_due(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    await spool.accept(maker.message())
    assert await spool.due(clock()) == []
    assert await spool.claim(LANE, 10, clock()) == []
    assert [row.leased for row in await spool.rows(ALL, 10)] == [True]


async def test_last_delivery_takes_the_message_along(spool: DurableSpool, maker: Maker) -> None:
    message = maker.message(2)
    await spool.accept(message)
    await spool.settle([maker.done((message.id, 0))])
    assert [d.id for d in (await spool.load(message.id)).deliveries] == [(message.id, 1)]  # type: ignore[union-attr]  # it is there
    await spool.settle([maker.done((message.id, 1))])
    assert await spool.load(message.id) is None
    assert [e.kind for e in await spool.trace(message_id=message.id)] == ["accepted", "delivered", "delivered"]


async def test_a_deferral_waits_for_its_time(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    message = maker.message()
    await spool.accept(message)
    await spool.settle([maker.again(message.deliveries[0].id, after=60, attempts=3, delay_reported=True)])
    (due,) = await spool.due(clock())
    assert (due.lane, due.due, due.earliest_at) == (LANE, 0, clock() + 60)
    assert await spool.claim(LANE, 10, clock()) == []
    clock.now += 60
    (claim,) = await spool.claim(LANE, 10, clock())
    (delivery,) = claim.deliveries
    assert (delivery.attempts, delivery.reason, delivery.delay_reported) == (3, "4.2.1 busy", True)
    assert claim.message.content.octets() == message.content.octets()
    assert claim.message.prefix == message.prefix
    assert await spool.claim(LANE, 10, clock()) == []


async def test_a_kept_lease_is_not_claimed_by_others(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    message = maker.message()
    await spool.accept(message)
    await spool.settle([maker.again(message.deliveries[0].id, after=-1, keep_lease=True)])
    assert await spool.due(clock()) == []
    await spool.settle([maker.done(message.deliveries[0].id)])
    assert await spool.load(message.id) is None


async def test_a_report_is_committed_with_its_outcome(spool: DurableSpool, maker: Maker) -> None:
    message, report = maker.message(), replace(maker.message(), is_report=True)
    await spool.accept(message)
    await spool.settle([maker.done(message.deliveries[0].id, "failed")], [report])
    stored = await spool.load(report.id)
    assert stored is not None
    assert stored.is_report
    assert [row.leased for row in await spool.rows(ALL, 10)] == [True]


async def test_a_report_goes_nowhere_without_its_outcome(spool: DurableSpool, maker: Maker) -> None:
    message, report = maker.message(), maker.message()
    await spool.accept(message)
    await spool.settle([maker.done(message.deliveries[0].id, "failed")])
    await spool.settle([maker.done(message.deliveries[0].id, "failed")], [report])
    assert await spool.load(report.id) is None


async def test_an_outcome_of_what_was_dropped_is_traced_all_the_same(spool: DurableSpool, maker: Maker) -> None:
    message = maker.message()
    await spool.accept(message)
    assert await spool.drop(ALL, "asked to") == [message.deliveries[0].id]
    await spool.settle([maker.done(message.deliveries[0].id)])
    events = await spool.trace(message_id=message.id)
    assert [(e.kind, e.detail.get("late", False)) for e in events[1:]] == [("dropped", False), ("delivered", True)]
    assert events[1].detail["why"] == "asked to"


async def test_a_hold_in_flight_wins_over_a_deferral_not_over_a_delivery(spool: DurableSpool, maker: Maker) -> None:
    first, second = maker.message(), maker.message()
    await spool.accept(first)
    await spool.accept(second)
    await spool.change(ALL, state=State.HELD)
    await spool.settle([maker.again(first.deliveries[0].id), maker.done(second.deliveries[0].id)])
    (row,) = await spool.rows(ALL, 10)
    assert row.delivery.id == first.deliveries[0].id
    assert row.delivery.state is State.HELD


@pytest.mark.parametrize("after", [-30.0, 7.0])
async def test_what_was_made_due_in_flight_is_due_no_later_than_that(
    spool: DurableSpool, maker: Maker, clock: Clock, after: float
) -> None:
    clock.now += 0.123456
    changed, other = maker.message(), maker.message()
    await spool.accept(changed)
    await spool.accept(other)
    await spool.change(QueueFilter(message_id=changed.id), next_attempt_at=clock() + after)
    await spool.settle([replace(maker.again(m.deliveries[0].id, after=60), was=clock()) for m in (changed, other)])
    at = {r.delivery.id[0]: r.delivery.next_attempt_at for r in await spool.rows(ALL, 10)}
    assert at == {changed.id: pytest.approx(clock() + after), other.id: pytest.approx(clock() + 60)}


async def test_what_a_change_has_done_when_it_breaks_off_is_told(
    spool: DurableSpool, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [maker.message() for _ in range(operate.BITE + 10)]
    await asyncio.gather(*(spool.accept(m) for m in messages))
    change, bites = operate.change, iter(range(2))

    def once(*args: Any) -> Any:
        if next(bites):
            raise SpoolError(SPOOL_DOWN)
        return change(*args)

    monkeypatch.setattr(operate, "change", once)
    with pytest.raises(SpoolError):
        await spool.change(ALL, state=State.HELD)
    held = [r.delivery.id for r in await spool.rows(QueueFilter(state=State.HELD), 1000)]
    assert len(held) == operate.BITE
    assert sorted(w.id for w in await spool.withdrawals()) == held
    await spool.withdrew(held, {held[0]})
    assert await spool.withdrawals() == []


async def test_that_a_lease_is_lost_is_heard_between_what_was_stored_before_and_after(
    spool: DurableSpool, maker: Maker
) -> None:
    """Who hears of it drops what is in memory: all that was leased before, nothing that was leased since."""
    heard: list[str] = []
    spool.on_fenced(lambda: heard.append("lost"))
    writer = spool._writer
    send = writer._send

    def send_and_lose(results: Any) -> None:
        send(results)
        writer._send = send  # type: ignore[method-assign]
        writer.store.fenced()

    writer._send = send_and_lose  # type: ignore[method-assign]
    for name in ("before", "after"):
        spool.submit([(maker.message(), (), lambda *_, name=name: heard.append(name))])
        time.sleep(0.3)  # noqa: ASYNC251  the loop is busy, and hears all of it at once
    await asyncio.sleep(0.1)
    assert heard == ["before", "lost", "after"]


async def test_the_lanes_of_what_a_filter_finds(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    for lane in (LANE, OTHER_LANE, LANE):
        await spool.accept(maker.message(lane=lane))
    assert await spool.lanes_of(ALL) == {LANE, OTHER_LANE}
    assert await spool.lanes_of(QueueFilter(next_hop=OTHER_LANE[1])) == {OTHER_LANE}
    assert await spool.lanes_of(QueueFilter(older_than=clock() - 1)) == set()
    assert await spool.lanes_of(QueueFilter(older_than=clock() + 1)) == {LANE, OTHER_LANE}


async def test_an_operator_has_lanes_tried(spool: DurableSpool, clock: Clock) -> None:
    for lane in (LANE, OTHER_LANE):
        await spool.lane_down(lane, clock() + 60, 1)
    await spool.lanes_up([LANE, ("never", "down")])
    assert await spool.lanes_down() == {OTHER_LANE: clock() + 60}


async def test_give_back_makes_claimable(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    message = maker.message(2)
    await spool.accept(message)
    await spool.give_back([d.id for d in message.deliveries])
    (due,) = await spool.due(clock())
    assert (due.lane, due.due, due.earliest_at) == (LANE, 2, clock())
    (claim,) = await spool.claim(LANE, 10, clock())
    assert [d.id for d in claim.deliveries] == [d.id for d in message.deliveries]


async def test_claim_by_priority_then_in_turns_then_oldest(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    order = []
    for priority, sender in ((0, "a"), (0, "a"), (0, "a"), (0, "b"), (5, "a"), (0, "c"), (0, "b")):
        clock.now += 1
        message = maker.message(sender=f"{sender}@x.example", priority=priority)
        await spool.accept(message)
        order.append(message)
    await spool.give_back([d.id for m in order for d in m.deliveries])
    claims = await spool.claim(LANE, 100, clock())
    assert [order.index(next(m for m in order if m.id == c.message.id)) for c in claims] == [4, 0, 3, 5, 1, 6, 2]


async def test_a_claim_begins_with_the_sender_after_the_last(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    messages = [maker.message(sender=f"{s}@x.example") for s in "aabbcc"]
    for message in messages:
        await spool.accept(message)
    await spool.give_back([m.deliveries[0].id for m in messages])
    got = []
    for _ in range(6):
        (claim,) = await spool.claim(LANE, 1, clock())
        got.append(claim.deliveries[0].sender[5])
    assert got == list("abcabc")


async def test_one_senders_thousands_do_not_hold_up_another(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    many = [maker.message(sender="many@x.example") for _ in range(1500)]
    await asyncio.gather(*(spool.accept(m) for m in many))
    clock.now += 10
    few = [maker.message(sender=f"{s}@x.example") for s in ("ann", "zoe")]
    urgent = maker.message(sender="many@x.example", priority=3)
    for message in (*few, urgent):
        await spool.accept(message)
    await spool.give_back([m.deliveries[0].id for m in (*many, *few, urgent)])
    claims = await spool.claim(LANE, 10, clock())
    assert len(claims) == 10
    assert claims[0].message.id == urgent.id
    assert {c.message.id for c in claims} > {m.id for m in few}
    # Later ones too, however long the queue still is.
    late = maker.message(sender="yan@x.example")
    await spool.accept(late)
    await spool.give_back([late.deliveries[0].id])
    assert late.id in {c.message.id for c in await spool.claim(LANE, 10, clock())}


async def test_deliveries_of_one_message_are_claimed_together(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    messages = [maker.message(3, sender=s) for s in ("a@x.example", "b@x.example")]
    for message in messages:
        await spool.accept(message)
    await spool.give_back([d.id for m in messages for d in m.deliveries])
    claims = await spool.claim(LANE, 4, clock())
    assert [len(c.deliveries) for c in claims] == [3, 1]


async def test_a_claim_takes_no_other_lane(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    one, other = maker.message(), maker.message(lane=OTHER_LANE)
    for message in (one, other):
        await spool.accept(message)
        await spool.give_back([message.deliveries[0].id])
    assert {d.lane for d in await spool.due(clock())} == {LANE, OTHER_LANE}
    assert [c.message.id for c in await spool.claim(OTHER_LANE, 10, clock())] == [other.id]
    assert [c.message.id for c in await spool.claim(LANE, 10, clock())] == [one.id]


async def test_a_claim_is_bounded_in_memory(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    messages = [maker.message(body=bytes(250_000)) for _ in range(60)]
    for message in messages:
        await spool.accept(message)
    await spool.give_back([m.deliveries[0].id for m in messages])
    claims = await spool.claim(LANE, 100, clock())
    assert 20 < len(claims) < 40
    assert len(await spool.claim(LANE, 100, clock())) > 0


async def test_a_hand_over_is_taken_once(spool: DurableSpool, maker: Maker) -> None:
    first, second = maker.message(dedupe_key="inbox/1"), maker.message(dedupe_key="inbox/1")
    assert await spool.accept(first) is None
    assert await spool.accept(second) == DuplicateHandOver(first.id)
    assert await spool.load(second.id) is None


async def test_a_hand_over_is_taken_once_within_a_group(spool: DurableSpool, maker: Maker) -> None:
    messages = [maker.message(dedupe_key=f"inbox/{i % 3}") for i in range(12)]
    results = await asyncio.gather(*(spool.accept(m) for m in messages))
    assert results[:3] == [None] * 3
    assert results[3:] == [DuplicateHandOver(messages[i % 3].id) for i in range(3, 12)]


async def test_equal_contents_are_no_duplicates(spool: DurableSpool, maker: Maker) -> None:
    content = Content(b"Message-ID: <same@x>\r\n\r\nsame\r\n")
    assert [await spool.accept(maker.message(content=content)) for _ in range(2)] == [None, None]
    assert len(await spool.rows(ALL, 10)) == 2


async def test_a_dedupe_key_is_forgotten_in_time(opened: OpenSpool, maker: Maker, clock: Clock) -> None:
    spool = await opened(dedupe_days=0.0)
    await spool.accept(maker.message(dedupe_key="a"))
    clock.now += 1
    await spool._work(lambda store: store.prune(100))
    assert await spool.accept(maker.message(dedupe_key="a")) is None


async def test_the_operators_changes(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    one, two = maker.message(2, sender="a@x.example"), maker.message(sender="b@x.example", lane=OTHER_LANE)
    await spool.accept(one)
    await spool.accept(two)
    assert await spool.change(QueueFilter(sender="A@X.example"), state=State.HELD) == [(one.id, 0), (one.id, 1)]
    assert {r.delivery.id for r in await spool.rows(QueueFilter(state=State.HELD), 9)} == {(one.id, 0), (one.id, 1)}
    assert await spool.due(clock()) == []
    released = await spool.change(QueueFilter(message_id=one.id, n=0), state=State.QUEUED, next_attempt_at=clock())
    assert released == [(one.id, 0)]
    await spool.change(QueueFilter(connector="internet", state=State.QUEUED), lane=OTHER_LANE)
    assert await spool.due(clock()) == []  # what is leased may be on its way: who has it gives it back
    await spool.give_back([(one.id, 0)])
    await spool.change(QueueFilter(next_hop="sales", message_id=two.id), next_attempt_at=clock() - 5)
    await spool.change(QueueFilter(message_id=two.id), expires_at=clock() + 1)
    (due,) = await spool.due(clock())
    assert (due.lane, due.due) == (OTHER_LANE, 1)  # what was made due alone is where it was: on its way
    kinds = [(e.message_id, e.n, e.kind) for e in await spool.trace(message_id=one.id)]
    assert kinds[1:] == [
        (one.id, 0, "held"), (one.id, 1, "held"), (one.id, 0, "released"), (one.id, 0, "rerouted"),
    ]  # fmt: skip
    assert [e.kind for e in await spool.trace(message_id=two.id)] == ["accepted", "requeued", "changed"]
    assert (await spool.load(two.id)).deliveries[0].expires_at == clock() + 1  # type: ignore[union-attr]  # it is there


async def test_filters(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    old = maker.message(2, sender="a_b@x.example", lane=("a%b", "hop"))
    await spool.accept(old)
    clock.now += 100
    new = maker.message(lane=("axb", "other.hop"))
    await spool.accept(new)

    async def found(**where: object) -> set[int]:
        return {r.delivery.id[0] for r in await spool.rows(QueueFilter(**where), 10)}  # type: ignore[arg-type]  # by name

    assert await found() == {old.id, new.id}
    assert await found(connector="a%b") == {old.id}
    assert await found(next_hop="hop") == {old.id}
    assert await found(connector="axb", next_hop="hop") == set()
    assert await found(older_than=clock() - 50) == {old.id}
    assert await found(sender="a_b@X.example") == {old.id}
    assert await found(sender="axb@x.example") == set()
    assert await found(recipient="bob1@THERE.example") == {old.id}
    assert await found(recipient="smtp:b0@acme.example") == {old.id, new.id}
    assert [r.delivery.id for r in await spool.rows(QueueFilter(n=1), 10)] == [(old.id, 1)]
    (row,) = await spool.rows(QueueFilter(message_id=new.id), 10)
    assert (row.reverse_path, row.arrived_at, row.size_bytes) == ("smtp:ann@acme.example", clock(), new.content.size)
    assert len(await spool.rows(QueueFilter(), 2)) == 2


async def test_a_change_goes_through_a_long_queue(spool: DurableSpool, maker: Maker) -> None:
    messages = [maker.message() for _ in range(1201)]
    await asyncio.gather(*(spool.accept(m) for m in messages))
    assert await spool.change(ALL, state=State.HELD) == [m.deliveries[0].id for m in messages]
    assert len(await spool.drop(QueueFilter(state=State.HELD), "gone")) == 1201
    assert await spool.rows(ALL, 10) == []


async def test_the_trace_is_searched_by_text(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    one = maker.message(2)
    await spool.accept(one)
    clock.now += 10
    two = maker.message(sender="jörg@münchen.example")
    await spool.accept(two)
    await spool.settle([maker.done(two.deliveries[0].id)])
    await spool.record([TraceEvent(two.id, clock() + 1, "note", None, {"text": 'say "hi"'})])

    async def found(text: str) -> list[tuple[int, str]]:
        return [(e.message_id, e.kind) for e in await spool.trace(text=text)]

    whole = [(two.id, "accepted"), (two.id, "delivered"), (two.id, "note")]
    assert await found("BOB1@there.EXAMPLE") == [(one.id, "accepted")]
    assert await found(f"<{two.id}@ACME.example>") == whole
    assert await found("JÖRG@MÜNCHEN.example") == whole
    assert await found('"hi"') == whole
    assert await found("nobody") == []
    assert [e.kind for e in await spool.trace(since=clock() - 1)] == ["accepted", "delivered", "note"]
    assert [e.message_id for e in await spool.trace(until=clock() - 5)] == [one.id]
    assert len(await spool.trace(limit=2)) == 2


async def test_the_trace_is_pruned_but_for_what_waits(opened: OpenSpool, maker: Maker, clock: Clock) -> None:
    spool = await opened(trace_days=1.0)
    gone, waits = maker.message(), maker.message()
    for message in (gone, waits):
        await spool.accept(message)
    await spool.settle([maker.done(gone.deliveries[0].id)])
    clock.now += 2 * 86400
    await spool._work(lambda store: store.prune(100))
    assert await spool.trace(message_id=gone.id) == []
    assert [e.kind for e in await spool.trace(message_id=waits.id)] == ["accepted"]


async def test_delivered_messages_are_kept_within_bounds(opened: OpenSpool, maker: Maker, clock: Clock) -> None:
    spool = await opened(keep_delivered_s=3600.0, keep_delivered_bytes=3000)
    messages = [maker.message(body=b"x" * 900) for _ in range(5)]
    for message in messages:
        await spool.accept(message)
        await spool.settle([maker.done(message.deliveries[0].id)])
        clock.now += 1
    assert await spool.rows(ALL, 10) == []
    await spool._work(lambda store: store.prune(100))
    kept = [await spool.load_kept(m.id) for m in messages]
    assert [k is not None for k in kept] == [False, False, True, True, True]
    assert kept[4] is not None
    assert kept[4].content.octets() == messages[4].content.octets()
    clock.now += 3598
    await spool._work(lambda store: store.prune(100))
    assert [await spool.load_kept(m.id) is not None for m in messages] == [False, False, False, True, True]
    await spool.accept(maker.message())
    await spool.drop(ALL, "never kept")
    assert (await spool.stats())["kept"] == 2


async def test_nothing_is_kept_by_default(spool: DurableSpool, maker: Maker) -> None:
    message = maker.message()
    await spool.accept(message)
    await spool.settle([maker.done(message.deliveries[0].id)])
    assert await spool.load_kept(message.id) is None


async def test_figures(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    arrived = clock()
    await spool.accept(maker.message(3))
    clock.now += 50
    held = maker.message(state=State.HELD)
    await spool.accept(held)
    figures = await spool.stats()
    assert (figures["queued"], figures["held"], figures["parked"], figures["leased"]) == (3, 1, 0, 3)
    assert figures["oldest_arrived_at"] == arrived
    assert figures["database_bytes"] > 0
    assert figures["accepted"] == 2
    assert not (await spool.rows(QueueFilter(message_id=held.id), 1))[0].leased


async def test_group_commit(spool: DurableSpool, maker: Maker) -> None:
    await spool.accept(maker.message())
    before = (await spool.stats())["commits"]
    await asyncio.gather(*(spool.accept(maker.message()) for _ in range(400)))
    assert (await spool.stats())["commits"] - before <= 20


async def test_outcomes_wait_for_company(opened: OpenSpool, maker: Maker) -> None:
    spool = await opened(settle_delay_s=0.2)
    messages = [maker.message() for _ in range(20)]
    await asyncio.gather(*(spool.accept(m) for m in messages))
    before = (await spool.stats())["commits"]
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(i: int) -> None:
        await asyncio.sleep(i * 0.005)
        await spool.settle([maker.done(messages[i].deliveries[0].id)])

    await asyncio.gather(*(one(i) for i in range(10)))
    assert loop.time() - began > 0.15
    assert (await spool.stats())["commits"] - before == 1
    # An accept takes what waits along.
    began = loop.time()
    settled = spool.submit_settlements([maker.done(messages[10].deliveries[0].id)])
    await spool.accept(maker.message())
    await settled
    assert loop.time() - began < 0.15


async def test_a_poison_item_fails_alone(spool: DurableSpool, maker: Maker) -> None:
    known = maker.message()
    await spool.accept(known)
    good = [maker.message() for _ in range(10)]
    poison = replace(maker.message(), id=known.id)
    results = await asyncio.gather(*(spool.accept(m) for m in (*good[:5], poison, *good[5:])), return_exceptions=True)
    assert [isinstance(r, Exception) for r in results] == [False] * 5 + [True] + [False] * 5
    assert {r.delivery.id[0] for r in await spool.rows(ALL, 50)} == {known.id, *(m.id for m in good)}


async def test_a_cancelled_accept_harms_nobody(spool: DurableSpool, maker: Maker) -> None:
    messages = [maker.message() for _ in range(5)]
    tasks = [asyncio.ensure_future(spool.accept(m)) for m in messages]
    await asyncio.sleep(0)
    tasks[2].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [r for i, r in enumerate(results) if i != 2] == [None] * 4
    assert isinstance(results[2], asyncio.CancelledError)
    await spool.settle([maker.done(messages[3].deliveries[0].id)])


async def test_waiting_is_bounded(opened: OpenSpool, maker: Maker) -> None:
    spool = await opened(max_waiting=50)
    results = await asyncio.gather(*(spool.accept(maker.message()) for _ in range(80)), return_exceptions=True)
    refused = [r for r in results if isinstance(r, SpoolError)]
    assert len(refused) == 30
    assert refused[0].status.code == "4.3.0"
    assert await spool.accept(maker.message()) is None


async def test_after_close_everything_is_refused(opened: OpenSpool, maker: Maker) -> None:
    spool = await opened()
    await spool.accept(maker.message())
    await spool.close()
    with pytest.raises(SpoolError):
        await spool.accept(maker.message())
    with pytest.raises(SpoolError):
        await spool.due(0)


async def test_what_was_leased_is_free_after_a_restart(opened: OpenSpool, maker: Maker, clock: Clock) -> None:
    spool = await opened()
    message = maker.message(2)
    await spool.accept(message)
    await spool.close()
    again = await opened()
    (claim,) = await again.claim(LANE, 10, clock())
    assert claim.message.id == message.id
    assert len(claim.deliveries) == 2


async def test_lanes_down(spool: DurableSpool, clock: Clock) -> None:
    await spool.lane_down(LANE, clock() + 60, 1)
    await spool.lane_down(OTHER_LANE, clock() + 10, None)
    await spool.lane_down(LANE, clock() + 90, None)
    assert await spool.lanes_down() == {LANE: clock() + 90, OTHER_LANE: clock() + 10}
    clock.now += 50
    assert await spool.lanes_down() == {LANE: clock() + 40}


async def test_a_singleton_is_held_by_one(opened: OpenSpool, clock: Clock) -> None:
    one, two = await opened(0), await opened(1)
    assert await one.hold_singleton("inbox")
    assert await one.hold_singleton("inbox")
    assert not await two.hold_singleton("inbox")
    assert await two.hold_singleton("other")
    await one.close()
    assert await two.hold_singleton("inbox")


async def test_a_key_is_taken_once_by_all_nodes_together(opened: OpenSpool, clock: Clock) -> None:
    one, two = await opened(0), await opened(1)
    assert await one.take_once("a")
    assert not await two.take_once("a")
    assert await two.take_once("b")
    clock.now += 34 * 86400
    assert not await one.take_once("b")
    clock.now += 2 * 86400
    assert await two.take_once("a")
    assert not await one.take_once("a")


async def test_a_large_content_is_kept_beside_the_row(spool: DurableSpool, maker: Maker) -> None:
    octets = bytes(i % 251 for i in range(1_000_003))
    writer = spool.content()
    for at in range(0, len(octets), 70_001):
        if not writer.write(octets[at : at + 70_001]):
            await writer.drain()
    assert writer.size == len(octets)
    content = await writer.finish(Traits(False, True))
    assert not content.is_inline
    message = maker.message(2, content=content.with_prefix(b"X-Note: a\r\n"))
    await spool.accept(message)
    await writer.abandon()  # does nothing: a message owns it
    stored = await spool.load(message.id)
    assert stored is not None
    assert b"".join(stored.content.chunks()) == b"X-Note: a\r\n\r\n" + octets
    assert stored.content.traits == Traits(False, True)
    assert stored.content.source.read(262_140, 10) == octets[262_140:262_150]  # type: ignore[union-attr]  # a Blob
    assert stored.content.source.read(len(octets) - 3, 10) == octets[-3:]  # type: ignore[union-attr]  # a Blob
    assert await spool.fsck() == []


async def test_a_small_content_stays_in_the_row(spool: DurableSpool) -> None:
    writer = spool.content()
    assert writer.write(b"a" * 1000)
    assert writer.write(b"b" * 1000)
    content = await writer.finish()
    assert content.is_inline
    assert content.octets() == b"a" * 1000 + b"b" * 1000
    await writer.abandon()


async def test_traits_of_a_large_content_are_found_where_untold(spool: DurableSpool) -> None:
    writer = spool.content()
    writer.write(b"a" * 300_000 + b"\n\xff")
    content = await writer.finish()
    assert content.__dict__["traits"] == Traits(crlf_only=False, eight_bit=True)
    await writer.abandon()


async def test_one_content_can_go_into_two_messages(spool: DurableSpool, maker: Maker) -> None:
    writer = spool.content()
    writer.write(b"A: b\r\n\r\n" + b"z" * 400_000)
    content = await writer.finish()
    first = maker.message(content=content)
    await spool.accept(first)
    stored = await spool.load(first.id)
    assert stored is not None
    second = maker.message(content=stored.content.with_head(b"A: c\r\n"))
    third = maker.message(content=stored.content)
    await spool.accept(second)
    await spool.settle([maker.done(first.deliveries[0].id, "failed")], [third])
    for id, head in ((second.id, b"A: c\r\n\r\n"), (third.id, b"A: b\r\n\r\n")):
        again = await spool.load(id)
        assert again is not None
        assert b"".join(again.content.chunks()) == head + b"z" * 400_000
    assert await spool.fsck() == []


async def test_an_abandoned_content_leaves_nothing(spool: DurableSpool) -> None:
    for finish in (False, True):
        writer = spool.content()
        writer.write(b"a" * 600_000)
        if finish:
            await writer.finish()
        await writer.abandon()
        await writer.abandon()
    assert await spool._work(lambda store: store.orphans(-10)) == []


async def test_a_large_content_leaves_with_its_message(spool: DurableSpool, maker: Maker) -> None:
    writer = spool.content()
    writer.write(b"a" * 600_000)
    message = maker.message(content=await writer.finish())
    await spool.accept(message)
    ref = message.content.source.ref  # type: ignore[union-attr]  # a StoredBlob
    assert await spool._work(lambda store: store.content_size(ref)) == 600_000
    await spool.settle([maker.done(message.deliveries[0].id)])
    assert await spool._work(lambda store: store.content_size(ref)) is None


async def test_a_refused_duplicate_can_abandon_its_content(spool: DurableSpool, maker: Maker) -> None:
    writer = spool.content()
    await spool.accept(maker.message(dedupe_key="k"))
    writer.write(b"a" * 600_000)
    message = maker.message(content=await writer.finish(), dedupe_key="k")
    assert isinstance(await spool.accept(message), DuplicateHandOver)
    await writer.abandon()
    ref = message.content.source.ref  # type: ignore[union-attr]  # a StoredBlob
    assert await spool._work(lambda store: store.content_size(ref)) is None


async def test_a_fast_source_is_asked_to_wait(spool: DurableSpool) -> None:
    writer = spool.content()
    said = [writer.write(b"a" * 400_000) for _ in range(10)]
    assert said[0]
    assert not said[-1]
    await writer.drain()
    assert writer.write(b"a")
    await writer.abandon()
