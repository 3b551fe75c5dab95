"""What a disk may hold after the power went: rebuilt from the record of writes, renames and fsyncs of shim.c.

Certain is only what an fsync covered: a file's octets up to its last fsync that had returned, a name up to the last
fsync of its folder. Of the rest anything may have reached the disk: nothing, all, some writes and not others, or
sectors of a write. Names reach it in their order, as every journalling file system does it; octets in any order.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

HEADER: Final = struct.Struct("=IIQQQII")
SECTOR: Final = 512


@dataclass(frozen=True, slots=True)
class Record:
    """One step of the record; `kind` is C(reate) M(kdir) W(rite) T(runcate) R(ename) U(nlink) B(egin) E(nd)
    A(nswer)."""

    kind: str
    tid: int
    at: float
    inode: int
    offset: int
    path: str
    data: bytes


def read(log: Path) -> Iterator[Record]:
    """Yield the records; the last may have been cut off by the kill, and is left out then."""
    octets = log.read_bytes()
    at = 0
    while at + HEADER.size <= len(octets):
        kind, tid, ns, inode, offset, path_len, data_len = HEADER.unpack_from(octets, at)
        at += HEADER.size
        if at + path_len + data_len > len(octets):
            return
        path = octets[at : at + path_len].decode()
        at += path_len
        yield Record(chr(kind), tid, ns / 1e9, inode, offset, path, octets[at : at + data_len])
        at += data_len


@dataclass
class _File:
    """A file's certain octets, and what was done to it since, each with its place in the record."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, Record]] = field(default_factory=list)


@dataclass
class _Name:
    """One change of names: `path` comes to mean `file` (None: nothing), and `gone` stops meaning anything."""

    place: int
    path: str
    file: _File | None
    gone: str | None = None


def _apply(octets: bytearray, record: Record) -> None:
    if record.kind == "T":
        del octets[record.offset :]
        octets.extend(bytes(record.offset - len(octets)))
        return
    end = record.offset + len(record.data)
    if len(octets) < end:
        octets.extend(bytes(end - len(octets)))
    octets[record.offset : end] = record.data


class Disk:
    """Takes the record step by step; `lose_power` writes what may be left at this point.

    `root` is the folder that was recorded and `inode` the number it had.
    """

    def __init__(self, root: Path, inode: int) -> None:
        self.root = str(root.resolve())
        self.files: dict[int, _File] = {}
        self.folders: dict[int, str] = {inode: self.root}
        self.names: dict[str, _File] = {}
        """Paths of files as the disk certainly has them."""
        self.durable_folders: set[str] = {self.root}
        self.changes: dict[str, list[_Name]] = {self.root: []}
        self.begun: dict[tuple[int, int], int] = {}
        self.place = 0

    def take(self, record: Record) -> None:
        """Go on by one record."""
        self.place += 1
        match record.kind:
            case "C":
                if record.offset == 0:
                    self.files[record.inode] = _File()
                self._named(_Name(self.place, record.path, self.files[record.inode]))
            case "M":
                self.folders[record.inode] = record.path
                self.changes.setdefault(record.path, [])
                self._named(_Name(self.place, record.path, None))
            case "R":
                old, new = record.path.split("\0")
                self._named(_Name(self.place, new, self.files[record.inode], gone=old))
            case "U":
                self._named(_Name(self.place, "", None, gone=record.path))
            case "W" | "T":
                self.files[record.inode].pending.append((self.place, record))
            case "B":
                self.begun[record.tid, record.inode] = self.place
            case "E":
                self._synced(record.inode, self.begun.pop((record.tid, record.inode)))

    def _named(self, change: _Name) -> None:
        self.changes[(change.path or change.gone or "").rpartition("/")[0]].append(change)

    def _synced(self, inode: int, until: int) -> None:
        folder = self.folders.get(inode)
        if folder is not None:
            changes = self.changes[folder]
            while changes and changes[0].place < until:
                self._rename(changes.pop(0), self.names, self.durable_folders)
            return
        file = self.files[inode]
        while file.pending and file.pending[0][0] < until:
            _apply(file.durable, file.pending.pop(0)[1])

    @staticmethod
    def _rename(change: _Name, names: dict[str, _File], folders: set[str]) -> None:
        if change.gone is not None:
            names.pop(change.gone, None)
            folders.discard(change.gone)
        if change.path and change.file is None:
            folders.add(change.path)
        elif change.file is not None:
            names[change.path] = change.file

    def lose_power(self, target: Path, chance: Random) -> None:
        """Write into `target`, an empty folder, one state that the disk may be in now."""
        names, folders = dict(self.names), set(self.durable_folders)
        for folder in sorted(self.changes):
            changes = self.changes[folder]
            if folder in folders:
                for change in changes[: chance.choice((0, len(changes), chance.randint(0, len(changes))))]:
                    self._rename(change, names, folders)
        for folder in sorted(folders - {self.root}):
            (target / folder[len(self.root) + 1 :]).mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, file in names.items():
            place = target / path[len(self.root) + 1 :]
            if place.parent.is_dir():
                place.write_bytes(self._octets(file, chance))
                place.chmod(0o600)

    @staticmethod
    def _octets(file: _File, chance: Random) -> bytes:
        octets = bytearray(file.durable)
        for record in _some([each for _, each in file.pending], chance):
            _apply(octets, record)
        return bytes(octets)


def _some(records: Sequence[Record], chance: Random) -> Iterator[Record]:
    """Yield what reached the disk of writes that no fsync covers."""
    match chance.choice(("none", "all", "first", "any", "sectors")):
        case "all":
            yield from records
        case "first":
            yield from records[: chance.randint(0, len(records))]
        case "any":
            yield from (each for each in records if chance.random() < 0.5)
        case "sectors":
            for each in records:
                if each.kind == "T":
                    if chance.random() < 0.5:
                        yield each
                    continue
                yield from (s for s in _sectors(each) if chance.random() < 0.5)


def _sectors(record: Record) -> Iterator[Record]:
    """Yield a write cut where the disk's sectors end."""
    at = 0
    while at < len(record.data):
        size = min(SECTOR - (record.offset + at) % SECTOR, len(record.data) - at)
        piece = record.data[at : at + size]
        yield Record("W", record.tid, record.at, record.inode, record.offset + at, "", piece)
        at += size
