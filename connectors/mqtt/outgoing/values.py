"""What stands between a mail and its publications."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from connectors.mqtt.bad import BadPayload
from connectors.mqtt.properties import User
from connectors.mqtt.rules import PublishRule
from connectors.mqtt.topics import TopicError, check_topic
from connectors.mqtt.wire.values import Outgoing, Properties
from gateway.contract import Attachment, Fate, Item, Memo, Note, Parcel, Status

_PLAIN: Final = re.compile(rb"[ -~]*")
NUL: Final = Note(Fate.MAPPED, "NUL in the text", "a text of MQTT has none; U+FFFD stands in its place")


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
    user: User = field(default_factory=User)
    notes: list[Note] = field(default_factory=list)
    outs: list[Outgoing] = field(default_factory=list)
    _raw: dict[bytes, list[bytes]] | None = None

    @property
    def topic(self) -> str:
        return self.item.address.value

    @property
    def files(self) -> list[Attachment]:
        return [one for one in self.memo.attachments if one is not self.memo.page]

    def values(self, name: bytes) -> tuple[str, ...]:
        """Return all fields of this (lower-case) name, decoded and on one line; of a header that is scanned once."""
        if self._raw is None:
            head = self.parcel.content.head
            self._raw = {}
            for one in self.parcel.content.fields:
                self._raw.setdefault(one.name, []).append(head[one.value_start : one.end])
        raw = self._raw.get(name)
        if raw is None:
            return ()
        plain = [value.strip(b" \t\r\n") for value in raw]
        if all(_PLAIN.fullmatch(value) and b"=?" not in value for value in plain):
            return tuple(value.decode("ascii") for value in plain)
        return self.memo.get_all(name)

    def value(self, name: bytes) -> str:
        """Return the first field of this (lower-case) name, empty where there is none."""
        values = self.values(name)
        return values[0] if values else ""

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
