"""The codec of SMF files: both versions are read, the one it is named for is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from connectors.filedrop.formats.header_envelope import Mistake
from connectors.filedrop.formats.smf.batch import Stretch, stretches
from connectors.filedrop.formats.smf.grammar import parse
from connectors.filedrop.formats.smf.notice import notice
from connectors.filedrop.formats.smf.people import postmaster
from connectors.filedrop.formats.smf.reader import read
from connectors.filedrop.formats.smf.settings import MAX_RECIPIENTS, MAX_SUBJECT, SMF70, SmfSettings
from connectors.filedrop.formats.smf.writer import write
from connectors.filedrop.formats.values import Bad, Bare, Encoded, FormatSettings, Options, Part, Span, Stamp
from connectors.filedrop.names import dos_stem
from gateway.contract import Blob, Capabilities, Item, Parcel, Report

RULES = "smf"


@dataclass(frozen=True, slots=True)
class Smf(Bare):
    """The codec of smf70 and smf71. Raises: ValueError where the setting `postmaster` is no address."""

    name: str
    options: Options
    settings: SmfSettings
    Settings: ClassVar[type[FormatSettings]] = SmfSettings
    extension: ClassVar[str] = ""

    def __post_init__(self) -> None:
        postmaster(self.options, self.settings)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            header_networks=(self.options.network,),
            mime=False,
            html=False,
            charset=self.settings.charset,
            max_subject_chars=MAX_SUBJECT if self.name == SMF70 else None,
            wrap_columns=self.settings.wrap_columns,
        )

    @property
    def one_a_recipient(self) -> bool:
        return self.settings.recipients == "to"

    @property
    def max_recipients_a_file(self) -> int | None:
        return MAX_RECIPIENTS if self.name == SMF70 else None

    def file_stem(self, stem: str) -> str:
        """Return the name of a file: MHS knows names of 8 characters."""
        return dos_stem(stem)

    @property
    def many_a_file(self) -> bool:
        return bool(self.settings.separator)

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        """Yield the messages of a file, or what is wrong with each. Raises: OSError alone."""
        separator = self.settings.separator.encode("ascii")
        number = 0
        for stretch in stretches(file, separator):
            most = self.options.max_header_bytes + self.options.max_text_bytes
            octets = file.read(stretch.start, min(stretch.end - stretch.start, most + 1))
            if separator and not octets.strip(b" \t\r\n\x1a"):
                continue  # empty lines behind the last separator
            number += 1
            yield self._message(octets, stretch, stamp, number, most)
        if number == 0:
            yield Mistake("empty", 0, "the file holds no message", "write a message into it").bad(RULES, b"")

    def _message(self, octets: bytes, stretch: Stretch, stamp: Stamp, number: int, most: int) -> Part | Bad:
        item = (Span(stretch.start, stretch.after),) if self.many_a_file else None
        blank = len(octets) - len(octets.lstrip(b"\r\n")) if self.many_a_file else 0
        try:
            if len(octets) > most:
                text = f"the message has more than {most} octets beside its attachments"
                raise Mistake("too-long", most, text, "send the text as an attachment")
            parsed = parse(octets[blank:], self.settings.charset, self.options.max_header_bytes)
            if number > 1:
                stamp = Stamp(f"{stamp.token}-{number}", stamp.at, stamp.name)
            part = read(parsed, stamp, self.options, self.settings)
        except Mistake as mistake:
            base, line = stretch.start + blank, stretch.line + octets.count(b"\n", 0, blank)
            bad = mistake.bad(RULES, octets[blank:], base, line)
            return replace(bad, item=item)
        return replace(part, item=item)

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return the file for these recipients. Raises: Refused, OSError where the content cannot be read."""
        return write(self.name, parcel, items, stem, self.options, self.settings)

    def status(self, report: Report, key: str, stem: str) -> Encoded | None:
        """Return the notification about a message that came in by this folder."""
        return notice(self.name, report, key, self.options, self.settings)
