"""The sources of a node, each in a task of its own: started, leased where singleton, restarted with back-off.

A source that falls over restarts alone and never takes the node along. A singleton source runs only while this
node holds its lease; the lease is renewed well before it ends, and a source that loses it is stopped.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.contract import Connector, Intake, Source
from gateway.spool.api import LeaseLost, SpoolError

RESTART_MIN_S: Final = 1.0
RESTART_MAX_S: Final = 60.0
_RENEW_S: Final = 5.0

HoldSingleton = Callable[[str], Awaitable[bool]]


class Sources:
    """Owns one task per source. `hold` takes or renews the lease of a singleton source."""

    def __init__(self, intake: Intake, hold: HoldSingleton, log: Any) -> None:
        self._intake = intake
        self._hold = hold
        self._log = log
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.restarts: dict[str, int] = {}
        self.waiting: set[str] = set()
        """Singleton sources that another node runs."""

    def start(self, name: str, connector: Connector) -> None:
        """Run the connector's source from now on, where it has one."""
        if isinstance(connector, Source):
            self._tasks[name] = asyncio.create_task(self._keep(name, connector, connector), name=f"source {name}")

    async def stop(self, names: list[str] | None = None, *, within_s: float) -> None:
        """Cancel sources and wait for them to finish what they are accepting, at most `within_s`."""
        chosen = [self._tasks.pop(n) for n in (list(self._tasks) if names is None else names) if n in self._tasks]
        for task in chosen:
            task.cancel()
        if chosen:
            done, late = await asyncio.wait(chosen, timeout=within_s)
            for task in late:
                self._log.warning("source_stop_late", source=task.get_name(), after_s=within_s)
            for task in done:
                if not task.cancelled() and (fault := task.exception()) is not None:
                    self._log.error("source_fault", source=task.get_name(), error=repr(fault))

    async def _keep(self, name: str, connector: Connector, source: Source) -> None:
        delay = RESTART_MIN_S
        while True:
            loop = asyncio.get_running_loop()
            began = loop.time()
            try:
                if connector.singleton:
                    await self._run_leased(name, source)
                else:
                    await source.run(self._intake)
                self._log.error("source_ended", connector=name, text="run() returned by itself")
            except Exception as fault:  # noqa: BLE001  # a connector's bug must not reach the node
                self._log.error("source_fault", connector=name, error=repr(fault), exc_info=fault)
            if loop.time() - began > RESTART_MAX_S:
                delay = RESTART_MIN_S
            self.restarts[name] = self.restarts.get(name, 0) + 1
            await asyncio.sleep(delay)
            delay = min(RESTART_MAX_S, delay * 2)

    async def _run_leased(self, name: str, source: Source) -> None:
        while not await self._has_lease(name):
            self.waiting.add(name)
            await asyncio.sleep(_RENEW_S)
        self.waiting.discard(name)
        running = asyncio.create_task(source.run(self._intake), name=f"source {name} leased")
        try:
            while not running.done():
                await asyncio.wait((running,), timeout=_RENEW_S)
                if not running.done() and not await self._has_lease(name):
                    self._log.warning("source_lease_lost", connector=name)
                    return
        finally:
            if not running.done():
                running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    async def _has_lease(self, name: str) -> bool:
        try:
            return await self._hold(f"source:{name}")
        except (SpoolError, LeaseLost) as fault:
            self._log.warning("source_lease_unknown", connector=name, error=str(fault))
            return False
