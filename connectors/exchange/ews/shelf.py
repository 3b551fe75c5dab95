"""The shelf by EWS: hierarchy, states and changes of items, and items whole by ExportItems and UploadItems.

Promises: an uploaded item comes into its folder with its key: it is uploaded beside the folders that people see, gets
its key there, and is moved; what breaks off before that is not in the folder, and is removed later.
Known limits: folders are told apart by their class; of a folder that is renamed and moved at once, one of the two may
be done when the other fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from connectors.exchange import calendars
from connectors.exchange.calendars import Task
from connectors.exchange.ews.answer import Answer, refusal
from connectors.exchange.ews.calls.folders import ROW, CreateFolder, FindFolder, GetFolder, read_folders, read_more
from connectors.exchange.ews.calls.items import (
    DeleteItem,
    FindDelivered,
    GetMime,
    MoveItem,
    items_of,
    read_delivered,
)
from connectors.exchange.ews.calls.paths import ROLES, ROOT, TOP, Place
from connectors.exchange.ews.calls.shelf import (
    CreateObjects,
    DeleteFolder,
    ExportItems,
    GetStates,
    MakeFolder,
    MoveFolder,
    RenameFolder,
    SetKey,
    SyncStates,
    UpdateStates,
    UploadItems,
    read_exported,
    read_made,
    read_state,
    read_states,
    read_uploaded,
)
from connectors.exchange.ews.calls.tasks import CreateTasks, GetTasks, read_task
from connectors.exchange.ews.places import NOT_THERE
from connectors.exchange.organisation import Fault
from connectors.exchange.shelf import Change, Listing, Lossless, Row
from gateway.contract import KINDS, Content, FolderRole, Form, Holds, ItemState, Kind

A = TypeVar("A")

ARRIVING: Final = "Gatepost arriving"
"""A folder beside those that people see, for items that have no key yet."""
NATIVE: Final = "exchange-fts"
"""The opaque stream of ExportItems (MS-OXCFXICS fast transfer)."""
_NO_FORM: Final = "ErrorUnsupportedMimeConversion"
_NO_MIME: Final = frozenset({_NO_FORM, "NoItem", "ErrorMimeContentConversionFailed", "ErrorContentConversionFailed"})
_GONE: Final = frozenset({NOT_THERE, "ErrorItemNotFound", "ErrorInvalidIdMalformed", "ErrorInvalidFolderId"})
_ROLES: Final[tuple[tuple[FolderRole, str], ...]] = (
    *ROLES.items(),
    ("calendar", "calendar"),
    ("contacts", "contacts"),
    ("tasks", "tasks"),
    ("notes", "notes"),
)
_BATCH: Final = 20
_MOST_PAGES: Final = 1000


def holds(max_item_bytes: int) -> Holds:
    """Return what a mailbox holds, as far as EWS shows it."""
    return Holds(
        flags=frozenset(("seen", "answered", "flagged", "draft", "forwarded")),
        keywords=True,
        internal_date=True,
        change_tokens=True,
        stable_ids=False,
        exact=False,
        kinds=KINDS,
        native=NATIVE,
        max_item_bytes=max_item_bytes,
        max_depth=300,
    )


class EwsShelf:
    """Asks by `ask(mailbox, service, …)`; `named` returns a folder that every mailbox has."""

    def __init__(
        self, ask: Callable[..., Awaitable[list[Answer]]], named: Callable[[str, str], Place], max_item_bytes: int
    ) -> None:
        self._ask = ask
        self._named = named
        self._arriving: dict[str, str] = {}
        self._uploading = asyncio.Lock()
        self.holds = holds(max_item_bytes)
        self.dates_drafts = True

    # -- folders

    async def folders(self, mailbox: str) -> list[Row]:
        top = self._named(mailbox, TOP)
        roles: dict[str, FolderRole] = {}
        answers = await self._ask(mailbox, GetFolder, [top, *(self._named(mailbox, name) for _, name in _ROLES)])
        names: list[FolderRole | None] = [None, *(role for role, _ in _ROLES)]
        for role, answer in zip(names, answers, strict=False):
            if answer.ok and role is not None:
                roles |= {row.id: role for row in read_folders(answer.element)}
        found: list[Row] = []
        offset: int | None = 0
        for _ in range(_MOST_PAGES):
            answer = self._one(await self._ask(mailbox, FindFolder, top, deep=True, offset=offset))
            for row in read_folders(answer.element):
                found.append(
                    Row(row.id, row.name, row.parent, row.folder_class, roles.get(row.id), row.total, row.unread)
                )
            offset = read_more(answer.element)
            if offset is None:
                break
        return found

    async def make_folder(self, mailbox: str, parent: str, name: str, kind: Kind) -> str:
        answer = self._one(await self._ask(mailbox, MakeFolder, self._place(mailbox, parent), name, kind))
        for row in read_folders(answer.element):
            return row.id
        raise Fault(NOT_THERE, "the server tells no folder")

    async def change_folder(self, mailbox: str, id: str, *, name: str | None, parent: str | None) -> None:
        if parent is not None:
            self._one(await self._ask(mailbox, MoveFolder, id, self._place(mailbox, parent)))
        if name is not None:
            answer = self._one(await self._ask(mailbox, GetFolder, [Place(id=id)], ROW))
            for row in read_folders(answer.element):
                self._one(await self._ask(mailbox, RenameFolder, row.id, row.version, name))

    async def drop_folder(self, mailbox: str, id: str) -> None:
        answer = (await self._ask(mailbox, DeleteFolder, id))[0]
        if not answer.ok and answer.code not in _GONE:
            raise refusal(answer)

    def _place(self, mailbox: str, id: str) -> Place:
        return Place(id=id) if id else self._named(mailbox, TOP)

    # -- items

    async def listing(self, mailbox: str, folder: str, token: str | None, limit: int) -> Listing:
        answer = self._one(await self._ask(mailbox, SyncStates, Place(id=folder), token, limit))
        items, marked, gone, next_token, more = read_states(answer.element)
        for some in _split(marked):
            for state in await self.states(mailbox, some):
                if not isinstance(state, Fault):
                    items.append(state)
                elif state.code not in _GONE:
                    raise state  # a listing is whole or it is none
        return Listing(tuple(items), tuple(gone), next_token, more)

    async def states(self, mailbox: str, ids: Sequence[str]) -> list[ItemState | Fault]:
        answers = await self._ask(mailbox, GetStates, ids)
        return [_read(answer, _state) for answer in _padded(answers, ids)]

    async def change(self, mailbox: str, changes: Sequence[tuple[ItemState, Change]]) -> list[str | Fault]:
        answers = await self._ask(mailbox, UpdateStates, changes)
        return [_read(answer, lambda element: _second(read_made(element))) for answer in _padded(answers, changes)]

    async def found(self, mailbox: str, folder: str, keys: Sequence[str]) -> dict[str, str]:
        answer = self._one(await self._ask(mailbox, FindDelivered, [Place(id=folder)], keys))
        return {key: id for key, id, _ in read_delivered(answer.element)}

    async def move(self, mailbox: str, ids: Sequence[str], folder: str) -> list[str | Fault]:
        answers = await self._ask(mailbox, MoveItem, ids, Place(id=folder))
        return [_read(answer, lambda element: _first(read_made(element))) for answer in _padded(answers, ids)]

    async def remove(self, mailbox: str, ids: Sequence[str], *, purge: bool) -> list[Fault | None]:
        answers = await self._ask(mailbox, DeleteItem, ids, "HardDelete" if purge else "MoveToDeletedItems")
        return [None if answer is not None and answer.ok else _fault(answer) for answer in _padded(answers, ids)]

    # -- items whole

    async def lossless(self, mailbox: str, ids: Sequence[str], form: Form) -> list[Content | Fault]:
        if form == "native":
            answers = await self._ask(mailbox, ExportItems, ids)
            return [_read(answer, lambda element: _content(read_exported(element))) for answer in _padded(answers, ids)]
        # What Exchange gives as the MIME of an appointment is iCalendar, and of a contact a vCard.
        begins = b"BEGIN:VCARD" if form == "vcard" else b"BEGIN:VCALENDAR"
        answers = await self._ask(mailbox, GetMime, ids)
        found = [_mime(answer) for answer in _padded(answers, ids)]
        others: list[int] = []
        for number, each in enumerate(found):
            is_other = isinstance(each, Content) and not each.octets().lstrip().upper().startswith(begins)
            if is_other or (isinstance(each, Fault) and each.code in _NO_MIME):
                others.append(number)
                found[number] = Fault(_NO_FORM, f"the item has no form {form}")
        if others and form == "ical":
            asked = [ids[number] for number in others]
            for number, answer in zip(others, _padded(await self._ask(mailbox, GetTasks, asked), asked), strict=True):
                task = _read(answer, read_task)
                if isinstance(task, Task):
                    found[number] = Content(calendars.write(task))
        return found

    async def put(self, mailbox: str, folder: str, items: Sequence[Lossless]) -> list[str | Fault]:
        place = Place(id=folder)
        if items[0].form != "native":
            return await self._put_objects(mailbox, place, items)
        async with self._uploading:
            return await self._put_native(mailbox, folder, items)

    async def _put_native(self, mailbox: str, folder: str, items: Sequence[Lossless]) -> list[str | Fault]:
        """Upload, write the keys, move: only the last makes them the folder's."""
        arriving = Place(id=await self._arriving_folder(mailbox))
        try:
            answers = await self._ask(mailbox, UploadItems, arriving, items)
            made: list[Any] = [_read(answer, read_uploaded) for answer in _padded(answers, items)]
            there = [n for n, each in enumerate(made) if not isinstance(each, Fault)]
            if there:
                keys = [(*made[n], items[n].key) for n in there]
                for n, answer in zip(there, _padded(await self._ask(mailbox, SetKey, keys), keys), strict=True):
                    made[n] = made[n][0] if answer is not None and answer.ok else _fault(answer)
            keyed = [n for n in there if not isinstance(made[n], Fault)]
            if keyed:
                for n, moved in zip(keyed, await self.move(mailbox, [made[n] for n in keyed], folder), strict=True):
                    made[n] = moved
        except Fault:
            self._arriving.pop(mailbox, None)  # what lies there now is removed before it is used again
            raise
        if any(isinstance(made[n], Fault) for n in there):
            self._arriving.pop(mailbox, None)
        return made

    async def _arriving_folder(self, mailbox: str) -> str:
        """Return an empty folder for what is uploaded; what an earlier use left in it goes with it."""
        known = self._arriving.get(mailbox)
        if known is not None:
            return known
        root = self._named(mailbox, ROOT)
        for row in read_folders(self._one(await self._ask(mailbox, FindFolder, root, ARRIVING)).element):
            await self.drop_folder(mailbox, row.id)
        answer = self._one(await self._ask(mailbox, CreateFolder, root, ARRIVING))
        for row in read_folders(answer.element):
            self._arriving[mailbox] = row.id
            return row.id
        raise Fault(NOT_THERE, "the server tells no folder")

    async def _put_objects(self, mailbox: str, place: Place, items: Sequence[Lossless]) -> list[str | Fault]:
        tasks = [calendars.read(each.content.octets()) if each.kind == "tasks" else None for each in items]
        made: dict[int, str | Fault] = {}
        plain = [n for n, each in enumerate(items) if each.kind != "tasks"]
        keyed = [(n, items[n].key, task) for n, task in enumerate(tasks) if task is not None]
        for numbers, asking in (
            (plain, (CreateObjects, place, [items[n] for n in plain])),
            ([n for n, _, _ in keyed], (CreateTasks, place, [(key, task) for _, key, task in keyed])),
        ):
            if numbers:
                try:
                    answers = _padded(await self._ask(mailbox, *asking), numbers)
                except Fault as e:
                    if made:
                        e.why = "unknown"  # what was made before is there to be found
                    raise
                made |= {n: _read(answer, _made) for n, answer in zip(numbers, answers, strict=True)}
        none = Fault(_NO_FORM, "it is no task, or one that comes again")
        return [made.get(n, none) for n in range(len(items))]

    def _one(self, answers: Sequence[Answer]) -> Answer:
        if not answers[0].ok:
            raise refusal(answers[0])
        return answers[0]


def _padded(answers: Sequence[Answer], asked: Sequence[Any]) -> Iterator[Answer | None]:
    for number in range(len(asked)):
        yield answers[number] if number < len(answers) else None


def _fault(answer: Answer | None) -> Fault:
    if answer is None or answer.ok:
        return Fault("NoAnswer", "the server gives fewer answers than were asked", "unknown")
    return refusal(answer)


def _read(answer: Answer | None, read: Callable[[Any], A | None]) -> A | Fault:
    if answer is None or not answer.ok:
        return _fault(answer)
    found = read(answer.element)
    return Fault("NoItem", "the server tells no item") if found is None else found


def _state(message: Any) -> ItemState | None:
    return next((state for item in items_of(message) if (state := read_state(item)) is not None), None)


def _made(message: Any) -> str | None:
    return _first(read_made(message))


def _first(found: tuple[str, str] | None) -> str | None:
    return None if found is None else found[0]


def _second(found: tuple[str, str] | None) -> str | None:
    return None if found is None else found[1]


def _mime(answer: Answer | None) -> Content | Fault:
    octets = None if answer is None else answer.mime
    return _read(answer, lambda _: _content(octets))


def _content(octets: bytes | None) -> Content | None:
    return None if octets is None else Content(octets)


def _split(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]
