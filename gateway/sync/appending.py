"""Appending: what was read on one side put into a folder of the other, so that it is there once.

What is about to be appended is noted first, with its digest, and what was appended after it: where a pass ends between
the two, the next one looks whether it is there. Both are written to disk together while the server works on what was
noted before, and seldom: its own writes wait behind ours where both have one disk. It has two batches as long as it
takes all that it is given, so that it never waits for us. Its items are there in the order they were given, but for
what it refuses at first.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from gateway.fidelity import Fate, Note
from gateway.mailbox import FLAGS, Appended, NewItem, StoreFault
from gateway.outcome import Scope
from gateway.status import MAILBOX_FULL, Status
from gateway.sync.ends import End, Report, Unsettled
from gateway.sync.faithful import told
from gateway.sync.lanes import Place
from gateway.sync.line import Answering, Batch, Done, Line
from gateway.sync.objects import stamps
from gateway.sync.readying import Means, Read, next_mended
from gateway.sync.state import State
from gateway.sync.values import Copy, Intent, Noted, Pair, Placed, Policy, Print, Problem, Side, all_carried, other

_ALONE: Final = 2
"""An item that was on its way when so many connections ended goes alone,"""
_SUSPECT: Final = 4
"""and where it goes on so, it is what ends them."""
_NOT_KNOWN: Final = "4.5.0"
_BUSY: Final = ("4.2.1", "4.3.2", "4.4.2", "4.7.28")
_ENDS: Final = "5.6.0"
_NO_ROOM: Final = (MAILBOX_FULL.code, "4.3.1")
_BEGIN_S: Final = 0.001
_FULL_WAITS_S: Final = (5.0, 15.0, 30.0, 60.0)


class Appending:
    """Appends to one folder. `folder_id` is its id there; `advance` is told of each batch."""

    def __init__(
        self,
        pairing: str,
        side: Side,
        folder: int,
        folder_id: str,
        end: End,
        state: State,
        policy: Policy,
        report: Report,
        advance: Callable[[], None],
        means: Means,
        *,
        source_tells: bool,
    ) -> None:
        self._pairing = pairing
        self._side: Side = side
        self._folder = folder
        self._folder_id = folder_id
        self._end = end
        self._state = state
        self._policy = policy
        self._report = report
        self._advance = advance
        self._means = means
        self._source_tells = source_tells
        """It tells of removals that are in none of its listings."""
        self._full_s = 0.0
        """How long it was waited for room so far."""
        self.is_unsettled = False
        """An append was answered as neither done nor refused."""

    async def run(self, batches: AsyncIterator[Sequence[Read]], place: Place | None = None) -> None:
        """Append all of these. Until it is its turn the first of them are noted. Raises: StoreFault, Unsettled."""
        line = Line(self._parts(batches), one_by_one=self._policy.dedupe)
        turn = asyncio.ensure_future(place.turn.wait()) if place is not None else None
        try:
            while True:
                line.is_its_turn = turn is None or turn.done()
                while line.is_its_turn and line.noted and len(line.under_way) < self._width:
                    self._begin(line)
                if line.is_to_note:
                    line.noting = asyncio.ensure_future(self._note(*line.to_note()))
                line.read_on()
                first = line.under_way[0][1] if line.under_way else None
                is_kept = not line.is_its_turn and (line.noted or line.has_read)
                some = (first, line.noting, line.coming, turn if is_kept else None)
                waited = [each for each in some if each is not None]
                if not waited:
                    break
                await asyncio.wait(waited, timeout=line.late_s, return_when=asyncio.FIRST_COMPLETED)
                if first is not None and first.done():  # first of all, for the server may have nothing to do
                    await self._answered(line, await first, place)
                if line.noting is not None and line.noting.done():
                    await line.noted_all()
                await line.came()
            self._hand_on(place)
        except (StoreFault, Unsettled):
            # What became of those that were given behind one that was not done.
            for batch, task in list(line.under_way):
                with suppress(StoreFault, Unsettled):
                    line.add(await self._sorted(batch, await task))
            raise
        finally:
            if turn is not None:
                turn.cancel()
            done = await line.end()
            if not done.is_empty:
                await asyncio.gather(self._settle(done), return_exceptions=True)

    def _begin(self, line: Line) -> None:
        """Give the server the next batch, of no more than its pace allows."""
        batch, most = line.noted.popleft(), self._end.pace.items
        if len(batch.reads) > most:
            batch, rest = batch.parted(most)
            line.noted.appendleft(rest)
        before = line.under_way[-1][1] if line.under_way else None
        line.under_way.append((batch, asyncio.ensure_future(self._appended(batch, before))))

    async def _note(self, reads: list[Sequence[Read]], done: Done) -> list[Batch]:
        """Write what is done, and the intents of what is read; returns the batches of these."""
        if self._policy.dedupe:
            if not done.is_empty:
                await self._settle(done)
                done = Done()
            reads = [some for each in reads if (some := await self._first_ones(each))]
        made: list[tuple[Batch, list[Intent]]] = []
        for each in reads:
            await asyncio.sleep(0)  # what was just begun is sent before
            made.append(self._batch(each))
        if made or not done.is_empty:
            await self._settle(done, [intent for _, intents in made for intent in intents])
        return [batch for batch, _ in made]

    async def _answered(self, line: Line, answers: list[Appended | Status], place: Place | None) -> None:
        """Take what the server said to the batch that it was given first."""
        batch, _ = line.under_way.popleft()
        if all(isinstance(each, Appended) for each in answers) and line.is_at_end and not line.under_way:
            self._hand_on(place)  # before anything else is done, for the server has nothing to do:
            await asyncio.sleep(_BEGIN_S)  # whoever's turn it is now begins meanwhile
        done = await self._sorted(batch, answers)
        line.add(done)
        if done.again or done.full or done.later:
            await line.noted_all()
            await self._settle(line.take_done())
            await self._follow(done, answers)

    def _hand_on(self, place: Place | None) -> None:
        if place is not None and not self.is_unsettled:
            place.all_appended.set()

    @property
    def _width(self) -> int:
        """Return how many batches are given to the server at once: as long as all is well a second one, so that it has
        something to do while the first is noted as done. What may be what ends connections goes with nothing else."""
        is_well = self._end.pace.is_well and not self._means.losses and not self._policy.dedupe
        return 2 if is_well and self._end.mailbox.holds().queues else 1

    async def _parts(self, batches: AsyncIterator[Sequence[Read]]) -> AsyncGenerator[Sequence[Read], None]:
        """Yield what is appended at once, what may be harmful alone."""
        async for batch in batches:
            losses = self._means.losses
            alone = [one for one in batch if losses[one.copy.item.id] >= _ALONE] if losses else []
            rest = [one for one in batch if losses[one.copy.item.id] < _ALONE] if alone else batch
            if rest:
                yield rest
            for one in alone:
                if (made := await self._alone(one)) is not None:
                    yield [made]

    def _batch(self, reads: Sequence[Read]) -> tuple[Batch, list[Intent]]:
        """Return what was read as it is appended, and the intents of it."""
        unique = secrets.token_hex(8)
        keys = [f"s.{unique}.{n:04d}" for n in range(len(reads))]
        holds = self._end.mailbox.holds()
        intents: list[Intent] = []
        items: list[NewItem] = []
        for key, one in zip(keys, reads, strict=True):
            item, row = one.copy.item, one.copy.pair.id if one.copy.pair is not None else 0
            replaces = one.copy.replaces
            intents.append(
                Intent(key, self._folder, self._side, item.id, item.words, one.print, row, one.appended, replaces)
            )
            words = all_carried(one.words, holds)
            flags = frozenset(flag for flag in FLAGS if flag in words)
            items.append(NewItem(key, one.content, flags, words - FLAGS, one.at, one.print.kind, one.form))
        return Batch(reads, keys, items), intents

    async def _append(self, reads: Sequence[Read]) -> None:
        """Append what was read, and see it through."""
        batch, intents = self._batch(reads)
        await self._state.intend(self._pairing, intents)
        answers = await self._appended(batch)
        done = await self._sorted(batch, answers)
        await self._settle(done)
        await self._follow(done, answers)

    async def _appended(self, batch: Batch, before: Answering | None = None) -> list[Appended | Status]:
        """Append a batch; returns an answer for each item. `before` is the one that the server was given before it."""
        pace = self._end.pace
        while True:
            await pace.ready()
            faults = pace.faults
            try:
                answers = await self._end.mailbox.append(self._folder_id, batch.items)
            except StoreFault as fault:
                if fault.unknown:
                    if fault.status.code not in _NO_ROOM:  # that is no message's doing
                        self._means.losses.update(one.copy.item.id for one in batch.reads)
                        self._means.said = str(fault.status)
                    raise Unsettled(self._side, fault) from None
                if fault.status.is_permanent and fault.scope is Scope.MESSAGE:
                    return [fault.status for _ in batch.items]
                is_full = fault.status.code == MAILBOX_FULL.code
                is_second = before is not None and not before.done()
                if before is not None and is_second:
                    await asyncio.wait((before,))
                    if before.cancelled() or before.exception() is not None:
                        raise
                if pace.faults != faults or (is_second and is_full):
                    continue  # the one before was told the same, and has waited
                if is_full:
                    await self._room(fault)
                else:
                    pace.bad(fault)
            else:
                if any(isinstance(each, Appended) or each.is_permanent for each in answers):
                    pace.good()
                    self._full_s = 0.0
                taken = zip(batch.reads, answers, strict=True)
                pace.spent(sum(one.content.size for one, each in taken if isinstance(each, Appended)))
                return answers

    async def _sorted(self, batch: Batch, answers: Sequence[Appended | Status]) -> Done:
        done = Done()
        made = await self._read_back(batch, answers)
        for key, one, new, answer in zip(batch.keys, batch.reads, batch.items, answers, strict=True):
            source = one.copy.item.id
            if isinstance(answer, Appended):
                if one.print.kind != "mail":
                    one = replace(one, appended=made.get(answer.id))
                self._done(one, new, answer, done)
            elif answer.code == MAILBOX_FULL.code:
                done.full.append(one)
            elif answer.is_permanent:
                another = await next_mended(one, answer, self._means)
                if another is not None:
                    done.again.append(another)
                else:
                    done.problems.append(problem_of(one.copy, one.refusal or answer))
            elif answer.code != _NOT_KNOWN:
                done.later.append(one)
            elif source in self._means.refused:
                done.problems.append(problem_of(one.copy, answer))
            else:
                # It may be there and not be known, so it is looked for first; a second time it is a problem.
                self._means.refused.add(source)
                self.is_unsettled = True
                continue
            done.settled.append(key)
        self._tell(done)
        return done

    async def _read_back(self, batch: Batch, answers: Sequence[Appended | Status]) -> dict[str, bytes]:
        """Return the digests of what is there now and may be edited there, as this store tells it."""
        asked = [
            (answer.id, one.print.kind)
            for one, answer in zip(batch.reads, answers, strict=True)
            if one.print.kind != "mail" and isinstance(answer, Appended)
        ]
        made = await stamps(self._end, asked, self._report) if asked else {}
        return {id: digest for id, (digest, _) in made.items()}

    async def _give_up(self, problems: list[Problem]) -> None:
        done = Done(problems=problems)
        self._tell(done)
        await self._settle(done)

    def _tell(self, done: Done) -> None:
        """Tell how far it is; what is done is noted later, along with more."""
        self._report.problems += len(done.problems)
        self._report.passed += len(done.rows) + len(done.problems)
        self._advance()

    async def _settle(self, done: Done, intended: Sequence[Intent] = ()) -> None:
        await self._state.settle(
            self._pairing,
            done.rows,
            intended=intended,
            intents=done.settled,
            problems=done.problems,
            solved=done.solved,
            notes=done.notes,
            placed=done.placed,
            owed=done.owed,
        )

    async def _follow(self, done: Done, answers: Sequence[Appended | Status]) -> None:
        """Append what is mended now, and what there was no room for once there is. Raises: StoreFault where there is
        none for too long."""
        for one in done.again:
            await self._append([one])
        if done.later:
            await self._later(
                done.later, next(each for each in answers if isinstance(each, Status) and _is_later(each))
            )
        if done.full:
            full = next(each for each in answers if isinstance(each, Status) and each.code == MAILBOX_FULL.code)
            await self._room(StoreFault(full))
            await self._append(done.full)

    async def _later(self, items: Sequence[Read], status: Status) -> None:
        """Append once more what was not done just now: for as long as the server is busy, a few times where it says
        something else. Raises: StoreFault where it is busy for too long."""
        is_busy = status.code in _BUSY
        try:
            self._end.pace.bad(StoreFault(status, Scope.RECIPIENT if is_busy else Scope.MESSAGE))
        except StoreFault:
            if is_busy:
                raise
            await self._give_up([problem_of(one.copy, status) for one in items])
        else:
            await self._append(items)

    def _done(self, one: Read, new: NewItem, answer: Appended, done: Done) -> None:
        side, item = other(one.copy.side), one.copy.item
        done.rows.append(row_of(one.copy, one.print, answer.id, _kept(new, answer.notes), one.appended))
        done.solved.append((side, item.id))
        if one.copy.replaces is not None:
            done.owed.append((self._side, one.copy.replaces))
        notes = [*one.notes, *(note for note in answer.notes if not note.what.startswith(("flag ", "keyword ")))]
        if notes:
            done.notes.append(Noted(item.folder, side, item.id, told(notes)))
        if not self._end.mailbox.holds().tells_unseen:
            done.placed.append(Placed(self._side, self._folder, answer.id))
        if not self._source_tells:
            done.placed.append(Placed(side, item.folder, item.id))
        self._means.losses.pop(item.id, None)
        self._report.mended += one.content is not one.came
        self._report.copied += 1
        self._report.octets += one.content.size

    async def _alone(self, one: Read) -> Read | None:
        """Return what was on its way when connections ended: where it is what ends them, with something mended; None
        where nothing helps."""
        ends = Status(_ENDS, f"the connection ends each time that it is appended: {self._means.said}")
        made: Read | None = one
        for _ in range(self._means.losses[one.copy.item.id] - _SUSPECT + 1):
            made = await next_mended(made, ends, self._means) if made is not None else None
        if made is None:
            await self._give_up([problem_of(one.copy, ends)])
        return made

    async def _room(self, fault: StoreFault) -> None:
        rest = self._policy.wait_when_full_s - self._full_s
        if rest <= 0:
            raise fault
        self._report.waiting = f"the destination is full: {fault.status.reply or fault.status.text}"
        self._advance()
        wait_s = min(rest, next((each for each in _FULL_WAITS_S if each > self._full_s), _FULL_WAITS_S[-1]))
        await asyncio.sleep(wait_s)
        self._full_s += wait_s
        self._report.waiting = ""

    async def _first_ones(self, batch: Sequence[Read]) -> list[Read]:
        """Return those that are not in the folder yet by their octets; the rest is noted as left out."""
        rest: list[Read] = []
        rows: list[Pair] = []
        seen: set[bytes] = set()
        for one in batch:
            digest = one.print.digest
            assert digest is not None
            if digest in seen or await self._state.has_digest(self._pairing, self._folder, digest):
                rows.append(row_of(one.copy, one.print, None, frozenset()))
                self._report.skipped += 1
            else:
                seen.add(digest)
                rest.append(one)
        if rows:
            await self._state.settle(self._pairing, rows)
        return rest


def _kept(new: NewItem, notes: Sequence[Note]) -> frozenset[str]:
    """Return the flags and keywords that an append left on an item."""
    words = frozenset[str](new.flags) | new.keywords
    lost = {note.what.rsplit(" ", 1)[-1] for note in notes if note.fate is Fate.DROPPED}
    return words - lost


def row_of(copy: Copy, print: Print, id: str | None, words: frozenset[str], appended: bytes | None = None) -> Pair:
    """Return the row of an item that was copied and is `id` now."""
    item, source = copy.item, other(copy.side)
    if copy.pair is None and source == "left":  # what nearly all are, at once
        object = item.print.object or None
        return Pair(0, item.id, id, item.folder, copy.folder, item.words, words, print, appended, object)
    made = copy.pair or Pair(0, None, None, item.folder, item.folder)
    made = made.with_side(source, item.id, item.folder, item.words, item.print.object)
    return made.with_side(copy.side, id, copy.folder, words).with_octets(source, print, appended)


def _is_later(answer: Status) -> bool:
    return not answer.is_permanent and answer.code not in (MAILBOX_FULL.code, _NOT_KNOWN)


def problem_of(copy: Copy, status: Status) -> Problem:
    """Return why an item did not get across."""
    text = status.reply or status.text or status.cause
    item = copy.item
    return Problem(copy.folder, other(copy.side), item.id, status.code, text, words=item.words, print=item.print)
