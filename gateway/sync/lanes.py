"""Work side by side within bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


class Budget:
    """Octets that may be in memory; one item that alone is more may, too."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._freed = asyncio.Condition()

    async def take(self, octets: int) -> None:
        async with self._freed:
            await self._freed.wait_for(lambda: self._used == 0 or self._used + octets <= self._most)
            self._used += octets

    async def give(self, octets: int) -> None:
        async with self._freed:
            self._used -= octets
            self._freed.notify_all()


@dataclass(frozen=True, slots=True)
class Place:
    """A transfer's place in a row of them into one folder: it begins to append when it is its `turn`, and tells when it
    has read all, and when it has appended all."""

    budget: Budget
    turn: asyncio.Event
    all_read: asyncio.Event = field(default_factory=asyncio.Event)
    all_appended: asyncio.Event = field(default_factory=asyncio.Event)


async def together(work: Sequence[Coroutine[None, None, None]]) -> None:
    """Do all of these at once; the first fault ends the others, and is raised as it is."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def ahead(source: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """Yield what is yielded, the next being made while one is worked on. To be closed, or that goes on."""
    coming = asyncio.ensure_future(anext(source, None))
    try:
        while (one := await coming) is not None:
            coming = asyncio.ensure_future(anext(source, None))
            yield one
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
