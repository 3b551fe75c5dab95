"""Content that arrives in pieces, and content files.

Up to the inline limit a content stays in memory and lies in its message's row. Beyond it the pieces go out to a
sink in threads: here a content file `<folder>/<tag>/<xx>/<yy>/<name>`, on PostgreSQL chunk rows. A file is
written under a temporary name, fsynced, renamed, and its folder fsynced, all before `finish` returns; so the
row that names it is never committed before it. Files of one moment share a folder, so that one fsync of the
folder serves several of them.

The owner of a content file is the one row that names it; a file without a row is an orphan, and swept when its
spool is opened, while nobody can be writing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from gateway.contract import Unavailable
from gateway.message import Blob, Content, Traits
from gateway.status import SPOOL_DOWN, SPOOL_FULL, Status

WAITING_LIMIT: Final = 1024 * 1024
"""More than this in memory, and the source is asked to wait."""

_SWEEP_LEAF_S: Final = 3600.0
FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StoredBlob(Blob, Protocol):
    """A Blob that the spool can own: `ref` goes into the row, `owned` says that some message has it."""

    ref: str
    owned: bool


class Sink(Protocol):
    """Where the pieces of one content go. All methods block and are called in a thread, one after the other."""

    def write(self, pieces: list[bytes]) -> None:
        """Raises: OSError, or the database's own fault."""
        ...

    def finish(self) -> StoredBlob:
        """Make durable what was written."""
        ...

    def discard(self) -> None:
        """Remove what was written, also after `finish`; raises nothing."""
        ...


def status_of(error: BaseException) -> Status:
    """Return what a fault of the disk means for a peer."""
    if isinstance(error, OSError) and error.errno in FULL_ERRNOS:
        return SPOOL_FULL.but(cause=str(error))
    return SPOOL_DOWN.but(cause=str(error) or type(error).__name__)


class PieceWriter:
    """The ContentWriter of `gateway.contract`: in memory up to `inline_limit`, then through a sink."""

    def __init__(
        self,
        open_sink: Callable[[], Sink],
        pool: ThreadPoolExecutor,
        inline_limit: int,
        fault_status: Callable[[BaseException], Status] = status_of,
    ) -> None:
        self._open_sink = open_sink
        self._pool = pool
        self._limit = inline_limit
        self._fault_status = fault_status
        self._size = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._sink: Sink | None = None
        self._spilled = False
        self._running: asyncio.Future[None] | None = None
        self._error: BaseException | None = None
        self._blob: StoredBlob | None = None
        self._abandoned = False

    @property
    def size(self) -> int:
        return self._size

    def write(self, piece: bytes) -> bool:
        self._size += len(piece)
        if self._error is not None or self._abandoned:
            return False  # nothing is kept any more; drain() says why
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if not self._spilled and self._size <= self._limit:
            return True
        self._spilled = True
        self._kick()
        return self._waiting_bytes <= WAITING_LIMIT

    def _kick(self) -> None:
        if self._running is not None or not self._waiting or self._error is not None:
            return
        pieces, self._waiting = self._waiting, []
        self._running = running = asyncio.get_running_loop().run_in_executor(self._pool, self._write_out, pieces)
        size = self._waiting_bytes
        running.add_done_callback(lambda done: self._written(done, size))

    def _write_out(self, pieces: list[bytes]) -> None:
        if self._sink is None:
            self._sink = self._open_sink()
        self._sink.write(pieces)

    def _written(self, done: asyncio.Future[None], size: int) -> None:
        self._running = None
        self._waiting_bytes -= size
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is not None:
            self._error = error
            self._waiting.clear()
            self._waiting_bytes = 0
        else:
            self._kick()

    async def drain(self) -> None:
        while self._running is not None:
            await asyncio.wait((self._running,))
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise Unavailable(self._fault_status(self._error)) from self._error

    async def finish(self, traits: Traits | None = None) -> Content:
        if not self._spilled:
            pieces = self._waiting
            return Content(pieces[0] if len(pieces) == 1 else b"".join(pieces), traits=traits)
        await self.drain()
        try:
            content = await asyncio.get_running_loop().run_in_executor(self._pool, self._finish, traits)
        except Exception as error:
            self._error = error
            raise Unavailable(self._fault_status(error)) from error
        return content

    def _finish(self, traits: Traits | None) -> Content:
        assert self._sink is not None
        self._blob = blob = self._sink.finish()
        content = Content(blob, traits=traits)
        _ = content.traits  # read through here, in the thread, where the source did not tell
        return content

    async def abandon(self) -> None:
        if self._abandoned or (self._blob is not None and self._blob.owned):
            return
        self._abandoned = True
        self._waiting.clear()
        while self._running is not None:
            await asyncio.wait((self._running,))
        self._waiting.clear()
        if self._sink is not None:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._sink.discard)


class ContentFile:
    """The octets of a content file. Opened for each read, so that any number of them costs no descriptor."""

    __slots__ = ("owned", "path", "ref", "size")

    def __init__(self, path: str, ref: str, size: int, *, owned: bool) -> None:
        self.path = path
        self.ref = ref
        self.size = size
        self.owned = owned

    def read(self, offset: int, length: int) -> bytes:
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            pieces = []
            while length > 0 and (piece := os.pread(fd, length, offset)):
                pieces.append(piece)
                offset += len(piece)
                length -= len(piece)
        finally:
            os.close(fd)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _GroupSync:
    """Folder fsyncs shared between threads: who comes while one runs waits for the next, together with others."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._started: dict[str, int] = {}
        self._finished: dict[str, int] = {}

    def sync(self, path: str) -> None:
        """Return once an fsync of the folder that began after this call has ended. Raises: OSError."""
        with self._changed:
            want = self._started.get(path, 0) + 1
            while self._finished.get(path, 0) < self._started.get(path, 0):
                self._changed.wait()
                if self._finished.get(path, 0) >= want:
                    return
            self._started[path] = turn = self._started.get(path, 0) + 1
        failed = True
        try:
            sync_folder(path)
            failed = False
        finally:
            with self._changed:
                self._finished[path] = turn
                if failed:  # those who waited for this one must try for themselves
                    self._started[path] = self._finished[path] = self._started[path] - 1
                elif len(self._started) > 1024:
                    self._started.clear()
                    self._finished.clear()
                self._changed.notify_all()


class ContentFolder:
    """The content files of one spool file: `root/tag/...`. Its methods block, and may be called in any thread."""

    def __init__(self, root: Path, tag: str, min_free_bytes: int) -> None:
        self.root = root
        self.tag = tag
        self._min_free = min_free_bytes
        self._sync = _GroupSync()
        self._lock = threading.Lock()
        self._last = 0
        self._known: set[str] = set()
        self._deferred: list[str] | None = None

    def path(self, ref: str) -> str:
        return f"{self.root}/{ref}"

    def file(self, ref: str, size: int) -> ContentFile:
        """Return a file that a row names."""
        return ContentFile(self.path(ref), ref, size, owned=True)

    def sink(self) -> Sink:
        return _FileSink(self)

    def new_ref(self) -> str:
        """Return a name not used before; those of the same four minutes lie in one folder."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() >> 10)
            stamp = self._last
        return f"{self.tag}/{stamp >> 36 & 0xFFFF:04x}/{stamp >> 28 & 0xFF:02x}/{stamp:014x}"

    def check_room(self, coming: int = 0) -> None:
        """Raises: OSError (ENOSPC) where the file system is below the limit of free space."""
        room = os.statvfs(self.root)
        if room.f_bavail * room.f_frsize - coming < self._min_free:
            raise OSError(errno.ENOSPC, "free space is below the spool's limit")

    def make_folder(self, ref: str) -> str:
        """Make the folders of a ref, durably; returns the innermost."""
        leaf = self.path(ref).rpartition("/")[0]
        if leaf in self._known:
            return leaf
        missing = []
        at = leaf
        while not os.path.isdir(at):
            missing.append(at)
            at = at.rpartition("/")[0]
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
        # Another thread may have made them a moment ago and not synced them yet, so this never relies on that.
        for path in (leaf.rpartition("/")[0], leaf.rpartition("/")[0].rpartition("/")[0], str(self.root)):
            self._sync.sync(path)
        self._known.add(leaf)
        return leaf

    def forget_folder(self, leaf: str) -> None:
        self._known.discard(leaf)

    def place(self, temporary: str, ref: str) -> None:
        """Give a file that is written and fsynced its name, durably."""
        path = self.path(ref)
        os.rename(temporary, path)
        self._sync.sync(path.rpartition("/")[0])

    def remove(self, refs: Iterable[str]) -> None:
        """Unlink files that no row names any more; a file that stays behind is swept at the next start."""
        with self._lock:
            if self._deferred is not None:
                self._deferred.extend(refs)
                return
        for ref in refs:
            with contextlib.suppress(OSError):
                os.unlink(self.path(ref))

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Put off all removals while the block runs: a backup copies what its snapshot names."""
        with self._lock:
            if self._deferred is not None:
                raise RuntimeError("a backup is running already")
            self._deferred = []
        try:
            yield
        finally:
            with self._lock:
                refs, self._deferred = self._deferred, None
            self.remove(refs)

    def adopt(self, path: str) -> str:
        """Give a dead worker's file a second name of ours, durably; returns its ref."""
        ref = self.new_ref()
        self.make_folder(ref)
        os.link(path, self.path(ref))
        self._sync.sync(self.path(ref).rpartition("/")[0])
        return ref

    def walk(self) -> Iterator[tuple[str, int]]:
        """Yield (ref, size) of every file of ours, temporary ones too."""
        for folder, _, names in os.walk(f"{self.root}/{self.tag}"):
            for name in names:
                path = f"{folder}/{name}"
                with contextlib.suppress(FileNotFoundError):
                    yield path[len(str(self.root)) + 1 :], os.stat(path).st_size

    def tidy(self) -> None:
        """Remove empty folders in which nothing new will be written."""
        horizon = time.time() - _SWEEP_LEAF_S
        for folder, folders, names in os.walk(f"{self.root}/{self.tag}", topdown=False):
            if not folders and not names and os.stat(folder).st_mtime < horizon:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
                self._known.discard(folder)


class _FileSink:
    """Writes one content file."""

    def __init__(self, folder: ContentFolder) -> None:
        self._folder = folder
        self._ref = folder.new_ref()
        self._path = folder.path(self._ref) + ".tmp"
        self._size = 0
        self._placed = False
        folder.check_room()
        self._fd = self._open()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        for attempt in (1, 2):
            leaf = self._folder.make_folder(self._ref)
            try:
                return os.open(self._path, flags, 0o600)
            except FileNotFoundError:  # the folder was empty and tidied away
                self._folder.forget_folder(leaf)
                if attempt == 2:
                    raise
        raise AssertionError

    def write(self, pieces: list[bytes]) -> None:
        self._folder.check_room(sum(map(len, pieces)))
        for start in range(0, len(pieces), 512):  # IOV_MAX is 1024
            views = [memoryview(p) for p in pieces[start : start + 512] if p]
            while views:
                written = os.writev(self._fd, views)
                self._size += written
                while views and written >= len(views[0]):
                    written -= len(views[0])
                    del views[0]
                if written:
                    views[0] = views[0][written:]

    def finish(self) -> ContentFile:
        os.fsync(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._folder.place(self._path, self._ref)
        self._placed = True
        return ContentFile(self._folder.path(self._ref), self._ref, self._size, owned=False)

    def discard(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        for path in (self._path, self._folder.path(self._ref)):
            with contextlib.suppress(OSError):
                os.unlink(path)
