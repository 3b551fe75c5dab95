"""An MH folder as the outbox: each message a file named by the next number.

Promises: a reader sees a whole file or none; no number is given twice, whoever else adds to the folder; the messages of
a group are in the unseen sequence when their lock is given back. A number says nothing of its message, so a retry looks
for a file with the same octets among the last ones: each message has a trace field of its own.
Source: mh-sequence(5) and inc(1) of nmh.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from connectors.filedrop.files import Occupied, count_names, write_new
from gateway.formats.mh import MOST, SEQUENCES, merged, number, read_sequences, write_sequences
from gateway.mailbox_files import CHUNK, REAL, Operations, sync_folder
from gateway.mailbox_lock import Locking, MailboxLock

if TYPE_CHECKING:
    from connectors.filedrop.layouts import Sheet

LOOKED_AT: Final = 512
"""How many of the highest numbers a retry looks for its message in."""

_SEQUENCES_OCTETS: Final = 1024 * 1024


class MhLayout:
    """One folder. `unseen` is the sequence that new messages are added to, empty for none."""

    def __init__(
        self, folder: Path, unseen: str, locks: Sequence[Locking], wait_s: float, ops: Operations = REAL
    ) -> None:
        self.folder = folder
        self._unseen = unseen
        self._locks = locks
        self._wait_s = wait_s
        self._ops = ops

    def groups(self, sheets: Sequence[Sheet]) -> list[list[int]]:
        return [list(range(len(sheets)))] if sheets else []

    def put(self, sheets: Sequence[Sheet]) -> None:
        """Put messages in order. Raises: BlockingIOError where others hold the sequences' lock; OSError, Occupied."""
        written: list[str] = []
        made: list[int] = []
        try:
            for sheet in sheets:
                written.append(self._write(sheet))
            with self._lock() as handle:
                there = sorted(found for name in os.listdir(self.folder) if (found := number(name)) is not None)
                sizes = self._sizes(there[-LOOKED_AT:])
                highest = there[-1] if there else 0
                found_again = []
                for path in written:
                    if (again := self._there(path, sizes)) is not None:
                        found_again.append(again)
                        continue
                    highest = self._link(path, highest + 1)
                    made.append(highest)
                if handle >= 0:
                    # Those found again too: the crash may have come before their number was added.
                    self._add_unseen(handle, found_again + made)
        except BaseException:
            for each in made:
                with suppress(OSError):
                    self._ops.unlink(str(self.folder / str(each)))
            raise
        finally:
            for path in written:
                with suppress(OSError):
                    self._ops.unlink(path)

    def sync(self) -> None:
        sync_folder(self.folder, self._ops)

    def count(self, limit: int) -> int:
        return count_names(self.folder, limit, lambda name: number(name) is not None)

    def _write(self, sheet: Sheet) -> str:
        path = str(self.folder / f".{sheet.stem}.tmp")
        write_new(path, sheet.encoded.octets(), 0o640, self._ops)
        return path

    @contextmanager
    def _lock(self) -> Iterator[int]:
        """Hold the sequences' lock; give the open file, -1 where no sequence is kept."""
        if not self._unseen:
            with nullcontext():
                yield -1
            return
        with MailboxLock(self.folder / SEQUENCES, self._locks, self._wait_s, self._ops, create=True) as lock:
            yield lock.handle

    def _link(self, path: str, first: int) -> int:
        for each in range(first, min(first + 10_000, MOST + 1)):
            try:
                self._ops.link(path, str(self.folder / str(each)))
            except FileExistsError:
                ours, there = os.lstat(path), os.lstat(self.folder / str(each))
                if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino):
                    return each  # over NFS the answer of a link may be lost
                continue
            return each
        raise Occupied(f"no number is free from {first} on")

    def _sizes(self, numbers: Sequence[int]) -> dict[int, list[int]]:
        """Return the numbers of messages by their files' sizes."""
        found: dict[int, list[int]] = {}
        for each in numbers:
            with suppress(FileNotFoundError):
                there = os.lstat(self.folder / str(each))
                if stat.S_ISREG(there.st_mode):
                    found.setdefault(there.st_size, []).append(each)
        return found

    def _there(self, path: str, sizes: dict[int, list[int]]) -> int | None:
        """Return the number of a message with the same octets."""
        alike = sizes.get(os.lstat(path).st_size, ())
        return next((each for each in alike if _equal(path, str(self.folder / str(each)))), None)

    def _add_unseen(self, handle: int, numbers: list[int]) -> None:
        text = os.pread(handle, _SEQUENCES_OCTETS, 0).decode("utf-8", "surrogateescape")
        sequences = read_sequences(text)
        sequences[self._unseen] = merged([*sequences.get(self._unseen, []), *((n, n) for n in numbers)])
        octets = write_sequences(sequences).encode("utf-8", "surrogateescape")
        # In place, as the lock is on this very file.
        view, at = memoryview(octets), 0
        while at < len(octets):
            at += self._ops.pwrite(handle, view[at:], at)
        self._ops.ftruncate(handle, len(octets))


def _equal(one: str, other: str) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(one, flags), "rb") as a, open(os.open(other, flags), "rb") as b:
            while True:
                left, right = a.read(CHUNK), b.read(CHUNK)
                if left != right:
                    return False
                if not left:
                    return True
    except FileNotFoundError:
        return False
