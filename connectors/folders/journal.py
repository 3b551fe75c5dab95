"""A mailbox file altered in its place, and finished after a crash.

A file that programs share stays the same file: one that was renamed over it would lose what a program appends to the
file it has open. So what is to stand from some place on is first written into a file of ours and synced, and then put
into the mailbox. Whoever takes the mailbox's lock next with us finishes what a crash left, and keeps what another
program has appended meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from connectors.folders.reading import pieces, synced

_HEAD: Final = 4096


@dataclass(frozen=True, slots=True)
class _Said:
    """The mailbox, and what is done to it: `length` octets from `start` on become all that is there.

    `stale` is the digest of what the old file has behind them, by which one tells whether that was cut off already.
    """

    device: int
    inode: int
    start: int
    size: int
    length: int
    stale: str


class Journal:
    """The journal of one mailbox file; `folder` is ours."""

    def __init__(self, folder: Path, path: Path) -> None:
        name = hashlib.blake2b(os.fsencode(path), digest_size=12).hexdigest()
        self._path = folder / f"{name}.altered"

    def alter(self, handle: int, start: int, new: Callable[[], Iterable[bytes]]) -> None:
        """Let the file that is open and locked have `new` from `start` on, durably. Raises: OSError."""
        temporary = self._path.with_suffix(".new")
        journal = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            at = _HEAD
            for piece in new():
                _put(journal, piece, at)
                at += len(piece)
            there = os.fstat(handle)
            length = at - _HEAD
            stale = _digest(handle, min(start + length, there.st_size), there.st_size)
            said = _Said(there.st_dev, there.st_ino, start, there.st_size, length, stale)
            _put(journal, json.dumps(asdict(said)).encode().ljust(_HEAD), 0)
            os.fsync(journal)
            os.rename(temporary, self._path)
            synced(self._path.parent)
            self._finish(handle, journal, said, b"")
        finally:
            os.close(journal)
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    def recover(self, handle: int) -> None:
        """Finish what a crash left of an alteration. Raises: OSError."""
        try:
            journal = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            said = _Said(**json.loads(os.pread(journal, _HEAD, 0)))
            there = os.fstat(handle)
            if (there.st_dev, there.st_ino) == (said.device, said.inode):
                behind = self._behind(handle, journal, said, there.st_size)
                if behind is not None:
                    self._finish(handle, journal, said, behind)
                    return
            os.unlink(self._path)
        finally:
            os.close(journal)

    def _behind(self, handle: int, journal: int, said: _Said, size: int) -> bytes | None:
        """Return what others have appended; None where there is nothing to be finished."""
        end = said.start + said.length
        if size < min(said.size, end):
            return None  # somebody has cut it: it is another mailbox by now
        is_written = size >= end and _same(handle, journal, said.start, said.length)
        if end <= said.size:
            is_cut = size < said.size or _digest(handle, end, said.size) != said.stale
            return None if is_written and is_cut else _tail(handle, said.size, size)
        if is_written:
            return None
        # Of what grows, the file has a first part behind its old end, or nothing yet.
        at = said.size
        for piece in pieces(journal, _HEAD + said.size - said.start, _HEAD + said.length):
            found = os.pread(handle, len(piece), at)
            same = _shared(piece, found)
            at += same
            if same < len(piece):
                break
        return _tail(handle, at, size)

    def _finish(self, handle: int, journal: int, said: _Said, behind: bytes) -> None:
        at = said.start
        for piece in pieces(journal, _HEAD, _HEAD + said.length):
            _put(handle, piece, at)
            at += len(piece)
        _put(handle, behind, at)
        os.fsync(handle)
        os.ftruncate(handle, at + len(behind))
        os.fsync(handle)
        os.unlink(self._path)


def _shared(one: bytes, two: bytes) -> int:
    """Return how many octets two have in common from their start on."""
    if two.startswith(one):
        return len(one)
    return next((at for at, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))


def _put(handle: int, octets: bytes, at: int) -> None:
    view = memoryview(octets)
    while view:
        written = os.pwrite(handle, view, at)
        at += written
        view = view[written:]


def _same(handle: int, journal: int, start: int, length: int) -> bool:
    return all(
        one == os.pread(handle, len(one), start + at) for at, one in _placed(pieces(journal, _HEAD, _HEAD + length))
    )


def _placed(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    at = 0
    for part in parts:
        yield at, part
        at += len(part)


def _digest(handle: int, start: int, end: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces(handle, start, end):
        digest.update(piece)
    return digest.hexdigest()


def _tail(handle: int, start: int, end: int) -> bytes:
    return b"".join(pieces(handle, start, end))
