"""The dispatcher: what the node calls. It puts the parts together; what can be decided purely is elsewhere.

One message's way here: `hand_over` (or a claim from the spool) puts it into its lane's queue; a runner takes a batch,
has it adapted and calls the destination's `deliver`; each `settle` becomes a verdict in the ledger, which commits it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from random import Random
from typing import Any, Final

from gateway.contract import Destination
from gateway.dispatch import lane as lanes
from gateway.dispatch.counts import Counts
from gateway.dispatch.feeder import Feeder
from gateway.dispatch.lane import LaneState
from gateway.dispatch.lanebook import Hooks, LaneBook
from gateway.dispatch.ledger import Ledger, MakeReport
from gateway.dispatch.live import LiveLane
from gateway.dispatch.memory import Memory
from gateway.dispatch.outcomes import CLOSED, Outcomes
from gateway.dispatch.queue import Entry
from gateway.dispatch.returns import Returns
from gateway.dispatch.runners import Adapt, Disclosures, Runners
from gateway.dispatch.settings import Settings
from gateway.dispatch.tasks import Tasks
from gateway.dispatch.verdict import reason
from gateway.spool.api import Claim, DeliveryId, LaneKey, Spool, Stored, claims_of
from gateway.status import Status

_HELD: Final = Status("4.3.2", "the lane is held by an operator")


class Dispatcher:
    """Built in the node's event loop; all methods are called in it.

    `destinations` maps a connector's configured name to its destination side, and may change while this runs
    (`reconnect`). `node` is this node's number where several share the spool.
    """

    def __init__(
        self,
        spool: Spool,
        destinations: Mapping[str, Destination],
        adapt: Adapt,
        make_report: MakeReport,
        *,
        clock: Callable[[], float],
        rng: Random,
        log: Any,
        settings: Settings | None = None,
        hooks: Hooks | None = None,
        node: int | None = None,
        disclosures: Disclosures | None = None,
    ) -> None:
        self.settings = settings = settings or Settings()
        self.counts = counts = Counts()
        self._clock = clock
        self._log = log
        self._hooks = hooks = hooks or Hooks()
        self._loop = asyncio.get_running_loop()
        self._tasks = Tasks(log)
        self._stopping = False
        self._stopped = asyncio.Event()
        self._closed_for = CLOSED, reason(CLOSED)
        self._to_put_off = asyncio.Event()
        self.put_off_every_s = settings.put_off_every_s
        """The present pace of what is done for closed lanes."""
        self._memory = memory = Memory(settings)
        self._ledger = ledger = Ledger(
            spool, make_report, settings, log,
            on_reports=self._reports_committed, on_lost=self.lose_lease, on_room=self._unblock,
            instead=hooks.instead,
        )  # fmt: skip
        self._lanes = LaneBook(settings, destinations, spool, clock, rng, log, hooks, node, self._go)
        self._outcomes = Outcomes(ledger, memory, counts, settings, clock, rng, self._lanes.change)
        self._feeder = Feeder(self, spool, clock, log)
        self._runners = Runners(
            adapt, self._outcomes, counts, settings, clock, log,
            want=self._feeder.want, is_blocked=lambda: ledger.is_full, on_probe=self._lanes.probing,
            disclosures=disclosures,
        )  # fmt: skip
        self._returns = Returns(spool, log, self.lose_lease)

    # -- life

    async def run(self) -> None:
        """Dispatch until `stop` is done."""
        self._feeder.start()
        self._tasks.start(self._housekeep(), "dispatch-housekeeping")
        self._tasks.start(self._put_off(), "dispatch-put-off")
        await self._stopped.wait()

    async def stop(self, drain_s: float) -> None:
        """Finish the calls of `deliver` that run, up to `drain_s`; cancel those left; give back what waits; commit.

        Promises: returns within `drain_s` and some seconds, whatever connectors and the spool do. Safe to call twice.
        """
        if self._stopping:
            await self._stopped.wait()
            return
        self._stopping = self._runners.stopping = True
        try:
            for live in self._lanes.all.values():
                for entry in self._memory.emptied(live):
                    self._returns.add(entry.ids)
                self._runners.unpark(live, None)
            await self._feeder.stop(2.0)
            await self._tasks.close(0.1)
            await self._runners.stop(drain_s)
            # What is committed last may make reports, which are handed over as all new mail is, and given back at once.
            await self._ledger.close(5.0)
            await self._returns.close(2.0)
            await self._lanes.stop()
        finally:
            self._stopped.set()

    # -- what comes in

    def hand_over(self, claims: Iterable[Claim]) -> None:
        """Take deliveries that are committed and leased to this node; what finds no room goes back to the spool."""
        for claim in claims:
            deliveries = claim.deliveries
            self.counts.handed_over += len(deliveries)
            live = self.lane_for(deliveries[0].lane)
            entry = Entry(claim.message, deliveries, fresh=True)
            if live is None or self._stopping:
                self._returns.add(entry.ids)
                continue
            for out in self._memory.push(live, entry, fresh=True):
                self._returns.add(out.ids)
            self._go(live)

    def hand_over_message(self, message: Stored) -> None:
        """Do `hand_over` with the queued deliveries of one message, lane by lane."""
        self.hand_over(claims_of(message))

    def claimed(self, live: LiveLane, claims: Sequence[Claim]) -> None:
        """Take what the feeder claimed for a lane."""
        if self._stopping:
            for claim in claims:
                self._returns.add(d.id for d in claim.deliveries)
            return
        self._returns.claimed(claims)
        for claim in claims:
            self.counts.claimed += len(claim.deliveries)
            for out in self._memory.push(live, Entry(claim.message, claim.deliveries), fresh=False):
                self._returns.add(out.ids)
        self._go(live)

    def waits(self, key: LaneKey, sender: str = "") -> tuple[float, str] | None:
        """Say until when, and why, a lane takes nothing of a sender; None where it does, or nothing is known of it.

        What is told so stays in the spool from the start; the lane knows then that there is something for it. A lane
        that opens again soon keeps its deliveries in memory, and they go in order the moment it does; but one that has
        no room for the sender would only hand them back.
        """
        live = self._lanes.all.get(key)
        if live is None:
            return None
        lane = live.lane
        if lane.is_ready or lane.until - self._clock() <= self.settings.put_off_beyond_s:
            if not live.is_full_for(sender):
                return None
            live.backlog = True
            return self._clock(), ""
        live.backlog = True
        why = lane.reason or CLOSED
        if why is not self._closed_for[0]:  # the same for as long as the lane is closed, and asked for each message
            self._closed_for = why, reason(why)
        return self._outcomes.opens_at(live), self._closed_for[1]

    def lane_for(self, key: LaneKey) -> LiveLane | None:
        """Return the lane, made where it is not in memory; None where there are as many as may be."""
        return self._lanes.all.get(key) or self._lanes.get(key, self._loop.time())

    def lanes_told(self, down: Mapping[LaneKey, float]) -> None:
        """Take over which lanes any node found down."""
        self._lanes.told(down)

    def room(self, live: LiveLane) -> int:
        """Return how many deliveries the feeder may claim for a lane now."""
        settings = self.settings
        queue = live.queue
        if self._stopping or self._ledger.is_full:
            return 0
        if not live.lane.is_ready:
            return settings.put_off_step if queue.count < settings.put_off_step else 0
        if live.lane.is_probing:
            return 0 if queue.count or live.active else 1
        if not live.lane.proven:
            # A hop that may be dead gets no more into memory than it is tried with.
            return max(0, live.lane.window - queue.count - live.active)
        free = min(queue.max_count - queue.count, settings.claim_deliveries)
        if self._memory.is_full:
            free = min(free, settings.small_lane - queue.count)
        return 0 if queue.octets >= queue.max_octets else free

    def feed(self, live: LiveLane) -> None:
        """Have a lane's deliveries claimed, where there is room and sense in it."""
        if live.lane.is_ready:
            if live.queue.count < self.settings.refill_below:
                self._feeder.want(live)
        elif live.lane.until - self._clock() > self.settings.put_off_beyond_s:
            self._feeder.want(live)

    def _unblock(self) -> None:
        for live in self._lanes.all.values():
            self._runners.wake(live)

    def _reports_committed(self, new: Sequence[Stored]) -> None:
        for message in new:
            self.hand_over_message(message)

    def _go(self, live: LiveLane) -> None:
        """Do what a lane's state asks for, after something came in or the state changed."""
        if self._stopping:
            return
        if live.lane.state is not LaneState.READY:
            if live.queue.count:
                self._to_put_off.set()
        elif live.queue.count:
            self._runners.wake(live)
        elif live.backlog:
            self._feeder.want(live)

    async def _put_off(self) -> None:
        """Write off to the spool, little by little, what waits in memory for lanes that are closed for long."""
        settings = self.settings
        while True:
            await self._to_put_off.wait()
            await asyncio.sleep(self.put_off_every_s)
            if self._ledger.is_full:
                continue
            now = self._clock()
            left = settings.put_off_step
            waiting = False
            for live in list(self._lanes.closed.values()):
                if live.queue.count and left > 0 and live.lane.until - now > settings.put_off_beyond_s:
                    left -= self._outcomes.put_off(live, left, now)
                waiting = waiting or live.queue.count > 0
            if not waiting:
                self._to_put_off.clear()

    # -- housekeeping

    async def _housekeep(self) -> None:
        settings = self.settings
        last_slow = last = self._loop.time()
        before = 0
        while True:
            await asyncio.sleep(settings.housekeeping_s)
            try:
                done, now = self.counts.delivered + self.counts.handed_over, self._loop.time()
                busy = done - before > 2 * settings.busy_per_s * (now - last)  # each delivery is counted twice
                self.put_off_every_s = settings.put_off_busy_s if busy else settings.put_off_every_s
                before, last = done, now
                self._lanes.wake(self._clock())
                loop_now = self._loop.time()
                self._runners.watch(loop_now)
                if loop_now - last_slow >= settings.runner_idle_s:
                    last_slow = loop_now
                    self._runners.rest(self._lanes.all.values(), loop_now)
                    self._lanes.forget_idle(loop_now, self._clock())
            except Exception:  # noqa: BLE001  without this task no lane would ever open again
                self._log.exception("housekeeping_fault")

    # -- operators

    def forget(self, ids: Collection[DeliveryId], *, dropped: bool = False) -> set[DeliveryId]:
        """Drop deliveries from memory that an operator changed, or `dropped`, in the spool; return those being sent
        just now.

        What waits here is given back, so that any node does with it what the spool says now. What is being sent keeps
        its lease until its outcome: delivered is delivered; else it is what the operator made of it, and no report
        is due.
        """
        gone = set(ids)
        if not gone:
            return set()
        memory = self._memory
        for live in self._lanes.all.values():
            octets = live.queue.octets
            removed = live.queue.remove(gone)
            memory.count -= len(removed)
            memory.octets -= octets - live.queue.octets
            self._returns.add(removed)
        in_flight = {id for work in self._runners.works for id in work.open.keys() & gone}
        self._outcomes.withdrawn.update(dict.fromkeys(in_flight, dropped))
        return in_flight

    async def reopen(self, keys: Collection[LaneKey]) -> None:
        """Let lanes be tried now, here and at all nodes, whoever found their next hops down.

        Before deliveries are made due: a node that finds them due then knows that their lane is open.
        """
        await self._lanes.reopen(keys)
        for key in keys:
            self.flush(key)

    def flush(self, key: LaneKey | None = None) -> None:
        """Try a lane's deliveries now (every lane's where None): closed lanes open, and the spool is asked.

        Deliveries that wait for a time of their own are made due by the spool's `change`.
        """
        for live in list(self._lanes.all.values()):
            if (key is None or live.key == key) and live.destination is not None:
                self._lanes.change(live, lanes.opened(live.lane))
        self._feeder.look()

    def hold_lane(self, key: LaneKey) -> None:
        """Stop a lane until `flush`; what it is handed is put off."""
        live = self.lane_for(key)
        if live is not None:
            self._lanes.change(live, lanes.hold(live.lane, _HELD))

    def reconnect(self) -> None:
        """Look the destinations up anew, after the mapping of them changed."""
        self._lanes.reconnect()

    def lanes(self) -> dict[LaneKey, LiveLane]:
        """Return the lanes in memory, to look at."""
        return dict(self._lanes.all)

    def fault_of(self, connector: str) -> str | None:
        """Return in words how a connector's destination side breaks the contract just now; None where it does not."""
        for (name, _), live in self._lanes.all.items():
            if name == connector and live.raised:
                return f"its deliver() raised {live.fault}"
        return None

    def lose_lease(self) -> None:
        """Drop everything: this node's deliveries may be another's by now. Calls that run are cancelled, and what they
        say is void."""
        self.counts.lease_lost += 1
        self._log.error("lease_lost", dropped=self._memory.count)
        for live in self._lanes.all.values():
            live.queue.clear()
            live.backlog = False
        self._runners.lose()
        self._memory.clear()
        self._outcomes.withdrawn.clear()
        self._ledger.discard()
        self._returns.discard()
        self._feeder.forget()
        self._hooks.on_lease_lost()

    @property
    def in_memory(self) -> tuple[int, int]:
        """Deliveries and content octets in memory, queued or being sent."""
        return self._memory.count, self._memory.octets

    @property
    def uncommitted(self) -> int:
        return self._ledger.uncommitted
