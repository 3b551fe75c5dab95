"""Most of a day of deliveries to destinations that lie, in moments: each recipient ends in exactly one final state.

Destinations refuse, defer, hang, raise, forget items, settle twice and come and go; the spool fails now and then; the
dispatcher is stopped and started in between. Whatever happens, nothing ends twice and nothing stays for ever.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.contract import Batch
from gateway.dispatch import Settings
from gateway.message import Notify
from gateway.outcome import Deferred, Delivered, Failed, Scope
from gateway.report import Report
from gateway.spool.api import State, Stored
from gateway.status import MAILBOX_FULL, NO_ANSWER, UNKNOWN_MAILBOX

from .simulated import DoubleSpool, Peer, dispatcher, hand, simulate, stored, wall

EXPIRE_S = 5 * 3600.0
SETTINGS = Settings(
    poll_s=120.0, poll_idle_s=300.0, listen_s=300.0, housekeeping_s=20.0, deliver_timeout_s=60.0,
    lane_deliveries=40, memory_deliveries=120, claim_deliveries=20, max_runners=12, max_unproven_runners=6,
    max_probing_runners=2, max_uncommitted=50, settle_limit=20, max_lanes=6, lane_idle_s=600.0,
)  # fmt: skip

LIES = ("deliver", "fail", "defer", "message", "hop", "hint", "hang", "raise", "forget", "twice")


class Liar(Peer):
    """Each hop has a list of things it does, drawn again for each item."""

    def __init__(self, habits: dict[str, list[str]], seed: int) -> None:
        super().__init__(lambda hop, item, tries: None, latency_s=0.05)
        self.habits = habits
        self.rng = random.Random(seed)
        self.delivered: list[Any] = []

    async def deliver(self, batch: Batch) -> None:
        parcels = batch.parcels
        while parcels:
            for parcel in parcels:
                await asyncio.sleep(self.latency_s)
                for item in parcel.items:
                    await self._one(batch, item)
            parcels = batch.more()

    async def _one(self, batch: Batch, item: Any) -> None:
        self.tries[item.id] += 1
        match self.rng.choice(self.habits.get(batch.next_hop, ["deliver"])):
            case "deliver":
                self.delivered.append(item.id)
                batch.settle(item.id, Delivered(relayed=self.rng.random() < 0.5))
            case "fail":
                batch.settle(item.id, Failed(UNKNOWN_MAILBOX))
            case "defer":
                batch.settle(item.id, Deferred(MAILBOX_FULL))
            case "message":
                batch.settle(item.id, Deferred(MAILBOX_FULL, Scope.MESSAGE, retry_after_s=30.0))
            case "hop":
                batch.settle(item.id, Deferred(NO_ANSWER, Scope.HOP))
            case "hint":
                batch.settle(item.id, Deferred(NO_ANSWER, Scope.HOP, retry_after_s=self.rng.random() * 100))
            case "hang":
                await asyncio.sleep(10**7)
            case "raise":
                raise RuntimeError("a bug")
            case "twice":
                self.delivered.append(item.id)
                batch.settle(item.id, Delivered())
                batch.settle(item.id, Failed(UNKNOWN_MAILBOX))


def report(told: Report, about: Stored) -> Stored | None:
    return stored("reports", sender="<>", is_report=True, notify=Notify.NEVER, expires_s=EXPIRE_S)


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "reports"]),
        st.lists(st.sampled_from(LIES), min_size=1, max_size=4),
        max_size=7,
    ),
    st.integers(0, 2**32),
    st.integers(0, 4),
)
@example(
    {"a": ["hop"], "b": ["hang"], "c": ["raise"], "d": ["forget"], "e": ["twice", "defer"], "reports": ["fail"]}, 1, 3
)
@example({"a": ["hint"], "b": ["raise", "deliver"], "reports": ["hop"]}, 2, 2)
def test_every_recipient_ends_once(habits: dict[str, list[str]], seed: int, restarts: int) -> None:
    rng = random.Random(seed)
    spool = DoubleSpool()
    peer = Liar(habits, seed)
    sent: list[Any] = []

    async def main() -> None:
        for part in range(restarts + 1):
            d = dispatcher(spool, peer, SETTINGS, make_report=report)
            running = asyncio.get_running_loop().create_task(d.run())
            for _ in range(12):
                spool.failing = rng.choice([0, 0, 0, 3, 12])
                for _ in range(rng.randrange(12)):
                    m = stored(
                        rng.choice("abcdefg"), sender=rng.choice(["x@s", "y@s", "z@s"]), recipients=rng.randrange(1, 4),
                        priority=rng.choice([0, 0, 0, 5, -5]), expires_s=EXPIRE_S, envelope_expires=rng.random() < 0.1,
                        notify=rng.choice([Notify.UNSET, Notify.NEVER, Notify.SUCCESS | Notify.FAILURE]),
                    )  # fmt: skip
                    sent.append(m)
                    hand(d, spool, m)
                    assert d.in_memory[0] <= 1.25 * SETTINGS.memory_deliveries + 3
                await asyncio.sleep(rng.random() * 600.0)
            if part == restarts:
                # The reports of what expires have a time of their own, which begins when they are made; where their
                # destination hangs, hundreds of them are tried one by one, a minute each.
                await asyncio.sleep(2 * EXPIRE_S + 24 * 3600.0)
            spool.failing = 0  # else what could not be committed at the end would be sent again, as it must
            await d.stop(rng.random() * 60.0)
            await running
            assert not spool.leased, "everything was given back"

    simulate(main)
    assert all(n == 1 for n in spool.ended.values())
    for m in sent:
        for delivery in m.deliveries:
            assert spool.ended[delivery.id] == 1, (delivery.lane, spool.rows.get(delivery.id))
    # What is left is parked: reports that could not be delivered, for the postmaster.
    assert all(row.state is State.PARKED for row in spool.rows.values())
    # Never two deliveries of what was settled as delivered.
    assert len(peer.delivered) == len(set(peer.delivered))
    assert all(spool.how[id] == "delivered" for id in peer.delivered)


def test_the_bench_of_time_itself() -> None:
    async def main() -> None:
        before = wall()
        await asyncio.sleep(86_400.0)
        assert wall() - before == 86_400.0

    simulate(main)
