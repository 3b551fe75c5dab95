"""Signals beside a file: the trigger that says it is complete, the lock that says it is not to be touched yet.

A trigger `NAME.done` appears after its file; it may hold the file's size, and its SHA-256 behind that. A lock
`NAME.lck` is there while somebody works on the file, and is made with O_EXCL, so that of two only one has it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from connectors.filedrop.files import Occupied, OpenFile
from connectors.filedrop.names import stem_of
from gateway.mailbox_files import CHUNK, REAL, Operations

Check = Literal["none", "size", "sha256"]

MARK: Final = b"gatepost\n"
"""What our own locks hold, so that one which a crash left is known."""

OWN: Final = ".own"
"""What the hidden file that a lock is linked from ends in."""

_HOLDS: Final = re.compile(rb"\s*(\d{1,18})(?:\s+([0-9A-Fa-f]{64}))?\s*")
_READ: Final = 256


def signal_name(pattern: str, name: str) -> str:
    """Return the name of the signal for a file: `{name}` and `{stem}` of the pattern filled in."""
    return pattern.replace("{name}", name).replace("{stem}", stem_of(name))


def holds(check: Check, size: int, digest: str) -> bytes:
    """Return what a trigger holds for a file."""
    if check == "none":
        return b""
    return f"{size} {digest}\r\n".encode() if check == "sha256" else f"{size}\r\n".encode()


def digest_of(path: Path) -> tuple[int, str]:
    """Return a file's size and its SHA-256. Raises: OSError, NotRegular."""
    found = hashlib.sha256()
    size = 0
    with OpenFile(path) as file:
        while piece := file.read(size, CHUNK):
            found.update(piece)
            size += len(piece)
    return size, found.hexdigest()


@dataclass(frozen=True, slots=True)
class Told:
    """What a trigger says of its file; None where it does not say."""

    size: int | None
    digest: str | None
    octets: bytes

    def fits(self, check: Check, path: Path) -> str:
        """Return how the file differs from what its trigger says; empty where it does not.

        Raises: OSError, NotRegular where the file cannot be read.
        """
        if check == "none":
            return ""
        if self.size is None or (check == "sha256" and self.digest is None):
            return "the trigger does not hold " + ("a size" if check == "size" else "a size and a SHA-256")
        size = os.stat(path, follow_symlinks=False).st_size
        if size != self.size:
            return f"the file has {size} octets, its trigger says {self.size}"
        if check == "sha256" and self.digest is not None:
            digest = digest_of(path)[1]
            if digest != self.digest.lower():
                return f"the file's SHA-256 is {digest}, its trigger says {self.digest.lower()}"
        return ""


def read_trigger(path: Path) -> Told | None:
    """Return what a trigger says, None where it is not there. Raises: OSError, NotRegular."""
    try:
        with OpenFile(path) as file:
            octets = file.read(0, _READ)
    except FileNotFoundError:
        return None
    match = _HOLDS.fullmatch(octets)
    if match is None:
        return Told(None, None, octets)
    return Told(int(match[1]), None if match[2] is None else match[2].decode(), octets)


def lock(path: Path, ops: Operations = REAL) -> bool:
    """Make a lock; False where somebody has it. One of ours that a crash left is taken over. Raises: OSError.

    It is linked from a hidden file, so that from its first moment it says whose it is; made with O_EXCL where a share
    knows no links.
    """
    own = path.with_name(f".{path.name}{OWN}")
    handle = ops.open(str(own), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        ops.write(handle, memoryview(MARK))
    finally:
        os.close(handle)
    try:
        return _made(own, path, ops) or (is_ours(path) and _taken_over(own, path, ops))
    finally:
        ops.unlink(str(own))


def _made(own: Path, path: Path, ops: Operations) -> bool:
    try:
        ops.link(str(own), str(path))
    except FileExistsError:
        return False
    except OSError as e:
        if e.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        try:
            handle = ops.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        except FileExistsError:
            return False
        try:
            ops.write(handle, memoryview(MARK))
        finally:
            os.close(handle)
    return True


def _taken_over(own: Path, path: Path, ops: Operations) -> bool:
    with suppress(FileNotFoundError):
        ops.unlink(str(path))
    return _made(own, path, ops)


def is_ours(path: Path) -> bool:
    """Tell whether a lock was made by a gateway. Raises: OSError."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(handle, len(MARK) + 1) == MARK
    except OSError:
        return False
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, ops: Operations = REAL) -> Iterator[None]:
    """Hold a lock. Raises: Occupied where somebody else has it; OSError."""
    if not lock(path, ops):
        raise Occupied(f"{path.name} is there: somebody works on the file")
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            ops.unlink(str(path))
