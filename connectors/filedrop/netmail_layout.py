"""A netmail folder as the outbox: each message a file `N.msg`, for a FidoNet tosser or editor that scans the folder.

Promises: a scan sees a whole file or none; no number is given twice, whoever else adds to the folder; files that go
along are durable before the message that names them. A number says nothing of its message, so a retry looks for it
among the last ones: by its names, nodes and text, for a tosser that has sent it sets bits in the header, and may add
lines at the end. Known limits: where the tosser deleted the message before the outcome was committed, the retry puts
it again; CrashMail II looks whether a number is free, then writes: what another puts in between it writes over.
Sources: FTS-0001 (stored message); CrashMail II for `1.msg`, which holds the number scanned last and is no message.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from connectors.filedrop.files import NotRegular, Occupied, OpenFile, count_names, place, write_new
from connectors.filedrop.formats.ftn.stored import HEADER_OCTETS, StoredMessage, read_stored
from connectors.filedrop.layouts import Sheet
from gateway.mailbox_files import REAL, Operations, sync_folder

LOOKED_AT: Final = 512
"""How many of the highest numbers a retry looks for its messages in."""
FIRST: Final = 2
MOST: Final = 99_999_999
"""The highest number whose name DOS takes."""

_NAME: Final = re.compile(r"([0-9]{1,8})\.msg", re.IGNORECASE)
_GROWN: Final = 1024
"""A message may have got longer by so many octets since it was put."""
_KEPT: Final = 64 * 1024
"""Octets of the longest message that is kept in memory while others are compared with it."""
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def number(name: str) -> int | None:
    """Return the number of the message that a file is, in small letters or capitals; None for every other file."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match is not None else None


@dataclass(frozen=True, slots=True)
class _Made:
    """A message that was put just now: its path, and what file it is."""

    path: str
    file: tuple[int, int]


class NetmailLayout:
    """One folder, used by several threads at once, and by tossers, editors and other gateways."""

    def __init__(self, folder: Path, ops: Operations = REAL) -> None:
        self.folder = folder
        self._ops = ops

    def groups(self, sheets: Sequence[Sheet]) -> list[list[int]]:
        return [list(range(len(sheets)))] if sheets else []

    def put(self, sheets: Sequence[Sheet]) -> None:
        """Put the messages of each sheet in order, each piece of its octets as one. Raises: OSError, Occupied."""
        names = {found: name for name in os.listdir(self.folder) if (found := number(name)) is not None}
        highest = max(*names, self._scanned(names), FIRST - 1) if names else FIRST - 1
        sizes = self._sizes([names[each] for each in sorted(names)[-LOOKED_AT:]])
        # A busy day's messages are much of one size, so each would be read for each.
        look = cache(lambda name: _read(self.folder / name))
        beside: list[Path] = []
        made: list[_Made] = []
        try:
            missing: list[tuple[str, bytes]] = []
            for sheet in sheets:
                new = [
                    (path, octets)
                    for path, octets in self._pieces(sheet)
                    if not self._is_there(path, octets, sizes, look)
                ]
                if new:
                    self._place_files(sheet, beside)
                    missing += new
            if beside:
                sync_folder(self.folder, self._ops)
            for path, octets in missing:
                highest = self._put(path, octets, highest + 1, made)
        except BaseException:
            self._take_back(made, beside)
            raise

    def sync(self) -> None:
        sync_folder(self.folder, self._ops)

    def count(self, limit: int) -> int:
        return count_names(self.folder, limit, lambda name: number(name) is not None)

    def _pieces(self, sheet: Sheet) -> list[tuple[str, bytes]]:
        """Return the messages of a sheet, each with the path that it is written under first."""
        return [(str(self.folder / f".{sheet.stem}-{n}.tmp"), each) for n, each in enumerate(sheet.encoded.octets())]

    def _place_files(self, sheet: Sheet, beside: list[Path]) -> None:
        """Put what goes along, and note what was not there before."""
        for enclosure in sheet.encoded.enclosures:
            path = self.folder / enclosure.name
            is_new = not os.path.lexists(path)
            place(self.folder, enclosure.name, enclosure.octets, sync=False, ops=self._ops, names=())
            if is_new:
                beside.append(path)

    def _put(self, path: str, octets: bytes, first: int, made: list[_Made]) -> int:
        """Write a message whole under a hidden name, then give it the first number that is free; return that."""
        file = self._write(path, octets)
        try:
            for each in range(first, min(first + 10_000, MOST + 1)):
                target = str(self.folder / f"{each}.msg")
                # Where capitals make another name, a program of DOS habits may have taken the number with them.
                if not os.path.lexists(self.folder / f"{each}.MSG") and self._name(path, target, file):
                    made.append(_Made(target, file))
                    return each
        finally:
            with suppress(OSError):
                self._ops.unlink(path)
        raise Occupied(f"no number is free from {first} on")

    def _write(self, path: str, octets: bytes) -> tuple[int, int]:
        # For the group too: a tosser that has sent a message marks it so.
        there = write_new(path, (octets,), 0o660, self._ops)
        return there.st_dev, there.st_ino

    def _name(self, path: str, target: str, file: tuple[int, int]) -> bool:
        """Give the file its name; False where another has it."""
        try:
            try:
                self._ops.link(path, target)
            except OSError as e:
                if e.errno not in _NO_LINKS:
                    raise
                self._ops.rename_new(path, target)
        except FileExistsError:
            return _file_of(target) == file  # over NFS the answer may be lost
        return True

    def _take_back(self, made: Iterable[_Made], beside: Iterable[Path]) -> None:
        for each in made:
            with suppress(OSError):
                if _file_of(each.path) == each.file:  # else it was sent and deleted, and another has the number
                    self._ops.unlink(each.path)
        for path in beside:
            with suppress(OSError):
                self._ops.unlink(str(path))

    def _scanned(self, names: dict[int, str]) -> int:
        """Return the number that a tosser has scanned up to: a message put below it would never be seen."""
        found = _read(self.folder / names[1]) if 1 in names else None
        return found.reply_to if found is not None else 0

    def _sizes(self, names: Sequence[str]) -> list[tuple[str, int]]:
        found = []
        for name in names:
            with suppress(FileNotFoundError):
                found.append((name, os.lstat(self.folder / name).st_size))
        return found

    def _is_there(
        self,
        path: str,
        octets: bytes,
        sizes: Sequence[tuple[str, int]],
        look: Callable[[str], StoredMessage | None],
    ) -> bool:
        """Say whether an earlier attempt put the message; remove the hidden name that it may have left."""
        alike = [name for name, size in sizes if len(octets) <= size <= len(octets) + _GROWN]
        if not alike:
            return False
        ours = read_stored(octets)
        assert ours is not None
        if len(octets) > _KEPT:
            found = any(_is_same(ours, _read(self.folder / name)) for name in alike)
        else:
            found = any(_is_same(ours, look(name)) for name in alike)
        if found:
            with suppress(FileNotFoundError):
                self._ops.unlink(path)
        return found


def _is_same(ours: StoredMessage, there: StoredMessage | None) -> bool:
    if there is None:
        return False
    one, other = ours.message, there.message
    return (
        (one.sender, one.to, one.origin, one.destination) == (other.sender, other.to, other.origin, other.destination)
        # Of a file's path in the subject a tosser may keep the name alone. No two texts have one MSGID.
        and other.text.startswith(one.text)
    )


def _read(path: Path) -> StoredMessage | None:
    """Return a message of the folder; None where it is gone, or is none."""
    try:
        with OpenFile(path) as file:
            return read_stored(file.read(0, file.size)) if file.size >= HEADER_OCTETS else None
    except (FileNotFoundError, NotRegular):
        return None


def _file_of(path: str) -> tuple[int, int] | None:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return None
    return there.st_dev, there.st_ino
