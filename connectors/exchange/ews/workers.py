"""Workers: the threads in which exchangelib's blocking calls run.

Promises: never more calls at once than the limit; a call that takes too long has its connection cut, so that none lasts
for ever; `stop` returns within its bound, whatever a server does. The threads are daemons of our own: those of the
standard library's pool are waited for when the interpreter ends, so that one hung call would hang the process.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_LOOK_S: Final = 1.0


class _Job:
    __slots__ = ("call", "future", "loop")

    def __init__(self, call: Callable[[], Any], future: asyncio.Future[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self.future = future
        self.loop = loop

    def run(self) -> tuple[Any, BaseException | None]:
        """Return what the call returns or raises; nothing is called where nobody waits any more."""
        if self.future.cancelled():
            return None, None
        try:
            return self.call(), None
        except BaseException as e:  # noqa: BLE001 - it belongs to whoever waits, in the loop
            return None, e

    def tell(self, result: Any, error: BaseException | None) -> None:
        try:
            self.loop.call_soon_threadsafe(self._settle, result, error)
        except RuntimeError:  # the loop has ended: nobody waits any more
            return

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class Stopped(Exception):
    """The workers have been stopped; the call was not begun."""


class Workers:
    """At most `limit` calls at once, each at most `longest_s` seconds; `cut` ends a thread's connection.

    Used in one event loop. Threads begin when they are needed, and stay.
    """

    def __init__(self, limit: int, longest_s: float, cut: Callable[[int], None], name: str = "ews") -> None:
        self.limit = limit
        self._longest_s = longest_s
        self._cut = cut
        self._name = name
        self._waiting: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._running: dict[int, float] = {}
        self._stopped = False
        self._look: asyncio.TimerHandle | None = None

    async def call(self, fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what a call returns in a thread, or raise what it raises. Raises: Stopped.

        A call that has begun when its caller is cancelled goes on to its end, and nobody hears of its result.
        """
        loop = asyncio.get_running_loop()
        job = _Job(lambda: fn(*args, **kwargs), loop.create_future(), loop)
        with self._wake:
            if self._stopped:
                raise Stopped
            self._waiting.append(job)
            if len(self._threads) < min(self.limit, len(self._running) + len(self._waiting)):
                self._begin()
            self._wake.notify()
        if self._look is None:
            self._look = loop.call_later(_LOOK_S, self._end_late)
        result: R = await job.future
        return result

    def _begin(self) -> None:
        thread = threading.Thread(target=self._serve, name=f"{self._name}-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        me = threading.get_ident()
        while True:
            with self._wake:
                while not self._waiting and not self._stopped:
                    self._wake.wait()
                if self._stopped:
                    return
                job = self._waiting.popleft()
                self._running[me] = time.monotonic()
            told = job.run()
            with self._wake:
                del self._running[me]  # before who waits can come with the next call
            job.tell(*told)
            del job, told  # or they live until the next call

    def _end_late(self) -> None:
        """Cut the connections of calls that take too long. Runs in the loop, while there are calls."""
        self._look = None
        with self._wake:
            since = time.monotonic() - self._longest_s
            late = [thread for thread, begun in self._running.items() if begun < since]
            busy = bool(self._running or self._waiting)
        for thread in late:
            self._cut(thread)
        if busy and not self._stopped:
            self._look = asyncio.get_running_loop().call_later(_LOOK_S, self._end_late)

    @property
    def threads(self) -> int:
        """How many threads there are."""
        return sum(each.is_alive() for each in self._threads)

    async def stop(self, within_s: float) -> bool:
        """Drop what waits, cut what runs, and wait for the threads; say whether all ended. Safe to call twice."""
        with self._wake:
            self._stopped = True
            dropped = list(self._waiting)
            self._waiting.clear()
            self._wake.notify_all()
        if self._look is not None:
            self._look.cancel()
            self._look = None
        for job in dropped:
            if not job.future.done():
                job.future.set_exception(Stopped())
        until = time.monotonic() + within_s
        while self.threads:
            with self._wake:
                running = list(self._running)
            for thread in running:
                self._cut(thread)
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(0.02)
        return True
