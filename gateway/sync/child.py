"""The process in which a running gateway keeps mailboxes in step, apart from the mail that flows.

It is started anew where it ends by itself, and ends with the gateway, however that ends: it goes when its standard
input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gateway.config import Config

_COMMAND: Final = (sys.executable, "-m", "gateway", "sync", "watch")
_RESTART_MIN_S: Final = 1.0
_RESTART_MAX_S: Final = 60.0
_WELL_S: Final = 120.0
"""One that ran for so long is started at once when it ends."""


def is_wanted(config: Config) -> bool:
    """Tell whether there is anything to keep in step."""
    return any(section.watch for section in config.syncs.values())


class WatchChild:
    """Keeps one such process running, as long as the configuration has anything for it."""

    def __init__(self, config: Config, log: Any) -> None:
        self._config = config
        self._log = log
        self._changed = asyncio.Event()

    def put_in_force(self, config: Config) -> None:
        """Have it run by another configuration."""
        self._config = config
        self._changed.set()

    async def run(self) -> None:
        """Do it until cancelled; the process has ended when this returns."""
        delay_s = _RESTART_MIN_S
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            if not is_wanted(self._config):
                await self._changed.wait()
                continue
            began = loop.time()
            try:
                code = await self._one()
            except OSError as fault:
                self._log.error("sync_watch_not_started", error=str(fault))
            else:
                if code is None:
                    continue
                self._log.error("sync_watch_ended", code=code)
            delay_s = _RESTART_MIN_S if loop.time() - began > _WELL_S else min(_RESTART_MAX_S, delay_s * 2)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), delay_s)

    async def _one(self) -> int | None:
        """Run one process; returns its exit code, None where it was ended for another configuration."""
        child = await asyncio.create_subprocess_exec(
            *_COMMAND,
            *("-c", str(self._config.path), "--child"),
            stdin=PIPE,
            stdout=DEVNULL,
        )
        ended, changed = asyncio.ensure_future(child.wait()), asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((ended, changed), return_when=asyncio.FIRST_COMPLETED)
            return ended.result() if ended.done() else None
        finally:
            changed.cancel()
            await self._end(child, ended)

    async def _end(self, child: Process, ended: asyncio.Future[int]) -> None:
        if ended.done():
            return
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(ended), self._config.gateway.stop_after)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await ended
