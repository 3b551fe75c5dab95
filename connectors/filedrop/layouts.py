"""How files stand in the outbox: each message a file of its own, or several messages in one.

A layout puts groups of sheets, several groups in several threads at once, and makes their names durable by one call
for all. Promises: a reader sees a whole file or none; what `put` and `sync` have done outlives a power cut; a retry
finds what an earlier attempt put, as far as the layout can tell it from others.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from connectors.filedrop.files import Occupied, count_names, place
from connectors.filedrop.formats import Codec, Encoded
from connectors.filedrop.names import dos_stem
from connectors.filedrop.signals import Check, digest_of, holds, locked, signal_name
from gateway.mailbox_files import REAL, Operations, sync_folder


@dataclass(frozen=True, slots=True)
class Sheet:
    """One message, or one report, ready to be put: the file's name without its extension, and what is in it."""

    stem: str
    encoded: Encoded


class Layout(Protocol):
    """A folder and the way files stand in it."""

    def groups(self, sheets: Sequence[Sheet]) -> list[list[int]]:
        """Return which sheets are put by one call, in order, as indexes; several groups are put at once."""
        ...

    def put(self, sheets: Sequence[Sheet]) -> None:
        """Put one group, all or nothing as far as can be; the files' octets are synced, a reader sees no part.

        Raises: OSError (nothing was put), Occupied.
        """
        ...

    def sync(self) -> None:
        """Make the names of everything put so far durable. Raises: OSError."""
        ...

    def count(self, limit: int) -> int:
        """Return how many files wait in the folder, counted no further than `limit` + 1. Raises: OSError."""
        ...


def count_files(folder: Path, limit: int) -> int:
    """Count the files of a folder that are not hidden, no further than `limit` + 1. Raises: OSError."""
    return count_names(folder, limit, lambda name: not name.startswith("."))


PutAs = Literal["rename", "trigger", "lock"]
NameStyle = Literal["long", "dos83"]

_NAMES: Final = 9


def names_for(stem: str, extension: str, style: NameStyle = "long") -> list[str]:
    """Return the names that a file may get: the first, or where another file has it the next that is free."""
    numbers = range(2, _NAMES + 1)
    if style == "dos83":
        others = [dos_stem(f"{stem} {number}") for number in numbers]
    else:
        others = [f"{stem}-{number}" for number in numbers]
    return [name + extension for name in (stem, *others)]


@dataclass(frozen=True, slots=True)
class Put:
    """How a file is handed over: `pattern` names the trigger or the lock, `check` says what a trigger holds."""

    way: PutAs = "rename"
    pattern: str = "{name}.done"
    check: Check = "none"


class FilesLayout:
    """Each file of the outbox holds one message, or up to `most` where the format allows it.

    `codec` is None where each sheet is a file as it stands. Files that a message names are put first, into
    `enclosures` where that is another folder. Where several messages share a file, a retry that groups them otherwise
    puts some again.
    """

    def __init__(
        self,
        folder: Path,
        codec: Codec | None,
        extension: str,
        *,
        enclosures: Path | None = None,
        most: int = 1,
        style: NameStyle = "long",
        put: Put = Put(),
        ops: Operations = REAL,
    ) -> None:
        self.folder = folder
        self.ops = ops
        self._extension = extension
        self._enclosures = enclosures or folder
        self._frame = codec if codec is not None and codec.many_a_file else None
        self._most = most if self._frame is not None else 1
        self._style = style
        self._put = put
        self._pending: list[str] = []
        self._syncing = threading.Lock()

    def groups(self, sheets: Sequence[Sheet]) -> list[list[int]]:
        groups: list[list[int]] = []
        open_groups: dict[str, list[int]] = {}
        for index, sheet in enumerate(sheets):
            group = None if sheet.encoded.name else open_groups.get(sheet.encoded.hop)
            if group is None or len(group) >= self._most:
                group = []
                groups.append(group)
                if not sheet.encoded.name:
                    open_groups[sheet.encoded.hop] = group
            group.append(index)
        return groups

    def put(self, sheets: Sequence[Sheet]) -> None:
        first = sheets[0]
        names = [first.encoded.name] if first.encoded.name else names_for(first.stem, self._extension, self._style)
        made: list[Path] = []
        try:
            for sheet in sheets:
                for enclosure in sheet.encoded.enclosures:
                    folder = self.folder / enclosure.folder if enclosure.folder else self._enclosures
                    is_new = not os.path.lexists(folder / enclosure.name)
                    place(folder, enclosure.name, enclosure.octets, sync=False, ops=self.ops, names=())
                    if is_new:
                        made.append(folder / enclosure.name)
            for folder in {path.parent for path in made} - {self.folder}:
                sync_folder(folder, self.ops)
            if self._put.way == "lock":
                with locked(self.folder / signal_name(self._put.pattern, names[0]), self.ops):
                    self._place(names, sheets)
            else:
                name = self._place(names, sheets)
                if self._put.way == "trigger":
                    with self._syncing:
                        self._pending.append(name)
        except BaseException:
            for path in made:
                with suppress(OSError):
                    self.ops.unlink(str(path))
            raise

    def _place(self, names: Sequence[str], sheets: Sequence[Sheet]) -> str:
        return place(self.folder, names[0], lambda: self._octets(sheets), sync=False, ops=self.ops, names=names[1:])

    def _octets(self, sheets: Sequence[Sheet]) -> Iterator[bytes]:
        if self._frame is not None:
            yield self._frame.opening(sheets[0].encoded)
        for sheet in sheets:
            yield from sheet.encoded.octets()
        if self._frame is not None:
            yield self._frame.closing()

    def sync(self) -> None:
        if self._put.way != "trigger":
            sync_folder(self.folder, self.ops)
            return
        # A trigger stands for a name that is durable, so it comes after the folder's sync. Whoever waits here finds
        # its own triggers made by the one before, or makes them.
        with self._syncing:
            sync_folder(self.folder, self.ops)
            while self._pending:
                self._trigger(self._pending[-1])
                self._pending.pop()
            sync_folder(self.folder, self.ops)

    def _trigger(self, name: str) -> None:
        path = self.folder / name
        try:
            size, digest = digest_of(path) if self._put.check == "sha256" else (path.stat().st_size, "")
        except FileNotFoundError:
            return  # its reader did not wait
        octets = holds(self._put.check, size, digest)
        trigger = signal_name(self._put.pattern, name)
        with suppress(Occupied):  # one is there already, and says of an older file of this name what it says
            place(self.folder, trigger, lambda: (octets,), sync=False, ops=self.ops, names=())

    def count(self, limit: int) -> int:
        return count_files(self.folder, limit)
