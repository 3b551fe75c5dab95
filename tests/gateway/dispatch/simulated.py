"""A simulated clock, a spool double and a lying destination for dispatch's tests."""

from __future__ import annotations

import asyncio
import itertools
import random
import selectors
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from gateway.adapt import Fitted
from gateway.contract import Batch, Capabilities, Outcome
from gateway.dispatch import Dispatcher, Hooks, Settings
from gateway.message import Content, Envelope, Notify, Origin, Recipient, Traits
from gateway.report import Report
from gateway.spool.api import (
    Again,
    Claim,
    Delivery,
    DeliveryId,
    Done,
    LaneDue,
    LaneKey,
    Settlement,
    SpoolError,
    State,
    Stored,
    Withdrawal,
)
from gateway.status import SPOOL_DOWN
from mappings.address import Address

START = 1_700_000_000.0


class _Selector(selectors.SelectSelector):
    """Never waits: what it is asked to wait for is added to the loop's time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everything waits for nothing: the simulation would hang")
            self.now += max(timeout, 0.0)
        return ready


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in which a day passes in a moment."""

    def __init__(self) -> None:
        self._selector_of_time = _Selector()
        super().__init__(self._selector_of_time)

    def time(self) -> float:
        return self._selector_of_time.now

    def wall(self) -> float:
        return START + self.time()


def simulate(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test's coroutine in a loop of its own."""
    loop = SimulatedLoop()
    try:
        loop.run_until_complete(work())
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def wall() -> float:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    return loop.wall()


def smtp(value: str) -> Address:
    return Address("smtp", value, value.lower())


_ids = itertools.count(1)


def stored(
    hop: str = "hop",
    *,
    sender: str = "ann@a.example",
    recipients: int = 1,
    priority: int = 0,
    notify: Notify = Notify.UNSET,
    now: float | None = None,
    expires_s: float = 5 * 86400.0,
    body: bytes = b"Subject: x\r\n\r\nhello\r\n",
    is_report: bool = False,
    reverse_path: Address | None = None,
    connector: str = "out",
    envelope_expires: bool = False,
) -> Stored:
    """Return a message with `recipients` deliveries to one lane."""
    at = wall() if now is None else now
    message_id = next(_ids)
    to = [smtp(f"r{n}@{hop}") for n in range(recipients)]
    path = reverse_path if reverse_path is not None else None if is_report else smtp(sender)
    return Stored(
        id=message_id,
        envelope=Envelope(
            path,
            tuple(Recipient(a, notify) for a in to),
            Origin("in"),
            expires_at=at + expires_s if envelope_expires else None,
        ),
        prefix=b"",
        content=Content(body, traits=Traits(crlf_only=True, eight_bit=False)),
        arrived_at=at,
        deliveries=tuple(
            Delivery((message_id, n), (connector, hop), a, a, notify, None, sender, priority, at, at + expires_s)
            for n, a in enumerate(to)
        ),
        is_report=is_report,
    )


class Quiet:
    """A logger that says nothing: tracebacks of provoked faults take longer than the tests."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **more: None

    def form(self, *args: Any, **more: Any) -> Quiet:
        return self


class DoubleSpool:
    """Keeps what a spool keeps, and checks what it is told: a delivery ends once, and only while it is leased."""

    def __init__(self) -> None:
        self.messages: dict[int, Stored] = {}
        self.rows: dict[DeliveryId, Delivery] = {}
        self.leased: set[DeliveryId] = set()
        self.ended: Counter[DeliveryId] = Counter()
        self.how: dict[DeliveryId, str] = {}
        self.reports: list[Stored] = []
        self.down: dict[LaneKey, float] = {}
        self.failing = 0
        self.lease_error: Exception | None = None
        self.settle_s = 0.002
        self.settles: list[int] = []
        self.given_back: Counter[DeliveryId] = Counter()
        self.claims = 0
        self.most_leased = 0
        self.withdrawn: list[Withdrawal] = []
        """What an operator did at another node."""
        self.noticed: list[tuple[list[DeliveryId], set[DeliveryId]]] = []

    def put(self, message: Stored, *, leased: bool) -> Stored:
        self.messages[message.id] = message
        for d in message.deliveries:
            self.rows[d.id] = d
            if leased:
                self.leased.add(d.id)
        return message

    async def settle(self, settlements: Sequence[Settlement], new: Sequence[Stored] = ()) -> None:
        await asyncio.sleep(self.settle_s)
        if self.lease_error is not None:
            raise self.lease_error
        if self.failing:
            self.failing -= 1
            raise SpoolError(SPOOL_DOWN)
        self.settles.append(len(settlements))
        for s in settlements:
            if s.id not in self.leased:
                continue
            self.leased.discard(s.id)
            if isinstance(s, Done):
                self.ended[s.id] += 1
                self.how[s.id] = s.event.kind
                del self.rows[s.id]
            else:
                assert isinstance(s, Again)
                row = self.rows[s.id]
                at = s.next_attempt_at
                if s.was is not None and row.next_attempt_at != s.was:
                    at = min(at, row.next_attempt_at)
                self.rows[s.id] = replace(
                    row, next_attempt_at=at, attempts=s.attempts, reason=s.reason,
                    state=s.state if row.state is State.QUEUED else row.state, delay_reported=s.delay_reported,
                )  # fmt: skip
                if s.state is State.PARKED:
                    self.ended[s.id] += 1
                    self.how[s.id] = "parked"
        for message in new:
            self.reports.append(message)
            self.put(message, leased=True)

    async def claim(self, lane: LaneKey, limit: int, now: float) -> list[Claim]:
        await asyncio.sleep(0.001)
        self.claims += 1
        due = [
            d
            for d in self.rows.values()
            if d.lane == lane and d.state is State.QUEUED and d.id not in self.leased and d.next_attempt_at <= now
        ]
        due.sort(key=lambda d: (-d.priority, d.next_attempt_at))
        taken: dict[int, list[Delivery]] = {}
        for d in due[:limit]:
            self.leased.add(d.id)
            taken.setdefault(d.id[0], []).append(d)
        self.most_leased = max(self.most_leased, len(self.leased))
        return [Claim(self.messages[i], tuple(ds)) for i, ds in taken.items()]

    async def due(self, now: float) -> list[LaneDue]:
        await asyncio.sleep(0.001)
        found: dict[LaneKey, list[float]] = {}
        for d in self.rows.values():
            if d.state is State.QUEUED and d.id not in self.leased:
                found.setdefault(d.lane, []).append(d.next_attempt_at)
        return [LaneDue(lane, sum(t <= now for t in times), min(times)) for lane, times in found.items()]

    async def give_back(self, ids: Sequence[DeliveryId]) -> None:
        await asyncio.sleep(0.001)
        for id in ids:
            self.given_back[id] += 1
            self.leased.discard(id)

    async def lane_down(self, lane: LaneKey, until: float, probe_by: int | None) -> None:
        self.down[lane] = until

    async def lanes_up(self, lanes: Collection[LaneKey]) -> None:
        for lane in lanes:
            self.down.pop(lane, None)

    async def withdrawals(self) -> list[Withdrawal]:
        found, self.withdrawn = self.withdrawn, []
        return found

    async def withdrew(self, noticed: Sequence[DeliveryId], in_flight: Collection[DeliveryId]) -> None:
        self.noticed.append((list(noticed), set(in_flight)))

    async def lanes_down(self) -> dict[LaneKey, float]:
        now = wall()
        return {lane: until for lane, until in self.down.items() if until > now}


class Peer:
    """A destination that does what `answer(next_hop, item, attempts of this item)` says; counts what it was asked."""

    capabilities = Capabilities()

    def __init__(self, answer: Callable[[str, Any, int], Any], latency_s: float = 0.01) -> None:
        self.answer = answer
        self.latency_s = latency_s
        self.tries: Counter[DeliveryId] = Counter()
        self.calls: Counter[str] = Counter()
        self.at: list[tuple[float, str, DeliveryId]] = []
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def next_hop(self, address: Address) -> str:
        return address.value.rpartition("@")[2]

    async def deliver(self, batch: Batch) -> None:
        hop = batch.next_hop
        self.calls[hop] += 1
        self.running[hop] += 1
        self.most[hop] = max(self.most[hop], self.running[hop])
        try:
            parcels = batch.parcels
            while parcels:
                for parcel in parcels:
                    await asyncio.sleep(self.latency_s)
                    for item in parcel.items:
                        self.tries[item.id] += 1
                        self.at.append((wall(), hop, item.id))
                        said = self.answer(hop, item, self.tries[item.id])
                        if isinstance(said, Coroutine):
                            said = await said
                        if isinstance(said, BaseException):
                            raise said
                        if said is not None:
                            outcome: Outcome = said
                            batch.settle(item.id, outcome)
                parcels = batch.more()
        finally:
            self.running[hop] -= 1


def make_report(report: Report, about: Stored) -> Stored | None:
    return stored("reports", sender="<>", is_report=True, notify=Notify.NEVER)


def dispatcher(
    spool: DoubleSpool, peer: Any, settings: Settings | None = None, *, hooks: Hooks | None = None, **more: Any
) -> Dispatcher:
    """Return a dispatcher over the doubles; it must be run and stopped by the test."""
    return Dispatcher(
        spool,  # type: ignore[arg-type]  # the double has what dispatch uses of a Spool
        {"out": peer},
        more.pop("adapt", lambda message, deliveries, capabilities: Fitted(message.content, message.envelope)),
        more.pop("make_report", make_report),
        clock=wall,
        rng=random.Random(7),
        log=Quiet(),
        settings=settings,
        hooks=hooks,
        **more,
    )


def hand(d: Dispatcher, spool: DoubleSpool, message: Stored) -> Stored:
    """Do what intake does: commit, then hand over."""
    spool.put(message, leased=True)
    d.hand_over([Claim(message, message.deliveries)])
    return message
