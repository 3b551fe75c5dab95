"""Pacing: how many requests run at once, for each mailbox and in all, and who must wait because Graph said so.

Exchange Online takes four requests at once of one application for one mailbox and answers 429 to the fifth; a batch
runs up to four of its parts at once by itself, so it has its mailbox alone. Requests for one mailbox go in the order
they were asked, and a mailbox that is slow or held takes no slot from another. A hint of Graph's (Retry-After) is
obeyed without sleeping here: until then every request is refused at once, with what is left to wait, so that a lane
backs off and a source comes back later.

Source: learn.microsoft.com "Microsoft Graph service-specific throttling limits" (Outlook).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from connectors.exchange.organisation import Fault
from gateway.contract import Scope

LONGEST_S: Final = 3600.0
"""A longer hint is cut: a mistake in a header may not stop mail for days."""


class _Lane:
    """One mailbox: how many slots are in use, and who waits, with how many each."""

    __slots__ = ("held_until", "used", "waiting")

    def __init__(self) -> None:
        self.used = 0
        self.waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.held_until = 0.0


class Pacing:
    """Slots of all mailboxes."""

    def __init__(self, per_mailbox: int, in_all: int, now: Callable[[], float]) -> None:
        self._per_mailbox = per_mailbox
        self._in_all = asyncio.Semaphore(in_all)
        self._now = now
        self._lanes: dict[str, _Lane] = {}
        self._held_until = 0.0

    @asynccontextmanager
    async def slot(self, mailbox: str, *, alone: bool = False) -> AsyncIterator[None]:
        """Hold a slot for one request; `alone`: all slots of the mailbox. "" is what concerns no mailbox.

        Raises: Fault `busy` where Graph asked for patience, with what is left of it.
        """
        if not mailbox:
            self.check(mailbox)
            async with self._in_all:
                yield
            return
        wanted = self._per_mailbox if alone else 1
        lane = self._lanes.setdefault(mailbox, _Lane())
        try:
            self.check(mailbox)
            await self._enter(lane, wanted)
        except BaseException:
            self._tidy(mailbox, lane)
            raise
        try:
            self.check(mailbox)  # the answer before this one may have asked for patience
            async with self._in_all:
                yield
        finally:
            lane.used -= wanted
            self._wake(lane)
            self._tidy(mailbox, lane)

    def check(self, mailbox: str) -> None:
        """Raise a Fault where Graph asked to wait, for this mailbox or altogether."""
        now = self._now()
        if now < self._held_until:
            raise self._busy(self._held_until - now, everywhere=True)
        lane = self._lanes.get(mailbox)
        if lane is not None and now < lane.held_until:
            raise self._busy(lane.held_until - now, everywhere=False)

    def hold(self, mailbox: str, wait_s: float) -> None:
        """Let nothing be asked for a mailbox for so long; "": nothing at all."""
        until = self._now() + min(max(wait_s, 0.0), LONGEST_S)
        if not mailbox:
            self._held_until = max(self._held_until, until)
            return
        lane = self._lanes.setdefault(mailbox, _Lane())
        lane.held_until = max(lane.held_until, until)

    def held_s(self) -> float:
        """Return for how many seconds nothing at all will be asked."""
        return max(0.0, self._held_until - self._now())

    async def _enter(self, lane: _Lane, wanted: int) -> None:
        if not lane.waiting and lane.used + wanted <= self._per_mailbox:
            lane.used += wanted
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (wanted, turn)
        lane.waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                lane.used -= wanted  # the slot was given in the same moment
            elif entry in lane.waiting:
                lane.waiting.remove(entry)
            self._wake(lane)
            raise

    def _wake(self, lane: _Lane) -> None:
        while lane.waiting and lane.used + lane.waiting[0][0] <= self._per_mailbox:
            wanted, turn = lane.waiting.popleft()
            if not turn.done():
                lane.used += wanted
                turn.set_result(None)

    def _tidy(self, mailbox: str, lane: _Lane) -> None:
        """Forget a mailbox that nobody asks for; thousands may come by in a day."""
        if not lane.used and not lane.waiting and lane.held_until <= self._now():
            self._lanes.pop(mailbox, None)

    @staticmethod
    def _busy(wait_s: float, *, everywhere: bool) -> Fault:
        return Fault(
            "TooManyRequests",
            "Graph asked for patience",
            "busy",
            retry_after_s=wait_s,
            scope=Scope.HOP,
            everywhere=everywhere,
        )
