"""Snapshot: the records of all identities in a file that is mapped into memory, so that workers share its pages.

    header      magic, format, revision and mark, counts, length, checksums; HEADER_BYTES in all
    records     one a line, by number; zeros up to a multiple of 8
    prints      the fingerprint of each address, sorted; native 32-bit integers, as all that follows
    places      beside each, where in the file its record begins
    starts      where in `prints` each run of equal upper bits begins, and the end

Promises: `open_snapshot` gives what a writer has closed, or SnapshotError: a file that was cut short, changed, made by
another release or on another kind of machine is never used. Nothing in an open Snapshot changes; any number of
threads may use it, also after its file was replaced. A snapshot holds at most MAX_BYTES.

A record may be newer than the snapshot's revision, and an address may be listed for a record that does not hold it
any more, where identities changed while it was made; whoever lays all changes since that revision over it sees
neither.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Final
from zlib import crc32

from mappings.directory import Person, person_of
from mappings.record import FINGERPRINT_BITS, NUMBER, TAB

FORMAT: Final = 1
HEADER_BYTES: Final = 80
MAX_BYTES: Final = (1 << 32) - 1

_MAGIC: Final = b"GPSNAP\r\n"
# Magic, format, revision, mark, records, entries, end of records, length, checksum of what follows the header.
_HEADER: Final = struct.Struct("<8sIQ16sQQQQI")
# The header's own checksum, at its end.
_CHECKSUM: Final = struct.Struct("<I")
_CHECKED: Final = HEADER_BYTES - _CHECKSUM.size
_FORMAT: Final = FORMAT | (0x8000_0000 if sys.byteorder == "big" else 0)
_ITEM: Final = array("I").itemsize
_START_BITS: Final = 16
_SHIFT: Final = FINGERPRINT_BITS - _START_BITS
_STARTS: Final = (1 << _START_BITS) + 1
_LINE: Final = b"\n"


class SnapshotError(Exception):
    """A file that is no snapshot which can be used, said in words."""


class Snapshot:
    """An open snapshot; made by `open_snapshot` and `snapshot_in`."""

    def __init__(self, octets: mmap.mmap | bytes, header: tuple[Any, ...]) -> None:
        _, _, revision, mark, size, entries, self._end, _, _ = header
        self.size: int = size
        self.revision: int = revision
        self.mark: str = mark.rstrip(b"\0").decode("ascii", "replace")
        self._octets = octets
        # A method of the file's object, once: a look-up every few microseconds pays for each step.
        self._find_end = octets.find
        view = memoryview(octets)
        at = _aligned(self._end)
        self._prints: Sequence[int] = view[at : at + entries * _ITEM].cast("I")
        at += entries * _ITEM
        self._places: Sequence[int] = view[at : at + entries * _ITEM].cast("I")
        at += entries * _ITEM
        self._starts: Sequence[int] = view[at : at + _STARTS * _ITEM].cast("I")

    def find(self, fingerprint: int, network: bytes, key: bytes, now: float, hidden: Collection[int]) -> Person | None:
        """Return who holds an address at this moment, of those whose numbers are not hidden."""
        run = fingerprint >> _SHIFT
        end = self._starts[run + 1]
        prints = self._prints
        at = bisect_left(prints, fingerprint, self._starts[run], end)
        while at < end and prints[at] == fingerprint:
            place = self._places[at]
            fields = self._octets[place : self._find_end(_LINE, place)].split(TAB)
            if not hidden or int(fields[NUMBER]) not in hidden:
                person = person_of(fields, network, key, now)
                if person is not None:
                    return person
            at += 1
        return None

    def records(self) -> Iterator[bytes]:
        """Yield all records by number."""
        at = HEADER_BYTES
        while at < self._end:
            end = self._find_end(_LINE, at)
            yield self._octets[at:end]
            at = end + 1


def open_snapshot(path: Path) -> Snapshot:
    """Map a snapshot's file. Raises: SnapshotError; OSError where it cannot be read, as FileNotFoundError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if not HEADER_BYTES <= size <= MAX_BYTES:
            raise SnapshotError(f"{path} is no snapshot: it has {size} octets")
        octets = mmap.mmap(fd, size, prot=mmap.PROT_READ)
    finally:
        os.close(fd)
    return _checked(octets, str(path))


def snapshot_in(octets: bytes) -> Snapshot:
    """Return a snapshot that is in memory. Raises: SnapshotError."""
    return _checked(octets, "this")


def _checked(octets: mmap.mmap | bytes, what: str) -> Snapshot:
    if len(octets) < HEADER_BYTES:
        raise SnapshotError(f"{what} is no snapshot: it has {len(octets)} octets")
    head = octets[:HEADER_BYTES]
    header = _HEADER.unpack_from(head)
    magic, format, _, _, _, entries, end, length, checksum = header
    if magic != _MAGIC:
        raise SnapshotError(f"{what} is no snapshot")
    if format != _FORMAT:
        raise SnapshotError(f"{what} is a snapshot of another release or kind of machine")
    if _CHECKSUM.unpack_from(head, _CHECKED)[0] != crc32(head[:_CHECKED]):
        raise SnapshotError(f"the header of {what} is damaged")
    if length != len(octets) or length != _aligned(end) + (2 * entries + _STARTS) * _ITEM or end < HEADER_BYTES:
        raise SnapshotError(f"{what} is cut short")
    with memoryview(octets) as view, view[HEADER_BYTES:] as rest:
        if crc32(rest) != checksum:
            raise SnapshotError(f"{what} is damaged")
    return Snapshot(octets, header)


class SnapshotWriter:
    """Writes a snapshot: records by number, then holders by fingerprint, then `close`.

    The stream is at its start, empty, and can seek. Raises: OSError; SnapshotError where it grows beyond MAX_BYTES.
    """

    def __init__(self, stream: BinaryIO, revision: int, mark: str) -> None:
        self._stream = stream
        self._revision = revision
        self._mark = mark.encode("ascii")
        self._numbers = array("Q")
        self._offsets = array("I")
        self._length = HEADER_BYTES
        self._end = 0
        self._checksum = 0
        self._prints = array("I")
        self._places = array("I")
        self._place: Callable[[int], int] | None = None
        stream.write(bytes(HEADER_BYTES))

    def add_records(self, numbers: Sequence[int], records: Sequence[str]) -> None:
        """Append records, whose numbers go up."""
        octets = "\n".join(records).encode()
        lengths = map(len, records)
        if len(octets) != sum(lengths) + len(records) - 1:
            octets = b"\n".join(encoded := [record.encode() for record in records])
            lengths = map(len, encoded)
        else:
            lengths = map(len, records)
        if self._length + len(octets) > MAX_BYTES:
            raise SnapshotError(f"a snapshot takes at most {MAX_BYTES >> 20} MiB; there are more identities than that")
        self._numbers.extend(numbers)
        self._offsets.extend(accumulate((length + 1 for length in lengths), initial=self._length))
        self._offsets.pop()
        self._write(octets)
        self._write(_LINE)

    def add_holders(self, fingerprints: Sequence[int], numbers: Sequence[int]) -> None:
        """Append who may hold an address, sorted by fingerprint; numbers without a record are left out."""
        place = self._place
        if place is None:
            place = self._place = self._placed()
        try:
            places = array("I", map(place, numbers))
        except LookupError:
            places = array("I", (self._place_or_0(number) for number in numbers))
        if places and min(places) == 0:
            kept = [(fingerprint, place) for fingerprint, place in zip(fingerprints, places, strict=True) if place]
            fingerprints = [fingerprint for fingerprint, _ in kept]
            places = array("I", (place for _, place in kept))
        self._prints.extend(fingerprints)
        self._places.extend(places)

    def close(self) -> None:
        """Write what is left, and then the header, without which the file is no snapshot; the stream stays open."""
        self._end = self._length
        self._write(bytes(_aligned(self._end) - self._end))
        starts = array("I")
        at = 0
        for run in range(_STARTS - 1):
            at = bisect_left(self._prints, run << _SHIFT, at)
            starts.append(at)
        starts.append(len(self._prints))
        for each in (self._prints, self._places, starts):
            self._write(each)
        if self._length > MAX_BYTES:
            raise SnapshotError(f"a snapshot takes at most {MAX_BYTES >> 20} MiB; there are more identities than that")
        header = _HEADER.pack(
            _MAGIC, _FORMAT, self._revision, self._mark, len(self._numbers), len(self._prints), self._end,
            self._length, self._checksum,
        ).ljust(_CHECKED, b"\0")  # fmt: skip
        self._stream.seek(0)
        self._stream.write(header + _CHECKSUM.pack(crc32(header)))
        self._stream.flush()

    def _write(self, octets: bytes | array[int]) -> None:
        self._stream.write(octets)
        self._checksum = crc32(octets, self._checksum)
        self._length += len(octets) * (octets.itemsize if isinstance(octets, array) else 1)

    def _placed(self) -> Callable[[int], int]:
        """Return what gives each number's place in the file: 0 or LookupError where it has none."""
        last = self._numbers[-1] if self._numbers else 0
        if last > 8 * len(self._numbers) + 1000:
            return dict(zip(self._numbers, self._offsets, strict=True)).__getitem__
        places = array("I", bytes((last + 1) * _ITEM))
        for number, offset in zip(self._numbers, self._offsets, strict=True):
            places[number] = offset
        return places.__getitem__

    def _place_or_0(self, number: int) -> int:
        assert self._place is not None
        try:
            return self._place(number)
        except LookupError:
            return 0


def _aligned(at: int) -> int:
    return (at + 7) & ~7
