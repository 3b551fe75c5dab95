"""The course of mailboxes: cut over, rolled back, closed; several at once, each by itself.

Promises: nobody else works on a mailbox meanwhile; what goes wrong with one stops no other, and is told in words; a
command that was cut at any point is given again and goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import SQLAlchemyError

from gateway.mapping_desk.desk import DeskError
from gateway.sync.cutover import GIVEN_UP, Halted, Way, cut_over, passed
from gateway.sync.journal import Journal
from gateway.sync.opening import NotNow, alone
from gateway.sync.passes import BEAT_S, Passes
from gateway.sync.progress import refusal
from gateway.sync.rollback import ROLLED_BACK, roll_back
from gateway.sync.stages import CLOSED, COEXISTING, CUT_OVER, CUTTING, PLANNED, ROLLING_BACK, final, policy_for
from gateway.sync.switch import Switch, Turn
from gateway.sync.transfer import Report
from gateway.sync.values import Pairing

if TYPE_CHECKING:
    from gateway.sync.runner import Runner

BEGUN: Final = "begun"
WAIT_S: Final = 30.0
"""How long nodes are waited for, which look every half a second, and a pass of the same mailbox."""
_TRY_S: Final = 0.2


@dataclass(slots=True)
class Moved:
    """What became of a mailbox: its stage, how many items were copied, how long mail was kept for it (seconds; None
    where none was), what there is to say, and why it did not go on."""

    pairing: Pairing
    stage: str
    copied: int = 0
    held_s: float | None = None
    lines: tuple[str, ...] = ()
    error: str | None = None


class Course:
    """For mailboxes of one configuration. `say` is told of each mailbox what is done with it."""

    def __init__(
        self,
        runner: Runner,
        *,
        say: Callable[[Pairing, str], None] | None = None,
        clock: Callable[[], float] = time.time,
        wait_s: float = WAIT_S,
    ) -> None:
        self._runner = runner
        self._say = say or (lambda pairing, what: None)
        self._clock = clock
        self._wait_s = wait_s
        self._switch = Switch(runner.config, clock)
        self._passes = Passes(runner.state, clock)

    def close_files(self) -> None:
        """Let go of the mapping's database."""
        self._switch.close()

    async def cut_over(self, pairings: Sequence[Pairing], *, despite_problems: bool = False) -> list[Moved]:
        """Cut mailboxes over, or go on with that. `despite_problems`: though items did not get across yet."""
        return await self._each(pairings, lambda moved: self._cut_over(moved, despite_problems))

    async def roll_back(self, pairings: Sequence[Pairing]) -> list[Moved]:
        """Take cut-overs back, or end those under way."""
        return await self._each(pairings, self._roll_back)

    async def close(self, pairings: Sequence[Pairing]) -> list[Moved]:
        """End the course of mailboxes that were cut over, once a final pass finds nothing more on the old side."""
        return await self._each(pairings, self._close)

    # -- one mailbox

    async def _each(self, pairings: Sequence[Pairing], work: Callable[[Moved], Awaitable[None]]) -> list[Moved]:
        async def one(pairing: Pairing) -> Moved:
            moved = Moved(pairing, PLANNED)
            try:
                await self._runner.state.add_pairing(pairing)
                async with self._alone(moved):
                    moved.stage = await self._stage(pairing)
                    await work(moved)
            except (Halted, NotNow, DeskError) as fault:
                moved.error = str(fault)
            except SQLAlchemyError as fault:
                moved.error = f"a database cannot be used just now: {getattr(fault, 'orig', None) or fault}"
            except Exception as fault:  # a bug that one mailbox brings out must not stop the others
                moved.error = f"a fault of this program: {type(fault).__name__}: {fault}"
                self._runner.log.exception("course_fault", pairing=pairing.id)
            moved.stage = await self._stage(pairing)
            self._say(pairing, moved.error or moved.stage)
            return moved

        return await self._runner.each(pairings, one)

    @asynccontextmanager
    async def _alone(self, moved: Moved) -> AsyncIterator[None]:
        """Be who works on a mailbox, of all machines; a pass that is under way is waited for. Raises: NotNow."""
        pairing = moved.pairing
        loop = asyncio.get_running_loop()
        end = loop.time() + self._wait_s
        async with AsyncExitStack() as stack:
            while True:
                try:
                    await stack.enter_async_context(alone(self._runner.config, self._runner.state, pairing.id))
                    break
                except NotNow:
                    if loop.time() >= end:
                        raise
                    await asyncio.sleep(_TRY_S)
            await self._passes.begin(pairing.id)
            owner = asyncio.current_task()
            assert owner is not None
            beating = asyncio.ensure_future(self._beat(moved, owner))
            try:
                yield
            except asyncio.CancelledError:
                if not beating.done():
                    raise
                owner.uncancel()
                raise NotNow("another process has taken this mailbox over, this one having lost its lock") from None
            except (Halted, DeskError) as fault:
                moved.error = str(fault)
                raise
            finally:
                beating.cancel()
                report = Report(copied=moved.copied)
                is_done, fault_told = moved.error is None, moved.error or ""
                await self._passes.end(pairing.id, report, is_done=is_done, fault=fault_told)

    async def _beat(self, moved: Moved, owner: asyncio.Task[Any]) -> None:
        """Say, while it goes on, that it does; end it where it is another process's by now."""
        is_ours = True
        while is_ours:
            is_ours = await self._passes.going(moved.pairing.id, Report(copied=moved.copied))
            await asyncio.sleep(BEAT_S if is_ours else 0)
        owner.cancel()

    async def _stage(self, pairing: Pairing) -> str:
        return await self._passes.stage(pairing.id) or PLANNED

    async def _cut_over(self, moved: Moved, despite_problems: bool) -> None:
        pairing = moved.pairing
        journal = Journal(self._runner.state, pairing.id)
        if moved.stage == CUT_OVER:
            moved.lines = ("it was cut over before",)
            return
        if moved.stage == COEXISTING:
            turn = await self._turn(pairing)
            way = self._way(pairing, journal, turn, moved)
            self._say(pairing, "is brought in step")
            result = await way.passed(policy_for(COEXISTING, self._runner.policy(pairing)))
            moved.copied = way.copied
            if result.refused is not None:
                raise Halted(refusal(result.refused))
            problems = await self._runner.state.problems(pairing.id)
            if problems and not despite_problems:
                raise Halted(
                    f"{len(problems)} items or folders did not get across: `gatepost sync retry` tries them again, "
                    "`--despite-problems` cuts over without them"
                )
            await journal.note(CUTTING, BEGUN, **turn.as_json())
        elif moved.stage != CUTTING:
            raise Halted(_NOT_YET.get(moved.stage, f"its stage is: {moved.stage}"))
        way = self._way(pairing, journal, await _begun(journal), moved)
        self._say(pairing, "is cut over")
        await self._go(way, moved, cut_over(way, self._clock))

    async def _roll_back(self, moved: Moved) -> None:
        pairing = moved.pairing
        journal = Journal(self._runner.state, pairing.id)
        if moved.stage == COEXISTING and (ended := await journal.newest()) in (ROLLED_BACK, GIVEN_UP):
            moved.lines = (f"it was {ended} before",)
            return
        if moved.stage not in (CUTTING, CUT_OVER, ROLLING_BACK):
            raise Halted(f"it was not cut over: its stage is {moved.stage}")
        turn = await _begun(journal)
        way = self._way(pairing, journal, turn, moved)
        if moved.stage == CUTTING and not self._switch.is_switched(await self._switch.identity(turn), turn):
            self._say(pairing, "the cut-over is ended")
            await self._switch.release(turn, f"cut-over of {pairing.id} ended", turn.stage)
            await journal.note(COEXISTING, GIVEN_UP)
            moved.lines = ("the cut-over was not done yet; mail goes on to the old home",)
            return
        self._say(pairing, "is rolled back")
        await self._go(way, moved, roll_back(way, self._clock))

    async def _close(self, moved: Moved) -> None:
        pairing = moved.pairing
        if moved.stage == CLOSED:
            moved.lines = ("it was closed before",)
            return
        journal = Journal(self._runner.state, pairing.id)
        self._say(pairing, "is looked at for the last time")
        if moved.stage == CUT_OVER:
            result = await passed(self._runner, pairing, final(self._runner.policy(pairing)))
        elif moved.stage == COEXISTING and pairing.identity is None:  # no mail of its is switched here
            result = await passed(self._runner, pairing, self._runner.policy(pairing))
        else:
            raise Halted(f"only what is cut over is closed; its stage is {moved.stage}")
        if result.refused is not None:
            raise Halted(refusal(result.refused))
        moved.copied = result.report.copied
        problems = await self._runner.state.problems(pairing.id)
        if problems:
            raise Halted(f"{len(problems)} items or folders did not get across: `gatepost sync retry` tries them again")
        if result.report.copied:
            raise Halted(
                f"{result.report.copied} items had still come in on the old side, and are copied now; "
                "close it once none come any more"
            )
        await journal.note(CLOSED, CLOSED)

    async def _go(self, way: Way, moved: Moved, work: Awaitable[list[str]]) -> None:
        try:
            moved.lines = tuple(await work)
        finally:
            moved.copied, moved.held_s = way.copied, way.held_s

    async def _turn(self, pairing: Pairing) -> Turn:
        section = self._runner.config.syncs[pairing.set]
        if pairing.identity is None:
            raise Halted("no identity is named for it, so that no mail can be switched; add it to the table of people")
        if section.home is None:
            raise Halted(f"[sync.{pairing.set}] names no `home`, the connector that mail goes to from the cut-over on")
        _, turn = await self._switch.plan(pairing.identity, section.home, pairing.address)
        return turn

    def _way(self, pairing: Pairing, journal: Journal, turn: Turn, moved: Moved) -> Way:
        return Way(pairing, self._runner, self._switch, journal, turn, self._wait_s, copied=moved.copied)


_NOT_YET: Final = {
    PLANNED: "it was not copied yet: `gatepost sync run` does that first",
    "seeding": "it was not copied as a whole yet: `gatepost sync run` goes on with that",
    ROLLING_BACK: "it is being rolled back: `gatepost sync rollback` goes on with that",
    CLOSED: "it is closed",
}


async def _begun(journal: Journal) -> Turn:
    """Return how the identity is switched, as it was noted when the cut-over was begun. Raises: Halted."""
    entry = await journal.last(BEGUN)
    if entry is None:
        raise Halted("its journal does not say how it was cut over; the state of the syncs was lost")
    return Turn.from_json(entry.detail)
