"""Files in shared folders: the one place that puts, claims and moves them.

`place` makes a file appear whole or not at all; `claim` gives a file to exactly one claimant; `read` opens only
regular files and follows no link, for a drop folder is untrusted input. All of it blocks, and runs in threads.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from connectors.filedrop.names import NAME_OCTETS, shown
from gateway.mailbox_files import CHUNK, REAL, Operations, sync_folder

_TOKEN: Final = re.compile(r"[0-9a-f]{16}(?:[0-9a-f]{8})?")  # claims of an earlier form are the shorter ones


class Occupied(Exception):
    """Every name that a file may have is taken by another file."""


def place(
    folder: Path,
    name: str,
    pieces: Callable[[], Iterable[bytes]],
    *,
    sync: bool = True,
    ops: Operations = REAL,
    names: Sequence[str] | None = None,
) -> str:
    """Put a file into a folder; return the name it got.

    Durable when this returns: the file's octets, and with `sync` its name. Without, the caller calls `sync_folder`.
    A file of this name with the same octets is taken for the one an earlier attempt put. One with other octets
    stays; ours gets the first of `names` that is free (`stem-2` and so on where they are not given). A reader never
    sees a part: the temporary name begins with a dot.
    Raises: OSError (no file and no temporary file is left where that can be had), Occupied.
    """
    if names is None:
        stem, dot, extension = name.rpartition(".")
        names = [f"{stem}-{number}{dot}{extension}" for number in range(2, 10)]
    temporary = f"{folder}/{_temporary(name)}"
    # An earlier attempt may have died on this very name; whatever it is, it is not followed.
    handle = ops.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    renamed = False
    try:
        for piece in _together(pieces()):
            view = memoryview(piece)
            while view:
                view = view[ops.write(handle, view) :]
        ops.fsync(handle)
        for final in (name, *names):
            target = f"{folder}/{final}"
            there = _rename_or_look(temporary, target, handle, ops)
            if there is None:
                renamed = True
                break
            same_size = there.st_size == os.fstat(handle).st_size
            if same_size and stat.S_ISREG(there.st_mode) and _equal(temporary, target):
                break
        else:
            raise Occupied(f"{name} and {len(names)} names after it are taken by other files")
    finally:
        os.close(handle)
        if not renamed:
            with suppress(OSError):  # the first error is the one to tell; the next attempt writes over this file
                ops.unlink(temporary)
    if sync:
        sync_folder(folder, ops)
    return final


def _temporary(name: str) -> str:
    """Return a hidden name for a file that is being written: the same for every attempt, and of any length."""
    made = f".{name}.tmp"
    return made if len(os.fsencode(made)) <= NAME_OCTETS else f".{hashlib.sha256(os.fsencode(name)).hexdigest()}.tmp"


def _together(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield pieces with short ones joined: at each call of the system a thread loses the interpreter to others."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield b"".join(held)
            held, size = [], 0
    if size:
        yield b"".join(held)


def _rename_or_look(source: str, target: str, handle: int, ops: Operations) -> os.stat_result | None:
    """Rename our open file to a name that is free; where one is there already, return what it is. Raises: OSError."""
    try:
        ops.rename_new(source, target)
    except OSError as e:
        try:
            there = os.lstat(target)
        except OSError:
            if not isinstance(e, FileExistsError):
                raise e from None
            ops.rename_new(source, target)  # its reader took it meanwhile
            return None
        ours = os.fstat(handle)
        if (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev):
            return None  # over NFS a rename whose answer was lost is told as a failure
        if not isinstance(e, FileExistsError):
            raise
        return there
    return None


def _equal(one: str, other: str) -> bool:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(one, flags), "rb") as a, open(os.open(other, flags), "rb") as b:
        while True:
            left, right = a.read(CHUNK), b.read(CHUNK)
            if left != right:
                return False
            if not left:
                return True


def write_new(path: str, pieces: Iterable[bytes], mode: int, ops: Operations = REAL) -> os.stat_result:
    """Write a file whole and sync it, in place of what a crash may have left there; return what it is.

    Raises: OSError (no file is left where that can be had).
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileNotFoundError):
        # Made anew and not written over: what a crash left may already have its name.
        ops.unlink(path)
    handle = ops.open(path, flags, mode)
    try:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[ops.write(handle, view) :]
        ops.fsync(handle)
        return os.fstat(handle)
    except BaseException:  # whatever ended it, no part of a file is left
        with suppress(OSError):
            ops.unlink(path)
        raise
    finally:
        os.close(handle)


def count_names(folder: Path, limit: int, is_one: Callable[[str], bool]) -> int:
    """Count the entries of a folder with such names, no further than `limit` + 1. Raises: OSError."""
    found = 0
    with os.scandir(folder) as entries:
        # Over the limit the exact number does not matter, and a full folder is not read to its end.
        for entry in entries:
            found += is_one(entry.name)
            if found > limit:
                break
    return found


class Claimed(NamedTuple):
    """A file that is ours: `name` is what its writer called it, `token` names this one hand-over.

    `where` is its path as text, for whoever has thousands of them.
    """

    where: str
    name: str
    token: str

    @property
    def path(self) -> Path:
        return Path(self.where)

    @property
    def shown(self) -> str:
        return shown(self.name)


class _Tokens:
    """Names of hand-overs that no other process gives: a time in units of 16 microseconds, and chance.

    They grow, so that where they are kept, one beside the other, new ones stand together. The chance alone tells them
    apart where the clock was set back.
    """

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> str:
        self._last = max(self._last + 1, time.time_ns() >> 14)
        return f"{self._last:012x}{random.getrandbits(48):012x}"


_TOKENS: Final = _Tokens()


def is_token(text: str) -> bool:
    """Tell whether a text is the name of a hand-over."""
    return _TOKEN.fullmatch(text) is not None


def claim(path: Path | str, name: str, claims: Path | str, ops: Operations = REAL) -> Claimed | None:
    """Take the file at `path`, of this name, out of the inbox; None where another took it, or its writer still holds
    it.

    The token is part of the new name, so that it outlives a crash. Raises: OSError where the folders fail.
    """
    token = _TOKENS.next()
    where = f"{claims}/{short(f'{token}.{name}')}"
    try:
        ops.rename(str(path), where)
    except OSError as e:
        # SMB tells a file that is still open as one of the other three.
        if e.errno in (errno.ENOENT, errno.EACCES, errno.EBUSY, errno.ETXTBSY) and os.path.isdir(claims):
            return None
        raise
    return Claimed(where, name, token)


def claimed(path: Path) -> Claimed | None:
    """Read a claim folder's entry back, as after a crash; None where it is not one of ours."""
    token, dot, name = path.name.partition(".")
    if not (dot and name and is_token(token)):
        return None
    return Claimed(str(path), name, token)


def short(name: str) -> str:
    """Return a name that a file system takes, with its extension kept."""
    if len(name) <= NAME_OCTETS // 4:
        return name
    octets = os.fsencode(name)
    if len(octets) <= NAME_OCTETS:
        return name
    return os.fsdecode(octets[: NAME_OCTETS - 16] + octets[-16:])


def move(source: Path | str, folder: Path | str, name: str, ops: Operations = REAL, *, unique: str = "") -> str:
    """Move a file of ours within its file system, under a name that is free: `name`, `name-2` to 9, or with `unique`.

    Raises: OSError.
    """
    target = f"{folder}/{short(name)}"
    try:
        ops.rename_new(str(source), target)
    except FileExistsError:
        return _move_beside(source, folder, name, ops, unique)
    return target


def _move_beside(source: Path | str, folder: Path | str, name: str, ops: Operations, unique: str) -> str:
    stem, dot, rest = name.partition(".")
    for number in range(2, 11):
        tail = f"-{number}" if number < 10 else f"-{unique or secrets.token_hex(8)}"
        target = f"{folder}/{short(f'{stem}{tail}{dot}{rest}')}"
        with suppress(FileExistsError):
            ops.rename_new(str(source), target)
            return target
    raise OSError(errno.EEXIST, "all names are taken", f"{folder}/{name}")


class Changed(Exception):
    """A file grew or shrank while it was read: its writer has not finished."""


class NotRegular(Exception):
    """A link, a device or a pipe, where a file was expected."""


def _open(path: str, ops: Operations) -> tuple[int, os.stat_result]:
    """Open a regular file for reading; return its descriptor and what it is. Raises: NotRegular, OSError."""
    try:
        # O_NONBLOCK: opening a pipe without a writer must not wait for one.
        handle = ops.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0)
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENXIO):
            raise NotRegular from None
        raise
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise NotRegular
    return handle, found


class OpenFile:
    """A regular file opened for reading; a Blob. Use as a context manager.

    Raises: NotRegular, OSError.
    """

    def __init__(self, path: Path | str, ops: Operations = REAL) -> None:
        self._ops = ops
        self._handle, self._at_open = _open(str(path), ops)

    @classmethod
    def of(cls, handle: int, found: os.stat_result, ops: Operations) -> OpenFile:
        """Return what was opened already as one; it owns the descriptor from now on."""
        made = cls.__new__(cls)
        made._ops, made._handle, made._at_open = ops, handle, found
        return made

    @property
    def size(self) -> int:
        return self._at_open.st_size

    @property
    def mtime(self) -> float:
        return self._at_open.st_mtime

    def read(self, offset: int, length: int) -> bytes:
        return self._ops.pread(self._handle, length, offset)

    def check_unchanged(self) -> None:
        """Raises: Changed where the file is not what it was when opened."""
        now = os.fstat(self._handle)
        if (now.st_size, now.st_mtime_ns) != (self._at_open.st_size, self._at_open.st_mtime_ns):
            raise Changed

    def close(self) -> None:
        """Close it; safe to call twice."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class InMemory:
    """Octets as a Blob, for a file small enough to be read at once; `mtime` is in seconds since 1970."""

    __slots__ = ("mtime", "octets", "size")

    def __init__(self, octets: bytes, mtime: float = 0.0) -> None:
        self.octets = octets
        self.size = len(octets)
        self.mtime = mtime

    def read(self, offset: int, length: int) -> bytes:
        return self.octets[offset : offset + length]

    def close(self) -> None:
        """Do nothing: the file is closed."""


def open_or_read(path: str, small: int, ops: Operations = REAL) -> OpenFile | InMemory:
    """Open a regular file; one of at most `small` octets is read whole, and closed.

    Raises: Changed where one so small grew or shrank meanwhile; NotRegular; OSError.
    """
    handle, found = _open(path, ops)
    size = found.st_size
    if size > small:
        return OpenFile.of(handle, found, ops)
    try:
        # One octet more is asked for, so that a file that grows is told without asking for its size again.
        octets = ops.pread(handle, size + 1, 0)
    finally:
        os.close(handle)
    if len(octets) != size:
        raise Changed
    return InMemory(octets, found.st_mtime)
