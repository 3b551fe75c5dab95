"""records: files of records whose form an operator describes in TOML, for systems that nobody has a codec for.

Fields between signs, in fixed positions (also EBCDIC, with zoned, packed and binary numbers), `Name: value` lines,
JSON, JSON lines and XML; see `description` for what can be said, `expression` for how fields are put together. The same
description reads and writes: what is written is read back as the same message, as far as the notes on it say.

Promises: a record that cannot be used is a Bad of its own, with its place and its mend, and is kept alone; of a file
that is to have a trailer and lacks it nothing is taken; fields, depth, records and messages are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from pydantic import Field

from connectors.filedrop.formats.records.description import Description, checks
from connectors.filedrop.formats.records.expression import Tables
from connectors.filedrop.formats.records.mapping import Mapper
from connectors.filedrop.formats.records.reading import Group, read_groups
from connectors.filedrop.formats.records.record import BadRecord, Mistake
from connectors.filedrop.formats.values import Bad, FormatSettings, Options, Part, Span, Stamp
from gateway.contract import Blob, read_toml


class RecordsSettings(FormatSettings):
    """What can be set for records alone."""

    describe: str = Field(description="The file that describes the records (TOML), relative to the configuration file.")


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
