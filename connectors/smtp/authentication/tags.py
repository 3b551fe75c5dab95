"""Tag lists, `name=value; name=value`, as DKIM, ARC, key records and DMARC write them. Source: RFC 6376 §3.2."""

from __future__ import annotations

import re
from typing import Final

MAX_OCTETS: Final = 64 * 1024
_MAX_TAGS: Final = 100
# A value may be empty, and folded within; a semicolon ends it. Octets over 127 are those of RFC 8616.
_TAG: Final = re.compile(rb"[ \t\r\n]*([A-Za-z][A-Za-z0-9_]*)[ \t\r\n]*=[ \t\r\n]*([\t\r\n !-:<-~\x80-\xff]*)\Z")
_BLANK: Final = re.compile(rb"[ \t\r\n]+")


class TagFault(ValueError):
    """What should be a tag list is none; the text says why, without the octets of others."""


def parse(octets: bytes) -> dict[str, bytes]:
    """Return the tags of a list with their values, outer blanks removed.

    Raises: TagFault, also where a tag stands twice (RFC 6376 §3.2).
    """
    if len(octets) > MAX_OCTETS:
        raise TagFault("too long")
    parts = octets.split(b";")
    if not parts[-1].strip():
        parts.pop()
    if not parts or len(parts) > _MAX_TAGS:
        raise TagFault("no tags" if not parts else "too many tags")
    tags: dict[str, bytes] = {}
    for part in parts:
        match = _TAG.match(part)
        if match is None:
            raise TagFault("no list of tags")
        name = match[1].decode("ascii")
        if name in tags:
            raise TagFault(f"tag {name} twice")
        tags[name] = match[2].rstrip(b" \t\r\n")
    return tags


def compact(value: bytes) -> bytes:
    """Return a value without any blank, as base64 and lists are read."""
    return _BLANK.sub(b"", value) if len(value.split(None, 1)) > 1 else value


def names(value: bytes) -> tuple[str, ...]:
    """Return a list with colons between, in lower case (RFC 6376 §3.5, h=, q=; §3.6.1, h=, s=, t=)."""
    return tuple(part.decode("latin-1") for part in compact(value).lower().split(b":"))
