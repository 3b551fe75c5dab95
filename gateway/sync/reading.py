"""What both sides tell of their folders and items, as a pass reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import replace

from gateway.mailbox import Changes, Facts, StoreFault
from gateway.message import Content
from gateway.outcome import Scope
from gateway.quantity import show_size
from gateway.sync.ends import End, Report
from gateway.sync.faithful import variants
from gateway.sync.fingerprint import digest_of, digest_of_content
from gateway.sync.objects import kinds_of, stamps
from gateway.sync.plan import with_digests
from gateway.sync.readying import Means
from gateway.sync.transfer import fetched
from gateway.sync.values import SIDES, FolderPair, Item, Policy, Seen, Side, other


class Reader:
    """Reads both sides at their paces; raises StoreFault."""

    def __init__(self, ends: dict[Side, End], policy: Policy, report: Report, means: Means) -> None:
        self._ends = ends
        self._policy = policy
        self._report = report
        self._means = means
        self.kinds = kinds_of(ends["left"].mailbox.holds(), ends["right"].mailbox.holds())
        self.hidden: dict[Side, frozenset[str]] = {"left": frozenset(), "right": frozenset()}
        """What was replaced and is still to be removed."""

    async def warnings(self) -> list[str]:
        """Tell where the right mailbox may not hold what the left one does, as far as both say."""
        told: dict[Side, Facts] = {}
        for side in SIDES:
            end = self._ends[side]
            try:
                told[side] = await end.pace.ask(end.mailbox.facts)
            except StoreFault as fault:
                if fault.scope is not Scope.MESSAGE:
                    raise
                return []  # it is of use, and not needed
        most, used = told["right"].limit_bytes, told["right"].used_bytes
        held = told["left"].used_bytes
        if most is None:
            return []
        if used is not None and used >= most:
            return [f"the mailbox that is copied to is full: it may hold {show_size(most)}"]
        if held is not None and held > most:
            return [f"{show_size(held)} are to go into a mailbox that may hold {show_size(most)}"]
        return []

    async def pages(
        self, folder: FolderPair, side: Side, token: str | None, first: int | None = None
    ) -> AsyncGenerator[Changes, None]:
        """Yield what was told since a token; where the first page is to be here soon, of `first` items, those after it
        of ever more."""
        end = self._ends[side]
        most = self._policy.page_items
        limit = most if first is None else min(most, first)
        id = folder.left if side == "left" else folder.right
        assert id is not None
        self._report.folders += 1
        while True:
            at = token
            page = await end.pace.ask(lambda at=at, limit=limit: end.mailbox.changes(id, at, limit))  # type: ignore[misc]  # as above
            limit = min(most, 4 * limit)
            self._report.listed += len(page.items)
            if hidden := self.hidden[side]:
                page = replace(page, items=tuple(each for each in page.items if each.id not in hidden))
            yield page
            token = page.token
            if not page.more:
                return

    async def listing(self, folder: FolderPair, side: Side, token: str | None) -> tuple[Seen, str]:
        """Return everything that was told since a token, and the token after it."""
        items: dict[str, Item] = {}
        gone: set[str] = set()
        is_whole = False
        at = token or ""
        async for page in self.pages(folder, side, token):
            if page.reset:
                is_whole = True
                items.clear()
                gone.clear()
            for state in page.items:
                items[state.id] = Item.of(state, folder.id, self.kinds)
                gone.discard(state.id)
            for id in page.removed:
                items.pop(id, None)
                gone.add(id)
            at = page.token
        return Seen(items, frozenset(gone), frozenset([folder.id]) if is_whole or token is None else frozenset()), at

    async def with_digests(self, asked: Mapping[Side, Iterable[str]], seen: Mapping[Side, Seen]) -> dict[Side, Seen]:
        """Return what was seen with the digests of these.

        Where an item's is none of the other side's, and what may have become of it on its way there has one that is,
        it is that one's.
        """
        found: dict[Side, dict[str, bytes]] = {"left": {}, "right": {}}
        others: dict[Side, dict[str, set[bytes]]] = {"left": {}, "right": {}}
        names: dict[Side, dict[str, str | None]] = {"left": {}, "right": {}}
        for side in SIDES:
            items = seen[side].items
            wanted = [id for id in asked[side] if id in items and items[id].print.digest is None]
            objects = [(id, items[id].print.kind) for id in wanted if items[id].print.kind != "mail"]
            if objects:
                made = await stamps(self._ends[side], objects, self._report)
                found[side] |= {id: digest for id, (digest, _) in made.items()}
                names[side] = {id: uid for id, (_, uid) in made.items()}
                wanted = [id for id in wanted if items[id].print.kind == "mail"]
            async for id, content in fetched(self._ends[side], wanted, self._report):
                if isinstance(content, Content):
                    found[side][id] = await digest_of(content)
                    others[side][id] = await asyncio.to_thread(self._others, content)
        for side in SIDES:
            there = set(found[other(side)].values())
            for id, digests in others[side].items():
                if found[side][id] not in there and digests & there:
                    found[side][id] = min(digests & there)
        return {side: with_digests(seen[side], found[side], names[side]) for side in SIDES}

    def _others(self, content: Content) -> set[bytes]:
        """Return the digests of what may have become of a content on its way. Blocks on a Blob."""
        return {digest_of_content(each) for each in variants(content, self._means.address_of)}
