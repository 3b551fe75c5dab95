"""A plan carried out: flags, moves, copies, and removals last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gateway.status import Status
from gateway.sync.ends import End, Report
from gateway.sync.lanes import Place
from gateway.sync.readying import Means
from gateway.sync.state import State
from gateway.sync.transfer import Transfer, is_gone
from gateway.sync.values import (
    SIDES,
    Copy,
    FolderPair,
    Move,
    Pair,
    Placed,
    Plan,
    Policy,
    Problem,
    Remove,
    SetFlags,
    Side,
)

_MANY: Final = 200
"""Items that one call changes."""

_Key = tuple[int, str | None, str | None]


def _key(pair: Pair) -> _Key:
    return pair.id, pair.left, pair.right


class Actor:
    """Carries plans out. `folders` are the pairs of folders by number, `paths` where they are or are to be."""

    def __init__(
        self,
        pairing: str,
        ends: dict[Side, End],
        state: State,
        policy: Policy,
        report: Report,
        folders: dict[int, FolderPair],
        advance: Callable[[], None],
        means: Means,
    ) -> None:
        self._pairing = pairing
        self._ends = ends
        self._state = state
        self._policy = policy
        self._report = report
        self._folders = folders
        self._advance = advance
        self._means = means
        self.paths: dict[int, dict[Side, tuple[str, ...]]] = {}
        self.is_unsettled = False
        self.has_more = False
        """A pass that follows at once has something to do."""
        self.hide: Callable[[dict[Side, frozenset[str]]], None] = lambda hidden: None
        """Is told what is still to be removed, having been replaced."""

    def folder_of(self, number: int, side: Side) -> str | None:
        """Return the id of a folder on a side; None where it is not there."""
        folder = self._folders[number]
        return folder.left if side == "left" else folder.right

    def _folder_id(self, number: int, side: Side) -> str:
        id = self.folder_of(number, side)
        assert id is not None, "made before anything is put there"
        return id

    async def act(self, plan: Plan, place: Place | None = None) -> set[int]:
        """Do all of it; returns the folders in which something is to be done again, of which nothing may be noted as
        read. `place` is that of its copies among those of other plans. Raises: StoreFault, Unsettled."""
        held: set[int] = set()
        rows = {_key(row): row for row in plan.rows}
        problems: list[Problem] = []
        for action in plan.actions:
            if isinstance(action, Copy | Move):
                await self._ensure(action.folder, action.side)
        await self._set_flags([a for a in plan.actions if isinstance(a, SetFlags)], rows, held, problems)
        placed = self._adopted(plan)
        await self._move([a for a in plan.actions if isinstance(a, Move)], rows, held, problems, placed)
        if rows or plan.forget or problems:
            await self._state.settle(
                self._pairing, list(rows.values()), forget=plan.forget, problems=problems, placed=placed
            )
        copies = [a for a in plan.actions if isinstance(a, Copy)]
        if copies:
            transfer = Transfer(
                self._pairing,
                self._ends,
                self._state,
                self._policy,
                self._report,
                self._folder_id,
                self._advance,
                self._means,
            )
            await transfer.run(copies, place)
            self.is_unsettled = self.is_unsettled or bool(transfer.again)
            for copy in copies:
                if copy.folder in transfer.again:
                    held |= {copy.folder, copy.item.folder}
            replaced = [copy for copy in copies if copy.replaces is not None]
            if replaced and not await self.pay():
                held |= {folder for copy in replaced for folder in (copy.folder, copy.item.folder)}
        await self._remove([a for a in plan.actions if isinstance(a, Remove)], held)
        if plan.again:
            held |= plan.again
            self.has_more = True
        self._advance()
        return held

    def _adopted(self, plan: Plan) -> list[Placed]:
        """Return both sides of what is paired as it was found there, until what was listed is noted as read."""
        sides: list[Side] = [side for side in SIDES if not self._ends[side].mailbox.holds().tells_unseen]
        new = [row for row in plan.rows if row.id == 0]
        return [Placed(side, row.folder_on(side), id) for side in sides for row in new if (id := row.on(side))]

    async def pay(self) -> bool:
        """Remove what was replaced; tells whether all of it is. What can't be now is by a later pass, and is not looked
        at until then."""
        owed = await self._state.owed(self._pairing)
        left_over: dict[Side, set[str]] = {"left": set(), "right": set()}
        for side in SIDES:
            end, some = self._ends[side], [item for at, item in owed if at == side]
            for start in range(0, len(some), _MANY):
                ids = some[start : start + _MANY]
                answers = await end.pace.ask(
                    lambda end=end, ids=ids: end.mailbox.remove(ids, purge=True)  # type: ignore[misc]  # as above
                )
                told = list(zip(ids, answers, strict=True))
                paid = [id for id, answer in told if answer is None or is_gone(answer)]
                left_over[side] |= set(ids) - set(paid)
                await self._state.settle(self._pairing, paid=[(side, id) for id in paid])
        self.hide({side: frozenset(left_over[side]) for side in SIDES})
        return not any(left_over.values())

    async def _ensure(self, number: int, side: Side) -> None:
        """Make a folder again that was removed and is wanted."""
        if self.folder_of(number, side) is not None:
            return
        end, path = self._ends[side], self.paths[number][side]
        made = await end.pace.ask(lambda: end.mailbox.create_folder(path, self._folders[number].kind))
        folder = self._folders[number]
        folder = replace(folder, left=made.id) if side == "left" else replace(folder, right=made.id)
        self._folders[number] = folder
        # Nothing of it was read yet, whatever was read of the one before.
        stored = replace(folder, left_token=None) if side == "left" else replace(folder, right_token=None)
        await self._state.put_folder(self._pairing, stored)

    async def _set_flags(
        self, actions: list[SetFlags], rows: dict[_Key, Pair], held: set[int], problems: list[Problem]
    ) -> None:
        groups: dict[tuple[Side, frozenset[str], frozenset[str]], list[SetFlags]] = {}
        for action in actions:
            groups.setdefault((action.side, action.add, action.remove), []).append(action)
        for (side, add, remove), some in groups.items():
            end = self._ends[side]
            for start in range(0, len(some), _MANY):
                part = some[start : start + _MANY]
                ids = [action.pair.on(side) or "" for action in part]
                answers = await end.pace.ask(
                    lambda end=end, ids=ids, add=add, remove=remove: end.mailbox.set_flags(ids, add, remove)  # type: ignore[misc]  # mypy takes no default of a lambda
                )
                for action, answer in zip(part, answers, strict=True):
                    if not isinstance(answer, Status):
                        self._report.flagged += 1
                        continue
                    self._undone(action, answer, rows, held, problems)

    def _undone(
        self, action: SetFlags | Move, status: Status, rows: dict[_Key, Pair], held: set[int], problems: list[Problem]
    ) -> None:
        pair, side = action.pair, action.side
        row = rows.pop(_key(pair), None)
        if is_gone(status):
            return  # the next pass is told
        if not status.is_permanent:
            held |= {pair.left_folder, pair.right_folder}
            return
        self._report.problems += 1
        text = status.reply or status.text
        problems.append(Problem(pair.folder_on(side), side, pair.on(side) or "", status.code, text))
        if row is not None:
            rows[_key(pair)] = row.with_side(side, pair.on(side), pair.folder_on(side), pair.words_on(side))

    async def _move(
        self,
        actions: list[Move],
        rows: dict[_Key, Pair],
        held: set[int],
        problems: list[Problem],
        placed: list[Placed],
    ) -> None:
        groups: dict[tuple[Side, int], list[Move]] = {}
        for action in actions:
            groups.setdefault((action.side, action.folder), []).append(action)
        for (side, folder), some in groups.items():
            end, target = self._ends[side], self._folder_id(folder, side)
            for start in range(0, len(some), _MANY):
                part = some[start : start + _MANY]
                ids = [action.pair.on(side) or "" for action in part]
                answers = await end.pace.ask(
                    lambda end=end, ids=ids, target=target: end.mailbox.move(ids, target)  # type: ignore[misc]  # as above
                )
                for action, answer in zip(part, answers, strict=True):
                    if isinstance(answer, Status):
                        self._undone(action, answer, rows, held, problems)
                        continue
                    self._report.moved += 1
                    row = rows.get(_key(action.pair))
                    if row is not None:
                        rows[_key(action.pair)] = row.with_side(side, answer, folder, row.words_on(side))
                    if not end.mailbox.holds().tells_unseen:
                        placed.append(Placed(side, folder, answer))

    async def _remove(self, actions: list[Remove], held: set[int]) -> None:
        for side in ("left", "right"):
            some = [action for action in actions if action.side == side]
            end = self._ends["left" if side == "left" else "right"]
            for start in range(0, len(some), _MANY):
                part = some[start : start + _MANY]
                ids = [action.pair.on(action.side) or "" for action in part]
                purge = self._policy.delete == "remove"
                answers = await end.pace.ask(
                    lambda end=end, ids=ids, purge=purge: end.mailbox.remove(ids, purge=purge)  # type: ignore[misc]  # as above
                )
                forget: list[int] = []
                for action, answer in zip(part, answers, strict=True):
                    if answer is None or is_gone(answer):
                        self._report.removed += 1
                        if not action.stranger:
                            forget.append(action.pair.id)
                    else:
                        held |= {action.pair.left_folder, action.pair.right_folder}
                await self._state.settle(self._pairing, forget=forget)
