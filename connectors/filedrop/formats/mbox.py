"""mbox: a mailbox of many messages in one file, shared with the programs that deliver into it and read it.

In: the whole mailbox is taken, by a rename under its lock; each message is one of ours. A message that cannot be taken
is kept alone, as a mailbox of its own. Lines that end in LF come out with CRLF, what the dialect quotes is unquoted,
and every other octet stays, so that signatures hold.
Out: messages are appended to one file under its lock, with Return-Path and Delivered-To on top unless
`envelope_headers` is off. Status fields and Content-Length, which programs would take for the mailbox's own, are left
out, and told.
Sources: mbox(5) of mutt; RFC 4155.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from pydantic import Field

from connectors.filedrop.formats.addresses import write_one
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
from gateway.formats.from_line import NULL_SENDER, write
from gateway.formats.mbox import Dialect, Entry, Junk, joint, reading, scan, written

_QUOTED: Final = Note(
    Fate.MAPPED, "lines that begin with From", "each got a > before it, which readers of this dialect leave there"
)
_LEAVES: Final = (Dialect.MBOXO, Dialect.MBOXCL, Dialect.RFC4155)


class MboxSettings(SharedSettings):
    """The options of mbox alone."""

    dialect: Dialect = Field(
        Dialect.MBOXRD,
        description="How lines that look like the start of a message are kept apart: mboxrd (nothing is lost), mboxo, "
        "mboxcl, mboxcl2 (by Content-Length), rfc4155 (7-bit).",
    )


@dataclass(frozen=True, slots=True)
class Mbox(SharedMailbox):
    """The codec of mbox files."""

    name: str
    options: Options
    settings: MboxSettings
    Settings: ClassVar[type[MboxSettings]] = MboxSettings
    joint = staticmethod(joint)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            header_networks=(self.options.network,), eight_bit=self.settings.dialect is not Dialect.RFC4155
        )

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        """Yield the messages of a mailbox. Raises: OSError alone."""
        for entry in scan(file, self.settings.dialect):
            if isinstance(entry, Junk):
                yield self._junk(file, entry)
            else:
                yield self._message(file, entry, stamp)

    def _junk(self, file: Blob, junk: Junk) -> Bad:
        return Bad(
            f"{self.name}.no-from-line",
            junk.start,
            junk.line,
            "the mailbox does not begin with a From line",
            "put a line `From sender Tue Nov 24 01:02:03 2026` before the message",
            file.read(junk.start, min(200, junk.end - junk.start)).split(b"\n")[0],
            (Span(junk.start, junk.end),),
        )

    def _message(self, file: Blob, entry: Entry, stamp: Stamp) -> Part | Bad:
        item = (Span(entry.start, entry.next),)
        token = Stamp(f"{stamp.token}.{entry.start}", entry.from_line.at or stamp.at, stamp.name)
        start = file.read(entry.head, min(header_octets(self.options), entry.end - entry.head))
        octets = _after_uucp(start if entry.newline == b"\n" else start.replace(b"\r", b"\n"))
        at = entry.head + len(start) - len(octets)
        try:
            header = read_header(octets, self.options)
            found = delivered(header, entry.from_line, token, self.options, self.settings, STATUS_FIELDS)
        except Mistake as mistake:
            line = entry.line + 1 + start.count(entry.newline, 0, at - entry.head)
            return replace(mistake.bad(self.name, octets, at, line), item=item)
        content: tuple[bytes | Span, ...] = (Span(at, entry.end, entry.filter),)
        if found.head is not None:
            made = b"".join(reading(self.settings.dialect)(iter((found.head,))))
            content = (made, Span(at + len(header.head), entry.end, entry.filter))
        attributes = {"loose-from-lines": str(entry.loose)} if entry.loose else {}
        return Part(found.reverse_path, found.recipients, content, attributes=attributes, item=item)

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return what is appended for these recipients."""
        content, notes = without(parcel.content, STATUS_FIELDS)
        notes = envelope_notes(parcel, items, self.options) + notes
        content = content.with_prefix(fields) if (fields := envelope_fields(parcel, items, self.options)) else content
        if not ends_in_newline(content):
            notes += (LAST_LINE,)
        if self.settings.dialect in _LEAVES and holds_line(content, b"From "):
            notes += (_QUOTED,)
        sender = parcel.envelope.reverse_path
        line = write(None if sender is None else write_one(sender, self.options.network), parcel.arrived_at)
        if self.settings.dialect is Dialect.RFC4155 and sender is None:
            line = write(f"{NULL_SENDER}@{self.options.hostname}", parcel.arrived_at)
        return Encoded(written(content, line, self.settings.dialect), notes=notes)


def _after_uucp(start: bytes) -> bytes:
    """Return a message's first octets without lines `>From `, by which UUCP hosts kept envelopes on their way."""
    at = 0
    while start.startswith(b">From ", at):
        end = start.find(b"\n", at)
        at = len(start) if end < 0 else end + 1
    return start[at:] if at else start
