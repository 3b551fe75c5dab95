"""Appends that were under way when a pass ended: looked for before anything is repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from gateway.sync.acting import Actor
from gateway.sync.ends import End, Report
from gateway.sync.match import in_doubt, same_items
from gateway.sync.plan import Abilities
from gateway.sync.reading import Reader
from gateway.sync.state import State
from gateway.sync.values import Intent, Item, Pair, Placed, Print, Seen, Side, all_carried, other

_NO_PRINT: Final = Print()


class Resuming:
    """Settles the intents of one pairing; raises StoreFault."""

    def __init__(
        self,
        pairing: str,
        ends: dict[Side, End],
        state: State,
        report: Report,
        reader: Reader,
        actor: Actor,
    ) -> None:
        self._pairing = pairing
        self._ends = ends
        self._state = state
        self._report = report
        self._reader = reader
        self._actor = actor

    @property
    def _exact(self) -> bool:
        return Abilities(self._ends["left"].mailbox.holds(), self._ends["right"].mailbox.holds()).exact

    async def settle(
        self, intents: list[Intent], side: Side, new: Mapping[str, Item], *, is_all: bool = True
    ) -> list[Pair]:
        """Look for what was to be appended among what is new on `side`; returns the rows of what is there.

        What is not is no intent any more, unless there is more to look through.
        """
        mine = [each for each in intents if each.side == side]
        if not mine:
            return []
        found: dict[str, Item] = {}
        end = self._ends[side]
        if end.mailbox.holds().finds:
            for number in {each.folder for each in mine}:
                keys = [each.key for each in mine if each.folder == number]
                folder = self._actor.folder_of(number, side)
                if folder is None:
                    continue
                told = await end.pace.ask(lambda folder=folder, keys=keys: end.mailbox.find(folder, keys))  # type: ignore[misc]  # as above
                found |= {key: new.get(id) or Item(id, number, frozenset(), _NO_PRINT) for key, id in told.items()}
        # An export that was put in has its key a moment after it is there.
        sought = [
            each
            for each in mine
            if each.key not in found and (each.print.kind != "mail" or not end.mailbox.holds().finds)
        ]
        if sought:
            wanted = [
                Item(each.key, each.folder, each.words, replace(each.print, digest=each.appended or each.print.digest))
                for each in sought
            ]
            _, asked = in_doubt(wanted, new.values(), exact=self._exact)
            both: dict[Side, Seen] = {side: Seen(dict(new)), other(side): Seen()}
            read = await self._reader.with_digests({side: asked, other(side): ()}, both)
            taken = {item.id for item in found.values()}
            rest = [item for item in read[side].items.values() if item.id not in taken]
            found |= {one.id: two for one, two in same_items(wanted, rest, exact=self._exact)}
        sources = [each.source for each in mine if each.key in found]
        known = await self._state.pairs(self._pairing, sources, [])
        known += await self._state.pairs(self._pairing, [], sources)
        by_number = {pair.id: pair for pair in known}
        rows: list[Pair] = []
        owed: list[tuple[Side, str]] = []
        for intent in mine:
            item = found.get(intent.key)
            if item is None:
                continue
            made = by_number.get(intent.pair) or Pair(0, None, None, intent.folder, intent.folder)
            source = other(side)
            at = made.folder_on(source) if made.id else intent.folder
            words = all_carried(intent.words, end.mailbox.holds())
            made = made.with_side(source, intent.source, at, intent.words)
            made = made.with_side(side, item.id, intent.folder, words)
            rows.append(made.with_octets(source, intent.print, intent.appended))
            if intent.replaces is not None:
                owed.append((side, intent.replaces))
        # What is found by its key alone was told by no listing yet.
        keyed = [Placed(side, each.folder, found[each.key].id) for each in mine if each.key in found]
        placed = [each for each in keyed if each.item not in new and not end.mailbox.holds().tells_unseen]
        if not self._ends[other(side)].mailbox.holds().tells_unseen:
            placed += [Placed(other(side), row.folder_on(other(side)), row.on(other(side)) or "") for row in rows]
        self._report.adopted += len(rows)
        done = {each.key for each in mine if is_all or each.key in found}
        await self._state.settle(self._pairing, rows, intents=list(done), placed=placed, owed=owed)
        if owed:
            await self._actor.pay()
        intents[:] = [each for each in intents if each.key not in done]
        return rows
