"""Mail as messages of topics: what is published of it, and what of it is not.

Promises: what is published as JSON is valid by the published schema; a topic is the recipient's address and stands for
itself alone; nothing of a mail is left out without a note. Blocks where the content is in a Blob.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from connectors.mqtt.document import ID
from connectors.mqtt.outgoing import json_payload, whole
from connectors.mqtt.outgoing.losses import note_envelope, note_left_out
from connectors.mqtt.outgoing.report import report_payload
from connectors.mqtt.outgoing.text_payload import encode_template, encode_text
from connectors.mqtt.outgoing.values import REMEMBERED, Letter, Unpublishable, places_of
from connectors.mqtt.properties import envelope_properties, expiry, from_property_fields
from connectors.mqtt.rules import PublishRule
from connectors.mqtt.topics import Pattern
from connectors.mqtt.wire.values import Outgoing
from gateway.contract import Capabilities, Item, Memo, Note, Parcel, memo

_NETWORKS: Final = ("smtp",)
_NO_LEVELS: Final[Mapping[str, str]] = {}
_pattern: Final = lru_cache(1000)(Pattern)


def capabilities(rule: PublishRule) -> Capabilities:
    """Return what the payloads of a rule carry."""
    if rule.payload == "rfc822":
        return Capabilities(_NETWORKS, bare_newlines=True, max_size_bytes=rule.max_payload_bytes)
    if rule.payload == "json":
        return Capabilities(_NETWORKS, nul=False)
    return Capabilities(_NETWORKS, nul=False, mime=False, html=False, attachments=rule.attachments == "topics")


def publications(
    parcel: Parcel,
    item: Item,
    rule: PublishRule,
    hostname: str,
    now: float | None = None,
    marks: tuple[tuple[str, str], ...] = (),
) -> tuple[list[Outgoing], tuple[Note, ...]]:
    """Return what is published of a mail for one recipient, whose address is the topic; and what became of the rest.

    Files that are published by themselves come before what names them. `now` is in seconds since 1970; `marks` are user
    properties for all of it.
    Raises: Unpublishable, OSError.
    """
    content = parcel.content
    # Of a whole message the header alone is looked at.
    taken = Memo(content, "") if rule.payload == "rfc822" else memo(content)
    levels = (_pattern(rule.topic).values(item.address.value) or {}) if rule.template is not None else _NO_LEVELS
    left = rule.expiry_s
    if parcel.envelope.expires_at is not None:
        left = expiry(parcel.envelope, left, time.time() if now is None else now)
    names = b"\n".join([name for name, _ in content.named])
    places = (places_of if len(names) <= REMEMBERED else places_of.__wrapped__)(names)
    letter = Letter(parcel, item, rule, hostname, taken, levels, left, names, places, marks=marks)
    if b"message-id" in places:
        message_id = letter.message_id
        if message_id and ID.fullmatch(message_id):
            letter.user.add("message-id", message_id)
    if b"x-mqtt-property" in places:
        for name, value in from_property_fields(letter.values(b"x-mqtt-property")):
            letter.user.add(name, value)
    if rule.envelope:
        for name, value in envelope_properties(parcel.envelope, item):
            letter.user.add(name, value)
    else:
        note_envelope(letter, "the payload has no place for it; set envelope")
    if rule.template is not None:
        encode_template(letter, rule.template)
    elif rule.payload == "text":
        encode_text(letter)
    else:
        (json_payload if rule.payload == "json" else whole).encode(letter)
    if letter.user.left_out:
        note_left_out(letter)
    return letter.outs, tuple(letter.notes)


__all__ = ["Unpublishable", "capabilities", "publications", "report_payload"]
