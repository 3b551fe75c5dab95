"""Records with fields in fixed positions: kind fixed."""

from __future__ import annotations

from collections.abc import Iterator

from connectors.filedrop.formats.records.description import FieldTable
from connectors.filedrop.formats.records.frames import Frame
from connectors.filedrop.formats.records.numbers import NumberError, read_number
from connectors.filedrop.formats.records.record import SHOWN, BadRecord, Cell, Mistake, Record
from connectors.filedrop.formats.records.shape import Extent, Shape
from gateway.contract import Blob


def read_fixed(blob: Blob, shape: Shape, extent: Extent) -> Iterator[Record]:
    """Yield the records of a file, the bad ones too. Raises: OSError alone."""
    number = 0
    for frame in shape.lines(blob, extent.start, extent.end, extent.line):
        if frame.mistake is None and shape.d.format.line_end != "none" and shape.is_blank(frame):
            continue
        number += 1
        yield _record(frame, shape, number)


def _record(frame: Frame, shape: Shape, number: int) -> Record:
    if frame.mistake is not None:
        return Record(frame.offset, frame.end, frame.number, number, mistake=frame.mistake)
    octets, mistake = _whole(frame, shape)
    fields, kind = shape.d.fixed.fields if shape.d.fixed else (), ""
    if shape.types and shape.d.types is not None:
        at = shape.d.types.at
        value = shape.charset.decode(octets[at : at + shape.d.types.length], "replace").strip()
        one = shape.types.get(value)
        kind = one.name if one else "?" + value[:40]
        fields = (*fields, *one.fields) if one else fields
    cells: list[Cell] = []
    for field in fields:
        try:
            cells += _cells(field, octets, frame, shape)
        except BadRecord as e:
            mistake = mistake or e.mistake
    return Record(frame.offset, frame.end, frame.number, number, tuple(cells), kind, mistake)


def _whole(frame: Frame, shape: Shape) -> tuple[bytes, Mistake | None]:
    """Return a record's octets at their full length."""
    fixed = shape.d.fixed
    length = fixed.record_length if fixed else None
    octets = frame.octets
    if length is None or len(octets) == length:
        return octets, None
    if len(octets) < length and fixed is not None and fixed.short == "pad":
        blank = shape.charset.encode(" ")
        return octets + blank * ((length - len(octets)) // len(blank)), None
    text = f"the record has {len(octets)} octets, and each is to have {length}"
    mend = "mend the record, or record_length in [fixed]"
    return octets, Mistake("record-length", frame.offset, frame.number, text, mend, octets[:SHOWN])


def _cells(field: FieldTable, octets: bytes, frame: Frame, shape: Shape) -> Iterator[Cell]:
    times, step = (field.repeat.times, field.repeat.step) if field.repeat else (1, 0)
    base = frame.offset + (4 if shape.d.format.line_end == "rdw" else 0)
    for n in range(times):
        at = field.at + n * step
        raw = octets[at : at + field.length]
        if field.type == "text":
            value = shape.clean(shape.decode(raw, base + at, frame.number), field.strip)
        elif len(raw) < field.length:
            value = ""
        else:
            try:
                value = read_number(raw, field, shape.charset)
            except NumberError as e:
                text = f"the field {field.name} {e}; found {raw[:16].hex(' ')}"
                mend = "mend the record, or the field's place and type in the description"
                raise BadRecord(Mistake(field.type, base + at, frame.number, text, mend, raw[:SHOWN])) from None
        yield Cell(field.name, value, base + at, raw)
