"""What holds for PostgreSQL alone: nodes, fencing, and a database that goes away and comes back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from gateway.contract import Unavailable
from gateway.message import Traits
from gateway.spool.api import LeaseLost, QueueFilter, SpoolError, SpoolUnusable, State
from gateway.spool.durable import DurableSpool
from gateway.spool.jobs import Work
from gateway.spool.open import open_spool
from gateway.spool.options import SpoolOptions
from gateway.spool.postgres import PostgresStore
from gateway.status import SPOOL_DOWN
from tests.gateway.spool.builders import LANE, OTHER_LANE, Clock, Maker
from tests.peers.postgres import PostgresServer

ALL = QueueFilter()
Open = Callable[..., Any]


@pytest_asyncio.fixture
async def node(postgres_url: str, clock: Clock) -> AsyncIterator[Open]:
    spools: list[DurableSpool] = []

    async def open_node(worker: int = 0, **options: object) -> DurableSpool:
        options.setdefault("open_timeout_s", 0.5)
        spool = await open_spool(postgres_url, Path("/"), worker, clock, SpoolOptions(**options))  # type: ignore[arg-type]  # by name
        spools.append(spool)
        return spool

    yield open_node
    for spool in spools:
        await spool.close()


def run_sql(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


async def test_two_nodes_never_claim_the_same(node: Open, clock: Clock) -> None:
    one, two = await node(0), await node(1)
    maker = Maker(clock)
    messages = [maker.message(sender=f"s{i % 7}@x.example") for i in range(300)]
    await asyncio.gather(*(one.accept(m) for m in messages))
    await one.give_back([m.deliveries[0].id for m in messages])
    seen: list[int] = []

    async def worker(spool: DurableSpool) -> None:
        while claims := await spool.claim(LANE, 7, clock()):
            seen.extend(c.message.id for c in claims)
            await spool.settle([maker.done(d.id) for c in claims for d in c.deliveries])

    await asyncio.gather(*(worker(spool) for spool in (one, two, one, two)))
    assert sorted(seen) == sorted(m.id for m in messages)
    assert await one.rows(ALL, 1) == []
    assert one.node_number != two.node_number


async def test_two_nodes_settle_one_message(node: Open, clock: Clock, postgres_url: str) -> None:
    one, two = await node(0), await node(1)
    maker = Maker(clock)
    for _ in range(20):
        message = maker.message(2)
        await one.accept(message)
        await one.give_back([(message.id, 1)])
        assert len(await two.claim(LANE, 5, clock())) == 1
        await asyncio.gather(one.settle([maker.done((message.id, 0))]), two.settle([maker.done((message.id, 1))]))
    assert run_sql(postgres_url, "SELECT count(*) FROM messages") == [(0,)]


async def test_a_claim_by_a_lease_that_is_lost_meanwhile_is_void(
    node: Open, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claims of the node that it was are free again; those of the node that it is by now are its own."""
    spool = await node(0)
    maker = Maker(clock, node=1)
    message = maker.message()
    await spool.accept(message)
    await spool.give_back([message.deliveries[0].id])
    done = spool._work

    async def and_then_fenced(*args: Any, **more: Any) -> Any:
        value = await done(*args, **more)
        rejoined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        spool._writer.put(Work(rejoined, lambda store: store.rejoin(), outside=True))
        await rejoined
        return value

    monkeypatch.setattr(spool, "_work", and_then_fenced)
    assert await spool.claim(LANE, 9, clock()) == []
    monkeypatch.undo()
    assert len(await spool.claim(LANE, 9, clock())) == 1


@pytest.mark.parametrize("job", ["hold", "settle"])
async def test_two_nodes_that_wait_for_each_other_both_get_on(
    job: str, node: Open, clock: Clock, postgres_url: str
) -> None:
    """The database ends one of two that take the same rows in different orders; that one does its work again."""
    spool = await node(0)
    maker = Maker(clock, node=1)
    message = maker.message(2)
    await spool.accept(message)
    with psycopg.connect(postgres_url) as other:
        other.execute("SET LOCAL deadlock_timeout = '60s'")  # so that it is not this one that the database ends
        other.execute("SELECT 1 FROM deliveries WHERE n = 1 FOR UPDATE")
        if job == "hold":
            work: asyncio.Future[Any] = asyncio.ensure_future(spool.change(ALL, state=State.HELD))
            then = b"SELECT 1 FROM deliveries WHERE n = 0 FOR UPDATE"
        else:
            work = asyncio.ensure_future(spool.settle([maker.done(d.id) for d in message.deliveries]))
            then = b"SELECT 1 FROM messages FOR UPDATE"
        await asyncio.sleep(0.5)
        await asyncio.to_thread(other.execute, then)
        other.rollback()
    await asyncio.wait_for(work, 10)
    assert [r.delivery.state for r in await spool.rows(ALL, 9)] == ([State.HELD] * 2 if job == "hold" else [])


async def test_a_node_is_told_what_an_operator_took_over_at_another(
    node: Open, clock: Clock, postgres_url: str
) -> None:
    one, two = await node(0), await node(1)
    maker = Maker(clock, node=2)
    ids = []
    for _ in range(5):
        message = maker.message()
        await two.accept(message)
        ids.append(message.deliveries[0].id)
    held, rerouted, dropped, sent, due = ids
    await one.change(QueueFilter(message_id=held[0]), state=State.HELD)
    await one.change(QueueFilter(message_id=rerouted[0]), lane=OTHER_LANE)
    await one.drop(QueueFilter(message_id=dropped[0]), "asked to")
    await one.change(QueueFilter(message_id=sent[0]), state=State.HELD)
    await one.change(QueueFilter(message_id=due[0]), state=State.QUEUED, next_attempt_at=clock())
    told = {each.id: each.dropped for each in await two.withdrawals()}
    assert told == {held: False, rerouted: False, dropped: True, sent: False}
    assert await one.withdrawals() == []
    assert await one.not_withdrawn(ids, 0.0) == {held, rerouted, dropped, sent}

    waits = asyncio.ensure_future(one.not_withdrawn(ids, 60.0))
    await two.withdrew([held, rerouted, dropped, sent], {sent})
    assert await waits == {sent}
    assert await two.withdrawals() == []
    assert await one.claim(OTHER_LANE, 9, clock()) == []
    await two.give_back([held, rerouted])
    assert [c.message.id for c in await one.claim(OTHER_LANE, 9, clock())] == [rerouted[0]]

    # Its attempt is over: nothing is left of it at the next notice, nor of a node that goes.
    await two.settle([maker.again(sent)])
    await two.withdrew([held], set())
    assert await one.not_withdrawn(ids, 0.0) == set()
    await one.change(QueueFilter(message_id=due[0]), state=State.HELD)
    await two.close()
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM withdrawn").fetchone() == (0,)


async def test_a_silent_node_is_reaped_and_fenced(node: Open, clock: Clock, postgres_url: str, maker: Maker) -> None:
    silent, other = await node(0), await node(1, lease_s=2.0)
    fenced: list[bool] = []
    silent.on_fenced(lambda: fenced.append(True))
    message = maker.message()
    await silent.accept(message)
    assert await silent.hold_singleton("inbox")
    run_sql(postgres_url, "UPDATE nodes SET beat_at = beat_at - 3600 WHERE worker = 0")
    until = time.monotonic() + 10
    while not (claims := await other.claim(LANE, 5, clock())):
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    assert claims[0].message.id == message.id
    assert await other.hold_singleton("inbox")
    # The silent one wakes up: nothing that it does about its old lease is committed any more.
    with pytest.raises(LeaseLost):
        await silent.settle([maker.done(message.deliveries[0].id)], [maker.message()])
    assert fenced == [True]
    assert {r.delivery.id[0] for r in await other.rows(ALL, 5)} == {message.id}
    # It has joined anew, and works.
    fresh = maker.message()
    await silent.accept(fresh)
    await silent.settle([maker.done(fresh.deliveries[0].id)])
    await other.settle([maker.done(message.deliveries[0].id)])
    assert await other.rows(ALL, 5) == []


async def test_an_accept_of_a_fenced_node_is_leased_to_its_new_self(
    node: Open, clock: Clock, postgres_url: str, maker: Maker
) -> None:
    spool = await node(0)
    run_sql(postgres_url, "DELETE FROM nodes")
    message = maker.message()
    await spool.accept(message)
    assert (await spool.rows(ALL, 5))[0].leased
    assert run_sql(postgres_url, "SELECT count(*) FROM deliveries JOIN nodes ON nodes.id = lease") == [(1,)]


async def test_a_dead_nodes_namesake_takes_over_at_once(
    node: Open, postgres_url: str, maker: Maker, clock: Clock
) -> None:
    spool = await node(0)
    message = maker.message()
    await spool.accept(message)
    # As left by a kill: the row stays, its process is gone.
    run_sql(postgres_url, "UPDATE nodes SET pid = 2147483000")
    again = await node(0)
    assert len(await again.claim(LANE, 5, clock())) == 1


async def test_a_dead_nodes_contents_are_swept(node: Open, postgres_url: str, maker: Maker) -> None:
    dead = await node(0)
    writer = dead.content()
    writer.write(b"z" * 1_000_000)
    content = await writer.finish(Traits(True, False))
    owned = dead.content()
    owned.write(b"z" * 300_000)
    message = maker.message(content=await owned.finish(Traits(True, False)))
    await dead.accept(message)
    assert run_sql(postgres_url, "SELECT count(*) FROM blobs") == [(2,)]
    run_sql(postgres_url, "DELETE FROM nodes")
    await (await node(1)).due(0)
    assert run_sql(postgres_url, "SELECT count(*) FROM blobs") == [(1,)]
    assert run_sql(postgres_url, "SELECT count(*) FROM chunks") == [(2,)]
    # What the fenced node had finished is not there any more, so it is not accepted either.
    with pytest.raises(SpoolError):
        await dead.accept(maker.message(content=content))


async def test_the_database_goes_away_and_comes_back(clock: Clock, maker: Maker) -> None:
    server = PostgresServer()
    try:
        server.start()
        options = SpoolOptions(open_timeout_s=1.0, lease_s=4.0)
        spool = await open_spool(server.url(), Path("/"), 0, clock, options)
        fenced: list[bool] = []
        spool.on_fenced(lambda: fenced.append(True))
        message = maker.message()
        await spool.accept(message)
        server.stop(signal.SIGQUIT)
        for _ in range(5):
            began = time.monotonic()
            with pytest.raises(SpoolError) as refused:
                await spool.accept(maker.message())
            assert time.monotonic() - began < 4
            assert refused.value.status.code == "4.3.0"
        with pytest.raises(SpoolError):
            await spool.settle([maker.done(message.deliveries[0].id)])
        with pytest.raises(SpoolError):
            await spool.due(0)
        writer = spool.content()
        writer.write(b"x" * 2_000_000)
        with pytest.raises(Unavailable):
            await writer.drain()
        # It stops relying on its leases while it cannot beat, well before they end.
        until = time.monotonic() + 3.5
        while not fenced:
            assert time.monotonic() < until
            await asyncio.sleep(0.05)
        server.start()
        until = time.monotonic() + 10
        while True:
            try:
                await spool.accept(maker.message())
                break
            except SpoolError:
                assert time.monotonic() < until
                await asyncio.sleep(0.1)
        assert len(await spool.rows(ALL, 10)) == 2
        (claim,) = await spool.claim(LANE, 10, clock())
        assert claim.message.id == message.id
        await spool.settle([maker.done(message.deliveries[0].id)])
        await spool.close()
    finally:
        server.remove()


async def test_connections_cut_in_flight_lose_and_double_nothing(
    node: Open, postgres_url: str, maker: Maker, clock: Clock
) -> None:
    spool = await node(0, lease_s=60.0)
    told: list[int] = []
    stop = False

    async def session() -> None:
        while not stop:
            message = maker.message()
            try:
                await spool.accept(message)
            except SpoolError:
                await asyncio.sleep(0.01)
            else:
                told.append(message.id)

    sessions = [asyncio.create_task(session()) for _ in range(10)]
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'gatepost worker 0' AND datname = current_database()"
    )
    for _ in range(8):
        await asyncio.sleep(0.2)
        await asyncio.to_thread(run_sql, postgres_url, cut)
    await asyncio.sleep(1.5)
    stop = True
    await asyncio.gather(*sessions)
    assert len(told) > 50
    stored = {row[0] for row in run_sql(postgres_url, "SELECT id FROM messages")}
    assert stored == set(told)


async def test_a_database_that_loses_mail_is_refused(clock: Clock) -> None:
    server = PostgresServer()
    try:
        server.start()
        with server.connect() as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(0.3)
        with pytest.raises(SpoolUnusable, match="fsync"):
            await open_spool(server.url(), Path("/"), 0, clock)
    finally:
        server.remove()


async def test_a_database_that_is_not_there(postgres: PostgresServer, clock: Clock) -> None:
    with pytest.raises(SpoolUnusable, match="does not exist"):
        await open_spool(postgres.url("nowhere"), Path("/"), 0, clock)
    with pytest.raises(SpoolError) as refused:
        await open_spool("postgresql://a@127.0.0.1:1/x", Path("/"), 0, clock, SpoolOptions(open_timeout_s=0.1))
    assert refused.value.status.code == "4.3.0"


async def test_nodes_that_start_together_make_one_schema(node: Open, clock: Clock) -> None:
    spools = await asyncio.gather(*(node(i, open_timeout_s=5.0) for i in range(4)))
    assert len({spool.node_number for spool in spools}) == 4


async def test_a_commit_in_doubt_is_taken_back(node: Open, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to a commit is lost, and so is the look-up: the peer is told to try again, once."""
    spool = await node(0, lease_s=60.0)
    store = spool._store
    assert isinstance(store, PostgresStore)
    wire = store._wire
    assert wire is not None
    run = wire.run

    def commit_and_lose(calls: Sequence[tuple[str, Sequence[bytes]]]) -> object:
        run(calls)
        raw = store._raw
        assert raw is not None
        raw.close()
        monkeypatch.setattr(store, "_open", gone)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    open_again = store._open

    def gone() -> None:
        monkeypatch.setattr(store, "_open", open_again)
        raise SpoolError(SPOOL_DOWN)

    monkeypatch.setattr(wire, "run", commit_and_lose)
    doubtful = maker.message()
    with pytest.raises(SpoolError):
        await spool.accept(doubtful)
    assert await spool.load(doubtful.id) is None
    assert [e.kind for e in await spool.trace(message_id=doubtful.id)] == ["accepted", "dropped"]


async def test_an_answer_that_is_lost_is_looked_up(node: Open, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = await node(0, lease_s=60.0)
    store = spool._store
    assert isinstance(store, PostgresStore)
    wire = store._wire
    assert wire is not None
    run = wire.run

    def commit_and_lose(calls: Sequence[tuple[str, Sequence[bytes]]]) -> object:
        run(calls)
        assert store._raw is not None
        store._raw.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(wire, "run", commit_and_lose)
    message = maker.message()
    assert await spool.accept(message) is None
    assert (await spool.rows(ALL, 5))[0].leased
    await spool.settle([maker.done(message.deliveries[0].id)])
