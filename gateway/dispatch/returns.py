"""Deliveries on their way back into the spool without an attempt: what found no room in memory, or is left at the end.

Promises: they are given back together, soon, and again until it works; until then they stay leased and are not sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

from gateway.dispatch.tasks import Tasks
from gateway.spool.api import Claim, DeliveryId, LeaseLost, Spool, SpoolError

_DELAY_S = 0.02
_RETRY_S = 1.0
_STEP = 1000


class Returns:
    """Gathers ids and gives them back. `on_lost` is called when the spool says that this node's lease is gone."""

    def __init__(self, spool: Spool, log: Any, on_lost: Callable[[], None]) -> None:
        self._spool = spool
        self._log = log
        self._on_lost = on_lost
        self._tasks = Tasks(log)
        self._ids: dict[DeliveryId, None] = {}
        self._generation = 0
        self._running = False
        self.count = 0
        """Deliveries given back so far."""

    def add(self, ids: Iterable[DeliveryId]) -> None:
        self._ids.update(dict.fromkeys(ids))
        if self._ids and not self._running:
            self._running = True
            self._tasks.start(self._run(_DELAY_S))

    def claimed(self, claims: Sequence[Claim]) -> None:
        """Keep what this node has leased anew: it was given back, though the answer was lost."""
        if self._ids:
            for claim in claims:
                for delivery in claim.deliveries:
                    self._ids.pop(delivery.id, None)

    def discard(self) -> None:
        """Forget everything: the lease is lost."""
        self._generation += 1
        self._ids.clear()

    async def close(self, timeout_s: float) -> None:
        """Give back what is left; what does not get there in time is free when the lease ends."""
        await self._tasks.close(0.1)
        try:
            async with asyncio.timeout(timeout_s):
                await self._run(0.0)
        except TimeoutError:
            self._log.warning("deliveries_not_given_back", count=len(self._ids))

    async def _run(self, delay_s: float) -> None:
        try:
            await asyncio.sleep(delay_s)
            await self._give_back()
        finally:
            self._running = False  # here, since the task counts as one that runs for a turn of the loop longer

    async def _give_back(self) -> None:
        while ids := list(islice(self._ids, _STEP)):
            generation = self._generation
            try:
                await self._spool.give_back(ids)
            except LeaseLost:
                self._on_lost()
                return
            except SpoolError as e:
                self._log.warning("give_back_failed", reason=str(e.status), count=len(ids))
                await asyncio.sleep(_RETRY_S)
                continue
            except Exception:  # noqa: BLE001  whatever went wrong, what is not given back is sent by nobody
                self._log.exception("give_back_fault", count=len(ids))
                await asyncio.sleep(_RETRY_S)
                continue
            # Only now: a cancelled call leaves them here. What was added since the lease was lost is of the next one.
            if generation == self._generation:
                for id in ids:
                    self._ids.pop(id, None)
            self.count += len(ids)
