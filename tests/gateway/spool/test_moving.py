"""Deliveries that wait for a cut-over: never sent, found, and sent on to another lane under another address."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from gateway.mapping import MappingDatabase
from gateway.spool.api import QueueFilter, State
from gateway.spool.durable import DurableSpool
from gateway.spool.folder import sqlite_folder
from gateway.spool.nodes import OUTSIDE_WORKER, live_nodes
from tests.gateway.spool.builders import LANE, OTHER_LANE, Clock, Maker, smtp
from tests.gateway.spool.conftest import OpenSpool

FIRST = (-1, -1)


async def test_what_waits_for_a_cut_over_is_not_sent_and_then_goes_elsewhere(
    spool: DurableSpool, maker: Maker, clock: Clock
) -> None:
    waits, goes = maker.message(2, state=State.MOVING), maker.message()
    for message in (waits, goes):
        await spool.accept(message)
    await spool.give_back([goes.deliveries[0].id])
    assert [claim.message.id for claim in await spool.claim(LANE, 10, clock())] == [goes.id]
    found = await spool.waiting(State.MOVING, FIRST, 10)
    assert [(d.id, is_leased) for d, is_leased in found] == [((waits.id, 0), False), ((waits.id, 1), False)]
    assert [d.id for d, _ in await spool.waiting(State.MOVING, (waits.id, 0), 10)] == [(waits.id, 1)]
    assert (await spool.stats())["moving"] == 2
    assert len(await spool.waiting(State.MOVING, FIRST, 10, ["other", LANE[0]])) == 2
    assert await spool.waiting(State.MOVING, FIRST, 10, ["other", LANE[0][:-1], "_" * len(LANE[0])]) == []
    changed = await spool.change(
        QueueFilter(ids=((waits.id, 1), (goes.id, 0)), state=State.MOVING),
        state=State.QUEUED, lane=OTHER_LANE, address=smtp("Ann@new.example"), next_attempt_at=clock(),
    )  # fmt: skip
    assert changed == [(waits.id, 1)], "of these two, what waited"
    (claim,) = await spool.claim(OTHER_LANE, 10, clock())
    assert [(d.id, str(d.address), d.address.key) for d in claim.deliveries] == [
        ((waits.id, 1), "smtp:Ann@new.example", "ann@new.example")
    ]
    (event,) = [e for e in await spool.trace(message_id=waits.id) if e.kind == "redirected"]
    assert event.detail["lane"] == list(OTHER_LANE)
    assert event.detail["address"] == "smtp:Ann@new.example"


async def test_what_is_on_its_way_is_known_until_its_outcome(spool: DurableSpool, maker: Maker) -> None:
    message = maker.message()
    await spool.accept(message)
    id = message.deliveries[0].id
    assert await spool.change(QueueFilter(ids=(id,), state=State.QUEUED), state=State.MOVING) == [id]
    assert [w.id for w in await spool.withdrawals()] == [id]
    await spool.withdrew([id], [id])
    assert [is_leased for _, is_leased in await spool.waiting(State.MOVING, FIRST, 10)] == [True]
    await spool.settle([maker.again(id)])
    ((delivery, is_leased),) = await spool.waiting(State.MOVING, FIRST, 10)
    assert (delivery.state, is_leased, delivery.reason) == (State.MOVING, False, "4.2.1 busy")


async def test_the_nodes_that_live_are_known(opened: OpenSpool, url: str) -> None:
    folder = sqlite_folder(url, Path("/"))
    spools = [await opened(worker) for worker in (0, 1)]
    database = MappingDatabase(url, Path("/"))
    try:
        if folder is None:
            await opened(OUTSIDE_WORKER)  # a command is none
        with database.read() as connection:
            alive = live_nodes(connection, folder)
        assert alive.keys() == {spool.follower for spool in spools}
        assert all(name.startswith("worker ") for name in alive.values())
        if folder is None:
            with database.connect() as connection:
                connection.execute(text("UPDATE nodes SET beat_at = beat_at - 20"))
        else:
            for spool in spools:
                await spool.close()
        with database.read() as connection:
            assert live_nodes(connection, folder) == {}
    finally:
        database.close()
