"""A BinkleyTerm-style outbound: the outbox of a FidoNet mailer, which parts what waits by node.

The folder itself is for our own zone, `<folder>.ZZZ` beside it (three hexadecimal digits) for another. A node's files
are called NNNNnnnn, its net and node in hexadecimal, a point's lie in NNNNnnnn.pnt. Packets for a node are joined to
one, `.out` and by flavour `.cut`, `.dut`, `.hut`; files to go along are listed in `.flo` and so on.

Promises: nothing is touched without the node's lock, `.bsy`, nor while a mailer has it; a packet or a list is written
anew and renamed over the old one, so that nobody sees a part; octets are synced before the rename. A retry after a
crash finds its messages in a packet that still waits. Known limits: where the mailer took the packet before the
outcome was committed, the retry puts the message again; where it took a list but not yet its file, likewise.
Sources: FTS-5005; "BinkleyTerm 2.60" manual pages. CrashMail II sends what is put here; no mailer was tried.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.filedrop.files import InMemory, Occupied, OpenFile, place
from connectors.filedrop.formats.ftn.codec import Flavour, Ftn, Netmail
from connectors.filedrop.formats.ftn.node import Node
from connectors.filedrop.formats.ftn.packets import (
    END,
    HEADER_OCTETS,
    PackedMessage,
    PacketHeader,
    read_header,
    read_messages,
)
from connectors.filedrop.layouts import Sheet
from gateway.mailbox_files import REAL, Operations, sync_folder

MAX_JOINED: Final = 1024 * 1024
"""A packet that is larger is left as it is, and a further one put beside it: each joining writes the whole anew."""
BUSY_WAIT_S: Final = 2.0

_PAUSE_S: Final = 0.05
_LETTERS: Final[dict[Flavour, str]] = {"normal": "o", "crash": "c", "direct": "d", "hold": "h"}
_LISTS: Final[dict[Flavour, str]] = {"normal": "f", "crash": "c", "direct": "d", "hold": "h"}
_NOT_WAITING: Final = (".bsy", ".csy", ".try", ".hld")
_LISTS_READ: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one node's files stand, and how they are called but for their extension."""

    folder: Path
    stem: str

    def path(self, extension: str) -> Path:
        return self.folder / f"{self.stem}.{extension}"


class BsoLayout:
    """An outbound folder, used by several threads at once, and by mailers and other gateways."""

    def __init__(self, folder: Path, codec: Ftn, ops: Operations = REAL, *, wait_s: float = BUSY_WAIT_S) -> None:
        self.folder = folder
        self._codec = codec
        self._ops = ops
        self._wait_s = wait_s
        self._own_zone = codec.settings.own.zone
        self._unsynced: set[Path] = set()
        self._guard = threading.Lock()

    def groups(self, sheets: Sequence[Sheet]) -> list[list[int]]:
        """Return which sheets go into one packet: those for one node in one flavour."""
        found: dict[tuple[Node, Flavour], list[int]] = {}
        for index, sheet in enumerate(sheets):
            netmail = _netmail(sheet)
            found.setdefault((netmail.node, netmail.flavour), []).append(index)
        return list(found.values())

    def put(self, sheets: Sequence[Sheet]) -> None:
        """Join a group to what waits for its node.

        Raises: OSError, Occupied where the node's lock is held by somebody else; nothing was put then, but perhaps
        files that a retry finds.
        """
        first = _netmail(sheets[0])
        where = self._place_of(first.node)
        self._make(where.folder)
        with self._busy(where.path("bsy")):
            names = [
                place(self.folder, enclosure.name, enclosure.octets, sync=False, ops=self._ops, names=())
                for sheet in sheets
                for enclosure in sheet.encoded.enclosures
            ]
            if names:
                sync_folder(self.folder, self._ops)
                self._list(where, first.flavour, names)
            self._join(where, first.flavour, sheets)
        with self._guard:
            self._unsynced.add(where.folder)

    def sync(self) -> None:
        with self._guard:
            folders = set(self._unsynced)
        for folder in folders:
            sync_folder(folder, self._ops)
        with self._guard:
            self._unsynced -= folders

    def count(self, limit: int) -> int:
        found = 0
        for folder in self._folders():
            with os.scandir(folder) as entries:
                for entry in entries:
                    hidden = entry.name.startswith(".") or entry.name.lower().endswith((*_NOT_WAITING, ".pnt"))
                    found += not hidden
                    if found > limit:
                        return found
        return found

    def _folders(self) -> Iterator[Path]:
        """Yield the folder of each zone, and of each node's points."""
        prefix = f"{self.folder.name}."
        zones = [self.folder]
        with os.scandir(self.folder.parent) as entries:
            zones += [Path(e.path) for e in entries if e.name.startswith(prefix) and _is_zone(e.name, prefix, e)]
        for zone in zones:
            yield zone
            with os.scandir(zone) as entries:
                points = [Path(e.path) for e in entries if e.name.lower().endswith(".pnt") and e.is_dir()]
            yield from points

    def _place_of(self, node: Node) -> _Place:
        folder = self.folder
        if node.zone != self._own_zone:
            folder = folder.with_name(f"{folder.name}.{node.zone:03x}")
        stem = f"{node.net:04x}{node.node:04x}"
        if node.point:
            return _Place(folder / f"{stem}.pnt", f"{node.point:08x}")
        return _Place(folder, stem)

    def _make(self, folder: Path) -> None:
        """Make the folder of a zone or of a node's points, below or beside one that is there."""
        if folder == self.folder or folder.is_dir():
            return
        if folder.suffix == ".pnt":
            self._make(folder.parent)
        with suppress(FileExistsError):
            self._ops.mkdir(str(folder), 0o750)
        sync_folder(folder.parent, self._ops)

    @contextmanager
    def _busy(self, path: Path) -> Iterator[None]:
        """Hold a node's lock: among our own threads by a lock in memory, against all others by the file."""
        with _OURS.lock_of(path):
            self._take(path)
            _OURS.held.add(path)
            try:
                yield
            finally:
                _OURS.held.discard(path)
                with suppress(OSError):  # who comes next sees whose it was
                    self._ops.unlink(str(path))

    def _take(self, path: Path) -> None:
        deadline = time.monotonic() + self._wait_s
        while not self._create(path):
            if self._is_left_over(path):
                with suppress(FileNotFoundError):
                    self._ops.unlink(str(path))
            elif time.monotonic() > deadline:
                raise Occupied(f"{path.name} is there: a mailer or another program works on this node's mail")
            else:
                time.sleep(_PAUSE_S)

    def _create(self, path: Path) -> bool:
        """Make the lock with its maker's name in it from the first moment; False where it is there already."""
        temporary = str(path.with_name(f".{path.name}.{os.getpid()}"))
        self._write(temporary, (_mark(),))
        try:
            self._ops.link(temporary, str(path))
        except FileExistsError:
            return False
        except OSError as e:
            if e.errno not in _NO_LINKS:
                raise
            return self._create_unnamed(path)
        finally:
            with suppress(OSError):
                self._ops.unlink(temporary)
        return True

    def _create_unnamed(self, path: Path) -> bool:
        """Make the lock on a file system without links, such as a DOS share: after a crash its age alone tells."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            handle = self._ops.open(str(path), flags, 0o640)
        except FileExistsError:
            return False
        try:
            self._ops.write(handle, memoryview(_mark()))
        finally:
            os.close(handle)
        return True

    def _is_left_over(self, path: Path) -> bool:
        """Say whether a lock's maker is gone: a process of this machine that ended, or one silent for too long.

        The age is told by the folder's own clock, which on a share is another than ours.
        """
        try:
            with OpenFile(path) as file:
                octets, made_at = file.read(0, 256), file.mtime
        except (FileNotFoundError, OSError):
            return False
        words = octets.split()
        if len(words) == 3 and words[0] == _MARK and words[1] == socket.gethostname().encode():
            pid = int(words[2]) if words[2].isdigit() else 0
            return path not in _OURS.held if pid == os.getpid() else not _runs(pid)
        return self._clock(path) - made_at > self._codec.settings.bsy_stale_s

    def _clock(self, path: Path) -> float:
        probe = str(path.with_name(f".{path.name}.now"))
        handle = self._ops.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            self._ops.write(handle, memoryview(b"."))
            return os.fstat(handle).st_mtime
        finally:
            os.close(handle)
            with suppress(OSError):
                self._ops.unlink(probe)

    def _list(self, where: _Place, flavour: Flavour, names: Iterable[str]) -> None:
        """Add files to those that are sent to a node and then deleted."""
        path = where.path(f"{_LISTS[flavour]}lo")
        old = _read(path, _LISTS_READ) or b""
        there = {line.strip().lstrip(b"^#-~!") for line in old.splitlines()}
        lines = [os.fsencode(self._path_of(name)) for name in names]
        new = [b"^" + line + b"\r\n" for line in dict.fromkeys(lines) if line not in there]
        if new:
            gap = b"" if not old or old.endswith((b"\n", b"\r")) else b"\r\n"
            self._replace(path, (old + gap, *new))

    def _path_of(self, name: str) -> str:
        """Return how the mailer calls a file of the outbox."""
        return self._codec.settings.path_of(name) or os.path.abspath(self.folder / name)

    def _join(self, where: _Place, flavour: Flavour, sheets: Sequence[Sheet]) -> None:
        """Write the node's packet anew with these messages in it, or a further one where it takes no more."""
        path = where.path(f"{_LETTERS[flavour]}ut")
        header = self._codec.opening(sheets[0].encoded)
        old = _read(path, MAX_JOINED)
        waiting = _Waiting(b"", frozenset()) if old is None else _waiting(old, header)
        messages = [octets for sheet in sheets for octets in sheet.encoded.octets()]
        if waiting is None or (old is None and path.exists()):
            name = f"{self._codec.file_stem(sheets[0].stem)}.pkt"
            placed = place(self.folder, name, lambda: (header, *messages, END), sync=False, ops=self._ops)
            sync_folder(self.folder, self._ops)
            self._list(where, flavour, (placed,))
            return
        new = [octets for octets in messages if octets not in waiting.messages]
        if new:
            self._replace(path, (waiting.octets or header, *new, END))

    def _replace(self, path: Path, pieces: Iterable[bytes]) -> None:
        temporary = str(path.with_name(f".{path.name}.tmp"))
        renamed = False
        try:
            self._write(temporary, pieces, sync=True)
            self._ops.rename(temporary, str(path))
            renamed = True
        finally:
            if not renamed:
                with suppress(OSError):  # the first error is the one to tell; the next attempt writes over this file
                    self._ops.unlink(temporary)

    def _write(self, name: str, pieces: Iterable[bytes], *, sync: bool = False) -> None:
        handle = self._ops.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[self._ops.write(handle, view) :]
            if sync:
                self._ops.fsync(handle)
        finally:
            os.close(handle)


class _Ours:
    """The locks that this process holds, whichever of its connectors: a file with our number that is none of them was
    left by an earlier process of that number."""

    def __init__(self) -> None:
        self.held: set[Path] = set()
        self._guard = threading.Lock()
        self._locks: dict[Path, threading.Lock] = {}

    def lock_of(self, path: Path) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(path, threading.Lock())


_OURS: Final = _Ours()
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_MARK: Final = b"gatepost"


def _mark() -> bytes:
    return b"%s %s %d\n" % (_MARK, socket.gethostname().encode(), os.getpid())


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _netmail(sheet: Sheet) -> Netmail:
    if not isinstance(sheet.encoded, Netmail):
        raise TypeError("an outbound takes what the codec ftn encodes")
    return sheet.encoded


def _is_zone(name: str, prefix: str, entry: os.DirEntry[str]) -> bool:
    digits = name[len(prefix) :]
    return len(digits) in (3, 4) and all(c in "0123456789abcdefABCDEF" for c in digits) and entry.is_dir()


def _read(path: Path, most: int) -> bytes | None:
    """Return a file's octets, None where it is not there or larger. Raises: OSError, NotRegular."""
    try:
        with OpenFile(path) as file:
            return file.read(0, file.size) if file.size <= most else None
    except FileNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A packet that waits: its octets up to its end mark, and the messages in it."""

    octets: bytes
    messages: frozenset[bytes]


def _waiting(packet: bytes, ours: bytes) -> _Waiting | None:
    """Return what is in a packet that ours may be joined to; None where they may not."""
    if not packet:
        return _Waiting(b"", frozenset())
    there, own = read_header(packet[:HEADER_OCTETS]), read_header(ours)
    if not isinstance(there, PacketHeader) or not isinstance(own, PacketHeader):
        return None
    if (there.password, _number(there.destination)) != (own.password, _number(own.destination)):
        return None
    end = HEADER_OCTETS
    found: set[bytes] = set()
    for message in read_messages(InMemory(packet), len(packet)):
        if not isinstance(message, PackedMessage):
            return None
        found.add(packet[message.start : message.end])
        end = message.end
    return _Waiting(packet[:end], frozenset(found))


def _number(node: Node) -> tuple[int, int]:
    """Return what packets of every type tell of a node."""
    return node.net, node.node
