"""Records with fields between signs: kind delimited.

A quoted field may hold the delimiter and ends of line. Where a quote is never closed, the line in which it was opened
is a bad record, and reading goes on with the line after it. Linear in the file's size. Source: RFC 4180, with the
dialects that `[delimited]` names.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from connectors.filedrop.formats.records.description import DelimitedTable
from connectors.filedrop.formats.records.expression import normal_name
from connectors.filedrop.formats.records.frames import Frame
from connectors.filedrop.formats.records.record import SHOWN, BadRecord, Cell, Mistake, Record
from connectors.filedrop.formats.records.shape import MAX_FIELDS, Extent, Shape
from gateway.contract import Blob

_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Column:
    """One field as found: its value without quotes, and what stands in the file."""

    value: str
    raw: str
    offset: int
    quoted: bool


@dataclass(slots=True)
class _Row:
    """A record on its way: what was found, and the quoted field that a line left open."""

    frames: list[Frame] = field(default_factory=list)
    size: int = 0
    columns: list[Column] = field(default_factory=list)
    open: list[str] | None = None
    raw: str = ""
    offset: int = 0


class _Dialect:
    def __init__(self, table: DelimitedTable, shape: Shape) -> None:
        self.shape = shape
        delimiter, quote = re.escape(table.delimiter), re.escape(table.quote)
        self.delimiter, self.quote, self.escape = table.delimiter, table.quote, table.escape
        self.backslash = table.escape == "backslash"
        self.plain = re.compile(rf"(?:[^{delimiter}\\]|\\.|\\\Z)*" if self.backslash else f"[^{delimiter}]*", re.DOTALL)
        self.opening = re.compile(f" *{quote}") if quote else None
        self.inner = re.compile(rf"(?:[^{quote}\\]|\\.|\\\Z)*" if self.backslash else f"[^{quote}]*", re.DOTALL)
        self.behind = re.compile(f" *(?={delimiter}|\\Z)")
        self.width = len(shape.charset.encode(table.delimiter))

    def feed(self, row: _Row, frame: Frame) -> None:
        """Take one more line into a record. Raises: BadRecord."""
        text, at, offset = self.shape.text(frame), 0, frame.offset
        row.frames.append(frame)
        row.size += len(frame.octets)
        while True:
            start = at
            at = self._field(row, text, at, offset, frame)
            offset += len(self.shape.charset.encode(text[start:at], "replace"))
            if row.open is not None or at >= len(text):
                return
            at += 1  # the delimiter
            offset += self.width
            if len(row.columns) > MAX_FIELDS:
                mend = "check the delimiter in the description"
                raise BadRecord(self._mistake("too-many-fields", f"more than {MAX_FIELDS} fields", mend, offset, frame))

    def _field(self, row: _Row, text: str, at: int, offset: int, frame: Frame) -> int:
        start = at
        if row.open is None:
            opening = self.opening.match(text, at) if self.opening else None
            if opening is None:
                end = self._plain_end(text, at)
                raw = text[at:end]
                value = _ESCAPED.sub(r"\1", raw) if self.backslash else raw
                row.columns.append(Column(value, raw, offset, False))
                return end
            row.open, row.offset, row.raw, at = [], offset, "", opening.end()
        else:
            row.open.append("\n")
            row.raw += "\n"
        closed = self._quoted(row.open, text, at)
        row.raw += text[start : closed if closed is not None else len(text)]
        if closed is None:
            return len(text)
        behind = self.behind.match(text, closed)
        if behind is None:
            said = f"{text[closed : closed + 20]!r} stands behind a closing quote"
            mend = f"write a {self.quote} inside a field as the description's escape says"
            raise BadRecord(self._mistake("quote", said, mend, offset, frame))
        row.columns.append(Column("".join(row.open), row.raw, row.offset, True))
        row.open = None
        return behind.end()

    def _plain_end(self, text: str, at: int) -> int:
        match = self.plain.match(text, at)
        return match.end() if match else at

    def _quoted(self, value: list[str], text: str, at: int) -> int | None:
        """Take what stands in quotes; return where the closing one ends, None where the line ends before it."""
        while True:
            match = self.inner.match(text, at)
            end = match.end() if match else at
            inner = text[at:end]
            value.append(_ESCAPED.sub(r"\1", inner) if self.backslash else inner)
            if end >= len(text):
                return None
            if self.escape == "double" and text.startswith(self.quote * 2, end):
                value.append(self.quote)
                at = end + 2
                continue
            return end + 1

    def _mistake(self, rule: str, text: str, mend: str, offset: int, frame: Frame) -> Mistake:
        return Mistake(rule, offset, frame.number, text, mend, frame.octets[:SHOWN])


def _rows(frames: Iterator[Frame], dialect: _Dialect, limit: int) -> Iterator[tuple[_Row, Mistake | None]]:
    waiting: deque[Frame] = deque()
    row = _Row()

    def again(mistake: Mistake) -> tuple[_Row, Mistake]:
        """Give the first line up, and read those after it anew."""
        nonlocal row
        bad, row = _Row(row.frames[:1]), _Row()
        waiting.extendleft(reversed(held))
        held.clear()
        return bad, mistake

    held: list[Frame] = []
    while True:
        frame = waiting.popleft() if waiting else next(frames, None)
        if frame is None:
            if row.open is None:
                return
            mend = "close it, or mend quote in the description"
            yield again(dialect._mistake("quote", "a quote is never closed", mend, row.offset, row.frames[0]))
            continue
        if row.open is None and (frame.mistake is not None or dialect.shape.is_blank(frame)):
            if frame.mistake is not None:
                yield _Row([frame]), frame.mistake
            continue
        if row.frames:
            held.append(frame)
        try:
            if frame.mistake is not None:
                raise BadRecord(frame.mistake)
            dialect.feed(row, frame)
            if row.size > limit:
                mend = "close the quote, or raise max_record_bytes"
                raise BadRecord(
                    dialect._mistake("too-long", f"a record of more than {limit} octets", mend, row.offset, frame)
                )
        except BadRecord as e:
            if not row.frames:
                row.frames.append(frame)
            yield again(e.mistake)
            continue
        if row.open is None:
            yield row, None
            row = _Row()
            held.clear()


def read_delimited(blob: Blob, shape: Shape, extent: Extent) -> Iterator[Record]:
    """Yield the records of a file, the bad ones too. Raises: OSError alone."""
    table = shape.d.delimited or DelimitedTable.model_validate({})
    names: tuple[str, ...] | None = None if table.header else tuple(normal_name(c) for c in table.columns)
    rows = _rows(
        shape.lines(blob, extent.start, extent.end, extent.line),
        _Dialect(table, shape),
        shape.d.format.max_record_bytes,
    )
    if names is None:
        first, mistake = next(rows, (None, None))
        if first is None:
            return
        names = tuple(normal_name(column.value) for column in first.columns)
        if mistake is not None:
            text = f"the columns' names cannot be read: {mistake.text}"
            mistake = Mistake(mistake.rule, mistake.offset, mistake.line, text, mistake.mend, mistake.found)
            yield Record(first.frames[0].offset, extent.end, mistake.line, 1, mistake=mistake)
            return
    for number, (row, mistake) in enumerate(rows, 1):
        yield _record(row, mistake, names, shape, table, number)


def _record(
    row: _Row, mistake: Mistake | None, names: tuple[str, ...], shape: Shape, table: DelimitedTable, number: int
) -> Record:
    first, last = row.frames[0], row.frames[-1]
    kind = ""
    if shape.types and shape.d.types is not None and mistake is None:
        at = shape.d.types.at
        value = row.columns[at].value.strip() if at < len(row.columns) else ""
        one = shape.types.get(value)
        kind = one.name if one else "?" + value[:40]
        names = tuple(normal_name(c) for c in one.columns) if one and one.columns else names
    found = len(row.columns)
    if mistake is None and names and found != len(names) and not (table.ragged or kind.startswith("?")):
        text = f"{found} fields, and there are {len(names)} columns"
        mend = "mend the record, or set ragged = true in [delimited] where records differ"
        mistake = Mistake("columns", first.offset, first.number, text, mend, first.octets[:SHOWN])
    cells = tuple(_cell(name, column, shape) for name, column in zip(names, row.columns, strict=False) if name)
    return Record(first.offset, last.end, first.number, number, cells, kind, mistake)


def _cell(name: str, column: Column, shape: Shape) -> Cell:
    # What is quoted means what it says: its blanks are its own, and NULL is a word.
    value = shape.with_breaks(column.value) if column.quoted else shape.clean(column.value)
    return Cell(name, value, column.offset, shape.charset.encode(column.raw, "replace"))


def columns_of(blob: Blob, shape: Shape, extent: Extent) -> int:
    """Return where the line that names the columns ends; the beginning of the records where there is none."""
    if shape.d.delimited is None or not shape.d.delimited.header:
        return extent.start
    rows = _rows(
        chain(shape.lines(blob, extent.start, extent.end, extent.line)),
        _Dialect(shape.d.delimited, shape),
        shape.d.format.max_record_bytes,
    )
    first, _ = next(rows, (None, None))
    return first.frames[-1].end if first else extent.start
