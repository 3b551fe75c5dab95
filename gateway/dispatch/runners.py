"""The runners of all lanes: they take batches from the queues, have them adapted, and call `deliver`.

Promises: what a call leaves without an outcome is deferred, whether it returned, raised, hung or was cancelled; a
connector that raises or hangs holds up no other lane; there is no task per message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from gateway.adapt.fitted import Fitted
from gateway.contract import Capabilities, Item, Parcel
from gateway.dispatch.counts import Counts
from gateway.dispatch.lane import LaneState
from gateway.dispatch.live import Kind, LiveLane, Work
from gateway.dispatch.outcomes import Outcomes
from gateway.dispatch.places import Places
from gateway.dispatch.queue import Entry
from gateway.dispatch.settings import Settings
from gateway.dispatch.tasks import Tasks
from gateway.dispatch.verdict import CANCELLED, HUNG, NOT_SETTLED, RAISED
from gateway.fidelity import INTACT
from gateway.outcome import Deferred, Outcome, Scope
from gateway.spool.api import Delivery, DeliveryId, Stored
from gateway.status import FAULT
from gateway.stored_report import report_of

_RAISED_LIMIT: Final = 3
"""So many calls in a row that raise are a fault of the whole hop."""
_MEASURED: Final = 8
"""So many outcomes of a call that goes on tell its pace."""

Adapt = Callable[[Stored, Sequence[Delivery], Capabilities], Fitted]
"""Make a message fit. Never waits for an inline content; called in a thread for a Blob, which it may read."""


class Disclosures(Protocol):
    """What adaptation writes into messages and nobody may see before it is stored, such as a correspondent's number."""

    @property
    def is_pending(self) -> bool: ...

    async def store(self) -> bool:
        """Make it durable. False where something of it cannot stand, so that the messages are to be adapted anew.

        Raises: Exception where nothing could be stored.
        """
        ...


class Runners:
    """Owns the runners' tasks and their places. `want` asks for more of a lane from the spool; `is_blocked` says that
    nothing more may be sent; `on_probe` is told before a lane that was down is tried."""

    def __init__(
        self,
        adapt: Adapt,
        outcomes: Outcomes,
        counts: Counts,
        settings: Settings,
        clock: Callable[[], float],
        log: Any,
        *,
        want: Callable[[LiveLane], None],
        is_blocked: Callable[[], bool],
        on_probe: Callable[[LiveLane], None],
        disclosures: Disclosures | None = None,
    ) -> None:
        self._disclosures = disclosures
        self._adapt = adapt
        self.outcomes = outcomes
        self._counts = counts
        self._settings = settings
        self._clock = clock
        self._log = log
        self._want = want
        self._is_blocked = is_blocked
        self._on_probe = on_probe
        self._loop = asyncio.get_running_loop()
        self._places = Places(settings.max_runners, settings.max_unproven_runners, settings.max_probing_runners)
        self._tasks = Tasks(log)
        self._crowded: set[LiveLane] = set()
        self._crowd_timer: asyncio.TimerHandle | None = None
        self.works: set[Work] = set()
        """The calls of `deliver` that run."""
        self.stopping = False
        self.quiet = asyncio.Event()

    async def stop(self, drain_s: float) -> None:
        """Start nothing more; wait for the calls that run up to `drain_s`, cancel what is left then."""
        self.stopping = True
        end = self._loop.time() + drain_s
        while self.works and (left := end - self._loop.time()) > 0:
            self.quiet.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self.quiet.wait()
        await self._tasks.close(self._settings.cancel_grace_s if self.works else 0.1)
        for work in list(self.works):
            self.leave_behind(work)

    def lose(self) -> None:
        """Cancel every call, and let nothing they say count any more."""
        for work in list(self.works):
            work.open.clear()
            if work.state == "running":
                work.state, work.since, work.seen = "lost", self._loop.time(), work.progress
                if work.task is not None:
                    work.task.cancel()

    def wake(self, live: LiveLane) -> None:
        """Give a lane that has work a runner: the first at once, another where the queue grows beyond them."""
        queued = live.queue.count
        active = live.active
        if not queued or live.waiting or self._is_blocked() or self.stopping:
            return
        if not active:
            self.start(live)
        elif active < live.lane.window:
            if queued > self._settings.batch_deliveries * active:
                self.start(live)
            elif not live.crowded:
                live.crowded = True
                self._crowded.add(live)
                if self._crowd_timer is None:
                    self._crowd_timer = self._loop.call_later(self._settings.crowded_after_s, self._uncrowd)

    def _uncrowd(self) -> None:
        """Give a further runner to the lanes whose queue was never empty since they were noted."""
        self._crowd_timer = None
        crowded, self._crowded = self._crowded, set()
        for live in crowded:
            if live.crowded:
                live.crowded = False
                if live.lane.is_ready and live.active < live.lane.window and live.queue.count and not live.waiting:
                    self.start(live)
                    self.wake(live)

    def start(self, live: LiveLane) -> bool:
        """Give a lane one more runner: one that waits, or a new one. Without a free place it joins the line."""
        kind = live.kind
        if live.active and kind is not Kind.PROVEN and self._places.is_tight(kind):
            return False
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
            if following.queue.count and self.may_go_on(following, 1) and self.start(following):
                return

    def may_go_on(self, live: LiveLane, more: int = 0) -> bool:
        """Say whether the lane has work for the runners it has, or for so many more."""
        return (
            live.queue.count > 0
            and live.lane.state is LaneState.READY
            and live.active + more <= live.lane.window
            and not self.stopping
            and not self._is_blocked()
        )

    async def _run(self, live: LiveLane, kind: Kind) -> None:
        """One runner of a lane: one turn after the other while there is work, then a wait for more.

        Where other lanes wait for its place, a place is good for one turn.
        """
        place: Kind | None = kind
        try:
            while place is not None:
                while self.may_go_on(live):
                    if not await self._turn(live, place):
                        place = None  # it was left behind, and its place given away
                        return
                    if live.kind is not place or self._places.wanted(place):
                        break
                parked: asyncio.Future[Kind | None] = self._loop.create_future()
                live.parked.append(parked)
                self._free(live, place)
                place = None
                if self.may_go_on(live, 1) and not live.waiting:
                    self.start(live)
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
        self.works.add(work)
        self._counts.batches += 1
        try:
            work.parcels = await self._prepare(work)
            if work.parcels and live.destination is not None:
                await live.destination.deliver(work)
            if work.progress:
                live.raised = 0
        except asyncio.CancelledError:
            rest = CANCELLED
            if work.state == "running":
                raise
        except (Exception, SystemExit) as fault:  # noqa: BLE001  one that raises hurts no other lane
            self._log.exception("connector_raised", connector=live.key[0], hop=live.key[1])
            live.fault = repr(fault)[:500]
            rest = self._raised(work)
        finally:
            if work.state in ("hung", "lost") and task is not None:
                while task.cancelling():
                    task.uncancel()
                rest = Deferred(HUNG)
            if work.state != "left":
                self.works.discard(work)
                if self.stopping:
                    self.quiet.set()
                self._close(work, rest)
                self._measure(work, 1)
        return work.state != "left"

    async def _prepare(self, work: Work) -> Sequence[Parcel]:
        """Take the parcels of a call from the queue. Where a content is not in memory, it is adapted in a thread."""
        live = work.live
        if live.lane.setbacks:
            self._on_probe(live)
        parcels: list[Parcel] = []
        drawn = self._draw(work, inline_only=False)
        live.look()
        for entry in drawn:
            if entry.inline:
                parcel = self._parcel(work, entry, entry.deliveries, live.capabilities)
            else:
                parcel = await self._adapted(work, entry, entry.deliveries, live.capabilities)
            if parcel is not None:
                parcels.append(parcel)
        return parcels if await self._may_be_shown(work, list(work.open)) else []

    async def _may_be_shown(self, work: Work, ids: Iterable[DeliveryId]) -> bool:
        """Store what adapted messages disclose; where that can't be done, their deliveries wait for their retry."""
        disclosures = self._disclosures
        if disclosures is None or not disclosures.is_pending:
            return True
        try:
            if await disclosures.store():
                return True
            cause = "an address shown in it had to be made anew"
        except Exception as fault:  # noqa: BLE001  a database that is away for now
            cause = f"an address shown in it could not be stored: {fault}"
        outcome = Deferred(FAULT.but(cause=cause), Scope.MESSAGE)
        for id in ids:
            slot = work.open.pop(id, None)
            if slot is not None:
                self.outcomes.defer(work.live, slot, outcome, self._clock())
        return False

    async def _adapted(
        self, work: Work, entry: Entry, deliveries: tuple[Delivery, ...], capabilities: Capabilities
    ) -> Parcel | None:
        """Make the parcel in a thread, where it may read the content."""
        try:
            fitted = await asyncio.to_thread(self._adapt, entry.message, deliveries, capabilities)
        except Exception as fault:  # noqa: BLE001  what adaptation can't do now, it may do later
            self._unfit(work, entry, deliveries, fault)
            return None
        return self._fitted(work, entry, deliveries, fitted)

    async def refit(self, work: Work, parcel: Parcel, capabilities: Capabilities) -> Parcel | None:
        """Adapt a parcel of a running call anew, to the peer that it met."""
        work.live.look()  # what this peer taught its destination holds for what is drawn from now on
        slots = [slot for item in parcel.items if (slot := work.open.get(item.id)) is not None]
        if not slots:
            return None
        entry = slots[0][0]
        deliveries = tuple(slot[1] for slot in slots)
        for d in deliveries:
            work.open[d.id] = (entry, d, INTACT)  # the message is adapted as it came, not as it was adapted before
        if entry.inline:
            made = self._parcel(work, entry, deliveries, capabilities)
        else:
            made = await self._adapted(work, entry, deliveries, capabilities)
        if made is None or not await self._may_be_shown(work, [item.id for item in made.items]):
            return None
        return made

    def more(self, work: Work) -> Sequence[Parcel]:
        """Give a running call further parcels of its lane; only those that are in memory as a whole."""
        live = work.live
        lane = live.lane
        if (
            not self.may_go_on(live)
            or lane.setbacks
            or not lane.proven
            or live.solo
            or work.state != "running"
            or self._places.wanted(work.kind)
        ):
            return ()
        # A call may go on for as long as there is work: what it began with says little of its pace.
        self._measure(work, _MEASURED)
        parcels = []
        disclosures = self._disclosures
        for entry in self._draw(work, inline_only=True):
            parcel = self._parcel(work, entry, entry.deliveries, live.capabilities)
            if parcel is None:
                continue
            if disclosures is not None and disclosures.is_pending:
                # It shows what is not stored yet, and there is no waiting here: it goes with the next call.
                back = {item.id for item in parcel.items}
                for id in back:
                    work.open.pop(id, None)
                live.queue.push(Entry(entry.message, tuple(d for d in entry.deliveries if d.id in back)))
                continue
            parcels.append(parcel)
        return parcels

    def _draw(self, work: Work, *, inline_only: bool) -> list[Entry]:
        """Take a batch of messages from the queue; all their deliveries are open in `work` from now on."""
        settings = self._settings
        live = work.live
        lane = live.lane
        queue = live.queue
        most = settings.batch_deliveries
        if lane.setbacks or not lane.proven:
            most = 1  # a hop that has not answered yet is tried with one message
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
                self.outcomes.expire(entry, now)
                continue
            for delivery in entry.deliveries:
                opened[delivery.id] = (entry, delivery, INTACT)
            most -= n
            octets -= entry.octets
            drawn.append(entry)
        if not queue.count:
            live.crowded = False
        if live.backlog and queue.count < settings.refill_below:
            self._want(live)
        return drawn

    def _parcel(
        self, work: Work, entry: Entry, deliveries: tuple[Delivery, ...], capabilities: Capabilities
    ) -> Parcel | None:
        """Make the parcel of a content that is in memory."""
        try:
            fitted = self._adapt(entry.message, deliveries, capabilities)
        except Exception as fault:  # noqa: BLE001  see _adapted
            self._unfit(work, entry, deliveries, fault)
            return None
        return self._fitted(work, entry, deliveries, fitted)

    def _fitted(self, work: Work, entry: Entry, deliveries: tuple[Delivery, ...], fitted: Fitted) -> Parcel | None:
        """Make the parcel; settle what no form of the message fits."""
        fidelity = fitted.fidelity
        if fidelity:
            for d in deliveries:
                if d.id in work.open:
                    work.open[d.id] = (entry, d, fidelity)
        if fitted.refused:
            for id, outcome in fitted.refused:
                slot = work.open.pop(id, None)
                if slot is not None:
                    self.outcomes.conclude(work.live, slot, outcome, self._clock())
            deliveries = tuple(d for d in deliveries if d.id in work.open)
            if not deliveries:
                return None
        message = entry.message
        fresh, entry.fresh = entry.fresh, False
        if fitted.addresses:
            changed = fitted.addresses
            items: tuple[Item, ...] = tuple(
                [
                    Item(d.id, changed.get(d.id, d.address), d.original, d.notify, d.orcpt, d.attempts, fresh)
                    for d in deliveries
                ]
            )
        elif len(deliveries) == 1:
            d = deliveries[0]
            items = (Item(d.id, d.address, d.original, d.notify, d.orcpt, d.attempts, fresh),)
        else:
            items = tuple([Item(d.id, d.address, d.original, d.notify, d.orcpt, d.attempts, fresh) for d in deliveries])
        report = None
        if message.is_report and getattr(work.live.destination, "takes_reports", False):
            report = report_of(message.content)
        return Parcel(message.id, fitted.envelope, fitted.content, items, message.arrived_at, report)

    def _unfit(self, work: Work, entry: Entry, deliveries: tuple[Delivery, ...], fault: Exception) -> None:
        """Defer a message whose adaptation raised: a fault of ours, or a disk's."""
        self._log.error("adaptation_fault", id=entry.message.id, exc_info=fault)
        outcome = Deferred(FAULT.but(cause=f"adaptation: {type(fault).__name__}: {fault}"), Scope.MESSAGE)
        for d in deliveries:
            slot = work.open.pop(d.id, None)
            if slot is not None:
                self.outcomes.defer(work.live, slot, outcome, self._clock())

    def _raised(self, work: Work) -> Deferred:
        """Decide what a call that raised means for what it left: for each message alone at first, for the hop when it
        goes on. Afterwards messages go one by one for a while, so that a bad one does not take others along."""
        live = work.live
        self._counts.raised += 1
        live.raised += 1
        if len(work.open) > 1:
            live.solo = min(2 * len(work.open), 2 * self._settings.batch_deliveries)
        scope = Scope.HOP if live.raised >= _RAISED_LIMIT else Scope.MESSAGE
        return Deferred(RAISED, scope)

    def _measure(self, work: Work, least: int) -> None:
        """Take the lane's pace from a call, where it had so many outcomes since that was done last."""
        live, done = work.live, work.progress - work.measured
        if done >= least:
            now = self._loop.time()
            pace = (now - work.measured_at) / done
            live.pace_s = pace if not live.pace_s else 0.7 * live.pace_s + 0.3 * pace
            work.measured, work.measured_at = work.progress, now

    def _close(self, work: Work, rest: Deferred) -> None:
        """Defer what a call left without an outcome."""
        if not work.open:
            return
        now = self._clock()
        left = list(work.open.values())
        work.open.clear()
        if rest.scope is Scope.HOP:
            self.outcomes.advance(work.live, rest, now)
        for slot in left:
            self.outcomes.defer(work.live, slot, rest, now)

    def settled_twice(self, work: Work, id: DeliveryId, outcome: Outcome) -> None:
        """Note a `settle` for what is not open: settled before, or not in this batch."""
        if work.state != "running":
            return  # what was left without an outcome has been deferred
        self._counts.settled_twice += 1
        self._log.warning("settled_twice", connector=work.live.key[0], id=id, outcome=repr(outcome))

    def watch(self, loop_now: float) -> None:
        """Cancel calls that settle nothing for too long; leave behind those that do not end even then."""
        settings = self._settings
        for work in list(self.works):
            if work.progress != work.seen:
                work.seen, work.since = work.progress, loop_now
            elif work.state == "running":
                if loop_now - work.since > settings.deliver_timeout_s and work.task is not None:
                    self._counts.hung += 1
                    self._log.error("deliver_hung", connector=work.live.key[0], hop=work.next_hop)
                    work.state, work.since = "hung", loop_now
                    work.task.cancel()
            elif loop_now - work.since > settings.cancel_grace_s:
                self.leave_behind(work)

    def leave_behind(self, work: Work) -> None:
        self._counts.left_behind += 1
        self._log.error("deliver_left_behind", connector=work.live.key[0], hop=work.next_hop)
        self.works.discard(work)
        lost = work.state == "lost"
        work.state = "left"
        if not lost:
            self._close(work, Deferred(HUNG))
        self._free(work.live, work.kind)

    def rest(self, lanes: Iterable[LiveLane], loop_now: float) -> None:
        """End the runners of lanes that had nothing to do for long. Sees to it that no lane with work sleeps."""
        for live in lanes:
            if live.queue.count:
                if not (live.active or live.waiting) and self.may_go_on(live, 1):
                    self.start(live)
            elif live.parked and not live.active and loop_now - live.idle_since >= self._settings.runner_idle_s:
                self.unpark(live, None)

    def unpark(self, live: LiveLane, place: Kind | None) -> None:
        """Wake the runners that wait: to go on in this place, or to end."""
        for parked in live.parked:
            if not parked.done():
                parked.set_result(place)
        live.parked.clear()
