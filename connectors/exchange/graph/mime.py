"""Mails as Graph takes them: the properties and files of a message, or its octets as a draft. Pure, but for Blobs.

Graph makes a draft of whatever it is given as MIME, and what was a draft once stays one. What is to lie in a mailbox
as received mail is therefore made of properties, by one request, with the flags of a message that came in (0x0E07):
one request is done or not done, where a draft, its copy and the draft's end could break apart. What that costs is told
in notes: Exchange writes the header and the parts anew from its properties.

A signed or encrypted mail keeps its octets: it becomes the one attachment of an item of S/MIME's class, which is how
Exchange itself keeps it.

Sources: learn.microsoft.com "Create message", "message resource type"; MS-OXCMAIL §2.2 (header fields and
properties), MS-OXPROPS, MS-OXOSMIME §2.1; graph-docs #14843 (a message created from MIME is a draft).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message as Entity
from typing import Any, Final

import orjson

from connectors.exchange.graph import passes
from connectors.exchange.graph.delta import time
from connectors.exchange.graph.told import told
from connectors.exchange.graph.upload import FROM, LEAST, Attachment
from connectors.exchange.organisation import New
from connectors.exchange.properties import DELIVERY, PROPERTY_SET
from gateway.contract import Attachment as File
from gateway.contract import Content, Fate, Mailbox, Memo, Note, memo

KEY: Final = f"String {{{PROPERTY_SET}}} Name {DELIVERY}"
KEY_FIELD: Final = "X-Gatepost-Delivery"
"""The field of a draft that holds its key from its first moment: a draft cannot be given properties while it is
made."""
_FIELDS: Final = "String {00020386-0000-0000-c000-000000000046} Name "
"""PS_INTERNET_HEADERS: header fields that have no property of their own (MS-OXCMAIL §2.2.3)."""
KEY_OF_DRAFT: Final = _FIELDS + KEY_FIELD
_FLAGS, _RECEIVED, _SENT = "Integer 0x0E07", "SystemTime 0x0E06", "SystemTime 0x0039"
_HEADER, _IN_REPLY_TO, _REFERENCES = "String 0x007D", "String 0x1042", "String 0x1039"
_CLASS, _SENSITIVITY = "String 0x001A", "Integer 0x0036"
CAME_IN: Final = "4"
"""mfSubmitted, and neither mfUnsent nor mfRead (MS-OXPROPS PidTagMessageFlags): DavMail 6.8 writes the same."""

REQUEST_OCTETS: Final = 3_500_000
"""Of one request's body; Graph takes 4 MB."""
TEXT_OCTETS: Final = 1_500_000
"""Of the text that is shown, in JSON; the rest is room for the properties."""
SHOWN_CHARS: Final = 50_000
_BETWEEN: Final = 300
DRAFT_OCTETS: Final = 2_600_000
"""Of a mail that fits into one request as base64."""
RECIPIENTS: Final = 500
"""Of one message (learn.microsoft.com "message resource type")."""
ADDRESS_CHARS: Final = 320
"""RFC 3696, erratum 1690, counts 254; Exchange keeps more."""
FIELDS: Final = 60
FIELD_CHARS: Final = 8_000
HEADER_CHARS: Final = 64_000

_OWN: Final = frozenset(
    b"from sender to cc bcc reply-to subject date message-id in-reply-to references importance sensitivity "
    b"mime-version content-type content-transfer-encoding content-disposition content-id content-description "
    b"content-language content-location content-md5 disposition-notification-to x-priority".split()
)
"""Fields that have a property of their own, and those of MIME, which Exchange writes by what it makes."""
_PEOPLE: Final = (b"from", b"sender", b"to", b"cc", b"bcc", b"reply-to")
_TRACE: Final = (
    b"received", b"dkim-", b"domainkey-", b"arc-", b"authentication-results", b"delivered-to"
)  # fmt: skip
"""What tells of the way a mail has come is kept in the whole header alone, and the newest of it in fields of ours."""
_NAME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9-]{0,77}")
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_SENSITIVITIES: Final = {"personal": "1", "private": "2", "company-confidential": "3"}
_SMIME: Final = {
    "multipart/signed": "IPM.Note.SMIME.MultipartSigned",
    "application/pkcs7-mime": "IPM.Note.SMIME",
    "application/x-pkcs7-mime": "IPM.Note.SMIME",
}

_ANEW: Final = Note(
    Fate.MAPPED,
    "the header",
    "Exchange writes it anew from its properties; as it came it is kept as the item's Internet headers",
)
_PARTS: Final = Note(
    Fate.MAPPED,
    "the MIME structure",
    "Exchange makes parts anew from the text and the files, with a charset and a last line end of its own choice",
)
_SEALED: Final = Note(Fate.KEPT, "the signed or encrypted content", "it is kept whole, in the form of S/MIME items")
_PLAIN: Final = Note(Fate.DROPPED, "the text beside the HTML", "a message of Exchange has one text, and keeps the HTML")
_ENCLOSED: Final = Note(Fate.MAPPED, "an enclosed message or report", "it becomes a file")
_ADDRESSES: Final = Note(
    Fate.DROPPED, "addresses beyond ASCII", "Graph may refuse a mail for them; they are in the item's Internet headers"
)
_CUT: Final = Note(
    Fate.MAPPED, "the text", "it is too long for one request of Graph's: it is cut, and stands whole in a file"
)
_MARK: Final = Note(Fate.MAPPED, "the header", f"{KEY_FIELD} is added, by which what was sent is found again")


@dataclass(frozen=True, slots=True)
class Built:
    """A message for Graph. `inside` go with it, `later` follow one by one."""

    body: dict[str, Any]
    inside: tuple[Attachment, ...]
    later: tuple[Attachment, ...]
    notes: tuple[Note, ...]

    def json(self) -> dict[str, Any]:
        """Return the JSON of the request that creates it."""
        return {**self.body, "attachments": [file_json(each) for each in self.inside]} if self.inside else self.body


def build(new: New) -> Built:
    """Return a message made of properties. Blocks on a Blob. Raises: OSError."""
    content = memo(new.mime)
    kind = _type(new.mime)
    sealed = _SMIME.get(kind)
    text, is_html, notes = _text(content)
    notes += told(content, _TRACE)
    page = content.page if is_html else None
    whole: Attachment | None = None
    if sealed is None and len(text) > TEXT_OCTETS // 6 and len(orjson.dumps(text)) > TEXT_OCTETS:
        text, is_html, whole = _cut(text, is_html)
        notes.append(_CUT)
    body: dict[str, Any] = {
        "subject": content.subject,
        "body": {"contentType": "html" if is_html else "text", "content": text},
        "isRead": new.is_read,
        **_people(content, notes),
        **_wishes(content),
    }
    message_id = content.get(b"message-id")
    if message_id:
        body["internetMessageId"] = message_id[:998]
    if new.categories:
        body["categories"] = list(new.categories)
    if new.flagged:
        body["flag"] = {"flagStatus": "flagged"}
    properties = {KEY: new.key} if new.key else {}
    if not new.draft:
        properties[_FLAGS] = CAME_IN
    properties |= _properties(new, content, notes)
    if sealed is not None:
        properties[_CLASS] = sealed
        files = [_sealed(new.mime, content, kind)]
        notes.append(_SEALED)
    else:
        notes.append(_PARTS)
        files = list(_files(content, page, text if is_html else "", notes))
        if whole is not None:
            files.insert(0, whole)
    body["singleValueExtendedProperties"] = [{"id": name, "value": value} for name, value in properties.items()]
    inside, later = _shared_out(files, len(orjson.dumps(body)))
    return Built(body, inside, later, tuple(dict.fromkeys(notes)))


def draft(new: New) -> bytes | None:
    """Return the body of the request that makes a draft of a mail's octets; None where it would be too large."""
    if new.mime.size > DRAFT_OCTETS:
        return None
    mime = new.mime
    mark = b""
    if new.key:
        mark = f"{KEY_FIELD}: {new.key}\r\n".encode("ascii")
        mark += b"".join(b"%s: %s\r\n" % each for each in passes.kept(mime))
    fields = mime.fields
    if not all(each.name and not passes.is_kept(each.name) for each in fields):
        # Exchange takes a line that is no field for the header's end, and who the mail is to may stand behind it.
        head = mime.head
        kept = (each for each in fields if each.name and not passes.is_kept(each.name))
        mime = mime.with_head(b"".join(head[each.start : each.end] for each in kept))
    marked = mime.with_prefix(mark) if mark else mime
    return base64.b64encode(b"".join(marked.chunks()))


DRAFT_NOTES: Final = (_MARK,)


def is_sealed(content: Content) -> bool:
    """Whether it is signed or encrypted as a whole, so that no part may be taken out of it."""
    return _type(content) in _SMIME


def file_json(each: Attachment) -> dict[str, Any]:
    """Return an attachment that goes with its octets."""
    return {
        "@odata.type": "#microsoft.graph.fileAttachment",
        **each.told(),
        "contentBytes": base64.b64encode(each.octets).decode("ascii"),
    }


def _type(content: Content) -> str:
    value = content.get(b"content-type") or b""
    return value.split(b";", 1)[0].strip().lower().decode("latin-1")


def _text(content: Memo) -> tuple[str, bool, list[Note]]:
    """Return the text to show, whether it is HTML, and what that costs."""
    notes = [_ANEW]
    if content.page is None:
        return _clean(content.text, notes), False, notes
    beside = _are_alternatives(content.content)
    if not beside and _has_plain(content.content):
        return _clean(content.text, notes), False, notes
    if beside:
        notes.append(_PLAIN)
    return _clean(content.html, notes), True, notes


def _clean(text: str, notes: list[Note]) -> str:
    """Return a text whose characters can be in an item, its lines ended by CRLF."""
    clean = _CONTROL.sub("\ufffd", text)
    if clean != text:
        notes.append(Note(Fate.MAPPED, "control characters of the text", "an item cannot hold them"))
    return clean.replace("\n", "\r\n")


def _cut(text: str, is_html: bool) -> tuple[str, bool, Attachment]:
    """Return what is shown of a long text, as plain text, and the whole as a file."""
    name, kind = ("text.html", "text/html") if is_html else ("text.txt", "text/plain")
    start = "" if is_html else text[:SHOWN_CHARS]
    shown = f"{start}\r\n\r\n[This text is long: the whole of it is in the file {name}.]\r\n"
    octets = text.encode("utf-8", "replace")
    if LEAST - _BETWEEN < len(octets) < LEAST:
        # Too large for a request with what is around it, and too small for an upload session.
        octets += b"\r\n" * _BETWEEN
    return shown, False, Attachment(name, kind, octets)


def _are_alternatives(content: Content) -> bool:
    """Whether the first plain text and the first page are two forms of one thing.

    Where not, the page is a file of its own, and taking it for the text would lose the text.
    """
    return any(_holds_both(each) for each in _entities(content) if each.get_content_type() == "multipart/alternative")


def _has_plain(content: Content) -> bool:
    return any(each.get_content_type() == "text/plain" and not each.is_multipart() for each in _entities(content))


def _entities(content: Content) -> list[Entity]:
    """Return a mail's entities; none where its octets are too odd for the library's parser."""
    try:
        return list(message_from_bytes(b"".join(content.chunks())).walk())
    except (RecursionError, ValueError, LookupError, TypeError, KeyError):
        return []


def _holds_both(alternatives: Entity) -> bool:
    kinds = {each.get_content_type() for each in alternatives.walk() if each.get_content_disposition() != "attachment"}
    return {"text/plain", "text/html"} <= kinds


def _people(content: Memo, notes: list[Note]) -> dict[str, Any]:
    """Return sender and recipients."""
    found: dict[str, Any] = {}
    boxes = {name: _taken(content.mailboxes(name, ("smtp",)), notes) for name in _PEOPLE}
    senders = boxes[b"sender"] or boxes[b"from"]
    if boxes[b"from"]:
        found["from"] = _person(boxes[b"from"][0])
    if senders:
        found["sender"] = _person(senders[0])
    left = RECIPIENTS
    for name, key in ((b"to", "toRecipients"), (b"cc", "ccRecipients"), (b"bcc", "bccRecipients")):
        if len(boxes[name]) > left:
            why = f"a message holds {RECIPIENTS}; all are in the item's Internet headers"
            notes.append(Note(Fate.DROPPED, f"{len(boxes[name]) - left} recipients of the header", why))
        found[key] = [_person(each) for each in boxes[name][:left]]
        left -= len(found[key])
    if boxes[b"reply-to"]:
        found["replyTo"] = [_person(each) for each in boxes[b"reply-to"][:RECIPIENTS]]
    return found


def _taken(boxes: Sequence[Mailbox], notes: list[Note]) -> list[Mailbox]:
    """Return those that Graph takes: one that it does not would cost the whole mail."""
    found = [each for each in boxes if each.address.value.isascii() and len(each.address.value) <= ADDRESS_CHARS]
    if len(found) < len(boxes):
        notes.append(_ADDRESSES)
    return found


def _person(box: Mailbox) -> dict[str, Any]:
    address = box.address.value
    return {"emailAddress": {"name": box.name or address, "address": address}}


def _wishes(content: Memo) -> dict[str, Any]:
    """Return importance and the wish for a read receipt."""
    found: dict[str, Any] = {}
    importance = content.get(b"importance").strip().lower()
    if importance not in ("high", "low"):
        importance = {"1": "high", "2": "high", "4": "low", "5": "low"}.get(content.get(b"x-priority")[:1], "")
    if importance:
        found["importance"] = importance
    if content.get(b"disposition-notification-to"):
        found["isReadReceiptRequested"] = True
    return found


def _properties(new: New, content: Memo, notes: list[Note]) -> dict[str, str]:
    """Return what has no name of its own in Graph."""
    found: dict[str, str] = {}
    if new.received_at is not None and not new.draft:
        found[_RECEIVED] = time(new.received_at)
    sent = content.date
    if sent is not None and 0 <= sent < 4_000_000_000 and not new.draft:
        found[_SENT] = time(sent)
    for name, key in ((b"in-reply-to", _IN_REPLY_TO), (b"references", _REFERENCES)):
        value = content.get(name)[:FIELD_CHARS]
        if value:
            found[key] = value
    sensitivity = _SENSITIVITIES.get(content.get(b"sensitivity").strip().lower())
    if sensitivity:
        found[_SENSITIVITY] = sensitivity
    head = _CONTROL.sub("\ufffd", content.content.head.decode("utf-8", "replace"))
    if not new.draft and head:
        found[_HEADER] = head[:HEADER_CHARS]
    found |= dict(_other_fields(content, notes))
    for field, octets in passes.kept(content.content):
        found[_FIELDS + field.decode("ascii")] = _CONTROL.sub("\ufffd", octets.decode("utf-8", "replace"))
    return found


def _other_fields(content: Memo, notes: list[Note]) -> Iterator[tuple[str, str]]:
    """Yield the fields that have no property of their own, each name once: a property has one value."""
    taken: set[bytes] = set()
    left_out: list[str] = []
    for written, _ in content.content.named:
        name = written.lower()
        if name in _OWN or name.startswith(_TRACE) or passes.is_kept(name) or not _NAME.fullmatch(written):
            continue
        if name in taken or len(taken) >= FIELDS:
            left_out.append(written.decode("ascii"))
            continue
        taken.add(name)
        yield _FIELDS + written.decode("ascii"), content.get(name)[:FIELD_CHARS]
    if left_out:
        names = ", ".join(dict.fromkeys(left_out))[:200]
        notes.append(Note(Fate.DROPPED, f"repeated fields: {names}", "an item keeps the first of a name"))


def _files(content: Memo, page: File | None, html: str, notes: list[Note]) -> Iterator[Attachment]:
    """Yield the files, but for the page that is the text."""
    for each in content.attachments:
        if each is page:
            continue
        cid = each.content_id[:200] or None
        inline = cid is not None and f"cid:{cid}" in html
        if each.type.startswith("message/"):
            notes.append(_ENCLOSED)
        elif each.type == "text/calendar":
            notes.append(Note(Fate.MAPPED, "an invitation", "it becomes a file, and the item no meeting request"))
        name = _CONTROL.sub("", each.name)[:255] or "attachment"
        yield Attachment(name, each.type, b"".join(each.octets()), cid, inline)


def _sealed(mime: Content, content: Memo, kind: str) -> Attachment:
    """Return the one attachment of an S/MIME item (MS-OXOSMIME §2.1.3): the entity with its fields where it is signed
    in the clear, else what is in its body."""
    if kind == "multipart/signed":
        head = mime.head
        fields = b"".join(head[f.start : f.end] for f in mime.fields if f.name.startswith(b"content-"))
        return Attachment("smime.p7m", kind, fields + b"\r\n" + b"".join(mime.body_chunks()))
    return Attachment("smime.p7m", kind, b"".join(piece for each in content.attachments[:1] for piece in each.octets()))


def _shared_out(files: Sequence[Attachment], used: int) -> tuple[tuple[Attachment, ...], tuple[Attachment, ...]]:
    """Return the files that fit into the request, and those that follow it."""
    inside: list[Attachment] = []
    later: list[Attachment] = []
    for each in files:
        size = len(each.octets) * 4 // 3 + 1000
        if len(each.octets) < FROM and used + size <= REQUEST_OCTETS:
            used += size
            inside.append(each)
        else:
            later.append(each)
    return tuple(inside), tuple(later)
