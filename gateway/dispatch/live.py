"""A lane as it lives in the dispatcher: its state, what waits in memory, who runs; and one call's worth of work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, unique
from typing import TYPE_CHECKING, Any

from gateway.contract import Capabilities, Destination, Parcel
from gateway.dispatch.lane import Lane
from gateway.dispatch.queue import Entry, LaneQueue
from gateway.fidelity import Fidelity
from gateway.outcome import Outcome
from gateway.spool.api import Delivery, DeliveryId, LaneKey

if TYPE_CHECKING:
    from gateway.dispatch.runners import Runners


@unique
class Kind(Enum):
    """The three kinds of runners' places: a lane that is not known to live never takes those of lanes that do."""

    PROVEN = 0
    UNPROVEN = 1
    PROBING = 2


class LiveLane:
    """One lane in memory. `lane` is its state value; everything else is bookkeeping."""

    __slots__ = (
        "active",
        "backlog",
        "capabilities",
        "crowded",
        "destination",
        "fault",
        "feeding",
        "idle_since",
        "key",
        "lane",
        "pace_s",
        "parked",
        "queue",
        "raised",
        "solo",
        "waiting",
    )  # fmt: skip

    def __init__(self, key: LaneKey, lane: Lane, queue: LaneQueue, now: float) -> None:
        self.key = key
        self.lane = lane
        self.destination: Destination | None = None
        self.capabilities = Capabilities()
        self.queue = queue
        self.active = 0
        """Runners that hold a place."""
        self.parked: list[asyncio.Future[Kind | None]] = []
        """Runners that wait for work, without a place."""
        self.backlog = False
        """The spool may hold more for this lane."""
        self.feeding = False
        self.waiting = False
        """It is in line for a runner's place."""
        self.crowded = False
        self.pace_s = 0.0
        """Seconds of one delivery, smoothed; 0 while unknown."""
        self.solo = 0
        """So many messages are still sent one by one, after a connector raised on a batch."""
        self.raised = 0
        """Calls in a row in which the connector raised."""
        self.fault = ""
        """What it raised last."""
        self.idle_since = now

    def look(self) -> None:
        """Take over what the destination says that this next hop carries, which it may have learnt meanwhile."""
        # The core's own destinations have no capabilities to speak of: they take anything.
        ask = getattr(self.destination, "capabilities_for", None)
        if ask is not None:
            with suppress(Exception):  # a connector's bug: what it said before stays
                self.capabilities = ask(self.key[1])

    @property
    def fresh_room(self) -> int:
        """How many deliveries may be queued before what comes in goes to the spool: half of them where older mail waits
        there."""
        most = self.queue.max_count
        return most // 2 if self.backlog else most

    def is_full_for(self, sender: str) -> bool:
        """Say whether a fresh message of a sender would find no room here."""
        room = self.fresh_room
        return self.queue.count >= room and not self.queue.makes_room_for(sender, 1, room)

    @property
    def kind(self) -> Kind:
        if self.lane.setbacks:
            return Kind.PROBING
        return Kind.PROVEN if self.lane.proven else Kind.UNPROVEN


Open = tuple[Entry, Delivery, Fidelity]
"""A delivery without an outcome yet: its entry, itself, and what its adaptation changed."""


class Work:
    """One call of `deliver`: the Batch that a destination sees."""

    __slots__ = ("_runners", "kind", "live", "measured", "measured_at", "next_hop", "open", "parcels", "progress",
                 "seen", "since", "state", "task", "told_fault")  # fmt: skip

    def __init__(
        self, runners: Runners, live: LiveLane, kind: Kind, since: float, task: asyncio.Task[Any] | None
    ) -> None:
        self._runners = runners
        self.kind = kind
        """Of the place it runs in."""
        self.live = live
        self.next_hop = live.key[1]
        self.parcels: Sequence[Parcel] = ()
        self.open: dict[DeliveryId, Open] = {}
        self.progress = 0
        """Outcomes so far."""
        self.measured = 0
        """`progress` when the lane's pace was last taken from it, which was at `measured_at`."""
        self.measured_at = since
        self.seen = -1
        """`progress` at the watchdog's last change, which was at `since`."""
        self.since = since
        self.state = "running"
        """running; hung: cancelled by the watchdog; lost: cancelled since the lease is; left: did not even end then"""
        self.told_fault = False
        """The lane has counted a hop fault of this call; one call is one attempt, whatever its size."""
        self.task = task

    def settle(self, id: DeliveryId, outcome: Outcome) -> None:
        """See `contract.Batch.settle`."""
        slot = self.open.pop(id, None)
        if slot is None:
            self._runners.settled_twice(self, id, outcome)
            return
        self.progress += 1
        self._runners.outcomes.settled(self, slot, outcome)

    def more(self) -> Sequence[Parcel]:
        """See `contract.Batch.more`."""
        return self._runners.more(self)

    async def refit(self, parcel: Parcel, capabilities: Capabilities) -> Parcel | None:
        """See `contract.Batch.refit`."""
        return await self._runners.refit(self, parcel, capabilities)
