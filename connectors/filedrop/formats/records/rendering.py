"""Records to octets: how each kind of file writes the fields of a record.

What has no room or no place is cut or replaced, and told by a note; with `overflow = "reject"` the message is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from connectors.filedrop.formats.records.charset import Charset, charset
from connectors.filedrop.formats.records.description import (
    DelimitedTable,
    Description,
    FieldTable,
    KeyValueTable,
    WriteTable,
    XmlTable,
)
from connectors.filedrop.formats.records.expression import normal_name
from connectors.filedrop.formats.records.numbers import NumberError, write_number
from connectors.filedrop.formats.records.writing import Line, Source
from connectors.filedrop.formats.values import Refused
from gateway.contract import Fate, Note, Status

_NOT_XML: Final = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 65534, 65535))


@dataclass
class Renderer:
    """Writes the records of one message."""

    d: Description
    write: WriteTable
    made: Mapping[str, Source]
    notes: list[Note] = field(default_factory=list)

    @cached_property
    def charset(self) -> Charset:
        return charset(self.d.format.charset)

    @cached_property
    def line_end(self) -> bytes:
        return self.charset.line_end(self.d.format.line_end)

    def note(self, fate: Fate, what: str, why: str) -> None:
        note = Note(fate, what, why)
        if note not in self.notes:
            self.notes.append(note)

    def records(self, lines: list[Line]) -> tuple[bytes, int]:
        """Return the octets of a message's records, and how many records they are. Raises: Refused."""
        made: list[bytes] = []
        for line in lines:
            match self.d.format.kind:
                case "delimited":
                    made.append(self.line(self._delimited(line)))
                case "fixed":
                    made += self._fixed(line)
                case "key_value":
                    made.append(self._key_value(line))
                case "xml":
                    made.append(self._xml(line))
                case _:
                    made.append(self._json(line))
        return b"".join(made), len(made)

    def line(self, text: str) -> bytes:
        """Return a line of the file; where nothing ends lines, as long as a record, or with its length before it."""
        octets = self.octets(text)
        if self.d.format.line_end == "rdw":
            return (len(octets) + 4).to_bytes(2) + b"\0\0" + octets
        if self.d.format.line_end == "none" and self.d.fixed is not None:
            return octets.ljust(self.d.fixed.record_length or 0, self.charset.encode(" "))[: self.d.fixed.record_length]
        return octets + self.line_end

    def octets(self, text: str) -> bytes:
        """Return the octets of a text; what the charset has not becomes a question mark."""
        try:
            return self.charset.encode(text)
        except UnicodeEncodeError:
            self.note(
                Fate.MAPPED, "characters", f"{self.d.format.charset} has not all of them; ? stands for the others"
            )
            return self.charset.encode(text, "replace")

    def _one(self, name: str, values: list[str]) -> str:
        """Return the values of a field that has room for one."""
        text = ", ".join(values) if len(values) > 1 else "".join(values)
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        if self.d.format.line_break:
            if self.d.format.line_break in text:
                self.note(
                    Fate.MAPPED, f"{self.d.format.line_break!r} in {name}", "it breaks lines; a blank stands for it"
                )
                text = text.replace(self.d.format.line_break, " ")
            text = text.replace("\n", self.d.format.line_break)
        return text

    def _on_one_line(self, name: str, text: str) -> str:
        if "\n" in text:
            self.note(Fate.MAPPED, f"line breaks in {name}", "the field has one line; blanks stand for them")
            text = text.replace("\n", " ")
        return text

    def _cut(self, name: str, why: str) -> None:
        if self.write.overflow == "reject":
            raise Refused(Status("5.6.5", f"{name} is too long: {why}"))
        self.note(Fate.MAPPED, f"{name} was cut", why)

    # delimited

    def _delimited(self, line: Line) -> str:
        table = self.d.delimited or DelimitedTable.model_validate({})
        columns = line.type.columns if line.type is not None and line.type.columns else self.columns
        cells = [self._quoted(c, self._one(c, line.values.get(normal_name(c), [])), table) for c in columns]
        if line.type is not None and self.d.types is not None:
            at = self.d.types.at
            cells += [""] * (at + 1 - len(cells))
            cells[at] = line.type.match
        return table.delimiter.join(cells)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns' names: those described, or those of all fields that are written."""
        described = self.d.delimited.columns if self.d.delimited is not None else ()
        return described or tuple(source.shown for source in self.made.values())

    def _quoted(self, name: str, text: str, table: DelimitedTable) -> str:
        text = text.replace("\0", "")
        needs = any(sign in text for sign in (table.delimiter, "\n", table.quote or "\n")) or text != text.strip()
        needs = needs or text in self.d.format.null_values or (table.escape == "backslash" and "\\" in text)
        if not needs:
            return text
        if not table.quote:
            if table.escape == "backslash":
                text = text.replace("\\", "\\\\").replace(table.delimiter, "\\" + table.delimiter)
            elif table.delimiter in text:
                self.note(Fate.MAPPED, f"{table.delimiter!r} in {name}", "it parts the fields; a blank stands for it")
                text = text.replace(table.delimiter, " ")
            return self._on_one_line(name, text)
        if table.escape == "backslash":
            text = text.replace("\\", "\\\\").replace(table.quote, "\\" + table.quote)
        elif table.escape == "double":
            text = text.replace(table.quote, table.quote * 2)
        elif table.quote in text:
            self.note(Fate.MAPPED, f"{table.quote!r} in {name}", "it ends the field; ' stands for it")
            text = text.replace(table.quote, "'" if table.quote != "'" else "`")
        return f"{table.quote}{text}{table.quote}"

    # fixed

    def _fixed(self, line: Line) -> Iterator[bytes]:
        fields = (*(self.d.fixed.fields if self.d.fixed else ()), *(line.type.fields if line.type else ()))
        rest: dict[str, str] | None = {}
        while rest is not None:
            record, rest = self._fixed_record(line, fields, rest)
            yield record

    def _fixed_record(
        self, line: Line, fields: tuple[FieldTable, ...], rest: dict[str, str]
    ) -> tuple[bytes, dict[str, str] | None]:
        """Return one record, and what of the body goes on in a further one; None where nothing does."""
        blank = self.charset.encode(" ")
        ends = [f.at + ((f.repeat.times - 1) * f.repeat.step if f.repeat else 0) + f.length for f in fields]
        length = (self.d.fixed.record_length if self.d.fixed else None) or max(ends, default=0)
        record = bytearray(blank * (length // len(blank)))
        over: dict[str, str] = {}
        for one in fields:
            values = line.values.get(one.name, [])
            if one.name in rest:
                values = [rest[one.name]]
            elif values and one.repeat is None:
                values = [self._one(one.name, values)]
            for n, octets in enumerate(self._places(one, values, over)):
                at = one.at + n * (one.repeat.step if one.repeat else 0)
                record[at : at + one.length] = octets
        if line.type is not None and self.d.types is not None:
            mark = self.octets(line.type.match.ljust(self.d.types.length)[: self.d.types.length])
            record[self.d.types.at : self.d.types.at + len(mark)] = mark
        octets = bytes(record)
        if self.d.format.line_end == "rdw":
            return (len(octets) + 4).to_bytes(2) + b"\0\0" + octets, over or None
        return octets + self.line_end, over or None

    def _places(self, one: FieldTable, values: list[str], over: dict[str, str]) -> Iterator[bytes]:
        times = one.repeat.times if one.repeat else 1
        if len(values) > times:
            self._cut(one.name, f"{len(values)} values, and there are {times} places")
        for value in values[:times]:
            if one.type != "text":
                try:
                    yield write_number(value, one, self.charset)
                except NumberError as e:
                    raise Refused(Status("5.6.5", f"{one.name}: {e}")) from None
                continue
            text = self._on_one_line(one.name, value.replace("\0", ""))
            if one.pad == "right" and text.endswith(" "):
                self.note(Fate.MAPPED, f"blanks at the end of {one.name}", "a field is filled up with them")
            octets = self.octets(text)
            if len(octets) > one.length:
                text, left = self._divided(text, one.length)
                if self._goes_on(one):
                    over[one.name] = left
                else:
                    self._cut(one.name, f"it has {len(octets)} octets, the field {one.length}")
                octets = self.octets(text)
            yield self._padded(octets, one)

    def _goes_on(self, one: FieldTable) -> bool:
        source = self.made.get(one.name)
        return self.write.overflow == "continue" and source is not None and source.target == "body"

    def _divided(self, text: str, room: int) -> tuple[str, str]:
        """Divide a text so that the first half has room in so many octets."""
        end = min(len(text), room)
        while end > 1 and len(self.charset.encode(text[:end], "replace")) > room:
            end -= 1
        return text[:end], text[end:]

    def _padded(self, octets: bytes, one: FieldTable) -> bytes:
        sign = self.charset.encode("0" if one.pad == "zero" else " ")
        fill = sign * ((one.length - len(octets)) // len(sign))
        return octets + fill if one.pad == "right" else fill + octets

    # key_value

    def _key_value(self, line: Line) -> bytes:
        table = self.d.key_value or KeyValueTable.model_validate({})
        body_name = table.body or ("body" if table.blank_line == "body" else None)
        gap = " " if table.separator == ":" else ""
        made: list[str] = []
        for name, values in line.values.items():
            if name != body_name and values:
                for value in values if len(values) > 1 else [self._one(name, values)]:
                    text = self._continued(name, self._one(name, [value]), table)
                    made.append(f"{line.shown[name]}{table.separator}{gap}{text}{table.terminator}".rstrip(" "))
        if body_name is not None:
            body = self._one(body_name, line.values.get(body_name, []))
            shown = line.shown.get(body_name, body_name)
            made.append("" if table.blank_line == "body" else f"{shown}{table.separator}")
            made += [self._kept(text, table) for text in body.split("\n")]
        if table.record_end is not None:
            made.append(self.write.record_end or table.record_end.literal or "")
        elif table.record_separator:
            made.append(table.record_separator)
        elif table.blank_line == "end":
            made.append("")
        return b"".join(self.line(text) for text in made)

    def _continued(self, name: str, text: str, table: KeyValueTable) -> str:
        if table.terminator and text.rstrip().endswith(table.terminator):
            self.note(Fate.MAPPED, f"{table.terminator!r} at the end of {name}", "it ends the value; it was left out")
            text = text.rstrip().rstrip(table.terminator)
        if "\n" in text and table.continuation == "leading-space":
            return text.replace("\n", "\n ").replace("\n", self._newline)
        if table.continuation == "backslash" and text.endswith("\\"):
            text += " "
        return self._on_one_line(name, text)

    @property
    def _newline(self) -> str:
        return self.charset.decode(self.line_end)

    def _kept(self, text: str, table: KeyValueTable) -> str:
        """Return a line of the body so that it ends no record."""
        patterns = [p for p in (table.record_start, table.record_end) if p is not None]
        if any(p.matches(text) for p in patterns) or (
            table.record_separator and text.startswith(table.record_separator)
        ):
            self.note(Fate.MAPPED, "a line of the text", "it would part two records; a blank was put before it")
            return " " + text
        return text

    # json and xml

    def _json(self, line: Line) -> bytes:
        tree = _tree(line)
        return self.charset.encode(json.dumps(tree, ensure_ascii=self.charset.core_name != "utf-8")) + self._json_end

    @property
    def _json_end(self) -> bytes:
        return self.line_end if self.d.format.kind == "jsonl" else b""

    def _xml(self, line: Line) -> bytes:
        table = self.d.xml or XmlTable.model_validate({"record": "Message"})
        name = table.record.rpartition("/")[2]
        text = _element(name, _tree(line), 1)
        fit = text.translate(_NOT_XML)
        if fit != text:
            self.note(Fate.DROPPED, "control characters", "XML has no place for them")
        return fit.encode(self.charset.core_name, "xmlcharrefreplace")

    def around(self) -> tuple[bytes, bytes]:
        """Return what stands before and behind the records of a file, but for header and trailer lines."""
        match self.d.format.kind:
            case "json":
                names = (self.d.json_.records if self.d.json_ else "").split("/")[1:]
                opening = "".join("{" + json.dumps(n.replace("~1", "/").replace("~0", "~")) + ":" for n in names)
                return self.octets(opening + ("[" if names else "")), self.octets(
                    ("]" if names else "") + "}" * len(names) + "\n"
                )
            case "xml":
                return self._xml_around()
            case "delimited" if self.d.delimited is not None and self.d.delimited.header:
                cells = [self._quoted(column, column, self.d.delimited) for column in self.columns]
                return self.line(self.d.delimited.delimiter.join(cells)), b""
        return b"", b""

    def _xml_around(self) -> tuple[bytes, bytes]:
        table = self.d.xml or XmlTable.model_validate({"record": "Message"})
        names = [name for name in table.root.split("/") if name]
        namespace = f" xmlns={quoteattr(table.namespace)}" if table.namespace else ""
        opening = f'<?xml version="1.0" encoding="{self.charset.core_name.upper()}"?>\n'
        opening += "".join(f"<{name}{namespace if n == 0 else ''}>" for n, name in enumerate(names)) + "\n"
        return self.octets(opening), self.octets("".join(f"</{name}>" for name in reversed(names)) + "\n")


def _tree(line: Line) -> dict[str, Any]:
    """Return the fields as objects within objects: `a.b` is b in a, `a[].b` b in each of several a."""
    tree: dict[str, Any] = {}
    for name, values in line.values.items():
        if values:
            path = line.shown[name].split(".")
            _put(tree, path, values)
    return tree


def _put(tree: dict[str, Any], path: list[str], values: list[str]) -> None:
    head, *rest = path
    name = head.removesuffix("[]")
    if not rest:
        tree[name] = values if len(values) > 1 or head.endswith("[]") else values[0]
        return
    if head.endswith("[]"):
        several = tree.setdefault(name, [])
        if isinstance(several, list):
            several += [{} for _ in range(len(values) - len(several))]
            for one, value in zip(several, values, strict=False):
                if value:
                    _put(one, rest, [value])
        return
    inner = tree.setdefault(name, {})
    if isinstance(inner, dict):
        _put(inner, rest, values)


def _element(name: str, value: Any, depth: int) -> str:
    if isinstance(value, list):
        return "".join(_element(name, one, depth) for one in value)
    indent = "  " * depth
    if not isinstance(value, dict):
        return f"{indent}<{name}>{escape(str(value))}</{name}>\n"
    attributes = "".join(f" {key[1:]}={quoteattr(str(v))}" for key, v in value.items() if key.startswith("@"))
    own = escape(str(value["text"])) if "text" in value and depth == 1 else ""
    inner = "".join(
        _element(key, v, depth + 1)
        for key, v in value.items()
        if not key.startswith("@") and not (own and key == "text")
    )
    if not inner:
        return f"{indent}<{name}{attributes}>{own}</{name}>\n"
    return f"{indent}<{name}{attributes}>{own}\n{inner}{indent}</{name}>\n"
