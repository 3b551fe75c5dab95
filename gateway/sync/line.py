"""What is on its way into a folder: read, noted as to be appended, under way at the server, done, noted as done."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gateway.mailbox import Appended, NewItem
from gateway.status import Status
from gateway.sync.readying import Read
from gateway.sync.values import Noted, Pair, Placed, Problem, Side

_AT_ONCE: Final = 250
"""Intents that are written at once, about,"""
_OCTETS_AT_ONCE: Final = 4 * 1024 * 1024
"""and octets of what they are of."""
_IN_RESERVE: Final = 1
"""When no more batches than that are noted and not begun, the next ones are noted."""
_UNNOTED_S: Final = 1.0
"""What is done is noted along with what is done next, but no later than that."""

Answering: TypeAlias = asyncio.Task[list[Appended | Status]]


@dataclass(frozen=True, slots=True)
class Batch:
    """What is given to the server at once, with the keys of its intents."""

    reads: Sequence[Read]
    keys: Sequence[str]
    items: Sequence[NewItem]

    def parted(self, most: int) -> tuple[Batch, Batch]:
        """Return its first so many, and the rest."""
        first = Batch(self.reads[:most], self.keys[:most], self.items[:most])
        return first, Batch(self.reads[most:], self.keys[most:], self.items[most:])


@dataclass(slots=True)
class Done:
    """What became of batches."""

    rows: list[Pair] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    solved: list[tuple[Side, str]] = field(default_factory=list)
    notes: list[Noted] = field(default_factory=list)
    placed: list[Placed] = field(default_factory=list)
    again: list[Read] = field(default_factory=list)
    full: list[Read] = field(default_factory=list)
    owed: list[tuple[Side, str]] = field(default_factory=list)
    later: list[Read] = field(default_factory=list)

    def add(self, other: Done) -> None:
        """Take what is to be noted of another one."""
        self.rows += other.rows
        self.settled += other.settled
        self.problems += other.problems
        self.solved += other.solved
        self.notes += other.notes
        self.placed += other.placed
        self.owed += other.owed

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to be noted."""
        return not (self.settled or self.rows or self.problems)


class Line:
    """The line of one folder. `parts` is what is read; `one_by_one`: no part is noted before all of the one before it
    is done, and noted as done."""

    def __init__(self, parts: AsyncGenerator[Sequence[Read], None], *, one_by_one: bool) -> None:
        self._parts = parts
        self._one_by_one = one_by_one
        self._read: list[Sequence[Read]] = []
        self._done = Done()
        self._done_at = 0.0
        """When the first of it was done."""
        self._is_over = False
        """Nothing more is read."""
        self._is_noting_more = False
        """What is being noted is to be begun then."""
        self.is_its_turn = True
        """What is noted is begun at once."""
        self.noted: deque[Batch] = deque()
        self.under_way: deque[tuple[Batch, Answering]] = deque()
        self.coming: asyncio.Future[Sequence[Read] | None] | None = None
        self.noting: asyncio.Future[list[Batch]] | None = None

    @property
    def is_at_end(self) -> bool:
        """Tell whether all that there is was given to the server."""
        return self._is_over and not (self._read or self._is_noting_more or self.noted)

    # -- what is read

    @property
    def has_read(self) -> bool:
        """Tell whether something is read that is not noted."""
        return bool(self._read)

    def read_on(self) -> None:
        """Have more read, where there is room for it before what is read is noted."""
        if self.coming is not None or self._is_over:
            return
        if not self._is_full:
            self.coming = asyncio.ensure_future(anext(self._parts, None))

    @property
    def _is_full(self) -> bool:
        """Tell whether as much is read as is noted at once."""
        if self._one_by_one:
            return bool(self._read)
        octets = sum(one.content.size for part in self._read for one in part)
        return sum(map(len, self._read)) >= _AT_ONCE or octets >= _OCTETS_AT_ONCE

    async def came(self) -> None:
        """Take what was read. Raises: what reading it raised."""
        if self.coming is not None and self.coming.done():
            part = await self.coming
            self.coming = None
            if part is None:
                self._is_over = True
            else:
                self._read.append(part)

    # -- what is noted

    @property
    def is_to_note(self) -> bool:
        """Tell whether to write now: the next intents before the server has nothing to do, what is done along with
        them, by itself where it would be late."""
        if self.noting is not None:
            return False
        if self._one_by_one and (self.noted or self.under_way):
            return False
        if self._read and len(self.noted) <= _IN_RESERVE and (self.is_its_turn or self._is_over or self._is_full):
            return True
        return not self._done.is_empty and (not self.under_way or self.late_s == 0)

    @property
    def late_s(self) -> float | None:
        """Return after how long what is done is to be noted, whatever else is; None where it is not waited for that."""
        if self._done.is_empty or self.noting is not None or self._one_by_one:
            return None
        return max(0.0, self._done_at + _UNNOTED_S - _now())

    def to_note(self) -> tuple[list[Sequence[Read]], Done]:
        """Return what is to be noted, which is somebody else's from now on."""
        read, self._read = self._read, []
        self._is_noting_more = bool(read)
        return read, self.take_done()

    def take_done(self) -> Done:
        """Return what is done, which is somebody else's from now on."""
        done, self._done = self._done, Done()
        return done

    async def noted_all(self) -> None:
        """See through what is being noted. Raises: what noting it raised."""
        if self.noting is not None:
            noting, self.noting = self.noting, None
            self.noted += await noting
            self._is_noting_more = False

    # -- what is done

    def add(self, done: Done) -> None:
        """Take what became of a batch."""
        if self._done.is_empty:
            self._done_at = _now()
        self._done.add(done)

    async def end(self) -> Done:
        """End what is read and under way; returns what is to be noted last: what is done, and what was never begun."""
        tasks = [each for each in (self.coming, *(task for _, task in self.under_way)) if each is not None]
        for each in tasks:
            each.cancel()
        noted = await asyncio.gather(self.noted_all(), *tasks, return_exceptions=True)
        if not isinstance(noted[0], BaseException):
            self._done.settled += [key for batch in self.noted for key in batch.keys]
        return self.take_done()


def _now() -> float:
    return asyncio.get_running_loop().time()
