"""What a pass would do, and what would not get across: told without writing anything anywhere.

Both sides are listed as a pass lists them, and the same plan is made of it. No body is read: where two items can only
be told apart by their octets, they are counted as in doubt.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.mailbox import Facts, Folder, Holds, OpenMailbox
from gateway.sync.folders import Paired, pair_folders
from gateway.sync.labels import by_labels
from gateway.sync.objects import kinds_of
from gateway.sync.pace import DAY_S
from gateway.sync.plan import Abilities, doubts, plan
from gateway.sync.state import State
from gateway.sync.values import (
    SIDES,
    Copy,
    FolderPair,
    Item,
    Move,
    Plan,
    Policy,
    Refusal,
    Remove,
    Seen,
    SetFlags,
    Side,
    carried,
)

ITEMS_PER_S: Final = 200.0
OCTETS_PER_S: Final = 4e6
"""What the estimate takes: a server across a quick line, neither loaded nor throttled."""


@dataclass(slots=True)
class FolderPreview:
    """What would be done in one pair of folders; `path` is the left's, `across` the right's."""

    path: tuple[str, ...]
    across: tuple[str, ...]
    is_new: bool = False
    items: int = 0
    """That the left one has, where it says so."""
    copies: int = 0
    octets: int = 0
    """Of the copies."""
    adopted: int = 0
    doubtful: int = 0
    """Items whose bodies a pass has to read to tell whether they are there already; counted as copies, too."""
    flags: int = 0
    moves: int = 0
    removals: int = 0
    skipped: int = 0
    """Left out by the limits of the policy."""
    too_large: int = 0
    """Larger than the destination takes."""


@dataclass(slots=True)
class Preview:
    """What a pass would do."""

    folders: list[FolderPreview] = field(default_factory=list)
    collisions: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    cannot: dict[str, int] = field(default_factory=dict)
    """What can't be carried as it is, and how often."""
    refused: Refusal | None = None
    facts: tuple[Facts, Facts] = (Facts(), Facts())
    short_bytes: int | None = None
    """Octets that the right one lacks for what is to be copied to it."""
    bytes_per_day: int | None = None
    """The policy's allowance."""
    problems: int = 0
    """Items that did not get across before."""

    @property
    def copies(self) -> int:
        return sum(each.copies for each in self.folders)

    @property
    def octets(self) -> int:
        return sum(each.octets for each in self.folders)

    @property
    def doubtful(self) -> int:
        return sum(each.doubtful for each in self.folders)

    @property
    def removals(self) -> int:
        return sum(each.removals for each in self.folders)

    @property
    def estimate_s(self) -> float:
        """About how long a pass would take at an unhurried server."""
        at_once_s = (self.copies + self.doubtful) / ITEMS_PER_S + self.octets / OCTETS_PER_S
        return max(at_once_s, self.octets * DAY_S / self.bytes_per_day if self.bytes_per_day else 0.0)


async def plan_pass(
    pairing: str,
    left: OpenMailbox,
    right: OpenMailbox,
    state: State,
    policy: Policy,
    *,
    clock: Callable[[], float] = time.time,
) -> Preview:
    """Return what `run_pass` would do now. Raises: StoreFault."""
    left = by_labels(left, right, policy)
    return await _Planning(pairing, {"left": left, "right": right}, state, policy, clock).run()


class _Planning:
    def __init__(
        self,
        pairing: str,
        boxes: dict[Side, OpenMailbox],
        state: State,
        policy: Policy,
        clock: Callable[[], float],
    ) -> None:
        self._pairing = pairing
        self._boxes = boxes
        self._state = state
        self._policy = policy
        self._clock = clock
        self._holds: dict[Side, Holds] = {side: boxes[side].holds() for side in SIDES}
        self._kinds = kinds_of(self._holds["left"], self._holds["right"])
        self._made = Preview(bytes_per_day=policy.bytes_per_day)
        self._by_number: dict[int, FolderPreview] = {}
        self._cannot: Counter[str] = Counter()

    async def run(self) -> Preview:
        listed: dict[Side, list[Folder]] = {side: await self._boxes[side].folders() for side in SIDES}
        known = await self._state.folders(self._pairing)
        holds = self._holds["left"], self._holds["right"]
        paired = pair_folders(listed["left"], listed["right"], known, holds, self._policy, self._policy.mode)
        made = self._made
        made.collisions, made.left_out = paired.collisions, paired.left_out
        made.renamed = [
            f"{'/'.join(paired.paths[place]['right'])} -> {'/'.join(path)}"
            for place, path in paired.renamed
            if paired.paths[place]["right"] != path
        ]
        made.problems = len(await self._state.problems(self._pairing))
        made.facts = await self._boxes["left"].facts(), await self._boxes["right"].facts()
        folders = {side: {folder.id: folder for folder in listed[side]} for side in SIDES}
        await self._go_through(paired, folders)
        made.folders = list(self._by_number.values())
        made.cannot = dict(self._cannot.most_common())
        used, limit = made.facts[1].used_bytes, made.facts[1].limit_bytes
        if used is not None and limit is not None and used + made.octets > limit:
            made.short_bytes = used + made.octets - limit
        return made

    async def _go_through(self, paired: Paired, folders: dict[Side, dict[str, Folder]]) -> None:
        items: dict[Side, dict[str, Item]] = {"left": {}, "right": {}}
        gone: dict[Side, set[str]] = {"left": set(), "right": set()}
        whole: dict[Side, set[int]] = {"left": set(), "right": set()}
        lost = {(paired.pairs[place].id or -1 - place, side) for place, side in paired.lost}
        for place, pair in enumerate(paired.pairs):
            # A pair that is not in the state yet has a number of its own below 0.
            folder = replace(pair, id=pair.id or -1 - place)
            paths, there = paired.paths[place], folders["left"].get(folder.left or "")
            self._by_number[folder.id] = FolderPreview(paths["left"], paths["right"])
            told = self._by_number[folder.id]
            told.is_new = (folder.left is None or folder.right is None) and not any(
                (folder.id, side) in lost for side in SIDES
            )
            told.items = (there.total or 0) if there is not None else 0
            for side in SIDES:
                if (folder.id, side) in lost:
                    whole[side].add(folder.id)
                    continue
                seen = await self._listing(folder, side, folders[side])
                items[side] |= seen.items
                gone[side] |= seen.gone
                whole[side] |= seen.whole
        left, right = (Seen(items[side], frozenset(gone[side]), frozenset(whole[side])) for side in SIDES)
        base = await self._state.rows_of(self._pairing, left, right)
        can = Abilities(self._holds["left"], self._holds["right"])
        doubtful = doubts(base, left, right, can)
        total = await self._state.count(self._pairing)
        self._tell(plan(base, left, right, self._policy, can, total=total, now=self._clock()), doubtful, left, right)

    async def _listing(self, folder: FolderPair, side: Side, listed: dict[str, Folder]) -> Seen:
        id = folder.left if side == "left" else folder.right
        token = folder.left_token if side == "left" else folder.right_token
        mark = folder.left_mark if side == "left" else folder.right_mark
        if folder.limits != self._policy.limits and (side == "left" or self._policy.mode == "two-way"):
            token = None  # what was left out may be wanted now
        if id is None or (token is not None and mark is not None and listed[id].mark == mark):
            return Seen()
        items: dict[str, Item] = {}
        gone: set[str] = set()
        is_whole = token is None
        while True:
            page = await self._boxes[side].changes(id, token, self._policy.page_items)
            if page.reset:
                is_whole = True
                items.clear()
                gone.clear()
            for state in page.items:
                items[state.id] = Item.of(state, folder.id, self._kinds)
            for each in page.removed:
                items.pop(each, None)
                gone.add(each)
            token = page.token
            if not page.more:
                return Seen(items, frozenset(gone), frozenset([folder.id]) if is_whole else frozenset())

    def _tell(self, made: Plan, doubtful: dict[Side, set[str]], left: Seen, right: Seen) -> None:
        preview, seen = self._made, {"left": left, "right": right}
        preview.refused = made.refused
        preview.conflicts = [each.what for each in made.conflicts]
        for action in made.actions:
            if isinstance(action, Copy):
                self._copy(action)
            elif isinstance(action, SetFlags):
                self._by_number[action.pair.folder_on(action.side)].flags += 1
            elif isinstance(action, Move):
                self._by_number[action.folder].moves += 1
            elif isinstance(action, Remove):
                self._by_number[action.pair.folder_on(action.side)].removals += 1
        for row in made.rows:
            if row.id == 0:
                self._by_number[row.left_folder].adopted += 1
        for item in made.skipped:
            self._by_number[item.folder].skipped += 1
        for side in ("left",) if self._policy.mode != "two-way" else SIDES:
            for id in doubtful[side]:  # type: ignore[index]
                self._by_number[seen[side].items[id].folder].doubtful += 1

    def _copy(self, action: Copy) -> None:
        told, item, holds = self._by_number[action.folder], action.item, self._holds[action.side]
        size = item.print.size or 0
        if holds.max_item_bytes is not None and size > holds.max_item_bytes:
            told.too_large += 1
            self._cannot[f"item of more than {holds.max_item_bytes} octets"] += 1
            return
        told.copies += 1
        told.octets += size
        for word in item.words:
            made = carried(word, holds)
            if made is None:
                self._cannot[f"flag or keyword {word}"] += 1
            elif made != word:
                self._cannot[f"keyword {word}: as {made}"] += 1
        if not holds.internal_date and item.print.received_at is not None:
            self._cannot["date of receipt"] += 1
