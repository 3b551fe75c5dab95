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
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from connectors.filedrop.append import AppendLayout
from connectors.filedrop.files import REAL, Operations
from connectors.filedrop.formats.addresses import write_one
from connectors.filedrop.formats.header_envelope import Mistake, header_octets, read_header
from connectors.filedrop.formats.losses import LAST_LINE, ends_in_newline
from connectors.filedrop.formats.mailbox import (
    SharedSettings,
    delivered,
    envelope_fields,
    envelope_notes,
    guarding,
    holds_line,
    without,
)
from connectors.filedrop.formats.values import Bad, Encoded, Options, Part, Span, Stamp
from connectors.filedrop.mailbox_lock import LOCK_SUFFIX, MailboxLock
from gateway.contract import Blob, Capabilities, Fate, Item, Note, Parcel, Report
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
class Mbox:
    """The codec of mbox files."""

    name: str
    options: Options
    settings: MboxSettings
    Settings: ClassVar[type[MboxSettings]] = MboxSettings
    extension: ClassVar[str] = ""
    many_a_file: ClassVar[bool] = True

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            header_networks=(self.options.network,), eight_bit=self.settings.dialect is not Dialect.RFC4155
        )

    @property
    def one_a_recipient(self) -> bool:
        return self.options.envelope_headers

    @staticmethod
    def is_message(name: str) -> bool:
        """Tell whether a file of this name is a mailbox, and no lock of one."""
        return not name.endswith(LOCK_SUFFIX)

    def guard(self, path: Path, ops: Operations = REAL) -> AbstractContextManager[object]:
        """Hold the mailbox's lock without waiting for it, as whoever takes the mailbox away has to.

        Raises, when entered: BlockingIOError where another holds it; FileNotFoundError; OSError.
        """
        return MailboxLock(path, guarding(path, self.settings), 0, ops)

    def layout(self, folder: Path, ops: Operations = REAL) -> AppendLayout | None:
        """Return the layout of the outbox where it is one file, appended to; None where it is files of their own."""
        if not self.settings.file:
            return None
        return AppendLayout(folder, self.settings.file, self.settings.locks, self.settings.lock_wait_s, joint, ops)

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

    def opening(self, encoded: Encoded) -> bytes:
        return b""

    def closing(self) -> bytes:
        return b""

    def status(self, report: Report, key: str, stem: str) -> Encoded | None:
        """Return None: a report goes to the sender as a message."""
        return None


def _after_uucp(start: bytes) -> bytes:
    """Return a message's first octets without lines `>From `, by which UUCP hosts kept envelopes on their way."""
    at = 0
    while start.startswith(b">From ", at):
        end = start.find(b"\n", at)
        at = len(start) if end < 0 else end + 1
    return start[at:] if at else start
