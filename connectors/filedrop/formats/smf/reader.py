"""From an SMF message to one of the gateway's: envelope, fields, text and attachments.

What has no field of RFC 5322 is kept as `X-SMF-` and its keyword; header lines that are no fields as `X-SMF-Unread`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from mimetypes import MimeTypes
from typing import Final

from connectors.filedrop.formats.header_envelope import Mistake, unique
from connectors.filedrop.formats.smf.dates import read_date
from connectors.filedrop.formats.smf.grammar import Field, Parsed
from connectors.filedrop.formats.smf.ids import references, to_internet
from connectors.filedrop.formats.smf.people import read_people
from connectors.filedrop.formats.smf.settings import MAX_ATTACHMENTS, SmfSettings
from connectors.filedrop.formats.values import Beside, Options, Part, Stamp
from connectors.filedrop.names import is_safe
from gateway.contract import Mailbox, Notify, Recipient, compose

HIDDEN: Final = ("bcc", "blind-copies-to")
RESERVED: Final = frozenset(
    (
        *("to", "copies-to", "cc", "send-to", "from", "subject", "date", "x-to", "x-copies-to", *HIDDEN),
        *("message-id", "mhs-id", "in-reply-to", "reply-to", "priority", "importance", "sensitivity"),
        *("attachment", "attachment-name", "attachment-type", "attachment-encoding"),
        *("return-notification-to", "return-notification-reason", "unread"),
    )
)
"""Keywords with a meaning of their own: no field of an internet message is ever written as one of them by its name."""

PRIORITIES: Final = {"low": ("non-urgent", -4), "normal": ("normal", 0), "high": ("urgent", 4), "urgent": ("urgent", 4)}
"""The Priority field and the envelope's priority (RFC 6758, RFC 6710 on MIXER) of a word."""
IMPORTANCES: Final = ("low", "normal", "high")
SENSITIVITIES: Final = {
    "personal": "Personal",
    "private": "Private",
    "confidential": "Company-Confidential",
    "company-confidential": "Company-Confidential",
}

_TYPE: Final = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+", re.IGNORECASE)
_TYPES: Final = MimeTypes(())
"""The names that the library itself knows; what a machine's own files say would make one message two."""


@dataclass(frozen=True, slots=True)
class _Parcel:
    """One attachment as its fields describe it."""

    file: Field | None = None
    name: str = ""
    type: str = ""


def read(parsed: Parsed, stamp: Stamp, options: Options, settings: SmfSettings) -> Part:
    """Return the message. Raises: Mistake."""
    sender = _sender(parsed, options)
    to, copies = (_people(parsed, options, *names) for names in (("to",), ("copies-to", "cc")))
    recipients = _recipients(parsed, to, copies, options)
    notice = parsed.first("return-notification-to")
    notify = Notify.UNSET
    reverse_path = sender.address
    if notice is not None:
        notify = Notify.SUCCESS | Notify.FAILURE
        # Reports go to the reverse-path, and this is whom they are wanted by.
        reverse_path = next((box.address for box in read_people(notice, options)), reverse_path)
    is_notice = parsed.first("return-notification-reason") is not None
    shown_to, shown_copies = (_people(parsed, options, name) for name in ("x-to", "x-copies-to"))
    if not (shown_to or shown_copies):
        shown_to, shown_copies = to, copies
    id_field = parsed.first("message-id", "mhs-id")
    fields: list[tuple[str, str | Sequence[Mailbox]]] = [
        *_dates(parsed, stamp),
        ("From", [sender]),
        ("To", shown_to or "undisclosed-recipients:;"),
        ("Cc", shown_copies),
        ("Reply-To", _people(parsed, options, "reply-to")),
        ("Subject", _value(parsed, "subject")),
        ("Message-ID", to_internet(id_field.value if id_field else stamp.token, options.hostname)),
        *_replies(parsed, options),
        *_urgency(parsed),
        *([("Auto-Submitted", "auto-replied")] if is_notice else []),
        *_others(parsed, id_field),
    ]
    attachments = [_beside(parcel, settings) for parcel in _parcels(parsed, settings)]
    content = compose(fields, parsed.text, attachments, hostname=options.hostname)
    return Part(
        None if is_notice else reverse_path,
        tuple(replace(recipient, notify=notify) for recipient in recipients),
        tuple(content),
        priority=PRIORITIES.get(_value(parsed, "priority").lower(), ("", 0))[1],
        key=id_field.value if id_field else "",
    )


def _value(parsed: Parsed, *names: str) -> str:
    found = parsed.first(*names)
    return "" if found is None else found.value


def _people(parsed: Parsed, options: Options, *names: str) -> list[Mailbox]:
    return [box for field in parsed.all(*names) for box in read_people(field, options)]


def _sender(parsed: Parsed, options: Options) -> Mailbox:
    field = parsed.first("from")
    found = read_people(field, options) if field is not None else []
    if not found:
        offset = field.offset if field is not None else 0
        raise Mistake("no-sender", offset, "no From with an address", "name the sender as From: user@workgroup")
    return found[0]


def _recipients(parsed: Parsed, to: list[Mailbox], copies: list[Mailbox], options: Options) -> tuple[Recipient, ...]:
    """Return those of Send-To, which is the envelope; else those set for the folder, or all who are named."""
    boxes = _people(parsed, options, "send-to")
    if not boxes and options.recipients:
        return tuple(Recipient(address) for address in options.recipients)
    boxes = boxes or [*to, *copies, *_people(parsed, options, *HIDDEN)]
    if not boxes:
        at = next((f.offset for f in parsed.fields if f.name in ("to", "send-to")), 0)
        raise Mistake("no-recipient", at, "no address in To or Send-To", "name a recipient as To: user@workgroup")
    return unique((Recipient(box.address) for box in boxes), options)


def _dates(parsed: Parsed, stamp: Stamp) -> list[tuple[str, str]]:
    given = _value(parsed, "date")
    date = read_date(given)
    unread = [("X-SMF-Date", given)] if given and not date else []
    return [("Date", date or formatdate(stamp.at)), *unread]


def _replies(parsed: Parsed, options: Options) -> list[tuple[str, str]]:
    given = _value(parsed, "in-reply-to")
    ids = [to_internet(word, options.hostname) for word in references(given)]
    if given and not ids:
        return [("X-SMF-In-reply-to", given)]
    return [("In-Reply-To", " ".join(ids)), ("References", " ".join(ids))]


def _urgency(parsed: Parsed) -> list[tuple[str, str]]:
    """Return Priority, Importance and Sensitivity (RFC 2156) for the words that they have; other words as they are."""
    made = []
    for name, known in (
        ("Priority", {word: field for word, (field, _) in PRIORITIES.items()}),
        ("Importance", {word: word for word in IMPORTANCES}),
        ("Sensitivity", SENSITIVITIES),
    ):
        given = _value(parsed, name.lower())
        field = known.get(given.lower())
        if field is not None:
            made.append((name, field))
        elif given and given.lower() != "normal":
            made.append((f"X-SMF-{name}", given))
    return made


def _others(parsed: Parsed, id_field: Field | None) -> list[tuple[str, str]]:
    made = []
    for field in parsed.fields:
        if field.name not in RESERVED or (field.name == "mhs-id" and field is not id_field):
            is_free = field.name.startswith("x-") and not field.name.startswith("x-smf-")
            made.append((field.keyword if is_free else f"X-SMF-{field.keyword}", field.value))
    reason = parsed.first("return-notification-reason")
    if reason is not None:
        made.append((f"X-SMF-{reason.keyword}", reason.value))
    return made + [("X-SMF-Unread", line) for line in parsed.skipped]


def _parcels(parsed: Parsed, settings: SmfSettings) -> list[_Parcel]:
    """Return the attachments. Their other fields stand behind `Attachment`, or before it; the first one tells."""
    fields = [f for f in parsed.fields if f.value and f.name.startswith("attachment")]
    has_files = any(f.name == "attachment" for f in fields)
    file_first = bool(fields) and fields[0].name == "attachment"
    made: list[_Parcel] = []
    current = _Parcel()
    for field in fields:
        match field.name:
            case "attachment":
                if file_first:
                    made.append(_Parcel(field))
                else:
                    made.append(replace(current, file=field))
                    current = _Parcel()
            case "attachment-name" if not has_files:  # Mailer2000 names the file itself, by its path
                made.append(_Parcel(field, field.value))
            case "attachment-name" | "attachment-type":
                described = _described(made[-1] if file_first else current, field)
                if file_first:
                    made[-1] = described
                else:
                    current = described
    if len(made) > MAX_ATTACHMENTS:
        file = made[MAX_ATTACHMENTS].file
        text = f"more than {MAX_ATTACHMENTS} attachments"
        raise Mistake("too-many-attachments", file.offset if file else 0, text, "send them in several messages")
    return made


def _described(parcel: _Parcel, field: Field) -> _Parcel:
    if field.name == "attachment-name":
        return replace(parcel, name=field.value)
    return replace(parcel, type=field.value)


def _beside(parcel: _Parcel, settings: SmfSettings) -> tuple[str, str, Beside]:
    """Return an attachment as `compose` takes it. Raises: Mistake where its file's name could lead elsewhere."""
    assert parcel.file is not None
    file = parcel.file.value
    if parcel.file.name == "attachment-name":
        # The folder of such a path is one of the other system's; the file is looked for in ours.
        file = re.split(r"[/\\:]", file)[-1]
    if not is_safe(file):
        raise Mistake(
            "bad-attachment-path",
            parcel.file.offset,
            "the attachment's file name is not one of a file in the parcel folder",
            "name the file alone, without folder or drive",
            parcel.file.value.encode("utf-8", "replace"),
        )
    name = re.split(r"[/\\]", parcel.name)[-1].strip() or file
    kind = parcel.type if _TYPE.fullmatch(parcel.type) else guessed(name)
    return name, kind, Beside(file, keep=settings.keep_parcels)


def guessed(name: str) -> str:
    """Return the media type that a file's name tells."""
    return _TYPES.guess_type(f"file:{name}")[0] or "application/octet-stream"
