"""A file's octets as frames: lines, or records of a fixed length; and what stands above and below the records.

Streaming: no more of the file is in memory than a chunk and one frame. A line longer than the limit is told and passed
over. Raises OSError alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from connectors.filedrop.formats.records.charset import Charset
from connectors.filedrop.formats.records.description import Description
from connectors.filedrop.formats.records.record import SHOWN, Mistake
from gateway.contract import Blob

CHUNK: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """One line, or one record of fixed length: `octets` are those at `offset`, without what ends it at `end`.

    `mistake` where it cannot be used; the octets are then its beginning alone.
    """

    offset: int
    end: int
    number: int
    octets: bytes
    mistake: Mistake | None = None


Framer = Callable[[Blob, int, int, int], Iterator[Frame]]
"""Yields the frames of the octets [start, end), counting from a number."""


def framer(d: Description, charset: Charset) -> Framer:
    """Return how a file of this description falls into frames."""
    limit = d.format.max_record_bytes
    if d.format.kind == "fixed" and d.fixed is not None and d.format.line_end == "none":
        length = d.fixed.record_length or 1
        return lambda blob, start, end, number: _fixed(blob, start, end, number, length)
    if d.format.line_end == "rdw":
        return _prefixed
    ends = charset.line_ends(d.format.line_end)
    return lambda blob, start, end, number: _lines(_Reader(blob, start, end, ends, charset.unit), number, limit)


def _fixed(blob: Blob, start: int, end: int, number: int, length: int) -> Iterator[Frame]:
    many = max(1, CHUNK // length) * length
    for at in range(start, end, many):
        octets = blob.read(at, min(many, end - at))
        for i in range(0, len(octets), length):
            piece = octets[i : i + length]
            mistake = None
            if len(piece) < length:
                text = f"the last record has {len(piece)} octets, and each is to have {length}"
                mend = "send the file whole, or set record_length to what it is"
                mistake = Mistake("record-length", at + i, number, text, mend, piece)
            yield Frame(at + i, at + i + len(piece), number, piece, mistake)
            number += 1


def _prefixed(blob: Blob, start: int, end: int, number: int) -> Iterator[Frame]:
    """Records with a record descriptor word before each: its length with these four octets, and two of nought."""
    at = start
    held, base = b"", start
    while at < end:
        if at + 4 > base + len(held) or at + int.from_bytes(held[at - base : at - base + 2]) > base + len(held):
            held, base = blob.read(at, min(CHUNK, end - at)), at
        word = held[at - base : at - base + 4]
        length = int.from_bytes(word[:2])
        if len(word) < 4 or length < 4 or word[2:] != b"\0\0" or at + length > end:
            text = f"no length of a record stands at octet {at}, but {word.hex(' ')}"
            mend = "send the file in binary with its record descriptor words, or choose another line_end"
            yield Frame(at, end, number, word, Mistake("record-length", at, number, text, mend, word))
            return
        yield Frame(at, at + length, number, held[at - base + 4 : at - base + length])
        at += length
        number += 1


class _Reader:
    """Finds the ends of lines in octets that come in chunks."""

    def __init__(self, blob: Blob, start: int, end: int, ends: re.Pattern[bytes], unit: int) -> None:
        self.blob, self.at, self.end, self.ends, self.unit = blob, start, end, ends, unit
        self.buffer = b""
        self.base = start

    def more(self) -> bool:
        """Read another chunk behind what is held; False at the end."""
        known = self.base + len(self.buffer)
        if known >= self.end:
            return False
        piece = self.blob.read(known, min(CHUNK, self.end - known))
        if not piece:
            raise OSError(f"the file ends at {known} of {self.end} octets")
        self.buffer = self.buffer[self.at - self.base :] + piece
        self.base = self.at
        return True

    def find(self, start: int) -> tuple[int, int] | None:
        """Return where the next end of a line begins and ends, searched from an offset in the file."""
        at = start - self.base
        while (match := self.ends.search(self.buffer, at)) is not None:
            if (match.start() + self.base - self.at) % self.unit:
                at = match.start() + 1
                continue
            return match.start() + self.base, match.end() + self.base
        return None


def _lines(reader: _Reader, number: int, limit: int) -> Iterator[Frame]:
    while reader.at < reader.end:
        found, searched = None, reader.at
        while found is None:
            found = reader.find(searched)
            known = reader.base + len(reader.buffer)
            # A CR that ends what is held may be half of a CRLF.
            if found is not None and found[1] == known < reader.end:
                found = None
                searched = max(reader.at, known - 4 * reader.unit)
            elif found is None:
                searched = max(reader.at, known - 4 * reader.unit)
            if found is None and known - reader.at > limit:
                break
            if found is None and not reader.more():
                found = (reader.end, reader.end)
        if found is None or found[0] - reader.at > limit:
            yield _too_long(reader, number, limit)
        else:
            octets = reader.buffer[reader.at - reader.base : found[0] - reader.base]
            yield Frame(reader.at, found[1], number, octets)
            reader.at = found[1]
        number += 1


def _too_long(reader: _Reader, number: int, limit: int) -> Frame:
    """Pass over a line that is too long, holding a chunk of it at a time."""
    start, begins = reader.at, reader.buffer[reader.at - reader.base :][: min(limit, SHOWN)]
    found = None
    while found is None:
        found = reader.find(reader.at)
        known = reader.base + len(reader.buffer)
        if found is None or found[1] == known < reader.end:
            found = None
            reader.at = max(reader.at, known - 4 * reader.unit)
            if not reader.more():
                found = (reader.end, reader.end)
    reader.at = found[1]
    text = f"line {number} has more than {limit} octets"
    mend = "check line_end in the description, or raise max_record_bytes"
    return Frame(start, found[1], number, begins, Mistake("too-long", start, number, text, mend, begins))
