"""Gather: single wishes of many that wait together become one request.

Promises: who comes alone waits for nobody; what comes while a request is under way goes together with the next; each
gets its own result; one who does not wait any more keeps nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

W = TypeVar("W")
R = TypeVar("R")


class _Wish(Generic[W, R]):
    __slots__ = ("future", "what")

    def __init__(self, what: W) -> None:
        self.what = what
        self.future: asyncio.Future[R] = asyncio.get_running_loop().create_future()


class _Queue(Generic[W, R]):
    """Wishes of one kind; the lock is had in the order in which they came."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting: list[_Wish[W, R]] = []
        self.users = 0


class Gather(Generic[W, R]):
    """`do(kind, wishes)` returns a result or an exception for each of at most `most` wishes, or raises for all."""

    def __init__(self, do: Callable[[Hashable, Sequence[W]], Awaitable[Sequence[R | Exception]]], most: int) -> None:
        self._do = do
        self._most = most
        self._queues: dict[Hashable, _Queue[W, R]] = {}

    async def __call__(self, kind: Hashable, what: W) -> R:
        """Return the result of one wish, which goes together with others of its kind."""
        queue = self._queues.setdefault(kind, _Queue())
        wish: _Wish[W, R] = _Wish(what)
        queue.waiting.append(wish)
        queue.users += 1
        try:
            async with queue.lock:
                if not wish.future.done():
                    await self._serve(kind, queue)
            return wish.future.result()
        finally:
            if wish in queue.waiting:  # it was cancelled
                queue.waiting.remove(wish)
            if wish.future.done() and not wish.future.cancelled():
                wish.future.exception()  # it has been heard of
            queue.users -= 1
            if queue.users == 0:
                del self._queues[kind]

    async def _serve(self, kind: Hashable, queue: _Queue[W, R]) -> None:
        """Ask for those that wait longest, whose first is the one that has the lock."""
        batch = queue.waiting[: self._most]
        del queue.waiting[: self._most]
        try:
            results = await self._do(kind, [each.what for each in batch])
        except asyncio.CancelledError:
            queue.waiting[:0] = batch  # for the next of them
            raise
        except Exception as e:  # noqa: BLE001 - it is every one's own
            results = [e] * len(batch)
        for wish, result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                wish.future.set_exception(result)
            else:
                wish.future.set_result(result)
