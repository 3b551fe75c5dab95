"""From one of the gateway's messages to an SMF file, with notes of what the file does not carry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import format_datetime, formatdate, parsedate_to_datetime
from typing import Final

from connectors.filedrop.formats.losses import envelope_losses, path_losses, reference_losses
from connectors.filedrop.formats.smf.grammar import EOL, clean, line, list_lines
from connectors.filedrop.formats.smf.ids import to_smf
from connectors.filedrop.formats.smf.people import is_renamed, postmaster, written
from connectors.filedrop.formats.smf.reader import IMPORTANCES, PRIORITIES, RESERVED, SENSITIVITIES, guessed
from connectors.filedrop.formats.smf.settings import (
    MAX_ATTACHMENTS,
    MAX_HEADER,
    MAX_LINE,
    SMF70,
    SmfSettings,
)
from connectors.filedrop.formats.values import Enclosure, Encoded, Options, Refused
from connectors.filedrop.names import dos_stem, safe_name
from gateway.contract import Address, Attachment, Fate, Item, Mailbox, Memo, Note, Notify, Parcel, Status, memo

_NAME: Final = 8
_MAX_LONG_NAME: Final = 200
_WIDE: Final = 1000
"""Characters of a list's line where the version has no limit."""
_MAX_NOTES: Final = 40
_MAX_OTHERS: Final = 200
"""Header fields beyond those with a keyword that are looked at: what a message may cost has a bound."""

_READ: Final = frozenset(
    (
        *(b"from", b"to", b"cc", b"bcc", b"subject", b"date", b"message-id", b"in-reply-to", b"reply-to"),
        *(b"priority", b"importance", b"sensitivity", b"mime-version"),
    )
)
"""Fields that have a keyword of their own, or say what the file shows itself."""


@dataclass(slots=True)
class _Sheet:
    """A file being made: its header lines, those that can be spared last, and what is to be told."""

    limit: int | None
    options: Options
    charset: str
    lines: list[str] = field(default_factory=list)
    spare: list[list[str]] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def put(self, keyword: str, value: str, *, can_be_spared: bool = False) -> None:
        if not clean(value):
            return
        made = line(keyword, value, self.limit)
        if can_be_spared:
            self.spare.append(made)
        else:
            self.lines += made

    def put_list(
        self, keyword: str, boxes: Iterable[Mailbox], *, can_be_spared: bool = False, are_recipients: bool = False
    ) -> None:
        """Put a list of people. Raises: Refused where a recipient's address cannot be written."""
        entries = []
        for box in boxes:
            entry = written(box, self.options, self.charset)
            if entry is None and are_recipients:
                raise Refused(Status("5.1.3", f"an SMF file has no way to write the address {box.address.value}"))
            if entry is None:
                self.note(Fate.DROPPED, f"{keyword}: {box.address.value[:80]}", "the format has no way to write it")
                continue
            entries.append(entry)
            if is_renamed(box):
                self.note(Fate.MAPPED, f"the name {box.name[:80]}", "brackets and over 66 characters have no place")
        made = list_lines(keyword, entries, self.limit or _WIDE)
        if can_be_spared and made:
            self.spare.append(made)
        else:
            self.lines += made

    def note(self, fate: Fate, what: str, why: str) -> None:
        note = Note(fate, what, why)
        if note not in self.notes and len(self.notes) < _MAX_NOTES:
            self.notes.append(note)


def write(
    name: str, parcel: Parcel, items: tuple[Item, ...], stem: str, options: Options, settings: SmfSettings
) -> Encoded:
    """Return the file for these recipients. Raises: Refused, OSError where the content cannot be read."""
    found = memo(parcel.content)
    sheet = _Sheet(MAX_LINE if name == SMF70 else None, options, settings.charset)
    shown = _put_people(sheet, name, parcel, found, items, options, settings)
    sheet.notes += path_losses(parcel, shown, "a file tells its sender alone")
    sheet.put("Subject", found.subject)
    sheet.put("Date", _date(found, parcel))
    sheet.put("Message-ID", to_smf(found.get(b"message-id"), options.hostname))
    _put_references(sheet, found, options)
    _put_urgency(sheet, found, parcel)
    enclosures = _put_attachments(sheet, found.attachments, stem)
    _put_others(sheet, found)
    _note_envelope(sheet, parcel, items)
    header = _header(sheet, name, settings)
    text = _text(sheet, found.text, settings)
    octets = header + EOL + text
    return Encoded(lambda: (octets,), enclosures, tuple(sheet.notes))


def _put_people(
    sheet: _Sheet,
    name: str,
    parcel: Parcel,
    found: Memo,
    items: tuple[Item, ...],
    options: Options,
    settings: SmfSettings,
) -> Address:
    """Put who it is from and for; return whom a reader takes for the sender, or wants notifications for."""
    networks = tuple(dict.fromkeys((options.network, "smtp")))
    to, copies = found.mailboxes(b"to", networks), found.mailboxes(b"cc", networks)
    known = {box.address: box for box in (*copies, *to)}
    own = [known.get(item.address, Mailbox("", item.address)) for item in items]
    authors = found.mailboxes(b"from", networks)
    author = authors[0] if authors else Mailbox("", parcel.envelope.reverse_path or postmaster(options, settings))
    if len(authors) > 1:
        sheet.note(Fate.DROPPED, "further authors", "a file names one sender")
    if settings.recipients == "send-to":
        sheet.put_list("To", to or own)
        sheet.put_list("Copies-to", copies)
        sheet.put_list("Send-To", own, are_recipients=True)
    else:
        sheet.put_list("To", own, are_recipients=True)
        if list(to) != own or copies:
            sheet.put_list("X-To", to, can_be_spared=True)
            sheet.put_list("X-Copies-to", copies, can_be_spared=True)
    if written(author, options, settings.charset) is None:
        sheet.note(Fate.DROPPED, f"From: {author.address.value[:80]}", "the format has no way to write it")
        author = Mailbox(author.name, postmaster(options, settings))
    sheet.put_list("From", [author])
    sheet.put_list("Reply-to", found.mailboxes(b"reply-to", networks))
    shown = author.address
    if any(Notify.SUCCESS in item.notify for item in items):
        shown = parcel.envelope.reverse_path or shown
        sheet.put_list("Return-notification-to", [Mailbox("", shown)])
    if name == SMF70:
        for box in own:
            user, _, workgroup = box.address.value.partition(" {")[0].partition("@")
            if box.address.network == "mhs" and max(len(user), len(workgroup)) > _NAME:
                why = "SMF-70 has names of 8 characters; the other system needs an alias"
                sheet.note(Fate.KEPT, box.address.value, why)
    return shown


def _date(found: Memo, parcel: Parcel) -> str:
    """Return the message's date in its own zone."""
    try:
        return format_datetime(parsedate_to_datetime(found.get(b"date")[:100]))
    except (ValueError, TypeError, OverflowError, IndexError):
        return formatdate(parcel.arrived_at)


def _put_references(sheet: _Sheet, found: Memo, options: Options) -> None:
    """Put what the message answers: In-Reply-To, or the last of References."""
    given = found.get(b"in-reply-to").split() or found.get(b"references").split()[-1:]
    ids = [to_smf(word, options.hostname) for word in given if word.startswith("<")]
    if len(ids) == 1:
        sheet.put("In-reply-to", ids[0])
    else:
        sheet.put("In-reply-to", " ".join(f"<{word}>" for word in ids))
    sheet.notes += reference_losses(found.content, given, "SMF names what a message answers, and not the whole thread")


def _put_urgency(sheet: _Sheet, found: Memo, parcel: Parcel) -> None:
    given = found.get(b"priority").lower()
    words = {field: word for word, (field, _) in PRIORITIES.items() if word != "urgent"}
    priority = words.get(given, "")
    if not priority and parcel.envelope.priority:
        priority = "high" if parcel.envelope.priority > 0 else "low"
    sheet.put("Priority", priority.title())
    wanted = parcel.envelope.priority
    if wanted and PRIORITIES.get(priority, ("", 0))[1] != wanted:
        sheet.note(Fate.MAPPED, f"envelope priority {wanted}", f"SMF has low, normal and high: {priority or 'normal'}")
    importance = found.get(b"importance").lower()
    sheet.put("Importance", importance.title() if importance in IMPORTANCES else "")
    sensitivity = {kept: word for word, kept in SENSITIVITIES.items() if "-" not in word}
    sheet.put("Sensitivity", sensitivity.get(found.get(b"sensitivity").title(), "").title())


def _put_attachments(sheet: _Sheet, attachments: tuple[Attachment, ...], stem: str) -> tuple[Enclosure, ...]:
    made = []
    for number, attachment in enumerate(attachments[:MAX_ATTACHMENTS], 1):
        name = dos_stem(f"{stem} parcel {number}")
        shown = safe_name(attachment.name, _MAX_LONG_NAME)
        sheet.lines.append(f"Attachment: {name}")
        sheet.put("Attachment-name", shown)
        if guessed(shown) != attachment.type:
            sheet.put("Attachment-type", attachment.type)
        if shown != attachment.name:
            sheet.note(Fate.MAPPED, f"the file name {attachment.name[:80]}", f"it is {shown}")
        made.append(Enclosure(name, attachment.octets))
    for attachment in attachments[MAX_ATTACHMENTS:]:
        sheet.note(Fate.DROPPED, attachment.name[:80], f"a message has at most {MAX_ATTACHMENTS} attachments")
    return tuple(made)


def _put_others(sheet: _Sheet, found: Memo) -> None:
    """Put what came from an SMF file, and free fields; tell of all others."""
    content = found.content
    head = content.head
    seen: set[bytes] = set()
    for one in content.fields:
        if not one.name or one.name in _READ or one.name.startswith(b"content-") or one.name in seen:
            continue
        if len(seen) >= _MAX_OTHERS:
            sheet.notes.append(
                Note(Fate.DROPPED, "further fields", f"a file has room for {_MAX_OTHERS} beside its own")
            )
            break
        seen.add(one.name)
        shown = head[one.start : one.value_start].rstrip(b": \t").decode("ascii", "replace")
        keyword = shown[len("X-SMF-") :] if one.name.startswith(b"x-smf-") else shown
        value = found.get(one.name)
        if not one.name.startswith(b"x-") or keyword.lower() in RESERVED or not keyword:
            if not (one.name == b"references" and found.get(b"in-reply-to")):
                sheet.note(Fate.DROPPED, shown, "SMF has no such field")
        elif sheet.limit is not None and len(keyword) + 2 + len(value) > sheet.limit:
            sheet.note(Fate.DROPPED, shown, f"it is over {sheet.limit} characters")
        else:
            sheet.put(keyword, value, can_be_spared=True)


def _note_envelope(sheet: _Sheet, parcel: Parcel, items: tuple[Item, ...]) -> None:
    sheet.notes += envelope_losses(parcel, items, "SMF has no place for it", told=("NOTIFY", "priority"))
    wishes = {item.notify for item in items}
    if any(Notify.SUCCESS in wish for wish in wishes):
        sheet.note(Fate.MAPPED, "envelope NOTIFY", "a notification is asked for, whatever comes of the message")
    elif Notify.NEVER in wishes:
        sheet.note(Fate.DROPPED, "NOTIFY=NEVER", "a file cannot ask for no notification")
    elif wishes - {Notify.UNSET}:
        sheet.note(Fate.DROPPED, "envelope NOTIFY", "a file asks for a notification of delivery, or for none")


def _header(sheet: _Sheet, name: str, settings: SmfSettings) -> bytes:
    """Return the header's octets, without fields that can be spared where it would be too long."""
    lines = ["SMF-70" if name == SMF70 else "SMF-71", *sheet.lines]
    size = sum(len(one) + len(EOL) for one in lines)
    for group in sheet.spare:
        more = sum(len(one) + len(EOL) for one in group)
        if name == SMF70 and size + more > MAX_HEADER:
            sheet.note(Fate.DROPPED, group[0].partition(":")[0], "SMF-70 has a header of 16 KiB at most")
            continue
        lines += group
        size += more
    if name == SMF70:
        if size > MAX_HEADER:
            sheet.note(Fate.KEPT, "header", "it is over the 16 KiB of SMF-70")
        for one in lines:
            if len(one) > MAX_LINE:
                sheet.note(
                    Fate.KEPT, one.partition(":")[0], f"a line of it is over the {MAX_LINE} characters of SMF-70"
                )
    return b"".join(one.encode(settings.charset, "replace") + EOL for one in lines)


def _text(sheet: _Sheet, text: str, settings: SmfSettings) -> bytes:
    # Control-Z ends a text file under DOS.
    if "\x1a" in text:
        sheet.note(Fate.MAPPED, "control characters: ^Z", "it would end the file; blanks stand for it")
    octets = text.replace("\x1a", " ").replace("\n", "\r\n").encode(settings.charset, "replace")
    if octets and not octets.endswith(EOL):
        octets += EOL  # a text file's last line ends too
    if not settings.separator:
        return octets
    mark = settings.separator.encode("ascii")
    lines = octets.split(EOL)
    for n, one in enumerate(lines):
        if one.rstrip(b" \t") == mark:
            lines[n] = b" " + one
            sheet.note(Fate.MAPPED, "text", "a line like the separator of messages got a blank before it")
    octets = EOL.join(lines)
    return octets + mark + EOL
