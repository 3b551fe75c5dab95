"""What the core asks of a spool: the values that go in and out, and the interface both backends share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Any, Protocol

from gateway.frozen import quickly_made
from gateway.message import Content, Envelope, Notify
from gateway.status import Status
from mappings.address import Address

DeliveryId = tuple[int, int]
"""(message id, ordinal of the recipient in the message)"""

LaneKey = tuple[str, str]
"""(connector's configured name, next hop)"""


@unique
class State(Enum):
    """A delivery's state in the spool. Only QUEUED is ever claimed; leases are beside it, not in it."""

    QUEUED = "queued"
    HELD = "held"
    PARKED = "parked"
    """A report that could not be delivered: shown to the postmaster, never sent again by itself."""
    MOVING = "moving"
    """Its recipient's mailbox is being cut over: it is sent to where that is then, once that is done."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Delivery:
    """One recipient of one message on its way to one destination.

    `address` is in the destination's network, `original` as the sender wrote it. Times are seconds since 1970.
    `sender` is the fairness key: equal senders share one turn. `reason` is the last attempt's answer.
    """

    id: DeliveryId
    lane: LaneKey
    address: Address
    original: Address
    notify: Notify
    orcpt: str | None
    sender: str
    priority: int
    next_attempt_at: float
    expires_at: float
    state: State = State.QUEUED
    attempts: int = 0
    reason: str = ""
    delay_reported: bool = False
    at_once: bool = True
    """Of a fresh one: it is leased to the node that takes it in, which sends it; else it waits in the spool."""


@quickly_made
@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One line of a message's way. `kind` is e.g. accepted, deferred, delivered, failed, report, held, dropped.

    `n` is the recipient's ordinal, or None for the whole message; `detail` holds plain JSON values, no content.
    """

    message_id: int
    at: float
    kind: str
    n: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@quickly_made
@dataclass(frozen=True, slots=True)
class Stored:
    """One message as the spool keeps it: `content` verbatim, `prefix` the trace fields that go in front of it."""

    id: int
    envelope: Envelope
    prefix: bytes
    content: Content
    arrived_at: float
    deliveries: tuple[Delivery, ...]
    is_report: bool = False
    why: tuple[str, ...] = ()
    """Per delivery, why it goes where it goes: kept in the trace of its arrival alone."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Claim:
    """A stored message with those of its deliveries that are leased to this node, all of one lane.

    `message.deliveries` are the same: what else of the message is queued is not read for a claim.
    """

    message: Stored
    deliveries: tuple[Delivery, ...]


def claims_of(stored: Stored) -> list[Claim]:
    """Group the queued deliveries of a freshly stored message by lane."""
    deliveries = stored.deliveries
    if len(deliveries) == 1:
        only = deliveries[0]
        return [Claim(stored, deliveries)] if only.state is State.QUEUED and only.at_once else []
    lanes: dict[LaneKey, list[Delivery]] = {}
    for delivery in deliveries:
        if delivery.state is State.QUEUED and delivery.at_once:
            lanes.setdefault(delivery.lane, []).append(delivery)
    return [Claim(stored, tuple(group)) for group in lanes.values()]


@quickly_made
@dataclass(frozen=True, slots=True)
class Done:
    """The delivery is over (delivered, failed, dropped); it leaves the spool."""

    id: DeliveryId
    event: TraceEvent


@quickly_made
@dataclass(frozen=True, slots=True)
class Again:
    """The delivery stays, its lease is given back (or kept in memory where `keep_lease`)."""

    id: DeliveryId
    next_attempt_at: float
    attempts: int
    reason: str
    event: TraceEvent | None
    state: State = State.QUEUED
    delay_reported: bool = False
    keep_lease: bool = False
    was: float | None = None
    """The `next_attempt_at` that this node knew: where an operator has set another, that one holds if it is earlier."""


Settlement = Done | Again


@dataclass(frozen=True, slots=True)
class LaneDue:
    """A lane with unleased, queued deliveries: how many are due, and when the earliest is.

    `due` is not counted beyond 256, so that a long queue need not be walked.
    """

    lane: LaneKey
    due: int
    earliest_at: float


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One delivery as `gatepost queue` shows it, with what of its message an operator needs."""

    delivery: Delivery
    reverse_path: str
    arrived_at: float
    size_bytes: int
    leased: bool


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """Which deliveries: all conditions given must hold; `message_id` alone names a whole message."""

    connector: str | None = None
    next_hop: str | None = None
    state: State | None = None
    message_id: int | None = None
    n: int | None = None
    sender: str | None = None
    recipient: str | None = None
    older_than: float | None = None
    parked_before: float | None = None
    """Parked by then, and past its own expiry."""
    ids: tuple[DeliveryId, ...] | None = None
    """These alone, some hundreds at most."""


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A delivery that an operator held, rerouted or `dropped` while it was leased to this node."""

    id: DeliveryId
    dropped: bool


@dataclass(frozen=True, slots=True)
class DuplicateHandOver:
    """The dedupe key of a message was known: it had been accepted as `message_id`."""

    message_id: int


class SpoolError(Exception):
    """The spool can't take or give anything now; `status` says why, in words for a peer."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(str(status))


class SpoolUnusable(Exception):
    """The spool can't be opened until an operator acts; the text says what is wrong and its mend."""


class LeaseLost(Exception):
    """This node's lease has run out or was taken: it must forget everything it holds and start anew."""


class Spool(Protocol):
    """The durable store. All methods are called in one event loop; none of them blocks it."""

    async def accept(self, message: Stored, more: Sequence[Stored] = ()) -> DuplicateHandOver | None:
        """Store a message with all its deliveries leased to this node, and its `accepted` trace event; with it or
        not at all `more`, such as what goes to a group's members under another reverse-path.

        Durable when this returns: everything of it. Raises: SpoolError (nothing was stored).
        """
        ...

    async def settle(self, settlements: Sequence[Settlement], new: Sequence[Stored] = ()) -> None:
        """Commit outcomes, and the reports due for them as new messages, in one transaction.

        Each is conditional on this node's lease; one whose lease is lost is skipped (its new owner settles it).
        A message whose last delivery is done leaves the spool with its content. Waits for a commit that others
        may share, at most `settle_delay_s`. Raises: SpoolError (nothing was committed; call again), LeaseLost.
        """
        ...

    async def claim(self, lane: LaneKey, limit: int, now: float) -> list[Claim]:
        """Lease up to `limit` due deliveries of a lane to this node: by priority, fairly between senders, oldest
        first. Deliveries of one message come together. What is returned is leased now, though the lease before was
        lost while it was asked for. Raises: SpoolError, LeaseLost."""
        ...

    async def due(self, now: float) -> list[LaneDue]:
        """Return the lanes that have claimable deliveries, with the time of the earliest. Raises: SpoolError."""
        ...

    async def give_back(self, ids: Sequence[DeliveryId]) -> None:
        """End this node's lease of deliveries without an attempt. Raises: SpoolError."""
        ...

    async def rows(self, where: QueueFilter, limit: int) -> list[QueueRow]:
        """Return queued deliveries, oldest first."""
        ...

    async def change(
        self,
        where: QueueFilter,
        *,
        state: State | None = None,
        next_attempt_at: float | None = None,
        lane: LaneKey | None = None,
        address: Address | None = None,
        expires_at: float | None = None,
    ) -> list[DeliveryId]:
        """Hold, release, requeue or reroute: set what is given on every matching delivery, with a trace event each.

        Leases stay as they are: who has the delivery in memory is to forget it and give it back, except where it is
        being sent, and then its outcome ends the lease. The nodes, this one too, are told by `withdrawals` of what may
        not stay in memory as it is there, which is all but what is only made due. Returns the ids changed.
        """
        ...

    async def waiting(
        self, state: State, after: DeliveryId, limit: int, connectors: Collection[str] | None = None
    ) -> list[tuple[Delivery, bool]]:
        """Return deliveries in a state that come after one, in the order of their ids, each with whether it is leased;
        those of some connectors alone where these are named. Raises: SpoolError."""
        ...

    async def drop(self, where: QueueFilter, why: str) -> list[DeliveryId]:
        """Remove matching deliveries for good, with a trace event each; no report is made. The nodes are told as by
        `change`. Returns their ids."""
        ...

    async def withdrawals(self) -> list[Withdrawal]:
        """Return what an operator took over while it was leased to this node. Raises: SpoolError."""
        ...

    async def withdrew(self, noticed: Sequence[DeliveryId], in_flight: Collection[DeliveryId]) -> None:
        """Say that this node has taken notice of withdrawals; what it is sending just now is in `in_flight`.
        Raises: SpoolError."""
        ...

    async def not_withdrawn(self, ids: Sequence[DeliveryId], timeout_s: float) -> set[DeliveryId]:
        """Wait until all nodes have taken notice of the withdrawal of these; return those that were being sent then,
        and those of which a node has said nothing in time. Raises: SpoolError."""
        ...

    async def lanes_of(self, where: QueueFilter) -> set[LaneKey]:
        """Return the lanes of matching deliveries. Raises: SpoolError."""
        ...

    async def load(self, message_id: int) -> Stored | None:
        """Return a message that is in the spool, with all its deliveries."""
        ...

    async def trace(
        self,
        *,
        message_id: int | None = None,
        text: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 1000,
    ) -> list[TraceEvent]:
        """Return trace events in order: of one message, or of every message whose trace holds `text`
        (a Message-ID or an address, compared without case)."""
        ...

    async def record(self, events: Sequence[TraceEvent]) -> None:
        """Add trace events outside of any settlement."""
        ...

    async def lane_down(self, lane: LaneKey, until: float, probe_by: int | None) -> None:
        """Tell the other nodes that a lane's next hop is down until then."""
        ...

    async def lanes_up(self, lanes: Collection[LaneKey]) -> None:
        """Tell all nodes that these are to be tried now, whoever found them down. Raises: SpoolError."""
        ...

    async def lanes_down(self) -> dict[LaneKey, float]:
        """Return the lanes that any node found down, with the time until which."""
        ...

    def take_once(self, key: str) -> asyncio.Future[bool]:
        """Take a key for `dedupe_days`, of all nodes together; the future gives False where one has it already.

        Raises: SpoolError, at once or by the future.
        """
        ...

    async def hold_singleton(self, name: str) -> bool:
        """Take or renew the lease of a singleton source; False where another live node has it."""
        ...

    async def stats(self) -> Mapping[str, float]:
        """Return figures for metrics: deliveries by state, oldest arrival, free bytes, database bytes."""
        ...

    def on_fenced(self, callback: Callable[[], None]) -> None:
        """Call back once when this node finds its lease lost."""
        ...
