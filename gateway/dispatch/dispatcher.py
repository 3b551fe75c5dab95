"""The dispatcher: owns the lanes in memory and the tasks that run them; decides nothing that a pure part can decide.

One message's way here: `hand_over` (or a claim from the spool) puts it into its lane's queue; a runner takes a batch,
has it adapted and calls the destination's `deliver`; each `settle` becomes a verdict in the ledger, which commits it.
Runners stay with their lane while it has work, then wait for more; there is no task per message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from random import Random
from typing import Any, Final

from gateway.adapt.fidelity import INTACT, Fitted
from gateway.contract import Capabilities, Destination, Item, Parcel
from gateway.dispatch import lane as lanes
from gateway.dispatch.feeder import Feeder
from gateway.dispatch.lane import Lane, LaneState
from gateway.dispatch.ledger import Ledger, MakeReport
from gateway.dispatch.live import Kind, LiveLane, Open, Work
from gateway.dispatch.places import Places
from gateway.dispatch.queue import Entry, LaneQueue
from gateway.dispatch.returns import Returns
from gateway.dispatch.settings import Settings
from gateway.dispatch.tasks import Tasks
from gateway.dispatch.verdict import CANCELLED, HUNG, NOT_SETTLED, RAISED, Verdict, expired, judge, put_off
from gateway.outcome import Deferred, Delivered, Failed, Outcome, Scope
from gateway.spool.api import Claim, Delivery, DeliveryId, Done, LaneKey, LeaseLost, Spool, SpoolError, State, Stored
from gateway.status import FAULT, Status

_NO_OUTLET: Final = Status("4.3.5", "the connector for this destination is not configured")
_HELD: Final = Status("4.3.2", "the lane is held by an operator")
_CLOSED: Final = Status("4.4.1", "the next hop is not available")
_RAISED_LIMIT: Final = 3
_HELD_PUT_OFF_S: Final = 3600.0

Adapt = Callable[[Stored, Sequence[Delivery], Capabilities], Fitted]
"""Make a message fit. Never waits for an inline content; called in a thread for a Blob, which it may read."""


def _nothing(*_: object) -> None:
    return


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the node may listen to. `on_lease_lost`: everything was dropped from memory, nothing more is sent from it.
    `on_lane`: a lane opened or closed."""

    on_lease_lost: Callable[[], None] = _nothing
    on_lane: Callable[[LaneKey, Lane], None] = _nothing


@dataclass(slots=True)
class Counts:
    """Figures since the start, for metrics."""

    delivered: int = 0
    deferred: int = 0
    failed: int = 0
    put_off: int = 0
    handed_over: int = 0
    claimed: int = 0
    batches: int = 0
    settled_twice: int = 0
    hung: int = 0
    raised: int = 0
    left_behind: int = 0
    lease_lost: int = 0


class Dispatcher:
    """Built in the node's event loop; all methods are called in it.

    `destinations` maps a connector's configured name to its destination side, and may change while this runs.
    `spool` must keep what `settle` and `give_back` were told when they return.
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
    ) -> None:
        self.settings = settings = settings or Settings()
        self.counts = Counts()
        self._spool = spool
        self._destinations = destinations
        self._adapt = adapt
        self._clock = clock
        self._rng = rng
        self._log = log
        self._hooks = hooks or Hooks()
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._lanes: dict[LaneKey, LiveLane] = {}
        self._closed: dict[LaneKey, LiveLane] = {}
        self._crowded: set[LiveLane] = set()
        self._crowd_timer: asyncio.TimerHandle | None = None
        self._places = Places(settings.max_runners, settings.max_unproven_runners, settings.max_probing_runners)
        self._works: set[Work] = set()
        self._tasks = Tasks(log)
        self._count = 0
        self._octets = 0
        """Of all that is in memory here: queued, or being sent and not settled."""
        self._withdrawn: set[DeliveryId] = set()
        self._generation = 0
        self._stopping = False
        self._blocked = False
        self._stopped = asyncio.Event()
        self._quiet = asyncio.Event()
        self._ledger = Ledger(
            spool, make_report, settings, log,
            on_reports=self._reports_committed, on_lost=self.lose_lease, on_room=self._unblock,
        )  # fmt: skip
        self._returns = Returns(spool, log, self.lose_lease)
        self._feeder = Feeder(self, spool, clock, log)

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
        self._stopping = True
        try:
            for live in self._lanes.values():
                self._give_back_all(live)
                self._unpark(live, None)
            await self._feeder.stop(2.0)
            end = self._loop.time() + drain_s
            while self._works and (left := end - self._loop.time()) > 0:
                self._quiet.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._quiet.wait()
            for work in self._works:
                if work.task is not None:
                    work.task.cancel()
            await self._tasks.close(self.settings.cancel_grace_s if self._works else 0.1)
            for work in list(self._works):
                self._leave_behind(work)
            await self._returns.close(2.0)
            await self._ledger.close(5.0)
        finally:
            self._stopped.set()

    # -- what comes in

    def hand_over(self, claims: Iterable[Claim]) -> None:
        """Take deliveries that are committed and leased to this node; what finds no room goes back to the spool."""
        for claim in claims:
            deliveries = claim.deliveries
            self.counts.handed_over += len(deliveries)
            live = self._lanes.get(deliveries[0].lane) or self.lane_for(deliveries[0].lane)
            entry = Entry(claim.message, deliveries)
            if live is None or self._stopping:
                self._returns.add(entry.ids)
                continue
            self._push(live, entry, fresh=True)
            if live.lane.state is LaneState.READY:
                self._wake(live)

    def hand_over_message(self, message: Stored) -> None:
        """Do `hand_over` with the queued deliveries of one message, lane by lane."""
        by_lane: dict[LaneKey, list[Delivery]] = {}
        for delivery in message.deliveries:
            if delivery.state is State.QUEUED:
                by_lane.setdefault(delivery.lane, []).append(delivery)
        self.hand_over([Claim(message, tuple(group)) for group in by_lane.values()])

    def claimed(self, live: LiveLane, claims: Sequence[Claim]) -> None:
        """Take what the feeder claimed for a lane."""
        if self._stopping:
            for claim in claims:
                self._returns.add(d.id for d in claim.deliveries)
            return
        for claim in claims:
            self.counts.claimed += len(claim.deliveries)
            self._push(live, Entry(claim.message, claim.deliveries), fresh=False)
        if live.lane.is_ready:
            self._wake(live)

    def _push(self, live: LiveLane, entry: Entry, *, fresh: bool) -> None:
        settings = self.settings
        queue = live.queue
        n = len(entry.deliveries)
        # Where the spool holds older mail of this lane, new mail leaves it half of the memory.
        room = queue.max_count // 2 if fresh and live.backlog else queue.max_count
        if self._count >= settings.memory_deliveries or self._octets + entry.octets > settings.memory_bytes:
            hard = settings.memory_deliveries + settings.memory_deliveries // 4
            hard_octets = settings.memory_bytes + settings.memory_bytes // 4
            small = queue.count + n <= settings.small_lane or not queue.count
            if not small or self._count >= hard or self._octets + entry.octets > hard_octets:
                live.backlog = True
                self._returns.add(entry.ids)
                return
        out = queue.push(entry, room)
        self._count += n
        self._octets += entry.octets
        if out:
            live.backlog = True
            for left in out:
                self._count -= len(left.deliveries)
                self._octets -= left.octets
                self._returns.add(left.ids)

    def lane_for(self, key: LaneKey) -> LiveLane | None:
        """Return the lane, made where it is not in memory; None where there are as many as may be."""
        live = self._lanes.get(key)
        if live is not None:
            return live
        settings = self.settings
        if len(self._lanes) >= settings.max_lanes:
            self._forget_idle(self._loop.time())
            if len(self._lanes) >= settings.max_lanes:
                return None
        queue = LaneQueue(settings.lane_deliveries, settings.lane_bytes)
        live = LiveLane(key, lanes.new(settings.limits, self._rng.random()), None, queue, self._loop.time())
        self._lanes[key] = live
        if self._connect(live):
            until = self._feeder.down_until(key)
            if until > self._clock():
                self._tell_lane(live, until)
        return live

    def _connect(self, live: LiveLane) -> bool:
        """Find a lane's destination; a lane without one is held until there is one."""
        live.outlet = self._destinations.get(live.key[0])
        if live.outlet is None:
            if not live.lane.is_held:
                self._log.error("no_destination", connector=live.key[0], hop=live.key[1])
                self._change(live, lanes.hold(live.lane, _NO_OUTLET))
            return False
        # The core's own destinations have no capabilities to speak of: they take anything.
        live.capabilities = getattr(live.outlet, "capabilities", live.capabilities)
        return True

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
        free = min(queue.max_count - queue.count, settings.claim_deliveries)
        if self._count >= settings.memory_deliveries or self._octets >= settings.memory_bytes:
            free = min(free, settings.small_lane - queue.count)
        return 0 if queue.octets >= queue.max_octets else free

    def feed(self, live: LiveLane) -> None:
        """Have a lane's deliveries claimed, where there is room and sense in it."""
        if live.lane.is_ready:
            if live.queue.count < self.settings.claim_deliveries:
                self._feeder.want(live)
        elif live.lane.until - self._clock() > self.settings.put_off_beyond_s:
            self._feeder.want(live)

    # -- runners

    def _wake(self, live: LiveLane) -> None:
        """Give a lane that has work a runner: the first at once, another where the queue grows beyond them."""
        queued = live.queue.count
        active = live.active
        if not queued or live.waiting or self._blocked or self._stopping:
            return
        if not active:
            self._start(live)
        elif active < live.lane.window:
            if queued > self.settings.batch_deliveries * active:
                self._start(live)
            elif not live.crowded:
                live.crowded = True
                self._crowded.add(live)
                if self._crowd_timer is None:
                    self._crowd_timer = self._loop.call_later(self.settings.crowded_after_s, self._uncrowd)

    def _uncrowd(self) -> None:
        """Give a further runner to the lanes whose queue was never empty since they were noted."""
        self._crowd_timer = None
        crowded, self._crowded = self._crowded, set()
        for live in crowded:
            if live.crowded:
                live.crowded = False
                if live.lane.is_ready and live.active < live.lane.window and live.queue.count and not live.waiting:
                    self._start(live)
                    self._wake(live)

    def _start(self, live: LiveLane) -> bool:
        """Give a lane one more runner: one that waits, or a new one. Without a free place it joins the line."""
        kind = live.kind
        if not self._places.take(kind):
            self._places.join(live)
            return False
        live.active += 1
        while live.parked:
            parked = live.parked.pop()
            if not parked.done():
                parked.set_result(kind)
                return True
        self._tasks.start(self._run(live, kind))
        return True

    def _free(self, live: LiveLane, kind: Kind) -> None:
        """Give a runner's place up, to the lane that is next in line for one."""
        live.active -= 1
        live.idle_since = self._loop.time()
        self._places.give(kind)
        while (following := self._places.next()) is not None:
            if following.queue.count and self._may_go_on(following, 1) and self._start(following):
                return

    def _may_go_on(self, live: LiveLane, more: int = 0) -> bool:
        """Say whether the lane has work for the runners it has, or for so many more."""
        return (
            live.queue.count > 0
            and live.lane.state is LaneState.READY
            and live.active + more <= live.lane.window
            and not self._stopping
            and not self._blocked
        )

    async def _run(self, live: LiveLane, kind: Kind) -> None:
        """One runner of a lane: one turn after the other while there is work, then a wait for more.

        Where other lanes wait for its place, a place is good for one turn.
        """
        place: Kind | None = kind
        try:
            while place is not None:
                while self._may_go_on(live):
                    if not await self._turn(live, place):
                        place = None  # it was left behind, and its place given away
                        return
                    if live.kind is not place or self._places.wanted(place):
                        break
                parked: asyncio.Future[Kind | None] = self._loop.create_future()
                live.parked.append(parked)
                self._free(live, place)
                place = None
                if self._may_go_on(live, 1) and not live.waiting:
                    self._start(live)
                place = await parked
        finally:
            if place is not None:
                self._free(live, place)

    async def _turn(self, live: LiveLane, kind: Kind) -> bool:
        """Make one call of `deliver`. False where it did not end when it was cancelled and was left behind."""
        task = asyncio.current_task()
        started = self._loop.time()
        work = Work(self, live, kind, started, task)
        rest = NOT_SETTLED
        self._works.add(work)
        self.counts.batches += 1
        try:
            work.parcels = await self._prepare(work)
            if work.parcels and live.outlet is not None:
                await live.outlet.deliver(work)
            if work.progress:
                live.raised = 0
        except asyncio.CancelledError:
            rest = CANCELLED
            if work.state == "running":
                raise
        except Exception:  # noqa: BLE001  a connector may raise nothing, but one that does must hurt no other lane
            self._log.exception("connector_raised", connector=live.key[0], hop=live.key[1])
            rest = self._raised(work)
        finally:
            if work.state in ("hung", "lost") and task is not None:
                while task.cancelling():
                    task.uncancel()
                rest = Deferred(HUNG)
            if work.state != "left":
                self._works.discard(work)
                if self._stopping:
                    self._quiet.set()
                self._close(work, rest)
                self._measure(live, work, started)
        return work.state != "left"

    async def _prepare(self, work: Work) -> Sequence[Parcel]:
        """Take the parcels of a call from the queue. Where a content is not in memory, it is adapted in a thread."""
        live = work.live
        parcels: list[Parcel] = []
        for entry in self._draw(work, inline_only=False):
            if entry.inline:
                parcel = self._parcel(work, entry)
            else:
                try:
                    fitted = await asyncio.to_thread(self._adapt, entry.message, entry.deliveries, live.capabilities)
                except Exception as fault:  # noqa: BLE001  what adaptation can't do now, it may do later
                    self._unfit(work, entry, fault)
                    continue
                parcel = self._fitted(work, entry, fitted)
            if parcel is not None:
                parcels.append(parcel)
        return parcels

    def more(self, work: Work) -> Sequence[Parcel]:
        """Give a running call further parcels of its lane; only those that are in memory as a whole."""
        live = work.live
        lane = live.lane
        if (
            not self._may_go_on(live)
            or lane.setbacks
            or live.solo
            or work.state != "running"
            or self._places.wanted(work.kind)
        ):
            return ()
        parcels = []
        for entry in self._draw(work, inline_only=True):
            parcel = self._parcel(work, entry)
            if parcel is not None:
                parcels.append(parcel)
        return parcels

    def _draw(self, work: Work, *, inline_only: bool) -> list[Entry]:
        """Take a batch of messages from the queue; all their deliveries are open in `work` from now on."""
        settings = self.settings
        live = work.live
        lane = live.lane
        queue = live.queue
        most = settings.batch_deliveries
        if lane.setbacks:
            most = 1  # a probe is one message
        elif live.solo:
            live.solo -= 1
            most = 1
        else:
            # Small while the hop is new or slow, and so that the runners there may be find something too.
            wished = min(most, int(settings.batch_s / live.pace_s) + 1) if live.pace_s else 8
            most = min(wished, max(8, queue.count // lane.window + 1))
        octets = settings.batch_bytes
        now = self._clock()
        drawn: list[Entry] = []
        opened = work.open
        while most > 0 and octets > 0 and queue.count:
            if inline_only and not queue.peek().inline:
                break
            entry = queue.pop()
            n = len(entry.deliveries)
            expires_at = entry.message.envelope.expires_at
            if expires_at is not None and now >= expires_at:
                # The originator's own bound: after it the message is not to be delivered at all (RFC 2852 §4.1.2).
                for delivery in entry.deliveries:
                    self._drop_from_memory(entry)
                    self.counts.failed += 1
                    self._enter(entry.message, delivery, expired(entry.message, delivery, None, now))
                continue
            for delivery in entry.deliveries:
                opened[delivery.id] = (entry, delivery, INTACT)
            most -= n
            octets -= entry.octets
            drawn.append(entry)
        if not queue.count:
            live.crowded = False
        if live.backlog and queue.count < settings.claim_deliveries:
            self._feeder.want(live)
        return drawn

    def _parcel(self, work: Work, entry: Entry) -> Parcel | None:
        try:
            fitted = self._adapt(entry.message, entry.deliveries, work.live.capabilities)
        except Exception as fault:  # noqa: BLE001  see _prepare
            self._unfit(work, entry, fault)
            return None
        return self._fitted(work, entry, fitted)

    def _fitted(self, work: Work, entry: Entry, fitted: Fitted) -> Parcel | None:
        """Make the parcel; settle what no form of the message fits."""
        deliveries = entry.deliveries
        fidelity = fitted.fidelity
        if fidelity:
            for d in deliveries:
                if d.id in work.open:
                    work.open[d.id] = (entry, d, fidelity)
        if fitted.refused:
            for id, outcome in fitted.refused:
                slot = work.open.pop(id, None)
                if slot is not None:
                    self._conclude(work.live, slot, outcome, self._clock())
            deliveries = tuple(d for d in deliveries if d.id in work.open)
            if not deliveries:
                return None
        message = entry.message
        if fitted.addresses:
            changed = fitted.addresses
            items: tuple[Item, ...] = tuple(
                [
                    Item(d.id, changed.get(d.id, d.address), d.original, d.notify, d.orcpt, d.attempts)
                    for d in deliveries
                ]
            )
        elif len(deliveries) == 1:
            d = deliveries[0]
            items = (Item(d.id, d.address, d.original, d.notify, d.orcpt, d.attempts),)
        else:
            items = tuple([Item(d.id, d.address, d.original, d.notify, d.orcpt, d.attempts) for d in deliveries])
        return Parcel(message.id, fitted.envelope, fitted.content, items, message.arrived_at)

    def _unfit(self, work: Work, entry: Entry, fault: Exception) -> None:
        """Defer a message whose adaptation raised: a fault of ours, or a disk's."""
        self._log.error("adaptation_fault", id=entry.message.id, exc_info=fault)
        outcome = Deferred(FAULT.but(cause=f"adaptation: {type(fault).__name__}: {fault}"), Scope.MESSAGE)
        for d in entry.deliveries:
            slot = work.open.pop(d.id, None)
            if slot is not None:
                self._defer(work.live, slot, outcome, self._clock())

    def _raised(self, work: Work) -> Deferred:
        """Decide what a call that raised means for what it left: for each message alone at first, for the hop when it
        goes on. Afterwards messages go one by one for a while, so that a bad one does not take others along."""
        live = work.live
        self.counts.raised += 1
        live.raised += 1
        if len(work.open) > 1:
            live.solo = min(2 * len(work.open), 2 * self.settings.batch_deliveries)
        scope = Scope.HOP if live.raised >= _RAISED_LIMIT else Scope.MESSAGE
        return Deferred(RAISED, scope)

    def _measure(self, live: LiveLane, work: Work, started: float) -> None:
        if work.progress:
            pace = (self._loop.time() - started) / work.progress
            live.pace_s = pace if not live.pace_s else 0.7 * live.pace_s + 0.3 * pace

    def _close(self, work: Work, rest: Deferred) -> None:
        """Defer what a call left without an outcome."""
        if not work.open:
            return
        now = self._clock()
        left = list(work.open.values())
        work.open.clear()
        if rest.scope is Scope.HOP:
            self._advance(work.live, rest, now)
        for slot in left:
            self._defer(work.live, slot, rest, now)

    # -- outcomes

    def settled(self, work: Work, slot: Open, outcome: Outcome) -> None:
        """Take one outcome from a destination."""
        now = self._clock()
        live = work.live
        if type(outcome) is Deferred:
            is_hop = outcome.scope is Scope.HOP
            if not (is_hop and work.told_fault):
                self._advance(live, outcome, now)
            work.told_fault = is_hop
            self._defer(live, slot, outcome, now)
            return
        work.told_fault = False
        lane = live.lane
        after = lanes.after(lane, outcome, now)
        if after is not lane:
            self._change(live, after)
        self._conclude(live, slot, outcome, now)

    def settled_twice(self, work: Work, id: DeliveryId, outcome: Outcome) -> None:
        """Note a `settle` for what is not open: settled before, or not in this batch."""
        if work.state != "running":
            return  # what was left without an outcome has been deferred
        self.counts.settled_twice += 1
        self._log.warning("settled_twice", connector=work.live.key[0], id=id, outcome=repr(outcome))

    def _advance(self, live: LiveLane, outcome: Outcome, now: float) -> None:
        after = lanes.after(live.lane, outcome, now)
        if after is not live.lane:
            self._change(live, after)

    def _defer(self, live: LiveLane, slot: Open, outcome: Deferred, now: float) -> None:
        settings = self.settings
        lane = live.lane
        if outcome.scope is Scope.HOP and not lane.is_ready:
            until = lane.until if lane.until != inf else now + _HELD_PUT_OFF_S
            retry_at = until + self._rng.random()
        else:
            retry_at = settings.retry.next_at(
                now, slot[1].attempts + 1, self._rng.random(),
                retry_after_s=outcome.retry_after_s, hint_max_s=settings.retry_hint_max_s,
            )  # fmt: skip
        self._conclude(live, slot, outcome, now, retry_at)

    def _conclude(self, live: LiveLane, slot: Open, outcome: Outcome, now: float, retry_at: float = 0.0) -> None:
        """Make the verdict and enter it in the ledger."""
        entry, delivery, fidelity = slot
        counts = self.counts
        kind = type(outcome)
        if kind is Delivered:
            counts.delivered += 1
        elif kind is Failed:
            counts.failed += 1
        else:
            counts.deferred += 1
        self._count -= 1
        entry.left -= 1
        if not entry.left:
            self._octets -= entry.octets
        message = entry.message
        verdict = judge(
            message, delivery, outcome, now,
            retry_at=retry_at, delay_warning_s=self.settings.delay_warning_s,
            reports_itself=live.capabilities.delivery_reports, fidelity=fidelity,
        )  # fmt: skip
        if self._withdrawn and delivery.id in self._withdrawn:
            # An operator took it over while it was being sent: the spool knows what counts, and no report is due.
            self._withdrawn.discard(delivery.id)
            verdict = (verdict[0], None)
        self._enter(message, delivery, verdict)

    def _enter(self, message: Stored, delivery: Delivery, verdict: Verdict) -> None:
        self._ledger.add(message, delivery, verdict)
        if self._ledger.is_full and not self._blocked:
            self._blocked = True
            self._log.error("dispatch_paused", reason="outcomes can't be committed", count=self._ledger.uncommitted)

    def _unblock(self) -> None:
        if self._blocked:
            self._blocked = False
            for live in self._lanes.values():
                self._wake(live)

    def _reports_committed(self, new: Sequence[Stored]) -> None:
        for message in new:
            self.hand_over_message(message)

    # -- lanes

    def _change(self, live: LiveLane, after: Lane) -> None:
        """Put a lane into its next state, and do what follows from it."""
        before = live.lane
        live.lane = after
        if before.state is after.state is LaneState.READY:
            if before.setbacks and not after.setbacks:
                self._tell(live, self._clock())  # it lives: other nodes need not wait for their own probe
                self._log.info("lane_recovered", connector=live.key[0], hop=live.key[1])
                self._hooks.on_lane(live.key, after)
            if (after.proven and not before.proven) or after.window > before.window:
                self._go(live)
            return
        if after.state is LaneState.READY:
            self._closed.pop(live.key, None)
            if after.setbacks and self._node is not None:
                # Told before it is tried, so that of several nodes one makes the probe.
                self._tell(live, self._clock() + self.settings.deliver_timeout_s / 10)
            elif before.setbacks and not after.setbacks:
                self._tell(live, self._clock())
            live.backlog = True  # whatever was put off or handed back meanwhile
            self._go(live)
        else:
            self._closed[live.key] = live
            if before.state is LaneState.READY and after.state is LaneState.THROTTLED:
                self._tell(live, after.until)
                self._log.warning(
                    "lane_down", connector=live.key[0], hop=live.key[1], until=after.until,
                    reason=str(after.reason), cause=after.reason.cause if after.reason else "",
                )  # fmt: skip
        self._hooks.on_lane(live.key, after)

    def _go(self, live: LiveLane) -> None:
        if self._stopping:
            return
        if live.queue.count:
            self._wake(live)
        elif live.backlog:
            self._feeder.want(live)

    def _tell(self, live: LiveLane, until: float) -> None:
        """Tell the other nodes until when a hop is down; a time that has come means it is up."""
        if not self._stopping:
            self._tasks.start(self._tell_spool(live.key, until))

    async def _tell_spool(self, key: LaneKey, until: float) -> None:
        try:
            await self._spool.lane_down(key, until, self._node)
        except (SpoolError, LeaseLost) as e:
            self._log.warning("lane_state_not_shared", lane=key, reason=str(e))

    def told_down(self, key: LaneKey, until: float) -> None:
        """Take over that another node found a next hop down."""
        live = self._lanes.get(key)
        if live is not None:
            self._tell_lane(live, until)

    def _tell_lane(self, live: LiveLane, until: float) -> None:
        if live.lane.is_ready and live.lane.is_probing and live.active:
            return  # it is this node that tries
        after = lanes.told_down(live.lane, until)
        before, live.lane = live.lane, after
        if not after.is_ready:
            self._closed[live.key] = live
        if before.is_ready and not after.is_ready:
            self._hooks.on_lane(live.key, after)

    def told_up(self, key: LaneKey) -> None:
        """Take over that a next hop is no longer down for any node."""
        live = self._lanes.get(key)
        if live is not None and live.lane.state is LaneState.THROTTLED:
            self._change(live, lanes.opened(live.lane))

    async def _put_off(self) -> None:
        """Write off to the spool, little by little, what waits in memory for lanes that are closed for long."""
        settings = self.settings
        while True:
            await asyncio.sleep(settings.put_off_every_s)
            if not self._closed or self._ledger.is_full:
                continue
            now = self._clock()
            left = settings.put_off_step
            for live in list(self._closed.values()):
                if live.queue.count and live.lane.until - now > settings.put_off_beyond_s:
                    left -= self._put_off_some(live, left, now)
                    if left <= 0:
                        break

    def _put_off_some(self, live: LiveLane, most: int, now: float) -> int:
        lane = live.lane
        why = lane.reason or _CLOSED
        until = lane.until if lane.until != inf else now + _HELD_PUT_OFF_S
        done = 0
        while live.queue.count and done < most:
            entry = live.queue.pop()
            live.backlog = True
            # A moment after the lane opens, so that the probe is made by what was tried before.
            at = until + 1.0 + self._rng.random()
            for delivery in entry.deliveries:
                done += 1
                verdict = put_off(entry.message, delivery, at, why, now, self.settings.delay_warning_s)
                if isinstance(verdict[0], Done):
                    self.counts.failed += 1
                else:
                    self.counts.put_off += 1
                self._drop_from_memory(entry)
                self._enter(entry.message, delivery, verdict)
        return done

    def _drop_from_memory(self, entry: Entry) -> None:
        self._count -= 1
        entry.left -= 1
        if not entry.left:
            self._octets -= entry.octets

    # -- housekeeping

    async def _housekeep(self) -> None:
        settings = self.settings
        last_slow = self._loop.time()
        while True:
            await asyncio.sleep(settings.housekeeping_s)
            try:
                now = self._clock()
                for live in list(self._closed.values()):
                    if live.outlet is None:
                        if self._connect(live):
                            self._change(live, lanes.opened(live.lane))
                    elif now >= live.lane.until:
                        self._change(live, lanes.wake(live.lane, now))
                loop_now = self._loop.time()
                self._watch(loop_now)
                if loop_now - last_slow >= settings.runner_idle_s:
                    last_slow = loop_now
                    self._forget_idle(loop_now)
            except Exception:  # noqa: BLE001  without this task no lane would ever open again
                self._log.exception("housekeeping_fault")

    def _watch(self, loop_now: float) -> None:
        """Cancel calls that settle nothing for too long; leave behind those that do not end even then."""
        settings = self.settings
        for work in list(self._works):
            if work.progress != work.seen:
                work.seen, work.since = work.progress, loop_now
            elif work.state == "running":
                if loop_now - work.since > settings.deliver_timeout_s and work.task is not None:
                    self.counts.hung += 1
                    self._log.error("deliver_hung", connector=work.live.key[0], hop=work.next_hop)
                    work.state, work.since = "hung", loop_now
                    work.task.cancel()
            elif loop_now - work.since > settings.cancel_grace_s:
                self._leave_behind(work)

    def _leave_behind(self, work: Work) -> None:
        self.counts.left_behind += 1
        self._log.error("deliver_left_behind", connector=work.live.key[0], hop=work.next_hop)
        self._works.discard(work)
        lost = work.state == "lost"
        work.state = "left"
        if not lost:
            self._close(work, Deferred(HUNG))
        self._free(work.live, work.kind)

    def _forget_idle(self, loop_now: float) -> None:
        """End runners that had nothing to do for long; forget lanes that have none and nothing to remember."""
        settings = self.settings
        for live in list(self._lanes.values()):
            if live.active or live.queue.count:
                if not live.waiting and self._may_go_on(live, 1) and not live.active:
                    self._start(live)
                continue
            idle_s = loop_now - live.idle_since
            if live.parked and idle_s >= settings.runner_idle_s:
                self._unpark(live, None)
            if (
                idle_s >= settings.lane_idle_s
                and not (live.waiting or live.feeding or live.crowded or live.parked)
                and (live.lane.is_ready or live.lane.until < self._clock() - settings.lane_idle_s or not live.outlet)
            ):
                del self._lanes[live.key]
                self._closed.pop(live.key, None)

    def _unpark(self, live: LiveLane, place: Kind | None) -> None:
        for parked in live.parked:
            if not parked.done():
                parked.set_result(place)
        live.parked.clear()

    def _give_back_all(self, live: LiveLane) -> None:
        for entry in live.queue:
            self._count -= len(entry.deliveries)
            self._octets -= entry.octets
            self._returns.add(entry.ids)
        live.queue.clear()

    # -- operators

    def forget(self, ids: Collection[DeliveryId]) -> set[DeliveryId]:
        """Drop deliveries from memory that were changed or removed in the spool; return those being sent just now,
        whose outcomes the spool will judge."""
        gone = set(ids)
        if not gone:
            return set()
        for live in self._lanes.values():
            octets = live.queue.octets
            self._count -= live.queue.remove(gone)
            self._octets -= octets - live.queue.octets
        in_flight = {id for work in self._works for id in work.open.keys() & gone}
        self._withdrawn |= in_flight
        return in_flight

    def flush(self, key: LaneKey | None = None) -> None:
        """Try a lane's deliveries now (every lane's where None): closed lanes open, and the spool is asked.

        Deliveries that wait for a time of their own are made due by the spool's `change`.
        """
        for live in list(self._lanes.values()):
            if key is None or live.key == key:
                self._change(live, lanes.opened(live.lane))
        self._feeder.look()

    def hold_lane(self, key: LaneKey) -> None:
        """Stop a lane until `flush`; what it is handed is put off."""
        live = self.lane_for(key)
        if live is not None:
            self._change(live, lanes.hold(live.lane, _HELD))

    def lanes(self) -> dict[LaneKey, LiveLane]:
        """Return the lanes in memory, to look at."""
        return dict(self._lanes)

    @property
    def in_memory(self) -> tuple[int, int]:
        """Deliveries and content octets in memory, queued or being sent."""
        return self._count, self._octets

    @property
    def uncommitted(self) -> int:
        return self._ledger.uncommitted

    @property
    def generation(self) -> int:
        """Grows when the lease is lost; what was claimed before is not this node's any more."""
        return self._generation

    def lose_lease(self) -> None:
        """Drop everything: this node's deliveries may be another's by now. Calls that run are cancelled, their outcomes
        void."""
        self._generation += 1
        self.counts.lease_lost += 1
        self._log.error("lease_lost", dropped=self._count)
        for live in self._lanes.values():
            live.queue.clear()
            live.backlog = False
        for work in list(self._works):
            work.open.clear()
            if work.state == "running":
                work.state, work.since, work.seen = "lost", self._loop.time(), work.progress
                if work.task is not None:
                    work.task.cancel()
        self._count = self._octets = 0
        self._withdrawn.clear()
        self._ledger.discard()
        self._returns.discard()
        self._feeder.forget()
        self._unblock()
        self._hooks.on_lease_lost()
