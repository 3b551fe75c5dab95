"""Mail that comes while a lane is closed: stored for later without a lease, lost nowhere, sent when the lane opens."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from gateway.dispatch import Settings
from gateway.dispatch.backoff import Backoff
from gateway.dispatch.lane import Limits
from gateway.message import Notify
from gateway.outcome import Deferred, Delivered, Scope
from gateway.spool.api import LaneKey, Stored, claims_of
from gateway.status import NO_ANSWER, Status

from .simulated import DoubleSpool, Peer, dispatcher, simulate, stored, wall
from .test_dispatcher import scenario, until

HOP = Deferred(NO_ANSWER, Scope.HOP)
KEY: LaneKey = ("out", "hop")
PATIENT = Settings(limits=Limits(backoff=Backoff(least_s=600.0, most_s=3600.0)))


def come(d: Any, spool: DoubleSpool, **more: Any) -> Stored:
    """Do what planner and intake do."""
    message = stored(**more)
    waits = d.waits(message.deliveries[0].lane, message.deliveries[0].sender)
    if waits is not None:
        at, why = waits
        message = replace(
            message,
            deliveries=tuple(
                replace(x, at_once=False, reason=why, next_attempt_at=min(at, x.expires_at)) for x in message.deliveries
            ),
        )
    spool.put(message, leased=waits is None)
    d.hand_over(claims_of(message))
    return message


class Hop:
    """A next hop that is down until it is told otherwise."""

    def __init__(self) -> None:
        self.up = False

    def __call__(self, hop: str, item: Any, tries: int) -> Any:
        return Delivered() if self.up else HOP


async def close(d: Any, spool: DoubleSpool, **more: Any) -> list[Stored]:
    """Fail until the lane is closed."""
    first = [come(d, spool, **more) for _ in range(2)]
    await until(lambda: d.waits(KEY) is not None)
    return first


def test_nothing_is_known_of_a_lane_that_is_open_or_not_there() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        assert d.waits(KEY) is None
        assert d.lanes() == {}, "asking makes no lane"
        come(d, spool)
        assert d.waits(KEY) is None
        await until(lambda: len(spool.ended) == 1)
        assert d.waits(KEY) is None

    scenario(work)


def test_what_comes_meanwhile_takes_no_memory_no_lease_and_no_second_commit() -> None:
    hop = Hop()

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        first = await close(d, spool)
        await until(lambda: not spool.leased)
        settles, tries = len(spool.settles), sum(peer.tries.values())
        later = [come(d, spool) for _ in range(100)]
        assert d.in_memory == (0, 0)
        await until(lambda: wall() >= d.lanes()[KEY].lane.until - 1, 5000.0)
        assert sum(peer.tries.values()) == tries, "nothing is sent before the lane opens"
        assert len(spool.settles) <= settles + 2, "no more than for what was tried before"
        assert all(spool.rows[m.deliveries[0].id].reason.startswith("4.4.1") for m in later)
        hop.up = True
        await until(lambda: len(spool.ended) == 102, 5000.0)
        done = [id for _, _, id in peer.at[tries:]]
        assert done[0] in {m.deliveries[0].id for m in first}, "the probe is made by what was tried before"

    spool = scenario(work, Peer(hop), PATIENT)
    assert set(spool.ended.values()) == {1}
    assert set(spool.how.values()) == {"delivered"}


def test_a_lane_that_opens_soon_keeps_what_comes_and_its_order() -> None:
    busy = Deferred(Status("4.3.2", "wait"), Scope.HOP, retry_after_s=10.0)
    said: list[Any] = [busy]

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        come(d, spool)
        await until(lambda: not d.lanes()[KEY].lane.is_ready)
        opens = d.lanes()[KEY].lane.until
        assert opens - wall() <= 10.0
        assert d.waits(KEY) is None
        later = [come(d, spool) for _ in range(20)]
        await until(lambda: len(spool.ended) == 21)
        sent = [(at, id) for at, _, id in peer.at[1:]]
        assert all(at >= opens for at, _ in sent)
        order = [id for _, id in sent if id in {m.deliveries[0].id for m in later}]
        assert order[0] == later[0].deliveries[0].id
        assert sent[-1][0] < opens + 5.0, "and goes the moment it opens"

    scenario(work, Peer(lambda hop, item, tries: said.pop() if said else Delivered()))


def test_a_lane_without_an_elder_is_probed_by_what_came() -> None:
    hop = Hop()

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        first = await close(d, spool)
        later = come(d, spool)
        await until(lambda: not spool.leased)
        for message in first:  # an operator drops them
            del spool.rows[message.deliveries[0].id]
        hop.up = True
        opens = d.lanes()[KEY].lane.until
        await until(lambda: spool.ended[later.deliveries[0].id] == 1, 5000.0)
        assert wall() < opens + 10.0

    scenario(work, Peer(hop), PATIENT)


def test_warnings_of_delay_come_as_for_what_was_tried() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        await close(d, spool, notify=Notify.DELAY)
        tried = set(spool.rows)
        for _ in range(3):
            come(d, spool, notify=Notify.DELAY)
        late = set(spool.rows) - tried
        await until(lambda: all(spool.rows[id].delay_reported for id in late), 7200.0)
        assert all(spool.rows[id].delay_reported for id in tried)
        await until(lambda: len(spool.reports) >= 5)

    settings = replace(PATIENT, poll_s=20.0, poll_idle_s=60.0, housekeeping_s=5.0, delay_warning_s=1800.0)
    scenario(work, Peer(lambda hop, item, tries: Delivered() if hop == "reports" else HOP), settings)


def test_what_expires_meanwhile_is_reported_at_its_time() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        await close(d, spool)
        message = come(d, spool, expires_s=300.0)
        [only] = message.deliveries
        assert spool.rows[only.id].next_attempt_at == only.expires_at
        began = wall()
        await until(lambda: spool.how.get(only.id) == "failed", 1000.0)
        assert 300.0 <= wall() - began < 360.0
        assert peer.tries[only.id] == 0

    scenario(work, Peer(lambda hop, item, tries: HOP), PATIENT)


def test_an_operator_holds_and_releases() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        d.hold_lane(KEY)
        waits = d.waits(KEY)
        assert waits is not None
        assert waits[0] > wall() + 3000
        assert "held by an operator" in waits[1]
        messages = [come(d, spool) for _ in range(10)]
        await until(lambda: wall() > waits[0] - 100, 5000.0)
        assert not peer.tries
        # A release makes what waits due, then opens the lane.
        for message in messages:
            id = message.deliveries[0].id
            spool.rows[id] = replace(spool.rows[id], next_attempt_at=wall())
        d.flush(KEY)
        await until(lambda: len(spool.ended) == 10, 100.0)

    settings = Settings(poll_s=20.0, poll_idle_s=60.0, listen_s=60.0, housekeeping_s=5.0)
    scenario(work, settings=settings)


def test_a_lane_that_opens_between_plan_and_commit_loses_nothing() -> None:
    hop = Hop()

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        await close(d, spool)
        message = stored()
        at, why = d.waits(KEY)
        hop.up = True
        d.flush(KEY)
        await until(lambda: d.lanes()[KEY].lane.is_ready)
        [only] = message.deliveries
        message = replace(message, deliveries=(replace(only, at_once=False, reason=why, next_attempt_at=at),))
        spool.put(message, leased=False)
        d.hand_over(claims_of(message))
        await until(lambda: spool.ended[only.id] == 1, 5000.0)

    scenario(work, Peer(hop), PATIENT)


def test_a_hop_that_another_node_found_down_gets_nothing() -> None:
    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        come(d, spool)
        await until(lambda: len(spool.ended) == 1)
        await spool.lane_down(KEY, wall() + 500.0, 7)
        await until(lambda: d.waits(KEY) is not None)
        messages = [come(d, spool) for _ in range(5)]
        assert d.in_memory == (0, 0)
        tries = sum(peer.tries.values())
        await until(lambda: len(spool.ended) == 6, 1000.0)
        assert sum(peer.tries.values()) == tries + len(messages)

    scenario(work)


def test_what_a_full_lane_has_no_room_for_waits_in_the_spool_from_the_start() -> None:
    """Nothing of it is given back; a sender who has less than its share still finds room."""

    async def work(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        came = [come(d, spool, sender="fat@a.example") for _ in range(50)]
        assert [x.deliveries[0].id in spool.leased for x in came] == [True] * 40 + [False] * 10
        assert d.waits(KEY, "fat@a.example") == (wall(), "")
        assert d.waits(KEY, "thin@a.example") is None
        await until(lambda: len(spool.ended) == 50)

    spool = scenario(work, settings=Settings(lane_deliveries=40))
    assert not spool.given_back
    assert set(spool.how.values()) == {"delivered"}


def test_another_dispatcher_over_the_spool_sends_what_waits() -> None:
    """As after a restart, which knows nothing of lanes."""
    spool = DoubleSpool()
    hop = Hop()

    async def before(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        await close(d, spool)
        for _ in range(10):
            come(d, spool)
        await until(lambda: not spool.leased)

    scenario(before, Peer(hop), PATIENT, spool)
    assert not spool.leased
    assert len(spool.rows) == 12
    for id in list(spool.rows):
        spool.rows[id] = replace(spool.rows[id], next_attempt_at=0.0)
    hop.up = True

    async def after(d: Any, spool: DoubleSpool, peer: Peer) -> None:
        await until(lambda: len(spool.ended) == 12, 5000.0)

    scenario(after, Peer(hop), PATIENT, spool)


@pytest.mark.parametrize("recipients", [1, 3])
def test_asking_after_an_open_lane_costs_next_to_nothing(recipients: int) -> None:
    async def main() -> None:
        spool = DoubleSpool()
        d = dispatcher(spool, Peer(lambda hop, item, tries: Delivered()))
        d.lane_for(KEY)
        took = []
        for _ in range(20):
            began = time.process_time()
            for _ in range(1000 * recipients):
                d.waits(KEY)
            took.append((time.process_time() - began) / 1000)
        assert min(took) < recipients * 20e-6  # of some 300 that a message takes
        assert spool.claims == 0
        await d.stop(1.0)

    simulate(main)
