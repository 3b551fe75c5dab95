"""Backup while mail flows, restore held, fsck and its repairs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from gateway.message import Traits
from gateway.spool.api import QueueFilter, SpoolUnusable, State, Stored
from gateway.spool.backup import restore_spool
from gateway.spool.content import ContentFolder
from gateway.spool.durable import DurableSpool
from gateway.spool.open import open_spool
from gateway.spool.store import Store
from tests.gateway.spool.builders import LANE, Clock, Maker
from tests.gateway.spool.conftest import OpenSpool
from tests.peers.postgres import PostgresServer

ALL = QueueFilter()


async def large(spool: DurableSpool, maker: Maker, size: int = 700_000) -> Stored:
    writer = spool.content()
    writer.write(b"y" * size)
    message = maker.message(content=await writer.finish(Traits(True, False)))
    await spool.accept(message)
    return message


async def test_backup_under_flow_and_restore(
    url: str, opened: OpenSpool, maker: Maker, clock: Clock, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    spool = await opened()
    before = [await large(spool, maker) for _ in range(3)] + [maker.message(2) for _ in range(300)]
    await asyncio.gather(*(spool.accept(m) for m in before[3:]))
    await spool.change(QueueFilter(message_id=before[5].id), state=State.PARKED)
    during = 0
    slowest = 0.0
    loop = asyncio.get_running_loop()

    async def flow() -> None:
        nonlocal during, slowest
        while True:
            began = loop.time()
            one = await large(spool, maker, 300_000) if during % 4 == 0 else maker.message()
            if during % 4:
                await spool.accept(one)
            await spool.settle([maker.done(one.deliveries[0].id)])
            slowest = max(slowest, loop.time() - began)
            during += 1

    flowing = asyncio.create_task(flow())
    await asyncio.sleep(0.2)
    dest = tmp_path / "backup"
    await spool.backup(dest)
    flowing.cancel()
    await asyncio.wait([flowing])
    assert during > 0
    # What went after the backup does go again from it, but only when somebody says so.
    await spool.settle([maker.done(before[0].deliveries[0].id)])
    with pytest.raises(FileExistsError):
        await spool.backup(dest)
    await spool.close()

    if url.startswith("sqlite"):
        target = f"sqlite:///{tmp_path}/restored"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        target = server.new_database("restored")
    await restore_spool(target, Path("/"), dest)
    with pytest.raises(SpoolUnusable, match="not empty"):
        await restore_spool(target, Path("/"), dest)
    restored = await open_spool(target, Path("/"), 0, clock)
    try:
        assert await restored.fsck() == []
        assert await restored.due(clock() + 1e9) == []
        rows = await restored.rows(QueueFilter(), 10_000)
        assert {r.delivery.id[0] for r in rows} >= {m.id for m in before}
        assert {r.delivery.state for r in rows} == {State.HELD, State.PARKED}
        again = await restored.load(before[0].id)
        assert again is not None
        assert b"".join(again.content.chunks()) == b"y" * 700_000
        assert [e.kind for e in await restored.trace(message_id=before[0].id)] == ["accepted", "held"]
        # New mail flows meanwhile, and what is released does too.
        fresh = maker.message()
        await restored.accept(fresh)
        await large(restored, maker)
        await restored.settle([maker.done(fresh.deliveries[0].id)])
        await restored.change(QueueFilter(message_id=before[0].id), state=State.QUEUED)
        assert [c.message.id for c in await restored.claim(LANE, 10, clock())] == [before[0].id]
    finally:
        await restored.close()


async def test_what_is_no_backup_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="is not the backup of"):
        await restore_spool(url, Path("/"), tmp_path)
    (tmp_path / "worker-0.db").write_bytes(b"nothing of the kind")
    with pytest.raises(SpoolUnusable, match="is not the backup of"):
        await restore_spool(url.replace("/spool", "/other"), Path("/"), tmp_path)


async def test_fsck_finds_and_mends(spool: DurableSpool, maker: Maker) -> None:
    lost, cut, alone, dangling, good = [await large(spool, maker) for _ in range(5)]
    stray = spool.content()
    stray.write(b"y" * 300_000)
    await stray.finish(Traits(True, False))

    def harm(store: Store) -> None:
        def run(statement: str, **values: object) -> None:
            store.connection.execute(text(statement), values)

        refs = [m.content.source.ref for m in (lost, cut)]  # type: ignore[union-attr]  # StoredBlobs
        run("DELETE FROM deliveries WHERE message_id = :id", id=alone.id)
        run("DELETE FROM messages WHERE id = :id", id=dangling.id)
        if isinstance(folder := getattr(store, "content", None), ContentFolder):
            Path(folder.path(refs[0])).unlink()
            Path(folder.path(refs[1])).write_bytes(b"y" * 100)
        else:
            run("DELETE FROM chunks WHERE blob_id = :id", id=int(refs[0]))
            run("DELETE FROM chunks WHERE blob_id = :id AND seq > 0", id=int(refs[1]))

    await spool._work(harm)
    found = await spool.fsck()
    assert sorted(f.kind for f in found if f.kind != "orphan") == ["dangling", "missing", "size", "undeliverable"]
    assert not any(f.repaired for f in found)
    mended = await spool.fsck(repair=True)
    assert [(f.kind, f.subject) for f in mended] == [(f.kind, f.subject) for f in found]
    assert all(f.repaired for f in mended)
    assert {f.kind for f in await spool.fsck()} == {"missing", "size"}
    states = {r.delivery.id[0]: (r.delivery.state, r.delivery.reason) for r in await spool.rows(ALL, 10)}
    assert set(states) == {lost.id, cut.id, alone.id, good.id}
    assert states[lost.id][0] is states[cut.id][0] is states[alone.id][0] is State.PARKED
    assert "missing" in states[lost.id][1]
    assert states[good.id][0] is State.QUEUED
    rebuilt = await spool.load(alone.id)
    assert rebuilt is not None
    assert [d.address for d in rebuilt.deliveries] == [r.address for r in alone.envelope.recipients]


async def test_fsck_leaves_alone_what_is_being_written(spool: DurableSpool) -> None:
    writer = spool.content()
    writer.write(b"y" * 600_000)
    assert await spool.fsck(repair=True) == []
    content = await writer.finish(Traits(True, False))
    assert await spool.fsck(repair=True) == []
    assert content.source.read(0, 3) == b"yyy"  # type: ignore[union-attr]  # a Blob
    await writer.abandon()
