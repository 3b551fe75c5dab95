"""The feeder: brings what waits in the spool into memory, lane by lane, as there is room for it.

Promises: one look at the spool for all lanes together, rarer where there is nothing to bring; open lanes before closed
ones; a lane that is probed gets one delivery; of closed lanes only a little at a time, to be put off or expired.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway.dispatch.live import LiveLane
from gateway.dispatch.tasks import Tasks
from gateway.spool.api import DeliveryId, LeaseLost, Spool, SpoolError

if TYPE_CHECKING:
    from gateway.dispatch.dispatcher import Dispatcher

_POLL_SHARE = 20
"""A look at the spool may take one part in so many of the time."""


class Feeder:
    """Asks the spool and claims, for a dispatcher that owns the lanes."""

    def __init__(self, dispatcher: Dispatcher, spool: Spool, clock: Callable[[], float], log: Any) -> None:
        self._dispatcher = dispatcher
        self._spool = spool
        self._clock = clock
        self._log = log
        self._settings = dispatcher.settings
        self._open: deque[LiveLane] = deque()
        self._closed: deque[LiveLane] = deque()
        self._work = asyncio.Event()
        self._soon = asyncio.Event()
        self._sweeping = asyncio.Event()
        self._tasks = Tasks(log)
        self._claiming = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._pause = False
        self._heard = asyncio.Event()
        self.claims = 0

    def start(self) -> None:
        self._tasks.start(self._poll())
        self._tasks.start(self._listen())
        self._tasks.start(self._sweep())
        for _ in range(self._settings.claims_at_once):
            self._tasks.start(self._feed())

    async def stop(self, timeout_s: float) -> None:
        """Stop asking. A claim that runs is waited for: what it leases would else be nobody's until the lease ends."""
        self._stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            self._log.warning("claims_left_behind", count=self._claiming)
        await self._tasks.close(0.1)

    def want(self, live: LiveLane) -> None:
        """Ask for deliveries of a lane."""
        if live.feeding:
            return
        live.feeding = True
        if live.lane.is_ready:
            self._open.append(live)
            self._work.set()
        else:
            self._closed.append(live)
            self._sweeping.set()

    def look(self) -> None:
        """Ask the spool for due lanes now."""
        self._soon.set()

    def forget(self) -> None:
        """Drop all wishes."""
        for live in (*self._open, *self._closed):
            live.feeding = False
        self._open.clear()
        self._closed.clear()

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        settings = self._settings
        wait = settings.poll_s
        await self._heard.wait()  # what is due is for lanes that may be known to be down
        while True:
            started = loop.time()
            self._soon.clear()  # before the look: who asks for one while it is under way knows of something newer
            try:
                found = await self._look_once()
            except SpoolError as e:
                self._log.warning("poll_failed", reason=str(e.status))
                wait = settings.poll_idle_s
            except LeaseLost:
                self._dispatcher.lose_lease()
                wait = settings.poll_idle_s
            except Exception:  # noqa: BLE001  a fault here would stop all retries until a restart
                self._log.exception("poll_fault")
                wait = settings.poll_idle_s
            else:
                wait = settings.poll_s if found else min(settings.poll_idle_s, wait * 1.5)
            wait = max(wait, _POLL_SHARE * (loop.time() - started))
            try:
                async with asyncio.timeout(wait):
                    await self._soon.wait()
            except TimeoutError:
                pass

    async def _look_once(self) -> bool:
        found = False
        now = self._clock()
        for due in await self._spool.due(now):
            if due.due <= 0 and due.earliest_at > now:
                continue
            live = self._dispatcher.lane_for(due.lane)
            if live is None:
                break  # as many lanes in memory as may be; the rest is due at the next look as well
            found = True
            live.backlog = True
            self._dispatcher.feed(live)
        return found

    async def _listen(self) -> None:
        """Take over what other nodes found and what operators did at them."""
        while True:
            try:
                await self._look_at_down_lanes()
                await self._look_at_withdrawals()
            except SpoolError as e:
                self._log.warning("poll_failed", reason=str(e.status))
            except LeaseLost:
                self._dispatcher.lose_lease()
            except Exception:  # noqa: BLE001  see _poll
                self._log.exception("poll_fault")
            self._heard.set()
            await asyncio.sleep(self._settings.listen_s)

    async def _look_at_down_lanes(self) -> None:
        """Take over which hops are down, so that one is tried by one node, not by each of them."""
        self._dispatcher.lanes_told(await self._spool.lanes_down())

    async def _look_at_withdrawals(self) -> None:
        """Forget what was held, rerouted or dropped, mostly at another node."""
        found = await self._spool.withdrawals()
        if not found:
            return
        in_flight: set[DeliveryId] = set()
        for dropped in (False, True):
            ids = [each.id for each in found if each.dropped is dropped]
            in_flight |= self._dispatcher.forget(ids, dropped=dropped)
        await self._spool.withdrew([each.id for each in found], in_flight)

    async def _feed(self) -> None:
        while True:
            while not self._open:
                self._work.clear()
                await self._work.wait()
            live = self._open.popleft()
            if live.lane.is_ready:
                await self._claim(live)
            else:
                live.feeding = False  # closed meanwhile: what is due of it is not in a hurry
                self._dispatcher.feed(live)
            if self._pause:  # the spool refused; the next look asks again for every lane that is due
                await asyncio.sleep(self._settings.poll_s)
                self._pause = False

    async def _sweep(self) -> None:
        """Bring in a little of the lanes that are closed for long, to be put off with a reason, or expired."""
        while True:
            while not self._closed:
                self._sweeping.clear()
                await self._sweeping.wait()
            await self._claim(self._closed.popleft())
            await asyncio.sleep(self._dispatcher.put_off_every_s)

    async def _look_again(self) -> None:
        """See whether a lane is still closed, after something of it was claimed to be put off: an operator opens a lane
        before he makes its deliveries due, so these may be such, and are then sent."""
        try:
            await self._look_at_down_lanes()
        except (SpoolError, LeaseLost) as e:
            self._log.warning("poll_failed", reason=str(e))

    async def _claim(self, live: LiveLane) -> None:
        live.feeding = False
        limit = self._dispatcher.room(live)
        if limit <= 0 or self._stopping:
            return
        self._claiming += 1
        self._idle.clear()
        try:
            live.backlog = False  # before the wait: who hands back meanwhile sets it again
            claims = await self._spool.claim(live.key, limit, self._clock())
            if claims and not live.lane.is_ready:
                await self._look_again()
        except SpoolError as e:
            self._log.warning("claim_failed", lane=live.key, reason=str(e.status))
            live.backlog = True
            self._pause = True
            return
        except LeaseLost:
            self._dispatcher.lose_lease()
            return
        except Exception:  # noqa: BLE001  see _poll
            self._log.exception("claim_fault", lane=live.key)
            self._pause = True
            return
        finally:
            self._claiming -= 1
            if not self._claiming:
                self._idle.set()
        self.claims += 1
        if claims:
            live.backlog = True  # a claim may take fewer than it could; an empty one says that there are none
        self._dispatcher.claimed(live, claims)
