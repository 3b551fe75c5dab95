"""MMDF: a mailbox of many messages in one file, each between two lines of four ^A.

In and out as mbox has it (see there), but that nothing is quoted, and that an envelope sender stands in Return-Path
alone: a From_ line that a program wrote into the frame is read, and not written. A line of four ^A in a message gets a
blank behind it, and that is told.
Source: mmdf(5) of mutt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from connectors.filedrop.formats.header_envelope import Mistake, header_octets, read_header
from connectors.filedrop.formats.losses import LAST_LINE, ends_in_newline
from connectors.filedrop.formats.mailbox import (
    SharedMailbox,
    SharedSettings,
    delivered,
    envelope_fields,
    envelope_notes,
    holds_line,
    without,
)
from connectors.filedrop.formats.values import Bad, Encoded, Options, Part, Span, Stamp
from gateway.contract import Blob, Capabilities, Fate, Item, Note, Parcel
from gateway.formats.flags import STATUS_FIELDS
from gateway.formats.lines import to_crlf
from gateway.formats.mmdf import RULE, Frame, Junk, joint, scan, written

_ESCAPED: Final = Note(Fate.MAPPED, "lines of four ^A", "each got a blank behind it, or it would end the message")
_SHOWN: Final = 200


class MmdfSettings(SharedSettings):
    """The options of MMDF mailboxes."""


@dataclass(frozen=True, slots=True)
class Mmdf(SharedMailbox):
    """The codec of MMDF mailboxes."""

    name: str
    options: Options
    settings: MmdfSettings
    Settings: ClassVar[type[MmdfSettings]] = MmdfSettings
    joint = staticmethod(joint)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(header_networks=(self.options.network,))

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        """Yield the messages of a mailbox. Raises: OSError alone."""
        for entry in scan(file):
            if isinstance(entry, Junk):
                yield self._bad(file, entry, "junk", "text outside the frames of four ^A", "put it between two of them")
            elif not entry.is_whole:
                text, mend = "the file ends within a message", "let its writer finish, or end it with a line of four ^A"
                yield self._bad(file, entry, "no-end", text, mend)
            else:
                yield self._message(file, entry, stamp)

    def _bad(self, file: Blob, entry: Frame | Junk, rule: str, text: str, mend: str) -> Bad:
        end = entry.next if isinstance(entry, Frame) else entry.end
        shown = file.read(entry.start, min(_SHOWN, end - entry.start)).lstrip(RULE).split(b"\n")[0]
        return Bad(f"{self.name}.{rule}", entry.start, entry.line, text, mend, shown, (Span(entry.start, end),))

    def _message(self, file: Blob, frame: Frame, stamp: Stamp) -> Part | Bad:
        item = (Span(frame.start, frame.next),)
        written_at = frame.from_line.at if frame.from_line is not None else None
        token = Stamp(f"{stamp.token}.{frame.start}", written_at or stamp.at, stamp.name)
        start = file.read(frame.head, min(header_octets(self.options), frame.end - frame.head))
        try:
            header = read_header(start, self.options)
            found = delivered(header, frame.from_line, token, self.options, self.settings, STATUS_FIELDS)
        except Mistake as mistake:
            line = frame.line + 1 + (frame.from_line is not None)
            return replace(mistake.bad(self.name, start, frame.head, line), item=item)
        content: tuple[bytes | Span, ...] = (Span(frame.head, frame.end, to_crlf),)
        if found.head is not None:
            made = b"".join(to_crlf(iter((found.head,))))
            content = (made, Span(frame.head + len(header.head), frame.end, to_crlf))
        return Part(found.reverse_path, found.recipients, content, item=item)

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return what is appended for these recipients."""
        content, notes = without(parcel.content, STATUS_FIELDS)
        notes = envelope_notes(parcel, items, self.options) + notes
        content = content.with_prefix(fields) if (fields := envelope_fields(parcel, items, self.options)) else content
        if not ends_in_newline(content):
            notes += (LAST_LINE,)
        if holds_line(content, RULE[:-1], whole=True):
            notes += (_ESCAPED,)
        return Encoded(written(content), notes=notes)
