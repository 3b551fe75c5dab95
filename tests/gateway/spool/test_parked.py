"""What is parked is kept for its time, then dropped with a trace; what an operator or fsck keeps is left."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update

from gateway.spool.api import QueueFilter, State
from gateway.spool.durable import DurableSpool
from gateway.spool.schema import messages
from gateway.upkeep import drop_parked
from tests.gateway.spool.builders import Clock, Maker

DAY = 86_400.0


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **values: Any) -> None:
        self.lines.append((event, values))


async def test_parked_deliveries_are_dropped_after_their_time(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    report, held, queued = maker.message(2), maker.message(state=State.HELD), maker.message()
    for each in (report, held, queued):
        await spool.accept(each)
    clock.now += 4 * DAY
    parked = [maker.again(d.id, after=0.0, state=State.PARKED) for d in report.deliveries]
    await spool.settle(parked)
    log = Log()
    clock.now += 30 * DAY
    assert await drop_parked(spool, clock(), 30, log) == []
    clock.now += 1
    assert await drop_parked(spool, clock(), 30, log) == [(report.id, 0), (report.id, 1)]
    assert log.lines == [("parked_dropped", {"message_id": report.id, "n": n, "parked_days": 30}) for n in (0, 1)]
    left = {row.delivery.id[0] for row in await spool.rows(QueueFilter(), 10)}
    assert left == {held.id, queued.id}
    assert await spool.load(report.id) is None
    last = (await spool.trace(message_id=report.id))[-1]
    assert (last.kind, last.detail["why"]) == ("dropped", "parked for 30 days, and nobody looked")


async def test_a_requeued_one_starts_anew(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    report = maker.message()
    await spool.accept(report)
    await spool.settle([maker.again(report.deliveries[0].id, after=0.0, state=State.PARKED)])
    clock.now += 29 * DAY
    await spool.change(QueueFilter(), state=State.QUEUED, next_attempt_at=clock(), expires_at=clock() + 5 * DAY)
    await spool.claim(report.deliveries[0].lane, 10, clock())
    await spool.settle([maker.again(report.deliveries[0].id, after=0.0, state=State.PARKED)])
    clock.now += 2 * DAY
    assert await drop_parked(spool, clock(), 30, Log()) == []
    clock.now += 29 * DAY
    assert len(await drop_parked(spool, clock(), 30, Log())) == 1


async def test_what_was_found_damaged_is_kept_for_a_year(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    damaged = maker.message()
    await spool.accept(damaged)
    await spool._work(lambda store: store.connection.execute(update(messages).values(size=messages.c.size + 1)))
    assert [f.repaired for f in await spool.fsck(repair=True)] == [True]
    (row,) = await spool.rows(QueueFilter(), 10)
    assert row.delivery.state is State.PARKED
    clock.now += 364 * DAY
    assert await drop_parked(spool, clock(), 30, Log()) == []
    clock.now += 2 * DAY
    assert len(await drop_parked(spool, clock(), 30, Log())) == 1


async def test_many_are_dropped_in_bites(spool: DurableSpool, maker: Maker, clock: Clock) -> None:
    many = [maker.message(200, state=State.PARKED) for _ in range(6)]
    for each in many:
        await spool.accept(each)
    clock.now += 31 * DAY
    assert len(await drop_parked(spool, clock(), 30, Log())) == 1200
    assert await spool.rows(QueueFilter(), 10) == []
