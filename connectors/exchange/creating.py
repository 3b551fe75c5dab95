"""Creating: mails into the mailboxes of their recipients, several by one request.

Promises: a mail is Delivered once the mailbox has it; one that may have been tried before is looked up first, and so is
each of a request whose result isn't known; one bad mail of a request stops no other; nothing is asked while the server
wants to be left alone.
Known limits: what a user has purged while its result was unknown is created again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from connectors.exchange import lookup
from connectors.exchange.desk import LARGE, Desk, Made, sized, unknown_fault, unreadable
from connectors.exchange.envelope_out import envelope_losses, return_path
from connectors.exchange.faults import is_of_one
from connectors.exchange.organisation import Fault, New
from connectors.exchange.organisation import Made as Created
from connectors.exchange.read_back import changed
from gateway.contract import Batch, Deferred, Delivered, Failed, Item, Note, Outcome, Parcel, Scope, Status, id_text

ALIAS: Final = "ErrorNonPrimarySmtpAddress"
STOPPED: Final = "ErrorBatchProcessingStopped"
NO_FOLDER: Final = frozenset({"ErrorFolderNotFound", "ErrorSavedItemFolderNotFound", "ErrorToFolderNotFound"})
_DELIVERED: Final = Status("2.1.5", "in the mailbox")


@dataclass(frozen=True, slots=True)
class Work:
    """One recipient's mail, ready to be created."""

    item: Item
    key: str
    new: New
    notes: tuple[Note, ...]
    predicted: tuple[Note, ...]
    is_fresh: bool


class Creating:
    """One call of `deliver`."""

    def __init__(self, desk: Desk, batch: Batch) -> None:
        self._desk = desk
        self._batch = batch
        self._queue: deque[tuple[Parcel, Item]] = deque()
        self._ready: dict[str, deque[Work]] = {}
        """Mailbox -> what waits for it."""
        self._made: tuple[Parcel, Made] | None = None
        self._fault: Deferred | None = None
        """What holds up the whole lane: the rest is not tried."""

    async def run(self) -> None:
        """Deliver the batch, and what waits behind it."""
        self._add(self._batch.parcels)
        while await self._fill():
            mailbox = next(iter(self._ready))
            works = self._chunk(mailbox)
            if sized([work.new.mime for work in works]) > LARGE:
                async with self._desk.large:
                    await self._deliver(mailbox, works)
            else:
                await self._deliver(mailbox, works)

    def _add(self, parcels: Sequence[Parcel]) -> None:
        self._queue.extend((parcel, item) for parcel in parcels for item in parcel.items)

    async def _fill(self) -> bool:
        """Make ready what is enough for a request; say whether there is anything."""
        most = self._desk.config.chunk_items
        while sum(map(len, self._ready.values())) < most:
            if not self._queue and self._fault is None:
                self._add(self._batch.more())
            if not self._queue:
                break
            await self._make_ready(*self._queue.popleft())
        return bool(self._ready)

    async def _make_ready(self, parcel: Parcel, item: Item) -> None:
        if self._fault is not None:
            self._batch.settle(item.id, self._fault)
            return
        try:
            mailbox = await self._desk.mailbox(item.address)
            if isinstance(mailbox, Status):
                self._batch.settle(item.id, Failed(mailbox))
                return
            if self._made is None or self._made[0] is not parcel:
                self._made = (parcel, await self._desk.made(parcel.content))
            work = self._work(parcel, item, self._made[1])
        except Fault as e:
            self._batch.settle(item.id, self._desk.outcome(e, self._batch.next_hop, item))
        except OSError as e:
            self._batch.settle(item.id, unreadable(e))
        except Exception as e:  # an unknown fault is a deferral of this message, never a bounce
            self._desk.log.error("a message cannot be made", message=id_text(parcel.message_id), exc_info=e)
            self._batch.settle(item.id, unknown_fault(e))
        else:
            self._ready.setdefault(mailbox, deque()).append(work)

    def _work(self, parcel: Parcel, item: Item, made: Made) -> Work:
        key = lookup.key(item.id)
        content = made.content.with_prefix(return_path(parcel.envelope))
        new = New(key, content, received_at=parcel.arrived_at, is_read=self._desk.config.is_read)
        return Work(item, key, new, made.notes + envelope_losses(parcel.envelope, item), made.predicted, item.fresh)

    def _chunk(self, mailbox: str) -> list[Work]:
        """Take what goes into one request: so many, and so many octets, but one at least."""
        waiting = self._ready[mailbox]
        works = [waiting.popleft()]
        size = works[0].new.mime.size
        config = self._desk.config
        while waiting and len(works) < config.chunk_items and size + waiting[0].new.mime.size <= config.chunk_bytes:
            size += waiting[0].new.mime.size
            works.append(waiting.popleft())
        if not waiting:
            del self._ready[mailbox]
        return works

    def _settle(self, works: Sequence[Work], outcome: Outcome) -> None:
        for work in works:
            self._batch.settle(work.item.id, outcome)

    def _refuse(self, mailbox: str, works: Sequence[Work], fault: Fault) -> None:
        """Settle works by a fault that is of all of them."""
        for work in works:
            outcome = self._fault or self._desk.outcome(fault, mailbox, work.item)
            self._batch.settle(work.item.id, outcome)
            if isinstance(outcome, Deferred) and outcome.scope is Scope.HOP:
                self._fault = outcome

    # -- one request

    async def _deliver(self, mailbox: str, works: list[Work], *, again: bool = False) -> None:
        """Create works that are for one mailbox, and settle each. `again`: what could be mended has been."""
        self._fault = self._fault or self._desk.held(mailbox)
        if self._fault is not None:
            self._settle(works, self._fault)
            return
        is_asked = False
        try:
            folder = await self._desk.folder(mailbox, self._desk.target)
            works = await self._not_there(mailbox, [work for work in works if not work.is_fresh], works)
            if not works:
                return
            is_asked = True
            results = await self._desk.organisation.create(mailbox, folder, [work.new for work in works])
        except Fault as e:
            if e.why == "unknown" and is_asked:
                await self._look(mailbox, works, e)
            else:
                await self._mend(mailbox, works, e, again)
            return
        found = await self._changed(mailbox, works, results)
        uncertain: list[Work] = []
        stopped: list[Work] = []
        for work, result in zip(works, results, strict=True):
            if isinstance(result, Created):
                self._desk.worked(mailbox)
                notes = work.notes + found.get(work.key, work.predicted) + result.notes
                self._batch.settle(work.item.id, Delivered(_DELIVERED, notes=notes))
            elif result.why == "unknown":
                uncertain.append(work)
            elif result.code == STOPPED and len(works) > 1:
                stopped.append(work)
            elif result.code in NO_FOLDER and not again:
                self._desk.forget_folders(mailbox)
                stopped.append(work)
            else:
                self._refuse(mailbox, [work], result)
        if uncertain:
            fault = next(each for each in results if isinstance(each, Fault) and each.why == "unknown")
            await self._look(mailbox, uncertain, fault)
        for work in stopped:
            await self._deliver(mailbox, [work], again=True)

    async def _changed(
        self, mailbox: str, works: Sequence[Work], results: Sequence[Created | Fault]
    ) -> dict[str, tuple[Note, ...]]:
        """Return what has become of what was made, by key, where it is wanted and could be read."""
        if self._desk.config.read_back == "off":
            return {}
        pairs = zip(works, results, strict=True)
        made = {result.ref: w for w, result in pairs if isinstance(result, Created) and result.ref is not None}
        found = await changed(self._desk, mailbox, {ref: work.new.mime for ref, work in made.items()})
        return {made[ref].key: notes for ref, notes in found.items()}

    async def _not_there(self, mailbox: str, asked: Sequence[Work], works: list[Work]) -> list[Work]:
        """Settle those of `asked` that are in the mailbox, and return the others of `works`. Raises: Fault."""
        if not asked:
            return works
        keys = [work.key for work in asked]
        there = await lookup.delivered(self._desk.organisation, mailbox, self._desk.target, keys)
        for work in asked:
            if work.key in there:
                self._desk.context.count("found_again")
                self._batch.settle(work.item.id, Delivered(_DELIVERED, notes=work.notes + work.predicted))
        return [work for work in works if work.key not in there]

    async def _mend(self, mailbox: str, works: list[Work], fault: Fault, again: bool) -> None:
        """Do what may help against a fault of a whole request, and settle what it does not help."""
        if fault.code in NO_FOLDER and not again:
            self._desk.forget_folders(mailbox)
            await self._deliver(mailbox, works, again=True)
        elif fault.code == ALIAS and not again and (primary := await self._primary(mailbox)) is not None:
            await self._deliver(primary, works, again=True)
        elif is_of_one(fault) and len(works) > 1:
            for work in works:
                await self._deliver(mailbox, [work], again=again)
        else:
            self._refuse(mailbox, works, fault)

    async def _primary(self, mailbox: str) -> str | None:
        try:
            return await self._desk.primary(mailbox)
        except Fault:
            return None

    async def _look(self, mailbox: str, works: Sequence[Work], fault: Fault) -> None:
        """Settle works that may have been created: by what is there, after the server had time to end them."""
        await asyncio.sleep(self._desk.look_after_s)
        left = [replace(work, is_fresh=False) for work in works]
        try:
            left = await self._not_there(mailbox, left, left)
        except Fault as e:
            fault = e if e.why == "busy" else fault
        if left:
            self._desk.context.count("duplicates_possible", len(left), hop=mailbox)
            self._refuse(mailbox, left, fault)
