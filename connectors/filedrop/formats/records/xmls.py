"""XML documents: kind xml.

An element below the record is a field under the path of local names, `Head.From`; an attribute is one under
`Head.@id`; the record's own text is the field `text`. Namespaces are not looked at.
A document type declaration is refused, and with it every entity that is not of XML's own five: nothing is expanded and
nothing is fetched. The document is read twice, first to see that it is well-formed to its end.
Source: XML 1.0; what is refused is what Python's "XML vulnerabilities" page lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from xml.parsers import expat

from connectors.filedrop.formats.records.description import XmlTable
from connectors.filedrop.formats.records.expression import normal_name
from connectors.filedrop.formats.records.record import BadRecord, Cell, Mistake, Record
from connectors.filedrop.formats.records.shape import MAX_FIELDS, Shape
from gateway.contract import Blob

CHUNK: Final = 64 * 1024
MAX_DEPTH: Final = 64
TEXT: Final = "text"


@dataclass(slots=True)
class _Element:
    path: str
    offset: int
    text: list[str] = field(default_factory=list)
    has_children: bool = False


@dataclass(slots=True)
class _Tag:
    """A start tag around the records: where it stands. `end` is known when what follows it is seen."""

    name: str
    start: int
    end: int = -1


@dataclass(slots=True)
class _Open:
    """A record on its way."""

    start: int
    line: int
    around: tuple[_Tag, ...]
    cells: list[Cell] = field(default_factory=list)
    stack: list[_Element] = field(default_factory=list)
    size: int = 0
    mistake: Mistake | None = None


class _Refused(Exception):
    """A document that is not read on: rule, text, mend."""

    def __init__(self, rule: str, text: str, mend: str) -> None:
        self.rule, self.text, self.mend = rule, text, mend
        super().__init__(text)


@dataclass(frozen=True)
class XmlRecord:
    """A record with the start tags of the elements around it, as places in the file."""

    record: Record
    around: tuple[tuple[str, int, int], ...]


class _Parser:
    def __init__(self, shape: Shape) -> None:
        table = shape.d.xml or XmlTable.model_validate({"record": "Message"})
        self.shape = shape
        self.wanted = [part for part in table.record.split("/") if part]
        self.names: list[str] = []
        self.tags: list[_Tag] = []
        self.open: _Open | None = None
        self.ended: _Open | None = None
        self.ready: list[XmlRecord] = []
        self.count = 0
        self.encoding = ""
        self.last = 0
        encoding = None if shape.charset.name in ("utf-8",) else shape.d.format.charset
        self.expat = expat.ParserCreate(encoding)
        self.expat.buffer_text = False
        self.expat.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        self.expat.XmlDeclHandler = self._declaration
        self.expat.StartDoctypeDeclHandler = self._doctype
        self.expat.EntityDeclHandler = self._doctype
        self.expat.StartElementHandler = self._start
        self.expat.EndElementHandler = self._end
        self.expat.CharacterDataHandler = self._characters
        self.expat.DefaultHandler = self._other

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        self.encoding = encoding or ""

    def _doctype(self, *arguments: Any) -> None:
        raise _Refused(
            "xml-doctype",
            "the document has a document type declaration, which is never read",
            "write the document without <!DOCTYPE ...>",
        )

    def _seen(self) -> int:
        """Note where the parser is: a start tag around records, and a record, end where the next thing begins."""
        self.last = at = self.expat.CurrentByteIndex
        self.finish(at)
        if self.tags and self.tags[-1].end < 0 and at > self.tags[-1].start:
            self.tags[-1].end = at
        return at

    def finish(self, at: int) -> None:
        """Make the record ready whose end tag was seen, now that it is known where that ends."""
        open_, self.ended = self.ended, None
        if open_ is not None:
            record = Record(open_.start, at, open_.line, self.count, tuple(open_.cells), mistake=open_.mistake)
            self.ready.append(XmlRecord(record, tuple((tag.name, tag.start, tag.end) for tag in open_.around)))

    def _other(self, data: str) -> None:
        self._seen()

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        at = self._seen()
        local = name.rpartition(":")[2]
        if len(self.names) >= MAX_DEPTH:
            mend = "bring the data into records of a simpler form"
            raise _Refused("xml-depth", f"elements nested deeper than {MAX_DEPTH}", mend)
        self.names.append(local)
        if self.open is None and self.names[-len(self.wanted) :] == self.wanted:
            self.count += 1
            self.open = _Open(at, self.expat.CurrentLineNumber, tuple(self.tags))
            self.open.stack.append(_Element("", at))
        elif self.open is None:
            self.tags.append(_Tag(name, at))
            return
        else:
            parent = self.open.stack[-1]
            parent.has_children = True
            self.open.stack.append(_Element(f"{parent.path}.{local}" if parent.path else local, at))
        path = self.open.stack[-1].path
        for key, value in attributes.items():
            inner = "@" + key.rpartition(":")[2]
            if not key.startswith("xmlns"):
                self._cell(f"{path}.{inner}" if path else inner, value, at)

    def _characters(self, data: str) -> None:
        self._seen()
        if self.open is not None:
            self.open.size += len(data)
            if self.open.size > self.shape.d.format.max_record_bytes:
                self._too_long(f"more than {self.shape.d.format.max_record_bytes} characters")
            else:
                self.open.stack[-1].text.append(data)

    def _too_long(self, what: str) -> None:
        if self.open is not None and self.open.mistake is None:
            mend = "name the element of one record in [xml], or raise max_record_bytes"
            text = f"the record has {what}"
            self.open.mistake = Mistake("too-long", self.open.start, self.open.line, text, mend)
            self.open.cells.clear()
        if self.open is not None:
            for element in self.open.stack:
                element.text.clear()

    def _end(self, name: str) -> None:
        self._seen()
        self.names.pop()
        if self.open is None:
            self.tags.pop()
            return
        element = self.open.stack.pop()
        text = "".join(element.text)
        if not element.has_children or text.strip():
            self._cell(element.path or TEXT, text, element.offset)
        if not self.open.stack:
            self.ended, self.open = self.open, None

    def _cell(self, name: str, value: str, at: int) -> None:
        if self.open is None or self.open.mistake is not None:
            return
        if len(self.open.cells) >= MAX_FIELDS:
            self._too_long(f"more than {MAX_FIELDS} fields")
            return
        raw = value[:200].encode("utf-8", "replace")
        self.open.cells.append(Cell(normal_name(name), self.shape.clean(value), at, raw))


def _parsed(blob: Blob, shape: Shape) -> Iterator[XmlRecord]:
    """Raises: BadRecord, OSError."""
    parser = _Parser(shape)
    at = 0
    while True:
        piece = blob.read(at, min(CHUNK, blob.size - at))
        at += len(piece)
        try:
            parser.expat.Parse(piece, at >= blob.size)
        except expat.ExpatError as e:
            text = f"this is no well-formed XML: {expat.ErrorString(e.code)} in line {e.lineno}, column {e.offset + 1}"
            mend = "send the document again, whole and as XML 1.0 says; nothing of it was taken"
            raise BadRecord(Mistake("xml", max(0, parser.expat.ErrorByteIndex), e.lineno, text, mend)) from None
        except _Refused as e:
            place = parser.expat.CurrentByteIndex, parser.expat.CurrentLineNumber
            raise BadRecord(Mistake(e.rule, *place, e.text, e.mend)) from None
        except (LookupError, ValueError, UnicodeError) as e:  # no encoding of one octet each
            mend = "write it in UTF-8, or name its charset in [format]"
            raise BadRecord(Mistake("charset", 0, 1, f"the document's encoding cannot be read: {e}", mend)) from None
        if at - parser.last > shape.d.format.max_record_bytes + 2 * CHUNK:
            text = f"one tag has more than {shape.d.format.max_record_bytes} octets"
            raise BadRecord(
                Mistake("too-long", parser.last, 0, text, "write shorter attributes, or raise max_record_bytes")
            )
        if at >= blob.size:
            parser.finish(at)
        yield from parser.ready
        parser.ready.clear()
        if at >= blob.size:
            return


def read_xml(blob: Blob, shape: Shape) -> Iterator[XmlRecord]:
    """Yield the records of a document that is well-formed to its end. Raises: BadRecord, OSError."""
    for _ in _parsed(blob, shape):
        pass
    yield from _parsed(blob, shape)
