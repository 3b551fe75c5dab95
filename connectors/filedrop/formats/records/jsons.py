"""JSON documents and JSON lines: kinds json and jsonl.

A value inside objects is a field under its path, `sender.address`; the elements of an array are values of one field.
Source: RFC 8259; RFC 6901 for the pointer to the records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]  # not in typeshed
from typing import Any, Final

from connectors.filedrop.formats.records.expression import normal_name
from connectors.filedrop.formats.records.frames import Frame
from connectors.filedrop.formats.records.record import SHOWN, BadRecord, Cell, Mistake, Record
from connectors.filedrop.formats.records.shape import MAX_FIELDS, Extent, Shape
from gateway.contract import Blob

MAX_DEPTH: Final = 32
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BLANK: Final = re.compile(r"[ \t\r\n]*")


class _Number(str):
    """A number as it is written, so that nothing of it is lost."""


class JsonFault(ValueError):
    """A document that cannot be used: where, in characters, and why."""

    def __init__(self, at: int, text: str) -> None:
        self.at = at
        super().__init__(text)


def _no_constant(name: str) -> Any:
    raise JsonFault(0, f"{name} is no value of JSON")


_DECODER: Final = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_no_constant)


def _value(text: str, at: int) -> tuple[Any, int]:
    """Read one value. Raises: JsonFault."""
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as e:
        raise JsonFault(e.pos, e.msg) from None
    except RecursionError:
        raise JsonFault(at, f"values nested deeper than {MAX_DEPTH}") from None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    # Half of a surrogate pair can be written in JSON, and is no character.
    return "" if value is None else _SURROGATE.sub("\ufffd", str(value))


def flat(value: Any) -> Iterator[tuple[str, str]]:
    """Yield (path, text) of all simple values. Raises: JsonFault."""
    stack: list[tuple[str, Any, int]] = [("", value, 0)]
    given = 0
    while stack:
        path, one, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise JsonFault(0, f"values nested deeper than {MAX_DEPTH}")
        if isinstance(one, dict):
            inner = [(f"{path}.{name}" if path else name, v, depth + 1) for name, v in one.items()]
            stack.extend(reversed(inner))
        elif isinstance(one, list):
            stack.extend((path, v, depth + 1) for v in reversed(one))
        else:
            given += 1
            if given > MAX_FIELDS:
                raise JsonFault(0, f"more than {MAX_FIELDS} values")
            yield path, _text(one)


class _Places:
    """Offsets and lines of places in a frame's text, asked for in order, so that the text is gone through once."""

    def __init__(self, text: str, frame: Frame, shape: Shape) -> None:
        self._text, self._shape = text, shape
        self._at, self._offset, self._line = 0, frame.offset, frame.number

    def __call__(self, at: int) -> tuple[int, int]:
        passed = self._text[self._at : at]
        self._offset += len(self._shape.charset.encode(passed, "replace"))
        self._line += passed.count("\n")
        self._at = max(self._at, at)
        return self._offset, self._line


def _record(text: str, at: int, end: int, value: Any, number: int, shape: Shape, places: _Places) -> Record:
    """Make a record of a value that stands at [at, end) of a text."""
    start, line = places(at)
    mistake, cells = None, []
    try:
        if not isinstance(value, dict):
            raise JsonFault(0, "the record is no object")
        for name, one in flat(value):
            cells.append(Cell(normal_name(name), shape.clean(one), -1, b""))
    except JsonFault as e:
        mend = "write each record as an object, { ... }"
        mistake = Mistake("json", start, line, str(e), mend, shape.charset.encode(text[at : at + SHOWN], "replace"))
    return Record(start, places(end)[0], line, number, tuple(cells), mistake=mistake)


def read_jsonl(blob: Blob, shape: Shape, extent: Extent) -> Iterator[Record]:
    """Yield the records of JSON lines, the bad ones too. Raises: OSError alone."""
    number = 0
    for frame in shape.lines(blob, extent.start, extent.end, extent.line):
        if frame.mistake is None and shape.is_blank(frame):
            continue
        number += 1
        mistake, record = frame.mistake, None
        if mistake is None:
            try:
                record = _line(frame, shape, number)
            except BadRecord as e:
                mistake = e.mistake
        if record is None:
            yield Record(frame.offset, frame.end, frame.number, number, mistake=mistake)
        else:
            yield Record(frame.offset, frame.end, frame.number, number, record.cells, mistake=record.mistake)


def _line(frame: Frame, shape: Shape, number: int) -> Record:
    text = shape.text(frame)
    try:
        begins = _skip(text, 0)
        value, end = _value(text, begins)
        if _skip(text, end) != len(text):
            raise JsonFault(end, "something stands behind the object")
    except JsonFault as e:
        raise BadRecord(_fault(e, text, shape, frame)) from None
    return _record(text, begins, end, value, number, shape, _Places(text, frame, shape))


def _fault(e: JsonFault, text: str, shape: Shape, place: Frame) -> Mistake:
    offset, line = _Places(text, place, shape)(e.at)
    found = shape.charset.encode(text[max(0, e.at - 20) : e.at + 60], "replace")
    return Mistake("json", offset, line, f"this is no JSON: {e}", "write it as RFC 8259 says", found)


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def read_json(blob: Blob, shape: Shape, extent: Extent, limit: int) -> Iterator[Record]:
    """Yield the records of a document, which is read whole; the bad ones too. Raises: BadRecord, OSError."""
    if extent.end - extent.start > limit:
        text = f"the document has {extent.end - extent.start} octets, the limit is {limit}"
        mend = "send smaller documents, or JSON lines (kind jsonl), which have no such limit"
        raise BadRecord(Mistake("too-long", 0, 1, text, mend))
    octets = blob.read(extent.start, extent.end - extent.start)
    place = Frame(extent.start, extent.end, 1, octets)
    text = shape.text(place)
    pointer = shape.d.json_.records if shape.d.json_ else ""
    try:
        whole, end = _value(text, _skip(text, 0))
        if _skip(text, end) != len(text):
            raise JsonFault(end, "something stands behind the document")
        del whole
        at = _pointed(text, pointer)
    except JsonFault as e:
        raise BadRecord(_fault(e, text, shape, place)) from None
    places = _Places(text, place, shape)
    for number, (start, value, end) in enumerate(_elements(text, at), 1):
        yield _record(text, start, end, value, number, shape, places)


def _pointed(text: str, pointer: str) -> int:
    """Return where the value at a JSON pointer begins. Raises: JsonFault."""
    at = _skip(text, 0)
    for token in pointer.split("/")[1:] if pointer else ():
        name = token.replace("~1", "/").replace("~0", "~")
        found = next((start for key, start in _members(text, at) if key == name), None)
        if found is None:
            raise JsonFault(at, f"the document has nothing at {pointer!r}; see records in [json]")
        at = found
    return at


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Yield (name, where its value begins) of the object or array at a place, which is known to be whole."""
    if text[at : at + 1] not in ("{", "["):
        return
    is_object = text[at] == "{"
    n, at = 0, _skip(text, at + 1)
    while text[at] not in "}]":
        name = str(n)
        if is_object:
            name, at = scanstring(text, at + 1, True)
            at = _skip(text, _skip(text, at) + 1)
        yield name, at
        _, at = _value(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
        n += 1


def _elements(text: str, at: int) -> Iterator[tuple[int, Any, int]]:
    """Yield (start, value, end) of the records: the elements of an array, or the one value that is none."""
    if text[at : at + 1] != "[":
        value, end = _value(text, at)
        yield at, value, end
        return
    for _, start in _members(text, at):
        value, end = _value(text, start)
        yield start, value, end
