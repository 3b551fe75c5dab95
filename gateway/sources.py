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
WELL_AFTER_S: Final = 30.0
"""A source that fell over, and has run for so long since, is well again."""
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
        self.troubles: dict[str, str] = {}
        """Of sources that fell over: what happened, until they have run for some time again."""
        self.waiting: set[str] = set()
        """Singleton sources that another node runs."""

    def start(self, name: str, connector: Connector) -> None:
        """Run the connector's source from now on, where it has one."""
        if isinstance(connector, Source):
            self._tasks[name] = asyncio.create_task(self._keep(name, connector, connector), name=f"source {name}")

    async def stop(self, names: list[str] | None = None, *, within_s: float) -> None:
        """Cancel sources and wait for them to finish what they are accepting, at most `within_s`."""
        for name in list(self._tasks) if names is None else names:
            self.troubles.pop(name, None)
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
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            well = loop.call_later(WELL_AFTER_S, self.troubles.pop, name, None)
            try:
                if not connector.singleton:
                    await source.run(self._intake)
                elif await self._run_leased(name, source):
                    continue
                trouble = "its source ended by itself"
                self._log.error("source_ended", connector=name, text="run() returned by itself")
            except asyncio.CancelledError as fault:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                trouble = "its source fell over: something that it waited for was cancelled"
                self._log.error("source_fault", connector=name, error=repr(fault), exc_info=fault)
            except (Exception, SystemExit) as fault:  # noqa: BLE001  a connector's bug must not reach the node
                trouble = f"its source fell over: {fault!r}"
                self._log.error("source_fault", connector=name, error=repr(fault), exc_info=fault)
            finally:
                well.cancel()
            if loop.time() - began > RESTART_MAX_S:
                delay = RESTART_MIN_S
            self.restarts[name] = self.restarts.get(name, 0) + 1
            self.troubles[name] = trouble
            await asyncio.sleep(delay)
            delay = min(RESTART_MAX_S, delay * 2)

    async def _run_leased(self, name: str, source: Source) -> bool:
        """Run a source while the lease is held; tell whether that was lost."""
        while not await self._has_lease(name):
            self.waiting.add(name)
            await asyncio.sleep(_RENEW_S)
        self.waiting.discard(name)
        running = asyncio.create_task(_run(source, self._intake), name=f"source {name} leased")
        try:
            while not running.done():
                await asyncio.wait((running,), timeout=_RENEW_S)
                if not running.done() and not await self._has_lease(name):
                    self._log.warning("source_lease_lost", connector=name)
                    return True
        finally:
            if not running.done():
                running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
        return False

    async def _has_lease(self, name: str) -> bool:
        try:
            return await self._hold(f"source:{name}")
        except (SpoolError, LeaseLost) as fault:
            self._log.warning("source_lease_unknown", connector=name, error=str(fault))
            return False


async def _run(source: Source, intake: Intake) -> None:
    """Run a source; a SystemExit would else end the event loop from within its task."""
    try:
        await source.run(intake)
    except SystemExit as fault:
        raise RuntimeError(f"the connector asked for the end of the process: {fault!r}") from fault
