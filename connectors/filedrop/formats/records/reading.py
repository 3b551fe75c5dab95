"""From a file to its messages, each as the records it is made of.

Nothing is yielded of a file that lacks its trailer, or whose trailer counts otherwise. A record that cannot be used
spoils the message it belongs to, and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from connectors.filedrop.formats.records.delimited import columns_of, read_delimited
from connectors.filedrop.formats.records.description import Description
from connectors.filedrop.formats.records.fixed import read_fixed
from connectors.filedrop.formats.records.jsons import read_json, read_jsonl
from connectors.filedrop.formats.records.key_value import read_key_value
from connectors.filedrop.formats.records.record import Mistake, Record
from connectors.filedrop.formats.records.shape import Extent, Shape, checked, extent, shape_of
from connectors.filedrop.formats.records.xmls import read_xml
from connectors.filedrop.formats.values import Span
from gateway.contract import Blob

MAX_GROUP: Final = 100_000
Octets = tuple[bytes | Span, ...]


@dataclass(frozen=True)
class Group:
    """The records of one message. `item` is a file of its own that holds them alone."""

    records: tuple[Record, ...]
    number: int
    item: Octets
    mistake: Mistake | None = None

    @cached_property
    def values(self) -> dict[str, list[str]]:
        """Return the values of all records by name, without the empty ones."""
        found: dict[str, list[str]] = {}
        for record in self.records:
            for name, values in record.values.items():
                found.setdefault(name, []).extend(values)
        return found


@dataclass(frozen=True)
class _Wrap:
    """What stands around the records of a file that is to hold some of them."""

    before: Octets
    trailer: bytes
    counted: tuple[int, int] | None
    """Where in the trailer the number of records is, in octets."""
    zero: int = ord("0")
    """The octet of the digit 0; the others follow it, in EBCDIC too."""

    def around(self, records: tuple[Record, ...]) -> Octets:
        spans: list[Span] = []
        for record in records:
            if spans and spans[-1].end == record.start:
                spans[-1] = Span(spans[-1].start, record.end)
            else:
                spans.append(Span(record.start, record.end))
        return (*self.before, *spans, *self._trailer(len(records)))

    def _trailer(self, count: int) -> tuple[bytes, ...]:
        if not self.trailer:
            return ()
        if self.counted is None:
            return (self.trailer,)
        start, end = self.counted
        digits = bytes(self.zero + int(digit) for digit in str(count).rjust(end - start, "0"))
        return (self.trailer[:start] + digits + self.trailer[end:],)


def read_groups(blob: Blob, d: Description, limit: int) -> Iterator[Group]:
    """Yield the messages of a file in order. Raises: BadRecord where the whole file is bad, OSError."""
    shape = shape_of(d, blob)
    if d.format.kind == "xml":
        yield from _xml_groups(blob, shape, limit)
        return
    if d.format.kind == "json":
        for record in _counted(read_json(blob, shape, Extent(shape.begins, shape.ends, 1), limit), d):
            yield Group((record,), record.number, _json_item(record, shape), record.mistake)
        return
    where = extent(blob, shape)
    checked(where, shape, lambda: sum(1 for _ in _records(blob, shape, where)))
    wrap = _wrap(blob, shape, where)
    for number, (records, mistake) in enumerate(_gathered(_counted(_records(blob, shape, where), d), shape, limit), 1):
        yield Group(records, number, wrap.around(records), mistake)


def _records(blob: Blob, shape: Shape, where: Extent) -> Iterator[Record]:
    match shape.d.format.kind:
        case "delimited":
            return read_delimited(blob, shape, where)
        case "fixed":
            return read_fixed(blob, shape, where)
        case "key_value":
            return read_key_value(blob, shape, where)
    return read_jsonl(blob, shape, where)


def _counted(records: Iterator[Record], d: Description) -> Iterator[Record]:
    for record in records:
        if record.number > d.format.max_records:
            text = f"the file has more than {d.format.max_records} records; those before were taken"
            mend = "send the rest in files of their own, or raise max_records"
            yield Record(
                record.start,
                record.end,
                record.line,
                record.number,
                mistake=Mistake("too-many", record.start, record.line, text, mend),
            )
            return
        yield record


def _wrap(blob: Blob, shape: Shape, where: Extent) -> _Wrap:
    begins = where.start
    if shape.d.format.kind == "delimited":
        begins = columns_of(blob, shape, where)
    before: Octets = (Span(0, begins),) if begins else ()
    if where.trailer is None or shape.d.format.trailer is None:
        return _Wrap(before, b"", None)
    octets = blob.read(where.trailer.offset, where.trailer.end - where.trailer.offset)
    text = shape.text(where.trailer)
    told = shape.d.format.trailer.count(text)
    if told is None or shape.charset.unit > 1:
        return _Wrap(before, octets, None)
    at = max(0, octets.find(where.trailer.octets))
    start, end = (at + len(shape.charset.encode(text[:place], "replace")) for place in told[1:])
    return _Wrap(before, octets, (start, end), shape.charset.encode("0")[0])


def _gathered(
    records: Iterable[Record], shape: Shape, limit: int
) -> Iterator[tuple[tuple[Record, ...], Mistake | None]]:
    """Yield the records of each message."""
    if shape.d.type:
        yield from _by_type(records, shape, limit)
    elif shape.d.format.group_by:
        yield from _by_value(records, shape, limit)
    else:
        for record in records:
            yield (record,), record.mistake


def _full(held: list[Record], limit: int) -> Mistake | None:
    """Say that a message has grown too large."""
    first, last = held[0], held[-1]
    if last.end - first.start <= limit and len(held) <= MAX_GROUP:
        return None
    text = f"the message has more than {limit} octets, or {MAX_GROUP} records"
    mend = "check which records begin a message, or raise max_text_bytes"
    return Mistake("too-long", first.start, first.line, text, mend)


def _by_value(
    records: Iterable[Record], shape: Shape, limit: int
) -> Iterator[tuple[tuple[Record, ...], Mistake | None]]:
    names = shape.d.format.group_by
    held: list[Record] = []
    key: tuple[tuple[str, ...], ...] | None = None
    for record in records:
        its = tuple(tuple(record.values.get(name, ())) for name in names)
        its_key = its if any(its) else None
        if held and (its_key is None or its_key != key):
            yield tuple(held), _first(held)
            held = []
        held.append(record)
        key = its_key
        if (mistake := _full(held, limit)) is not None:
            yield tuple(held), mistake
            held = []
    if held:
        yield tuple(held), _first(held)


def _first(held: list[Record]) -> Mistake | None:
    return next((record.mistake for record in held if record.mistake is not None), None)


def _by_type(
    records: Iterable[Record], shape: Shape, limit: int
) -> Iterator[tuple[tuple[Record, ...], Mistake | None]]:
    starts = {one.name for one in shape.d.type if one.starts}
    ends = {one.name for one in shape.d.type if one.ends}
    skips = shape.d.types is not None and shape.d.types.unknown == "skip"
    held: list[Record] = []
    for record in records:
        if record.kind.startswith("?") and record.mistake is None:
            if skips:
                continue
            record = _unknown(record, shape)
        if record.kind in starts and held:
            yield tuple(held), _first(held) or _unfinished(held, starts, ends)
            held = []
        held.append(record)
        full = _full(held, limit)
        if record.kind in ends or full is not None:
            yield tuple(held), full or _first(held) or _unfinished(held, starts, ends)
            held = []
    if held:
        yield tuple(held), _first(held) or _unfinished(held, starts, ends)


def _unknown(record: Record, shape: Shape) -> Record:
    known = ", ".join(one.match for one in shape.d.type)
    text = f"the record is of type {record.kind[1:]!r}; known are {known}"
    mend = 'describe it by a [[type]], or set unknown = "skip" in [types]'
    mistake = Mistake("type", record.start, record.line, text, mend)
    return Record(record.start, record.end, record.line, record.number, record.cells, record.kind, mistake)


def _unfinished(held: list[Record], starts: set[str], ends: set[str]) -> Mistake | None:
    """Say that a message does not begin, or not end, as one is to."""
    first, last = held[0], held[-1]
    if first.kind not in starts:
        text, rule = f"the record {first.kind} belongs to no message", "no-start"
        mend = f"begin each message with a record {' or '.join(sorted(starts))}"
        return Mistake(rule, first.start, first.line, text, mend)
    if ends and last.kind not in ends:
        text = f"the message that begins in line {first.line} is not whole: its last record is {last.kind}"
        mend = f"end each message with a record {' or '.join(sorted(ends))}"
        return Mistake("no-end", last.start, last.line, text, mend)
    return None


def _xml_groups(blob: Blob, shape: Shape, limit: int) -> Iterator[Group]:
    def item(around: tuple[tuple[str, int, int], ...], record: Record) -> Octets:
        encoding = "utf-16" if blob.read(0, 2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
        if encoding == "utf-16":
            return (Span(0, blob.size),)
        top = around[0][1] if around else record.start
        tags = [Span(start, end) for _, start, end in around]
        closing = "".join(f"</{name}>" for name, _, _ in reversed(around)).encode()
        return (Span(0, top), *tags, Span(record.start, record.end), closing)

    for one in read_xml(blob, shape):
        record = one.record
        if record.number > shape.d.format.max_records:
            record = next(iter(_counted(iter((record,)), shape.d)))
            yield Group((record,), record.number, item(one.around, record), record.mistake)
            return
        yield Group((record,), record.number, item(one.around, record), record.mistake or _too_large(record, limit))


def _too_large(record: Record, limit: int) -> Mistake | None:
    return _full([record], limit)


def _json_item(record: Record, shape: Shape) -> Octets:
    pointer = shape.d.json_.records if shape.d.json_ else ""
    names = pointer.split("/")[1:] if pointer else []
    opening, closing = "", ""
    for name in names:
        key = name.replace("~1", "/").replace("~0", "~").replace("\\", "\\\\").replace('"', '\\"')
        opening, closing = f'{opening}{{"{key}":', "}" + closing
    encode = shape.charset.encode
    return (encode(f"{opening}["), Span(record.start, record.end), encode(f"]{closing}"))
