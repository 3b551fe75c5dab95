"""Places: how many messages, and octets of them, are on their way at once.

They are given out by the batch: one that waits for a whole batch for a moment asks the server once instead of twenty
times. Who has waited longest is next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

PATIENCE_S: Final = 0.2
"""How long a batch waits for places for all of it, where some are free."""


class Places:
    """Room for so many messages, and octets; one message always has room where there is no other."""

    def __init__(self, messages: int, octets: int) -> None:
        self._messages = self._free = messages
        self._octets = self._room = octets
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    async def take(self, sizes: Sequence[int]) -> int:
        """Wait, and take places for the first so many of these messages; for one at least."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            end = loop.time() + PATIENCE_S
            while True:
                self._freed.clear()
                fit = self._fitting(sizes)
                wanted = min(len(sizes), self._messages)
                if fit == wanted or (fit and (self._free == self._messages or loop.time() >= end)):
                    break
                try:
                    async with asyncio.timeout_at(end if fit else None):
                        await self._freed.wait()
                except TimeoutError:
                    pass
            self._free -= fit
            self._room -= sum(sizes[:fit])
            return fit

    def release(self, size: int) -> None:
        """Give a place back."""
        self._free += 1
        self._room += size
        self._freed.set()

    def _fitting(self, sizes: Sequence[int]) -> int:
        room = self._room
        for n, size in enumerate(sizes[: self._free]):
            if size > room and (n or self._free < self._messages):
                return n
            room -= size
        return min(len(sizes), self._free)
