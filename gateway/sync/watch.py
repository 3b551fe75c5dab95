"""Mailboxes kept in step for as long as it runs: a pass whenever a server tells of something, or by the clock.

A mailbox whose servers are listened to stays open between its passes, so that one in which little happened costs
little. Those beyond the number that is configured are opened for each pass, by the clock alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from gateway.contract import OpenMailbox, StoreFault
from gateway.sync.passes import Passes
from gateway.sync.runner import Outcome, Runner
from gateway.sync.stages import COEXISTING, CUT_OVER, PLANNED, SEEDING
from gateway.sync.values import Pairing

SETTLE_S: Final = 1.0
"""What comes at once is one pass."""
BUSY_S: Final = 10.0
"""How soon a mailbox is tried again at which another process is."""
LOOK_S: Final = 10.0
"""How often it is looked at which stage each mailbox is."""
AGAIN_S: Final = 10.0
"""How soon a server that hung up is listened to again; twice as late each time that it does at once."""
MOST_WAIT_S: Final = 3600.0
BY_HAND: Final[frozenset[str]] = frozenset((PLANNED, SEEDING, COEXISTING, CUT_OVER))
BY_ITSELF: Final[frozenset[str]] = frozenset((COEXISTING, CUT_OVER))
"""The stages at which the gateway makes passes without being told to: a first one is an operator's to begin."""


class Watch:
    """Keeps mailboxes in step until it is cancelled. `stages` are those at which a mailbox takes part."""

    def __init__(
        self,
        runner: Runner,
        pairings: Sequence[Pairing],
        *,
        stages: Collection[str] = BY_HAND,
        ended: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._runner = runner
        self._pairings = pairings
        self._wanted = stages
        self._ended = ended or (lambda outcome: None)
        self._passes = Passes(runner.state)
        self._stages: dict[str, str] = {}
        sections = runner.config.syncs.items()
        self._at_once = {name: asyncio.Semaphore(section.mailboxes_at_once) for name, section in sections}
        self._may_listen = {name: section.listen_to for name, section in sections}

    async def run(self) -> None:
        """Do it. Raises: SQLAlchemyError where the state cannot be read or written."""
        self._stages = await self._passes.stages()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._look())
            for pairing in self._pairings:
                tasks.create_task(self._keep(pairing))

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._stages = await self._passes.stages()

    def _takes_part(self, pairing: Pairing) -> bool:
        return self._stages.get(pairing.id, PLANNED) in self._wanted

    async def _keep(self, pairing: Pairing) -> None:
        """Keep one mailbox in step, whatever goes wrong with it."""
        interval_s = self._runner.config.syncs[pairing.set].interval
        wait_s = 0.0
        while True:
            await asyncio.sleep(wait_s)
            while not self._takes_part(pairing):  # noqa: ASYNC110  another process puts it there
                await asyncio.sleep(LOOK_S)
            if self._may_listen[pairing.set] > 0:
                self._may_listen[pairing.set] -= 1
                try:
                    outcome = await self._listen(pairing, interval_s)
                finally:
                    self._may_listen[pairing.set] += 1
            else:
                outcome = await self._pass(pairing, None)
            wait_s = _next_wait(outcome, wait_s, interval_s)

    async def _pass(self, pairing: Pairing, boxes: tuple[OpenMailbox, OpenMailbox] | None) -> Outcome:
        async with self._at_once[pairing.set]:
            outcome = await self._runner.one(pairing, boxes=boxes)
        # What a pass begins or ends with may have put it at another stage.
        self._stages[pairing.id] = await self._passes.stage(pairing.id) or PLANNED
        self._ended(outcome)
        return outcome

    async def _listen(self, pairing: Pairing, interval_s: float) -> Outcome:
        """Keep a mailbox open and in step until a pass of it is not done, or it takes part no more."""
        try:
            async with self._runner.opened(pairing) as boxes, _hints(boxes) as happened:
                while True:
                    happened.clear()
                    outcome = await self._pass(pairing, boxes)
                    if outcome.fault is not None or not self._takes_part(pairing):
                        return outcome
                    await _first(happened, interval_s)
                    if happened.is_set():
                        await asyncio.sleep(SETTLE_S)
                    if not self._takes_part(pairing):
                        return outcome
        except SQLAlchemyError:
            raise
        except Exception as fault:  # noqa: BLE001  a bug that one mailbox brings out must not stop the others
            outcome = await self._runner.unopened(pairing, fault)
            self._ended(outcome)
            return outcome


def _next_wait(outcome: Outcome, before_s: float, interval_s: float) -> float:
    """Return how long to wait after a pass: longer and longer while a mailbox cannot be had."""
    if outcome.is_locked:
        return min(BUSY_S, interval_s)
    if outcome.fault is None:
        return interval_s
    return min(MOST_WAIT_S, max(interval_s, before_s * 2))


async def _first(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return


@asynccontextmanager
async def _hints(boxes: tuple[OpenMailbox, OpenMailbox]) -> AsyncIterator[asyncio.Event]:
    """Listen to both servers while the block runs; what they tell sets the event."""
    happened = asyncio.Event()
    tasks = [asyncio.ensure_future(_hear(box, happened)) for box in boxes]
    try:
        yield happened
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hear(box: OpenMailbox, happened: asyncio.Event) -> None:
    """Listen to one server, and again after a while where it hangs up: it was made anew, or something between let go of
    a connection on which nothing was said. One that cannot be listened to is asked by the clock."""
    wait_s = AGAIN_S
    while True:
        try:
            folders = sorted(await box.folders(), key=lambda folder: folder.role != "inbox")
            hints: Any = box.watch([folder.id for folder in folders])
            try:
                async for _ in hints:
                    happened.set()
                    wait_s = AGAIN_S
            finally:
                await hints.aclose()
            return
        except StoreFault as fault:
            if fault.status.is_permanent:
                return
        await asyncio.sleep(wait_s)
        wait_s = min(MOST_WAIT_S, wait_s * 2)
        happened.set()  # what came while nobody listened
