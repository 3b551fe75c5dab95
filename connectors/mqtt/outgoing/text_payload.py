"""A mail's text as a payload, and what a template makes of a mail; the rest of it in user properties."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.document import write_address
from connectors.mqtt.outgoing.files import files_beside
from connectors.mqtt.outgoing.losses import fields_note, note_page, note_path, people
from connectors.mqtt.outgoing.own_words import own_words
from connectors.mqtt.outgoing.values import REMEMBERED, Letter, Unpublishable, each_of, no_payload
from connectors.mqtt.properties import clean, field_names, now_utc
from connectors.mqtt.rules import PayloadTemplate
from connectors.mqtt.templates import Template
from connectors.mqtt.wire.values import Properties
from gateway.contract import Address, Fate, Note, Status

TEXT: Final = "text/plain; charset=utf-8"
_TOLD: Final = ("subject", "date", "message-id", "in-reply-to", "references")
_PEOPLE: Final = ("Sender", "To", "Cc", "Reply-To")
_TEXT_ALONE: Final = "the payload is the text alone"
NO_OWN_WORDS: Final = Status("5.6.3", "there is nothing in this message but what it quotes; write above that")
_NO_PROPERTY: Final = "no user property is for it"


def encode_text(letter: Letter) -> None:
    """Add the publications of the text. Raises: Unpublishable, OSError."""
    text = _words(letter)
    if letter.memo.page is not None:
        note_page(letter, _TEXT_ALONE)
    if letter.memo.attachments:
        files_beside(letter, f'{_TEXT_ALONE}; set attachments = "topics"')
    _publish(letter, text, TEXT)


def encode_template(letter: Letter, template: PayloadTemplate) -> None:
    """Add the publications of what a template makes. Raises: Unpublishable, OSError."""
    why = "the payload is what the template makes"
    files = files_beside(letter, f'{why}; set attachments = "topics"')
    note_page(letter, why)
    memo, item = letter.memo, letter.item
    authors = memo.mailboxes(b"from", ("smtp", "mqtt"))
    known: dict[str, Any] = {
        **letter.levels,
        "topic": letter.topic,
        "levels": letter.topic.split("/"),
        "subject": memo.subject,
        "text": _words(letter, is_used="text" in template.payload),
        "sender": write_address(authors[0].address) if authors else "",
        "sender_name": authors[0].name if authors else "",
        "recipient": write_address(item.original),
        "message_id": letter.message_id,
        "date": None if memo.date is None else now_utc(memo.date),
        "headers": _headers(letter),
        "attachments": files,
    }
    try:
        payload = compiled(template.payload).render(known)
    except BadPayload as bad:
        raise no_payload(bad) from None
    _publish(letter, payload, template.content_type or TEXT)


def _words(letter: Letter, *, is_used: bool = True) -> str:
    """Return the text; where the rule says so, without what it quotes.

    Raises: Unpublishable where nothing else is in it, and it `is_used`: an empty command is none.
    """
    text = letter.text(letter.memo.text)
    if letter.rule.quote == "keep":
        return text
    own = own_words(text)
    if is_used and not own and text.strip():
        raise Unpublishable(NO_OWN_WORDS)
    if own != text.replace("\r\n", "\n").strip("\n"):
        letter.drop("what the text quotes, and its signature", 'quote = "cut"')
    return own


def compiled(source: str) -> Template:
    """Return a template of payloads, compiled once. Raises: TemplateMistake."""
    made = _COMPILED.get(source)
    if made is None:
        made = _COMPILED[source] = Template(source, place="template.payload")
    return made


_COMPILED: Final[dict[str, Template]] = {}
"""By their source: an operator's configuration has few."""


def _headers(letter: Letter) -> dict[str, str]:
    made: dict[str, str] = {}
    for one in letter.parcel.content.fields:
        name = one.name.decode("latin-1")
        if name and name not in made:
            made[name] = letter.value(one.name)
    return made


@dataclass(frozen=True, slots=True)
class _Head:
    """What the names in a header come to: user properties of a name's first field, and of all; and what is not told."""

    ones: tuple[tuple[str, bytes], ...]
    added: tuple[tuple[str, bytes], ...]
    notes: tuple[Note, ...]


@lru_cache(maxsize=512)
def _head(written: bytes) -> _Head:
    """Return what header fields of these names, one a line as they are written and in this order, come to."""
    names = each_of(written)
    added = field_names(names)
    lower = {name.lower() for name in names}
    ones = [(name, name.encode()) for name in _TOLD if name != "message-id" and name.encode() in lower]
    notes = [Note(Fate.DROPPED, name, _NO_PROPERTY) for name in _PEOPLE if name.lower().encode() in lower]
    carried = {*_TOLD, "from", "x-mqtt-property", *(name.lower() for name in (*_PEOPLE, *added))}
    rest = fields_note(names, carried.__contains__, _NO_PROPERTY)
    pairs = tuple((name, name.lower().encode()) for name in added)
    return _Head(tuple(ones), pairs, (*notes, *([rest] if rest else ())))


def _publish(letter: Letter, payload: str, kind: str) -> None:
    author = _tell(letter)
    path = letter.parcel.envelope.reverse_path
    if not letter.rule.envelope and (author is None or path is None or author != path):
        note_path(letter, lambda: author, "user properties tell From; set envelope")
    kind = kind if kind is TEXT else clean(kind)
    properties = Properties(payload_format=1, message_expiry_s=letter.expiry_s, content_type=kind, user=letter.pairs)
    letter.out(letter.topic, payload.encode("utf-8", "replace"), properties)


def _tell(letter: Letter) -> Address | None:
    """Add the fields that user properties are for; return the author."""
    head = (_head if len(letter.names) <= REMEMBERED else _head.__wrapped__)(letter.names)
    for name, lower in head.ones:
        value = letter.value(lower)
        if value:
            letter.user.add(name, value)
    authors = people(letter, b"from")
    for box in authors:
        letter.user.add(
            "from", f"{box.name} <{write_address(box.address)}>" if box.name else write_address(box.address)
        )
    for name, lower in head.added:
        for value in letter.values(lower):
            letter.user.add(name, value)
    letter.notes += head.notes
    if len(authors) == 1 and authors[0].name:
        letter.note(Fate.MAPPED, "From", "a user property tells it, and is no sender to whoever reads it as mail")
    return authors[0].address if len(authors) == 1 else None
