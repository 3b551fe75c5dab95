"""What adaptation writes into a message is stored before anybody sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gateway.adapt.fitted import Fitted
from gateway.contract import Batch, Capabilities, Delivered
from gateway.dispatch.settings import Settings
from gateway.outcome import Outcome
from gateway.spool.api import Delivery, Stored

from .simulated import DoubleSpool, Peer, hand, stored, wall
from .test_dispatcher import scenario, until


class Numbers:
    """Gives a number to each message of a sender `far`; storing them takes a while, and may fail."""

    def __init__(self, answers: Sequence[bool | Exception] = ()) -> None:
        self.given: set[int] = set()
        self.stored: set[int] = set()
        self.answers = list(answers)
        self.calls = 0

    @property
    def is_pending(self) -> bool:
        return bool(self.given)

    async def store(self) -> bool:
        await asyncio.sleep(0.01)
        self.calls += 1
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        self.stored |= self.given
        self.given.clear()
        return answer

    def adapt(self, message: Stored, deliveries: Sequence[Delivery], capabilities: Capabilities) -> Fitted:
        if deliveries[0].sender == "far" and message.id not in self.stored:
            self.given.add(message.id)
        return Fitted(message.content, message.envelope)

    def answer(self) -> Callable[[str, Any, int], Outcome]:
        def take(hop: str, item: Any, tries: int) -> Outcome:
            assert item.id[0] not in self.given, "it was shown before it was stored"
            return Delivered()

        return take


def test_what_is_shown_was_stored_before() -> None:
    numbers = Numbers()

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        far = {hand(d, spool, stored(sender="far")).id for _ in range(5)}
        for _ in range(20):
            hand(d, spool, stored())
        await until(lambda: len(spool.ended) == 25)
        assert numbers.stored == far
        assert d.in_memory == (0, 0)

    scenario(work, Peer(numbers.answer()), adapt=numbers.adapt, disclosures=numbers)


def test_a_running_call_gets_nothing_that_is_not_stored() -> None:
    numbers = Numbers()

    class Keen(Peer):
        """Asks for more until there is none, as a destination with a connection does."""

        async def deliver(self, batch: Batch) -> None:
            parcels = list(batch.parcels)
            while parcels:
                for parcel in parcels:
                    for item in parcel.items:
                        assert item.id[0] not in numbers.given
                        batch.settle(item.id, Delivered())
                await asyncio.sleep(0.001)
                parcels = list(batch.more())

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for n in range(200):
            hand(d, spool, stored(sender="far" if n % 3 else "near"))
        await until(lambda: len(spool.ended) == 200)
        assert d.in_memory == (0, 0)

    settings = Settings(batch_deliveries=10)
    scenario(work, Keen(numbers.answer()), settings, adapt=numbers.adapt, disclosures=numbers)


def test_what_cannot_be_stored_waits_and_is_adapted_anew() -> None:
    numbers = Numbers([OSError("the database is away"), False])

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        m = hand(d, spool, stored(sender="far"))
        started = wall()
        await until(lambda: len(spool.ended) == 1, within_s=1000.0)
        assert numbers.calls == 2
        assert wall() - started > 100
        assert spool.how[m.deliveries[0].id] == "delivered"

    scenario(work, Peer(numbers.answer()), adapt=numbers.adapt, disclosures=numbers)
