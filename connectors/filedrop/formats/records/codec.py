"""The codec of described records: a file to messages, a message to records, a report to a status file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Final

from connectors.filedrop.formats.records.attributes import Attributes, networks_of
from connectors.filedrop.formats.records.charset import charset
from connectors.filedrop.formats.records.checks import checks
from connectors.filedrop.formats.records.dates import zone
from connectors.filedrop.formats.records.description import Description, WriteTable, writing_zone
from connectors.filedrop.formats.records.expression import Tables, Values
from connectors.filedrop.formats.records.mapping import Mapper
from connectors.filedrop.formats.records.reading import Group, read_groups
from connectors.filedrop.formats.records.record import BadRecord, Mistake
from connectors.filedrop.formats.records.rendering import Renderer
from connectors.filedrop.formats.records.settings import RecordsSettings
from connectors.filedrop.formats.records.status_file import encode_status
from connectors.filedrop.formats.records.told import told
from connectors.filedrop.formats.records.writing import Source, lines, sources
from connectors.filedrop.formats.values import Bad, Encoded, FormatSettings, Options, Part, Refused, Span, Stamp
from connectors.filedrop.names import safe_name
from gateway.contract import Blob, Capabilities, Item, Parcel, Report, Status, read_toml

_NOT_WRITTEN: Final = WriteTable.model_validate({})
_EXTENSIONS: Final = {
    "delimited": ".csv",
    "fixed": ".dat",
    "key_value": ".txt",
    "json": ".json",
    "jsonl": ".jsonl",
    "xml": ".xml",
}


@dataclass(frozen=True)
class Found:
    """One message as it was read: the records it is made of, what they were mapped to, and the outcome."""

    group: Group | None
    mapper: Mapper | None
    outcome: Part | Bad


@dataclass(frozen=True)
class Records:
    """The codec of described records.

    Raises: ConfigErrors where the description cannot be used, with all that is wrong with it.
    """

    name: str
    options: Options
    settings: RecordsSettings
    Settings: ClassVar[type[FormatSettings]] = RecordsSettings
    description: Description = field(init=False)

    def __post_init__(self) -> None:
        path = self.options.base_dir / self.settings.describe
        described = read_toml(path, Description, "a description of records (describe)", checks)
        object.__setattr__(self, "description", described)

    @cached_property
    def tables(self) -> Tables:
        return Tables(self.description.values)

    @cached_property
    def _made(self) -> Mapping[str, Source]:
        return sources(self.description, self._write)

    @property
    def _write(self) -> WriteTable:
        return self.description.write or _NOT_WRITTEN

    @property
    def extension(self) -> str:
        return _EXTENSIONS[self.description.format.kind]

    @property
    def one_a_recipient(self) -> bool:
        return self._write.one_a_recipient

    @property
    def many_a_file(self) -> bool:
        return self._write.many_a_file

    @property
    def capabilities(self) -> Capabilities:
        """Return what the described fields have room for."""
        d, write = self.description, self._write
        networks = networks_of(d, self.options)
        if d.map.message is not None:
            return Capabilities(header_networks=networks, eight_bit=False, utf8_addresses=False, nul=False)
        return Capabilities(
            header_networks=networks,
            nul=False,
            mime=False,
            html=False,
            attachments=bool(d.map.attachment),
            charset=charset(d.format.charset).core_name,
            max_subject_chars=write.subject_chars or self._subject_room(),
            wrap_columns=write.wrap,
        )

    def _subject_room(self) -> int | None:
        """Return how many characters the subject's field takes, None where that is not told."""
        d = self.description
        holds = {name for name, source in self._made.items() if source.target == "subject"}
        fields = [*(d.fixed.fields if d.fixed else ()), *(f for one in d.type for f in one.fields)]
        return next((f.length for f in fields if f.name in holds), None)

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return the records of a message to these recipients. Raises: Refused, OSError."""
        d, write = self.description, self.description.write
        if write is None:
            raise Refused(Status("5.3.3", "the description of these records has no [write], so that nothing goes out"))
        attributes = Attributes(d, self.options, parcel, items, stem)
        renderer = Renderer(d, write, self._made)
        records, count = renderer.records(lines(d, write, attributes, self._made))

        def lookup(name: str) -> Values:
            return [str(count)] if name == "count" else attributes.lookup(name)

        tables = Tables(d.values, zone(writing_zone(d)))
        top = write.header.one(lookup, tables) if write.header is not None else None
        end = write.trailer.one(lookup, tables) if write.trailer is not None else None
        name = safe_name(write.file_name.one(lookup, tables)) if write.file_name is not None else ""
        used = {source.target for source in self._made.values()}
        used.update(name for expression in write.fields.values() for name in expression.names)
        enclosures = attributes.enclosures if "attachment" in used else ()
        if "body_file" in used:
            enclosures = (attributes.body_file, *enclosures)
        if not self.many_a_file:
            before, behind = renderer.around()
            before = (b"" if top is None else renderer.line(top)) + before
            records = before + records + behind + (b"" if end is None else renderer.line(end))
        notes = (*attributes.notes, *renderer.notes, *told(attributes, used))
        return Encoded(lambda: (records,), enclosures, notes, name=name)

    def opening(self, encoded: Encoded) -> bytes:
        """Return the lines above the records of a file of many messages."""
        renderer = Renderer(self.description, self._write, self._made)
        header = self._write.header
        return (b"" if header is None else renderer.line(header.source_text)) + renderer.around()[0]

    def closing(self) -> bytes:
        return Renderer(self.description, self._write, self._made).around()[1]

    def status(self, report: Report, key: str, stem: str) -> Encoded | None:
        """Return the status file that [status] describes; None where there is no such table, or nothing to tell."""
        return encode_status(self.description, self.options, report, key, stem)

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        """Yield the messages of a file in order, each as soon as its records are read. Raises: OSError alone."""
        for found in self.understand(file, stamp):
            yield found.outcome

    def understand(self, file: Blob, stamp: Stamp) -> Iterator[Found]:
        """Yield what `decode` does, with how it came about. Raises: OSError alone."""
        empty = True
        try:
            for group in read_groups(file, self.description, self.options.max_text_bytes):
                empty = False
                yield self._found(group, stamp)
        except BadRecord as e:
            yield Found(None, None, self._bad(e.mistake, None))
            return
        if empty and self.description.format.trailer is None:
            text, mend = "the file has no record", "write one, or mend the description"
            yield Found(None, None, Bad(f"{self.name}.empty", 0, 1, text, mend))

    def _found(self, group: Group, stamp: Stamp) -> Found:
        if group.mistake is not None:
            return Found(group, None, self._bad(group.mistake, group.item))
        mapper = Mapper(self.description, self.tables, self.options, stamp, group)
        try:
            return Found(group, mapper, mapper.part())
        except BadRecord as e:
            return Found(group, mapper, self._bad(e.mistake, group.item))

    def _bad(self, mistake: Mistake, item: tuple[bytes | Span, ...] | None) -> Bad:
        rule = f"{self.name}.{mistake.rule}"
        return Bad(rule, mistake.offset, mistake.line, mistake.text, mistake.mend, mistake.found[:200], item)
