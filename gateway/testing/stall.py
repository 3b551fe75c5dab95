"""Notice code that blocks the event loop: a thread looks whether the loop still takes turns.

What counts is the processor's time that the loop's thread spends, and the time that it sleeps; not that in which it
waits for its turn, so that a busy machine is not taken for a blocked loop.
Code of the kit and of a test's driver is not meant: a frame is blamed where it belongs to the connector.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

LOOK_S: Final = 0.05
BLOCKED_S: Final = 1.0
"""How long the loop may be kept from other work; a connector that keeps it as long stops everything else."""
_KIT: Final = str(Path(__file__).parent)


class StallWatch:
    """Watches one loop from `start` to `stop`; `found` says what blocked it, None where nothing did."""

    def __init__(self, connector: type, driver: type, blocked_s: float = BLOCKED_S) -> None:
        self.found: str | None = None
        self._blocked_s = blocked_s
        self._blamed = _folder(connector)
        self._drivers = {each.__qualname__ for each in driver.__mro__[:-1]}
        self._over = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread
        self._of = 0
        self._clock = 0
        self._state = Path()

    def start(self) -> None:
        """Watch the running loop from now on."""
        self._loop = asyncio.get_running_loop()
        self._of = threading.get_ident()
        self._state = Path(f"/proc/self/task/{threading.get_native_id()}/stat")
        self._clock = time.pthread_getcpuclockid(self._of)
        self._thread = threading.Thread(target=self._watch, name="kit stall watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        turned = threading.Event()
        turned.set()
        spent = 0.0
        suspect: str | None = None
        cpu_s = 0.0
        while not self._over.wait(LOOK_S):
            before, cpu_s = cpu_s, time.clock_gettime(self._clock)
            if turned.is_set():
                turned.clear()
                spent, suspect = 0.0, None
                if not self._ask(turned.set):
                    return
                continue
            now = self._blame(sys._current_frames().get(self._of))
            # Blocked by one thing all the time; several short ones in turn are a busy loop, not a blocked one.
            suspect = now if spent == 0 or suspect == now else None
            spent += LOOK_S if self._sleeps() else cpu_s - before
            if spent >= self._blocked_s and suspect is not None:
                self.found = f"blocked it for {spent:.1f} s and more in {suspect}"
                return

    def _sleeps(self) -> bool:
        """Tell whether the loop's thread sleeps or waits for something, rather than runs or could run."""
        try:
            return self._state.read_text().rpartition(")")[2].split()[0] == "S"
        except (OSError, IndexError):  # no such thing on this system
            return True

    def _ask(self, call: Callable[[], Any]) -> bool:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def _blame(self, frame: FrameType | None) -> str | None:
        """Return the connector's function in whose call the loop is, None where it is in another's."""
        while frame is not None:
            code = frame.f_code
            file, name = code.co_filename, getattr(code, "co_qualname", code.co_name)
            if file.startswith(_KIT) or name.split(".")[0] in self._drivers:
                return None
            if file.startswith(self._blamed):
                return f"{name}() of {Path(file).name}"
            frame = frame.f_back
        return None


def _folder(connector: type) -> str:
    """Return the folder of a connector's package, or its file where it is one module."""
    module = sys.modules[connector.__module__]
    file = Path(module.__file__ or "")
    package = connector.__module__.rpartition(".")[0]
    return str(file.parent) if package and not package.startswith("tests") else str(file)
