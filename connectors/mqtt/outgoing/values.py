"""What stands between a mail and its publications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.properties import User
from connectors.mqtt.rules import PublishRule
from connectors.mqtt.topics import TopicError, check_topic
from connectors.mqtt.wire.values import Outgoing, Properties
from gateway.contract import Attachment, Fate, Item, Memo, Note, Parcel, Status

NUL: Final = Note(Fate.MAPPED, "NUL in the text", "a text of MQTT has none; U+FFFD stands in its place")


REMEMBERED: Final = 1000
"""Octets of names in a header up to which what they come to is remembered: mail of one way has the same ones."""


def each_of(names: bytes) -> list[bytes]:
    """Return names that are one a line."""
    return names.split(b"\n") if names else []


@lru_cache(maxsize=512)
def places_of(names: bytes) -> Mapping[bytes, Sequence[int]]:
    """Return where each name, in lower case, stands among these, which are one a line."""
    places: dict[bytes, list[int]] = {}
    for at, name in enumerate(each_of(names)):
        places.setdefault(name.lower(), []).append(at)
    return places


class Unpublishable(Exception):
    """A message that can't be published to a topic, now and ever: why, as what its recipient is settled with."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(str(status))


@dataclass(slots=True)
class Letter:
    """One mail on its way to one topic; `notes` and `outs` grow while its payload is made."""

    parcel: Parcel
    item: Item
    rule: PublishRule
    hostname: str
    memo: Memo
    levels: Mapping[str, str]
    expiry_s: int | None
    names: bytes
    """Of all header fields, one a line, as they are written."""
    places: Mapping[bytes, Sequence[int]]
    """Which of them have a (lower-case) name."""
    user: User = field(default_factory=User)
    notes: list[Note] = field(default_factory=list)
    outs: list[Outgoing] = field(default_factory=list)
    marks: tuple[tuple[str, str], ...] = ()
    """User properties that every publication has, behind all others."""
    _values: dict[bytes, tuple[str, ...]] = field(default_factory=dict)

    @property
    def topic(self) -> str:
        return self.item.address.value

    @property
    def files(self) -> list[Attachment]:
        return [one for one in self.memo.attachments if one is not self.memo.page]

    def values(self, name: bytes) -> tuple[str, ...]:
        """Return all fields of this (lower-case) name, decoded and on one line; of a header that is scanned once."""
        if name not in self.places:
            return ()
        known = self._values.get(name)
        if known is not None:
            return known
        plain = tuple([value.strip(b" \t\r\n").decode("latin-1") for value in self.written(name)])
        for value in plain:
            if not (value.isascii() and value.isprintable()) or "=?" in value:
                plain = self.memo.get_all(name)
                break
        self._values[name] = plain
        return plain

    def written(self, name: bytes) -> tuple[bytes, ...]:
        """Return the values of all fields of this (lower-case) name as they are written."""
        places = self.places.get(name)
        if places is None:
            return ()
        named = self.parcel.content.named
        return tuple([named[at][1] for at in places])

    def value(self, name: bytes) -> str:
        """Return the first field of this (lower-case) name, empty where there is none."""
        values = self.values(name)
        return values[0] if values else ""

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the user properties of a publication of the mail."""
        return (*self.user.pairs, *self.marks)

    @property
    def message_id(self) -> str:
        return self.value(b"message-id")

    def note(self, fate: Fate, what: str, why: str) -> None:
        self.notes.append(Note(fate, what, why))

    def drop(self, what: str, why: str) -> None:
        self.note(Fate.DROPPED, what, why)

    def text(self, text: str) -> str:
        """Return a text without what a payload of text must not hold."""
        if "\0" not in text:
            return text
        if NUL not in self.notes:
            self.notes.append(NUL)
        return text.replace("\0", "\ufffd")

    def out(self, topic: str, payload: bytes, properties: Properties) -> None:
        """Add a publication. Raises: Unpublishable."""
        if len(payload) > self.rule.max_payload_bytes:
            raise too_large(len(payload), self.rule.max_payload_bytes)
        try:
            check_topic(topic)
        except TopicError as e:
            raise Unpublishable(Status("5.1.3", f"this is no topic to publish to: {e.message}")) from None
        self.outs.append(Outgoing(topic, payload, self.rule.qos, self.rule.retain, properties))


def too_large(size: int, most: int) -> Unpublishable:
    return Unpublishable(Status("5.3.4", f"the message has {size} octets for this topic; the limit is {most}"))


def no_payload(bad: BadPayload) -> Unpublishable:
    """Return what a mail is settled with that a template makes nothing of."""
    return Unpublishable(Status("5.6.3", "the rule's template makes no payload of this message", cause=str(bad)))
