"""What holds between the keys of a description: each mistake with its place and its mend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from connectors.filedrop.formats.records.description import Description, FieldTable, Kind, MapTable, Path, Table
from connectors.filedrop.formats.records.expression import Expression, normal_name

_TABLE_OF: Final[dict[Kind, str]] = {
    "delimited": "delimited",
    "fixed": "fixed",
    "key_value": "key_value",
    "json": "json",
    "xml": "xml",
}


def checks(description: Description) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong between keys: (where, what and what to do)."""
    yield from _kind_checks(description)
    yield from _type_checks(description)
    yield from _map_checks(description)
    yield from _name_checks(description)
    yield from _write_checks(description)


def _kind_checks(d: Description) -> Iterator[tuple[Path, str]]:
    kind = d.format.kind
    for other, table in _TABLE_OF.items():
        if other != kind and getattr(d, "json_" if table == "json" else table) is not None:
            yield (table,), f"the file is of kind {kind}, so that [{table}] says nothing; leave it out"
    if kind == "fixed" and d.fixed is None and not d.type:
        yield ("format", "kind"), "kind fixed needs [[fixed.fields]], or [[type]] tables with fields"
    if kind == "xml" and d.xml is None:
        yield ("format", "kind"), "kind xml needs [xml] with record, the element that is a record"
    if kind == "delimited" and not d.type and not (d.delimited and (d.delimited.columns or d.delimited.header)):
        yield ("format", "kind"), "kind delimited needs [delimited] with columns, or with header = true"
    length = d.fixed.record_length if d.fixed else None
    if d.format.line_end in ("none", "rdw") and kind != "fixed":
        yield ("format", "line_end"), f"line_end = {d.format.line_end!r} is for kind fixed; a {kind} file has lines"
    if d.format.line_end == "none" and length is None:
        yield ("format", "line_end"), 'line_end = "none" needs record_length in [fixed]'
    if kind in ("json", "xml"):
        for key in ("header_records", "header", "trailer"):
            if getattr(d.format, key):
                yield ("format", key), f"a {kind} file is whole when its last sign is there; leave {key} out"
    if d.format.header is not None and not d.format.header_records:
        yield ("format", "header"), "header is the pattern of a line on top; say header_records = 1 too"
    if kind == "fixed":
        for path, fields in _field_tables(d):
            for n, field in enumerate(fields):
                yield from _field_checks((*path, n), field, length)


def _field_tables(d: Description) -> Iterator[tuple[Path, tuple[FieldTable, ...]]]:
    if d.fixed is not None:
        yield ("fixed", "fields"), d.fixed.fields
    for n, one in enumerate(d.type):
        yield ("type", n, "fields"), one.fields


def _field_checks(path: Path, field: FieldTable, length: int | None) -> Iterator[tuple[Path, str]]:
    times, step = (field.repeat.times, field.repeat.step) if field.repeat else (1, 0)
    end = field.at + (times - 1) * step + field.length
    if length is not None and end > length:
        yield path, f"the field {field.name} ends at {end}, and a record has {length} octets"
    if field.repeat and step < field.length:
        yield (*path, "repeat", "step"), f"the field is {field.length} octets long, so that its places would overlap"
    if field.type == "text" and field.scale:
        yield (*path, "scale"), "scale is for numbers: zoned, packed or binary"
    if field.type.startswith("binary") and field.length > 16:
        yield (*path, "length"), "a binary number has at most 16 octets"
    if field.type in ("zoned", "packed") and field.length > 64:
        yield (*path, "length"), f"a {field.type} number has at most 64 octets"


def _type_checks(d: Description) -> Iterator[tuple[Path, str]]:
    if d.type and d.types is None:
        yield ("type",), "[[type]] needs [types], which says where a record tells its type"
    if d.types is not None and not d.type:
        yield ("types",), "[types] needs [[type]] tables, one for each type of record"
    if not d.type:
        return
    if d.format.kind not in ("delimited", "fixed"):
        yield ("type",), "[[type]] is for the kinds delimited and fixed"
    if not any(one.starts for one in d.type):
        yield ("type",), "none of the types starts a message; give one starts = true"
    if d.format.group_by:
        yield ("format", "group_by"), "records are gathered by their types; leave group_by out"
    seen: set[str] = set()
    for n, one in enumerate(d.type):
        if one.match in seen:
            yield ("type", n, "match"), f"two types have the same match, {one.match!r}"
        seen.add(one.match)
        if one.columns and d.format.kind == "fixed":
            yield ("type", n, "columns"), "a type of kind fixed has fields, not columns"
        if one.fields and d.format.kind == "delimited":
            yield ("type", n, "fields"), "a type of kind delimited has columns, not fields"


def _map_checks(d: Description) -> Iterator[tuple[Path, str]]:
    if d.map.message is None and d.map.from_ is None and d.map.sender is None:
        yield ("map",), "[map] needs from, who wrote a message; or message, a field that holds all of it"
    if d.map.body is not None and (d.map.body.value is None) == (d.map.body.file is None):
        yield ("map", "body"), "the body has either value, the text, or file, the name of the file that holds it"
    for n, one in enumerate(d.map.attachment):
        if (one.file is None) == (one.data is None):
            yield ("map", "attachment", n), "an attachment has either file, the name of one, or data, the file itself"
        if one.folder.startswith(("/", "\\")) or ".." in one.folder.replace("\\", "/").split("/"):
            yield ("map", "attachment", n, "folder"), "a folder inside the inbox, such as att"


def expressions(d: Description) -> Iterator[tuple[Path, Expression]]:
    """Yield every expression over the fields of a record, with its place."""
    for name in MapTable.model_fields:
        key = "from" if name == "from_" else name
        yield from _expressions_in(("map", key), getattr(d.map, name))


def _expressions_in(path: Path, value: Any) -> Iterator[tuple[Path, Expression]]:
    match value:
        case Expression():
            yield path, value
        case Table():
            for name in type(value).model_fields:
                yield from _expressions_in((*path, name), getattr(value, name))
        case tuple():
            for n, one in enumerate(value):
                yield from _expressions_in((*path, n), one)
        case dict():
            for key, one in value.items():
                yield from _expressions_in((*path, key), one)


WRITE_NAMES: Final = frozenset(
    (
        *("from", "from_name", "sender", "to", "to_name", "cc", "cc_name", "recipients", "recipient", "subject"),
        *("body", "date", "now", "message_id", "in_reply_to", "priority", "receipt", "message", "stem", "number"),
        *("attachment", "attachment_name", "attachment_type", "attachment_data", "body_file", "count", "index"),
    )
)
"""What a message that is written has."""
STATUS_NAMES: Final = frozenset(
    ("key", "stem", "message", "file", "action", "code", "status", "text", "recipient", "time", "count")
)
"""What a line of a status file can tell."""
READ_NAMES: Final = ("file.name", "file.stem", "record.number", "record.line")
"""Names that every record has beside its fields."""


def known_fields(d: Description) -> frozenset[str] | None:
    """Return the names of all fields; None where only the file tells them."""
    if d.format.kind == "fixed":
        return frozenset(field.name for _, fields in _field_tables(d) for field in fields)
    if d.format.kind == "delimited" and not (d.delimited and d.delimited.header):
        columns = [*(d.delimited.columns if d.delimited else ()), *(c for one in d.type for c in one.columns)]
        return frozenset(normal_name(column) for column in columns if column)
    return None


def _name_checks(d: Description) -> Iterator[tuple[Path, str]]:
    known = known_fields(d)
    places = [*expressions(d), *_expressions_in(("write",), d.write), *_expressions_in(("status",), d.status)]
    for path, expression in places:
        for table in sorted(expression.tables - d.values.keys()):
            tables = ", ".join(d.values) or "none"
            yield path, f"no table is called [values.{table}]; there are {tables}"
    for path, expression in _expressions_in(("status",), d.status):
        for name in sorted(expression.names - STATUS_NAMES):
            yield path, f"a report has no {name!r}; it has {', '.join(sorted(STATUS_NAMES))}"
    if known is None:
        return
    for path, expression in expressions(d):
        for name in sorted(expression.names - known - set(READ_NAMES)):
            yield path, f"no field is called {name!r}; there are {', '.join(sorted(known))}"
    for name in d.format.group_by:
        if name not in known:
            yield ("format", "group_by"), f"no field is called {name!r}; there are {', '.join(sorted(known))}"


def _write_checks(d: Description) -> Iterator[tuple[Path, str]]:
    if d.write is None:
        return
    known = known_fields(d)
    for name in d.write.fields:
        if known is not None and normal_name(name) not in known:
            yield ("write", "fields", name), f"no field is called {name!r}; there are {', '.join(sorted(known))}"
    if d.format.kind in ("json", "xml"):
        for key in ("header", "trailer"):
            if getattr(d.write, key) is not None:
                yield ("write", key), f"a {d.format.kind} file has no such line; leave {key} out"
    if d.format.kind == "json" and d.write.many_a_file:
        yield ("write", "many_a_file"), "kind json has one message a file; kind jsonl can have many"
    if d.write.trailer is not None and d.write.many_a_file:
        yield ("write", "many_a_file"), "a trailer counts the records of one message; leave one of both out"
    if d.write.trailer is None and d.format.trailer is not None:
        yield ("write",), "files are read only with a trailer, so one has to be written too: trailer = ..."
    if d.write.many_a_file and d.write.header is not None and d.write.header.names:
        yield ("write", "header"), "the header of a file of many messages is a text without fields"
    end = d.key_value.record_end if d.key_value else None
    if end is not None and end.literal is None and not d.write.record_end:
        yield ("write",), "record_end has wildcards, so that the line to write has to be told: record_end = ..."
    for path, expression in _expressions_in(("write",), d.write):
        for name in sorted(expression.names - WRITE_NAMES):
            if not name.startswith("header."):
                yield path, f"a message has no {name!r}; it has {', '.join(sorted(WRITE_NAMES))} and header.NAME"
    lines = any(one.each == "line" for one in d.type)
    if d.write.overflow == "continue" and not d.format.group_by and not lines:
        yield ("write", "overflow"), '"continue" needs group_by in [format], or a [[type]] with each = "line"'
