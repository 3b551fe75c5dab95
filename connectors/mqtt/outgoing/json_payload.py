"""A mail as JSON, by the published schema."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final

from connectors.mqtt.document import (
    DATE,
    FIELD_NAME,
    ID,
    MAX_FIELDS,
    MAX_IDS,
    MAX_PEOPLE,
    write_address,
    write_document,
)
from connectors.mqtt.outgoing.files import inline_files, publish_files
from connectors.mqtt.outgoing.losses import note_fields, note_files, note_octets, note_path, people, sender, titled
from connectors.mqtt.outgoing.values import Letter
from connectors.mqtt.properties import clean
from connectors.mqtt.wire.values import Properties
from gateway.contract import Fate

_KEYS: Final = (
    *("from", "sender", "to", "cc", "reply-to", "subject", "date", "message-id", "in-reply-to", "references"),
    "x-mqtt-property",
)
_NO_PLACE: Final = "the JSON has no key for it"


def encode(letter: Letter) -> None:
    """Add the publications. Raises: Unpublishable, OSError."""
    authors = _people(letter, b"from")
    document: dict[str, Any] = {
        "subject": clean(letter.memo.subject),
        "from": authors[0] if len(authors) == 1 else authors,
        "to": _people(letter, b"to"),
        "cc": _people(letter, b"cc"),
        "reply_to": _people(letter, b"reply-to"),
        "date": _date(letter),
        "message_id": _first_id(letter, b"message-id"),
        "in_reply_to": _ids(letter, b"in-reply-to"),
        "references": _ids(letter, b"references"),
        "headers": _headers(letter),
    }
    senders = _people(letter, b"sender")
    if senders:
        document["sender"] = senders[0]
    document |= _texts(letter)
    if letter.rule.attachments == "drop":
        note_files(letter, 'attachments = "drop"')
    else:
        make = inline_files if letter.rule.attachments == "inline" else publish_files
        document["attachments"] = make(letter)
    note_fields(letter, _is_carried, _NO_PLACE)
    note_octets(letter)
    if not letter.rule.envelope:
        note_path(letter, partial(sender, letter), "the JSON shows From; set envelope")
    properties = Properties(
        payload_format=1, message_expiry_s=letter.expiry_s, content_type="application/json",
        user=letter.pairs,
    )  # fmt: skip
    letter.out(letter.topic, write_document(document), properties)


def _texts(letter: Letter) -> dict[str, str]:
    memo = letter.memo
    made = {"text": letter.text(memo.text)}
    if memo.page is not None:
        made["html"] = letter.text(memo.html)
    return made


def _people(letter: Letter, name: bytes) -> list[dict[str, str]]:
    boxes = people(letter, name)
    if len(boxes) > MAX_PEOPLE:
        letter.drop(f"{titled(name)}: {len(boxes) - MAX_PEOPLE} addresses", f"at most {MAX_PEOPLE} are told")
    made = []
    for box in boxes[:MAX_PEOPLE]:
        person = {"address": write_address(box.address)}
        if box.name:
            person["name"] = clean(box.name)
        made.append(person)
    return made


def _date(letter: Letter) -> str:
    value = letter.value(b"date")
    if not value:
        return ""
    try:
        at = parsedate_to_datetime(value[:100])
        # RFC 3339 §4.3: a zone that nobody knows is -00:00, as it is -0000 in mail
        made = at.isoformat() if at.tzinfo is not None else at.isoformat() + "-00:00"
    except (ValueError, TypeError, OverflowError, IndexError):
        made = ""
    if not DATE.fullmatch(made):
        letter.drop(f"Date {value[:60]}", "no date from 1900 to 2099 can be read from it")
        return ""
    return made


def _ids(letter: Letter, name: bytes) -> list[str]:
    value = letter.value(name)
    words = value.replace("><", "> <").split()
    found = [word for word in words if ID.fullmatch(word)]
    kept = found if len(found) <= MAX_IDS else [found[0], *found[-MAX_IDS + 1 :]]
    if kept != words:
        letter.note(Fate.MAPPED if kept else Fate.DROPPED, titled(name), "not all of it is identifiers")
    return kept


def _first_id(letter: Letter, name: bytes) -> str:
    found = _ids(letter, name)
    return found[0] if found else ""


def _is_carried(name: str) -> bool:
    return name in _KEYS or FIELD_NAME.fullmatch(name) is not None


def _headers(letter: Letter) -> dict[str, Any]:
    content = letter.parcel.content
    spelt: dict[bytes, str] = {}
    for one in content.fields:
        name = one.name.decode("latin-1")
        if name and name not in _KEYS and FIELD_NAME.fullmatch(name) and one.name not in spelt:
            spelt[one.name] = content.head[one.start : one.value_start].rstrip(b": \t").decode("latin-1")
    if len(spelt) > MAX_FIELDS:
        letter.drop(f"{len(spelt) - MAX_FIELDS} header fields", f"at most {MAX_FIELDS} are told")
    made: dict[str, Any] = {}
    for lower, name in [*spelt.items()][:MAX_FIELDS]:
        values = [clean(value) for value in letter.values(lower)]
        if len(values) > MAX_FIELDS:
            letter.drop(f"{len(values) - MAX_FIELDS} of the fields {name}", f"at most {MAX_FIELDS} are told")
        made[name] = values[0] if len(values) == 1 else values[:MAX_FIELDS]
    return made
