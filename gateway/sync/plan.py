"""What is to be done, from what both sides held last and what each tells now: pure.

Per item that is paired; S as it was, C changed (flags, or moved to another folder), G gone from there:

| left/right | copy                           | mirror               | two-way                                        |
|------------|--------------------------------|----------------------|------------------------------------------------|
| S/S        | -                              | -                    | -                                              |
| C/S        | set or move right              | set or move right    | set or move right                              |
| S/C        | - (the right's own)            | set or move right back | set or move left                             |
| C/C        | left's changes to the right    | right is made as left | each flag three-way; set wins; left's folder  |
| G/S        | right stays, for good          | remove right         | remove right, or keep                          |
| G/C        | right stays, for good          | remove right         | copy back to the left, told as a conflict      |
| S/G        | never copied again             | copy again           | remove left, or keep                           |
| C/G        | never copied again             | copy again           | copy back to the right, told as a conflict     |
| G/G        | forget                         | forget               | forget                                         |

Unpaired: what is new on both sides in one folder and the same is adopted; else what is new on the left is copied, what
is new on the right is copied two-way, left alone in copy, and in a strict mirror removed. What is gone in one folder
and new in another on the same side has been moved; in the same folder, it has got another id.

What is edited where it is (appointments, contacts, tasks, notes), E its content another one than it was:

| left/right | copy                               | mirror        | two-way                                          |
|------------|------------------------------------|---------------|--------------------------------------------------|
| E/S        | replace right                      | replace right | replace right                                    |
| S/E        | - (the right's own)                | replace right | replace left                                     |
| E/E        | left's beside the right's, told    | replace right | both on both sides, told; or one's will          |

What is gone from one side and only marked as deleted on the other is as it was there: nobody wants to keep it.

More removals than the policy allows are none at all: the rest is done. So it is with what is gone from the right in
copy: a mailbox that was emptied or lost there is no mailbox whose owner wants nothing of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from gateway.mailbox import Holds
from gateway.sync.match import in_doubt, same_again, same_items
from gateway.sync.search import Search
from gateway.sync.values import (
    SIDES,
    Action,
    Conflict,
    Copy,
    Item,
    Move,
    Pair,
    Plan,
    Policy,
    Refusal,
    Remove,
    Seen,
    SetFlags,
    Side,
    all_carried,
    carried,
    other,
)

_NONE: Final[frozenset[str]] = frozenset()
_DELETED: Final = frozenset(("deleted",))
_KEPT: Final = {"both": "both are kept", "left": "the left's it is", "right": "the right's it is"}


@dataclass(frozen=True, slots=True)
class Abilities:
    """What the two sides can hold. `exact`: digests made on one side mean something on the other."""

    left: Holds
    right: Holds

    @property
    def exact(self) -> bool:
        return all(holds.exact or holds.nearly_exact for holds in (self.left, self.right))


@dataclass(frozen=True, slots=True)
class _Now:
    """One side of a pair as it is now; `id` None where it is not there."""

    id: str | None
    folder: int
    words: frozenset[str]
    changed: bool
    """In a way for which it is kept where the other side has removed it."""
    object: str | None = None
    item: Item | None = None
    """As it was told, where it is edited where it is."""
    edited: bool = False


def _now(pair: Pair, side: Side, item: Item) -> _Now:
    """Return one side of a pair as it is told."""
    print = item.print
    is_changed = _is_changed(pair.words_on(side), item.words) or item.folder != pair.folder_on(side)
    if print.kind == "mail" or print.kind != pair.print.kind:
        return _Now(item.id, item.folder, item.words, is_changed, print.object)
    version, digest = pair.stamp_on(side)
    # Where nothing is known of it yet (a pass was cut just after it was put there), it is as it was put.
    edited = None not in (digest, print.digest) and print.version != version and print.digest != digest
    return _Now(item.id, item.folder, item.words, is_changed or edited, print.object, item, edited)


def _is_changed(before: frozenset[str], now: frozenset[str]) -> bool:
    """Tell whether somebody wants to keep an item as it is marked now. Who marks it as deleted does not; nor does a
    pass that was killed when it had marked what it was to remove."""
    return bool(before - now or now - before - _DELETED)


class _Planner:
    def __init__(self, left: Seen, right: Seen, policy: Policy, can: Abilities, now: float | None) -> None:
        self.seen: dict[Side, Seen] = {"left": left, "right": right}
        self.new: dict[Side, dict[str, Item]] = {"left": dict(left.items), "right": dict(right.items)}
        self.policy = policy
        self.can = can
        self.now = now
        self.search = Search.parse(policy.search)
        self.made = Plan()
        self.lost: list[Pair] = []
        """What this pass would note as removed from the right by its owner, not to be copied again."""

    def states(self, base: Iterable[Pair]) -> list[tuple[Pair, dict[Side, _Now]]]:
        """Return each pair with both sides as they are now, moved and renumbered items found again."""
        found: list[tuple[Pair, dict[Side, _Now]]] = []
        gone: dict[Side, list[tuple[Pair, dict[Side, _Now]]]] = {"left": [], "right": []}
        for pair in base:
            sides: dict[Side, _Now] = {}
            for side in SIDES:
                id, folder, words, seen = pair.on(side), pair.folder_on(side), pair.words_on(side), self.seen[side]
                if id is None:
                    sides[side] = _Now(None, folder, words, False)
                elif (item := seen.items.get(id)) is not None:
                    self.new[side].pop(id, None)
                    sides[side] = _now(pair, side, item)
                elif id in seen.gone or folder in seen.whole:
                    sides[side] = _Now(None, folder, words, False)
                    gone[side].append((pair, sides))
                else:
                    sides[side] = _Now(id, folder, words, False)
            found.append((pair, sides))
        for side in SIDES:
            self._find_again(side, gone[side])
        return found

    def _find_again(self, side: Side, gone: list[tuple[Pair, dict[Side, _Now]]]) -> None:
        if not gone:
            return
        named = _named(self.new[side].values())
        for is_here in (True, False):
            for pair, sides in gone:
                if sides[side].id is not None:
                    continue
                folder = pair.folder_on(side)
                for item in _likely(pair, named):
                    if (item.folder == folder) is not is_here or item.id not in self.new[side]:
                        continue
                    if same_again(pair.print_on(side), item.print):
                        del self.new[side][item.id]
                        sides[side] = _now(pair, side, item)
                        break

    def pair(self, pair: Pair, left: _Now, right: _Now) -> None:
        """Plan for one pair by the table."""
        if left.id is None and right.id is None:
            self.made.forget.append(pair.id)
            return
        after = pair.with_side("left", left.id, left.folder, left.words, left.object)
        after = after.with_side("right", right.id, right.folder, right.words, right.object)
        for side, now in (("left", left), ("right", right)):
            if now.item is not None and not now.edited and now.item.print.digest is not None:
                after = after.with_stamp("left" if side == "left" else "right", now.item.print)
        made: Pair | None
        if left.edited or right.edited:
            made = self._edited(after, pair, left, right)
        elif left.id is None:
            made = self._one(after, pair, "left", right)
        elif right.id is None:
            made = self._one(after, pair, "right", left)
        else:
            made = self._both(after, pair, left, right)
        if made is not None and made != pair:
            self.made.rows.append(made)

    def _edited(self, after: Pair, pair: Pair, left: _Now, right: _Now) -> Pair | None:
        """Plan for a pair whose content is another one; None where an action is to make its row."""
        if left.id is None:
            return self._one(after, pair, "left", right)
        if right.id is None:
            return self._one(after, pair, "right", left)
        mode, now = self.policy.mode, {"left": left, "right": right}
        both = left.edited and right.edited
        if both and left.item is not None and right.item is not None and mode != "mirror":
            if left.item.print.digest == right.item.print.digest:
                after = after.with_stamp("left", left.item.print).with_stamp("right", right.item.print)
                return self._both(after, pair, left, right)
            self.made.conflicts.append(Conflict(pair, f"edited on both sides: {_KEPT[self.policy.conflict]}"))
        side: Side = "right"
        if mode == "two-way" and right.edited and (not left.edited or self.policy.conflict == "right"):
            side = "left"
        if mode == "copy" and not left.edited:
            return self._both(after, pair, left, right)
        is_beside = both and mode != "mirror" and self.policy.conflict == "both"
        moved = len(self.made.actions)
        made = self._both(after, pair, left, right)
        if any(isinstance(action, Move) for action in self.made.actions[moved:]):
            self.made.again.update((left.folder, right.folder, pair.left_folder, pair.right_folder))
            return made  # where it is edited it is told once more, by another id perhaps
        source = now[other(side)]
        # What is set on the side that is replaced goes along from the other one, which has it by then.
        self.made.actions[moved:] = [
            action for action in self.made.actions[moved:] if not isinstance(action, SetFlags) or action.side != side
        ]
        print = source.item.print if source.item is not None else pair.print_on(other(side))
        words = made.words_on(other(side))
        item = Item(source.id or "", made.folder_on(other(side)), words, print)
        replaces = None if is_beside else now[side].id
        self.made.actions.append(Copy(side, item, made.folder_on(side), after, replaces))
        if is_beside and mode == "two-way":
            self.made.again.update((left.folder, right.folder))  # the other one, which no row is of then, goes back
        return None

    def _one(self, after: Pair, pair: Pair, side: Side, there: _Now) -> Pair | None:
        """Plan for a pair that is gone from `side`; None where an action is to make its row."""
        mode, across = self.policy.mode, other(side)
        if pair.on(side) is None or mode == "copy":
            if side == "right" and pair.right is not None:
                self.lost.append(after)
            return after
        assert there.id is not None
        item = Item(there.id, there.folder, there.words, pair.print_on(across))
        if mode == "mirror" and side == "right":
            self.made.actions.append(Copy(side, item, there.folder, after))
            return None
        if mode == "two-way" and there.changed and self.policy.conflict in ("both", across):
            self.made.actions.append(Copy(side, item, there.folder, after))
            self.made.conflicts.append(Conflict(pair, f"removed on the {side} and changed on the {across}: kept"))
            return None
        if self.policy.delete == "keep":
            return after
        self.made.actions.append(Remove(after, across))
        return None

    def _both(self, after: Pair, pair: Pair, left: _Now, right: _Now) -> Pair:
        add, remove = self._words(pair, left.words, right.words)
        for side in SIDES:
            if add[side] or remove[side]:
                self.made.actions.append(SetFlags(after, side, add[side], remove[side]))
        mover, folder = self._move(pair, left.folder, right.folder)
        now: dict[Side, _Now] = {"left": left, "right": right}
        if mover is not None and folder != now[mover].folder:
            self.made.actions.append(Move(after, mover, folder))
        for side in SIDES:
            words = (now[side].words | add[side]) - remove[side]
            after = after.with_side(side, now[side].id, folder if side == mover else now[side].folder, words)
        return after

    def _move(self, pair: Pair, left: int, right: int) -> tuple[Side | None, int]:
        if left != pair.left_folder:
            if self.policy.mode == "two-way" and right not in (pair.right_folder, left):
                self.made.conflicts.append(Conflict(pair, "moved to different folders: the left's it is"))
            return "right", left
        if right != pair.right_folder:
            if self.policy.mode == "two-way":
                return "left", right
            if self.policy.mode == "mirror":
                return "right", left
        return None, 0

    def _words(
        self, pair: Pair, left: frozenset[str], right: frozenset[str]
    ) -> tuple[dict[Side, frozenset[str]], dict[Side, frozenset[str]]]:
        """Return what to add and what to remove on each side."""
        add: dict[Side, frozenset[str]] = {"left": _NONE, "right": _NONE}
        remove: dict[Side, frozenset[str]] = {"left": _NONE, "right": _NONE}
        if left == pair.left_words and right == pair.right_words:
            return add, remove
        there, here = self.can.right, self.can.left
        wanted = all_carried(left, there)
        set_left, cleared_left = left - pair.left_words, pair.left_words - left
        if self.policy.mode == "mirror":
            # What the right did not take when it was asked is not asked for again each time.
            not_taken = all_carried(pair.left_words, there) - pair.right_words - all_carried(set_left, there)
            # That a receipt was sent stays, or it is sent again.
            too_many = right - wanted - ({"mdn_sent"} - cleared_left)
            return add | {"right": wanted - right - not_taken}, remove | {"right": too_many}
        add["right"] = all_carried(set_left, there) - right
        remove["right"] = (all_carried(cleared_left, there) & right) - wanted
        if self.policy.mode == "copy":
            return add, remove
        set_right, cleared_right = right - pair.right_words, pair.right_words - right
        remove["right"] -= set_right
        add["left"] = all_carried(set_right - wanted, here) - left
        remove["left"] = frozenset(word for word in left if carried(word, there) in cleared_right) - set_left
        return add, remove

    def unpaired(self, *, strangers: bool) -> None:
        """Plan for what no pair has."""
        for one, two in same_items(self.new["left"].values(), self.new["right"].values(), exact=self.can.exact):
            del self.new["left"][one.id]
            del self.new["right"][two.id]
            self.made = replace(self.made, adopted=self.made.adopted + 1)
            # What only one side has set was set there: both learn of it, and nothing is cleared.
            words = all_carried(one.words, self.can.right) & two.words
            mine = frozenset(word for word in one.words if carried(word, self.can.right) in words)
            digest = one.print.digest or two.print.digest
            known = replace(one.print, digest=digest, object=None)
            made = Pair(0, one.id, two.id, one.folder, two.folder, mine, words, known)
            made = replace(made, left_object=one.print.object, right_object=two.print.object)
            if one.print.kind != "mail":
                made = replace(made, right_digest=two.print.digest, right_version=two.print.version)
                if one.print.digest != two.print.digest and self.policy.mode == "two-way":
                    self.made.conflicts.append(Conflict(made, "not the same on both sides: each stays as it is"))
            now = _Now(one.id, one.folder, one.words, True), _Now(two.id, two.folder, two.words, True)
            self.made.rows.append(self._both(made.with_side("left", one.id, one.folder, one.words), made, *now))
        for item in self.new["left"].values():
            self._copy("right", item)
        if not strangers:
            return
        for item in self.new["right"].values():
            if self.policy.mode == "two-way":
                self._copy("left", item)
            elif self.policy.mode == "mirror" and self.policy.strict and self.policy.delete != "keep":
                row = Pair(0, None, item.id, item.folder, item.folder, _NONE, item.words, item.print)
                self.made.actions.append(Remove(row, "right", stranger=True))

    def _copy(self, side: Side, item: Item) -> None:
        size, at = item.print.size, item.print.received_at
        is_large = self.policy.max_size is not None and size is not None and size > self.policy.max_size
        is_mail = item.print.kind == "mail"  # an appointment that was made long ago may be next week's
        most = self.policy.max_age_s if is_mail else None
        is_wanted = not is_mail or self.search.may_take(item)
        if (
            is_large
            or not is_wanted
            or (most is not None and self.now is not None and at is not None and self.now - at > most)
        ):
            self.made.skipped.append(item)
            return
        self.made.actions.append(Copy(side, item, item.folder))

    def guard(self, total: int) -> None:
        """Drop all removals where they are too many."""
        removals = [action for action in self.made.actions if isinstance(action, Remove)]
        allowed = self.policy.removals_of(total)
        if self.policy.allow_removal:
            return
        if len(self.lost) > allowed:
            lost = {each.id for each in self.lost}
            rows = [row for row in self.made.rows if not row.id or row.id not in lost]
            self.made = replace(self.made, rows=rows, refused=Refusal(len(lost), allowed, total, is_lost=True))
        if len(removals) <= allowed:
            return
        rest: list[Action] = [action for action in self.made.actions if not isinstance(action, Remove)]
        self.made = replace(self.made, actions=rest, refused=Refusal(len(removals), allowed, total))


def plan(
    base: Iterable[Pair],
    left: Seen,
    right: Seen,
    policy: Policy,
    can: Abilities,
    *,
    total: int = 0,
    now: float | None = None,
    strangers: bool = True,
) -> Plan:
    """Return what is to be done.

    `base`: the rows of everything that was told of, and of all in folders that were listed as a whole. `total`: how
    many items the mailbox has, for the guard. `now`: seconds since 1970, for the age. `strangers`: the left side is
    known to the end, so that what only the right has is a matter.
    """
    planner = _Planner(left, right, policy, can, now)
    for pair, sides in planner.states(base):
        planner.pair(pair, sides["left"], sides["right"])
    planner.unpaired(strangers=strangers)
    planner.guard(total)
    return planner.made


def doubts(base: Iterable[Pair], left: Seen, right: Seen, can: Abilities) -> dict[Side, set[str]]:
    """Return the ids of new items, by side, whose digests `plan` needs to tell who is the same as who."""
    seen: dict[Side, Seen] = {"left": left, "right": right}
    new: dict[Side, dict[str, Item]] = {"left": dict(left.items), "right": dict(right.items)}
    gone: dict[Side, list[Pair]] = {"left": [], "right": []}
    edited: dict[Side, set[str]] = {"left": set(), "right": set()}
    for pair in base:
        for side in SIDES:
            id = pair.on(side)
            if id is None:
                continue
            told = new[side].pop(id, None)
            if told is not None:
                print = told.print
                if print.kind != "mail" and print.version != pair.stamp_on(side)[0] and print.digest is None:
                    edited[side].add(id)
            elif id in seen[side].gone or pair.folder_on(side) in seen[side].whole:
                gone[side].append(pair)
    lefts, rights = in_doubt(new["left"].values(), new["right"].values(), exact=can.exact)
    asked: dict[Side, set[str]] = {"left": lefts | edited["left"], "right": rights | edited["right"]}
    for side in SIDES:
        named = _named(new[side].values()) if gone[side] else {}
        for pair in gone[side]:
            asked[side] |= {
                item.id for item in _likely(pair, named) if same_again(pair.print_on(side), item.print) is None
            }
    return asked


def _named(items: Iterable[Item]) -> dict[str | None, list[Item]]:
    named: dict[str | None, list[Item]] = defaultdict(list)
    for item in items:
        named[item.print.message_id].append(item)
    return named


def _likely(pair: Pair, named: Mapping[str | None, list[Item]]) -> Iterable[Item]:
    """Yield the items that may be a pair's: those of its Message-ID, and those of which none is known."""
    name = pair.print.message_id
    if name is not None:
        yield from named.get(name, ())
        yield from named.get(None, ())
    else:
        for items in named.values():
            yield from items


def with_digests(seen: Seen, digests: Mapping[str, bytes], names: Mapping[str, str | None] | None = None) -> Seen:
    """Return what was seen with digests of items filled in, and `names` as what is their Message-ID or UID."""
    if not digests:
        return seen
    named = names or {}

    def known(item: Item) -> Item:
        print = replace(item.print, digest=digests[item.id], message_id=named.get(item.id, item.print.message_id))
        return Item(item.id, item.folder, item.words, print)

    items = {id: known(item) if id in digests else item for id, item in seen.items.items()}
    return replace(seen, items=items)
