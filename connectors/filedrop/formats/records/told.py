"""What described records do not carry of a message, or carry in another form, beyond what their rendering tells."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from email.utils import parsedate_to_datetime
from typing import Final

from connectors.filedrop.formats.losses import envelope_losses, field_losses, path_losses, reference_losses
from connectors.filedrop.formats.records.attributes import Attributes
from gateway.contract import Fate, Note, Notify

_WHY: Final = "the description has no field for it"
_CARRIED: Final = {
    "from": "From",
    "subject": "subject",
    "body": "text",
    "from_name": "name of the sender",
    "message_id": "Message-ID",
    "in_reply_to": "In-Reply-To",
    "date": "date",
}
"""What a message may have that a description may have no field for, and how it is called in notes."""
_ALWAYS: Final = (b"from", b"subject", b"message-id", b"in-reply-to", b"references", b"date")
"""Header fields that have notes of their own."""
_URGENT: Final = (b"priority", b"importance", b"x-priority")


def told(attributes: Attributes, used: Collection[str]) -> Iterator[Note]:
    """Yield the notes; `used` are the names of [write] whose values stand in the file. Raises: OSError."""
    yield from _of_envelope(attributes, used)
    if attributes.d.map.message is not None:
        return
    for target, what in _CARRIED.items():
        if target not in used and f"{target}_file" not in used and any(attributes.lookup(target)):
            yield Note(Fate.DROPPED, what, _WHY)
    yield from _of_people(attributes, used)
    yield from _of_header(attributes, used)
    yield from _of_text(attributes)
    yield from _of_files(attributes, used)


def _of_envelope(attributes: Attributes, used: Collection[str]) -> Iterator[Note]:
    parcel, items = attributes.parcel, attributes.items
    if "sender" not in used:
        author = attributes.author
        yield from path_losses(parcel, author.address if author is not None else parcel.envelope.reverse_path, _WHY)
    told = {"priority"} if "priority" in used else set()
    wishes = {item.notify for item in items} - {Notify.UNSET}
    if "receipt" in used:
        told.add("NOTIFY")
        if wishes:
            yield Note(
                Fate.MAPPED, "envelope NOTIFY", f"the receipt that is asked for: {attributes.receipt() or 'none'}"
            )
    yield from envelope_losses(parcel, items, _WHY, told=told)


def _of_people(attributes: Attributes, used: Collection[str]) -> Iterator[Note]:
    if len(attributes.boxes(b"from")) > 1:
        yield Note(Fate.DROPPED, "further authors", "a record names one sender")
    for target in ("to", "cc"):
        boxes = attributes.people[target]
        if target not in used and attributes.d.map.recipients is not None and boxes:
            yield Note(Fate.DROPPED, target.title(), _WHY)
        elif f"{target}_name" not in used and any(box.name for box in boxes):
            yield Note(Fate.DROPPED, f"names in {target.title()}", _WHY)


def _of_header(attributes: Attributes, used: Collection[str]) -> Iterator[Note]:
    content = attributes.memo.content
    carried = {*_ALWAYS, b"to", b"cc", *(name[7:].encode() for name in used if name.startswith("header."))}
    if "priority" in used:
        carried.update(_URGENT)
    yield from field_losses(content, carried, _WHY)
    answered = attributes.memo.get(b"in-reply-to").split()[:1] if "in_reply_to" in used else ()
    yield from reference_losses(content, answered, "the description has a field for the one message that is answered")
    if "date" in used and _has_zone(attributes.memo.get(b"date")):
        yield Note(Fate.MAPPED, "time zone of the date", "the field tells the moment, in a zone of its own")


def _has_zone(text: str) -> bool:
    try:
        return bool(parsedate_to_datetime(text[:100]).utcoffset())
    except (ValueError, TypeError, OverflowError, IndexError):
        return False


def _of_text(attributes: Attributes) -> Iterator[Note]:
    body, text = attributes.d.map.body, attributes.memo.text
    if body is not None and body.kind == "html" and text.strip():
        yield Note(Fate.MAPPED, "text: written as HTML", "which shows blanks side by side, and empty lines, as one")
    if attributes.d.format.kind == "xml" and text[:1] in (" ", "\t"):
        yield Note(Fate.MAPPED, "blanks at the start of the text", "those around an element's text say nothing in XML")
    if "\n\n" in text.strip("\n") and any(one.each == "line" for one in attributes.d.type):
        yield Note(Fate.MAPPED, "empty lines of the text", "a record without text is passed over by who reads it")
    if text.endswith("\n\n"):
        yield Note(Fate.MAPPED, "empty lines at the end of the text", "a text ends with its last line")


def _of_files(attributes: Attributes, used: Collection[str]) -> Iterator[Note]:
    if attributes.memo.attachments and ("attachment" in used or "attachment_data" in used):
        if "attachment_name" not in used:
            yield Note(Fate.DROPPED, "names of attachments", _WHY)
        if "attachment_type" not in used:
            yield Note(Fate.MAPPED, "media types of attachments", "a reader takes them from the names")
