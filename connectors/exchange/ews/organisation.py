"""EwsOrganisation: an Exchange organisation asked by EWS.

Promises: never more than `max_connections` requests at once; one request for one question, and no repetition but of
what was certainly not done; an item's fault never hides another's result. Everything that blocks runs in `Workers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, nullcontext
from typing import Any, Final, TypeVar

from connectors.exchange.ews.answer import Answer, refusal
from connectors.exchange.ews.calls.items import (
    CreateItem,
    DeleteItem,
    FindDelivered,
    FindLeftOver,
    GetAddressed,
    GetFields,
    GetMime,
    MoveItem,
    SetCategories,
    items_of,
    read_addressed,
    read_categories,
    read_created,
    read_delivered,
)
from connectors.exchange.ews.calls.paths import Place, read_item_id
from connectors.exchange.ews.calls.send import SendItem
from connectors.exchange.ews.calls.sync import SyncFolderItems, read_page
from connectors.exchange.ews.config import EwsConfig
from connectors.exchange.ews.people import People
from connectors.exchange.ews.places import GONE, NOT_THERE, Places
from connectors.exchange.ews.reach import Reach
from connectors.exchange.ews.shelf import EwsShelf
from connectors.exchange.ews.stream import Streams
from connectors.exchange.gather import Gather
from connectors.exchange.organisation import (
    Addressed,
    Delete,
    Fault,
    Finish,
    Made,
    Mark,
    Move,
    New,
    Page,
    Person,
    Ref,
    Seen,
    Where,
)
from gateway.contract import Content, Context, Scope

A = TypeVar("A")

MIB: Final = 1024 * 1024
_LARGE: Final = 4 * MIB
_BATCH_BYTES: Final = 8 * MIB
_BATCH_ITEMS: Final = 20
_ENDED_ITEMS: Final = 50
"""Of one request that moves, marks or deletes: it names each by its id alone, and a round trip is most of its cost."""
_KEYS: Final = 20
_GONE: Final = "ErrorItemNotFound"
_CONFLICT: Final = "ErrorIrresolvableConflict"


class EwsOrganisation:
    """The verbs of `Organisation`, by EWS."""

    def __init__(self, name: str, config: EwsConfig, context: Context) -> None:
        self._config = config
        self._log = context.log
        self._reach = Reach(name, config, context)
        self._places = Places(self._ask, delegate=config.access == "delegate")
        self._people = People(self._ask, config)
        self._streams = Streams(config, context, self._reach)
        self._large = asyncio.Semaphore(config.large_at_once)
        self._finishes: Gather[Ref, None] = Gather(self._finish, _ENDED_ITEMS)

    async def start(self) -> None:
        await self._reach.start()

    async def stop(self) -> None:
        await self._streams.stop()
        await self._reach.stop()

    def trouble(self) -> str | None:
        return self._reach.trouble() or self._streams.trouble()

    # -- folders

    async def folder(self, mailbox: str, where: Where, *, create: bool = False) -> str:
        return await self._places.id(mailbox, where, create=create)

    async def page(self, mailbox: str, folder: str, token: str | None, limit: int = 100) -> Page:
        answer = self._one(mailbox, await self._ask(mailbox, SyncFolderItems, Place(id=folder), token, limit))
        return read_page(answer.element, mailbox)

    def watch(self, watched: Sequence[tuple[str, str]]) -> AsyncIterator[tuple[str, str]]:
        return self._streams.hints(watched)

    # -- what items hold

    async def mime(self, refs: Sequence[Seen]) -> AsyncIterator[tuple[Ref, Content | Fault]]:
        for batch in batches(refs):
            # Beyond this many octets one message takes three times its size while it is taken out of an answer.
            async with self._large if batch[0].size > _LARGE else nullcontext(), aclosing(self._mime(batch)) as found:
                async for each in found:
                    yield each

    async def _mime(self, batch: Sequence[Seen]) -> AsyncGenerator[tuple[Ref, Content | Fault], None]:
        refs = [each.ref for each in batch]
        try:
            answers = await self._ask(refs[0].mailbox, GetMime, [each.id for each in refs])
        except Fault as e:
            if e.why not in {"unknown", "refused"}:
                raise
            if len(batch) == 1:
                yield refs[0], e
                return
            # One item that the server cannot render must not keep the others.
            for each in batch:
                async for found in self._mime([each]):
                    yield found
            return
        for ref, answer in _paired(refs, answers):
            yield ref, _content(answer)

    async def addressed(self, refs: Sequence[Ref]) -> dict[Ref, Addressed | Fault]:
        found: dict[Ref, Addressed | Fault] = {}
        for start in range(0, len(refs), _BATCH_ITEMS):
            some = refs[start : start + _BATCH_ITEMS]
            answers = await self._ask(some[0].mailbox, GetAddressed, [each.id for each in some])
            for ref, answer in _paired(some, answers):
                items = items_of(answer.element) if answer is not None and answer.ok else []
                found[ref] = read_addressed(items[0]) if items else _fault(answer)
        return found

    # -- what is made and done

    async def create(self, mailbox: str, folder: str, items: Sequence[New]) -> list[Made | Fault]:
        answers = await self._ask(mailbox, CreateItem, Place(id=folder), items)
        made: list[Made | Fault] = []
        for _, answer in _paired(items, answers):
            if answer is not None and answer.ok:
                made.append(Made(read_created(answer.element, mailbox)))
                continue
            made.append(_fault(answer))
            if answer is not None and answer.code in GONE:
                self._places.forget(mailbox)
        return made

    async def find(self, mailbox: str, folders: Sequence[Where], keys: Sequence[str]) -> dict[str, tuple[Ref, str]]:
        ids = [id for each in folders if (id := await self._there(mailbox, each)) is not None]
        found: dict[str, tuple[Ref, str]] = {}
        if not ids:
            return found
        for start in range(0, len(keys), _KEYS):
            some = keys[start : start + _KEYS]
            answers = await self._ask(mailbox, FindDelivered, [Place(id=each) for each in ids], some)
            for id, answer in _paired(ids, answers):
                if answer is None or not answer.ok:
                    # What was not looked at may hold it: a look-up is whole or it is none.
                    self._forget_gone(mailbox, answer)
                    raise _fault(answer)
                for key, item, version in read_delivered(answer.element):
                    found.setdefault(key, (Ref(mailbox, item, version), id))
        return found

    async def _there(self, mailbox: str, where: Where) -> str | None:
        try:
            return await self.folder(mailbox, where)
        except Fault as e:
            if e.code == NOT_THERE:
                return None
            raise

    async def send(self, ref: Ref, *, copy_to: Where) -> None:
        version = ref.version or await self._version(ref)
        copies = Place(id=await self.folder(ref.mailbox, copy_to, create=True))
        self._one(ref.mailbox, await self._ask(ref.mailbox, SendItem, ref.id, version, copies))

    async def left_over(self, mailbox: str, before: float) -> list[Ref]:
        drafts = Place(id=await self.folder(mailbox, "drafts"))
        answer = self._one(mailbox, await self._ask(mailbox, FindLeftOver, drafts, before))
        return [Ref(mailbox, id, version) for _, id, version in read_delivered(answer.element)]

    async def finish(self, ref: Ref, how: Finish) -> None:
        await self._finishes((ref.mailbox, how), ref)

    async def _finish(self, kind: Any, refs: Sequence[Ref]) -> list[Exception | None]:
        """Do one thing with several items of one mailbox."""
        mailbox: str
        how: Finish
        mailbox, how = kind
        ids = [each.id for each in refs]
        match how:
            case Move(folder):
                answers = await self._ask(mailbox, MoveItem, ids, Place(id=folder))
            case Delete(purge):
                answers = await self._ask(mailbox, DeleteItem, ids, "HardDelete" if purge else "MoveToDeletedItems")
            case Mark(category):
                return await self._mark(mailbox, ids, category)
        return [self._done(mailbox, answer) for _, answer in _paired(refs, answers)]

    def _done(self, mailbox: str, answer: Answer | None) -> Fault | None:
        """Say what a finish came to; of an item that is gone there is nothing to do."""
        if answer is not None and (answer.ok or answer.code == _GONE):
            return None
        self._forget_gone(mailbox, answer)
        return _fault(answer)

    async def _mark(self, mailbox: str, ids: Sequence[str], category: str) -> list[Exception | None]:
        results: dict[str, Exception | None] = dict.fromkeys(ids)
        left = list(ids)
        for last in (False, True):
            changes = await self._to_mark(mailbox, left, category, results)
            if not changes:
                break
            answers = await self._ask(mailbox, SetCategories, changes)
            left = []
            for (id, _, _), answer in _paired(changes, answers):
                if answer is not None and answer.code == _CONFLICT and not last:
                    left.append(id)  # a user changed it just now
                else:
                    results[id] = self._done(mailbox, answer)
        return [results[each] for each in ids]

    async def _to_mark(
        self, mailbox: str, ids: Sequence[str], category: str, results: dict[str, Exception | None]
    ) -> list[tuple[str, str, list[str]]]:
        """Return id, version and new categories of those that lack the category; what can't be read has its result."""
        if not ids:
            return []
        answers = await self._ask(mailbox, GetFields, ids, ("item:Categories",))
        changes: list[tuple[str, str, list[str]]] = []
        for id, answer in _paired(ids, answers):
            items = items_of(answer.element) if answer is not None and answer.ok else []
            found = read_item_id(items[0]) if items else None
            if found is None:
                results[id] = self._done(mailbox, answer)
            elif category not in (has := read_categories(items[0])):
                changes.append((id, found[1], [*has, category]))
        return changes

    async def _version(self, ref: Ref) -> str:
        answer = self._one(ref.mailbox, await self._ask(ref.mailbox, GetFields, [ref.id], ()))
        for item in items_of(answer.element):
            found = read_item_id(item)
            if found is not None:
                return found[1]
        raise Fault(_GONE, "the draft is not there any more")

    # -- a mailbox store's

    def shelf(self) -> EwsShelf:
        return EwsShelf(self._ask, self._places.named, self._config.max_message_bytes)

    # -- directory

    async def resolve(self, names: Sequence[str]) -> dict[str, Person | None]:
        return await self._people.resolve(names)

    def people(self) -> AsyncIterator[Person]:
        return self._people.all()

    # -- asking

    async def _ask(self, mailbox: str, service: Any, *args: Any, **kwargs: Any) -> list[Answer]:
        """Ask for one mailbox, in a thread. At least one answer is returned. Raises: Fault."""
        try:
            found = await self._reach.ask(mailbox, service, *args, **kwargs)
        except Fault as e:
            if e.code in GONE:
                self._places.forget(mailbox)
            raise
        if not found:
            raise Fault("NoAnswer", "the server answers nothing to the request", "unknown", scope=Scope.HOP)
        return found

    def _one(self, mailbox: str, answers: Sequence[Answer]) -> Answer:
        answer = answers[0]
        if not answer.ok:
            self._forget_gone(mailbox, answer)
            raise refusal(answer)
        return answer

    def _forget_gone(self, mailbox: str, answer: Answer | None) -> None:
        if answer is not None and answer.code in GONE:
            self._places.forget(mailbox)


def _paired(asked: Sequence[A], answers: Sequence[Answer]) -> Iterator[tuple[A, Answer | None]]:
    """What was asked with its answer; None where the server gave fewer."""
    for number, each in enumerate(asked):
        yield each, answers[number] if number < len(answers) else None


def _fault(answer: Answer | None) -> Fault:
    if answer is None:
        return Fault("NoAnswer", "the server gives fewer answers than were asked", "unknown")
    if answer.ok:
        return Fault("NoItem", "the server tells no item")
    return refusal(answer)


def _content(answer: Answer | None) -> Content | Fault:
    if answer is None or not answer.ok:
        return _fault(answer)
    octets = answer.mime
    return Fault("NoMimeContent", "the item has no MIME that can be read") if octets is None else Content(octets)


def batches(refs: Sequence[Seen]) -> Iterator[list[Seen]]:
    """Yield items to be fetched by one request: few enough octets to be in memory at once, a large one alone. Pure."""
    batch: list[Seen] = []
    octets = 0
    for each in sorted(refs, key=lambda seen: seen.size > _LARGE):
        if batch and (each.size > _LARGE or octets + each.size > _BATCH_BYTES or len(batch) >= _BATCH_ITEMS):
            yield batch
            batch, octets = [], 0
        batch.append(each)
        octets += each.size
    if batch:
        yield batch
