"""Which mailboxes have nothing to be done, by a glance at what both servers say of their folders.

It does of a pass what such a mailbox needs, and imports no more than that: neither the engine nor SQLAlchemy, which
take far longer to import than the glance takes. Where anything at all is otherwise it leaves the mailbox alone, for a
whole pass to find out what.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.mailbox import Looking, OpenFolders, StoreFault
from gateway.sync.ends import Result
from gateway.sync.folders import pair_folders
from gateway.sync.marks import Marks
from gateway.sync.opening import NotNow, locked, open_stores, opened, state_place
from gateway.sync.outcome import Outcome
from gateway.sync.stages import policy_for
from gateway.sync.values import FolderPair, Pairing, Policy

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.mailbox import MailboxStore


@dataclass(frozen=True)
class Ground:
    """What a glance goes by: where the state of the syncs is, the folder of their locks, by the name of a sync its
    policy and how many of its mailboxes are looked at at once, and what opens connectors by their names."""

    state: Path
    state_dir: Path
    policies: Mapping[str, Policy]
    at_once: Mapping[str, int]
    stores: Callable[[Iterable[str]], AbstractAsyncContextManager[Mapping[str, Looking | MailboxStore]]]


async def in_step(config: Config, some: Sequence[Pairing], log: Any) -> dict[str, Outcome]:
    """Return by their ids the mailboxes in which nothing has changed since their last pass, as passes that are done.

    Raises: SyncUnusable.
    """
    place = state_place(config)
    if not isinstance(place, Path):
        return {}
    ground = Ground(
        place,
        config.state_dir,
        {name: section.policy() for name, section in config.syncs.items()},
        {name: section.mailboxes_at_once for name, section in config.syncs.items()},
        lambda names: open_stores(config, names, log),
    )
    return await glanced(ground, some)


async def glanced(ground: Ground, some: Sequence[Pairing]) -> dict[str, Outcome]:
    """Return what `in_step` does. Raises: what opening the connectors raises."""
    try:
        with closing(Marks(ground.state)) as marks:
            known = [(each, folders) for each in some if (folders := marks.folders(each)) is not None]
            if not known:
                return {}
            names = [end.connector for each, _ in known for end in (each.left, each.right)]
            async with ground.stores(names) as stores:
                most = {name: asyncio.Semaphore(limit) for name, limit in ground.at_once.items()}

                async def one(pairing: Pairing, folders: list[FolderPair]) -> Outcome | None:
                    policy = policy_for(marks.stage(pairing), ground.policies[pairing.set])
                    async with most[pairing.set]:
                        return await _glanced(ground.state_dir, stores, pairing, folders, policy)

                looked = await asyncio.gather(*(one(pairing, folders) for pairing, folders in known))
            found = {outcome.pairing.id: outcome for outcome in looked if outcome is not None}
            marks.ended((id, each.began_at, each.began_at + each.seconds) for id, each in found.items())
            return found
    except sqlite3.Error:
        return {}  # it is not there yet, or whoever opens it for a whole pass says what is wrong with it


async def _glanced(
    state_dir: Path,
    stores: Mapping[str, Looking | MailboxStore],
    pairing: Pairing,
    folders: list[FolderPair],
    policy: Policy,
) -> Outcome | None:
    began_at, began = time.time(), time.monotonic()
    left, right = stores[pairing.left.connector], stores[pairing.right.connector]
    boxes = left.open(pairing.left.mailbox), right.open(pairing.right.mailbox)
    try:
        with locked(state_dir, pairing.id):
            async with opened(*boxes) as (one, two):
                result = await _unchanged(one, two, folders, policy)
    except (NotNow, StoreFault, OSError):
        return None  # a whole pass has the patience
    if result is None:
        return None
    return Outcome(pairing, result, began_at=began_at, seconds=time.monotonic() - began)


async def _unchanged(left: OpenFolders, right: OpenFolders, folders: list[FolderPair], policy: Policy) -> Result | None:
    """Return what a pass would say where it would find nothing to do; else None."""
    lefts, rights = await asyncio.gather(left.folders(), right.folders())
    holds = left.holds(), right.holds()
    if holds[0].labels or holds[1].labels:
        return None
    made = pair_folders(lefts, rights, folders, holds, policy, policy.mode)
    if made.pairs != folders or made.renamed:
        return None  # some folder is new, has gone, or has another name
    marks = ({each.id: each.mark for each in lefts}, {each.id: each.mark for each in rights})
    for pair in folders:
        if pair.left is None or pair.right is None or pair.left_token is None or pair.right_token is None:
            return None
        if not pair.is_known or pair.limits != policy.limits:
            return None
        now = marks[0][pair.left], marks[1][pair.right]
        if None in now or now != (pair.left_mark, pair.right_mark):
            return None
    return Result(collisions=made.collisions, left_out=made.left_out)
