"""The beat by which the gateway knows that the reading process is at work."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Final

from connectors.filedrop.apart.wire import Ask

BEAT_S: Final = 1.0


class Beat:
    """Tells that the loop comes round, and the thread that moves files with it, which a share may hang; and has the
    kernel end the process where the loop does not come round again before the process has used so much of the
    processor. A thread could not: an expression that never ends keeps the interpreter."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, say: Callable[[Any], None], moving: Executor, cpu_limit_s: float
    ) -> None:
        self._loop = loop
        self._say = say
        self._moving = moving
        self._cpu_limit_s = cpu_limit_s
        self._asked: asyncio.Future[None] | None = None
        self._next: asyncio.TimerHandle | None = None

    def beat(self) -> None:
        """Beat, and go on doing so."""
        signal.setitimer(signal.ITIMER_PROF, self._cpu_limit_s)
        if self._asked is None:
            self._asked = self._loop.run_in_executor(self._moving, _nothing)
            self._asked.add_done_callback(self._answered)
        self._next = self._loop.call_later(BEAT_S, self.beat)

    def stop(self) -> None:
        """Beat no more, and limit nothing."""
        if self._next is not None:
            self._next.cancel()
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _answered(self, _: asyncio.Future[None]) -> None:
        self._asked = None
        self._say(Ask.BEAT.value)


def _nothing() -> None:
    return
