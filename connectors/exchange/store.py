"""The mailboxes of an organisation as a store: one OpenMailbox over an Organisation and its Shelf.

Promises: what Exchange says of one item never hides another's result; a request is never repeated here, and one whose
result isn't known is told as such; what Exchange does not hold is dropped with a note. Items are fetched in batches of
a few megabytes, a large one alone.
Known limits: Exchange remembers of an item that it was answered or that it was forwarded, whichever was last. A draft
is made as one and stays one. An item that is put in by its native form has its key a moment after it is there.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

from connectors.exchange.faults import outcome
from connectors.exchange.organisation import SYNC_STATE_LOST, Fault, New, Organisation, Ref, Seen
from connectors.exchange.shelf import CLASSES, Change, Lossless, Row, Shelf, Verb
from gateway.contract import (
    FLAGS,
    Appended,
    Changes,
    Content,
    Facts,
    Fate,
    Folder,
    Form,
    Holds,
    ItemState,
    Kind,
    NewItem,
    Note,
    Scope,
    Status,
    StoreFault,
)

T = TypeVar("T")

MIB: Final = 1024 * 1024
BATCH_ITEMS: Final = 20
BATCH_BYTES: Final = 8 * MIB
UNKNOWN_BYTES: Final = MIB
"""What an item is taken to have of which no listing told the size."""
_REMEMBERED: Final = 100_000
_GONE: Final = Status("4.2.0", "the item is not there any more")
_NOT_THERE: Final = frozenset(
    {"ErrorItemNotFound", "ErrorInvalidIdMalformed", "ErrorInvalidId", "ErrorInvalidIdEmpty", "HTTP 404"}
)
_NO_FORM: Final = Status("5.6.3", "the store has no such form of the item")
_SYSTEM: Final = frozenset(("IPF.Configuration", "IPF.Note.OutlookHomepage", "IPF.Files"))


class ExchangeMailbox:
    """An open mailbox; `poll_s` is how often `watch` hints each folder."""

    def __init__(self, mailbox: str, organisation: Organisation, shelf: Shelf, poll_s: float) -> None:
        self._mailbox = mailbox
        self._organisation = organisation
        self._shelf = shelf
        self._poll_s = poll_s
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def holds(self) -> Holds:
        return self._shelf.holds

    async def facts(self) -> Facts:
        """Nothing is told here: quotas and rights are asked of Exchange by an administrator's commands."""
        return Facts()

    # -- folders

    async def folders(self) -> list[Folder]:
        return paths(await self._asked(self._shelf.folders(self._mailbox)))

    async def create_folder(self, path: tuple[str, ...], kind: Kind = "mail") -> Folder:
        known = {_folded(folder.path): folder for folder in await self.folders()}
        parent = ""
        found: Folder | None = None
        for depth in range(1, len(path) + 1):
            part = path[:depth]
            found = known.get(_folded(part))
            if found is None:
                id = await self._asked(self._shelf.make_folder(self._mailbox, parent, part[-1], kind))
                found = Folder(id, part, kind, total=0, unread=0)
            parent = found.id
        if found is None:
            raise StoreFault(Status("5.6.0", "a folder has a name"), Scope.MESSAGE)
        if found.kind != kind:
            raise StoreFault(Status("5.6.0", f"the folder is there, and holds {found.kind}"), Scope.MESSAGE)
        return found

    async def rename_folder(self, id: str, path: tuple[str, ...]) -> Folder:
        folders = {folder.id: folder for folder in await self.folders()}
        here = folders.get(id)
        if here is None or not path:
            raise StoreFault(Status("4.2.0", "the folder is not there any more"), Scope.MESSAGE)
        parent: str | None = None
        if _folded(path[:-1]) != _folded(here.path[:-1]):
            parent = (await self.create_folder(path[:-1], here.kind)).id if path[:-1] else ""
        name = path[-1] if path[-1] != here.path[-1] else None
        if parent is not None or name is not None:
            await self._asked(self._shelf.change_folder(self._mailbox, id, name=name, parent=parent))
        return Folder(id, path, here.kind, here.role, here.total, here.unread)

    async def remove_folder(self, id: str) -> None:
        await self._asked(self._shelf.drop_folder(self._mailbox, id))

    async def subscribe(self, id: str, on: bool) -> None:
        """Exchange has no subscriptions: every folder is shown."""

    # -- what is there

    async def changes(self, folder: str, token: str | None, limit: int = 500) -> Changes:
        reset = token is None
        try:
            listing = await self._shelf.listing(self._mailbox, folder, token, limit)
        except Fault as e:
            if e.code != SYNC_STATE_LOST or token is None:
                raise _store_fault(e) from None
            listing = await self._asked(self._shelf.listing(self._mailbox, folder, None, limit))
            reset = True
        for state in listing.items:
            if state.size is not None:
                self._sizes[state.id] = state.size
        while len(self._sizes) > _REMEMBERED:
            self._sizes.popitem(last=False)
        return Changes(listing.items, listing.gone, listing.token, listing.more, reset)

    async def fetch(self, ids: Sequence[str], form: Form = "mime") -> AsyncIterator[tuple[str, Content | Status]]:
        for batch in self._batches(ids):
            found = await (self._mime(batch) if form == "mime" else self._lossless(batch, form))
            for id in batch:
                yield id, found.pop(id, _GONE)

    async def _mime(self, ids: Sequence[str]) -> dict[str, Content | Status]:
        seen = [Seen(Ref(self._mailbox, id), self._size(id), "", None, None) for id in ids]
        found: dict[str, Content | Status] = {}
        try:
            async with aclosing(self._organisation.mime(seen)) as answers:  # type: ignore[type-var]  # all are generators
                async for ref, content in answers:
                    found[ref.id] = _status(content) if isinstance(content, Fault) else content
        except Fault as e:
            raise _store_fault(e) from None
        return found

    async def _lossless(self, ids: Sequence[str], form: Form) -> dict[str, Content | Status]:
        if form == "native" and self._shelf.holds.native is None:
            return dict.fromkeys(ids, _NO_FORM)
        answers = await self._asked(self._shelf.lossless(self._mailbox, ids, form))
        pairs = zip(ids, answers, strict=True)
        return {id: _status(answer) if isinstance(answer, Fault) else answer for id, answer in pairs}

    async def find(self, folder: str, keys: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for some in _split(keys, BATCH_ITEMS):
            found |= await self._asked(self._shelf.found(self._mailbox, folder, some))
        return found

    # -- what is put in

    async def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        made: list[Appended | Status] = []
        for batch in _appended_together(items):
            try:
                if batch[0].form == "mime":
                    made += await self._append(folder, batch)
                else:
                    made += await self._put(folder, batch)
            except Fault as e:
                fault = _store_fault(e)
                # What earlier batches made is not told by a fault: it is there to be found.
                fault.unknown = fault.unknown or bool(made)
                raise fault from None
        return made

    async def _append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        new = [
            New(
                each.key,
                each.content,
                received_at=each.received_at,
                is_read="seen" in each.flags,
                flagged="flagged" in each.flags,
                categories=tuple(sorted(each.keywords)),
                draft="draft" in each.flags,
            )
            for each in items
        ]
        made = await self._organisation.create(self._mailbox, folder, new)
        answers: list[Appended | Status] = []
        verbs: list[tuple[int, str, Verb]] = []
        for each, answer in zip(items, made, strict=True):
            if isinstance(answer, Fault):
                answers.append(_status(answer))
                continue
            if answer.ref is None:
                answers.append(Status("4.3.0", "the store does not tell what it made"))
                continue
            held = self._shelf.holds.flags
            notes = [*answer.notes, *(_dropped(flag) for flag in sorted(each.flags - held))]
            verb: Verb = "forwarded" if "forwarded" in each.flags else "answered" if "answered" in each.flags else ""
            if "draft" in each.flags and each.received_at is not None and not self._shelf.dates_drafts:
                notes.append(Note(Fate.DROPPED, "the date it came", "a draft has that at which it was made"))
            if {"answered", "forwarded"} <= each.flags:
                notes.append(Note(Fate.DROPPED, "flag answered", "Exchange remembers what was done last alone"))
            if verb:
                verbs.append((len(answers), answer.ref.id, verb))
            answers.append(Appended(answer.ref.id, tuple(notes)))
        if verbs:
            await self._mark(answers, verbs)
        return answers

    async def _mark(self, answers: list[Appended | Status], verbs: Sequence[tuple[int, str, Verb]]) -> None:
        """Say of new items what was done with them: that can't go along with the MIME."""
        states = await self._shelf.states(self._mailbox, [id for _, id, _ in verbs])
        changes = [
            (state, Change(verb=verb))
            for state, (_, _, verb) in zip(states, verbs, strict=True)
            if not isinstance(state, Fault)
        ]
        done = iter(await self._shelf.change(self._mailbox, changes)) if changes else iter(())
        for state, (place, id, verb) in zip(states, verbs, strict=True):
            failed = isinstance(state, Fault) or isinstance(next(done), Fault)
            held = answers[place]
            if failed and isinstance(held, Appended):
                note = Note(Fate.DROPPED, f"flag {verb}", "the store did not take it")
                answers[place] = Appended(id, (*held.notes, note))

    async def _put(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        if items[0].form == "native" and self._shelf.holds.native is None:
            return [_NO_FORM for _ in items]
        lossless = [Lossless(each.key, each.content, each.form, each.kind) for each in items]
        answers = await self._shelf.put(self._mailbox, folder, lossless)
        return [_status(answer) if isinstance(answer, Fault) else Appended(answer) for answer in answers]

    # -- what is changed

    async def set_flags(self, ids: Sequence[str], add: frozenset[str], remove: frozenset[str]) -> list[str | Status]:
        answers: list[str | Status] = []
        for some in _split(ids, BATCH_ITEMS):
            answers += await self._set_flags(some, add, remove)
        return answers

    async def _set_flags(self, ids: Sequence[str], add: frozenset[str], remove: frozenset[str]) -> list[str | Status]:
        states = await self._asked(self._shelf.states(self._mailbox, ids))
        changes = [(state, change_of(state, add, remove)) for state in states if not isinstance(state, Fault)]
        needed = [pair for pair in changes if not pair[1].is_nothing]
        done = iter(await self._asked(self._shelf.change(self._mailbox, needed)) if needed else ())
        said = iter(changes)
        answers: list[str | Status] = []
        for state in states:
            if isinstance(state, Fault):
                answers.append(_status(state))
                continue
            _, change = next(said)
            answer = state.version if change.is_nothing else next(done)
            answers.append(_status(answer) if isinstance(answer, Fault) else answer)
        return answers

    async def move(self, ids: Sequence[str], folder: str) -> list[str | Status]:
        answers: list[str | Status] = []
        for some in _split(ids, BATCH_ITEMS):
            moved = await self._asked(self._shelf.move(self._mailbox, some, folder))
            answers += [_status(answer) if isinstance(answer, Fault) else answer for answer in moved]
        return answers

    async def remove(self, ids: Sequence[str], *, purge: bool = False) -> list[Status | None]:
        answers: list[Status | None] = []
        for some in _split(ids, BATCH_ITEMS):
            for answer in await self._asked(self._shelf.remove(self._mailbox, some, purge=purge)):
                answers.append(None if answer is None or answer.code in _NOT_THERE else _status(answer))
        return answers

    async def watch(self, folders: Sequence[str]) -> AsyncIterator[str]:
        """Hint every folder now and then. Streams of notifications are the source's: an account has few of them."""
        while True:
            await asyncio.sleep(self._poll_s)
            for folder in folders:
                yield folder

    # -- inner

    async def _asked(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except Fault as e:
            raise _store_fault(e) from None

    def _size(self, id: str) -> int:
        return self._sizes.get(id, UNKNOWN_BYTES)

    def _batches(self, ids: Sequence[str]) -> Iterator[list[str]]:
        return _together(ids, self._size)


def paths(rows: Sequence[Row]) -> list[Folder]:
    """Return folders with their paths, each parent before its children; none that hold what nobody reads. Pure."""
    by_id = {row.id: row for row in rows}
    found: list[Folder] = []
    needed: set[str] = set()
    for row in rows:
        path: list[str] = []
        at: Row | None = row
        above: list[str] = []
        while at is not None and len(path) < len(rows):
            path.insert(0, at.name)
            above.append(at.id)
            at = by_id.get(at.parent)
        if kind_of(row.folder_class) is not None:
            needed.update(above)
        kind = kind_of(row.folder_class) or "mail"
        found.append(Folder(row.id, tuple(path), kind, row.role, row.total, row.unread))
    return sorted((folder for folder in found if folder.id in needed), key=lambda f: (len(f.path), f.path))


def kind_of(folder_class: str) -> Kind | None:
    """Return what a folder of a class holds; None where it is none of a person's."""
    if not folder_class or folder_class.startswith("IPF.Note"):
        return None if folder_class in _SYSTEM else "mail"
    for kind, prefix in CLASSES.items():
        if folder_class.startswith(prefix):
            return kind
    return None


def change_of(state: ItemState, add: frozenset[str], remove: frozenset[str]) -> Change:
    """Return what is to be changed so that an item has what is added and not what is removed. Pure."""
    flags = (state.flags | (add & FLAGS)) - remove

    def changed(flag: str) -> bool | None:
        return None if (flag in flags) == (flag in state.flags) else flag in flags

    keywords = (state.keywords | (add - FLAGS)) - remove
    verb: Verb | None = None
    if "forwarded" in add or "answered" in add:
        verb = "forwarded" if "forwarded" in add else "answered"
        verb = None if state.flags >= {verb} else verb
    elif state.flags & {"answered", "forwarded"} and not flags & {"answered", "forwarded"}:
        verb = ""
    return Change(
        changed("seen"),
        changed("flagged"),
        verb,
        tuple(sorted(keywords)) if keywords != state.keywords else None,
    )


def _appended_together(items: Sequence[NewItem]) -> Iterator[list[NewItem]]:
    """Yield items to go in one request: of one form, in order, and few enough octets."""
    start = 0
    for end in range(1, len(items) + 1):
        if end == len(items) or items[end].form != items[start].form:
            yield from _together(items[start:end], lambda item: item.content.size)
            start = end


def _together(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    batch: list[T] = []
    octets = 0
    for item in items:
        if batch and (len(batch) >= BATCH_ITEMS or octets + size(item) > BATCH_BYTES):
            yield batch
            batch, octets = [], 0
        batch.append(item)
        octets += size(item)
    if batch:
        yield batch


def _split(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _folded(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return a path as Exchange compares it: without regard to case."""
    return tuple(name.casefold() for name in path)


def _dropped(flag: str) -> Note:
    return Note(Fate.DROPPED, f"flag {flag}", "Exchange has no such flag")


def _status(fault: Fault) -> Status:
    if fault.code == "ErrorUnsupportedMimeConversion":
        return _NO_FORM
    return _GONE if fault.code in _NOT_THERE else outcome(fault).status


def _store_fault(fault: Fault) -> StoreFault:
    found = outcome(fault)
    retry_after_s = getattr(found, "retry_after_s", None)
    scope = getattr(found, "scope", Scope.MESSAGE)
    if scope is Scope.HOP and not (fault.everywhere or fault.why in ("unreachable", "denied")):
        scope = Scope.RECIPIENT  # Exchange counts by mailbox
    return StoreFault(found.status, scope, retry_after_s, unknown=fault.why == "unknown")
