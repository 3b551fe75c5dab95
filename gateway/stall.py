"""Stalls: who keeps the event loop from going on, named while it does.

A thread asks the loop for a sign of life about once a second; where none comes, it looks at the loop's own stack, finds
the connector whose code stands there, and says so in the log. Promises: nothing is done per message or per connection;
a loop that only gets no processor, or waits for its peers, is blamed on nobody; whoever is blamed has a frame on the
stack.
Known limit: code in C that holds the interpreter's lock the whole time is told only by how long it took, since nothing
can look meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final

from gateway.contract import Connector

EVERY_S: Final = 0.75
STALL_S: Final = 1.0
"""A loop that gives no sign for so long is blocked."""
SHOWN_S: Final = 600.0
"""For so long it is shown beside a connector's health."""
_AGAIN_S: Final = 30.0
_FRAMES: Final = 12
_MOST: Final = 1000
_IDLE: Final = ("asyncio/runners.py", "asyncio/base_events.py", "uvloop/__init__.py", "/selectors.py")
"""Where a loop's thread stands that has nothing to do."""


@dataclass(slots=True)
class Stalls:
    """What one connector did to the loop so far; `at` is the last place, `when` in monotonic seconds."""

    count: int = 0
    seconds: float = 0.0
    longest_s: float = 0.0
    at: str = ""
    when: float = 0.0


@dataclass(frozen=True, slots=True)
class Blame:
    """Who stands on the stack: the connector's name, empty where none does; the line of its code, and all lines."""

    connector: str
    at: str
    stack: tuple[str, ...]


class StallWatch:
    """Watches the loop that it is made in; `start` and `stop` are called there, the rest is a thread's."""

    def __init__(self, connectors: Mapping[str, Connector], log: Any, monotonic: Callable[[], float] = time.monotonic):
        self.found: dict[str, Stalls] = {}
        """By connector; "" is the gateway itself."""
        self._connectors = connectors
        self._log = log
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._ident = threading.get_ident()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; it may take a moment longer."""
        self._ended.set()

    def told(self, name: str) -> str | None:
        """Return in words how a connector blocked the loop of late; None where it did not."""
        stalls = self.found.get(name)
        if stalls is None or self._monotonic() - stalls.when > SHOWN_S:
            return None
        return f"it blocked the event loop {_times(stalls.count)}, for up to {stalls.longest_s:.1f} s, at {stalls.at}"

    def _watch(self) -> None:
        while not self._ended.wait(EVERY_S):
            answered = threading.Event()
            asked = self._monotonic()
            try:
                self._loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # the loop is closed
                return
            if not answered.wait(STALL_S):
                try:
                    self._stalled(answered, asked)
                except Exception as fault:  # noqa: BLE001  watching must not end for one look that failed
                    self._log.error("stall_watch_fault", error=repr(fault))

    def _stalled(self, answered: threading.Event, asked: float) -> None:
        blame = self._look()
        if blame is None:
            return
        again_at = asked
        while not answered.is_set() and not self._ended.is_set():
            now = self._monotonic()
            if now >= again_at:
                again_at = now + _AGAIN_S
                self._log.error(
                    "loop_blocked", connector=blame.connector, at=blame.at, for_s=round(now - asked, 1),
                    stack=" < ".join(blame.stack), text="nothing else goes on until it returns",
                )  # fmt: skip
            answered.wait(0.1)
        took = self._monotonic() - asked
        if blame.connector in self.found or len(self.found) < _MOST:
            stalls = self.found.setdefault(blame.connector, Stalls())
            stalls.count += 1
            stalls.seconds += took
            stalls.longest_s = max(stalls.longest_s, took)
            stalls.at, stalls.when = blame.at, self._monotonic()
        self._log.warning("loop_goes_on", connector=blame.connector, at=blame.at, blocked_s=round(took, 1))

    def _look(self) -> Blame | None:
        innermost = sys._current_frames().get(self._ident)
        if innermost is None:
            return None
        task = asyncio.current_task(self._loop)
        return blame(frames_of(innermost), self._connectors, "" if task is None else task.get_name())


def frames_of(innermost: FrameType) -> list[FrameType]:
    """Return the frames of a stack, the innermost first."""
    found = []
    frame: FrameType | None = innermost
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def blame(frames: Sequence[FrameType], connectors: Mapping[str, Connector], task: str) -> Blame | None:
    """Return who stands on a stack; None where the loop has nothing to do.

    A connector is found by its own object in a method's `self`; else by its code, and then, where several connectors
    are of that code, by the name of the task.
    """
    if not frames or frames[0].f_code.co_filename.replace("\\", "/").endswith(_IDLE):
        return None
    stack = tuple(_line(frame) for frame in frames[:_FRAMES])
    packages: dict[str, list[str]] = {}
    for name, connector in list(connectors.items()):
        packages.setdefault(_package(type(connector).__module__), []).append(name)
    own = next((frame for frame in frames if _package(_module(frame)) in packages), None)
    at = stack[0] if own is None else _line(own)
    for frame in frames:
        me = frame.f_locals.get("self")
        if isinstance(me, Connector) and connectors.get(me.name) is me:
            return Blame(me.name, at, stack)
    if own is None:
        return Blame("", at, stack)
    of_this = packages[_package(_module(own))]
    by_task = [name for name in of_this if task.startswith(f"source {name}")]
    lanes = [live.key[0] for frame in frames if (live := frame.f_locals.get("live")) is not None and _is_lane(live)]
    return Blame(next((name for name in (*lanes, *by_task, *of_this) if name in of_this), of_this[0]), at, stack)


def _is_lane(live: Any) -> bool:
    return isinstance(getattr(live, "key", None), tuple) and len(live.key) == 2


def _module(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__")
    return name if isinstance(name, str) else ""


def _package(module: str) -> str:
    """Return the part of a module's name that is one connector's: ours have one package in common."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "connectors" else parts[0]


def _line(frame: FrameType) -> str:
    file = "/".join(frame.f_code.co_filename.replace("\\", "/").rsplit("/", 2)[-2:])
    return f"{file}:{frame.f_lineno} in {frame.f_code.co_name}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
