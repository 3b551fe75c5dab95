"""Tag lists, `name=value; name=value`, as DKIM, ARC, key records and DMARC write them. Source: RFC 6376 §3.2."""

from __future__ import annotations

import re
from typing import Final

MAX_OCTETS: Final = 64 * 1024
_MAX_TAGS: Final = 100
_NAME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9_]*+")
_USUAL: Final = {
    name.encode("ascii"): name
    for name in ("v", "a", "c", "d", "s", "h", "q", "i", "l", "t", "x", "b", "bh", "z", "k", "p", "cv")
}
# Octets over 127 are those of RFC 8616.
_CONTROL: Final = bytes(octet for octet in (*range(32), 127) if octet not in b"\t\r\n")
_BLANKS: Final = b" \t\r\n"


class TagFault(ValueError):
    """What should be a tag list is none; the text says why, without the octets of others."""


def parse(octets: bytes) -> dict[str, bytes]:
    """Return the tags of a list with their values, outer blanks removed.

    Raises: TagFault, also where a tag stands twice (RFC 6376 §3.2).
    """
    if len(octets) > MAX_OCTETS:
        raise TagFault("too long")
    octets = octets.rstrip(_BLANKS)
    if octets.endswith(b";"):
        octets = octets[:-1]
    if octets.translate(None, _CONTROL) != octets:
        raise TagFault("no list of tags")
    if octets.count(b";") >= _MAX_TAGS:
        raise TagFault("too many tags")
    parts = octets.split(b";")
    tags: dict[str, bytes] = {}
    for part in parts:
        name, equals, value = part.partition(b"=")
        name = name.strip(_BLANKS)
        known = _USUAL.get(name)
        if known is None:
            if not _NAME.fullmatch(name):
                raise TagFault("no list of tags")
            known = name.decode("ascii")
        if not equals:
            raise TagFault("no list of tags")
        tags[known] = value.strip(_BLANKS)
    if len(tags) != len(parts):
        raise TagFault("a tag twice")
    return tags


def compact(value: bytes) -> bytes:
    """Return a value without any blank, as base64 and lists are read."""
    return value.translate(None, _BLANKS)


def names(value: bytes) -> tuple[str, ...]:
    """Return a list with colons between, in lower case (RFC 6376 §3.5, h=, q=; §3.6.1, h=, s=, t=)."""
    return tuple(part.decode("latin-1") for part in compact(value).lower().split(b":"))
