"""Hosting: the node's connectors, each built, started, started anew with back-off, and stopped.

Promises: a connector that cannot be imported, that raises where it may not, or whose start does not end, is isolated:
what stands for it defers its mail, its health says why, and everything else goes on. It is tried again with back-off,
and when it is at work, its mail goes at once. What the operator has to mend (OSError, ValueError of a first `start`)
still keeps the gateway from starting, with its text.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Final

from gateway.absent import Absent, NotStarted, remember
from gateway.contract import Connector, Context, Destination, Health
from gateway.dispatch.tasks import Tasks

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import ConnectorSection

START_S: Final = 60.0
"""A start that takes longer goes on beside everything else, which does not wait for it any more."""
AGAIN_MIN_S: Final = 1.0
AGAIN_MAX_S: Final = 60.0
LOOK_MIN_S: Final = 5.0
LOOK_MAX_S: Final = 120.0
"""How often it is looked whether a plugin that could not be imported can be now."""


class Hosting:
    """Owns the connectors of one node. `context_for` gives a connector's Context; `back` is awaited with the name of
    one that is at work again, after `destinations` holds it; `reload` puts the configuration in force anew."""

    def __init__(
        self,
        context_for: Callable[[ConnectorSection], Context],
        log: Any,
        *,
        stop_s: Callable[[], float],
        back: Callable[[str], Awaitable[None]],
        reload: Callable[[], Awaitable[None]],
    ) -> None:
        self.connectors: dict[str, Connector] = {}
        self.destinations: dict[str, Destination] = {}
        self.troubles: dict[str, str] = {}
        """Why a connector is not at work, by name."""
        self._context_for = context_for
        self._log = log
        self._stop_s = stop_s
        self._back = back
        self._reload = reload
        self._sections: dict[str, ConnectorSection] = {}
        self._networks: dict[str, tuple[str, ...]] = {}
        self._tasks = Tasks(log)
        self._reviving: dict[str, asyncio.Task[None]] = {}

    # -- life

    def add(self, section: ConnectorSection) -> None:
        """Build a connector. One that raises is absent from then on."""
        name = section.name
        self._sections[name] = section
        self.troubles.pop(name, None)
        try:
            self.connectors[name] = self._built(section)
        except (Exception, SystemExit) as fault:  # noqa: BLE001  a plugin may raise anything
            self._log.error("connector_fault", connector=name, error=repr(fault), exc_info=fault)
            reason = f"it cannot be built: {_said(fault)}"
            absent = Absent.Config(reason=reason, networks=("smtp",))  # type: ignore[call-arg]  # of AbsentConfig
            self.connectors[name] = Absent(name, absent, self._context_for(section))
        self._put(name)

    def _built(self, section: ConnectorSection) -> Connector:
        made = section.cls(section.name, section.config, self._context_for(section))
        if not made.capabilities.header_networks:
            raise ValueError("capabilities.header_networks is empty")
        return made

    def _put(self, name: str) -> None:
        """Have a connector's destination side be what mail for it goes to."""
        connector = self.connectors[name]
        if isinstance(connector, Destination):
            trouble = self.troubles.get(name)
            self.destinations[name] = connector if trouble is None else NotStarted(connector, trouble)
        else:
            self.destinations.pop(name, None)

    async def start(self, name: str, *, first: bool) -> None:
        """Start a connector, or leave it isolated and be tried again.

        Raises: OSError, ValueError where it is the `first` start, and the connector says so.
        """
        connector = self.connectors[name]
        if isinstance(connector, Absent):
            self.troubles[name] = connector.health().text
            self._log.error("connector_absent", connector=name, error=self.troubles[name], text="mail for it is kept")
            by = self._look(name) if self._sections[name].cls is Absent else self._revive(name)
            self._reviving[name] = self._tasks.start(by, f"look for {name}")
            return
        starting = asyncio.ensure_future(self._started(connector))
        await asyncio.wait((starting,), timeout=START_S)
        if not starting.done():
            self._isolate(name, f"its start has not ended after {START_S:.0f} s")
            self._reviving[name] = self._tasks.start(self._await_start(name, starting), f"start of {name}")
            return
        fault = starting.result()
        if fault is None:
            return
        if first and isinstance(fault, OSError | ValueError):
            raise type(fault)(f"connector {name!r} cannot start: {fault}") from fault
        self._isolate(name, f"it cannot start: {_said(fault)}", fault)
        self._reviving[name] = self._tasks.start(self._revive(name), f"restart of {name}")

    async def _started(self, connector: Connector) -> BaseException | None:
        try:
            await connector.start()
        except (Exception, SystemExit) as fault:  # noqa: BLE001
            return fault
        return None

    def _isolate(self, name: str, why: str, fault: BaseException | None = None) -> None:
        self.troubles[name] = why
        self._put(name)
        text = "its mail is kept, and it is started again"
        shown = fault if fault is not None and not isinstance(fault, OSError | ValueError) else None
        self._log.error("connector_start_fault", connector=name, error=why, text=text, exc_info=shown)

    def is_at_work(self, name: str) -> bool:
        return name not in self.troubles

    async def stop(self, names: Iterable[str] | None = None) -> None:
        """Stop connectors and forget them; all of them where none is named."""
        for name in list(self.connectors) if names is None else list(names):
            reviving = self._reviving.pop(name, None)
            if reviving is not None:
                reviving.cancel()
            connector = self.connectors.pop(name)
            self.destinations.pop(name, None)
            self.troubles.pop(name, None)
            self._sections.pop(name, None)
            await self._let_go(name, connector)
        if names is None:
            await self._tasks.close(1.0)

    async def _let_go(self, name: str, connector: Connector) -> None:
        try:
            await asyncio.wait_for(connector.stop(), self._stop_s() + 1.0)
        except (Exception, SystemExit) as fault:  # noqa: BLE001  a connector's bug must not keep the others from stopping
            self._log.error("connector_stop_fault", connector=name, error=repr(fault))

    def networks(self) -> dict[str, tuple[str, ...]]:
        """Return by connector the networks whose addresses it takes."""
        for name, connector in self.connectors.items():
            with contextlib.suppress(Exception):  # what it said before stays
                self._networks[name] = connector.capabilities.header_networks
        return {name: self._networks.get(name, ("smtp",)) for name in self.connectors}

    def health(self, name: str) -> Health:
        """Return how a connector is, also where it cannot say so itself."""
        trouble = self.troubles.get(name)
        if trouble is not None:
            return Health(False, trouble)
        try:
            return self.connectors[name].health()
        except Exception as fault:  # noqa: BLE001  a plugin's bug must not hide the others
            return Health(False, f"health() raised {fault!r}")

    def remember(self, state: Path) -> None:
        """Keep what is to be known of connectors, should their plugins be absent once."""
        networks = self.networks()
        found = {
            name: (self._sections[name].type, networks[name])
            for name, connector in self.connectors.items()
            if not isinstance(connector, Absent)
        }
        try:
            remember(state, found)
        except OSError as fault:
            self._log.warning("connectors_not_remembered", error=str(fault))

    # -- being at work again

    async def _await_start(self, name: str, starting: asyncio.Future[BaseException | None]) -> None:
        try:
            fault = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.cancel()
            raise
        if fault is None:
            await self._is_back(name)
            return
        self._isolate(name, f"it cannot start: {_said(fault)}", fault)
        await self._revive(name)

    async def _revive(self, name: str) -> None:
        """Build and start a connector anew until it starts."""
        delay = AGAIN_MIN_S
        while True:
            await asyncio.sleep(delay)
            delay = min(AGAIN_MAX_S, delay * 2)
            section = self._sections[name]
            await self._let_go(name, self.connectors[name])
            try:
                self.connectors[name] = self._built(section)
            except (Exception, SystemExit) as fault:  # noqa: BLE001
                self._isolate(name, f"it cannot be built: {_said(fault)}", fault)
                continue
            fault_again = await self._started(self.connectors[name])
            if fault_again is None:
                await self._is_back(name)
                return
            self._isolate(name, f"it cannot start: {_said(fault_again)}", fault_again)

    async def _is_back(self, name: str) -> None:
        self.troubles.pop(name, None)
        self._reviving.pop(name, None)
        self._put(name)
        self._log.info("connector_at_work", connector=name)
        await self._back(name)

    async def _look(self, name: str) -> None:
        """Look now and then whether an absent plugin can be imported, and read the configuration anew then."""
        delay = LOOK_MIN_S
        while True:
            await asyncio.sleep(delay)
            delay = min(LOOK_MAX_S, delay * 1.25)
            in_use = {type(each).__module__.partition(".")[0] for each in self.connectors.values()}
            if await asyncio.to_thread(can_be_loaded, self._sections[name].type, in_use):
                self._log.info("connector_can_be_loaded", connector=name, text="the configuration is read anew")
                # Not in this task, which the reload ends.
                self._tasks.start(_run(self._reload()), "reload")


async def _run(work: Awaitable[None]) -> None:
    await work


def can_be_loaded(kind: str, in_use: Collection[str]) -> bool:
    """Tell whether a connector type can be imported now, though it could not before. Blocks.

    `in_use` are the top packages of what is at work, which stays as it is.
    """
    from gateway.registry import ConnectorUnavailable, connectors
    from mappings.installed import by_group

    importlib.invalidate_caches()
    by_group.cache_clear()
    connectors.cache_clear()
    entry = connectors().get(kind)
    if entry is None:
        return False
    package = entry.point.module.partition(".")[0]
    if package not in in_use and package not in ("connectors", "gateway", "mappings"):
        # What of it could be imported is of the broken release, and does not fit to the rest of a mended one.
        for name in [each for each in sys.modules if each == package or each.startswith(f"{package}.")]:
            sys.modules.pop(name, None)
    with contextlib.suppress(ConnectorUnavailable):
        entry.load()
        return True
    return False


def _said(fault: BaseException) -> str:
    return str(fault) if isinstance(fault, OSError | ValueError) and str(fault) else repr(fault)
