"""What the formats of mailboxes and mail folders have in common: the envelope of a message that was delivered.

In: the reverse-path is that of a Return-Path among the fields that a delivering program puts on top; else that of the
From_ line, where there is one; else the header's sender. The recipients are those of the field that `recipient_field`
names, on top of the message too; else those the connector is set up with; else those of To, Cc and Bcc.
Return-Path, the recipient field and Bcc go: they tell the envelope, which is not everybody's to read. So do fields
that are the mailbox's own notes. A Message-ID and a Date are added where they are missing; every other octet stays.
Out: a Return-Path and a Delivered-To (RFC 9228) stand on top, so that whoever reads has the envelope.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field, field_validator

from connectors.filedrop.append import AppendLayout
from connectors.filedrop.files import claimed
from connectors.filedrop.formats.addresses import ListError, in_network, read_list, read_one, write_one
from connectors.filedrop.formats.header_envelope import (
    Header,
    HeaderLine,
    Mistake,
    bad_address,
    completed,
    recipients_of_header,
    sender_of_header,
    unique,
)
from connectors.filedrop.formats.losses import envelope_losses
from connectors.filedrop.formats.values import Bare, FormatSettings, Options, Stamp
from connectors.filedrop.names import is_safe
from gateway.contract import Address, AddressError, Content, Fate, Item, Note, Parcel, Recipient
from gateway.formats.from_line import FromLine
from gateway.mailbox_files import REAL, Operations
from gateway.mailbox_lock import LOCK_SUFFIX, Locking, MailboxLock

_ON_TOP: Final = frozenset(
    (
        b"return-path",
        b"delivered-to",
        b"x-original-to",
        b"envelope-to",
        b"x-envelope-to",
        b"delivery-date",
        b"x-envelope-from",
    )
)
"""What programs put on top of a message that they deliver."""

_NOBODY: Final = frozenset(("", "-", "???@???", "nobody@nowhere"))
"""What programs put into a From_ line where they know no sender: Mozilla, Eudora, nmh."""

_NAME: Final = re.compile(r"[!-9;-~]{1,76}")


class MailboxSettings(FormatSettings):
    """The options of all formats of mailboxes."""

    recipient_field: str = Field(
        "",
        description="A header field, such as Delivered-To, X-Original-To or Envelope-To, that names the recipients "
        "where the program that delivers puts it on top of each message. Empty: `recipients`, or To, Cc and Bcc.",
    )
    domain: str = Field(
        "", description="What is put behind a sender without a domain, such as root; empty: the gateway's hostname."
    )

    @field_validator("recipient_field")
    @classmethod
    def _is_field(cls, value: str) -> str:
        if value and _NAME.fullmatch(value) is None:
            raise ValueError(f"{value!r} is no name of a header field, such as Delivered-To")
        return value


class SharedSettings(MailboxSettings):
    """The options of mailboxes that are one file."""

    file: str = Field(
        "mbox",
        description="The mailbox in the outbox that messages are appended to: a file's name. Empty: messages are put "
        "as files of their own, each a mailbox.",
    )
    locks: tuple[Locking, ...] = Field(
        ("fcntl", "dotlock"),
        description="How the mailbox is locked, both ways: fcntl, flock, dotlock (a file NAME.lock), in this order. "
        "Take what the programs that share it take.",
    )
    lock_wait_s: float = Field(30.0, ge=0, le=3600, description="How long to wait for the lock before the next retry.")

    @field_validator("file")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if value and (not is_safe(value) or value.endswith(LOCK_SUFFIX)):
            raise ValueError(f"{value!r} is no name of a file in the outbox")
        return value


def guarding(path: Path, settings: SharedSettings) -> tuple[Locking, ...]:
    """Return the locks that keep others off a mailbox while it is claimed, and once more while it is finished.

    Nobody looks for a claimed one by its name: there the locks on the open file count, and a lock file would only be
    left behind by a crash.
    """
    if claimed(path) is None:
        return settings.locks
    return tuple(each for each in settings.locks if each != "dotlock")


class SharedMailbox(Bare):
    """What the codecs of mailboxes that are one file have in common; they say what parts messages by `joint`."""

    __slots__ = ()
    options: Options
    settings: SharedSettings
    extension: ClassVar[str] = ""
    many_a_file: ClassVar[bool] = True
    joint: Callable[[bytes], bytes]

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
        settings = self.settings
        if not settings.file:
            return None
        return AppendLayout(folder, settings.file, settings.locks, settings.lock_wait_s, self.joint, ops)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What was found: the envelope, and the header to put in place of the file's; None where it stays."""

    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    head: bytes | None


def delivered(
    header: Header,
    from_line: FromLine | None,
    stamp: Stamp,
    options: Options,
    settings: MailboxSettings,
    notes: Collection[bytes] = (),
) -> Delivered:
    """Read a delivered message's envelope. `notes` are the fields that belong to the mailbox. Raises: Mistake."""
    top = _top(header.lines)
    wanted = settings.recipient_field.lower().encode()
    dropped = {b"bcc", b"return-path", *notes}
    named = next((line for line in top if line.name == wanted), None) if wanted else None
    reverse_path = _reverse_path(header.lines, top, from_line, options, settings)
    if named is not None:
        listed = _listed(named, options)
        if not listed:
            text, mend = f"no address in {settings.recipient_field}", "name the recipient there, or leave the field out"
            raise Mistake("no-recipient", named.start, text, mend, named.value)
        recipients = unique((Recipient(address) for address in listed), options)
        dropped.add(wanted)
    else:
        recipients = recipients_of_header(header.lines, options)
    kept = [line for line in header.lines if line.name not in dropped]
    return Delivered(reverse_path, recipients, completed(header, kept, stamp, options))


def _top(lines: Sequence[HeaderLine]) -> Sequence[HeaderLine]:
    count = next((i for i, line in enumerate(lines) if line.name not in _ON_TOP), len(lines))
    return lines[:count]


def _reverse_path(
    lines: Sequence[HeaderLine],
    top: Sequence[HeaderLine],
    from_line: FromLine | None,
    options: Options,
    settings: MailboxSettings,
) -> Address | None:
    path = next((line for line in top if line.name == b"return-path"), None)
    if path is not None:
        text = path.text.strip()
        if text in ("<>", ""):
            return None
        found = _address(text.removeprefix("<").removesuffix(">"), options, settings)
        if found is not None:
            return found
    if from_line is not None and from_line.sender not in _NOBODY:
        if from_line.is_null:
            return None
        # packf of nmh leaves the brackets of a Return-Path.
        found = _address(from_line.sender.removeprefix("<").removesuffix(">"), options, settings)
        if found is not None:
            return found
    return sender_of_header(lines, options)


_BARE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def _address(text: str, options: Options, settings: MailboxSettings) -> Address | None:
    """Read a sender; a bare word, as local programs have it, is one of our domain. None where it says nothing."""
    tries = [text]
    if _BARE.fullmatch(text):
        tries.append(f"{text}@{settings.domain or options.hostname}")
    for each in tries:
        try:
            return read_one(each, options.network)
        except AddressError:
            continue
    return None


def _listed(line: HeaderLine, options: Options) -> list[Address]:
    try:
        return [in_network(spec, options.network) for spec in read_list(line.text)]
    except ListError:
        pass  # a network whose addresses are no addr-specs: the whole value is one
    except AddressError as e:
        raise bad_address(line, e) from None
    try:
        return [read_one(line.text, options.network)]
    except AddressError as e:
        raise Mistake("bad-address", line.start, f"{e.message} ({e.rule})", "mend the field", line.value) from None


def envelope_fields(parcel: Parcel, items: Sequence[Item], options: Options) -> bytes:
    """Return the fields that tell the envelope, in CRLF; none where `envelope_headers` is off."""
    if not options.envelope_headers:
        return b""
    sender = parcel.envelope.reverse_path
    lines = ["Return-Path: <" + ("" if sender is None else write_one(sender, options.network)) + ">"]
    lines += ["Delivered-To: " + write_one(item.address, options.network) for item in items]
    return b"".join(line.encode("utf-8", "surrogateescape") + b"\r\n" for line in lines)


def envelope_notes(parcel: Parcel, items: Sequence[Item], options: Options) -> tuple[Note, ...]:
    """Return what is to be told of the envelope: the fields have its addresses, and nothing has the rest."""
    told = envelope_losses(parcel, items, "a mailbox has no place for it")
    if options.envelope_headers:
        return told
    return (Note(Fate.DROPPED, "reverse-path and recipients of the envelope", "envelope_headers is off"), *told)


def without(content: Content, names: Collection[bytes]) -> tuple[Content, tuple[Note, ...]]:
    """Return a content without these fields, and what is to be told of it."""
    head = content.head
    gone = [f for f in content.fields if f.name in names]
    if not gone:
        return content, ()
    kept = b"".join(head[f.start : f.end] for f in content.fields if f.name not in names)
    why = "the mailbox keeps its own notes in a field of this name"
    told = {f.name.decode("ascii"): Note(Fate.DROPPED, f"field {f.name.decode('ascii')}", why) for f in gone}
    return content.with_head(kept), tuple(told.values())


def holds_line(content: Content, begin: bytes, *, whole: bool = False) -> bool:
    """Tell whether a line begins with these octets, or is them. Reads a Blob through. Raises: OSError."""
    pattern = re.compile(rb"\n" + re.escape(begin) + (rb"(?:\r?\n|\Z)" if whole else b""))
    before = b"\n"
    for piece in content.chunks():
        octets = before + piece
        if pattern.search(octets):
            return True
        before = octets[-len(begin) - 2 :]
    return False
