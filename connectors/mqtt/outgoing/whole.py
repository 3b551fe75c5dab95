"""A whole mail as a payload, octet for octet."""

from __future__ import annotations

from functools import partial

from connectors.mqtt.outgoing.losses import note_path, sender
from connectors.mqtt.outgoing.values import Letter, too_large
from connectors.mqtt.wire.values import Properties


def encode(letter: Letter) -> None:
    """Add the publication. Raises: Unpublishable, OSError."""
    content = letter.parcel.content
    if content.size > letter.rule.max_payload_bytes:
        raise too_large(content.size, letter.rule.max_payload_bytes)
    payload = b"".join(content.chunks())
    if not letter.rule.envelope:
        note_path(letter, partial(sender, letter), "the message shows From; set envelope")
    # RFC 6532 §3.7: a header beyond ASCII makes it message/global
    kind = "message/rfc822" if content.head.isascii() else "message/global"
    properties = Properties(
        payload_format=1 if _is_utf8(payload) else None, message_expiry_s=letter.expiry_s, content_type=kind,
        user=letter.pairs,
    )  # fmt: skip
    letter.out(letter.topic, payload, properties)


def _is_utf8(octets: bytes) -> bool:
    if octets.isascii():
        return True
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True
