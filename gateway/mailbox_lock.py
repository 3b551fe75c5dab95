"""The lock of a mailbox that programs share: fcntl, flock and dotlock, in any combination.

Promises: all locks are held, or none. None is waited for while another is held: where one is taken, those that were
got are given back, and all are tried again a moment later, so that two programs that lock in different orders do not
stop each other for ever. A dotlock that its maker left behind is taken over: at once where it is one of ours and its
process is gone, else where it is five minutes old by the share's own clock and the process that it names, if any, is
gone from this host.
Sources: mbox(5) of mutt; Debian Policy §11.6 (fcntl first, then dotlock); open(2) on O_EXCL and link over NFS.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import re
import secrets
import socket
import stat
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol, Self

Locking = Literal["fcntl", "flock", "dotlock"]


class Operations(Protocol):
    """The calls that change a disk, so that a test can make each one fail."""

    @property
    def open(self) -> Callable[[str, int, int], int]: ...

    @property
    def write(self) -> Callable[[int, memoryview], int]: ...

    @property
    def rename(self) -> Callable[[str, str], None]: ...

    @property
    def link(self) -> Callable[[str, str], None]: ...

    @property
    def unlink(self) -> Callable[[str], None]: ...


@dataclass(frozen=True, slots=True)
class _Real:
    open: Callable[[str, int, int], int] = os.open
    write: Callable[[int, memoryview], int] = os.write
    rename: Callable[[str, str], None] = os.rename
    link: Callable[[str, str], None] = os.link
    unlink: Callable[[str], None] = os.unlink


REAL: Final[Operations] = _Real()

LOCK_SUFFIX: Final = ".lock"
STALE_S: Final = 300.0
_FIRST_WAIT_S: Final = 0.02
_LONGEST_WAIT_S: Final = 0.5
_TAKEN: Final = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK)
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_OURS: Final = re.compile(r"(\d+)\n(\S+) (\S+) (\S+) gatepost\n")

# fcntl's locks are the process's: they keep no other thread out, and go when any of its handles is closed.
_held: Final[set[str]] = set()
_held_guard: Final = threading.Lock()


class MailboxLock:
    """A mailbox, locked while the context is entered; `handle` is then open for reading and writing.

    `create` makes the mailbox where it is missing. Raises, when entered: BlockingIOError where others hold the lock
    for longer than `wait_s`; FileNotFoundError; OSError, also where it is a link or no regular file.
    """

    def __init__(
        self,
        path: Path,
        locks: Sequence[Locking],
        wait_s: float = 0.0,
        ops: Operations = REAL,
        *,
        create: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = str(path)
        self._locks = locks
        self._wait_s = wait_s
        self._ops = ops
        self._create = create
        self._clock = clock
        self._sleep = sleep
        self.handle = -1

    def __enter__(self) -> Self:
        until = self._clock() + self._wait_s
        pause = _FIRST_WAIT_S
        while not self._try():
            left = until - self._clock()
            if left <= 0:
                raise BlockingIOError(errno.EAGAIN, "another program holds the mailbox's lock", self._path)
            self._sleep(min(left, pause * random.uniform(0.5, 1.0)))
            pause = min(_LONGEST_WAIT_S, pause * 2)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._release(dotlock="dotlock" in self._locks)

    def _try(self) -> bool:
        """Take all locks, or none and return False. Raises: OSError."""
        with _held_guard:
            if self._path in _held:
                return False
            _held.add(self._path)
        dotlock = False
        try:
            self.handle = _opened(self._path, self._ops, create=self._create)
            if not self._lock_handle():
                self._release(dotlock=False)
                return False
            if "dotlock" in self._locks:
                dotlock = _make_dotlock(self._path + LOCK_SUFFIX, self._ops)
                if not dotlock:
                    self._release(dotlock=False)
                    return False
            if not self._is_current():  # another took the mailbox away between our open and our lock
                self._release(dotlock=dotlock)
                return False
        except BaseException:
            self._release(dotlock=dotlock)
            raise
        return True

    def _lock_handle(self) -> bool:
        flags = fcntl.LOCK_EX | fcntl.LOCK_NB
        try:
            if "fcntl" in self._locks:
                fcntl.lockf(self.handle, flags)
            if "flock" in self._locks:
                fcntl.flock(self.handle, flags)
        except OSError as e:
            if e.errno in _TAKEN:
                return False
            raise
        return True

    def _is_current(self) -> bool:
        ours = os.fstat(self.handle)
        try:
            there = os.lstat(self._path)
        except FileNotFoundError:
            return False
        return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)

    def _release(self, *, dotlock: bool) -> None:
        if dotlock:
            with suppress(OSError):  # it becomes stale, and is told from others' by what stands in it
                self._ops.unlink(self._path + LOCK_SUFFIX)
        if self.handle >= 0:
            os.close(self.handle)  # fcntl's and flock's locks go with it
            self.handle = -1
        with _held_guard:
            _held.discard(self._path)


def _opened(path: str, ops: Operations, *, create: bool) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    handle = ops.open(path, flags, 0o660)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "the mailbox is no regular file", path)
    return handle


def _make_dotlock(path: str, ops: Operations) -> bool:
    """Make the lock file; False where there is one. Raises: OSError."""
    temporary = f"{path}.{os.getpid()}.{secrets.token_hex(4)}"
    handle = ops.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o444)
    try:
        ops.write(handle, memoryview(_signature()))
        made = os.fstat(handle).st_mtime
        for _ in range(2):
            # Over NFS the answer of a link may be lost: the count of names tells whether it was made.
            with suppress(FileExistsError):
                ops.link(temporary, path)
            if os.fstat(handle).st_nlink == 2:
                return True
            if not _remove_stale(path, made, ops):
                return False
        return False
    finally:
        os.close(handle)
        with suppress(OSError):
            ops.unlink(temporary)


def _signature() -> bytes:
    return f"{os.getpid()}\n{socket.gethostname()} {_boot()} {_started(os.getpid())} gatepost\n".encode()


def _remove_stale(path: str, now: float, ops: Operations) -> bool:
    """Take a lock away whose maker is gone; `now` is by the share's clock."""
    try:
        before = os.lstat(path)
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    with open(handle, "rb") as file:
        text = file.read(512).decode("utf-8", "replace")
    if not _is_stale(text, now - before.st_mtime):
        return False
    # By a rename, so that of two who find it stale one takes it, and a fresh lock in its place is put back.
    aside = f"{path}.{secrets.token_hex(4)}.stale"
    try:
        ops.rename(path, aside)
    except FileNotFoundError:
        return True
    taken = os.lstat(aside)
    # The time too: a file that is removed gives its number to the next.
    if (taken.st_dev, taken.st_ino, taken.st_mtime_ns) != (before.st_dev, before.st_ino, before.st_mtime_ns):
        with suppress(OSError):
            ops.link(aside, path)
        ops.unlink(aside)
        return False
    ops.unlink(aside)
    return True


def _is_stale(text: str, age_s: float) -> bool:
    ours = _OURS.fullmatch(text)
    if ours is not None:
        pid, host, boot, started = ours.groups()
        if host != socket.gethostname():
            return False  # whether it lives cannot be told from here
        return boot != _boot() or _started(int(pid)) != started
    if age_s < STALE_S:
        return False
    named = re.match(r"\s*(\d{1,10})\b", text)
    return named is None or int(named[1]) == 0 or not _lives(int(named[1]))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return "-"


def _started(pid: int) -> str:
    """Return when a process started, in the kernel's ticks: its number may be another's by now."""
    try:
        stat_line = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "-"
    return stat_line.rpartition(b")")[2].split()[19].decode("ascii")
