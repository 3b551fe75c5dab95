"""Deliveries on their way back into the spool without an attempt: what found no room in memory, or is left at the end.

Promises: they are given back together, soon, and again until it works; until then they stay leased and are not sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from gateway.dispatch.tasks import Tasks
from gateway.spool.api import DeliveryId, LeaseLost, Spool, SpoolError

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
        self._ids: list[DeliveryId] = []
        self.count = 0
        """Deliveries given back so far."""

    def add(self, ids: Iterable[DeliveryId]) -> None:
        self._ids.extend(ids)
        if self._ids and not self._tasks:
            self._tasks.start(self._run(_DELAY_S))

    def discard(self) -> None:
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
        await asyncio.sleep(delay_s)
        while ids := self._ids[:_STEP]:
            try:
                await self._spool.give_back(ids)
            except LeaseLost:
                self._on_lost()
                return
            except SpoolError as e:
                self._log.warning("give_back_failed", reason=str(e.status), count=len(ids))
                await asyncio.sleep(_RETRY_S)
                continue
            # Only now: a cancelled call leaves them in the list, and giving back twice does no harm.
            del self._ids[: len(ids)]
            self.count += len(ids)
