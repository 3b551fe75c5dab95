"""BatchText: a batch's octets in order, line by line or a whole content at once, and where each place is in the file.

Promises: no more than a unit, a line or what is looked at is in memory; the time is linear in the file's size. The
end of the first line says how all of them end: in a batch of CRLF, LF alone ends no line and no content, so that no
writer that doubles dots after CRLF alone can be made to end a content early.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from connectors.filedrop.formats.bsmtp.lines import unstuffed_crlf, unstuffed_lf
from connectors.filedrop.formats.bsmtp.wrapping import Wrapping, decoding, units
from connectors.filedrop.formats.values import Filter, Span
from gateway.contract import Blob

LONGEST_LINE: Final = 4096
"""Octets of a command; RFC 5321 §4.5.3.1.4 asks for 512, and extensions for a few hundred more each."""

CHUNK: Final = 256 * 1024
_ALL: Final = 2**62


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the batch, without its end: `start` and `after` are offsets in the batch, `number` counts from 1."""

    text: bytes
    start: int
    after: int
    number: int
    is_whole: bool
    """An end of line stands behind it, of the sort that the batch has."""


@dataclass(frozen=True, slots=True)
class Body:
    """A content: [start, end) in the batch, dots still doubled; `after` is behind the line of the dot."""

    start: int
    end: int
    after: int
    has_dots: bool


class BatchText:
    """One reading of a file, whose batch begins at the offset `start`, in the line `line`."""

    def __init__(self, file: Blob, wrapping: Wrapping | None, start: int = 0, line: int = 1) -> None:
        self.newline = b""
        """How lines end; empty before the first is read."""
        self._file = file
        self._wrapping = wrapping
        self._pieces = _plain(file, start) if wrapping is None else units(file, start, wrapping)
        self._places: list[tuple[int, int, int]] = []
        """Of the units read: where each begins in the batch, and its stretch of the file. From the mark on."""
        self._buffer = b""
        self._base = start if wrapping is None else 0
        self._at = self._base
        self._number = line

    @property
    def at(self) -> int:
        """Where the next line begins, in the batch."""
        return self._at

    @property
    def line(self) -> int:
        return self._number

    def read_line(self) -> Line | None:
        """Return the next line, cut where it is too long; None at the end. Raises: OSError."""
        while (end := self._buffer.find(b"\n", self._at - self._base)) < 0:
            if self._base + len(self._buffer) - self._at > LONGEST_LINE or not self._more():
                break
        start = self._at
        raw = self._buffer[start - self._base : end + 1 if end >= 0 else None]
        if not raw:
            return None
        if not self.newline and end >= 0:
            self.newline = b"\r\n" if raw.endswith(b"\r\n") else b"\n"
        raw = raw[: LONGEST_LINE + 2]
        number = self._number
        self._at += len(raw)
        self._number += raw.endswith(b"\n")
        is_whole = bool(self.newline) and raw.endswith(self.newline)
        return Line(raw.rstrip(b"\r\n"), start, self._at, number, is_whole)

    def read_body(self) -> Body | None:
        """Read as far as the line of a single dot; None where the batch ends before it. Raises: OSError.

        Assumes: the line before is whole.
        """
        newline = self.newline
        start = self._at
        looked = start - len(newline)  # the line before may be the one whose end stands before the dot
        has_dots = False
        while True:
            begin = looked - self._base
            found, size = self._dot(begin)
            until = found + len(newline) if found >= 0 else len(self._buffer)
            has_dots = has_dots or self._buffer.find(newline + b".", begin, until) >= 0
            if found >= 0:
                end = self._base + found + len(newline)
                self._number += self._buffer.count(b"\n", self._at - self._base, found + size)
                self._at = self._base + found + size
                return Body(start, end, self._at, has_dots)
            # What may be the beginning of the end is looked at again with what follows it.
            looked = max(looked, self._base + len(self._buffer) - 4)
            if looked > self._at:
                self._number += self._buffer.count(b"\n", self._at - self._base, looked - self._base)
                self._at = looked
            if not self._more():
                self._at = self._base + len(self._buffer)
                return None

    def _dot(self, begin: int) -> tuple[int, int]:
        """Return where the line end before a line of a dot is in the buffer, -1 for nowhere; the length of both."""
        if self.newline == b"\r\n":
            return self._buffer.find(b"\r\n.\r\n", begin), 5
        short = self._buffer.find(b"\n.\n", begin)
        long = self._buffer.find(b"\n.\r\n", begin, None if short < 0 else short)
        return (short, 3) if long < 0 else (long, 4)

    def mark(self) -> None:
        """Forget places before the next line: no span will begin there."""
        last = 0
        while last + 1 < len(self._places) and self._places[last + 1][0] <= self._at:
            last += 1
        del self._places[:last]

    def content(self, start: int, end: int, *, unstuff: bool) -> Span:
        """Return a content as a stretch of the file; `unstuff` undoes its dots and line ends.

        Assumes, as `item` does: it begins behind the last mark.
        """
        change: Filter | None = None
        if unstuff:
            change = unstuffed_lf if self.newline == b"\n" else unstuffed_crlf
        return self._span(start, end, change)

    def item(self, start: int, end: int | None) -> Span:
        """Return a stretch of the batch, to its end where `end` is None, in the form that the file has."""
        return self._span(start, end, None if self._wrapping is None else self._wrapping.encode)

    def _span(self, start: int, end: int | None, change: Filter | None) -> Span:
        if self._wrapping is None:
            return Span(start, self._file.size if end is None else end, change)
        place = max((each for each in self._places if each[0] <= start), default=(0, 0, 0))
        if end is None:
            last, length = self._file.size, _ALL
        else:
            last = next((each[2] for each in reversed(self._places) if each[0] < end), place[2])
            length = end - start
        decode = decoding(self._wrapping, start - place[0], length)
        return Span(place[1], last, decode if change is None else _both(decode, change))

    def place(self, at: int) -> int:
        """Return where in the file an offset of the batch is, or where the unit begins that holds it."""
        if self._wrapping is None:
            return at
        return max((each for each in self._places if each[0] <= at), default=(0, 0, 0))[1]

    def rest(self) -> Iterator[bytes]:
        """Yield the octets from the next line on. Raises: OSError."""
        while True:
            yield self._buffer[self._at - self._base :]
            self._at = self._base + len(self._buffer)
            if not self._more():
                return

    def _more(self) -> bool:
        """Bring the next unit behind what is still looked at; False at the end."""
        unit = next(self._pieces, None)
        if unit is None:
            return False
        start, end, octets = unit
        keep = max(0, self._at - self._base - 4)
        self._places.append((self._base + len(self._buffer), start, end))
        if self._wrapping is None:
            del self._places[:]
        self._buffer = self._buffer[keep:] + octets
        self._base += keep
        return True


def _both(first: Filter, then: Filter) -> Filter:
    return lambda pieces: then(first(pieces))


def _plain(file: Blob, start: int) -> Iterator[tuple[int, int, bytes]]:
    at = start
    while at < file.size:
        octets = file.read(at, min(CHUNK, file.size - at))
        if not octets:
            raise OSError(f"the file ends at {at} of {file.size} octets")
        yield at, at + len(octets), octets
        at += len(octets)
