"""A description made ready for one file: its charset as the file's first octets tell it, and how values are cleaned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from connectors.filedrop.formats.records.charset import Charset, charset
from connectors.filedrop.formats.records.description import Description, Strip, TypeTable
from connectors.filedrop.formats.records.frames import Frame, Framer, framer
from connectors.filedrop.formats.records.record import SHOWN, BadRecord, Mistake
from gateway.contract import Blob

BLANKS: Final = " \t\0"
MAX_FIELDS: Final = 10_000
_BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_DOS_END: Final = b"\x1a"


@dataclass(frozen=True)
class Shape:
    """How one file is read. `begins` is where its first line does, `ends` where the last does."""

    d: Description
    charset: Charset
    begins: int
    ends: int

    @cached_property
    def framer(self) -> Framer:
        return framer(self.d, self.charset)

    @cached_property
    def types(self) -> dict[str, TypeTable]:
        return {one.match: one for one in self.d.type}

    def text(self, frame: Frame) -> str:
        """Return a frame's characters. Raises: BadRecord."""
        return self.decode(frame.octets, frame.offset, frame.number)

    def decode(self, octets: bytes, offset: int, line: int) -> str:
        """Return the characters of octets that stand at an offset. Raises: BadRecord."""
        try:
            return self.charset.decode(octets, "strict")
        except UnicodeDecodeError as e:
            if self.d.format.on_decode_error == "replace":
                return self.charset.decode(octets, "replace")
            text = f"the octet 0x{octets[e.start]:02x} is no character of {self.d.format.charset}"
            mend = 'name the right charset in [format], or set on_decode_error = "replace"'
            found = octets[max(0, e.start - 20) : e.start + 20]
            raise BadRecord(Mistake("charset", offset + e.start, line, text, mend, found)) from None

    def clean(self, value: str, strip: Strip | None = None) -> str:
        """Return a value as it is used: blanks off, null values empty, its line breaks as LF."""
        match strip or self.d.format.strip:
            case "both":
                value = value.strip(BLANKS)
            case "right":
                value = value.rstrip(BLANKS)
            case "left":
                value = value.lstrip(BLANKS)
        if value in self.d.format.null_values:
            return ""
        return self.with_breaks(value)

    def with_breaks(self, value: str) -> str:
        """Return a value with LF where the text for it stands."""
        return value.replace(self.d.format.line_break, "\n") if self.d.format.line_break else value

    def lines(self, blob: Blob, start: int, end: int, number: int) -> Iterator[Frame]:
        return self.framer(blob, start, end, number)

    def is_blank(self, frame: Frame) -> bool:
        return not self.charset.decode(frame.octets[:SHOWN], "replace").strip(BLANKS) and (
            len(frame.octets) <= SHOWN or not self.charset.decode(frame.octets, "replace").strip(BLANKS)
        )


def shape_of(d: Description, blob: Blob) -> Shape:
    """Look at a file's first and last octets. Raises: OSError alone."""
    begins, ends, used = 0, blob.size, charset(d.format.charset)
    if d.format.kind == "fixed" and d.format.line_end in ("none", "rdw"):
        return Shape(d, used, begins, ends)
    start = blob.read(0, 4)
    for mark, name in _BOMS:
        if start.startswith(mark) and (name == used.name or used.name.startswith(name[:6])):
            begins, used = len(mark), charset(name)
            break
    if used.unit == 1 and not used.is_ebcdic:
        # DOS programs end a text by Ctrl-Z, and some fill a sector with it.
        while ends > begins and (tail := blob.read(max(begins, ends - 512), min(512, ends - begins))):
            kept = tail.rstrip(_DOS_END)
            ends -= len(tail) - len(kept)
            if kept:
                break
    return Shape(d, used, begins, ends)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where the records of a file are: the octets [start, end), the first in line `line`.

    `above` are the octets of the file before them, `trailer` the line that follows them.
    """

    start: int
    end: int
    line: int
    trailer: Frame | None = None


def extent(blob: Blob, shape: Shape) -> Extent:
    """Find what stands above and below the records, and check it. Raises: BadRecord, OSError."""
    f = shape.d.format
    start, line = shape.begins, 1
    if f.header_records:
        for frame in shape.lines(blob, start, shape.ends, 1):
            if line == 1 and f.header is not None and not f.header.matches(shape.text(frame)):
                text = f"the first line does not match {f.header.source!r}"
                mend = "send the file this description is for, or mend header in [format]"
                raise BadRecord(Mistake("header", frame.offset, 1, text, mend, frame.octets[:SHOWN]))
            start, line = frame.end, line + 1
            if line > f.header_records:
                break
        if line <= f.header_records:
            text = f"the file has {line - 1} lines, and {f.header_records} are to stand above the records"
            raise BadRecord(Mistake("header", 0, 1, text, "send the file whole, or mend header_records"))
    if f.trailer is None:
        return Extent(start, shape.ends, line)
    last: Frame | None = None
    for frame in shape.lines(blob, start, shape.ends, line):
        if frame.mistake is not None or not shape.is_blank(frame):
            last = frame
    if last is None or last.mistake is not None or not f.trailer.matches(shape.text(last)):
        text = f"the last line does not match {f.trailer.source!r}: the file is not whole"
        mend = "send the file again; nothing of it was taken"
        found = last.octets[:SHOWN] if last else b""
        raise BadRecord(
            Mistake("no-trailer", last.offset if last else start, last.number if last else line, text, mend, found)
        )
    return Extent(start, last.offset, line, last)


def checked(extent: Extent, shape: Shape, count: Callable[[], int]) -> None:
    """Compare the number of records that a trailer names with that of those there are. Raises: BadRecord, OSError."""
    pattern, trailer = shape.d.format.trailer, extent.trailer
    if pattern is None or trailer is None:
        return
    told = pattern.count(shape.text(trailer))
    if told is not None and (there := count()) != told[0]:
        text = f"the trailer counts {told[0]} records, and there are {there}"
        mend = "send the file again; nothing of it was taken"
        raise BadRecord(Mistake("trailer-count", trailer.offset, trailer.number, text, mend, trailer.octets[:SHOWN]))
