"""The destination side: from parcels to files in the outbox.

Promises: Delivered only once the file and its name are synced; a reader never sees part of a file; a retry after a
crash finds the file it had put, by a name made from arrival time, message id and recipient. Files of one group are
written and synced by several threads at once and share one sync of the folder. What a format could not carry is told
with the outcome. Known limit: where a reader took the file before the outcome was committed and the gateway then
died, the retry puts it again.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.files import Occupied
from connectors.filedrop.formats import Encoded
from connectors.filedrop.formats.values import Refused
from connectors.filedrop.layouts import Layout, NameStyle, Sheet
from connectors.filedrop.names import dos_stem
from gateway.contract import (
    Batch,
    Capabilities,
    Deferred,
    Delivered,
    Failed,
    Item,
    Outcome,
    Parcel,
    Scope,
    Status,
)
from gateway.mailbox_post import stem_of

GROUP: Final = 64
WRITERS: Final = 8
"""Threads that write files: a disk syncs many files at once faster than one after the other."""
RECOUNT_S: Final = 1.0
_COUNT_SHARE: Final = 20.0
"""So many times as long as a count took the next one waits: a full folder of a hundred thousand costs seconds."""
PLACED: Final = Delivered(Status("2.0.0", "put into the folder"), relayed=True)


@dataclass(frozen=True, slots=True)
class Letter:
    """One message to put: its file's name without the extension, and the recipients that it settles."""

    stem: str
    parcel: Parcel
    items: tuple[Item, ...]


def letters(
    parcel: Parcel, *, most: int | None = None, style: NameStyle = "long", own: Callable[[str], str] = str
) -> list[Letter]:
    """Return the letters for a parcel, each to at most so many recipients. Pure: always the same names.

    One a recipient where the file tells its envelope: so no recipient reads of another, and a retry for some of
    them finds its own files. `own` makes the name that a format has for it.
    """
    items = parcel.items
    size = most or len(items)
    groups = [items[n : n + size] for n in range(0, len(items), size)]
    made = []
    for group in groups:
        stem = stem_of(parcel.arrived_at, parcel.message_id, group[0].id[1])
        made.append(Letter(dos_stem(stem) if style == "dos83" else own(stem), parcel, group))
    return made


class Unreadable(Exception):
    """A message's content cannot be read: no fault of the folder."""


def _read(octets: Callable[[], Iterable[bytes]]) -> Iterator[bytes]:
    try:
        yield from octets()
    except OSError as e:
        raise Unreadable(e.strerror or str(e)) from e


def fault(e: OSError, folder: Path) -> Deferred:
    """Say what a failed file call means. Pure. Every fault of the folder concerns the whole lane."""
    code, text = _FAULTS.get(e.errno or 0, ("4.3.0", "cannot be written"))
    reason = e.strerror or str(e)
    return Deferred(Status(code, f"the folder {text}", cause=f"{folder}: {reason}"), Scope.HOP)


_FULL: Final = ("4.3.1", "is on a full disk")
_FAULTS: Final = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: ("4.3.1", "has reached its quota"),
    errno.ENOENT: ("4.3.0", "does not exist"),
    errno.ENOTDIR: ("4.3.0", "is not a folder"),
    errno.EACCES: ("4.3.0", "may not be written by the gateway"),
    errno.EPERM: ("4.3.0", "may not be written by the gateway"),
    errno.EROFS: ("4.3.0", "is on a read-only file system"),
    errno.ESTALE: ("4.3.0", "is on a share that is gone"),
    errno.EIO: ("4.3.0", "is on a disk that fails"),
    errno.EFBIG: ("4.3.0", "takes no file of this size"),
}


class Outbox:
    """One folder that files are put into, used by threads. `encode` makes a letter's file."""

    def __init__(
        self,
        folder: Path,
        config: FileDropConfig,
        layout: Layout,
        encode: Callable[[Letter], Encoded],
        carries: Capabilities | None = None,
    ) -> None:
        self.folder = folder
        self.layout = layout
        self._carries = carries or Capabilities(bare_newlines=True)
        self._config = config
        self._encode = encode
        self._files = 0
        self._count_at = float("-inf")

    def room(self) -> int | Deferred:
        """Return how many files may be put now, or why none may. Raises: OSError."""
        limit = self._config.max_files_in_outbox
        began = time.monotonic()
        if began > self._count_at or self._files >= limit:
            self._count_at = began + RECOUNT_S  # meanwhile other threads go on with what is known
            self._files = self.layout.count(limit)
            ended = time.monotonic()
            self._count_at = ended + max(RECOUNT_S, _COUNT_SHARE * (ended - began))
        if self._files >= limit:
            text = f"the folder holds {limit} files that nobody has fetched"
            return Deferred(Status("4.3.1", text, cause=str(self.folder)), Scope.HOP)
        free = os.statvfs(self.folder)
        if free.f_bavail * free.f_frsize < self._config.min_free_bytes:
            text = "the folder's disk is nearly full"
            cause = f"{self.folder}: less than min_free_bytes = {self._config.min_free_bytes} left"
            return Deferred(Status("4.3.1", text, cause=cause), Scope.HOP)
        return limit - self._files

    def prepare(self, group: Sequence[Letter]) -> list[Sheet | Outcome]:
        """Encode letters; an outcome stands for one that cannot be."""
        return [self._prepared(letter) for letter in group]

    def _prepared(self, letter: Letter) -> Sheet | Outcome:
        try:
            lacking = self._lacking(letter)
            if lacking:
                # The core fits every content to what is declared; what is not fitted is not written all the same.
                return Failed(Status("5.6.3", f"the format cannot carry {lacking}"))
            encoded = self._encode(letter)
        except Refused as e:
            return Failed(e.status)
        except Exception as e:  # noqa: BLE001 - an unknown fault is a deferral of this message, never a bounce
            return _unwritable(e)
        octets = encoded.octets
        enclosures = tuple(replace(one, octets=_reader(one.octets)) for one in encoded.enclosures)
        return Sheet(letter.stem, replace(encoded, octets=_reader(octets), enclosures=enclosures))

    def _lacking(self, letter: Letter) -> str:
        """Say what of a message as it stands the format cannot carry; empty where it can."""
        can = self._carries
        if not can.utf8_addresses and not all(item.address.value.isascii() for item in letter.items):
            return "an address outside of ASCII"
        if not can.mime or (can.bare_newlines and can.eight_bit and can.nul):
            return ""
        traits = letter.parcel.content.traits
        if not (can.bare_newlines or traits.crlf_only):
            return "line ends other than CRLF"
        if traits.eight_bit and not can.eight_bit:
            return "octets over 127"
        return "NUL octets" if traits.nul and not can.nul else ""

    def put(self, sheets: Sequence[Sheet]) -> Outcome | None:
        """Put one group; None where it is there and only its name is not yet synced."""
        try:
            self.layout.put(sheets)
        except Occupied as e:
            return Deferred(Status("4.3.0", "the folder holds other files of the same name", cause=str(e)))
        except BlockingIOError as e:
            return Deferred(Status("4.3.0", "the file is in use", cause=str(e)), Scope.MESSAGE)
        except OSError as e:
            return fault(e, self.folder)
        except Exception as e:  # noqa: BLE001 - as above
            return _unwritable(e)
        self._files += 1
        return None

    def put_all(self, groups: Sequence[Sequence[Sheet]]) -> list[Outcome | None]:
        """Put groups one after the other; return of each what `put` does."""
        return [self.put(group) for group in groups]

    def sync(self) -> Deferred | None:
        """Make the names put so far durable; return the fault where that fails."""
        try:
            self.layout.sync()
        except OSError as e:
            return fault(e, self.folder)
        return None


def _reader(octets: Callable[[], Iterable[bytes]]) -> Callable[[], Iterable[bytes]]:
    return lambda: _read(octets)


def _unwritable(e: Exception) -> Deferred:
    return Deferred(Status("4.3.5", "the message cannot be written now", cause=repr(e)), Scope.MESSAGE)


class OutboxDestination:
    """Delivers batches into one outbox, and reports into the folder of status files; file calls run in the executor.

    `most` is how many recipients one file serves, None for all of them; `own` makes a name of the format's form.
    """

    def __init__(
        self,
        config: FileDropConfig,
        outbox: Outbox | None,
        status: Outbox | None,
        *,
        most: int | None,
        own: Callable[[str], str],
        status_letter: Callable[[Parcel], Letter],
        executor: Executor,
        log: Any,
        tell: Callable[[str | None], None],
    ) -> None:
        self._config = config
        self._outbox = outbox
        self._status = status
        self._most = most
        self._own = own
        self._status_letter = status_letter
        self._executor = executor
        self._log = log
        self._tell = tell

    async def deliver(self, batch: Batch) -> None:
        """Put every parcel of the batch, and what waits behind it, a group at a time."""
        parcels: Sequence[Parcel] = batch.parcels
        while parcels:
            reports = [] if self._status is None else [one for one in parcels if one.report is not None]
            messages = [one for one in parcels if one not in reports] if reports else parcels
            if reports and self._status is not None:
                await self._put_all(batch, self._status, [self._status_letter(parcel) for parcel in reports])
            if messages and not await self._deliver_messages(batch, messages):
                return
            parcels = batch.more()

    async def _deliver_messages(self, batch: Batch, parcels: Sequence[Parcel]) -> bool:
        if self._outbox is None:
            for parcel in parcels:
                for item in parcel.items:
                    batch.settle(item.id, _NO_OUTBOX)
            return False
        todo: list[Letter] = []
        for parcel in parcels:
            todo += letters(parcel, most=self._most, style=self._config.name_style, own=self._own)
        return await self._put_all(batch, self._outbox, todo)

    async def _put_all(self, batch: Batch, outbox: Outbox, todo: list[Letter]) -> bool:
        """Put letters a group at a time; False where the folder fails, and the rest is deferred."""
        while todo:
            room = await self._room(outbox)
            if isinstance(room, int):
                group, todo = todo[: min(GROUP, room)], todo[min(GROUP, room) :]
                room = await self._put_group(batch, outbox, group) or room
            if isinstance(room, Deferred):
                self._tell(f"{room.status} ({room.status.cause})")
                for letter in todo:
                    _settle(batch, letter, room)
                return False
        self._tell(None)
        return True

    async def _room(self, outbox: Outbox) -> int | Deferred:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, outbox.room)
        except OSError as e:
            return fault(e, outbox.folder)

    async def _put_group(self, batch: Batch, outbox: Outbox, group: list[Letter]) -> Deferred | None:
        """Put and settle a group; return the fault where it concerns everything that would follow."""
        loop = asyncio.get_running_loop()
        prepared = await loop.run_in_executor(self._executor, outbox.prepare, group)
        outcomes: list[Outcome | None] = [one if not isinstance(one, Sheet) else None for one in prepared]
        ready = [(n, one) for n, one in enumerate(prepared) if isinstance(one, Sheet)]
        sheets = [one for _, one in ready]
        groups = outbox.layout.groups(sheets)
        put = [[sheets[n] for n in indexes] for indexes in groups]
        # A share for each thread: a call for each file has both threads wait for the interpreter, and for each other.
        shares = [put[n::WRITERS] for n in range(min(WRITERS, len(put)))]
        done = await asyncio.gather(*(loop.run_in_executor(self._executor, outbox.put_all, one) for one in shares))
        results = [done[n % WRITERS][n // WRITERS] for n in range(len(put))]
        unsynced = None
        if None in results:
            unsynced = await loop.run_in_executor(self._executor, outbox.sync)
        for indexes, result in zip(groups, results, strict=True):
            for n in indexes:
                outcomes[ready[n][0]] = result or unsynced or _placed(sheets[n])
        return self._settle_group(batch, group, outcomes)

    def _settle_group(
        self, batch: Batch, group: Sequence[Letter], outcomes: Sequence[Outcome | None]
    ) -> Deferred | None:
        trouble = None
        for letter, outcome in zip(group, outcomes, strict=True):
            assert outcome is not None
            _settle(batch, letter, outcome)
            if isinstance(outcome, Deferred):
                self._log.warning("a file could not be put", file=letter.stem, status=str(outcome.status))
                if outcome.scope is Scope.HOP:
                    trouble = outcome
        return trouble


_NO_OUTBOX: Final = Deferred(Status("4.3.5", "this file drop has no outbox; set one, or route elsewhere"), Scope.HOP)


def _placed(sheet: Sheet) -> Delivered:
    notes = sheet.encoded.notes
    return replace(PLACED, notes=notes) if notes else PLACED


def _settle(batch: Batch, letter: Letter, outcome: Outcome) -> None:
    for item in letter.items:
        batch.settle(item.id, outcome)
