"""Mover: a node's queue in accord with who is being cut over.

While an identity is being cut over, what waits for its mailbox is kept in the spool, and the planner takes more in the
same way; once it is not, what was kept goes to where the mailbox is by then. The mapping alone says which: a node that
was stopped, or was killed at any point of this, does at its start what is left to be done. A node says in the mapping's
database up to which revision its queue is in accord with it, and that nothing for these mailboxes is on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from typing import Any, Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from gateway.mapping import FollowedMapping
from gateway.planner import Planner
from gateway.spool.api import Delivery, DeliveryId, LaneKey, LeaseLost, QueueFilter, SpoolError, SpoolUnusable, State
from gateway.spool.durable import DurableSpool
from mappings.address import Address
from mappings.identity import Identity
from mappings.store import Head

_PAGE: Final = 2000
_BITE: Final = 400
_SOON_S: Final = 0.1
"""How often it is looked whether what was on its way has arrived."""
_LATE_S: Final = 5.0
"""How often it is looked for what was planned before a cut-over began, and stored after."""
_WARN_S: Final = 60.0
_RECENT_S: Final = 600.0
"""For so long after a cut-over every revision is confirmed."""


class Live(Protocol):
    """What is asked of the dispatcher."""

    def forget(self, ids: Collection[DeliveryId], *, dropped: bool = False) -> set[DeliveryId]: ...

    def flush(self, key: LaneKey | None = None) -> None: ...


class Mover:
    """One node's. `planner` gives the one in force."""

    def __init__(
        self,
        spool: DurableSpool,
        mapping: FollowedMapping,
        live: Live,
        planner: Callable[[], Planner],
        clock: Callable[[], float],
        log: Any,
    ) -> None:
        self._spool = spool
        self._mapping = mapping
        self._live = live
        self._planner = planner
        self._clock = clock
        self._log = log
        self._wake = asyncio.Event()
        self._head = Head(0, "")
        self._cutting: frozenset[int] = frozenset()
        self._accord = self._head
        self._confirmed: tuple[str, Head] | None = None
        self._held_at: tuple[Head, float] | None = None
        self._last_cut_at = float("-inf")
        self._since: float | None = None
        self._warned_at = 0.0

    def in_force(self, head: Head, cutting: frozenset[int]) -> None:
        """Take note of the revision that the planner goes by from now on."""
        self._head, self._cutting = head, cutting
        if cutting:
            self._last_cut_at = self._clock()
        self._since = None if not cutting else self._clock() if self._since is None else self._since
        if self._is_of_interest:
            self._wake.set()

    def look(self) -> None:
        """Look at the queue soon: something in it may wait for a cut-over that is over."""
        self._wake.set()

    @property
    def _is_of_interest(self) -> bool:
        return bool(self._cutting) or self._clock() - self._last_cut_at < _RECENT_S

    async def begin(self) -> None:
        """Bring the queue in accord before anything of it is sent; where that fails, `run` does it.

        To say so is left to `run`: it may have to wait for a long import.
        """
        await self._try(confirms=False)
        self._wake.set()

    async def run(self) -> None:
        """Keep the queue in accord, until cancelled."""
        while True:
            wait_s = None
            if self._is_of_interest:
                wait_s = _LATE_S if self._confirmed == (self._spool.follower, self._head) else _SOON_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            if not await self._try(confirms=True):
                await asyncio.sleep(1.0)
                self._wake.set()
            self._warn()

    async def _try(self, *, confirms: bool) -> bool:
        try:
            is_in_accord = await self._do()
            if confirms and is_in_accord:
                await self._confirm()
        except (SpoolError, SpoolUnusable, LeaseLost, SQLAlchemyError) as fault:
            self._log.warning("cut_over_waits", error=str(fault), text="the queue is looked at again in a moment")
            return False
        except Exception:  # noqa: BLE001  without this task mail that is kept would stay so
            self._log.exception("cut_over_fault")
            return False
        return True

    async def _do(self) -> bool:
        """Bring the queue in accord with the revision in force; tell whether it is, all of it."""
        head, cutting, planner = self._head, self._cutting, self._planner()
        # What was planned by the mapping before is in the queue of the spool's writer, and stored before it is read.
        if cutting and (self._held_at is None or self._held_at[0] != head or self._is_late):
            await self._hold(planner, cutting)
            self._held_at = head, self._clock()
        on_its_way = await self._send_on(planner, cutting)
        if on_its_way or head != self._head:
            return False
        self._accord = head
        return True

    async def _confirm(self) -> None:
        node, head = self._spool.follower, self._accord
        if self._confirmed != (node, head):
            if head.number:
                await self._mapping.confirm(node, head)
            self._confirmed = node, head

    @property
    def _is_late(self) -> bool:
        return self._held_at is not None and self._clock() - self._held_at[1] >= _LATE_S

    async def _hold(self, planner: Planner, cutting: frozenset[int]) -> None:
        """Keep what is queued for those who are being cut over."""
        homes = await self._mapping.homes_of(cutting)
        connectors = None if None in homes else [home for home in homes if home is not None]
        after: DeliveryId | None = (-1, -1)
        while after is not None:
            rows = await self._spool.waiting(State.QUEUED, after, _PAGE, connectors)
            ids = [delivery.id for delivery, _ in rows if _is_cut(planner, cutting, delivery)]
            for some in _bites(ids):
                changed = await self._spool.change(QueueFilter(ids=some, state=State.QUEUED), state=State.MOVING)
                await self._spool.withdrew(changed, self._live.forget(changed))
            after = rows[-1][0].id if len(rows) == _PAGE else None

    async def _send_on(self, planner: Planner, cutting: frozenset[int]) -> bool:
        """Send on what was kept for those who are not being cut over any more; tell whether something for the others
        is still on its way, to where they were."""
        on_its_way = False
        after: DeliveryId | None = (-1, -1)
        lanes: set[LaneKey] = set()
        while after is not None:
            rows = await self._spool.waiting(State.MOVING, after, _PAGE)
            ways: dict[tuple[LaneKey, Address], list[DeliveryId]] = {}
            for delivery, is_leased in rows:
                if is_leased:  # its outcome comes first
                    on_its_way = True
                elif not _is_cut(planner, cutting, delivery):
                    target = planner.again(delivery)
                    way = (delivery.lane, delivery.address) if target is None else (target.lane, target.address)
                    ways.setdefault(way, []).append(delivery.id)
            for (lane, address), ids in ways.items():
                for some in _bites(ids):
                    await self._spool.change(
                        QueueFilter(ids=some, state=State.MOVING),
                        state=State.QUEUED, lane=lane, address=address, next_attempt_at=self._clock(),
                    )  # fmt: skip
                lanes.add(lane)
            after = rows[-1][0].id if len(rows) == _PAGE else None
        for lane in lanes:
            self._live.flush(lane)
        return on_its_way

    def _warn(self) -> None:
        now = self._clock()
        if self._since is not None and now - max(self._since, self._warned_at) >= _WARN_S:
            self._warned_at = now
            self._log.warning(
                "cut_over_long",
                identities=sorted(self._cutting)[:20],
                text="mail for them is kept; `gatepost sync cutover` goes on with it, `gatepost sync rollback` ends it",
            )


def _is_cut(planner: Planner, cutting: frozenset[int], delivery: Delivery) -> bool:
    """Tell whether a delivery goes to the mailbox of somebody who is being cut over, rather than to a copy of it."""
    if not cutting or delivery.lane[0].startswith("!"):
        return False
    for address in (delivery.address, delivery.original):
        who = planner.table.identity_of(address)
        if who is not None:
            return who.id in cutting and _is_home(who, delivery.lane[0])
    return False


def _is_home(who: Identity, connector: str) -> bool:
    return connector == who.home if who.home is not None else connector != who.copy_home


def _bites(ids: Sequence[DeliveryId]) -> Iterator[tuple[DeliveryId, ...]]:
    it = iter(ids)
    while some := tuple(islice(it, _BITE)):
        yield some
