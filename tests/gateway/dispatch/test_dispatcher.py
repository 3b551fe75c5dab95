"""The dispatcher as a whole, with doubles at both ends and a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.adapt import Fate, Fidelity, Fitted, Note
from gateway.contract import Batch, Capabilities
from gateway.dispatch import Hooks, Settings
from gateway.dispatch.backoff import Backoff
from gateway.dispatch.lane import LaneState, Limits
from gateway.dispatch.verdict import reason
from gateway.message import Content, Notify
from gateway.outcome import Deferred, Delivered, Failed, Scope
from gateway.spool.api import Claim, Delivery, DeliveryId, LaneDue, LeaseLost, SpoolError, State, Stored, Withdrawal
from gateway.status import MAILBOX_FULL, NO_ANSWER, SPOOL_DOWN, TOO_BIG, UNKNOWN_MAILBOX

from .simulated import DoubleSpool, Peer, dispatcher, hand, simulate, stored, wall

HOP = Deferred(NO_ANSWER, Scope.HOP)
TEMPORARY = Deferred(MAILBOX_FULL)
SLOW = Settings(poll_s=20.0, poll_idle_s=60.0, listen_s=60.0, housekeeping_s=5.0)
"""Timers for tests of a day, in which nothing depends on seconds."""
DAY = 86_400.0


def always(outcome: Any) -> Callable[[str, Any, int], Any]:
    return lambda hop, item, tries: outcome


def scenario(
    work: Callable[[Any, DoubleSpool, Peer], Coroutine[Any, Any, None]],
    peer: Any = None,
    settings: Settings | None = None,
    spool: DoubleSpool | None = None,
    **more: Any,
) -> DoubleSpool:
    """Run `work(dispatcher, spool, peer)` with the dispatcher running, and stop it afterwards."""
    spool = spool or DoubleSpool()
    peer = peer or Peer(always(Delivered()))

    async def main() -> None:
        d = dispatcher(spool, peer, settings, **more)
        running = asyncio.get_running_loop().create_task(d.run())
        try:
            await work(d, spool, peer)
        finally:
            await d.stop(10.0)
            await running

    simulate(main)
    return spool


async def until(condition: Callable[[], bool], within_s: float = 600.0) -> None:
    end = wall() + within_s
    while not condition():
        assert wall() < end, "it did not happen in time"
        await asyncio.sleep(0.05)


def test_a_message_is_delivered_and_its_outcome_committed_within_50_ms() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        hand(d, spool, stored(recipients=3))
        await asyncio.sleep(0.05)
        assert len(spool.ended) == 3
        assert d.in_memory == (0, 0)

    spool = scenario(work)
    assert set(spool.how.values()) == {"delivered"}


def test_what_nobody_can_have_tried_is_fresh() -> None:
    fresh: list[tuple[DeliveryId, bool]] = []

    def answer(hop: str, item: Any, tries: int) -> Any:
        fresh.append((item.id, item.fresh))
        return TEMPORARY if tries == 1 else Delivered()

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        new = hand(d, spool, stored(recipients=2)).deliveries
        await until(lambda: len(spool.ended) == 2, within_s=DAY)
        assert fresh == [(x.id, True) for x in new] + [(x.id, False) for x in new]
        fresh.clear()
        # One that a node before had: a kill in its first try left no attempt behind.
        spool.put(stored(), leased=False)
        await until(lambda: len(spool.ended) == 3, within_s=DAY)
        assert [is_fresh for _, is_fresh in fresh] == [False, False]

    scenario(work, Peer(answer))


def test_outcomes_are_committed_together_at_256() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for _ in range(2000):
            hand(d, spool, stored())
        await until(lambda: len(spool.ended) == 2000)

    spool = scenario(work, Peer(always(Delivered()), latency_s=0.0))
    assert max(spool.settles) <= 1024
    assert len(spool.settles) <= 20


def test_what_is_left_without_an_outcome_is_deferred() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        m = hand(d, spool, stored(recipients=2))
        await until(lambda: not spool.leased)
        assert {spool.rows[x.id].attempts for x in m.deliveries} == {1}
        assert all(wall() + 50 < spool.rows[x.id].next_attempt_at < wall() + 91 for x in m.deliveries)

    scenario(work, Peer(always(None)))


def test_each_recipient_has_its_own_fate_and_failures_share_a_report() -> None:
    def answer(hop: str, item: Any, tries: int) -> Any:
        n = item.id[1]
        return Delivered() if n == 0 else Failed(UNKNOWN_MAILBOX) if n < 3 else Deferred(MAILBOX_FULL)

    told: list[list[str]] = []

    def report(r: Any, about: Stored) -> Stored | None:
        told.append([p.original.value for p in r.recipients])
        return stored("reports", is_report=True, notify=Notify.NEVER)

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        m = hand(d, spool, stored(recipients=4))
        await until(lambda: len(spool.ended) == 4)
        assert [spool.how.get(x.id) for x in m.deliveries] == ["delivered", "failed", "failed", None]

    spool = scenario(work, Peer(answer, latency_s=0.0), make_report=report)
    assert told == [["r1@hop", "r2@hop"]]
    assert len(spool.reports) == 1


def test_a_failure_whose_report_has_no_way_is_parked() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        m = hand(d, spool, stored())
        await until(lambda: bool(spool.ended))
        assert spool.rows[m.deliveries[0].id].state is State.PARKED

    scenario(work, Peer(always(Failed(UNKNOWN_MAILBOX))), make_report=lambda r, about: None)


def test_a_fault_in_making_the_report_does_not_lose_the_outcome() -> None:
    def broken(r: Any, about: Stored) -> Stored | None:
        raise ValueError("no")

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        hand(d, spool, stored())
        await until(lambda: bool(spool.ended))

    assert list(scenario(work, Peer(always(Failed(UNKNOWN_MAILBOX))), make_report=broken).how.values()) == ["parked"]


@pytest.mark.parametrize("fault", [False, True])
def test_another_message_may_go_in_place_of_a_report(fault: bool) -> None:
    seen: list[str] = []
    others: list[Stored] = []

    async def instead(r: Any, about: Stored) -> Stored | None:
        seen.extend(p.original.value for p in r.recipients)
        if fault:
            raise ValueError("no")
        if len(r.recipients) == 1:
            return None
        others.append(stored("other", sender="ann@here", notify=Notify.NEVER))
        return others[0]

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        hand(d, spool, stored(recipients=2))
        await until(lambda: len(spool.reports) == 1)
        hand(d, spool, stored(recipients=1))
        await until(lambda: len(spool.reports) == 2)

    def answer(hop: str, item: Any, tries: int) -> Any:
        return Failed(UNKNOWN_MAILBOX) if hop == "hop" else Delivered()

    spool = scenario(work, Peer(answer, latency_s=0.0), hooks=Hooks(instead=instead))
    assert seen == ["r0@hop", "r1@hop", "r0@hop"]
    assert [r in others for r in spool.reports] == [not fault, False]


def test_a_report_that_fails_is_parked_and_never_reported_on() -> None:
    def answer(hop: str, item: Any, tries: int) -> Any:
        return Failed(UNKNOWN_MAILBOX)

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        hand(d, spool, stored())
        await until(lambda: len(spool.ended) == 2)
        await asyncio.sleep(DAY)
        assert len(spool.reports) == 1
        assert sorted(spool.how.values()) == ["failed", "parked"]

    scenario(work, Peer(answer), settings=SLOW)


def test_a_connector_that_raises_hurts_no_other_lane_and_loses_nothing() -> None:
    def answer(hop: str, item: Any, tries: int) -> Any:
        return RuntimeError("a bug") if hop == "bad" else Delivered()

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for _ in range(50):
            hand(d, spool, stored("bad"))
        for _ in range(200):
            hand(d, spool, stored("good"))
        await until(lambda: len(spool.ended) == 200, 5.0)
        await until(lambda: all(r.attempts or "4" in r.reason for r in spool.rows.values()), 600.0)
        assert len(spool.rows) == 50
        assert d.lanes()["out", "bad"].lane.state is LaneState.THROTTLED  # it went on, so it is the hop's

    scenario(work, Peer(answer))


def test_one_bad_message_does_not_take_the_others_of_its_batch_along_for_ever() -> None:
    poison: list[int] = []

    def answer(hop: str, item: Any, tries: int) -> Any:
        return RuntimeError("a bug") if item.id[0] in poison else Delivered()

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        messages = [stored() for _ in range(20)]
        poison.append(messages[3].id)
        for m in messages:
            hand(d, spool, m)
        await until(lambda: len(spool.ended) == 19, 900.0)

    scenario(work, Peer(answer))


def test_a_connector_that_hangs_is_cancelled_and_other_lanes_go_on() -> None:
    def answer(hop: str, item: Any, tries: int) -> Any:
        return asyncio.sleep(10**6) if hop == "bad" else Delivered()

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        m = hand(d, spool, stored("bad"))
        for _ in range(100):
            hand(d, spool, stored("good"))
        await until(lambda: len(spool.ended) == 100, 5.0)
        await until(lambda: not spool.leased, 120.0)
        assert spool.rows[m.deliveries[0].id].attempts == 1
        assert d.counts.hung == 1

    scenario(work, Peer(answer), Settings(deliver_timeout_s=60.0))


def test_a_connector_that_refuses_to_be_cancelled_is_left_behind() -> None:
    class Stubborn(Peer):
        async def deliver(self, batch: Batch) -> None:
            while True:
                try:
                    await asyncio.sleep(10**6)
                except asyncio.CancelledError:
                    if wall() > end:
                        raise

    end = 0.0

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        nonlocal end
        end = wall() + 10 * DAY
        m = hand(d, spool, stored())
        await until(lambda: not spool.leased, 120.0)
        assert spool.rows[m.deliveries[0].id].attempts == 1
        assert d.counts.left_behind == 1
        started = wall()
        await d.stop(5.0)
        assert wall() - started < 20.0
        end = 0.0

    scenario(work, Stubborn(always(None)), Settings(deliver_timeout_s=60.0))


def test_settling_twice_is_ignored() -> None:
    class Twice(Peer):
        async def deliver(self, batch: Batch) -> None:
            for parcel in batch.parcels:
                for item in parcel.items:
                    batch.settle(item.id, Delivered())
                    batch.settle(item.id, Failed(UNKNOWN_MAILBOX))
            batch.settle((1, 99), Delivered())

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        hand(d, spool, stored())
        await until(lambda: bool(spool.ended))
        assert d.counts.settled_twice == 2

    assert list(scenario(work, Twice(always(None))).how.values()) == ["delivered"]


def test_while_the_spool_is_down_outcomes_are_kept_and_nothing_is_sent_again() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        spool.failing = 40
        for _ in range(500):
            hand(d, spool, stored())
        await asyncio.sleep(2.0)
        assert not spool.ended
        assert d.uncommitted <= 200
        await until(lambda: len(spool.ended) == 500)
        assert set(peer.tries.values()) == {1}

    scenario(work, Peer(always(Delivered()), latency_s=0.0), Settings(max_uncommitted=100, settle_limit=50))


def test_a_lost_lease_drops_everything_and_voids_what_is_in_flight() -> None:
    lost: list[float] = []

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        hand(d, spool, stored("fast"))
        slow = [hand(d, spool, stored("slow")) for _ in range(30)]
        spool.lease_error = LeaseLost()
        await asyncio.sleep(1.0)
        assert len(lost) == 1
        assert d.in_memory == (0, 0)
        assert d.uncommitted == 0
        tried = sum(peer.tries.values())
        await asyncio.sleep(3.0)
        assert sum(peer.tries.values()) == tried
        spool.lease_error = None
        spool.leased.clear()  # leases run out, and the node has a new one
        await until(lambda: len(spool.ended) == 31)
        assert all(spool.ended[m.deliveries[0].id] == 1 for m in slow)

    def answer(hop: str, item: Any, tries: int) -> Any:
        return Delivered() if hop == "fast" or tries > 1 else asyncio.sleep(0.5, Delivered())

    scenario(work, Peer(answer), hooks=Hooks(on_lease_lost=lambda: lost.append(wall())))


def test_what_is_claimed_by_the_new_lease_while_the_old_one_is_lost_is_sent() -> None:
    """A spool that finds its node fenced joins anew and does the claim then: its answer comes after the bad news."""
    busy: list[Any] = []

    class Fenced(DoubleSpool):
        async def claim(self, lane: Any, limit: int, now: float) -> list[Claim]:
            if len(busy) == 1:
                busy.pop().lose_lease()
            return await super().claim(lane, limit, now)

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        busy.append(d)
        ids = ids_of([spool.put(stored(), leased=False) for _ in range(5)])
        await until(lambda: set(spool.ended) == ids, 60.0)
        assert not busy

    scenario(work, spool=Fenced())


def test_what_is_returned_while_the_lease_is_lost_is_given_back_all_the_same() -> None:
    class Slow(DoubleSpool):
        async def give_back(self, ids: Sequence[DeliveryId]) -> None:
            await asyncio.sleep(1.0)
            await super().give_back(ids)

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        d._returns.add([(1, 0), (2, 0), (3, 0)])
        await asyncio.sleep(0.5)
        d.lose_lease()
        ids = ids_of([spool.put(stored("other"), leased=True) for _ in range(3)])
        d._returns.add(ids)
        await until(lambda: set(spool.ended) == ids, 60.0)

    scenario(work, spool=Slow())


def test_what_is_returned_as_the_last_is_given_back_does_not_wait_for_the_next() -> None:
    class Last(DoubleSpool):
        then: Callable[[], None] | None = None

        async def give_back(self, ids: Sequence[DeliveryId]) -> None:
            await super().give_back(ids)
            if self.then is not None:
                asyncio.get_running_loop().call_soon(self.then)
                self.then = None

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        assert isinstance(spool, Last)
        first, second = ids_of([spool.put(stored(), leased=True) for _ in range(2)])
        spool.then = lambda: d._returns.add([second])
        d._returns.add([first])
        await until(lambda: set(spool.ended) == {first, second}, 60.0)

    scenario(work, spool=Last())


def test_what_was_given_back_though_the_answer_was_lost_is_not_given_back_again() -> None:
    """It has been claimed anew meanwhile: to end that lease as well would let another node send it too."""

    class Lossy(DoubleSpool):
        async def give_back(self, ids: Sequence[DeliveryId]) -> None:
            await super().give_back(ids)
            raise SpoolError(SPOOL_DOWN)

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        (id,) = ids_of([spool.put(stored(), leased=True)])
        d._returns.add([id])
        await until(lambda: id in peer.tries or peer.running["hop"] > 0, 3.0)
        await asyncio.sleep(3.0)
        assert (spool.given_back[id], id in spool.leased) == (1, True)
        await until(lambda: id in spool.ended, 20.0)

    scenario(work, Peer(slowly(Delivered())), Settings(poll_s=0.1), spool=Lossy())


def test_stop_finishes_what_is_in_flight_and_gives_back_the_rest() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for _ in range(300):
            hand(d, spool, stored())
        await asyncio.sleep(0.5)
        await d.stop(30.0)
        assert not spool.leased
        assert all(spool.ended[i] == 1 for i in peer.tries)
        assert len(spool.ended) + len(spool.given_back) == 300

    scenario(work)


def test_stop_cancels_what_does_not_finish_in_time() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        m = hand(d, spool, stored())
        await asyncio.sleep(0.5)
        started = wall()
        await d.stop(3.0)
        assert 3.0 <= wall() - started < 5.0
        assert spool.rows[m.deliveries[0].id].attempts == 1
        assert not spool.leased
        late = hand(d, spool, stored())
        assert late.deliveries[0].id in spool.leased  # it was committed already; the node's end frees it

    def answer(hop: str, item: Any, tries: int) -> Any:
        return asyncio.sleep(10**6)

    scenario(work, Peer(answer))


def test_a_report_that_the_last_commit_makes_is_given_back() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        hand(d, spool, stored())
        await until(lambda: peer.running["hop"] > 0)
        await d.stop(30.0)
        (report,) = spool.reports
        assert not spool.leased
        assert spool.given_back[report.deliveries[0].id] == 1

    spool = DoubleSpool()
    spool.settle_s = 3.0
    scenario(
        work, Peer(slowly(Failed(UNKNOWN_MAILBOX))), spool=spool, make_report=lambda told, about: stored("reports")
    )


def test_a_hop_that_is_down_costs_one_probe_per_interval() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for _ in range(400):
            hand(d, spool, stored("dead"))
        await asyncio.sleep(DAY)
        # about 24 probes of an hour each, the first closer together, and the cohort that found it out
        assert 20 <= peer.calls["dead"] <= 45
        reasons = {r.reason for r in spool.rows.values()}
        assert all(r.startswith("4.4.1") for r in reasons)
        assert all(r.next_attempt_at > wall() - 120.0 for r in spool.rows.values())
        assert d.in_memory[0] <= 64

    scenario(work, Peer(always(HOP), latency_s=0.1), settings=SLOW)


def test_a_hop_that_comes_back_gets_all_its_mail() -> None:
    up: list[bool] = []

    def answer(hop: str, item: Any, tries: int) -> Any:
        return Delivered() if up else HOP

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for _ in range(600):
            hand(d, spool, stored("dead"))
        await asyncio.sleep(6 * 3600.0)
        up.append(True)
        await until(lambda: len(spool.ended) == 600, 2 * 3600.0)

    spool = scenario(work, Peer(answer), settings=SLOW)
    assert set(spool.how.values()) == {"delivered"}


def test_mail_for_a_dead_hop_expires_on_time_and_warns_once() -> None:
    actions: list[str] = []

    def report(r: Any, about: Stored) -> Stored | None:
        actions.extend(p.action.value + p.status.code for p in r.recipients)
        return None

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for _ in range(100):
            hand(d, spool, stored("dead", expires_s=DAY))
        await asyncio.sleep(3.9 * 3600.0)
        assert actions == []
        await asyncio.sleep(1.5 * 3600.0)
        assert actions == ["delayed4.4.1"] * 100
        await asyncio.sleep(DAY - 5.5 * 3600.0)
        assert not [a for a in actions if "failed" in a]
        await asyncio.sleep(2 * 3600.0)
        assert [a for a in actions if "failed" in a] == ["failed5.4.1"] * 100

    scenario(work, Peer(always(HOP)), make_report=report, settings=SLOW)


def test_an_originators_own_expiry_is_final_without_an_attempt() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        m = stored(expires_s=-5.0, envelope_expires=True)
        hand(d, spool, m)
        await until(lambda: bool(spool.ended))
        assert spool.how[m.deliveries[0].id] == "failed"
        assert m.deliveries[0].id not in peer.tries

    scenario(work)


def test_dead_and_hanging_hops_take_no_place_from_a_live_one() -> None:
    def answer(hop: str, item: Any, tries: int) -> Any:
        if hop.startswith("hang"):
            return asyncio.sleep(60.0, HOP)
        return HOP if hop.startswith("dead") else Delivered()

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        known = hand(d, spool, stored("live"))
        await until(lambda: known.deliveries[0].id in peer.tries)
        for i in range(300):
            for _ in range(5):
                hand(d, spool, stored(f"hang{i}"))
                hand(d, spool, stored(f"dead{i}"))
        await asyncio.sleep(1.0)
        new = hand(d, spool, stored("new"))
        started = wall()
        live = [hand(d, spool, stored("live")).deliveries[0].id for _ in range(1000)]
        await until(lambda: all(i in peer.tries for i in live), 60.0)
        assert wall() - started < 2.0
        await until(lambda: new.deliveries[0].id in peer.tries, 300 / 50 * 60.0 + 10.0)  # its turn among the untried

    scenario(work, Peer(answer), Settings(max_runners=100, max_unproven_runners=50, max_probing_runners=10))


def test_one_senders_50000_do_not_hold_up_anothers_one() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for _ in range(50_000):
            hand(d, spool, stored(sender="flood@a.example"))
            if not _ % 500:
                await asyncio.sleep(0)
        await asyncio.sleep(1.0)
        m = hand(d, spool, stored(sender="small@b.example"))
        started = wall()
        await until(lambda: m.deliveries[0].id in peer.tries, 60.0)
        assert wall() - started < 1.0
        assert d.in_memory[0] <= 5000 + 20 * 64

    scenario(work, Peer(always(Delivered()), latency_s=0.01))


def test_what_finds_no_room_waits_in_the_spool_and_comes_back() -> None:
    settings = Settings(lane_deliveries=50, memory_deliveries=80, claim_deliveries=20)

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        most = 0
        for _ in range(3000):
            hand(d, spool, stored(sender=f"s{_ % 7}@a.example"))
            most = max(most, d.in_memory[0])
        assert most <= 100
        await until(lambda: len(spool.ended) == 3000, 3000.0)
        assert set(peer.tries.values()) == {1}

    scenario(work, settings=settings)


def test_content_octets_in_memory_are_bounded() -> None:
    settings = Settings(memory_bytes=1_000_000, lane_bytes=300_000)

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for i in range(200):
            hand(d, spool, stored(f"hop{i % 20}", body=b"x" * 50_000))
            assert d.in_memory[1] <= 1_250_000
        await until(lambda: len(spool.ended) == 200, 600.0)

    scenario(work, settings=settings)


def test_priority_goes_first() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        hand(d, spool, stored())
        await asyncio.sleep(0.05)
        low = [hand(d, spool, stored(priority=-2)) for _ in range(500)]
        high = [hand(d, spool, stored(priority=4)) for _ in range(50)]
        await until(lambda: len(spool.ended) == 551)
        order = {i: at for at, (_, _, i) in enumerate(peer.at)}
        assert max(order[m.deliveries[0].id] for m in high) == 50
        assert min(order[m.deliveries[0].id] for m in low) == 51

    scenario(work, settings=Settings(limits=Limits(window_start=1, window_limit=1)))


def test_the_window_starts_low_and_grows_to_its_limit() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for _ in range(5000):
            hand(d, spool, stored())
        await asyncio.sleep(0.1)
        assert peer.most["hop"] <= 3
        await until(lambda: len(spool.ended) == 5000, 600.0)
        assert 10 <= peer.most["hop"] <= 20

    scenario(work, Peer(always(Delivered()), latency_s=0.1))


def test_a_slow_hop_gets_small_batches_over_several_calls() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for _ in range(40):
            hand(d, spool, stored())
        await until(lambda: len(spool.ended) == 40, 30.0)

    scenario(work, Peer(always(Delivered()), latency_s=1.0))


def test_a_call_that_goes_on_gets_larger_batches_as_its_hop_gets_faster() -> None:
    class Waking(Peer):
        async def deliver(self, batch: Batch) -> None:
            parcels = batch.parcels
            while parcels:
                taken.append(len(parcels))
                for parcel in parcels:
                    await asyncio.sleep(self.latency_s)
                    batch.settle(parcel.items[0].id, Delivered())
                parcels = batch.more() if self.latency_s < 1.0 else ()

    taken: list[int] = []

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        hand(d, spool, stored())
        await until(lambda: len(spool.ended) == 1, 30.0)
        peer.latency_s = 0.001
        for _ in range(1000):
            hand(d, spool, stored())
        await until(lambda: len(spool.ended) == 1001, 30.0)

    one = Settings(limits=Limits(window_start=1, window_limit=1))
    scenario(work, Waking(always(None), latency_s=1.0), one)
    assert taken[:2] == [1, 1]
    assert max(taken) >= 32


def test_idle_lanes_are_forgotten() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for i in range(500):
            hand(d, spool, stored(f"hop{i}"))
        await until(lambda: len(spool.ended) == 500, 60.0)
        await asyncio.sleep(400.0)
        assert d.lanes() == {}

    scenario(work)


def test_more_lanes_than_may_be_in_memory_are_served_in_turn() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        for i in range(60):
            hand(d, spool, stored(f"hop{i}"))
            assert len(d.lanes()) <= 20
        await until(lambda: len(spool.ended) == 60, 60.0)

    scenario(work, settings=Settings(max_lanes=20, lane_idle_s=5.0, runner_idle_s=1.0))


def reroute(spool: DoubleSpool, ids: Iterable[DeliveryId], hop: str) -> None:
    """Do what an operator's change does: the spool says something else, and leases stay."""
    for id in ids:
        spool.rows[id] = replace(spool.rows[id], lane=("out", hop), next_attempt_at=wall())


def hold(spool: DoubleSpool, ids: Iterable[DeliveryId]) -> None:
    for id in ids:
        spool.rows[id] = replace(spool.rows[id], state=State.HELD)


def ids_of(messages: Iterable[Stored]) -> set[DeliveryId]:
    return {d.id for m in messages for d in m.deliveries}


def slowly(outcome: Any) -> Any:
    return lambda hop, item, tries: asyncio.sleep(5.0, outcome)


def test_what_waits_is_given_back_when_it_is_rerouted() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        ids = ids_of([hand(d, spool, stored()) for _ in range(40)])
        await asyncio.sleep(0.5)
        reroute(spool, ids, "other")
        in_flight = d.forget(ids)
        assert 0 < len(in_flight) < 40
        await asyncio.sleep(0.1)
        assert set(spool.given_back) == ids - in_flight
        await until(lambda: len(spool.ended) == 40, 600.0)
        assert set(spool.how.values()) == {"delivered"}
        assert {i for _, hop, i in peer.at if hop == "hop"} == in_flight
        assert set(peer.tries.values()) == {1}, "each is sent once, by one way"

    scenario(work, Peer(slowly(Delivered())))


def test_what_waits_behind_a_closed_lane_is_given_back_when_it_is_rerouted() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        ids = ids_of([hand(d, spool, stored()) for _ in range(20)])
        await until(lambda: not d.lanes()["out", "hop"].lane.is_ready, 60.0)
        reroute(spool, ids, "other")
        d.forget(ids)
        await until(lambda: len(spool.ended) == 20, 15.0)

    quick = Backoff(least_s=20.0, most_s=20.0)
    settings = Settings(retry=quick, limits=Limits(backoff=quick))
    scenario(work, Peer(lambda hop, item, tries: HOP if hop == "hop" else Delivered()), settings)


@pytest.mark.parametrize("outcome", [Failed(UNKNOWN_MAILBOX), HOP, TEMPORARY])
def test_what_fails_while_it_is_rerouted_goes_the_new_way_at_once_without_a_report(outcome: Any) -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        (id,) = ids_of([hand(d, spool, stored())])
        await asyncio.sleep(1.0)
        reroute(spool, [id], "other")
        assert d.forget({id}) == {id}
        await until(lambda: id in spool.ended, 20.0)
        assert (spool.how[id], spool.rows, spool.reports) == ("delivered", {}, [])
        assert [hop for _, hop, _ in peer.at] == ["hop", "other"]

    scenario(work, Peer(lambda hop, item, tries: asyncio.sleep(5.0, outcome if hop == "hop" else Delivered())))


def test_what_fails_while_it_is_held_stays_held() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        (id,) = ids_of([hand(d, spool, stored())])
        await asyncio.sleep(1.0)
        hold(spool, [id])
        assert d.forget({id}) == {id}
        await until(lambda: not spool.leased, 20.0)
        row = spool.rows[id]
        assert (row.state, row.attempts, row.reason, spool.reports) == (State.HELD, 1, reason(UNKNOWN_MAILBOX), [])

    scenario(work, Peer(slowly(Failed(UNKNOWN_MAILBOX))))


def test_what_is_delivered_while_it_is_held_is_over_and_its_report_is_due() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        (id,) = ids_of([hand(d, spool, stored(notify=Notify.SUCCESS))])
        await asyncio.sleep(1.0)
        hold(spool, [id])
        d.forget({id})
        await until(lambda: id in spool.ended, 20.0)
        await until(lambda: len(spool.reports) == 1, 1.0)

    scenario(work, Peer(lambda hop, item, tries: asyncio.sleep(5.0, Delivered(relayed=True))))


def test_what_was_queued_anew_while_it_was_sent_is_tried_again_at_once() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        (id,) = ids_of([hand(d, spool, stored())])
        await asyncio.sleep(1.0)
        spool.rows[id] = replace(spool.rows[id], next_attempt_at=wall())
        await until(lambda: id in spool.ended, 30.0)
        assert peer.tries[id] == 2

    scenario(work, Peer(lambda hop, item, tries: asyncio.sleep(5.0, TEMPORARY if tries == 1 else Delivered())))


def test_what_another_node_was_told_is_forgotten_here() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        kept, dropped = ({hand(d, spool, stored()).deliveries[0].id for _ in range(20)} for _ in range(2))
        await asyncio.sleep(0.5)
        sending = {i for w in d._runners.works for i in w.open}
        hold(spool, kept)
        for id in dropped:
            del spool.rows[id]
            spool.leased.discard(id)
        spool.withdrawn = [Withdrawal(id, id in dropped) for id in kept | dropped]
        await until(lambda: bool(spool.noticed), 3.0)
        ((noticed, in_flight),) = spool.noticed
        assert (set(noticed), in_flight) == (kept | dropped, sending)
        await until(lambda: not spool.leased, 20.0)
        await asyncio.sleep(30.0)
        assert (set(peer.tries), set(spool.rows), spool.reports) == (sending, kept, [])
        assert {row.state for row in spool.rows.values()} == {State.HELD}

    scenario(work, Peer(slowly(Failed(UNKNOWN_MAILBOX))))


def test_what_is_made_due_while_the_spool_is_looked_at_does_not_wait_for_the_next_look() -> None:
    class Behind(DoubleSpool):
        async def due(self, now: float) -> list[LaneDue]:
            found = await super().due(now)
            await asyncio.sleep(0.5)
            return found

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        await asyncio.sleep(0.2)
        (id,) = ids_of([spool.put(stored(), leased=False)])
        d.flush(("out", "hop"))
        await until(lambda: id in spool.ended, 5.0)

    scenario(work, settings=SLOW, spool=Behind())


def test_a_lane_known_to_be_down_from_the_spool_alone_is_tried_when_an_operator_asks() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        spool.down["out", "hop"] = wall() + 3000.0
        await asyncio.sleep(6.0)
        await d.reopen({("out", "hop")})
        (id,) = ids_of([spool.put(stored(), leased=False)])
        d.flush(("out", "hop"))
        await until(lambda: id in spool.ended, 5.0)

    scenario(work)


def test_a_lane_that_this_node_found_down_opens_when_an_operator_asks_elsewhere() -> None:
    up: list[bool] = []

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        ids = ids_of([hand(d, spool, stored()) for _ in range(20)])
        await until(lambda: ("out", "hop") in spool.down, 60.0)
        await until(lambda: not spool.leased, 60.0)
        up.append(True)
        await spool.lanes_up([("out", "hop")])
        for id in ids:
            spool.rows[id] = replace(spool.rows[id], next_attempt_at=wall())
        await until(lambda: len(spool.ended) == 20, 20.0)

    quick = Backoff(least_s=300.0, most_s=300.0)
    settings = Settings(retry=quick, limits=Limits(backoff=quick))
    scenario(work, Peer(lambda hop, item, tries: Delivered() if up else HOP), settings)


def test_what_was_dropped_is_forgotten_and_nobody_is_told() -> None:
    def answer(hop: str, item: Any, tries: int) -> Any:
        return asyncio.sleep(5.0, Failed(UNKNOWN_MAILBOX))

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        first = hand(d, spool, stored(recipients=1))
        await asyncio.sleep(0.5)
        waiting = [hand(d, spool, stored()) for _ in range(40)]
        gone = {m.deliveries[0].id for m in waiting} | {first.deliveries[0].id}
        in_flight = d.forget(gone, dropped=True)
        assert first.deliveries[0].id in in_flight
        for id in gone - in_flight:
            del spool.rows[id]
            spool.leased.discard(id)
        assert d.in_memory[0] == len(in_flight)
        await until(lambda: d.in_memory[0] == 0, 600.0)
        await asyncio.sleep(1.0)
        assert spool.reports == []
        assert set(peer.tries) <= in_flight

    scenario(work, Peer(answer))


def test_hold_and_flush() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        d.hold_lane(("out", "hop"))
        m = hand(d, spool, stored())
        await asyncio.sleep(600.0)
        assert not peer.tries
        assert spool.rows[m.deliveries[0].id].reason.startswith("4.3.2")
        d.flush(("out", "hop"))
        fresh = hand(d, spool, stored())
        await until(lambda: fresh.deliveries[0].id in spool.ended, 5.0)
        await until(lambda: m.deliveries[0].id in spool.ended, 2 * 3600.0)

    scenario(work)


def test_a_connector_that_is_not_configured_waits_until_it_is() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        m = hand(d, spool, stored(connector="gone"))
        await asyncio.sleep(100.0)
        assert "not configured" in spool.rows[m.deliveries[0].id].reason
        d._lanes._destinations["gone"] = peer
        await until(lambda: bool(spool.ended), 2 * 3600.0)

    scenario(work)


def test_a_lane_that_another_node_found_down_is_not_tried() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        spool.down["out", "hop"] = wall() + 300.0
        await asyncio.sleep(6.0)
        hand(d, spool, stored())
        await asyncio.sleep(200.0)
        assert not peer.tries
        await until(lambda: bool(spool.ended), 200.0)

    scenario(work)


def test_other_nodes_learn_that_a_hop_is_down_and_up_again() -> None:
    up: list[bool] = []

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        hand(d, spool, stored())
        hand(d, spool, stored())
        await until(lambda: ("out", "hop") in spool.down, 200.0)
        assert spool.down["out", "hop"] > wall() + 50.0
        up.append(True)
        await until(lambda: spool.down["out", "hop"] <= wall(), 400.0)

    scenario(work, Peer(lambda hop, item, tries: Delivered() if up else HOP))


def test_a_node_does_not_take_its_own_older_word_for_anothers() -> None:
    """A look at the spool that is one word behind finds the claim of a probe that has failed since."""
    key = ("out", "hop")

    said: list[float] = []

    class Behind(DoubleSpool):
        async def lane_down(self, lane: Any, until: float, probe_by: int | None) -> None:
            said.append(until)

        async def lanes_down(self) -> dict[Any, float]:
            return {key: said[-2]} if len(said) > 1 else {}

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        m = hand(d, spool, stored())
        hand(d, spool, stored())
        await asyncio.sleep(50.0)
        assert max(peer.tries[x.id] for x in m.deliveries) > 1
        assert len(peer.at) > 10, "it went on trying at its own pace"

    quick = Backoff(least_s=1.0, most_s=2.0)
    settings = Settings(retry=quick, limits=Limits(backoff=quick))
    scenario(work, Peer(always(HOP)), settings, Behind(), node=1)


def test_a_hint_of_the_hop_pauses_the_lane_for_just_that_long() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        m = hand(d, spool, stored())
        await until(lambda: m.deliveries[0].id in spool.ended, 60.0)
        first, second = (t for t, _, i in peer.at if i == m.deliveries[0].id)
        assert 25.0 <= second - first <= 30.0

    def answer(hop: str, item: Any, tries: int) -> Any:
        return Delivered() if tries > 1 else Deferred(MAILBOX_FULL, Scope.HOP, retry_after_s=25.0)

    scenario(work, Peer(answer))


def test_what_does_not_fit_fails_before_it_is_sent_and_the_rest_goes_on() -> None:
    def adapt(message: Stored, deliveries: Sequence[Delivery], capabilities: Capabilities) -> Fitted:
        notes = Fidelity((Note(Fate.MAPPED, "x", "y"),))
        return Fitted(message.content, message.envelope, notes, ((deliveries[0].id, Failed(TOO_BIG)),))

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        m = hand(d, spool, stored(recipients=2))
        await until(lambda: all(x.id in spool.ended for x in m.deliveries))
        assert [spool.how[x.id] for x in m.deliveries] == ["failed", "delivered"]
        assert list(peer.tries) == [m.deliveries[1].id]

    scenario(work, adapt=adapt, make_report=lambda r, about: stored("x", is_report=True))


def test_a_fault_in_adaptation_defers_that_message_alone() -> None:
    def adapt(message: Stored, deliveries: Sequence[Delivery], capabilities: Capabilities) -> Fitted:
        if deliveries[0].sender == "bad":
            raise ValueError("a bug")
        return Fitted(message.content, message.envelope)

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        bad = hand(d, spool, stored(sender="bad"))
        hand(d, spool, stored())
        await until(lambda: len(spool.ended) == 1)
        assert "a bug" in spool.rows[bad.deliveries[0].id].reason

    scenario(work, adapt=adapt)


class _Blob:
    size = 400_000

    def read(self, offset: int, length: int) -> bytes:
        return b"x" * min(length, self.size - offset)


@pytest.mark.asyncio
async def test_contents_that_are_not_in_memory_are_adapted_in_a_thread() -> None:
    """In real time, since threads don't know of a simulated clock."""
    import threading
    import time

    from gateway.dispatch import Dispatcher
    from gateway.log import get_log

    spool = DoubleSpool()
    where: list[str] = []

    def adapt(message: Stored, deliveries: Sequence[Delivery], capabilities: Capabilities) -> Fitted:
        where.append(threading.current_thread().name)
        return Fitted(message.content, message.envelope)

    class Real(Peer):
        async def deliver(self, batch: Batch) -> None:
            parcels = batch.parcels
            while parcels:
                for parcel in parcels:
                    for item in parcel.items:
                        self.tries[item.id] += 1
                        batch.settle(item.id, Delivered())
                parcels = batch.more()

    async def no_lanes() -> dict[Any, float]:
        return {}

    spool.lanes_down = no_lanes  # type: ignore[method-assign]  # it asks the simulated clock
    import random

    d = Dispatcher(
        spool, {"out": Real(always(None))}, adapt, lambda r, a: None,  # type: ignore[arg-type]  # doubles
        clock=time.time, rng=random.Random(1), log=get_log("dispatch"),
    )  # fmt: skip
    running = asyncio.create_task(d.run())
    m = stored(now=time.time())
    blob = Stored(m.id, m.envelope, b"", Content(_Blob()), m.arrived_at, m.deliveries)
    spool.put(blob, leased=True)
    d.hand_over([Claim(blob, blob.deliveries)])
    for _ in range(200):
        await asyncio.sleep(0.01)
        if spool.ended:
            break
    await d.stop(1.0)
    await running
    assert spool.ended
    assert where
    assert where[0] != threading.main_thread().name
