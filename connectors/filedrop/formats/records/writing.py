"""From a message to the fields of its records: what [write] says, and else the inverse of what [map] says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from typing import Final

from connectors.filedrop.formats.records.attributes import Attributes
from connectors.filedrop.formats.records.dates import write_date, zone
from connectors.filedrop.formats.records.description import (
    AddressTable,
    BodyTable,
    DateTable,
    Description,
    MapTable,
    TypeTable,
    WriteTable,
    writing_zone,
)
from connectors.filedrop.formats.records.expression import Expression, Lookup, Reference, Tables, Values, normal_name
from connectors.filedrop.formats.records.mapping import prefix_of, tables_of
from gateway.contract import Fate

_TARGETS: Final = tuple(
    name for name in MapTable.model_fields if name not in ("key", "headers", "attachment", "bcc", "date", "body")
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the values of a field come from: given a way to look up what the message has."""

    shown: str
    """The field's name as it is written."""
    values: Callable[[Attributes, Lookup], list[str]]
    target: str = ""
    """What of the message it holds, where it is the inverse of one key of [map]."""


@dataclass(slots=True)
class Line:
    """One record to be written: its type, and its values by field."""

    type: TypeTable | None
    values: dict[str, list[str]] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)


def sources(d: Description, write: WriteTable) -> dict[str, Source]:
    """Return where each field's values come from, in the order in which they are written."""
    tables = Tables(d.values, zone(writing_zone(d)))
    found = {
        normal_name(shown): Source(shown, _said(expression, tables), _target_of(expression))
        for shown, expression in write.fields.items()
    }
    for shown, source in _inverses(d, tables):
        found.setdefault(normal_name(shown), source)
    return found


def _said(expression: Expression, tables: Tables) -> Callable[[Attributes, Lookup], list[str]]:
    if len(expression.names) == 1 and expression.simple() is not None:
        return lambda attributes, lookup: expression.each(lookup, tables)

    def values(attributes: Attributes, lookup: Lookup) -> list[str]:
        value = expression.one(lookup, tables)
        return [value] if value or not expression.names else []

    return values


def _target_of(expression: Expression) -> str:
    simple = expression.simple()
    return simple[1].name if simple is not None and simple[0] == simple[2] == "" else ""


def _inverses(d: Description, tables: Tables) -> Iterator[tuple[str, Source]]:
    for target in _TARGETS:
        wish = getattr(d.map, target)
        target = "from" if target == "from_" else target
        if target in ("to", "cc", "recipients"):
            for table in tables_of(wish)[:1]:
                yield from _of_addresses(target, table, tables)
        elif isinstance(wish, Expression):
            yield from _of_one(target, wish, tables)
    if d.map.date is not None:
        yield from _of_date(d.map.date)
    if d.map.body is not None:
        yield from _of_body(d.map.body, tables)
    for name, expression in d.map.headers.items():
        yield from _of_one(f"header.{name.lower()}", expression, tables)
    for one in d.map.attachment[:1]:
        glue = one.split
        for target, wish in (
            ("attachment", one.file),
            ("attachment_data", one.data),
            ("attachment_name", one.name),
            ("attachment_type", one.media_type),
        ):
            if wish is not None and (simple := wish.simple()) is not None:
                yield simple[1].shown, Source(simple[1].shown, _joined(target, glue), target)


def _joined(target: str, glue: str | None) -> Callable[[Attributes, Lookup], list[str]]:
    def values(attributes: Attributes, lookup: Lookup) -> list[str]:
        found = list(lookup(target))
        return [glue.join(found)] if glue and found else found

    return values


def _of_addresses(target: str, table: AddressTable, tables: Tables) -> Iterator[tuple[str, Source]]:
    simple = table.value.simple()
    if simple is not None:
        glue = {"mailboxes": ", "}.get(table.split or "", table.split)
        made = _back(target, simple, prefix_of((table,)), tables)

        def values(attributes: Attributes, lookup: Lookup) -> list[str]:
            found = made(attributes, lookup)
            return [glue.join(found)] if glue and found else found

        yield simple[1].shown, Source(simple[1].shown, values, target)
    if table.name is not None and (named := table.name.simple()) is not None:
        yield named[1].shown, Source(named[1].shown, _joined(f"{target}_name", None), f"{target}_name")


def _of_one(target: str, expression: Expression, tables: Tables) -> Iterator[tuple[str, Source]]:
    simple = expression.simple()
    if simple is not None:
        prefix = prefix_of(expression) if target in ("from", "sender") else ""
        yield simple[1].shown, Source(simple[1].shown, _back(target, simple, prefix, tables), target)


def _of_body(table: BodyTable, tables: Tables) -> Iterator[tuple[str, Source]]:
    target, expression = ("body", table.value) if table.value is not None else ("body_file", table.file)
    simple = expression.simple() if expression is not None else None
    if simple is not None:
        values = _back(target, simple, "", tables)
        yield simple[1].shown, Source(simple[1].shown, _as_html(values) if table.kind == "html" else values, target)


def _of_date(table: DateTable) -> Iterator[tuple[str, Source]]:
    simple, where = table.value.simple(), zone(table.zone)
    if simple is None:
        return

    def values(attributes: Attributes, lookup: Lookup) -> list[str]:
        text = next(iter(lookup("date")), "")
        written = write_date(datetime.fromisoformat(text).timestamp() if text else None, table.formats[0], where)
        return [written] if written else []

    yield simple[1].shown, Source(simple[1].shown, values, "date")


def _as_html(values: Callable[[Attributes, Lookup], list[str]]) -> Callable[[Attributes, Lookup], list[str]]:
    return lambda attributes, lookup: [
        escape(v, quote=False).replace("\n", "<br>\n") for v in values(attributes, lookup)
    ]


def _back(
    target: str, simple: tuple[str, Reference, str], prefix: str, tables: Tables
) -> Callable[[Attributes, Lookup], list[str]]:
    """Return how a field is written of which [map] says `text{field|…}text`."""
    before, reference, after = simple
    before = before[len(prefix) :] if before.startswith(prefix) else before
    maps = [pipe.arguments[0] for pipe in reversed(reference.pipes) if pipe.name == "map"]

    def values(attributes: Attributes, lookup: Lookup) -> list[str]:
        found = []
        for value in lookup(target):
            if value and (not value.startswith(before) or not value.endswith(after)):
                why = f"the other side reads it as {before}…{after}"
                attributes.note(Fate.MAPPED, target.replace("_", " "), why)
            elif value:
                value = value[len(before) : len(value) - len(after)]
            for name in maps:
                value = tables.back(name, value)
            found.append(value)
        return found

    return values


def lines(d: Description, write: WriteTable, attributes: Attributes, made: Mapping[str, Source]) -> list[Line]:
    """Return the records of one message. Raises: Refused, OSError."""
    if not d.type:
        return [_line(None, attributes, made, {}, 1)]
    found: list[Line] = []
    for one in d.type:
        for bound in _each(one, attributes):
            found.append(_line(one, attributes, made, bound, len(found) + 1))
    return found


def _each(one: TypeTable, attributes: Attributes) -> Iterator[dict[str, list[str]]]:
    """Yield, for each record of a type, what is said in it of one thing of several."""
    lookup = attributes.lookup
    match one.each:
        case "message":
            yield {}
        case "line":
            for line in "".join(lookup("body")).split("\n"):
                yield {"body": [line]}
        case "recipient":
            for recipient, name in _with_names(attributes):
                yield {"recipient": [recipient], "recipients": [recipient], "to": [recipient], "to_name": [name]}
        case "attachment":
            names = ("attachment", "attachment_name", "attachment_type")
            columns = [lookup(name) for name in names]
            wants_data = any(table.data is not None for table in attributes.d.map.attachment)
            data = lookup("attachment_data") if wants_data else [""] * len(columns[0])
            for row in zip(*columns, data, strict=True):
                yield dict(zip((*names, "attachment_data"), ([value] for value in row), strict=True))


def _with_names(attributes: Attributes) -> Iterator[tuple[str, str]]:
    if attributes.d.map.recipients is not None:
        yield from ((recipient, "") for recipient in attributes.lookup("recipients"))
    else:
        yield from zip(attributes.lookup("to"), attributes.lookup("to_name"), strict=True)


def _line(
    one: TypeTable | None,
    attributes: Attributes,
    made: Mapping[str, Source],
    bound: Mapping[str, list[str]],
    index: int,
) -> Line:
    def lookup(name: str) -> Values:
        if name == "index":
            return [str(index)]
        return bound.get(name) if name in bound else attributes.lookup(name)  # type: ignore[return-value]  # it is in

    line = Line(one)
    wanted = None if one is None else {normal_name(c) for c in one.columns} | {f.name for f in one.fields}
    for name, source in made.items():
        if wanted is None or name in wanted:
            line.values[name] = source.values(attributes, lookup)
            line.shown[name] = source.shown
    return line
