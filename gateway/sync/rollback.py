"""A roll-back: a mailbox that was cut over stands at its old home again, with the mail that came in since.

What came in at the new home is told by where the listings of its folders stood at the cut-over, so that nothing is
brought back that was there before. First a pass while mail still flows; then what comes is kept, every node has that
in force, the rest is brought back, and home and addresses are the old ones: one revision of the mapping. What was
removed on one side since stays on the other. Cut at any point, the same command goes on with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from gateway.mapping_desk.desk import DeskError
from gateway.sync.cutover import CAUGHT_UP, Halted, Way, unhurried
from gateway.sync.stages import COEXISTING, CUT_OVER, ROLLING_BACK, backwards
from mappings.identity import Stage

HOLDING_BACK: Final = "holding back"
REWOUND: Final = "rewound"
ROLLED_BACK: Final = "rolled back"


async def roll_back(way: Way, now: Callable[[], float]) -> list[str]:
    """Do what is left to be done of a roll-back; returns what there is to say. Raises: Halted."""
    turn, switch = way.turn, way.switch
    name = way.pairing.id
    policy = backwards(way.runs.policy(way.pairing))
    if not switch.is_back(await switch.identity(turn), turn):
        try:
            await way.journal.note(ROLLING_BACK, REWOUND)
            await _rewind(way)
            await way.passed(policy)
            await way.journal.note(ROLLING_BACK, HOLDING_BACK)
            await way.confirmed(await switch.hold(turn, f"roll-back of {name}: what comes is kept"))
            await way.passed(policy)
            revision = await switch.switch_back(turn, f"roll-back of {name} to {turn.home or 'the routes'}")
        except (Halted, DeskError, SQLAlchemyError, asyncio.CancelledError) as fault:
            if not await unhurried(_given_up(way)):
                raise Halted(
                    f"{fault}; mail for the mailbox is still kept: `gatepost sync rollback` goes on with it"
                ) from fault
            if isinstance(fault, asyncio.CancelledError):
                raise
            raise Halted(f"{fault}; the mailbox stays at its new home") from fault
    else:
        revision = await switch.switch_back(turn, f"roll-back of {name} to {turn.home or 'the routes'}")
    silent = await switch.wait(revision, way.wait_s)
    way.held_s = await way.since(HOLDING_BACK, now())
    await way.journal.note(COEXISTING, ROLLED_BACK, held_s=way.held_s)
    said = [f"{each} has not said yet that it sends on what it kept; it does at its next word" for each in silent]
    # What the old system refuses must keep nobody from going back to it.
    left = [each for each in await way.runs.state.problems(name) if each.side == "right"]
    if left:
        said.append(f"{len(left)} items did not get back, and are in the new mailbox alone: {left[0].text}")
    return said


async def _rewind(way: Way) -> None:
    """Let the next pass be told on the right what it would have been told at the cut-over."""
    entry = await way.journal.last(CAUGHT_UP)
    tokens = {} if entry is None else entry.detail.get("tokens", {})
    state = way.runs.state
    rewound = [
        # A folder that was made since is listed as a whole.
        replace(folder, right_token=tokens.get(str(folder.id)), right_mark=None)
        for folder in await state.folders(way.pairing.id)
        if folder.is_known
    ]
    if rewound:
        await state.settle(way.pairing.id, folders=rewound)


async def _given_up(way: Way) -> bool:
    """Let the mail go on to the new home; False where that can't be done just now, or it went back after all."""
    try:
        if way.switch.is_back(await way.switch.identity(way.turn), way.turn):
            return False
        await way.switch.release(way.turn, f"roll-back of {way.pairing.id} given up", Stage.MOVED.value)
        await way.journal.note(CUT_OVER, "roll-back given up")
    except (DeskError, SQLAlchemyError):
        return False
    return True
