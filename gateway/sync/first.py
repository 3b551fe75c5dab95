"""Folders that are met for the first time: read page by page, and copied as they are read."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import Final

from gateway.sync.acting import Actor
from gateway.sync.ends import End, Report
from gateway.sync.in_turn import InTurn
from gateway.sync.lanes import ahead
from gateway.sync.match import Pool
from gateway.sync.planning import Planning
from gateway.sync.reading import Reader
from gateway.sync.resuming import Resuming
from gateway.sync.state import State
from gateway.sync.unseen import all_told
from gateway.sync.values import FolderPair, Intent, Item, Pair, Policy, Seen, Side

FIRST_ITEMS: Final = 100
"""Of a folder that is met for the first time so many are listed before the first is copied."""


class First:
    """Brings folders of one pairing in step for the first time; raises StoreFault, Unsettled."""

    def __init__(
        self,
        pairing: str,
        ends: dict[Side, End],
        state: State,
        policy: Policy,
        report: Report,
        reader: Reader,
        planning: Planning,
        resuming: Resuming,
        actor: Actor,
    ) -> None:
        self._pairing = pairing
        self._ends = ends
        self._state = state
        self._policy = policy
        self._report = report
        self._reader = reader
        self._plan = planning.plan
        self._resuming = resuming
        self._actor = actor

    async def run(
        self, folder: FolderPair, intents: list[Intent], mark: tuple[str | None, str | None]
    ) -> FolderPair | None:
        """Copy a folder; returns it as it is known from now on, None where something is to be done again. `mark`: what
        each side told of it when the pass began."""
        if folder.limits != self._policy.limits:
            folder = replace(folder, left_token=None, limits=self._policy.limits)
        # Where an earlier pass was cut before it noted a page, only the rows know what it brought across: what of that
        # is in no page now went meanwhile. No page is noted before that is settled, or where this pass is cut, too, the
        # next one goes on from a listing that begins after what went, and never learns of it.
        is_anew = folder.left_token is None and bool(intents or await self._state.count(self._pairing, folder.id))
        lefts: set[str] = set()
        listed = await self._right_of(folder, intents)
        if listed is None:
            return None
        pool, token, rights = listed
        pages = self._reader.pages(folder, "left", folder.left_token, FIRST_ITEMS)
        passed = self._report.passed
        overlaps = folder.kind == "mail" and not is_anew and not intents and not self._policy.dedupe
        # Of what is edited where it is, a page tells what is there once the one before is done.
        coming = pages if overlaps or folder.kind != "mail" else ahead(pages)
        async with (
            aclosing(coming),
            aclosing(InTurn(self._actor, folder.id, self._policy, overlaps=overlaps)) as turns,
        ):
            async for page in coming:
                ids = {state.id for state in page.items}
                if (page.reset or page.removed or turns.has(ids)) and not await turns.done():
                    return None
                if page.reset and folder.left_token is not None:  # what was copied has other ids now
                    here, at = await self._reader.listing(folder, "left", None)
                    base = await self._state.rows_of(self._pairing, here, Seen())
                else:
                    items = {state.id: Item.of(state, folder.id, self._reader.kinds) for state in page.items}
                    here, at = Seen(items, frozenset(page.removed)), page.token
                    base = await self._state.pairs(self._pairing, [*items, *page.removed], [])
                if is_anew:
                    lefts |= here.items.keys()
                known = {pair.left for pair in base}
                new = {id: item for id, item in here.items.items() if id not in known}
                resumed: set[str | None] = set()
                if rows := await self._resuming.settle(intents, "left", new, is_all=False):
                    base += await self._state.pairs(self._pairing, new, [])
                    resumed = {row.right for row in rows}
                new = {id: item for id, item in here.items.items() if id not in {pair.left for pair in base}}
                # What was copied from the right has a row from now on, and may have changed or gone there since.
                sources = {id: item for id, item in pool.items.items() if id in resumed}
                there_now = Seen(pool.near(new.values()) | sources, frozenset(id for id in resumed if id) - rights)
                made, _, near = await self._plan(base, here, there_now, strangers=False)
                pool.settle(near.items, {row.right for row in made.rows} | resumed)

                async def note(here: Seen = here, at: str = at) -> None:
                    nonlocal folder, passed
                    passed += len(here.items)
                    self._report.passed = passed
                    folder = replace(folder, left_token=at)
                    if not is_anew:
                        told = all_told(self._ends, folder.id, "left", here.items)
                        await self._state.settle(self._pairing, folders=[folder], told=told)

                if made.refused is not None:
                    await turns.done()
                    return None
                if not await turns.act(made, here.items.keys(), note):
                    return None
                if here.whole:
                    break
            if not await turns.done():
                return None
        if is_anew:
            gone = await self._gone(folder, "left", lefts)
            went = Seen({}, frozenset(row.left or "" for row in gone))
            if gone and not await self._done(folder, gone, went, Seen()):
                return None
            told = all_told(self._ends, folder.id, "left", lefts)
            await self._state.settle(self._pairing, folders=[folder], told=told)
        made, _, _ = await self._plan([], Seen(), Seen(pool.items))
        if folder.id in await self._actor.act(made):
            return None
        rest = [each.key for each in intents]
        # What went unseen of what a pass that was cut had listed is found by the next one, which is to look again.
        left_mark = mark[0] if self._ends["left"].mailbox.holds().tells_unseen else None
        folder = replace(folder, right_token=token, left_mark=left_mark, right_mark=mark[1], is_known=True)
        told = all_told(self._ends, folder.id, "right", rights)
        await self._state.settle(self._pairing, folders=[folder], intents=rest, told=told)
        return folder

    async def _right_of(self, folder: FolderPair, intents: list[Intent]) -> tuple[Pool, str, set[str]] | None:
        """Return what the right one has and no row is of, the token after it, and all that it has; None where something
        of what an earlier pass has brought there is to be done again. Rows are read a page at a time."""
        new: dict[str, Item] = {}
        there: set[str] = set()
        token = ""
        async for page in self._reader.pages(folder, "right", None):
            items = {state.id: Item.of(state, folder.id, self._reader.kinds) for state in page.items}
            base = await self._state.pairs(self._pairing, [], items)
            known = {pair.right for pair in base}
            there |= items.keys()
            new |= {id: item for id, item in items.items() if id not in known}
            seen = Seen({id: items[id] for id in items.keys() & known})
            if base and not await self._done(folder, base, Seen(), seen):
                return None
            token = page.token
        if rows := await self._resuming.settle(intents, "right", new):
            # These have rows of what was appended; it may have been marked since.
            resumed = {id: new.pop(id) for row in rows if (id := row.right) in new}
            base = await self._state.pairs(self._pairing, [], resumed)
            if not await self._done(folder, base, Seen(), Seen(resumed)):
                return None
        if gone := await self._gone(folder, "right", there):
            made, _, right = await self._plan(
                gone, Seen(), Seen(new, frozenset(row.right or "" for row in gone)), strangers=False
            )
            if made.refused is not None or folder.id in await self._actor.act(made):
                return None
            found = {row.right for row in made.rows}
            new = {id: item for id, item in right.items.items() if id not in found}
        return Pool(new), token, there

    async def _gone(self, folder: FolderPair, side: Side, there: set[str]) -> list[Pair]:
        """Return the rows of a folder whose item on a side is not there."""
        gone: list[Pair] = []
        async for rows in self._state.base(self._pairing, folder.id):
            mine = [row for row in rows if row.folder_on(side) == folder.id]
            gone += [row for row in mine if row.on(side) is not None and row.on(side) not in there]
        return gone

    async def _done(self, folder: FolderPair, base: list[Pair], left: Seen, right: Seen) -> bool:
        """Do what is to be done of items that have rows; False where something is to be done again."""
        made, _, _ = await self._plan(base, left, right, strangers=False)
        return made.refused is None and folder.id not in await self._actor.act(made)
