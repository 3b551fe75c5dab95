"""Kill a connector between any two steps of its event loop, and stop one there.

A kill is a real one: the connector runs in a forked process that sends itself SIGKILL before a chosen step, so that
no clean-up runs, no thread goes on, and its connections break as they do in a crash. The peer and the test stay in
the parent. Every point where a coroutine is resumed, or a thread's result comes in, is a step.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context as ContextVars
from typing import Any, Final, TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")

POINTS: Final = int(os.environ.get("GATEPOST_KILL_POINTS") or 60)
"""The most points tried; where there are more, these are spread over all of them."""


class SteppingLoop(asyncio.SelectorEventLoop):
    """An event loop that calls `on_step` with a running number before each callback, once `armed`."""

    def __init__(self, on_step: Callable[[int], None]) -> None:
        super().__init__()
        self.armed = False
        self._steps = 0
        self._on_step = on_step

    def _step(self, callback: Callable[..., Any], *args: Any) -> None:
        if self.armed:
            self._steps += 1
            self._on_step(self._steps)
        callback(*args)

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: ContextVars | None = None
    ) -> asyncio.Handle:
        return super().call_soon(lambda: self._step(callback, *args), context=context)

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: ContextVars | None = None
    ) -> asyncio.Handle:
        return super().call_soon_threadsafe(lambda: self._step(callback, *args), context=context)


class Victim:
    """A coroutine running in a process of its own, to be killed before its step number `at` (0: never)."""

    def __init__(self, body: Callable[[SteppingLoop], Coroutine[Any, Any, None]], at: int = 0) -> None:
        self._steps = mmap.mmap(-1, 8)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(body, at)
        self.ended = False

    def _run(self, body: Callable[[SteppingLoop], Coroutine[Any, Any, None]], at: int) -> None:
        code = 70
        try:
            loop = SteppingLoop(lambda number: self._before_step(number, at))
            asyncio.set_event_loop(loop)
            loop.run_until_complete(body(loop))
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, the parent's test must not go on in the child
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _before_step(self, number: int, at: int) -> None:
        self._steps[:8] = struct.pack("q", number)
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)

    @property
    def steps(self) -> int:
        return int(struct.unpack("q", self._steps[:8])[0])

    @property
    def is_alive(self) -> bool:
        if not self.ended:
            done, _ = os.waitpid(self.pid, os.WNOHANG)
            self.ended = done != 0
        return not self.ended

    def kill(self) -> None:
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.ended = True

    def wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait until `done` or until the process has ended. False where neither came in time."""
        began = time.monotonic()
        while (waited := time.monotonic() - began) < seconds:
            if not self.is_alive or done():
                return True
            time.sleep(pause_s(waited))
        return False


def pause_s(waited_s: float) -> float:
    """Return how long to wait before one looks again: a tenth of what one has waited, since looking may cost a peer
    much, and what takes long need not be seen at once."""
    return min(max(0.002, waited_s / 10), 0.05)


def points(total: int, limit: int = POINTS) -> Iterator[int]:
    """Yield the steps to die before: all of 1..total, or `limit` of them spread evenly."""
    if total <= limit:
        yield from range(1, total + 1)
        return
    yield from sorted({1 + round(i * (total - 1) / (limit - 1)) for i in range(limit)})


def killed(at: int) -> str:
    """Return in words where a process was killed; 0: nowhere."""
    return f"killed at step {at}" if at else "restarted"


async def cancel_at(step: int, work: Coroutine[Any, Any, None], within_s: float) -> bool:
    """Run `work` and cancel it before its own step number `step`; tell whether it got that far.

    Raises: TimeoutError where it does not end within `within_s` seconds of the cancellation; what it raises.
    """
    reached = False
    count = 0
    task: asyncio.Task[None]

    class Steps(Coroutine[Any, Any, None]):
        def send(self, value: Any) -> Any:
            nonlocal reached, count
            count += 1
            if count == step:
                reached = True
                return work.throw(asyncio.CancelledError())
            return work.send(value)

        def throw(self, *args: Any) -> Any:
            return work.throw(*args)

        def close(self) -> None:
            work.close()

        def __await__(self) -> Any:
            return (yield from work.__await__())

    task = asyncio.get_running_loop().create_task(Steps())
    done, _ = await asyncio.wait((task,), timeout=within_s)
    if not done:
        task.cancel()
        raise TimeoutError(f"not over within {within_s} s")
    if not task.cancelled():
        task.result()
    return reached
