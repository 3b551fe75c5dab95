"""A pass: two mailboxes brought in step once.

Folders that are met for the first time are read page by page, and copied as they are read; of those that are known,
what changed is gathered over the whole mailbox, so that what moved is seen as moved. What a pass has read is noted only
once all that follows from it is done: where it is cut, the next one reads the same again, finds done what was done,
and does the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.mailbox import Folder, OpenMailbox, StoreFault
from gateway.outcome import Scope
from gateway.status import Status
from gateway.sync.acting import Actor
from gateway.sync.ends import End, Report, Unsettled
from gateway.sync.ends import Result as Result
from gateway.sync.faithful import AddressOf
from gateway.sync.first import First
from gateway.sync.folder_work import FolderWork
from gateway.sync.folders import pair_folders
from gateway.sync.labels import by_labels
from gateway.sync.lanes import together
from gateway.sync.pace import Pace
from gateway.sync.planning import Planning
from gateway.sync.reading import Reader
from gateway.sync.readying import Means
from gateway.sync.resuming import Resuming
from gateway.sync.search import Search
from gateway.sync.state import State
from gateway.sync.unseen import told_now, went_unseen
from gateway.sync.values import (
    SIDES,
    FolderPair,
    Intent,
    Item,
    Policy,
    Print,
    Problem,
    Seen,
    Side,
)

_NO_PRINT: Final = Print()
MOST_TRIES: Final = 20
"""How often in a row a pass begins anew where it is not known what was done, and nothing more gets done."""

MOST_ROUNDS: Final = 3
"""How often a pass goes on with what its plan left for after it."""


async def run_pass(
    pairing: str,
    left: OpenMailbox,
    right: OpenMailbox,
    state: State,
    policy: Policy,
    *,
    progress: Callable[[Report], None] | None = None,
    paces: tuple[Pace, Pace] | None = None,
    retry: bool = False,
    only_problems: bool = False,
    address_of: AddressOf | None = None,
    clock: Callable[[], float] = time.time,
) -> Result:
    """Bring two mailboxes in step; `retry` takes also what was refused for good before, `only_problems` nothing else.
    `address_of` makes X.500 originators of Exchange replyable.

    Raises: StoreFault where a side does not answer for too long, refuses all, or is full for longer than the policy
    waits (4.2.2); run again, it goes on from there.
    """
    left = by_labels(left, right, policy)
    one, two = paces or (
        Pace(policy.batch_items, bytes_per_day=policy.bytes_per_day),
        Pace(policy.batch_items, bytes_per_day=policy.bytes_per_day),
    )
    result = Result()
    ends: dict[Side, End] = {"left": End(left, one), "right": End(right, two)}
    means = Means(Search.parse(policy.search), address_of, policy.mend)
    tell = progress or (lambda report: None)

    def waiting() -> None:
        why = next((pace.why for pace in (one, two) if pace.is_waiting), "")
        if why != result.report.waiting:
            result.report.waiting = why
            tell(result.report)

    for pace in {one, two}:
        pace.watchers.append(waiting)
    try:
        tries, done, rounds = 0, -1, 0
        fault = StoreFault(Status("4.5.0"))
        while tries < MOST_TRIES:
            turn = _Pass(pairing, ends, state, policy, result, tell, means, retry, only_problems, clock)
            try:
                await turn.run()
            except Unsettled as unsettled:
                fault = unsettled.fault
                ends[unsettled.side].pace.bad(fault)
            else:
                if not turn.is_unsettled:
                    if not turn.has_more or rounds >= MOST_ROUNDS:
                        break
                    rounds += 1
                    continue
                fault = StoreFault(Status("4.5.0", "some appends are answered as neither done nor refused"))
            report = result.report
            now = report.copied + report.adopted + report.problems + report.moved + report.removed
            tries = tries + 1 if now == done else 0
            done = now
        else:
            raise fault
    finally:
        for pace in {one, two}:
            pace.watchers.remove(waiting)
    return result


async def retry_pass(
    pairing: str,
    left: OpenMailbox,
    right: OpenMailbox,
    state: State,
    policy: Policy,
    *,
    progress: Callable[[Report], None] | None = None,
    paces: tuple[Pace, Pace] | None = None,
    address_of: AddressOf | None = None,
    clock: Callable[[], float] = time.time,
) -> Result:
    """Take just what did not get across before, items and folders, whether it was refused for good or not.

    Raises: StoreFault as `run_pass` does.
    """
    return await run_pass(
        pairing,
        left,
        right,
        state,
        policy,
        progress=progress,
        paces=paces,
        retry=True,
        only_problems=True,
        address_of=address_of,
        clock=clock,
    )


class _Pass:
    def __init__(
        self,
        pairing: str,
        ends: dict[Side, End],
        state: State,
        policy: Policy,
        result: Result,
        progress: Callable[[Report], None],
        means: Means,
        retry: bool,
        only_problems: bool,
        clock: Callable[[], float],
    ) -> None:
        self._pairing = pairing
        self._ends = ends
        self._state = state
        self._policy = policy
        self._result = result
        self._report = result.report
        self._means = means
        self._retry = retry
        self._only_problems = only_problems
        self._limits = policy.limits
        self._folders: dict[int, FolderPair] = {}
        self._lost: dict[int, set[Side]] = {}
        self._made: set[int] = set()
        """Folders that this pass met for the first time."""
        self._marks: dict[Side, dict[str, str | None]] = {"left": {}, "right": {}}
        self._totals: dict[str, int] = {}
        self._tell: Callable[[], None] = lambda: progress(self._report)
        self._actor = Actor(pairing, ends, state, policy, self._report, self._folders, self._tell, means)
        self._reader = Reader(ends, policy, self._report, means)
        self._planning = Planning(pairing, ends, state, policy, result, self._reader, clock)
        self._resuming = Resuming(pairing, ends, state, self._report, self._reader, self._actor)
        self._first = First(
            pairing, ends, state, policy, self._report, self._reader, self._planning, self._resuming, self._actor
        )
        self._work = FolderWork(pairing, ends, state, policy, self._folders, self._actor)
        self._actor.hide = self._hide
        self.is_unsettled = False
        self.has_more = False

    async def run(self) -> None:
        """Do it. Raises: StoreFault, Unsettled."""
        await self._pair_folders()
        await self._actor.pay()
        intents = await self._state.intents(self._pairing)
        problems = [each for each in await self._state.problems(self._pairing) if self._retry or not each.is_permanent]
        folders = list(self._folders.values())
        if self._only_problems:
            failed = {each.folder for each in problems if not each.item} | {each.folder for each in intents}
            folders = [folder for folder in folders if folder.id in failed or folder.id in self._made]
        if any(not each.item for each in problems):
            await self._state.settle(self._pairing, solved=[("left", "")])  # those of folders, until met again
        known = [folder for folder in folders if folder.is_known or folder.id in self._lost]
        first = [folder for folder in folders if not folder.is_known and folder.id not in self._lost]
        self._report.passed, self._report.expected = 0, sum(self._totals.get(each.left or "", 0) for each in first)
        if first and not self._result.warnings:
            self._result.warnings += await self._reader.warnings()
        await self._changed(known, intents, problems)
        for folder in first:
            self._report.folder = "/".join(folder.path)
            self._tell()
            await self._guarded(folder, [each for each in intents if each.folder == folder.id])
        if not self._only_problems:
            await self._work.drop_lost(self._lost)
        self._report.folder = ""
        self.is_unsettled, self.has_more = self._actor.is_unsettled, self._actor.has_more

    def _hide(self, hidden: dict[Side, frozenset[str]]) -> None:
        self._reader.hidden = hidden

    async def _guarded(self, folder: FolderPair, intents: list[Intent]) -> None:
        """Work on a folder that is met for the first time; one that can't be read stops no other."""
        mark = self._marks["left"].get(folder.left or ""), self._marks["right"].get(folder.right or "")
        try:
            known = await self._first.run(folder, intents, mark)
        except StoreFault as fault:
            await self._bad_folder(folder, fault)
        else:
            if known is not None:
                self._folders[folder.id] = known

    async def _bad_folder(self, folder: FolderPair, fault: StoreFault) -> None:
        if fault.scope is not Scope.MESSAGE:
            raise fault
        text = f"{'/'.join(folder.path)}: {fault.status}"
        self._report.problems += 1
        await self._state.settle(self._pairing, problems=[Problem(folder.id, "left", "", fault.status.code, text)])

    # -- folders

    async def _pair_folders(self) -> None:
        listed: dict[Side, list[Folder]] = {}

        async def one(side: Side) -> None:
            end = self._ends[side]
            listed[side] = await end.pace.ask(end.mailbox.folders)
            self._marks[side] = {folder.id: folder.mark for folder in listed[side]}

        await together([one(side) for side in SIDES])
        self._totals = {folder.id: folder.total or 0 for folder in listed["left"]}
        holds = self._ends["left"].mailbox.holds(), self._ends["right"].mailbox.holds()
        known = await self._state.folders(self._pairing)
        made = pair_folders(listed["left"], listed["right"], known, holds, self._policy, self._policy.mode)
        self._result.collisions, self._result.left_out = made.collisions, made.left_out
        subscribed = {side: {folder.id: folder.subscribed for folder in listed[side]} for side in SIDES}
        await self._work.rename(made)
        for place, pair in enumerate(made.pairs):
            if pair.id == 0:
                try:
                    pair = await self._work.make(pair, made.paths[place], subscribed)
                except StoreFault as fault:
                    await self._bad_folder(pair, fault)
                    continue
                self._made.add(pair.id)
            elif (place, "left") in made.lost or (place, "right") in made.lost:
                self._lost[pair.id] = {side for at, side in made.lost if at == place}
            elif pair.left is None or pair.right is None:
                # Once lost and nothing to be done about it: it takes part when something is to go there.
                self._lost[pair.id] = {side for side in SIDES if (pair.left if side == "left" else pair.right) is None}
            self._folders[pair.id] = pair
            self._actor.paths[pair.id] = made.paths[place]

    # -- folders that are known

    async def _changed(self, folders: list[FolderPair], intents: list[Intent], problems: list[Problem]) -> None:
        numbers = {folder.id for folder in folders}
        anywhere = set(self._folders) if self._only_problems else numbers
        intents = [each for each in intents if each.folder in numbers]
        items: dict[Side, dict[str, Item]] = {"left": {}, "right": {}}
        gone: dict[Side, set[str]] = {"left": set(), "right": set()}
        whole: dict[Side, set[int]] = {"left": set(), "right": set()}
        read: dict[int, FolderPair] = {}
        listed: set[tuple[Side, int]] = set()

        async def one(folder: FolderPair) -> None:
            after = folder
            for side in SIDES:
                if side in self._lost.get(folder.id, ()):
                    whole[side].add(folder.id)
                    after = _read(after, side, None, None)
                    continue
                id = self._actor.folder_of(folder.id, side)
                token = folder.left_token if side == "left" else folder.right_token
                mark = self._marks[side].get(id or "")
                before = folder.left_mark if side == "left" else folder.right_mark
                if folder.limits != self._limits and (side == "left" or self._policy.mode == "two-way"):
                    token = None  # what was left out may be wanted now
                if mark is not None and mark == before and token is not None:
                    continue
                seen, at = await self._reader.listing(folder, side, token)
                items[side] |= seen.items
                gone[side] |= seen.gone
                whole[side] |= seen.whole
                listed.add((side, folder.id))
                after = _read(after, side, at, mark)
            read[folder.id] = replace(after, limits=self._limits)

        async def safely(folder: FolderPair) -> None:
            try:
                await one(folder)
            except StoreFault as fault:
                await self._bad_folder(folder, fault)

        width = max(1, self._policy.connections)
        for start in range(0, len(folders), width):
            await together([safely(folder) for folder in folders[start : start + width]])
        known = await went_unseen(self._pairing, self._ends, self._state, self._report, listed, items, gone, whole)
        told = {side: [each.item for each in problems if each.side == side] for side in SIDES}
        paired = await self._state.pairs(self._pairing, told["left"], told["right"])
        there = {side: {pair.on(side) for pair in paired} for side in SIDES}  # two stores may have the same ids
        for problem in problems:
            is_new = problem.item and problem.item not in gone[problem.side]
            is_new = is_new and (problem.item not in there[problem.side] or problem.print.kind != "mail")
            if is_new and problem.folder in anywhere:
                made = Item(problem.item, problem.folder, problem.words, problem.print)
                items[problem.side].setdefault(problem.item, made)
        solved = [(each.side, each.item) for each in problems if each.item in gone[each.side]]
        left, right = (Seen(items[side], frozenset(gone[side]), frozenset(whole[side])) for side in SIDES)
        self._report.expected += len(left.items) + len(right.items)
        base = await self._state.rows_of(self._pairing, left, right)
        if intents:
            for side, seen in (("left", left), ("right", right)):
                ids = {pair.left if side == "left" else pair.right for pair in base}
                new = {id: item for id, item in seen.items.items() if id not in ids}
                await self._resuming.settle(intents, "left" if side == "left" else "right", new)
            base = await self._state.rows_of(self._pairing, left, right)
        todo, _, _ = await self._planning.plan(base, left, right)
        held = await self._actor.act(todo)
        self._report.passed = len(left.items) + len(right.items)
        if todo.refused is not None:  # what was not removed is to be told again when it may be
            held |= {
                folder
                for folder in numbers
                if gone["left"] or gone["right"] or folder in whole["left"] | whole["right"]
            }
        done = [after for number, after in read.items() if number not in held and after != self._folders[number]]
        known += await told_now(self._pairing, self._ends, self._state, {"left": left.items, "right": right.items})
        over = [each for each in known if each.folder not in held]
        if done or solved or over:
            await self._state.settle(self._pairing, folders=done, solved=solved, told=over)


def _read(folder: FolderPair, side: Side, token: str | None, mark: str | None) -> FolderPair:
    if side == "left":
        return replace(folder, left_token=token, left_mark=mark)
    return replace(folder, right_token=token, right_mark=mark)
