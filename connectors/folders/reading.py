"""Files of a mailbox, opened and brought to messages: regular files alone, and no link is followed."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final

from gateway.contract import Content
from gateway.formats.lines import Filter

INLINE: Final = 1024 * 1024
"""Larger messages are kept in a file of their own while they are read."""
CHUNK: Final = 256 * 1024
HEAD_LIMIT: Final = 4 * 1024 * 1024
"""What is longer is no header."""


def opened(path: str | Path) -> int:
    """Open a regular file for reading. Raises: OSError, also for what is no regular file."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path} is no regular file")
    return handle


class FileBlob:
    """An open file as a Blob; closed with it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        octets = os.pread(self._file.fileno(), length, offset)
        while len(octets) < min(length, self.size - offset):
            more = os.pread(self._file.fileno(), length - len(octets), offset + len(octets))
            if not more:
                raise OSError(f"the file ends at {offset + len(octets)} of {self.size} octets")
            octets += more
        return octets


def blob_of(path: str | Path) -> FileBlob:
    """Return a file as a Blob. Raises: OSError."""
    file = open(opened(path), "rb", buffering=0)  # noqa: SIM115 - it lives as long as the blob
    return FileBlob(file, os.fstat(file.fileno()).st_size)


def pieces(handle: int, start: int, end: int) -> Iterator[bytes]:
    """Yield the octets of a file between two places. Raises: OSError where there are fewer."""
    while start < end:
        piece = os.pread(handle, min(CHUNK, end - start), start)
        if not piece:
            raise OSError(f"the file ends at {start} of {end} octets")
        yield piece
        start += len(piece)


def sync_all(handles: Sequence[int]) -> None:
    """Make files durable. Raises: OSError. Asked for at once, they share what the file system has to do for each."""
    if len(handles) == 1:
        os.fsync(handles[0])
    elif handles:
        with ThreadPoolExecutor(min(8, len(handles))) as pool:
            list(pool.map(os.fsync, handles))


def content_of(octets: Iterator[bytes], about: int, through: Filter | None, folder: Path) -> Content:
    """Return a message of `about` so many octets, brought through a filter; a large one is kept in `folder`."""
    if through is not None:
        octets = through(octets)
    if about <= INLINE:
        return Content(b"".join(octets))
    file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - as above
    size = 0
    for piece in octets:
        view = memoryview(piece)
        while view:
            written = file.write(view) or 0
            size += written
            view = view[written:]
    return Content(FileBlob(file, size))


def synced(folder: Path) -> None:
    """Make names durable that were put into a folder. Raises: OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def owned(made: Path) -> None:
    """Give what we made the owner of the folder that it is in, where we may."""
    if os.geteuid() == 0:
        above, there = os.stat(made.parent), os.lstat(made)
        if (there.st_uid, there.st_gid) != (above.st_uid, above.st_gid):
            os.chown(made, above.st_uid, above.st_gid, follow_symlinks=False)
