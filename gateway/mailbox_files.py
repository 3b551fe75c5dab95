"""The calls that change a disk where mailboxes and shared folders lie, as one value that a test can make fail.

All of it blocks, and runs in threads.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

CHUNK: Final = 256 * 1024


def _renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    """Return the system's call that renames without putting anything away, None where there is none."""
    try:
        call: Any = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return cast(Callable[[int, bytes, int, bytes, int], int], call)


_RENAMEAT2: Final = _renameat2()
_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_NOT_OFFERED: Final = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def rename_new(source: str, target: str) -> None:
    """Rename a file to a name that must be free. Raises: FileExistsError, OSError.

    In one step where the file system offers it; on others, as network shares may be, another can take the name
    between the look and the rename.
    """
    if _RENAMEAT2 is not None:
        if not _RENAMEAT2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE):
            return
        number = ctypes.get_errno()
        if number not in _NOT_OFFERED:
            raise OSError(number, os.strerror(number), source, None, target)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), source, None, target)
    os.rename(source, target)


@dataclass(frozen=True)
class Operations:
    """The calls that change a disk, and the one that reads it, so that a test can make each one fail."""

    open: Callable[[str, int, int], int] = os.open
    write: Callable[[int, memoryview], int] = os.write
    fsync: Callable[[int], None] = os.fsync
    rename: Callable[[str, str], None] = os.rename
    rename_new: Callable[[str, str], None] = rename_new
    unlink: Callable[[str], None] = os.unlink
    link: Callable[[str, str], None] = os.link
    mkdir: Callable[[str, int], None] = os.mkdir
    pread: Callable[[int, int, int], bytes] = os.pread
    pwrite: Callable[[int, memoryview, int], int] = os.pwrite
    ftruncate: Callable[[int, int], None] = os.ftruncate


REAL: Final = Operations()


def sync_folder(folder: Path, ops: Operations = REAL) -> None:
    """Make the names in a folder durable. Raises: OSError."""
    handle = ops.open(str(folder), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0)
    try:
        ops.fsync(handle)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems have no such call
            raise
    finally:
        os.close(handle)
