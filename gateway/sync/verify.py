"""Two mailboxes compared, folder by folder: how many items, how many octets, and the octets themselves by digest.

What a pass noted is taken for where to look, never for what is there: both sides are listed anew, and the contents are
read from both. Octets are compared as `fingerprint` does, without regard to how line ends are written.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from gateway.mailbox import OpenMailbox
from gateway.message import Content
from gateway.quantity import show_size
from gateway.sync.fingerprint import digest_of
from gateway.sync.folders import pair_folders
from gateway.sync.labels import by_labels
from gateway.sync.match import apart, in_doubt, same_items
from gateway.sync.objects import kinds_of, stamps
from gateway.sync.pace import Pace
from gateway.sync.plan import Abilities
from gateway.sync.progress import as_named, names, show_count, show_seconds
from gateway.sync.state import State
from gateway.sync.transfer import End, Report, fetched
from gateway.sync.values import FolderPair, Item, Pair, Pairing, Policy, Side, all_carried

What = Literal["missing", "differs", "not done", "not yet", "changed", "left out", "removed there"]
BAD: Final[frozenset[What]] = frozenset(("missing", "differs", "not done", "not yet"))
"""Of these a mailbox is not complete; the others are as they are meant to be."""
MEANING: Final[dict[What, str]] = {
    "missing": "was copied, and is not there any more",
    "differs": "is there with other octets",
    "not done": "did not get across; the reason is told",
    "not yet": "came after the last pass, or was not reached by one",
    "changed": "is there, changed as little as the destination takes; what was changed is told",
    "left out": "left out by the limits that were configured",
    "removed there": "was copied, and removed by its owner where it was copied to",
}
_CHUNK: Final = 50
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_SINCE: Final = "since the last pass"
_DATE_S: Final = 1.0
"""Stores keep times of receipt to the second."""


@dataclass(frozen=True, slots=True)
class Finding:
    """An item that is not the same on both sides, and why, where that is known."""

    what: What
    folder: str
    message_id: str | None
    received_at: float | None
    octets: int | None
    text: str = ""

    @property
    def is_bad(self) -> bool:
        return self.what in BAD


@dataclass(slots=True)
class Folder:
    """Two folders, compared. `compared` items were read from both sides, `same` of them octet by octet."""

    path: str
    across: str | None
    left_items: int = 0
    right_items: int = 0
    left_octets: int = 0
    right_octets: int = 0
    matched: int = 0
    """Items that are on both sides, whether they were read or not."""
    compared: int = 0
    same: int = 0
    only_right: int = 0
    """Items that are on the right side alone: what came in there, or was there before."""
    flags: int = 0
    """Items of which the flags or keywords are not the same, as far as the right side holds them."""
    dates: int = 0
    """Items of which the time of receipt is not the same, where the right side keeps it."""
    findings: list[Finding] = field(default_factory=list)

    def count(self, *what: What) -> int:
        """Return how many findings are of these kinds."""
        return sum(each.what in what for each in self.findings)


@dataclass(slots=True)
class Checked:
    """A mailbox, compared. `sample`: so many items of each folder are read, chosen by `seed`, and the others are
    counted; None for all of them."""

    pairing: Pairing
    folders: list[Folder] = field(default_factory=list)
    sample: int | None = None
    seed: int = 0
    began_at: float = 0.0
    seconds: float = 0.0
    fault: str | None = None
    report: Report = field(default_factory=Report)

    @property
    def findings(self) -> list[Finding]:
        return [each for folder in self.folders for each in folder.findings]

    @property
    def is_done(self) -> bool:
        """Tell whether all that is on the left, and was to be copied, is on the right as well."""
        return self.fault is None and not any(each.is_bad for each in self.findings)

    def sum(self, name: str) -> int:
        """Return the sum of a figure over all folders."""
        return sum(getattr(folder, name) for folder in self.folders)

    def count(self, *what: What) -> int:
        """Return how many findings are of these kinds."""
        return sum(folder.count(*what) for folder in self.folders)

    def told(self) -> str:
        """Return it in a line."""
        if self.fault is not None:
            return f"{names(self.pairing)}: cannot be compared: {self.fault}"
        parts = [
            f"{show_count(self.sum('left_items'))} items ({show_size(self.sum('left_octets'))})",
            f"{show_count(self.sum('right_items'))} there",
            f"{show_count(self.sum('same'))} of {show_count(self.sum('compared'))} compared are the same",
        ]
        parts += [f"{show_count(n)} {what}" for what in MEANING if (n := self.count(what))]
        word = "complete" if self.is_done else "NOT complete"
        return f"{names(self.pairing)}: {word}: {', '.join(parts)}, in {show_seconds(self.seconds)}"

    def values(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            **as_named(self.pairing),
            "ok": self.is_done,
            "error": self.fault,
            "began_at": self.began_at,
            "seconds": round(self.seconds, 3),
            "sample": self.sample,
            "seed": self.seed,
            "folders": [
                {
                    **{key: getattr(folder, key) for key in Folder.__dataclass_fields__ if key != "findings"},
                    "findings": [
                        {key: getattr(each, key) for key in Finding.__dataclass_fields__} for each in folder.findings
                    ],
                }
                for folder in self.folders
            ],
        }


async def verify(
    checked: Checked,
    left: OpenMailbox,
    right: OpenMailbox,
    state: State,
    policy: Policy,
    *,
    patience_s: float = 3600.0,
    progress: Callable[[Report], None] | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Compare two mailboxes, and put what is found into `checked`, which says how thoroughly. Nothing is written.

    Raises: StoreFault.
    """
    ends: dict[Side, End] = {
        "left": End(by_labels(left, right, policy), Pace(_CHUNK, patience_s, place=checked.pairing.left.connector)),
        "right": End(right, Pace(_CHUNK, patience_s, place=checked.pairing.right.connector)),
    }
    await _Checking(checked, ends, state, policy, progress or (lambda report: None), clock).run()


class _Checking:
    def __init__(
        self,
        checked: Checked,
        ends: dict[Side, End],
        state: State,
        policy: Policy,
        progress: Callable[[Report], None],
        clock: Callable[[], float],
    ) -> None:
        self._checked = checked
        self._pairing = checked.pairing.id
        self._report = checked.report
        self._ends = ends
        self._state = state
        self._policy = policy
        self._progress = progress
        self._clock = clock
        self._chance = random.Random(checked.seed)
        self._can = Abilities(ends["left"].mailbox.holds(), ends["right"].mailbox.holds())
        self._kinds = kinds_of(self._can.left, self._can.right)
        self._reasons: dict[str, str] = {}
        self._notes: dict[str, str] = {}

    async def run(self) -> None:
        """Do it. Raises: StoreFault."""
        left, right = self._ends["left"], self._ends["right"]
        lefts, rights = await left.pace.ask(left.mailbox.folders), await right.pace.ask(right.mailbox.folders)
        for problem in await self._state.problems(self._pairing):
            self._reasons[problem.item] = f"{problem.code} {problem.text}"
        for note in await self._state.notes(self._pairing):
            self._notes[note.item] = note.text
        known = await self._state.folders(self._pairing)
        holds = left.mailbox.holds(), right.mailbox.holds()
        paired = pair_folders(lefts, rights, known, holds, self._policy, self._policy.mode)
        self._report.expected = sum(each.total or 0 for each in lefts)
        items: dict[Side, dict[str, Item]] = {"left": {}, "right": {}}
        made: list[tuple[FolderPair, Folder]] = []
        for place, pair in enumerate(paired.pairs):
            folder = Folder("/".join(paired.paths[place]["left"]), "/".join(paired.paths[place]["right"]))
            if pair.right is None:
                folder.across = None
            number = pair.id or -1 - place
            self._report.folder = folder.path
            for side, id in (("left", pair.left), ("right", pair.right)):
                items["left" if side == "left" else "right"] |= await self._listed(side, id, number)
            made.append((FolderPair(number, pair.left, pair.right, pair.path), folder))
        self._report.expected = len(items["left"])
        left_of, right_of = _by_folder(items["left"]), _by_folder(items["right"])
        for pair, folder in made:
            await self._folder(folder, left_of.get(pair.id, {}), right_of.get(pair.id, {}), items["right"])
            self._checked.folders.append(folder)
        self._checked.folders.sort(key=lambda folder: folder.path)
        self._judge_removals()

    def _judge_removals(self) -> None:
        """What is gone since the last pass may be its owner's doing; too much at once is a loss, until a pass is told
        that it is none."""
        since = [each for each in self._checked.findings if each.text == _SINCE]
        if self._policy.allow_removal or len(since) <= self._policy.removals_of(self._checked.sum("left_items")):
            return
        for folder in self._checked.folders:
            folder.findings = [
                replace(each, what="missing", text="") if each.text == _SINCE else each for each in folder.findings
            ]

    async def _listed(self, side: str, id: str | None, number: int) -> dict[str, Item]:
        if id is None:
            return {}
        end, token = self._ends["left" if side == "left" else "right"], None
        items: dict[str, Item] = {}
        while True:
            asked = token
            page = await end.pace.ask(lambda asked=asked: end.mailbox.changes(id, asked, self._policy.page_items))  # type: ignore[misc]  # mypy takes no default of a lambda
            for state in page.items:
                items[state.id] = Item.of(state, number, self._kinds)
            for gone in page.removed:
                items.pop(gone, None)
            self._report.listed += len(page.items)
            self._progress(self._report)
            token = page.token
            if not page.more:
                return items

    async def _folder(
        self, folder: Folder, left: dict[str, Item], right: dict[str, Item], anywhere: dict[str, Item]
    ) -> None:
        """Compare what is on the left in one folder with what is on the right, in its folder or `anywhere`."""
        self._report.folder = folder.path
        folder.left_items, folder.right_items = len(left), len(right)
        folder.left_octets = sum(item.print.size or 0 for item in left.values())
        folder.right_octets = sum(item.print.size or 0 for item in right.values())
        rows = await self._state.pairs(self._pairing, list(left), [])
        by_left = {row.left: row for row in rows if row.left is not None}
        held = {row.right for row in await self._state.pairs(self._pairing, [], list(right))}
        matched: list[tuple[Item, Item]] = []
        unpaired: list[Item] = []
        for id, item in left.items():
            row = by_left.get(id)
            found = anywhere.get(row.right) if row is not None and row.right is not None else None
            if found is not None:
                matched.append((item, found))
            elif row is not None:
                folder.findings.append(self._gone(item, row, folder))
            else:
                unpaired.append(item)
        strangers = [item for id, item in right.items() if id not in held]
        again = await self._matched(unpaired, strangers)
        matched += again
        paired = {item.id for item, _ in again}
        folder.findings += [self._unpaired(item, folder) for item in unpaired if item.id not in paired]
        folder.only_right = len(strangers) - len(again)
        folder.matched = len(matched)
        self._marks(folder, matched)
        await self._contents(folder, matched)
        self._report.passed += len(left)
        self._progress(self._report)

    def _gone(self, item: Item, row: Pair, folder: Folder) -> Finding:
        """Return what it means that an item, which was gone through once, is not on the right."""
        if item.id in self._reasons:
            return _finding("not done", folder, item, self._reasons[item.id])
        if row.right is None:
            # A row without a right side stands for what is to stay away.
            if self._policy.dedupe:
                return _finding("left out", folder, item, "one of several that are the same, or removed there")
            return _finding("removed there", folder, item)
        if self._policy.mode == "copy":
            return _finding("removed there", folder, item, _SINCE)
        return _finding("missing", folder, item)

    def _unpaired(self, item: Item, folder: Folder) -> Finding:
        if item.id in self._reasons:
            return _finding("not done", folder, item, self._reasons[item.id])
        policy, size, at = self._policy, item.print.size, item.print.received_at
        if policy.max_size is not None and size is not None and size > policy.max_size:
            return _finding("left out", folder, item, f"larger than {show_size(policy.max_size)}")
        if policy.max_age_s is not None and at is not None and self._clock() - at > policy.max_age_s:
            return _finding("left out", folder, item, "older than the limit")
        if policy.search:
            return _finding("left out", folder, item, f"not found by {', '.join(policy.search)}")
        return _finding("not yet", folder, item)

    async def _matched(self, lefts: list[Item], rights: list[Item]) -> list[tuple[Item, Item]]:
        """Return which of those without a row are the same, as where the state was lost."""
        if not lefts or not rights:
            return []
        one, two = in_doubt(lefts, rights, exact=self._can.exact)
        here = await self._digests("left", [item for item in lefts if item.id in one])
        there = await self._digests("right", [item for item in rights if item.id in two])
        known = [_with(item, here) for item in lefts], [_with(item, there) for item in rights]
        return same_items(*known, exact=self._can.exact)

    def _marks(self, folder: Folder, matched: Iterable[tuple[Item, Item]]) -> None:
        holds = self._ends["right"].mailbox.holds()
        for one, two in matched:
            words = all_carried(one.words, holds)
            folder.flags += words != all_carried(two.words, holds)
            here, there = one.print.received_at, two.print.received_at
            if holds.internal_date and here is not None and there is not None:
                folder.dates += abs(here - there) > _DATE_S

    async def _contents(self, folder: Folder, matched: list[tuple[Item, Item]]) -> None:
        sample = self._checked.sample
        if sample is not None and sample < len(matched):
            matched = self._chance.sample(matched, sample)
        for chunk in _chunks(matched):
            lefts, rights = await asyncio.gather(
                self._digests("left", [one for one, _ in chunk]),
                self._digests("right", [two for _, two in chunk]),
            )
            for one, two in chunk:
                here, there = lefts.get(one.id), rights.get(two.id)
                if here is None:
                    continue  # it was removed meanwhile
                folder.compared += 1
                if here == there:
                    folder.same += 1
                elif there is None:
                    folder.findings.append(_finding("missing", folder, one, "it could be listed and not be read"))
                elif one.id in self._notes:
                    folder.findings.append(_finding("changed", folder, one, self._notes[one.id]))
                else:
                    folder.findings.append(_finding("differs", folder, one))
            self._progress(self._report)

    async def _digests(self, side: Side, items: Iterable[Item]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        mails, objects = apart(items)
        async for id, content in fetched(self._ends[side], [item.id for item in mails], self._report):
            if isinstance(content, Content):
                found[id] = await digest_of(content)
        if objects:
            asked = [(item.id, item.print.kind) for item in objects]
            made = await stamps(self._ends[side], asked, self._report, comparable=True)
            found |= {id: digest for id, (digest, _) in made.items()}
        return found


def _by_folder(items: dict[str, Item]) -> dict[int, dict[str, Item]]:
    """Return items by the folder that they are in."""
    found: dict[int, dict[str, Item]] = {}
    for id, item in items.items():
        found.setdefault(item.folder, {})[id] = item
    return found


def _finding(what: What, folder: Folder, item: Item, text: str = "") -> Finding:
    print = item.print
    return Finding(what, folder.path, print.message_id, print.received_at, print.size, text)


def _with(item: Item, digests: dict[str, bytes]) -> Item:
    digest = digests.get(item.id)
    return item if digest is None else replace(item, print=replace(item.print, digest=digest))


def _chunks(matched: Sequence[tuple[Item, Item]]) -> Iterable[list[tuple[Item, Item]]]:
    chunk: list[tuple[Item, Item]] = []
    octets = 0
    for one, two in matched:
        size = one.print.size or 0
        if chunk and (len(chunk) >= _CHUNK or octets + size > _CHUNK_BYTES):
            yield chunk
            chunk, octets = [], 0
        chunk.append((one, two))
        octets += size
    if chunk:
        yield chunk
