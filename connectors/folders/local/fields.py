"""What final delivery adds to a message, and what it takes away. Pure, but that it may read a content's header.

Return-Path tells the envelope's sender, and is the only one then (RFC 5321 §4.4); Delivered-To tells for whom it was
put there, and stops a message that comes round to the same mailbox; X-Original-To what the sender wrote, where that is
another address. In mailbox files the fields in which readers keep their notes are taken out: a sender must not mark a
message as read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from gateway.contract import Address, AddressError, Content, Fate, Note
from gateway.formats.flags import STATUS_FIELDS
from mappings.network import network

_MOST_LOOKED_AT: Final = 100
_RETURN_PATH: Final = frozenset((b"return-path",))


def comes_round(content: Content, address: Address) -> bool:
    """Tell whether a message has been delivered to this address before, as one of its first fields says."""
    for n, value in enumerate(content.get_all(b"delivered-to")):
        if n >= _MOST_LOOKED_AT:
            return False
        if _key(value.strip().strip(b"<>").decode("utf-8", "surrogateescape"), address.network) == address.key:
            return True
    return False


def _key(text: str, of: str) -> str:
    """Return an address as it is compared: capitals and domains beyond ASCII have several forms."""
    try:
        return network(of).parse(text).key
    except AddressError:
        return text.lower()


def delivered(
    content: Content, sender: Address | None, address: Address, original: Address, *, is_file: bool
) -> tuple[Content, tuple[Note, ...]]:
    """Return the content as it is put into a mailbox, and what is to be told of what was left out."""
    content, notes = _without(content, STATUS_FIELDS | _RETURN_PATH if is_file else _RETURN_PATH)
    lines = [f"Return-Path: <{'' if sender is None else sender.value}>"]
    if original != address:
        lines.append(f"X-Original-To: {_shown(original, address)}")
    lines.append(f"Delivered-To: {address.value}")
    octets = b"".join(line.encode("utf-8", "surrogateescape") + b"\r\n" for line in lines)
    return content.with_prefix(octets), notes


def _shown(address: Address, beside: Address) -> str:
    return address.value if address.network == beside.network else str(address)


def _without(content: Content, names: Collection[bytes]) -> tuple[Content, tuple[Note, ...]]:
    gone = [field.name for field in content.fields if field.name in names]
    if not gone:
        return content, ()
    head = content.head
    kept = b"".join(head[field.start : field.end] for field in content.fields if field.name not in names)
    told = dict.fromkeys(name.decode("ascii") for name in gone if name not in _RETURN_PATH)
    why = "the mailbox keeps its own notes in a field of this name"
    return content.with_head(kept), tuple(Note(Fate.DROPPED, f"field {name}", why) for name in told)
