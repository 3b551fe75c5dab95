"""Named hand-overs in the group commit, and contents of messages that are not stored after all."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.message import Content, Traits
from gateway.spool.api import DuplicateHandOver, QueueFilter, SpoolError, Stored
from gateway.spool.durable import DurableSpool
from gateway.spool.open import open_spool
from gateway.spool.options import SpoolOptions
from gateway.status import SPOOL_DOWN
from tests.gateway.spool.builders import Clock, Maker, submit
from tests.gateway.spool.conftest import OpenSpool

ALL = QueueFilter()
GROUPS = [7, 20, 200]
"""Sizes of groups that go by different statements."""


async def rows(spool: DurableSpool) -> set[int]:
    return {row.delivery.id[0] for row in await spool.rows(ALL, 10_000)}


@pytest.mark.parametrize("size", GROUPS)
async def test_a_name_twice_in_one_group_is_taken_once(spool: DurableSpool, maker: Maker, size: int) -> None:
    messages = [maker.message(dedupe_key=f"inbox:{n // 2 if n < 6 else n}") for n in range(size)]
    told = await asyncio.gather(*[submit(spool, m) for m in messages])
    kept = await rows(spool)
    for n in range(0, 6, 2):
        first, second = sorted((messages[n].id, messages[n + 1].id))
        assert {first, second} & kept, "one of the two"
        [stays] = {first, second} & kept
        [other] = {told[n], told[n + 1]} - {None}
        assert other == DuplicateHandOver(stays)
    assert kept >= {m.id for m in messages[6:]}, "all others of the group"
    assert told[6:] == [None] * (size - 6)


@pytest.mark.parametrize("size", GROUPS)
async def test_a_name_of_an_earlier_group_is_known_and_the_others_are_stored(
    spool: DurableSpool, maker: Maker, size: int
) -> None:
    first = maker.message(dedupe_key="inbox:a")
    await spool.accept(first)
    again = maker.message(dedupe_key="inbox:a")
    others: list[Stored] = [maker.message(dedupe_key=f"inbox:{n}" if n % 2 else None) for n in range(size)]
    done = maker.done(first.deliveries[0].id)
    told = await asyncio.gather(
        *[submit(spool, m) for m in others[::2]], submit(spool, again), *[submit(spool, m) for m in others[1::2]],
        spool.settle([done]),
    )  # fmt: skip
    assert [one for one in told if one is not None] == [DuplicateHandOver(first.id)]
    assert await rows(spool) == {m.id for m in others}
    assert await spool.fsck() == []
    # Known still, now that the message itself has left.
    assert await spool.accept(maker.message(dedupe_key="inbox:a")) == DuplicateHandOver(first.id)


async def test_what_goes_in_with_a_duplicate_is_not_stored(spool: DurableSpool, maker: Maker) -> None:
    first = maker.message(dedupe_key="inbox:a")
    assert await spool.accept(first, [maker.message()]) is None
    assert await spool.accept(maker.message(dedupe_key="inbox:a"), [maker.message()]) == DuplicateHandOver(first.id)
    assert len(await rows(spool)) == 2


async def test_a_name_may_hold_anything(spool: DurableSpool, maker: Maker) -> None:
    names = ["", "0", "1e5", "null", '"', "\\", "é", "a\tb", "x" * 2000, "\ud800", "a\0b"]
    assert await asyncio.gather(*[submit(spool, maker.message(dedupe_key=n)) for n in names]) == [None] * len(names)
    told = await asyncio.gather(*[submit(spool, maker.message(dedupe_key=n)) for n in names])
    assert None not in told
    assert len({one.message_id for one in told if one is not None}) == len(names)


async def test_names_outlive_a_restart(opened: OpenSpool, maker: Maker) -> None:
    one = await opened()
    messages = [maker.message(dedupe_key=f"inbox:{n}") for n in range(40)]
    await asyncio.gather(*[submit(one, m) for m in messages])
    await one.close()
    two = await opened()
    told = await asyncio.gather(*[submit(two, maker.message(dedupe_key=f"inbox:{n}")) for n in range(40)])
    assert told == [DuplicateHandOver(m.id) for m in messages]


@pytest.mark.parametrize("size", GROUPS)
async def test_two_nodes_with_the_same_names_at_one_moment(postgres_url: str, clock: Clock, size: int) -> None:
    spools = [await open_spool(postgres_url, Path("/"), worker, clock, SpoolOptions()) for worker in range(2)]
    dice = random.Random(size)
    try:
        made = []
        for number, spool in enumerate(spools):
            maker = Maker(clock, number)
            # Each in an order of its own: rows that wait for each other would be a deadlock.
            names = [f"inbox:{n}" for n in range(size)]
            dice.shuffle(names)
            made.append([(spool, maker.message(dedupe_key=name)) for name in names])
        told = await asyncio.gather(*[submit(spool, m) for pair in zip(*made, strict=True) for spool, m in pair])
        assert sum(one is None for one in told) == size
        kept = await spools[0].rows(ALL, 10_000)
        assert len({row.delivery.id[0] for row in kept}) == size
        assert await spools[0].fsck() == []
    finally:
        for spool in spools:
            await spool.close()


# -- contents


async def written(spool: DurableSpool) -> tuple[object, Content, str]:
    writer = spool.content()
    writer.write(b"A: b\r\n\r\n" + b"z" * 600_000)
    content = await writer.finish(Traits(True, False))
    return writer, content, content.source.ref  # type: ignore[union-attr]  # a StoredBlob


async def test_a_fault_of_one_who_is_told_keeps_it_from_no_other(spool: DurableSpool, maker: Maker) -> None:
    faults: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))

    def told(duplicate: DuplicateHandOver | None, fault: BaseException | None) -> None:
        raise ValueError("of its own")

    spool.submit([(maker.message(), (), told)])
    assert await submit(spool, maker.message()) is None
    assert [str(fault) for fault in faults] == ["of its own"]
    assert len(await rows(spool)) == 2


async def size_of(spool: DurableSpool, ref: str) -> int | None:
    return await spool._work(lambda store: store.content_size(ref))


async def test_a_duplicates_content_can_be_abandoned(spool: DurableSpool, maker: Maker) -> None:
    await spool.accept(maker.message(dedupe_key="k"))
    writer, content, ref = await written(spool)
    assert await submit(spool, maker.message(content=content, dedupe_key="k")) is not None
    await writer.abandon()  # type: ignore[attr-defined]  # a ContentWriter
    assert await size_of(spool, ref) is None


async def test_a_content_that_found_no_room_can_be_abandoned(opened: OpenSpool, maker: Maker) -> None:
    spool = await opened(max_waiting=0)
    writer, content, ref = await written(spool)
    with pytest.raises(SpoolError):
        await submit(spool, maker.message(content=content))
    await writer.abandon()  # type: ignore[attr-defined]  # a ContentWriter
    assert await size_of(spool, ref) is None


async def test_a_content_whose_commit_failed_can_be_abandoned(
    spool: DurableSpool, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, content, ref = await written(spool)
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise SpoolError(SPOOL_DOWN)

        patch.setattr(spool._store, "commit", fail)
        with pytest.raises(SpoolError):
            await submit(spool, maker.message(content=content))
    await writer.abandon()  # type: ignore[attr-defined]  # a ContentWriter
    assert await size_of(spool, ref) is None


async def test_a_content_in_use_is_never_removed(spool: DurableSpool, maker: Maker) -> None:
    writer, content, ref = await written(spool)
    message = maker.message(content=content, dedupe_key="k")
    accepting = submit(spool, message)
    await writer.abandon()  # type: ignore[attr-defined]  # a ContentWriter; while the commit is under way
    assert await accepting is None
    await writer.abandon()  # type: ignore[attr-defined]  # a ContentWriter
    assert await size_of(spool, ref) == 600_008
    stored = await spool.load(message.id)
    assert stored is not None
    assert b"".join(stored.content.chunks()).endswith(b"z" * 1000)


async def test_what_waits_is_stored_without_a_lease(opened: OpenSpool, maker: Maker, clock: Clock) -> None:
    """Deliveries of a closed lane beside others, in groups of each kind: nobody has them, until they are due."""
    spool = await opened()
    made: list[Stored] = []
    for n in range(60):
        message = maker.message(2, dedupe_key=f"k{n}" if n % 2 else None)
        first, second = message.deliveries
        later = replace(second, at_once=False, next_attempt_at=clock() + 100, reason="4.4.1 closed")
        made.append(replace(message, deliveries=(first, later)))
    await asyncio.gather(*[submit(spool, m) for m in made])
    found = await spool.rows(ALL, 1000)
    assert {row.delivery.id[1] for row in found if row.leased} == {0}
    assert {row.delivery.id[1] for row in found if not row.leased} == {1}
    lane = made[0].deliveries[0].lane
    assert await spool.claim(lane, 100, clock()) == []
    [due] = await spool.due(clock())
    assert (due.due, due.earliest_at) == (0, clock() + 100)
    clock.now += 100
    claims = await spool.claim(lane, 100, clock())
    assert sorted(d.id for c in claims for d in c.deliveries) == sorted((m.id, 1) for m in made)
    assert {d.reason for c in claims for d in c.deliveries} == {"4.4.1 closed"}


async def test_what_waits_is_there_after_a_restart(opened: OpenSpool, maker: Maker, clock: Clock) -> None:
    one = await opened()
    message = maker.message()
    [only] = message.deliveries
    await one.accept(replace(message, deliveries=(replace(only, at_once=False, next_attempt_at=clock() + 100),)))
    await one.close()
    two = await opened()
    assert await two.claim(only.lane, 10, clock()) == []
    [claim] = await two.claim(only.lane, 10, clock() + 101)
    assert claim.message.id == message.id


async def test_only_one_of_two_nodes_gets_what_waits(postgres_url: str, clock: Clock) -> None:
    spools = [await open_spool(postgres_url, Path("/"), worker, clock, SpoolOptions()) for worker in range(2)]
    try:
        maker = Maker(clock)
        messages = [maker.message() for _ in range(50)]
        waiting = [replace(m, deliveries=(replace(m.deliveries[0], at_once=False),)) for m in messages]
        await asyncio.gather(*[submit(spools[0], m) for m in waiting])
        lane = messages[0].deliveries[0].lane
        claims = await asyncio.gather(*[spool.claim(lane, 50, clock()) for spool in spools])
        for each in claims:
            assert len({c.message.id for c in each}) == len(each)
        one, two = ({c.message.id for c in each} for each in claims)
        assert not one & two
        rest = await spools[1].claim(lane, 50, clock())
        assert one | two | {c.message.id for c in rest} == {m.id for m in messages}
    finally:
        for spool in spools:
            await spool.close()
