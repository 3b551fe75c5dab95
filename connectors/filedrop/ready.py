"""When a file of the inbox is complete: by its name, its trigger, its lock, or by having stood still.

No rule compares a file's time with our clock, for the inbox may be another machine's; time is counted from when a
thing was first seen, by a clock that only goes forward. What is remembered of files that wait is bounded: beyond
`REMEMBERED` names it begins anew, and they wait longer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.files import NotRegular
from connectors.filedrop.signals import OWN, is_ours, lock, read_trigger, signal_name
from gateway.mailbox_files import Operations

REMEMBERED: Final = 100_000
EMPTY_GRACE_S: Final = 60.0
LEFT_BY_US: Final = (".bad", ".reason.txt")


class Since:
    """When each name was first seen in its present state, in seconds of the clock that only goes forward."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[object, float]] = {}

    def seconds(self, name: str, state: object = None) -> float:
        """Return for how long this name has been in this state, as far as is known."""
        now = self._clock()
        known = self._seen.get(name)
        if known is not None and known[0] == state:
            return now - known[1]
        if len(self._seen) >= REMEMBERED:
            self._seen.clear()
        self._seen[name] = state, now
        return 0.0

    def forget(self, name: str) -> None:
        self._seen.pop(name, None)


class Rule(Protocol):
    """One way to tell that a file is complete."""

    def is_complete(self, folder: Path, name: str, found: os.stat_result) -> bool:
        """Tell whether a file that is ready by its name may be claimed now. Raises: OSError."""
        ...

    def hold(self, folder: Path, name: str) -> bool:
        """Keep others off the file while it is claimed; False where one is there already. Raises: OSError."""
        ...

    def release(self, folder: Path, name: str) -> None: ...

    def clean(self, folder: Path) -> None:
        """Remove what an earlier run left in the folder when it was killed. Raises: OSError."""
        ...


class ByName:
    """suffix and rename: a complete file has its name; one still empty is given time to be filled."""

    def __init__(self) -> None:
        self._empty = Since()

    def is_complete(self, folder: Path, name: str, found: os.stat_result) -> bool:
        if found.st_size:
            return True
        if self._empty.seconds(name) < EMPTY_GRACE_S:
            return False
        self._empty.forget(name)
        return True

    def hold(self, folder: Path, name: str) -> bool:
        return True

    def release(self, folder: Path, name: str) -> None:
        return

    def clean(self, folder: Path) -> None:
        return


class ByTrigger(ByName):
    """trigger: a file beside it says so. One that says otherwise of size or digest is waited for, then told."""

    def __init__(self, config: FileDropConfig) -> None:
        super().__init__()
        self._config = config
        self._wrong = Since()

    def is_complete(self, folder: Path, name: str, found: os.stat_result) -> bool:
        config = self._config
        try:
            trigger = folder / signal_name(config.trigger, name)
            if config.trigger_check == "none":
                os.lstat(trigger)
                return True
            told = read_trigger(trigger)
            if told is None:
                return False
            if not told.fits(config.trigger_check, folder / name):
                self._wrong.forget(name)
                return True
        except (FileNotFoundError, NotRegular):
            return False
        # Whoever reads the file then finds the same again, and tells it.
        return self._wrong.seconds(name, (found.st_size, told.octets)) >= config.trigger_grace_s


class ByStillness(ByName):
    """stable: size and time of change stayed the same over so many looks."""

    def __init__(self, config: FileDropConfig) -> None:
        super().__init__()
        self._still_s = config.stable_polls * config.poll_s
        self._same = Since()

    def is_complete(self, folder: Path, name: str, found: os.stat_result) -> bool:
        state = (found.st_size, found.st_mtime_ns, found.st_ino)
        if self._same.seconds(name, state) < self._still_s:
            return False
        self._same.forget(name)
        return super().is_complete(folder, name, found)


class ByLock(ByName):
    """lock: no lock of its writer's is there; ours is, while the file is claimed."""

    def __init__(self, config: FileDropConfig, ops: Operations) -> None:
        super().__init__()
        self._config = config
        self._ops = ops
        self._held = Since()

    def is_complete(self, folder: Path, name: str, found: os.stat_result) -> bool:
        path = folder / signal_name(self._config.lock, name)
        try:
            there = os.lstat(path)
        except FileNotFoundError:
            self._held.forget(name)
            return super().is_complete(folder, name, found)
        if is_ours(path):  # a crash left it, for nobody else reads this inbox
            return True
        stale_s = self._config.lock_stale_s
        if stale_s is None or self._held.seconds(name, (there.st_ino, there.st_mtime_ns)) < stale_s:
            return False
        with suppress(FileNotFoundError):
            self._ops.unlink(str(path))
        self._held.forget(name)
        return True

    def hold(self, folder: Path, name: str) -> bool:
        return lock(folder / signal_name(self._config.lock, name), self._ops)

    def release(self, folder: Path, name: str) -> None:
        with suppress(FileNotFoundError):
            self._ops.unlink(str(folder / signal_name(self._config.lock, name)))

    def clean(self, folder: Path) -> None:
        """Remove locks of ours: their writers would wait for ever."""
        end = self._config.lock.rpartition("}")[2]
        with os.scandir(folder) as found:
            for entry in found:
                hidden = entry.name.startswith(".") and entry.name.endswith(OWN)
                if hidden or (entry.name.endswith(end) and is_ours(folder / entry.name)):
                    with suppress(FileNotFoundError):
                        self._ops.unlink(entry.path)


def rule_of(config: FileDropConfig, ops: Operations) -> Rule:
    match config.ready:
        case "trigger":
            return ByTrigger(config)
        case "stable":
            return ByStillness(config)
        case "lock":
            return ByLock(config, ops)
    return ByName()


class Naming:
    """Which names are those of messages: `extension` is what they end in, empty for any end."""

    def __init__(self, config: FileDropConfig, extension: str) -> None:
        self._any = config.ready == "rename"
        self._extension = extension.lower()
        self._others = (*LEFT_BY_US, *(mark.lower() for mark in config.temporary))
        pattern = {"trigger": config.trigger, "lock": config.lock}.get(config.ready, "")
        self._signal = pattern.rpartition("}")[2].lower()

    def is_message(self, name: str) -> bool:
        """Tell whether a file of this name is for us, and none that is still written, a signal, or one of ours."""
        lower = name.lower()
        if name.startswith(".") or lower.endswith(self._others):
            return False
        if self._signal and lower.endswith(self._signal):
            return False
        return self._any or lower.endswith(self._extension)


__all__ = ["EMPTY_GRACE_S", "ByName", "Naming", "Rule", "Since", "rule_of"]
