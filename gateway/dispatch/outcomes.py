"""Outcomes: what a destination says of a delivery, on its way to the lane, the verdict and the ledger."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random
from typing import Final

from gateway.dispatch import lane as lanes
from gateway.dispatch.counts import Counts
from gateway.dispatch.lane import Lane
from gateway.dispatch.ledger import Ledger
from gateway.dispatch.live import LiveLane, Open, Work
from gateway.dispatch.memory import Memory
from gateway.dispatch.queue import Entry
from gateway.dispatch.settings import Settings
from gateway.dispatch.verdict import expired, judge, overruled, put_off
from gateway.outcome import Deferred, Delivered, Failed, Outcome, Scope
from gateway.spool.api import DeliveryId, Done
from gateway.status import Status

CLOSED: Final = Status("4.4.1", "the next hop is not available")
HELD_PUT_OFF_S: Final = 3600.0
"""So long at a time is put off what belongs to a lane that is held without a bound."""


class Outcomes:
    """Takes outcomes; `change` puts a lane into its next state."""

    def __init__(
        self,
        ledger: Ledger,
        memory: Memory,
        counts: Counts,
        settings: Settings,
        clock: Callable[[], float],
        rng: Random,
        change: Callable[[LiveLane, Lane], None],
    ) -> None:
        self._ledger = ledger
        self._memory = memory
        self._counts = counts
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._change = change
        self.withdrawn: dict[DeliveryId, bool] = {}
        """Deliveries that an operator took over while they were being sent, and whether he dropped them."""

    def settled(self, work: Work, slot: Open, outcome: Outcome) -> None:
        """Take one outcome from a destination."""
        now = self._clock()
        live = work.live
        if type(outcome) is Deferred:
            is_hop = outcome.scope is Scope.HOP
            if not (is_hop and work.told_fault):
                self.advance(live, outcome, now)
            work.told_fault = is_hop
            self.defer(live, slot, outcome, now)
            return
        work.told_fault = False
        lane = live.lane
        after = lanes.after(lane, outcome, now)
        if after is not lane:
            self._change(live, after)
        self.conclude(live, slot, outcome, now)

    def advance(self, live: LiveLane, outcome: Outcome, now: float) -> None:
        """Let a lane know of an outcome."""
        after = lanes.after(live.lane, outcome, now)
        if after is not live.lane:
            self._change(live, after)

    def defer(self, live: LiveLane, slot: Open, outcome: Deferred, now: float) -> None:
        """Enter a deferral, with the time of the next attempt: the lane's where it is closed, else one of its own."""
        lane = live.lane
        if outcome.scope is Scope.HOP and not lane.is_ready:
            until = lane.until if lane.until != inf else now + HELD_PUT_OFF_S
            retry_at = until + self._rng.random()
        else:
            retry_at = self._settings.retry.next_at(
                now, slot[1].attempts + 1, self._rng.random(),
                retry_after_s=outcome.retry_after_s, hint_max_s=self._settings.retry_hint_max_s,
            )  # fmt: skip
        self.conclude(live, slot, outcome, now, retry_at)

    def conclude(self, live: LiveLane, slot: Open, outcome: Outcome, now: float, retry_at: float = 0.0) -> None:
        """Make the verdict and enter it in the ledger."""
        entry, delivery, fidelity = slot
        counts = self._counts
        kind = type(outcome)
        if kind is Delivered:
            counts.delivered += 1
        elif kind is Failed:
            counts.failed += 1
        else:
            counts.deferred += 1
        self._memory.done(entry)
        message = entry.message
        verdict = judge(
            message, delivery, outcome, now,
            retry_at=retry_at, delay_warning_s=self._settings.delay_warning_s,
            reports_itself=live.capabilities.delivery_reports, fidelity=fidelity,
        )  # fmt: skip
        if self.withdrawn and (dropped := self.withdrawn.pop(delivery.id, None)) is not None:
            verdict = overruled(verdict, delivery, outcome, now, dropped=dropped)
        self._ledger.add(message, delivery, verdict)

    def expire(self, entry: Entry, now: float) -> None:
        """End a message whose originator's own bound has passed, without another attempt."""
        for delivery in entry.deliveries:
            self._memory.done(entry)
            self._counts.failed += 1
            self._ledger.add(entry.message, delivery, expired(entry.message, delivery, None, now))

    def opens_at(self, live: LiveLane) -> float:
        """Return a time for what belongs to a closed lane: a moment after it opens, so that the probe is made by what
        was tried before."""
        until = live.lane.until
        return (until if until != inf else self._clock() + HELD_PUT_OFF_S) + 1.0 + self._rng.random()

    def put_off(self, live: LiveLane, most: int, now: float) -> int:
        """Write off to the spool about `most` deliveries of a closed lane's queue; return how many it were."""
        why = live.lane.reason or CLOSED
        done = 0
        while live.queue.count and done < most:
            entry = live.queue.pop()
            live.backlog = True
            at = self.opens_at(live)
            for delivery in entry.deliveries:
                done += 1
                verdict = put_off(entry.message, delivery, at, why, now, self._settings.delay_warning_s)
                if isinstance(verdict[0], Done):
                    self._counts.failed += 1
                else:
                    self._counts.put_off += 1
                self._memory.done(entry)
                self._ledger.add(entry.message, delivery, verdict)
        return done
