"""A payload that is a mail as JSON, by the published schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.document import Document, File, Person, read_document
from connectors.mqtt.incoming.case import Case, Encoded, base64_lines
from connectors.mqtt.incoming.opening import Fields
from connectors.mqtt.incoming.values import Incoming
from connectors.mqtt.properties import date_field
from gateway.contract import Mailbox


def read(case: Case) -> Incoming:
    """Return the mail. Raises: BadPayload."""
    document = read_document(case.arrived.payload)
    authors, fields = _authors(case, document)
    sender = document.sender.mailbox if document.sender is not None and len(authors) > 1 else authors[0]
    message_id, thread = case.identifiers(
        document.message_id or "", " ".join(document.in_reply_to), " ".join(document.references)
    )
    to, cc, bcc = (_boxes(people) for people in (document.to, document.cc, document.bcc))
    shown = to or (case.opening.people if not cc else [])
    fields += [("To", shown), ("Cc", cc), ("Reply-To", _boxes(document.reply_to))]
    if not shown and not cc:
        fields.append(("To", "undisclosed-recipients:;"))
    fields += [("Subject", case.subject(document.subject)), ("Date", _date(case, document)), *thread]
    fields += [(name, value) for name, values in document.headers.items() for value in values]
    fields += case.others()
    named = [box.address for box in (*to, *cc, *bcc)]
    content = _content(case, document, fields)
    is_theirs = case.opening.sender is None and bool(document.from_)
    return case.incoming(sender.address, named, content, message_id, names_author=is_theirs)


def _authors(case: Case, document: Document) -> tuple[list[Mailbox], Fields]:
    """Return who wrote it, and the fields that say so; whom the payload names beside the rule's sender is kept."""
    said = _boxes(document.from_)
    if case.opening.sender is None and said:
        fields: Fields = [("From", said)]
        if document.sender is not None:
            fields.append(("Sender", [document.sender.mailbox]))
        if len(said) > 1 and document.sender is None:
            mend = "name one, or say who sent it in sender"
            raise BadPayload("json.no-sender", "several authors, and nobody sent it", "/from", mend)
        return said, fields
    return case.opening.author, [("From", case.opening.author), ("X-Original-From", said)]


def _boxes(people: Sequence[Person]) -> list[Mailbox]:
    return [person.mailbox for person in people]


def _date(case: Case, document: Document) -> str:
    return date_field(document.date) if document.date else case.date


def _content(case: Case, document: Document, fields: Fields) -> list[bytes]:
    text, html = document.text, document.html
    subtype: Literal["plain", "html"] = "plain"
    if text is None and html is not None:
        text, html, subtype = html, None, "html"
    has_page = html is not None or subtype == "html"
    pictures = [one for one in document.attachments if has_page and one.content_id and one.content is not None]
    files = [one for one in document.attachments if one.content is not None and one not in pictures]
    elsewhere = [one for one in document.attachments if one.content is None]
    for one in elsewhere:
        fields.append(("X-MQTT-Attachment", f"{one.name or 'file'}; topic={one.topic or 'unknown'}"))
    return case.content(
        fields,
        text or "",
        [_encoded(one, n) for n, one in enumerate(files, 1)],
        subtype=subtype,
        html=html,
        pictures=[(*_encoded(one, n), one.content_id) for n, one in enumerate(pictures, 1)],
    )


def _encoded(one: File, n: int) -> Encoded:
    return one.name or f"attachment-{n}", one.type, base64_lines(one.content or b"")
