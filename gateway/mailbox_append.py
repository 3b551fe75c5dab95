"""A mailbox file that messages are appended to, shared with the programs that read it.

Promises: a group of messages is appended whole or not at all, under the mailbox's lock; a message that was appended
before a crash is not appended again by the retry, as long as the mailbox is the same file. What is appended is made
ready in a file beside the mailbox first, so that the lock is held for a copy alone, and a content that cannot be read
touches no mailbox. A journal tells where the copy begins. Whoever holds the lock next finds it after a crash: a copy
that is whole counts as appended, a part of one is cut off again, and where another program has written behind it, the
file is left as it is. Beside the mailbox NAME lie `.NAME.*.staged`, `.NAME.append` (a journal that is open) and
`.NAME.appended` (the last one, with the names of what was appended lately).
Known limits: where the mailbox was taken away between a crash and the retry, the message is put again; where another
program appended behind half a message, without regard for its lock, that half stays.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from gateway.mailbox_files import CHUNK, REAL, Operations, sync_folder
from gateway.mailbox_lock import Locking, MailboxLock
from gateway.mailbox_post import Post

REMEMBERED: Final = 512
"""How many messages are known to have been appended: more than can be under way when a crash comes."""

_TAIL: Final = 3
_LEFT_S: Final = 24 * 3600.0
_STAGED: Final = ".staged"


@dataclass(frozen=True, slots=True)
class _Journal:
    """What is to be appended to which file, from `start` on: `lead`, then `ranges` of the staged file."""

    device: int
    inode: int
    start: int
    lead: str
    staged: str
    ranges: list[tuple[int, int]]
    names: list[str]
    before: list[str]

    @property
    def length(self) -> int:
        return len(self.lead) + sum(end - start for start, end in self.ranges)

    @property
    def known(self) -> list[str]:
        return (self.before + self.names)[-REMEMBERED:]


class MailboxFile:
    """One mailbox. `joint` tells what stands between a file that ends in some octets and a message."""

    def __init__(
        self,
        folder: Path,
        file: str,
        locks: Sequence[Locking],
        wait_s: float,
        joint: Callable[[bytes], bytes],
        ops: Operations = REAL,
    ) -> None:
        self.folder = folder
        self.path = folder / file
        self._locks = locks
        self._wait_s = wait_s
        self._joint = joint
        self._ops = ops
        self._open = str(folder / f".{file}.append")
        self._done = str(folder / f".{file}.appended")
        self._swept = False

    def put(self, posts: Sequence[Post]) -> None:
        """Append messages in order; those that were appended before are left out.

        Raises: BlockingIOError where others hold the lock; OSError. Nothing was appended then.
        """
        staged, ranges = self._stage(posts)
        try:
            with MailboxLock(self.path, self._locks, self._wait_s, self._ops, create=True) as lock:
                known = self._recovered(lock.handle)
                new = [i for i, post in enumerate(posts) if post.stem not in known]
                if new:
                    names = [posts[i].stem for i in new]
                    self._append(lock.handle, staged, [ranges[i] for i in new], names, known)
        finally:
            # A journal that is still open needs it: where a copy could be neither finished nor cut off.
            journal = self._read(self._open)
            if journal is None or journal.staged != staged:
                with suppress(OSError):
                    self._ops.unlink(str(self.folder / staged))

    def sync(self) -> None:
        sync_folder(self.folder, self._ops)

    def count(self, limit: int) -> int:
        """Return 1 where the mailbox holds anything."""
        try:
            return int(os.stat(self.path).st_size > 0)
        except FileNotFoundError:
            return 0

    def _stage(self, posts: Sequence[Post]) -> tuple[str, list[tuple[int, int]]]:
        """Write the messages into a file of ours, synced; return its name and where each stands in it."""
        name = f".{self.path.name}.{secrets.token_hex(8)}{_STAGED}"
        path = str(self.folder / name)
        handle = self._ops.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        ranges: list[tuple[int, int]] = []
        at = 0
        try:
            for post in posts:
                start = at
                for piece in post.octets():
                    _write(handle, piece, self._ops)
                    at += len(piece)
                ranges.append((start, at))
            self._ops.fsync(handle)
            if not self._swept:
                self._sweep(os.fstat(handle).st_mtime - _LEFT_S)
                self._swept = True
        except BaseException:
            with suppress(OSError):
                self._ops.unlink(path)
            raise
        finally:
            os.close(handle)
        return name, ranges

    def _sweep(self, before: float) -> None:
        """Remove what crashes of long ago left."""
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.startswith(f".{self.path.name}.") and entry.name.endswith(_STAGED):
                    with suppress(OSError):
                        if entry.stat(follow_symlinks=False).st_mtime < before:
                            self._ops.unlink(entry.path)

    def _append(
        self, handle: int, staged: str, ranges: list[tuple[int, int]], names: list[str], known: list[str]
    ) -> None:
        there = os.fstat(handle)
        tail = os.pread(handle, _TAIL, max(0, there.st_size - _TAIL))
        lead = self._joint(tail).decode("ascii")
        journal = _Journal(there.st_dev, there.st_ino, there.st_size, lead, staged, ranges, names, known)
        self._write_journal(journal)
        try:
            at = journal.start
            for piece in self._pieces(journal):
                view = memoryview(piece)
                while view:
                    written = self._ops.pwrite(handle, view, at)
                    at += written
                    view = view[written:]
            self._ops.fsync(handle)
        except OSError:
            self._cut(handle, journal.start)
            raise
        self._ops.rename(self._open, self._done)

    def _cut(self, handle: int, size: int) -> None:
        """Take back what was written of a copy; where even that fails, the journal stays for the next to do it."""
        with suppress(OSError):
            self._ops.ftruncate(handle, size)
            self._ops.fsync(handle)
            self._ops.unlink(self._open)

    def _write_journal(self, journal: _Journal) -> None:
        temporary = self._open + ".tmp"
        handle = self._ops.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            _write(handle, json.dumps(asdict(journal)).encode(), self._ops)
            self._ops.fsync(handle)
        finally:
            os.close(handle)
        self._ops.rename(temporary, self._open)
        try:
            sync_folder(self.folder, self._ops)
        except OSError:
            with suppress(OSError):
                self._ops.unlink(self._open)
            raise

    def _read(self, path: str) -> _Journal | None:
        """Read a journal; None where there is none that can be read."""
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                values = json.loads(file.read())
            return _Journal(**values)
        except (OSError, ValueError, TypeError):
            return None

    def _recovered(self, handle: int) -> list[str]:
        """Finish what a crash left open; return the names of what was appended lately. Raises: OSError."""
        journal = self._read(self._open)
        if journal is not None:
            self._close(handle, journal)
        done = self._read(self._done)
        return [] if done is None else done.known

    def _close(self, handle: int, journal: _Journal) -> None:
        there = os.fstat(handle)
        # The staged file goes after the journal: where it is missing, somebody has tidied up.
        is_same_file = (there.st_dev, there.st_ino) == (journal.device, journal.inode) and os.path.lexists(
            self.folder / journal.staged
        )
        is_done = False
        if is_same_file and there.st_size > journal.start and self._is_ours(handle, journal, there.st_size):
            is_done = there.st_size >= journal.start + journal.length and self._is_written(handle, journal)
            if is_done:
                self._ops.fsync(handle)
            elif there.st_size <= journal.start + journal.length:
                self._ops.ftruncate(handle, journal.start)
                self._ops.fsync(handle)
        if is_done:
            self._ops.rename(self._open, self._done)
        else:
            self._ops.unlink(self._open)
        with suppress(OSError):
            self._ops.unlink(str(self.folder / journal.staged))

    def _is_ours(self, handle: int, journal: _Journal, size: int) -> bool:
        """Tell whether what stands from the journal's start on is our copy, or a part of it.

        After a power cut a file may have its new length and not its octets: NUL stands for any.
        """
        return all(
            there == piece or all(a in (b, 0) for a, b in zip(there, piece, strict=False))
            for there, piece in self._compared(handle, journal, size)
        )

    def _is_written(self, handle: int, journal: _Journal) -> bool:
        size = journal.start + journal.length
        return all(there == piece for there, piece in self._compared(handle, journal, size))

    def _compared(self, handle: int, journal: _Journal, size: int) -> Iterator[tuple[bytes, bytes]]:
        at = journal.start
        for piece in self._pieces(journal):
            there = os.pread(handle, len(piece), at)
            at += len(piece)
            yield there, piece
            if at >= size:
                return

    def _pieces(self, journal: _Journal) -> Iterator[bytes]:
        """Yield what the journal says is to be appended. Raises: OSError."""
        if journal.lead:
            yield journal.lead.encode("ascii")
        staged = os.open(self.folder / journal.staged, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for start, end in journal.ranges:
                while start < end:
                    piece = self._ops.pread(staged, min(CHUNK, end - start), start)
                    if not piece:
                        raise OSError(f"{journal.staged} ends at {start}")
                    yield piece
                    start += len(piece)
        finally:
            os.close(staged)


def _write(handle: int, octets: bytes, ops: Operations) -> None:
    view = memoryview(octets)
    while view:
        view = view[ops.write(handle, view) :]
