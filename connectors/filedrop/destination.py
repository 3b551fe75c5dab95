"""The destination side: from parcels to files in the outbox.

Promises: Delivered only once the file and its name are synced; a reader never sees part of a file; a retry after a
crash finds the file it had put, by a name made from arrival time, message id and recipient. Files of one group are
written and synced by several threads at once and share one sync of the folder. Known limit: where a reader took the
file before the outcome was committed and the gateway then died, the retry puts it again.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.files import REAL, Occupied, Operations, place, sync_folder
from connectors.filedrop.formats import FORMATS, Options
from gateway.contract import (
    Batch,
    Deferred,
    Delivered,
    Item,
    Outcome,
    Parcel,
    Scope,
    Status,
    id_text,
)

GROUP: Final = 64
RECOUNT_S: Final = 1.0
PLACED: Final = Delivered(Status("2.0.0", "put into the folder"), relayed=True)


@dataclass(frozen=True, slots=True)
class Letter:
    """One file to put: its name, and the recipients that it settles."""

    name: str
    parcel: Parcel
    items: tuple[Item, ...]


def letters(parcel: Parcel, *, one_a_recipient: bool, extension: str) -> list[Letter]:
    """Return the files for a parcel. Pure: the same parcel gives the same names.

    One a recipient where the file tells its envelope: so no recipient reads of another, and a retry for some of
    them finds its own files.
    """
    at = datetime.fromtimestamp(int(parcel.arrived_at * 1000) / 1000, UTC)
    stem = f"{at:%Y%m%dT%H%M%S}{at.microsecond // 1000:03d}Z-{id_text(parcel.message_id)}"
    if one_a_recipient:
        return [Letter(f"{stem}-{item.id[1]}{extension}", parcel, (item,)) for item in parcel.items]
    return [Letter(f"{stem}-{parcel.items[0].id[1]}{extension}", parcel, parcel.items)]


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
    """One outbox folder, used by threads."""

    def __init__(self, folder: Path, config: FileDropConfig, options: Options, ops: Operations = REAL) -> None:
        self.folder = folder
        self._config = config
        self._options = options
        self._format = FORMATS[config.format]
        self._ops = ops
        self._files = 0
        self._counted_at = float("-inf")

    def room(self) -> int | Deferred:
        """Return how many files may be put now, or why none may. Raises: OSError."""
        limit = self._config.max_files_in_outbox
        now = time.monotonic()
        if now - self._counted_at > RECOUNT_S or self._files >= limit:
            with os.scandir(self.folder) as found:
                # Over the limit the exact number does not matter, and a full folder is not read to its end.
                self._files = 0
                for entry in found:
                    self._files += not entry.name.startswith(".")
                    if self._files > limit:
                        break
            self._counted_at = now
        if self._files >= limit:
            text = f"the folder holds {limit} files that nobody has fetched"
            return Deferred(Status("4.3.1", text, cause=str(self.folder)), Scope.HOP)
        free = os.statvfs(self.folder)
        if free.f_bavail * free.f_frsize < self._config.min_free_bytes:
            text = "the folder's disk is nearly full"
            cause = f"{self.folder}: less than min_free_bytes = {self._config.min_free_bytes} left"
            return Deferred(Status("4.3.1", text, cause=cause), Scope.HOP)
        return limit - self._files

    def put(self, letter: Letter) -> Outcome | None:
        """Put one file; None where it is there and only its name is not yet synced."""
        try:
            place(
                self.folder,
                letter.name,
                lambda: self._format.encode(letter.parcel, letter.items, self._options),
                sync=False,
                ops=self._ops,
            )
        except Occupied as e:
            return Deferred(Status("4.3.0", "the folder holds other files of the same name", cause=str(e)))
        except OSError as e:
            return fault(e, self.folder)
        except Exception as e:  # noqa: BLE001 - an unknown fault is a deferral of this message, never a bounce
            return Deferred(Status("4.3.5", "the message cannot be written now", cause=repr(e)), Scope.MESSAGE)
        self._files += 1
        return None

    def sync(self) -> Deferred | None:
        """Make the names put so far durable; return the fault where that fails."""
        try:
            sync_folder(self.folder, self._ops)
        except OSError as e:
            return fault(e, self.folder)
        return None


class OutboxDestination:
    """Delivers batches into one outbox; file calls run in the executor."""

    def __init__(self, config: FileDropConfig, outbox: Outbox, executor: Executor, log: Any, tell: Any) -> None:
        self._config = config
        self._outbox = outbox
        self._executor = executor
        self._log = log
        self._tell = tell

    async def deliver(self, batch: Batch) -> None:
        """Put every parcel of the batch, and what waits behind it, a group at a time."""
        parcels: Sequence[Parcel] = batch.parcels
        while parcels:
            todo = [
                letter
                for parcel in parcels
                for letter in letters(
                    parcel, one_a_recipient=self._config.envelope_headers, extension=self._config.extension
                )
            ]
            while todo:
                room = await self._room()
                if isinstance(room, int):
                    group, todo = todo[: min(GROUP, room)], todo[min(GROUP, room) :]
                    room = await self._put_group(batch, group) or room
                if isinstance(room, Deferred):
                    self._tell(f"{room.status} ({room.status.cause})")
                    for letter in todo:
                        _settle(batch, letter, room)
                    return
            self._tell(None)
            parcels = batch.more()

    async def _room(self) -> int | Deferred:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._outbox.room)
        except OSError as e:
            return fault(e, self._outbox.folder)

    async def _put_group(self, batch: Batch, group: list[Letter]) -> Deferred | None:
        """Put and settle a group; return the fault where it concerns everything that would follow."""
        loop = asyncio.get_running_loop()
        outcomes = await asyncio.gather(
            *(loop.run_in_executor(self._executor, self._outbox.put, letter) for letter in group)
        )
        unsynced = None
        if None in outcomes:
            unsynced = await loop.run_in_executor(self._executor, self._outbox.sync)
        trouble = None
        for letter, outcome in zip(group, outcomes, strict=True):
            result = outcome or unsynced or PLACED
            _settle(batch, letter, result)
            if isinstance(result, Deferred):
                self._log.warning("a file could not be put", file=letter.name, status=str(result.status))
                if result.scope is Scope.HOP:
                    trouble = result
        return trouble


def _settle(batch: Batch, letter: Letter, outcome: Outcome) -> None:
    for item in letter.items:
        batch.settle(item.id, outcome)
