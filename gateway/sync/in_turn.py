"""Pages of one folder acted on in turn: what is copied of one is read while what is left of the one before it is
appended, so that the server that is copied to has something to do all the time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Set
from dataclasses import dataclass

from gateway.sync.acting import Actor
from gateway.sync.lanes import Budget, Place
from gateway.sync.values import Copy, Plan, Policy


@dataclass(frozen=True, slots=True)
class _Page:
    ids: Set[str]
    place: Place
    acting: asyncio.Task[set[int]]
    note: Callable[[], Awaitable[None]]


class InTurn:
    """Acts on the pages of a folder. `overlaps`: two of them may be under way; else each is done before the next."""

    def __init__(self, actor: Actor, folder: int, policy: Policy, *, overlaps: bool) -> None:
        self._actor = actor
        self._folder = folder
        self._overlaps = overlaps
        self._budget = Budget(policy.ahead_bytes)
        self._page: _Page | None = None

    def has(self, ids: Collection[str]) -> bool:
        """Tell whether one of these items is of a page that is under way: what is planned for it has to wait."""
        return self._page is not None and not self._page.ids.isdisjoint(ids)

    async def act(self, plan: Plan, ids: Set[str], note: Callable[[], Awaitable[None]]) -> bool:
        """Do what a page asks for, once the one before it is done; `note` is called once it is done itself. Returns
        when the next one may be planned, False where something is to be done again. Raises: StoreFault, Unsettled."""
        if not _copies_alone(plan) and not await self.done():
            return False
        place = Place(self._budget, self._page.place.all_appended if self._page is not None else asyncio.Event())
        acting = asyncio.ensure_future(self._actor.act(plan, place))
        try:
            is_done = await self.done()
        except BaseException:
            await _end(acting)
            raise
        if not is_done:
            await _end(acting)
            return False
        place.turn.set()
        self._page = _Page(ids, place, acting, note)
        if not self._overlaps:
            return await self.done()
        reading = asyncio.ensure_future(place.all_read.wait())
        try:
            await asyncio.wait((acting, reading), return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
        return True

    async def done(self) -> bool:
        """See through what is under way; False where something of it is to be done again. Raises: as `act`."""
        if self._page is None:
            return True
        held = await self._page.acting
        page, self._page = self._page, None
        if self._folder in held:
            return False
        await page.note()
        return True

    async def aclose(self) -> None:
        """End what is under way."""
        if self._page is not None:
            await _end(self._page.acting)


async def _end(acting: asyncio.Task[set[int]]) -> None:
    acting.cancel()
    await asyncio.gather(acting, return_exceptions=True)


def _copies_alone(plan: Plan) -> bool:
    """Tell whether a plan has nothing but new items to copy, which are of no matter to what was planned before."""
    if plan.rows or plan.forget or plan.again:
        return False
    return all(isinstance(each, Copy) and each.replaces is None and each.pair is None for each in plan.actions)
