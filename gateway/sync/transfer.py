"""Items brought across: read ahead on one side while they are appended on the other, in bounded batches.

What is about to be appended is noted first, with its digest, and what was appended after it: where a pass ends between
the two, the next one looks whether it is there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.fidelity import Fate, Note
from gateway.mailbox import FLAGS, Appended, NewItem, OpenMailbox, StoreFault
from gateway.message import Content
from gateway.outcome import Scope
from gateway.status import MAILBOX_FULL, Status
from gateway.sync.faithful import told
from gateway.sync.lanes import Budget, together
from gateway.sync.pace import Pace
from gateway.sync.readying import Means, Read, next_mended, ready
from gateway.sync.state import State
from gateway.sync.values import Copy, Intent, Noted, Pair, Policy, Print, Problem, Side, all_carried, other

_GONE: Final = ("4.2.0", "5.1.1")
_ALONE: Final = 2
"""An item that was on its way when so many connections ended goes alone,"""
_SUSPECT: Final = 4
"""and where it goes on so, it is what ends them."""
_ENDS: Final = "5.6.0"
_FULL_WAITS_S: Final = (5.0, 15.0, 30.0, 60.0)


class Unsettled(Exception):
    """It is not known whether an append was done: the destination has to be looked at before anything is repeated."""

    def __init__(self, side: Side, fault: StoreFault) -> None:
        self.side: Side = side
        self.fault = fault
        super().__init__(str(fault))


@dataclass(slots=True)
class Report:
    """What a pass did, counted as it goes."""

    copied: int = 0
    octets: int = 0
    adopted: int = 0
    flagged: int = 0
    moved: int = 0
    removed: int = 0
    skipped: int = 0
    conflicts: int = 0
    problems: int = 0
    listed: int = 0
    """Items that listings told of."""
    read: int = 0
    """Bodies that were fetched, for whatever reason."""
    folders: int = 0
    """Folders that were asked for changes."""
    mended: int = 0
    """Items that were changed on their way."""
    expected: int = 0
    """Items that are to be gone through, as far as is known."""
    passed: int = 0
    """Items that were gone through."""
    folder: str = ""
    """The path of the one that is under way, joined by `/`."""
    waiting: str = ""
    """Why nothing is done just now."""


@dataclass(frozen=True, slots=True)
class End:
    """One side: its mailbox, open, and the pace at its server."""

    mailbox: OpenMailbox
    pace: Pace


@dataclass(slots=True)
class _Done:
    """What became of a batch."""

    rows: list[Pair] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    solved: list[tuple[Side, str]] = field(default_factory=list)
    notes: list[Noted] = field(default_factory=list)
    again: list[Read] = field(default_factory=list)
    full: list[Read] = field(default_factory=list)


async def fetched(end: End, ids: Sequence[str], report: Report) -> AsyncIterator[tuple[str, Content | Status]]:
    """Yield contents, going on after faults that pass. Raises: StoreFault."""
    at = 0
    while at < len(ids):
        await end.pace.ready()
        try:
            async for id, content in end.mailbox.fetch(ids[at:]):
                at += 1
                report.read += 1
                end.pace.good()
                yield id, content
        except StoreFault as fault:
            end.pace.bad(fault)
        else:
            return


def is_gone(status: Status) -> bool:
    """Tell whether a status says that an item is not there (any more)."""
    return status.code in _GONE


class Transfer:
    """Copies into folders. `ids`: the folder's id on a side by its number; `advance` is told of each batch."""

    def __init__(
        self,
        pairing: str,
        ends: dict[Side, End],
        state: State,
        policy: Policy,
        report: Report,
        folder_id: Callable[[int, Side], str],
        advance: Callable[[], None],
        means: Means,
    ) -> None:
        self._pairing = pairing
        self._ends = ends
        self._state = state
        self._policy = policy
        self._report = report
        self._folder_id = folder_id
        self._advance = advance
        self._means = means
        self.again: set[int] = set()
        """Folders in which something is not settled."""
        self._refused: set[str] = set()
        self._full_s = 0.0
        """How long it was waited for room so far."""

    async def run(self, copies: Sequence[Copy]) -> None:
        """Copy all of these. Raises: StoreFault, Unsettled."""
        groups: dict[tuple[Side, int], list[Copy]] = {}
        for copy in copies:
            groups.setdefault((copy.side, copy.folder), []).append(copy)
        lanes = asyncio.Semaphore(max(1, self._policy.connections))

        async def one(side: Side, folder: int, some: Sequence[Copy]) -> None:
            async with lanes:
                await self._folder(side, folder, some)

        await together([one(side, folder, some) for (side, folder), some in groups.items()])

    async def _folder(self, side: Side, folder: int, copies: Sequence[Copy]) -> None:
        batches: asyncio.Queue[list[Read] | None] = asyncio.Queue()
        budget = Budget(self._policy.ahead_bytes)

        async def read() -> None:
            async for batch in self._batches(side, copies):
                await budget.take(_octets(batch))
                await batches.put(batch)
            await batches.put(None)

        async def write() -> None:
            while (batch := await batches.get()) is not None:
                losses = self._means.losses
                alone = [one for one in batch if losses[one.copy.item.id] >= _ALONE] if losses else []
                rest = [one for one in batch if losses[one.copy.item.id] < _ALONE] if alone else batch
                most = self._ends[side].pace.items
                for start in range(0, len(rest), most):
                    await self._append(side, folder, rest[start : start + most])
                for one in alone:
                    await self._append_alone(side, folder, one)
                await budget.give(_octets(batch))

        await together([read(), write()])

    async def _batches(self, side: Side, copies: Sequence[Copy]) -> AsyncIterator[list[Read]]:
        """Yield what is read, in batches bounded by items and octets."""
        source, most = self._ends[other(side)], self._ends[side].mailbox.holds().max_item_bytes
        by_id = {copy.item.id: copy for copy in copies}
        batch: list[Read] = []
        octets = 0
        for chunk in self._chunks(copies):
            async for id, content in fetched(source, chunk, self._report):
                copy = by_id[id]
                if isinstance(content, Status):
                    await self._unread(copy, content)
                    continue
                size = content.size
                if most is not None and size > most:
                    status = Status("5.3.4", f"of {size} octets, and the most that is taken is {most}")
                    await self._problem(copy, status)
                    continue
                if batch and (len(batch) >= self._policy.batch_items or octets + size > self._policy.batch_bytes):
                    yield batch
                    batch, octets = [], 0
                if not self._means.search.takes(content):
                    self._report.skipped += 1
                    await self._state.settle(self._pairing, solved=[(other(side), id)])
                    continue
                batch.append(await ready(copy, content, self._ends[side].mailbox.holds(), self._means))
                octets += size
        if batch:
            yield batch

    def _chunks(self, copies: Sequence[Copy]) -> list[list[str]]:
        """Return ids in such groups as are fetched at once."""
        chunks: list[list[str]] = []
        octets = 0
        for copy in copies:
            size = copy.item.print.size or 0
            if not chunks or len(chunks[-1]) >= self._policy.batch_items or octets + size > self._policy.batch_bytes:
                chunks.append([])
                octets = 0
            chunks[-1].append(copy.item.id)
            octets += size
        return chunks

    async def _unread(self, copy: Copy, status: Status) -> None:
        side = other(copy.side)
        if is_gone(status):  # it was removed meanwhile, and the next pass is told
            await self._state.settle(self._pairing, solved=[(side, copy.item.id)])
            return
        await self._problem(copy, status)

    async def _problem(self, copy: Copy, status: Status) -> None:
        self._report.problems += 1
        await self._state.settle(self._pairing, problems=[_problem(copy, status)])

    async def _append(self, side: Side, folder: int, batch: Sequence[Read]) -> None:
        if self._policy.dedupe:
            batch = await self._first_ones(side, folder, batch)
        if not batch:
            return
        holds = self._ends[side].mailbox.holds()
        unique = secrets.token_hex(8)
        keys = [f"s.{unique}.{n:04d}" for n in range(len(batch))]
        intents = [
            Intent(key, folder, side, one.copy.item.id, one.copy.item.words, one.print, _row(one.copy), one.appended)
            for key, one in zip(keys, batch, strict=True)
        ]
        await self._state.intend(self._pairing, intents)
        items: list[NewItem] = []
        for key, one in zip(keys, batch, strict=True):
            words = all_carried(one.words, holds)
            flags = frozenset(flag for flag in FLAGS if flag in words)
            items.append(NewItem(key, one.content, flags, words - FLAGS, one.at))
        answers = await self._appended(side, folder, items, [one.copy.item.id for one in batch])
        done = _Done()
        for key, one, new, answer in zip(keys, batch, items, answers, strict=True):
            source = one.copy.item.id
            if isinstance(answer, Appended):
                self._done(one, new, answer, done)
                done.settled.append(key)
            elif answer.code == MAILBOX_FULL.code:
                done.full.append(one)
                done.settled.append(key)
            elif answer.is_permanent:
                done.settled.append(key)
                another = await next_mended(one, answer, self._means)
                if another is not None:
                    done.again.append(another)
                else:
                    done.problems.append(_problem(one.copy, one.refusal or answer))
            elif source in self._refused:
                done.problems.append(_problem(one.copy, answer))
                done.settled.append(key)
            else:
                # It may be there and not be known, so it is looked for first; a second time it is a problem.
                self._refused.add(source)
                self.again.add(folder)
        self._report.problems += len(done.problems)
        self._report.passed += len(done.rows) + len(done.problems)
        await self._state.settle(
            self._pairing,
            done.rows,
            intents=done.settled,
            problems=done.problems,
            solved=done.solved,
            notes=done.notes,
        )
        self._advance()
        for one in done.again:
            await self._append(side, folder, [one])
        if done.full:
            await self._wait_for_room(side, folder, done.full, answers)

    def _done(self, one: Read, new: NewItem, answer: Appended, done: _Done) -> None:
        side, item = other(one.copy.side), one.copy.item
        done.rows.append(row_of(one.copy, one.print, answer.id, _kept(new, answer.notes), one.appended))
        done.solved.append((side, item.id))
        notes = [*one.notes, *(note for note in answer.notes if not note.what.startswith(("flag ", "keyword ")))]
        if notes:
            done.notes.append(Noted(item.folder, side, item.id, told(notes)))
        self._means.losses.pop(item.id, None)
        self._report.mended += one.content is not one.came
        self._report.copied += 1
        self._report.octets += one.content.size

    async def _append_alone(self, side: Side, folder: int, one: Read) -> None:
        """Append what was on its way when connections ended: where it is what ends them, with something mended, and
        where nothing helps, not at all."""
        ends = Status(_ENDS, f"the connection ends each time that it is appended: {self._means.said}")
        made: Read | None = one
        for _ in range(self._means.losses[one.copy.item.id] - _SUSPECT + 1):
            made = await next_mended(made, ends, self._means) if made is not None else None
        if made is None:
            self._report.problems += 1
            self._report.passed += 1
            await self._state.settle(self._pairing, problems=[_problem(one.copy, ends)])
            return
        await self._append(side, folder, [made])

    async def _wait_for_room(
        self, side: Side, folder: int, items: Sequence[Read], answers: Sequence[Appended | Status]
    ) -> None:
        """Append once the destination has room again. Raises: StoreFault where it has none for too long."""
        full = next(each for each in answers if isinstance(each, Status) and each.code == MAILBOX_FULL.code)
        await self._room(StoreFault(full), self._full_s)
        await self._append(side, folder, items)

    async def _room(self, fault: StoreFault, waited_s: float) -> None:
        rest = self._policy.wait_when_full_s - waited_s
        if rest <= 0:
            raise fault
        self._report.waiting = f"the destination is full: {fault.status.reply or fault.status.text}"
        self._advance()
        wait_s = min(rest, next((each for each in _FULL_WAITS_S if each > waited_s), _FULL_WAITS_S[-1]))
        await asyncio.sleep(wait_s)
        self._full_s = waited_s + wait_s
        self._report.waiting = ""

    async def _appended(
        self, side: Side, folder: int, items: Sequence[NewItem], sources: Sequence[str]
    ) -> list[Appended | Status]:
        end = self._ends[side]
        while True:
            await end.pace.ready()
            try:
                answers = await end.mailbox.append(self._folder_id(folder, side), items)
            except StoreFault as fault:
                if fault.unknown:
                    self._means.losses.update(sources)
                    self._means.said = str(fault.status)
                    raise Unsettled(side, fault) from None
                if fault.status.is_permanent and fault.scope is Scope.MESSAGE:
                    return [fault.status for _ in items]
                if fault.status.code == MAILBOX_FULL.code:
                    await self._room(fault, self._full_s)
                else:
                    end.pace.bad(fault)
            else:
                end.pace.good()
                if any(isinstance(each, Appended) for each in answers):
                    self._full_s = 0.0
                return answers

    async def _first_ones(self, side: Side, folder: int, batch: Sequence[Read]) -> list[Read]:
        """Return those that are not in the folder yet by their octets; the rest is noted as left out."""
        rest: list[Read] = []
        rows: list[Pair] = []
        seen: set[bytes] = set()
        for one in batch:
            digest = one.print.digest
            assert digest is not None
            if digest in seen or await self._state.has_digest(self._pairing, folder, digest):
                rows.append(row_of(one.copy, one.print, None, frozenset()))
                self._report.skipped += 1
            else:
                seen.add(digest)
                rest.append(one)
        if rows:
            await self._state.settle(self._pairing, rows)
        return rest


def _octets(batch: Sequence[Read]) -> int:
    return sum(one.content.size for one in batch)


def _row(copy: Copy) -> int:
    return copy.pair.id if copy.pair is not None else 0


def _kept(new: NewItem, notes: Sequence[Note]) -> frozenset[str]:
    """Return the flags and keywords that an append left on an item."""
    words = frozenset[str](new.flags) | new.keywords
    lost = {note.what.rsplit(" ", 1)[-1] for note in notes if note.fate is Fate.DROPPED}
    return words - lost


def row_of(copy: Copy, print: Print, id: str | None, words: frozenset[str], appended: bytes | None = None) -> Pair:
    """Return the row of an item that was copied and is `id` now."""
    item, source = copy.item, other(copy.side)
    made = copy.pair or Pair(0, None, None, item.folder, item.folder)
    made = made.with_side(source, item.id, item.folder, item.words, item.print.object)
    return made.with_side(copy.side, id, copy.folder, words).with_octets(source, print, appended)


def _problem(copy: Copy, status: Status) -> Problem:
    text = status.reply or status.text or status.cause
    item = copy.item
    return Problem(copy.folder, other(copy.side), item.id, status.code, text, words=item.words, print=item.print)
