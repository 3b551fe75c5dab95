"""The lanes in memory: made when there is something for them, changed as the pure state machine says, forgotten when
idle; and what nodes tell each other of lanes that are down.

Promises: as many lanes as the settings allow; every change of state goes through `change`; a lane whose connector is
not configured is held until it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from gateway.contract import Destination
from gateway.dispatch import lane as lanes
from gateway.dispatch.lane import Lane, LaneState
from gateway.dispatch.live import LiveLane
from gateway.dispatch.queue import LaneQueue
from gateway.dispatch.settings import Settings
from gateway.dispatch.tasks import Tasks
from gateway.report import Report
from gateway.spool.api import LaneKey, LeaseLost, Spool, SpoolError, Stored
from gateway.status import Status

_OWN_WORDS: Final = 8
_NO_DESTINATION: Final = Status("4.3.5", "the connector for this destination is not configured")


def _nothing(*_: object) -> None:
    return


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the node may listen to. `on_lease_lost`: everything was dropped from memory, nothing more is sent from it.
    `on_lane`: a lane opened or closed. `instead` may give another message in place of a report of failures that is due,
    committed like it; the outcomes wait for it."""

    on_lease_lost: Callable[[], None] = _nothing
    on_lane: Callable[[LaneKey, Lane], None] = _nothing
    instead: Callable[[Report, Stored], Awaitable[Stored | None]] | None = None


class LaneBook:
    """The lanes; `go` is called when one may have work to do after a change."""

    def __init__(
        self,
        settings: Settings,
        destinations: Mapping[str, Destination],
        spool: Spool,
        clock: Callable[[], float],
        rng: Random,
        log: Any,
        hooks: Hooks,
        node: int | None,
        go: Callable[[LiveLane], None],
    ) -> None:
        self._settings = settings
        self._destinations = destinations
        self._spool = spool
        self._clock = clock
        self._rng = rng
        self._log = log
        self._hooks = hooks
        self._node = node
        self._go = go
        self._tasks = Tasks(log)
        self._told: dict[LaneKey, deque[float]] = {}
        """What this node told the others of late, so that it does not take its own word for theirs; a look at the
        spool that was under way may still find one that has been corrected since."""
        self._down: Mapping[LaneKey, float] = {}
        self.all: dict[LaneKey, LiveLane] = {}
        self.closed: dict[LaneKey, LiveLane] = {}

    async def stop(self) -> None:
        await self._tasks.close(1.0)

    def get(self, key: LaneKey, loop_now: float) -> LiveLane | None:
        """Return the lane, made where it is not in memory; None where there are as many as may be."""
        live = self.all.get(key)
        if live is not None:
            return live
        settings = self._settings
        if len(self.all) >= settings.max_lanes:
            return None
        queue = LaneQueue(settings.lane_deliveries, settings.lane_bytes)
        live = self.all[key] = LiveLane(key, lanes.new(settings.limits, self._rng.random()), queue, loop_now)
        if self._connect(live):
            until = self._down.get(key, 0.0)
            if until > self._clock():
                self._tell_lane(live, until)
        return live

    def _connect(self, live: LiveLane) -> bool:
        destination = live.destination = self._destinations.get(live.key[0])
        if destination is None:
            if not live.lane.is_held:
                self._log.error("no_destination", connector=live.key[0], hop=live.key[1])
                self.change(live, lanes.hold(live.lane, _NO_DESTINATION))
            return False
        live.look()
        return True

    def change(self, live: LiveLane, after: Lane) -> None:
        """Put a lane into its next state, and do what follows from it."""
        before = live.lane
        if after is before:
            return
        live.lane = after
        if after.state is LaneState.READY:
            recovered = before.setbacks > 0 and after.setbacks == 0
            if recovered:
                self._tell(live, self._clock())  # it lives: other nodes need not wait for a probe of their own
                self._log.info("lane_recovered", connector=live.key[0], hop=live.key[1])
            if before.state is not LaneState.READY:
                del self.closed[live.key]
                live.backlog = True  # whatever was put off or handed back meanwhile
                self._go(live)
            elif recovered or after.window > before.window or (after.proven and not before.proven):
                self._go(live)
            if recovered or before.state is not LaneState.READY:
                self._hooks.on_lane(live.key, after)
            return
        self.closed[live.key] = live
        if before.state is LaneState.READY:
            if after.state is LaneState.THROTTLED:
                self._tell(live, after.until)
            why = after.reason
            self._log.warning(
                "lane_closed", connector=live.key[0], hop=live.key[1], state=after.state.value, until=after.until,
                reason=str(why or ""), cause=why.cause if why else "",
            )  # fmt: skip
            self._go(live)
            self._hooks.on_lane(live.key, after)

    def wake(self, now: float) -> None:
        """Open the lanes whose time has come, and those whose connector is there again."""
        for live in list(self.closed.values()):
            if live.destination is None:
                if self._connect(live):
                    self.change(live, lanes.opened(live.lane))
            else:
                self.change(live, lanes.wake(live.lane, now))

    def reconnect(self) -> None:
        """Look every lane's destination up anew, after the configuration changed."""
        for live in list(self.all.values()):
            if self._connect(live) and live.lane.is_held and live.lane.reason is _NO_DESTINATION:
                self.change(live, lanes.opened(live.lane))

    def forget_idle(self, loop_now: float, now: float) -> None:
        """Forget the lanes that have had nothing to do for long, and nothing to remember."""
        settings = self._settings
        for live in list(self.all.values()):
            if (
                loop_now - live.idle_since >= settings.lane_idle_s
                and not (live.active or live.queue.count or live.waiting or live.feeding or live.crowded or live.parked)
                and (live.lane.is_ready or live.lane.until < now - settings.lane_idle_s or live.destination is None)
            ):
                del self.all[live.key]
                self.closed.pop(live.key, None)
                self._told.pop(live.key, None)

    # -- other nodes

    def probing(self, live: LiveLane) -> None:
        """Tell the other nodes, before a lane is tried again, that this node does it."""
        if self._node is not None:
            self._tell(live, self._clock() + self._settings.probe_claim_s)

    async def reopen(self, keys: Collection[LaneKey]) -> None:
        """Tell all nodes that these lanes are to be tried now. Raises: SpoolError, LeaseLost."""
        await self._spool.lanes_up(keys)
        self._down = {key: until for key, until in self._down.items() if key not in keys}

    def _tell(self, live: LiveLane, until: float) -> None:
        """Tell until when a hop is down; a time that has come means it is up."""
        self._told.setdefault(live.key, deque(maxlen=_OWN_WORDS)).append(until)
        self._tasks.start(self._tell_spool(live.key, until))

    async def _tell_spool(self, key: LaneKey, until: float) -> None:
        try:
            await self._spool.lane_down(key, until, self._node)
        except (SpoolError, LeaseLost) as e:
            self._log.warning("lane_state_not_shared", lane=key, reason=str(e))
        else:
            # As if it had been looked up: where it is gone at the next look, an operator has had the lane opened.
            self._down = {**self._down, key: until}

    def told(self, down: Mapping[LaneKey, float]) -> None:
        """Take over which lanes any node found down, so that a hop is tried by one node, not by each of them."""
        before, self._down = self._down, down
        now = self._clock()
        for key, until in down.items():
            live = self.all.get(key)
            if live is not None and until > now and before.get(key) != until and until not in self._told.get(key, ()):
                self._tell_lane(live, until)
        for key in before.keys() - down.keys():
            live = self.all.get(key)
            # A row that has run out is gone as well; the lane wakes by itself then.
            if live is not None and live.lane.state is LaneState.THROTTLED and before[key] > now:
                self.change(live, lanes.opened(live.lane))

    def _tell_lane(self, live: LiveLane, until: float) -> None:
        if live.lane.is_probing and live.active:
            return  # it is this node that tries
        after = lanes.told_down(live.lane, until)
        if after.state is LaneState.READY or after is live.lane:
            return
        was_ready = live.lane.is_ready
        live.lane = after
        self.closed[live.key] = live
        if was_ready:
            self._go(live)
            self._hooks.on_lane(live.key, after)
