"""What a destination learns of a next hop: the parcel at hand is adapted anew, those after it from the start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from gateway.adapt import Fate, Fidelity, Fitted, Note
from gateway.contract import Batch, Capabilities, Deferred, Delivered, Failed, Parcel, Scope
from gateway.message import Content
from gateway.spool.api import Delivery, Stored
from gateway.status import NO_ANSWER, TOO_BIG

from .simulated import DoubleSpool, Peer, dispatcher, hand, simulate, stored, wall

SEVEN_BIT = Capabilities(eight_bit=False)
CHANGED = Fidelity((Note(Fate.MAPPED, "body", "7-bit"),))


def adapt(message: Stored, deliveries: Sequence[Delivery], capabilities: Capabilities) -> Fitted:
    """Mark what was adapted, and for how many."""
    if capabilities.eight_bit:
        return Fitted(message.content, message.envelope)
    assert message.content.octets().count(b"seven") == 0, "adapted from what had been adapted"
    made = Content(b"seven %d" % len(deliveries))
    refused = tuple((d.id, Failed(TOO_BIG)) for d in deliveries if d.address.value.startswith("r2@"))
    return Fitted(made, message.envelope, CHANGED, refused)


class Learning(Peer):
    """A next hop that turns out to be a 7-bit one when it is met."""

    def __init__(self) -> None:
        super().__init__(lambda hop, item, tries: Delivered())
        self.known = Capabilities()
        self.got: list[bytes] = []
        self.refitted: list[Parcel | None] = []
        self.only: int | None = None
        """So many of a parcel's items are adapted anew, the others settled first."""

    def capabilities_for(self, next_hop: str) -> Capabilities:
        return self.known

    async def deliver(self, batch: Batch) -> None:
        parcels = list(batch.parcels)
        while parcels:
            await asyncio.sleep(0.01)
            parcel: Parcel | None = parcels.pop(0)
            assert parcel is not None
            if b"seven" not in parcel.content.octets():
                self.known = SEVEN_BIT
                for item in parcel.items[self.only :] if self.only is not None else ():
                    batch.settle(item.id, Delivered())
                some = replace(parcel, items=parcel.items[: self.only])
                parcel = await batch.refit(some, SEVEN_BIT)
                self.refitted.append(parcel)
            if parcel is not None:
                self.got.append(parcel.content.octets())
                for item in parcel.items:
                    batch.settle(item.id, Delivered())
            parcels += batch.more()


def run(work: Callable[[Any, DoubleSpool, Learning], Coroutine[Any, Any, None]], **more: Any) -> tuple[Any, Learning]:
    spool, peer = DoubleSpool(), Learning()

    async def main() -> None:
        d = dispatcher(spool, peer, **({"adapt": adapt} | more))
        running = asyncio.get_running_loop().create_task(d.run())
        await work(d, spool, peer)
        await d.stop(10.0)
        await running
        assert d.in_memory == (0, 0)
        assert d.counts.settled_twice == 0

    simulate(main)
    return spool, peer


async def until(condition: Callable[[], bool]) -> None:
    end = wall() + 60
    while not condition():
        assert wall() < end
        await asyncio.sleep(0.05)


def test_only_what_was_on_its_way_is_adapted_anew() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Learning) -> None:
        for n in range(6):
            hand(d, spool, stored())
            await until(lambda n=n: len(spool.ended) == n + 1)  # type: ignore[misc]

    spool, peer = run(work)
    assert peer.got == [b"seven 1"] * 6
    assert len(peer.refitted) == 1
    assert set(spool.how.values()) == {"delivered"}


def test_what_does_not_fit_is_settled_and_the_rest_goes_on() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Learning) -> None:
        m = hand(d, spool, stored(recipients=4))
        await until(lambda: all(x.id in spool.ended for x in m.deliveries))
        assert [spool.how[x.id] for x in m.deliveries] == ["delivered", "delivered", "failed", "delivered"]

    _, peer = run(work)
    assert [len(p.items) for p in peer.refitted if p] == [3]


def test_part_of_a_message_is_adapted_for_that_part() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Learning) -> None:
        peer.only = 2
        hand(d, spool, stored(recipients=5))
        await until(lambda: len(spool.ended) == 5)

    spool, peer = run(work)
    assert peer.got == [b"seven 2"]
    assert set(spool.how.values()) == {"delivered"}


def test_nothing_is_made_of_items_that_are_settled() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Learning) -> None:
        peer.only = 0
        hand(d, spool, stored(recipients=2))
        await until(lambda: len(spool.ended) == 2)

    _, peer = run(work)
    assert peer.refitted == [None]


def test_an_adaptation_that_fails_defers_those_it_was_for() -> None:
    def broken(message: Stored, deliveries: Sequence[Delivery], capabilities: Capabilities) -> Fitted:
        if not capabilities.eight_bit:
            raise ValueError("no")
        return Fitted(message.content, message.envelope)

    async def work(d: Any, spool: DoubleSpool, peer: Learning) -> None:
        peer.only = 1
        m = hand(d, spool, stored(recipients=2))
        await until(lambda: len(spool.ended) == 1 and not spool.leased)
        assert spool.how == {m.deliveries[1].id: "delivered"}
        assert spool.rows[m.deliveries[0].id].attempts == 1

    run(work, adapt=broken)


def test_a_lane_that_was_closed_keeps_what_was_learnt() -> None:
    class Down(Learning):
        async def deliver(self, batch: Batch) -> None:
            if self.known.eight_bit:
                self.known = SEVEN_BIT
                for parcel in batch.parcels:
                    for item in parcel.items:
                        batch.settle(item.id, Deferred(NO_ANSWER, Scope.HOP))
                return
            await super().deliver(batch)

    spool, peer = DoubleSpool(), Down()

    async def main() -> None:
        d = dispatcher(spool, peer, adapt=adapt)
        running = asyncio.get_running_loop().create_task(d.run())
        hand(d, spool, stored())
        await asyncio.sleep(600)
        await d.stop(10.0)
        await running

    simulate(main)
    assert peer.got == [b"seven 1"]
    assert not peer.refitted
