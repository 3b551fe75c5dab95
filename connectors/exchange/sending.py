"""Sending: mails that one mailbox of the organisation sends, each by two steps: a draft, and the word to send it.

Promises: between the two steps, and after each of them, what is in the mailbox tells which one was done: drafts,
outbox and sent copies are looked up by the key of the draft before anything is done again; who takes the mail over is
`relayed`, since nobody can say that it arrived; a recipient that Exchange refuses fails alone.
Known limits: a draft of a mail that ran out of time, or was taken out of the queue, stays in the drafts for a day.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from connectors.exchange import lookup
from connectors.exchange.desk import LARGE, Desk, unknown_fault, unreadable
from connectors.exchange.envelope_out import NULL_PATH, envelope_losses
from connectors.exchange.faults import is_of_one, is_of_recipient
from connectors.exchange.letter import letter as write
from connectors.exchange.lookup import Step, next_step
from connectors.exchange.organisation import Delete, Fault, Made, New, Ref
from gateway.contract import (
    Batch,
    Content,
    Deferred,
    Delivered,
    Envelope,
    Failed,
    Item,
    Note,
    Outcome,
    Parcel,
    Scope,
    Status,
    id_text,
)
from mappings.network import network

_RELAYED: Final = Status("2.0.0", "Exchange has taken it over to send it")
AT_ONCE: Final = 3
NO_ID: Final = Fault("NoItemId", "the server does not name the draft it made", "unknown")


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail to be sent: to `items`, by lower-case SMTP address; two that name one address get one mail.

    `content` is what it is written from; `ref` is its draft, where that is made.
    """

    message_id: int
    envelope: Envelope
    content: Content
    items: Mapping[str, Sequence[Item]]
    ref: Ref | None = None
    notes: tuple[Note, ...] = ()

    @property
    def all(self) -> list[Item]:
        return [item for each in self.items.values() for item in each]

    @property
    def key(self) -> str:
        return lookup.key(min(item.id for item in self.all))

    def only(self, addresses: Iterable[str], ref: Ref | None = None) -> Letter:
        """Return the letter to some of its recipients."""
        return replace(self, items={each: self.items[each] for each in addresses}, ref=ref)


class Sending:
    """One call of `deliver`. `mailbox` sends."""

    def __init__(self, desk: Desk, batch: Batch, mailbox: str) -> None:
        self._desk = desk
        self._organisation = desk.organisation
        self._batch = batch
        self._mailbox = mailbox
        self._queue: deque[Parcel] = deque(batch.parcels)
        self._fault: Deferred | None = None
        """What holds up the whole lane: the rest is not tried."""

    async def run(self) -> None:
        """Send the batch, and what waits behind it."""
        while True:
            if not self._queue and self._fault is None:
                self._queue.extend(self._batch.more())
            if not self._queue:
                return
            letters = await self._letters()
            if sum(each.content.size for each in letters) > LARGE:
                async with self._desk.large:
                    await self._send(letters)
            else:
                await self._send(letters)

    # -- to whom

    async def _letters(self) -> list[Letter]:
        """Take what goes into one request: so many, and so many octets, but one at least."""
        letters: list[Letter] = []
        octets = 0
        config = self._desk.config
        while self._queue and len(letters) < config.chunk_items:
            size = self._queue[0].content.size
            if letters and octets + size > config.chunk_bytes:
                break
            parcel = self._queue.popleft()
            items = await self._addressed(parcel)
            if items:
                octets += size
                letters += await self._letter(parcel, items)
        return letters

    async def _letter(self, parcel: Parcel, items: Mapping[str, Sequence[Item]]) -> list[Letter]:
        try:
            made = await self._desk.made(parcel.content)
        except OSError as e:
            outcome = unreadable(e)
        except Exception as e:  # an unknown fault is a deferral of this message, never a bounce
            self._desk.log.error("a message cannot be made", message=id_text(parcel.message_id), exc_info=e)
            outcome = unknown_fault(e)
        else:
            whole = Letter(parcel.message_id, parcel.envelope, made.content, items, notes=made.notes + made.predicted)
            addresses = list(items)
            return [
                whole.only(addresses[at : at + lookup.RECIPIENTS]) for at in range(0, len(items), lookup.RECIPIENTS)
            ]
        self._settle([item for each in items.values() for item in each], outcome)
        return []

    async def _addressed(self, parcel: Parcel) -> dict[str, list[Item]]:
        """Return items by the address that they are sent to; those that nobody can be sent to are settled."""
        items: dict[str, list[Item]] = {}
        for item in parcel.items:
            if self._is_over((item,)):
                continue
            try:
                address = await self._desk.mailbox(item.address)
            except Fault as e:
                self._refuse((item,), e)
                continue
            if isinstance(address, Status):
                self._batch.settle(item.id, Failed(address))
            else:
                items.setdefault(address, []).append(item)
        return items

    # -- what came of it

    def _settle(self, items: Iterable[Item], outcome: Outcome) -> None:
        for item in items:
            self._batch.settle(item.id, outcome)

    def _is_over(self, items: Iterable[Item]) -> bool:
        """Settle items that are not to be tried, since the server is to be left alone; say whether it was so."""
        self._fault = self._fault or self._desk.held(self._mailbox)
        if self._fault is not None:
            self._settle(items, self._fault)
        return self._fault is not None

    def _refuse(self, items: Iterable[Item], fault: Fault) -> bool:
        """Settle items by a fault; say whether one has failed for good."""
        failed = False
        for item in items:
            outcome = self._fault or self._desk.outcome(fault, self._mailbox, item)
            self._batch.settle(item.id, outcome)
            failed = failed or isinstance(outcome, Failed)
            if isinstance(outcome, Deferred) and outcome.scope is Scope.HOP:
                self._fault = outcome
        return failed

    def _done(self, letter: Letter, *, found: bool = False) -> None:
        self._desk.worked(self._mailbox)
        if found:
            self._desk.context.count("found_again", len(letter.all))
        self._settle(letter.all, Delivered(_RELAYED, relayed=True, notes=tuple(dict.fromkeys(letter.notes))))

    # -- the steps

    async def _send(self, letters: Sequence[Letter]) -> None:
        """Send letters, each by what is left to do for it; settle them all."""
        todo: list[Letter] = []
        for letter in letters:
            if self._is_over(letter.all):
                continue
            if all(item.fresh for item in letter.all):
                todo.append(letter)
                continue
            try:
                todo += await self._left(letter)
            except Fault as e:
                self._refuse(letter.all, e)
        drafts = [letter for letter in todo if letter.ref is not None]
        new = [letter for letter in todo if letter.ref is None]
        await self._send_drafts([*drafts, *(await self._create(new))])

    def _written(self, letter: Letter) -> tuple[Letter, New]:
        """Return a letter with its notes, and what its draft is made of."""
        config, context = self._desk.config, self._desk.context
        addresses = {each: network("smtp").parse(each) for each in letter.items}
        sender = network("smtp").parse(self._mailbox)
        content, notes = write(letter.content, addresses, sender, on_behalf=config.on_behalf, hostname=context.hostname)
        lost = [note for item in letter.all for note in envelope_losses(letter.envelope, item)]
        if letter.envelope.reverse_path is None:
            lost.append(NULL_PATH)
        return replace(letter, notes=letter.notes + notes + tuple(lost)), New(
            letter.key, content, is_read=True, draft=True
        )

    async def _left(self, letter: Letter) -> list[Letter]:
        """Return what is left of a letter that may have been tried, in whole or in parts. Raises: Fault."""
        found = await lookup.sent(self._organisation, self._mailbox, letter.message_id, letter.items)
        done: set[str] = set()
        for each in found:
            if next_step(each.places) is Step.DONE and each.addresses - done:
                self._done(letter.only(each.addresses - done), found=True)
                done |= each.addresses
        left: list[Letter] = []
        drafted: set[str] = set()
        for each in found:
            if next_step(each.places) is not Step.SEND:
                continue
            if each.strangers or not each.addresses or each.addresses & (done | drafted):
                # Sent as it is, somebody would get the mail who has it, or is not to get it any more.
                await self._organisation.finish(each.ref, Delete(purge=True))
            else:
                left.append(letter.only(sorted(each.addresses), each.ref))
                drafted |= each.addresses
        rest = [address for address in letter.items if address not in done | drafted]
        return [*left, letter.only(rest)] if rest else left

    async def _create(self, letters: Sequence[Letter]) -> list[Letter]:
        """Make drafts by one request; return the letters that have one, and settle the others."""
        if not letters:
            return []
        is_asked = False
        try:
            made = [self._written(letter) for letter in letters]
            folder = await self._desk.folder(self._mailbox, "drafts")
            is_asked = True
            results = await self._organisation.create(self._mailbox, folder, [new for _, new in made])
        except Fault as e:
            return await self._mend(letters, e, is_asked)
        ready: list[Letter] = []
        for (letter, _), result in zip(made, results, strict=True):
            if isinstance(result, Made) and result.ref is not None:
                ready.append(replace(letter, ref=result.ref, notes=letter.notes + result.notes))
            elif isinstance(result, Made) or result.why == "unknown":
                ready += await self._look(letter, result if isinstance(result, Fault) else NO_ID)
            elif self._is_split(letter, result):
                ready += await self._singly(letter)
            else:
                self._refuse(letter.all, result)
        return ready

    async def _mend(self, letters: Sequence[Letter], fault: Fault, is_asked: bool) -> list[Letter]:
        """Do what may help where a request for drafts was refused as a whole."""
        ready: list[Letter] = []
        if fault.why == "unknown" and is_asked:
            for letter in letters:
                ready += await self._look(letter, fault)
        elif is_of_one(fault) and len(letters) > 1:
            for letter in letters:
                if not self._is_over(letter.all):
                    ready += await self._create([letter])
        elif self._is_split(letters[0], fault):
            ready += await self._singly(letters[0])
        else:
            self._refuse([item for letter in letters for item in letter.all], fault)
        return ready

    @staticmethod
    def _is_split(letter: Letter, fault: Fault) -> bool:
        """Say whether one of a letter's recipients may be to blame, so that they are to get letters of their own."""
        return is_of_recipient(fault) and len(letter.items) > 1

    async def _singly(self, letter: Letter) -> list[Letter]:
        ready: list[Letter] = []
        for address in letter.items:
            alone = letter.only([address])
            if not self._is_over(alone.all):
                ready += await self._create([alone])
        return ready

    async def _send_drafts(self, letters: Sequence[Letter]) -> None:
        """Send drafts, a few at once, as many as Exchange does for one mailbox."""
        waiting = deque(letters)

        async def some() -> None:
            while waiting:
                letter = waiting.popleft()
                if not self._is_over(letter.all):
                    await self._send_draft(letter)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(waiting))):
                group.create_task(some())

    async def _send_draft(self, letter: Letter) -> None:
        """Say the word, and settle the letter."""
        ref = letter.ref
        assert ref is not None
        try:
            await self._organisation.send(ref, copy_to=lookup.SENT)
        except Fault as e:
            await self._not_sent(letter, ref, e)
        else:
            self._done(letter)

    async def _not_sent(self, letter: Letter, ref: Ref, fault: Fault) -> None:
        if fault.why == "unknown" or fault.code == lookup.GONE:
            await self._look(letter, fault, is_sent=True)
        elif self._is_split(letter, fault):
            try:
                # Else the whole letter could still be sent by whoever finds its draft.
                await self._organisation.finish(ref, Delete(purge=True))
            except Fault as e:
                self._refuse(letter.all, e)
                return
            await self._send_drafts(await self._singly(letter))
        elif self._refuse(letter.all, fault):
            try:
                await self._organisation.finish(ref, Delete(purge=True))
            except Fault as e:
                self._desk.log.warning("a draft is left over", mailbox=self._mailbox, key=letter.key, cause=str(e))

    async def _look(self, letter: Letter, fault: Fault, *, is_sent: bool = False) -> list[Letter]:
        """Return a letter with its draft where there is one, after the server had time to end what it began.

        One that has gone out is settled, and so is what is not known: the next try finds what there is.
        """
        self._desk.uncertain()
        await asyncio.sleep(self._desk.look_after_s)
        try:
            step, ref = await lookup.step(self._organisation, self._mailbox, letter.key)
        except Fault as e:
            self._refuse(letter.all, e if e.why == "busy" else fault)
            return []
        if step is Step.DONE:
            self._done(letter, found=True)
        elif step is Step.SEND and not is_sent:
            return [replace(letter, ref=ref)]
        else:
            self._refuse(letter.all, fault)
        return []
