"""Records with a field a line, `Name: value`: kind key_value.

Names are compared without regard to capitals. A name that occurs again gives its field another value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from connectors.filedrop.formats.records.description import KeyValueTable
from connectors.filedrop.formats.records.expression import normal_name
from connectors.filedrop.formats.records.frames import Frame
from connectors.filedrop.formats.records.record import SHOWN, BadRecord, Cell, Mistake, Record
from connectors.filedrop.formats.records.shape import MAX_FIELDS, Extent, Shape
from gateway.contract import Blob

BODY: Final = "body"


@dataclass(frozen=True, slots=True)
class _Line:
    """A line, or what is left of one behind a separator of records. `frame` is the whole line."""

    text: str
    offset: int
    octets: bytes
    frame: Frame


@dataclass(slots=True)
class _Open:
    """A record on its way."""

    start: int
    line: int
    number: int
    end: int = 0
    size: int = 0
    cells: list[tuple[str, list[str], int, list[bytes]]] = field(default_factory=list)
    in_body: bool = False
    goes_on: bool = False
    mistake: Mistake | None = None

    def is_empty(self) -> bool:
        return not self.cells and self.mistake is None


class _Parser:
    def __init__(self, table: KeyValueTable, shape: Shape) -> None:
        self.table, self.shape = table, shape
        self.body = table.body or (BODY if table.blank_line == "body" else None)
        self.number = 0
        self.open: _Open | None = None

    def frame(self, frame: Frame) -> Iterator[Record]:
        """Take one line; yield the records that it ends."""
        try:
            if frame.mistake is not None:
                raise BadRecord(frame.mistake)
            text = self.shape.text(frame)
        except BadRecord as e:
            self._started(frame.offset, frame.number).mistake = e.mistake
            self._grow(frame)
            return
        separator = self.table.record_separator
        offset, octets = frame.offset, frame.octets
        while separator and text.startswith(separator):
            yield from self.finish()
            text = text[len(separator) :]
            width = len(self.shape.charset.encode(separator, "replace"))
            offset, octets = offset + width, octets[width:]
            if not text:
                return
        yield from self._line(_Line(text, offset, octets, frame))

    def _line(self, line: _Line) -> Iterator[Record]:
        table, text = self.table, line.text
        if table.record_end is not None and table.record_end.matches(text):
            self._grow(line.frame)
            yield from self.finish()
            return
        if table.record_start is not None and table.record_start.matches(text):
            yield from self.finish()
        elif not text.strip(" \t\0") and (self.open is None or not self.open.in_body):
            if self.open is not None and table.blank_line != "skip":
                self._grow(line.frame)
                if table.blank_line == "end":
                    yield from self.finish()
                else:
                    self._begin_body(line)
            return
        elif table.comment and text.startswith(table.comment) and (self.open is None or not self.open.in_body):
            return
        open_ = self._started(line.offset, line.frame.number)
        self._grow(line.frame)
        self._take(open_, line)

    def _take(self, open_: _Open, line: _Line) -> None:
        if open_.mistake is not None:
            return
        if open_.size > self.shape.d.format.max_record_bytes or len(open_.cells) > MAX_FIELDS:
            text = f"the record has more than {self.shape.d.format.max_record_bytes} octets, or {MAX_FIELDS} fields"
            mend = "tell in [key_value] what ends a record, or raise max_record_bytes"
            open_.mistake = Mistake("too-long", open_.start, open_.line, text, mend)
            open_.cells.clear()
        elif open_.in_body:
            open_.cells[-1][1].append(line.text)
            open_.cells[-1][3].append(line.octets)
        elif self._continues(open_, line.text):
            kept = line.text[1:] if self.table.continuation == "leading-space" else line.text
            self._value(open_, kept, line)
        else:
            self._field(open_, line)

    def _continues(self, open_: _Open, text: str) -> bool:
        if not open_.cells:
            return False
        match self.table.continuation:
            case "leading-space":
                return text.startswith((" ", "\t"))
            case "backslash":
                return open_.goes_on
            case "any":
                return self.table.separator not in text
        return False

    def _field(self, open_: _Open, line: _Line) -> None:
        name, separator, value = line.text.partition(self.table.separator)
        if not separator or not name.strip():
            text = f"the line has no {self.table.separator!r} behind a name"
            mend = "mend the line, or tell in [key_value] what such lines mean (continuation, comment, body)"
            open_.mistake = Mistake("no-separator", line.offset, line.frame.number, text, mend, line.octets[:SHOWN])
            return
        open_.cells.append((normal_name(name), [], line.offset, []))
        if self.body is None or normal_name(name) != self.body:
            self._value(open_, value, line)
            return
        open_.in_body = True
        if value.strip(" \t"):
            self._value(open_, value.lstrip(" \t"), line)

    def _value(self, open_: _Open, value: str, line: _Line) -> None:
        if self.table.continuation == "backslash":
            open_.goes_on = value.endswith("\\")
            value = value[:-1] if open_.goes_on else value
        if self.table.terminator and value.rstrip().endswith(self.table.terminator):
            value = value.rstrip()[: -len(self.table.terminator)]
        open_.cells[-1][1].append(value)
        open_.cells[-1][3].append(line.octets)

    def _begin_body(self, line: _Line) -> None:
        if self.open is not None and self.body is not None:
            self.open.cells.append((self.body, [], line.frame.end, []))
            self.open.in_body = True

    def _started(self, offset: int, line: int) -> _Open:
        if self.open is None:
            self.number += 1
            self.open = _Open(offset, line, self.number)
        return self.open

    def _grow(self, frame: Frame) -> None:
        if self.open is not None:
            self.open.end = frame.end
            self.open.size += len(frame.octets) + 1

    def finish(self) -> Iterator[Record]:
        """Yield the record that is open."""
        open_, self.open = self.open, None
        if open_ is None or open_.is_empty():
            return
        cells = tuple(self._cell(*one, is_body=one[0] == self.body) for one in open_.cells)
        yield Record(open_.start, open_.end, open_.line, open_.number, cells, mistake=open_.mistake)

    def _cell(self, name: str, lines: list[str], offset: int, raw: list[bytes], *, is_body: bool) -> Cell:
        glue = "" if self.table.continuation == "backslash" and not is_body else "\n"
        if is_body:
            text = self.shape.with_breaks("\n".join(lines)).rstrip("\n\0")
        else:
            text = self.shape.clean(glue.join(lines))
        return Cell(name, text, offset, b"\n".join(raw))


def read_key_value(blob: Blob, shape: Shape, extent: Extent) -> Iterator[Record]:
    """Yield the records of a file, the bad ones too. Raises: OSError alone."""
    parser = _Parser(shape.d.key_value or KeyValueTable.model_validate({}), shape)
    for frame in shape.lines(blob, extent.start, extent.end, extent.line):
        yield from parser.frame(frame)
    yield from parser.finish()
