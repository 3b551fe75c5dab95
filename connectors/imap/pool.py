"""The connections to one mailbox: as many as are wanted at once, within a limit, each with its selected folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

from connectors.imap.session import Session

Turn: TypeAlias = asyncio.Lock
"""Who has it puts commands into a pipe that others use, too."""


class Pool:
    """Sessions of one mailbox. `make` logs a new one in."""

    def __init__(self, make: Callable[[], Awaitable[Session]], limit: int) -> None:
        self._make = make
        self._free: list[Session] = []
        self._all: set[Session] = set()
        self._places = asyncio.Semaphore(limit)

    @asynccontextmanager
    async def session(self, folder: bytes | None = None) -> AsyncIterator[Session]:
        """Lend a session: one that has `folder` selected if there is one, else any, else a new one.

        One whose connection ended meanwhile is not lent again. Raises: what `make` raises.
        """
        async with self._places:
            one = await self._take(folder)
            try:
                yield one
            finally:
                if one.connection.is_open and not one.connection.under_way:
                    self._free.append(one)
                else:
                    # Somebody stopped waiting for an answer: whose it is would be a guess.
                    self._drop(one)

    async def _take(self, folder: bytes | None) -> Session:
        self._free = [each for each in self._free if each.connection.is_open]
        for each in self._free:
            if folder is not None and each.selected is not None and each.selected.name == folder:
                self._free.remove(each)
                return each
        if self._free:
            return self._free.pop(0)
        made = await self._make()
        self._all.add(made)
        return made

    def forget(self, folder: bytes, inferiors: bytes) -> None:
        """End the sessions that nobody has and that have this folder selected, or one whose name begins so.

        A folder that gets another name, or goes, under such a session makes it useless at some servers.
        """
        for each in list(self._free):
            selected = each.selected
            if selected is not None and (
                selected.name == folder or (inferiors and selected.name.startswith(inferiors))
            ):
                self._free.remove(each)
                self._drop(each)

    def _drop(self, one: Session) -> None:
        one.connection.end("given up")
        self._all.discard(one)

    async def close(self) -> None:
        """End all sessions."""
        idle, self._free = self._free, []
        await asyncio.gather(*(each.logout() for each in idle))
        for each in list(self._all):
            self._drop(each)


class Lane:
    """A session of a pool that several use at once for one folder. The last of them gives it back, and then the lane is
    of no use any more."""

    def __init__(self, pool: Pool, folder: bytes) -> None:
        self.turn = Turn()
        self._pool = pool
        self._folder = folder
        self._users = 0
        self._is_over = False
        self._stack = AsyncExitStack()
        self._taking = asyncio.Lock()
        self._session: Session | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether one more may use it."""
        return not self._is_over and (self._session is None or self._session.connection.is_open)

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Session]:
        """Lend the session. Raises: what the pool raises."""
        self._users += 1
        try:
            async with self._taking:
                if self._session is None:
                    self._session = await self._stack.enter_async_context(self._pool.session(self._folder))
            yield self._session
        finally:
            self._users -= 1
            if not self._users:
                self._is_over = True
                await self._stack.aclose()
