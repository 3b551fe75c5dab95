"""A cut-over: mail, addresses and the last changes of one mailbox switch to its new home together.

    1  a pass while mail still flows, so that the last one is short
    2  the identity is `cutting`: what comes for it is kept in the gateway
    3  every node that lives has that in force, and nothing for the mailbox is on its way any more
    4  the last pass
    5  home and addresses are the new ones, and what was kept goes there: one revision of the mapping
    6  every node has that in force
    7  a final pass, for what had reached the old server on its own ways; `sync run` and `sync watch` make more of them

Each step is noted before it is taken, and may be taken again: what a crash leaves is gone on with by the same command.
Up to step 5 whatever fails lets the mail go on to the old home. What the mapping says counts, not what the journal
says: a revision is the one thing here that happens at one moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from gateway.contract import StoreFault
from gateway.mapping_desk.desk import DeskError
from gateway.sync.engine import Result
from gateway.sync.journal import Journal
from gateway.sync.progress import refusal
from gateway.sync.stages import COEXISTING, CUT_OVER, CUTTING, final
from gateway.sync.state import State
from gateway.sync.switch import Switch, Turn
from gateway.sync.values import Pairing, Policy

T = TypeVar("T")

HOLDING: Final = "holding"
CAUGHT_UP: Final = "caught up"
GIVEN_UP: Final = "given up"


class Halted(Exception):
    """A course does not go on; the text says why, and what became of the mail."""


class Runs(Protocol):
    """Who makes passes."""

    @property
    def state(self) -> State: ...

    def policy(self, pairing: Pairing) -> Policy: ...

    async def course_pass(self, pairing: Pairing, policy: Policy | None = None) -> Result: ...


@dataclass(slots=True)
class Way:
    """What the steps of one mailbox's course share."""

    pairing: Pairing
    runs: Runs
    switch: Switch
    journal: Journal
    turn: Turn
    wait_s: float
    copied: int = 0
    held_s: float | None = None

    async def passed(self, policy: Policy) -> Result:
        """Make a pass. Raises: Halted."""
        result = await passed(self.runs, self.pairing, policy)
        self.copied += result.report.copied
        return result

    async def confirmed(self, revision: int) -> None:
        """Wait for all nodes. Raises: Halted."""
        silent = await self.switch.wait(revision, self.wait_s)
        if silent:
            raise Halted(f"within {self.wait_s:g} s there was no word from {', '.join(silent)}")

    async def since(self, step: str, now: float) -> float:
        """Return how long ago a step was begun, in seconds."""
        entry = await self.journal.last(step)
        return 0.0 if entry is None else max(0.0, now - entry.at)


async def passed(runs: Runs, pairing: Pairing, policy: Policy) -> Result:
    """Make a pass. Raises: Halted."""
    try:
        return await runs.course_pass(pairing, policy)
    except (StoreFault, OSError) as fault:
        said = str(fault.status) if isinstance(fault, StoreFault) else str(fault)
        raise Halted(f"the mailboxes cannot be brought in step: {said}") from fault
    except SQLAlchemyError:
        raise
    except Exception as fault:  # mail is kept meanwhile: a bug that a mailbox brings out must let it go on, too
        said = f"a fault of this program: {type(fault).__name__}: {fault}"
        raise Halted(f"the mailboxes cannot be brought in step: {said}") from fault


async def cut_over(way: Way, now: Now) -> list[str]:
    """Do what is left to be done of a cut-over; returns what there is to say. Raises: Halted."""
    turn, switch = way.turn, way.switch
    name = way.pairing.id
    if not switch.is_switched(await switch.identity(turn), turn):
        try:
            await way.journal.note(CUTTING, HOLDING)
            await way.confirmed(await switch.hold(turn, f"cut-over of {name}: what comes is kept"))
            result = await way.passed(way.runs.policy(way.pairing))
            if result.refused is not None:
                raise Halted(refusal(result.refused))
            tokens = {folder.id: folder.right_token for folder in await way.runs.state.folders(name)}
            await way.journal.note(CUTTING, CAUGHT_UP, tokens=tokens)
            revision = await switch.switch(turn, f"cut-over of {name} to {turn.to}")
        except (Halted, DeskError, SQLAlchemyError, asyncio.CancelledError) as fault:
            if not await unhurried(_given_up(way)):
                raise Halted(
                    f"{fault}; mail for the mailbox is still kept: `gatepost sync cutover` goes on with it, "
                    "`gatepost sync rollback` lets it go on to the old home"
                ) from fault
            if isinstance(fault, asyncio.CancelledError):
                raise
            raise Halted(f"{fault}; mail goes on to the old home") from fault
    else:
        revision = await switch.switch(turn, f"cut-over of {name} to {turn.to}")
    silent = await switch.wait(revision, way.wait_s)
    way.held_s = await way.since(HOLDING, now())
    await way.journal.note(CUT_OVER, CUT_OVER, held_s=way.held_s)
    said = [f"{each} has not said yet that it sends on what it kept; it does at its next word" for each in silent]
    said += [
        f"{each} does not run: what waits in its queue for the old home still goes there, and later passes fetch it"
        for each in await switch.stopped()
    ]
    try:
        late = await way.passed(final(way.runs.policy(way.pairing)))
    except Halted as fault:
        return [*said, f"the final pass is still to be made: {fault}"]
    if late.report.problems:
        said.append(f"{late.report.problems} items did not get across; `gatepost sync retry` tries them again")
    return said


async def _given_up(way: Way) -> bool:
    """Let the mail go on to the old home; False where that can't be done just now, or the switch was made after all."""
    try:
        if way.switch.is_switched(await way.switch.identity(way.turn), way.turn):
            return False
        await way.switch.release(way.turn, f"cut-over of {way.pairing.id} given up", way.turn.stage)
        await way.journal.note(COEXISTING, GIVEN_UP)
    except (DeskError, SQLAlchemyError):
        return False
    return True


async def unhurried(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, though this task is cancelled meanwhile: it takes a moment, and mail waits for it."""
    task = asyncio.ensure_future(work)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise


class Now(Protocol):
    def __call__(self) -> float: ...
