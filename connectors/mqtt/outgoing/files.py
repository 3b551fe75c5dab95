"""The files of a mail: within its JSON as base64, each under a topic of its own, or left out."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from connectors.mqtt.document import MAX_FILES, MAX_NAME, MEDIA_TYPE
from connectors.mqtt.outgoing.losses import note_files
from connectors.mqtt.outgoing.values import Letter, too_large
from connectors.mqtt.properties import User, clean
from connectors.mqtt.wire.values import Properties
from gateway.contract import Attachment, Fate

BELOW = "attachments"


def publish_files(letter: Letter) -> list[dict[str, Any]]:
    """Publish each file under its own topic; return what each is, as a document says it.

    Raises: Unpublishable, OSError.
    """
    return [_elsewhere(letter, one, n, _octets(letter, one)) for n, one in _some(letter)]


def inline_files(letter: Letter) -> list[dict[str, Any]]:
    """Return the files as a document says them: those up to the rule's size with their content, others by topic.

    Raises: Unpublishable, OSError.
    """
    made = []
    for n, one in _some(letter):
        octets = _octets(letter, one)
        if len(octets) > letter.rule.max_inline_bytes:
            made.append(_elsewhere(letter, one, n, octets))
            continue
        made.append({**_about(letter, one), "content": base64.b64encode(octets).decode("ascii")})
    return made


def _some(letter: Letter) -> Iterator[tuple[int, Attachment]]:
    files = letter.files
    for one in files[MAX_FILES:]:
        letter.drop(f"attachment {one.name}", f"a message has at most {MAX_FILES}")
    return enumerate(files[:MAX_FILES], 1)


def _octets(letter: Letter, one: Attachment) -> bytes:
    """Return what is in a file, as long as it fits. Raises: Unpublishable, OSError."""
    made = bytearray()
    for piece in one.octets():
        made += piece
        if len(made) > letter.rule.max_payload_bytes:
            raise too_large(len(made), letter.rule.max_payload_bytes)
    return bytes(made)


def _about(letter: Letter, one: Attachment) -> dict[str, Any]:
    kind = one.type
    if not MEDIA_TYPE.fullmatch(kind):
        letter.note(Fate.MAPPED, f"attachment {one.name}: media type {kind}", "it is none that can be told")
        kind = "application/octet-stream"
    elif kind.startswith("message/"):
        letter.note(Fate.MAPPED, f"attachment {one.name}: media type {kind}", "whoever reads it gets a file of octets")
    name = one.name[:MAX_NAME]
    if name != one.name:
        letter.note(Fate.MAPPED, f"attachment {name}", f"its name has more than {MAX_NAME} characters")
    about: dict[str, Any] = {"name": clean(name), "type": kind}
    if one.content_id:
        about["content_id"] = clean(one.content_id)
    return about


def _elsewhere(letter: Letter, one: Attachment, n: int, octets: bytes) -> dict[str, Any]:
    about = _about(letter, one)
    topic = f"{letter.topic}/{BELOW}/{n}"
    user = User()
    user.add("name", about["name"])
    if letter.message_id:
        user.add("message-id", letter.message_id)
    properties = Properties(
        message_expiry_s=letter.expiry_s, content_type=about["type"], user=(*user.pairs, *letter.marks)
    )
    letter.out(topic, octets, properties)
    return {**about, "topic": topic, "size": len(octets)}


def files_beside(letter: Letter, why: str) -> list[dict[str, Any]]:
    """Publish the files of a payload that has no room for them, where the rule says so; else note them."""
    if letter.rule.attachments == "topics":
        return publish_files(letter)
    note_files(letter, why)
    return []
