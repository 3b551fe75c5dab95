"""Items brought across: read ahead on one side while they are appended on the other, in bounded batches.

What is about to be appended is noted first, with its digest, and what was appended after it: where a pass ends between
the two, the next one looks whether it is there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.fidelity import Fate, Note
from gateway.mailbox import FLAGS, Appended, NewItem, OpenMailbox, StoreFault
from gateway.message import Content
from gateway.outcome import Scope
from gateway.status import MAILBOX_FULL, Status
from gateway.sync.fingerprint import digest_of
from gateway.sync.pace import Pace
from gateway.sync.state import State
from gateway.sync.values import Copy, Intent, Pair, Policy, Print, Problem, Side, all_carried, other

_GONE: Final = ("4.2.0", "5.1.1")


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


@dataclass(frozen=True, slots=True)
class _Read:
    copy: Copy
    content: Content
    print: Print


class _Budget:
    """Octets that may be in memory; one item that alone is more may, too."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._freed = asyncio.Condition()

    async def take(self, octets: int) -> None:
        async with self._freed:
            await self._freed.wait_for(lambda: self._used == 0 or self._used + octets <= self._most)
            self._used += octets

    async def give(self, octets: int) -> None:
        async with self._freed:
            self._used -= octets
            self._freed.notify_all()


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
    ) -> None:
        self._pairing = pairing
        self._ends = ends
        self._state = state
        self._policy = policy
        self._report = report
        self._folder_id = folder_id
        self._advance = advance
        self.again: set[int] = set()
        """Folders in which something is not settled."""
        self._refused: set[str] = set()

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
        ready: asyncio.Queue[list[_Read] | None] = asyncio.Queue()
        budget = _Budget(self._policy.ahead_bytes)

        async def read() -> None:
            async for batch in self._batches(side, copies):
                await budget.take(_octets(batch))
                await ready.put(batch)
            await ready.put(None)

        async def write() -> None:
            while (batch := await ready.get()) is not None:
                most = self._ends[side].pace.items
                for start in range(0, len(batch), most):
                    await self._append(side, folder, batch[start : start + most])
                await budget.give(_octets(batch))

        await together([read(), write()])

    async def _batches(self, side: Side, copies: Sequence[Copy]) -> AsyncIterator[list[_Read]]:
        """Yield what is read, in batches bounded by items and octets."""
        source, most = self._ends[other(side)], self._ends[side].mailbox.holds().max_item_bytes
        by_id = {copy.item.id: copy for copy in copies}
        batch: list[_Read] = []
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
                listed = copy.item.print
                known = replace(listed, digest=await digest_of(content), size=listed.size or size)
                batch.append(_Read(copy, content, known))
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

    async def _append(self, side: Side, folder: int, batch: Sequence[_Read]) -> None:
        if self._policy.dedupe:
            batch = await self._first_ones(side, folder, batch)
        if not batch:
            return
        holds = self._ends[side].mailbox.holds()
        unique = secrets.token_hex(8)
        keys = [f"s.{unique}.{n:04d}" for n in range(len(batch))]
        intents = [
            Intent(key, folder, side, one.copy.item.id, one.copy.item.words, one.print, _row(one.copy))
            for key, one in zip(keys, batch, strict=True)
        ]
        await self._state.intend(self._pairing, intents)
        items: list[NewItem] = []
        for key, one in zip(keys, batch, strict=True):
            words = all_carried(one.copy.item.words, holds)
            flags = frozenset(flag for flag in FLAGS if flag in words)
            items.append(NewItem(key, one.content, flags, words - FLAGS, one.print.received_at))
        answers = await self._appended(side, folder, items)
        rows: list[Pair] = []
        settled: list[str] = []
        problems: list[Problem] = []
        solved: list[tuple[Side, str]] = []
        for key, one, new, answer in zip(keys, batch, items, answers, strict=True):
            source = one.copy.item.id
            if isinstance(answer, Appended):
                rows.append(row_of(one.copy, one.print, answer.id, _kept(new, answer.notes)))
                solved.append((other(side), source))
                settled.append(key)
                self._report.copied += 1
                self._report.octets += one.content.size
            elif answer.is_permanent or source in self._refused:
                problems.append(_problem(one.copy, answer))
                settled.append(key)
            else:
                # It may be there and not be known, so it is looked for first; a second time it is a problem.
                self._refused.add(source)
                self.again.add(folder)
        self._report.problems += len(problems)
        await self._state.settle(self._pairing, rows, intents=settled, problems=problems, solved=solved)
        self._advance()

    async def _appended(self, side: Side, folder: int, items: Sequence[NewItem]) -> list[Appended | Status]:
        end = self._ends[side]
        while True:
            await end.pace.ready()
            try:
                answers = await end.mailbox.append(self._folder_id(folder, side), items)
            except StoreFault as fault:
                if fault.unknown:
                    raise Unsettled(side, fault) from None
                if fault.status.is_permanent and fault.scope is Scope.MESSAGE:
                    return [fault.status for _ in items]
                if fault.status.code == MAILBOX_FULL.code:
                    raise
                end.pace.bad(fault)
            else:
                end.pace.good()
                return answers

    async def _first_ones(self, side: Side, folder: int, batch: Sequence[_Read]) -> list[_Read]:
        """Return those that are not in the folder yet by their octets; the rest is noted as left out."""
        rest: list[_Read] = []
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


def _octets(batch: Sequence[_Read]) -> int:
    return sum(one.content.size for one in batch)


def _row(copy: Copy) -> int:
    return copy.pair.id if copy.pair is not None else 0


def _kept(new: NewItem, notes: Sequence[Note]) -> frozenset[str]:
    """Return the flags and keywords that an append left on an item."""
    words = frozenset[str](new.flags) | new.keywords
    lost = {note.what.rsplit(" ", 1)[-1] for note in notes if note.fate is Fate.DROPPED}
    return words - lost


def row_of(copy: Copy, print: Print, id: str | None, words: frozenset[str]) -> Pair:
    """Return the row of an item that was copied and is `id` now."""
    item, source = copy.item, other(copy.side)
    made = copy.pair or Pair(0, None, None, item.folder, item.folder)
    made = made.with_side(source, item.id, item.folder, item.words).with_side(copy.side, id, copy.folder, words)
    return replace(made, print=print)


def _problem(copy: Copy, status: Status) -> Problem:
    text = status.reply or status.text or status.cause
    item = copy.item
    return Problem(copy.folder, other(copy.side), item.id, status.code, text, words=item.words, print=item.print)


async def together(work: Sequence[Coroutine[None, None, None]]) -> None:
    """Do all of these at once; the first fault ends the others, and is raised as it is."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
