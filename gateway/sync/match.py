"""Which items of two lists are the same, where no id says so: at first contact, after ids or the state were lost.

Multisets: what is there n times on one side and m times on the other makes min(n, m) pairs, so real duplicates stay.
Message-ID and size alone never make two items one: where they agree, the date of receipt does too and there is no
other candidate, or the digests decide. Only they need bodies, and `doubts` names those alone.
Stores that do not give octets back as they were can't be told apart by digests: there, Message-ID and date decide.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final

from gateway.sync.values import Item, Print

SAME_TIME_S: Final = 1.5
"""Stores keep whole seconds, and not all round alike."""


class Matcher:
    """Two lists, held against each other. `exact`: both sides give octets back as they were."""

    def __init__(self, lefts: Sequence[Item], rights: Sequence[Item], *, exact: bool) -> None:
        self._lefts = lefts
        self._exact = exact
        self._by_id: dict[str, list[Item]] = defaultdict(list)
        self._by_size: dict[int | None, list[Item]] = defaultdict(list)
        self._nameless: dict[int | None, list[Item]] = defaultdict(list)
        self._by_second: dict[int, list[Item]] = defaultdict(list)
        """Those without a Message-ID by when they were received: one that was changed on its way has another size."""
        for item in rights:
            if item.print.message_id is not None:
                self._by_id[item.print.message_id].append(item)
            else:
                self._nameless[item.print.size].append(item)
                if item.print.received_at is not None:
                    self._by_second[int(item.print.received_at)].append(item)
            self._by_size[item.print.size].append(item)
        self._often = Counter(item.print.message_id for item in lefts)

    def candidates(self, left: Item) -> Iterable[Item]:
        """Yield the rights that may be the same as a left."""
        size, message_id = left.print.size, left.print.message_id
        sized = self._by_size if message_id is None else self._nameless
        if message_id is not None:
            yield from self._by_id.get(message_id, ())
        yield from sized.get(size, ())
        if message_id is None and left.print.received_at is not None:
            second = int(left.print.received_at)
            for at in (second - 1, second, second + 1):
                yield from (item for item in self._by_second.get(at, ()) if item.print.size != size)
        if size is not None:
            yield from sized.get(None, ())
        else:
            for each, items in sized.items():
                if each is not None:
                    yield from items

    def _same(self, left: Item, right: Item) -> bool | None:
        """Tell whether two are the same; None where their digests are to say so."""
        one, two = left.print, right.print
        if left.folder != right.folder:
            return False
        if one.digest is not None and two.digest is not None:
            return one.digest == two.digest
        has_same_id = one.message_id is not None and one.message_id == two.message_id
        at_once = _close(one, two)
        if not self._exact:
            return has_same_id and at_once is not False
        if not _sizes_fit(one.size, two.size):
            return None if has_same_id else False  # servers are known to lie about sizes
        is_only = self._often[one.message_id] == 1 and len(self._by_id.get(two.message_id or "", ())) == 1
        if has_same_id and at_once and is_only and one.size == two.size and one.size is not None:
            return True
        return None

    def doubts(self) -> tuple[set[str], set[str]]:
        """Return the ids, left and right, whose digests are needed and not known."""
        lefts: set[str] = set()
        rights: set[str] = set()
        for left in self._lefts:
            for right in self.candidates(left):
                if self._same(left, right) is None:
                    if left.print.digest is None:
                        lefts.add(left.id)
                    if right.print.digest is None:
                        rights.add(right.id)
        return lefts, rights

    def pairs(self) -> list[tuple[Item, Item]]:
        """Return what is the same; what is in doubt is not."""
        used: set[str] = set()
        found: list[tuple[Item, Item]] = []
        for left in self._lefts:
            best: Item | None = None
            for right in self.candidates(left):
                if right.id in used or not self._same(left, right):
                    continue
                if best is None or (_close(left.print, right.print) and not _close(left.print, best.print)):
                    best = right
            if best is not None:
                used.add(best.id)
                found.append((left, best))
        return found


def same_objects(lefts: Iterable[Item], rights: Iterable[Item]) -> list[tuple[Item, Item]]:
    """Return which items of other kinds than mail are the same: by their digests, then by their UIDs alone."""
    found: list[tuple[Item, Item]] = []
    lefts, rest = list(lefts), {item.id: item for item in rights}
    for by_digest in (True, False):
        there: dict[tuple[object, ...], list[Item]] = defaultdict(list)
        for item in rest.values():
            there[_named_by(item, by_digest)].append(item)
        left_over: list[Item] = []
        for item in lefts:
            name = _named_by(item, by_digest)
            if name[-1] is None or not there[name]:
                left_over.append(item)
                continue
            found.append((item, there[name].pop(0)))
            del rest[found[-1][1].id]
        lefts = left_over
    return found


def _named_by(item: Item, by_digest: bool) -> tuple[object, ...]:
    return item.folder, item.print.kind, item.print.digest if by_digest else item.print.message_id


def same_items(lefts: Iterable[Item], rights: Iterable[Item], *, exact: bool) -> list[tuple[Item, Item]]:
    """Return what is the same, of whatever kinds."""
    (mails, objects), (other_mails, others) = apart(lefts), apart(rights)
    found = Matcher(mails, other_mails, exact=exact).pairs()
    return found + same_objects(objects, others) if objects and others else found


def in_doubt(lefts: Iterable[Item], rights: Iterable[Item], *, exact: bool) -> tuple[set[str], set[str]]:
    """Return the ids, left and right, whose digests `same_items` needs and that are not known."""
    (mails, objects), (other_mails, others) = apart(lefts), apart(rights)
    one, two = Matcher(mails, other_mails, exact=exact).doubts()
    if objects and others:
        both = {item.folder for item in objects} & {item.folder for item in others}
        one |= {item.id for item in objects if item.folder in both and item.print.digest is None}
        two |= {item.id for item in others if item.folder in both and item.print.digest is None}
    return one, two


def apart(items: Iterable[Item]) -> tuple[list[Item], list[Item]]:
    """Return what is mail, and what is not."""
    mails: list[Item] = []
    objects: list[Item] = []
    for item in items:
        (mails if item.print.kind == "mail" else objects).append(item)
    return mails, objects


class Pool:
    """What one side has and no row is of. For each page of the other side it gives those that may be the same, so that
    a page costs by what is in it."""

    def __init__(self, items: Mapping[str, Item]) -> None:
        self.items = dict(items)
        self._index = Matcher([], apart(items.values())[0], exact=True)

    def near(self, page: Iterable[Item]) -> dict[str, Item]:
        """Return what may be the same as something of a page."""
        if not self.items:
            return {}
        mails, objects = apart(page)
        found = [item.id for left in mails for item in self._index.candidates(left)]
        if objects:
            found += [item.id for item in self.items.values() if item.print.kind != "mail"]
        return {id: self.items[id] for id in found if id in self.items}

    def settle(self, items: Mapping[str, Item], paired: Set[str | None]) -> None:
        """Note what is known of items now, and which have a row."""
        self.items |= {id: item for id, item in items.items() if id in self.items}
        for id in paired & self.items.keys():
            del self.items[id or ""]


def _close(one: Print, two: Print) -> bool | None:
    if one.received_at is None or two.received_at is None:
        return None
    return abs(one.received_at - two.received_at) <= SAME_TIME_S


def _sizes_fit(one: int | None, two: int | None) -> bool:
    """Tell whether two sizes may be those of one message: line ends count one octet or two each, and what was encoded
    on its way is larger and says in its header that it is."""
    if one is None or two is None:
        return True
    return max(one, two) <= 2 * min(one, two) + 512


def same_again(before: Print, now: Print) -> bool | None:
    """Tell whether a new item is one that just went from the same side; None where the new one's digest is to say so.

    Message-ID, size and date at once are enough here, where nothing is left out for it: it is taken for the same.
    """
    if before.kind != now.kind:
        return False
    if before.object is not None and before.object == now.object:
        return True  # another one says nothing: a mailbox that was restored has new ones throughout
    if before.digest is not None and now.digest is not None:
        return before.digest == now.digest
    if not _sizes_fit(before.size, now.size):
        return False
    if before.message_id is not None and now.message_id is not None:
        return before.message_id == now.message_id and _close(before, now) is not False
    if before.digest is not None:
        return None
    return before.size is not None and before.size == now.size and _close(before, now) is True
