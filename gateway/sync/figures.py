"""How the mailboxes stand that are kept in step, for a running gateway's metrics and its control socket; read from the
state when asked."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import metrics
from gateway.control import ControlError

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.sync.passes import Told
    from gateway.sync.state import State


class Figures:
    """The figures of a configuration's syncs. It never makes the file of a state; while there is none, it has none."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.time) -> None:
        self._config = config
        self._clock = clock
        self._state: State | None = None

    def put_in_force(self, config: Config) -> None:
        """Go by another configuration."""
        self._config = config

    def close(self) -> None:
        """Close what is open. Safe to call twice."""
        state, self._state = self._state, None
        if state is not None:
            state.close()

    async def samples(self) -> list[metrics.Sample]:
        """Return the figures; none where the state cannot be read just now."""
        if not self._config.syncs:
            return []
        from sqlalchemy.exc import SQLAlchemyError

        from gateway.sync.database import StateUnusable
        from gateway.sync.passes import Passes

        try:
            state = await self._opened()
            if state is None:
                return []
            passes = Passes(state, self._clock)
            pairings = [(pairing.set, pairing.id, stage) for pairing, stage in await state.pairings()]
            return _samples(pairings, await passes.all(), await passes.counts(), self._clock())
        except (StateUnusable, SQLAlchemyError, OSError):
            return []

    async def standings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return how the mailboxes of the configuration stand, or those of `sync`, as plain values; `details` asks for
        what did not get across of each. Raises: ControlError."""
        from sqlalchemy.exc import SQLAlchemyError

        from gateway.sync import pairing, telling
        from gateway.sync.database import StateUnusable

        name = given.get("sync")
        if name is not None and name not in self._config.syncs:
            raise ControlError(f"there is no [sync.{name}]; there are: {', '.join(self._config.syncs)}")
        try:
            some = [
                one
                for each, section in self._config.syncs.items()
                if name in (None, each)
                for one in await asyncio.to_thread(pairing.pairings, each, section, self._config.base_dir)
            ]
            state = await self._opened()
            if state is None:
                return {"mailboxes": []}
            found = await telling.standings(state, some, details=bool(given.get("details")))
        except (pairing.PairingErrors, StateUnusable, SQLAlchemyError, OSError) as e:
            raise ControlError(f"how the mailboxes stand cannot be told: {e}") from None
        return {"mailboxes": [telling.standing_as_json(each) for each in found]}

    async def _opened(self) -> State | None:
        from gateway.sync.opening import state_place
        from gateway.sync.state import State

        if self._state is None:
            place = state_place(self._config)
            if not isinstance(place, Path) or place.exists():
                self._state = await asyncio.to_thread(State, place)
        return self._state


def _samples(
    pairings: list[tuple[str, str, str]], told: Mapping[str, Told], counts: Mapping[str, Any], now: float
) -> list[metrics.Sample]:
    stages: Counter[tuple[str, str]] = Counter()
    sums: dict[str, Counter[str]] = {}
    oldest: dict[str, float] = {}
    for name, id, stage in pairings:
        stages[name, stage] += 1
        some, last = sums.setdefault(name, Counter()), told.get(id)
        if id in counts:
            some["items"] += counts[id].items
            some["problems"] += counts[id].problems
        if last is None:
            continue
        running = last.is_running(now)
        some["copied"] += last.copied + (last.report.copied if last.ended_at is None else 0)
        some["octets"] += last.octets + (last.report.octets if last.ended_at is None else 0)
        some["running"] += running
        some["failing"] += not running and not last.is_done
        if stage not in ("planned", "closed"):
            at = last.ended_at if last.ended_at is not None else last.began_at
            oldest[name] = max(oldest.get(name, 0.0), now - at)
    sample = metrics.sample
    found = [sample("gatepost_sync_mailboxes", float(n), sync=name, stage=stage) for (name, stage), n in stages.items()]
    names = {
        "copied": "gatepost_sync_copied_total",
        "octets": "gatepost_sync_copied_bytes_total",
        "items": "gatepost_sync_items",
        "problems": "gatepost_sync_problems",
        "running": "gatepost_sync_running",
        "failing": "gatepost_sync_failing",
    }
    for name, some in sums.items():
        found += [sample(metric, float(some[key]), sync=name) for key, metric in names.items()]
    return found + [sample("gatepost_sync_oldest_pass_seconds", age, sync=name) for name, age in oldest.items()]
