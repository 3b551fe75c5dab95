"""Tag lists, `name=value; name=value`, as DKIM, ARC, key records and DMARC write them. Source: RFC 6376 §3.2."""

from __future__ import annotations

import re
from typing import Final

MAX_OCTETS: Final = 64 * 1024
_MAX_TAGS: Final = 100
# Anchored at each semicolon, so that what is no tag leaves a gap in the count. Octets over 127 are those of RFC 8616.
_TAG: Final = re.compile(rb"(?:\A|;)[ \t\r\n]*+([A-Za-z][A-Za-z0-9_]*+)[ \t\r\n]*+=([^;]*+)")
_CONTROL: Final = re.compile(rb"[\0-\x08\v\f\x0e-\x1f\x7f]")
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
    found = _TAG.findall(octets)
    if len(found) != octets.count(b";") + 1 or _CONTROL.search(octets):
        raise TagFault("no list of tags")
    if len(found) > _MAX_TAGS:
        raise TagFault("too many tags")
    tags = {name.decode("ascii"): value.strip(_BLANKS) for name, value in found}
    if len(tags) != len(found):
        raise TagFault("a tag twice")
    return tags


def compact(value: bytes) -> bytes:
    """Return a value without any blank, as base64 and lists are read."""
    return value.translate(None, _BLANKS)


def names(value: bytes) -> tuple[str, ...]:
    """Return a list with colons between, in lower case (RFC 6376 §3.5, h=, q=; §3.6.1, h=, s=, t=)."""
    return tuple(part.decode("latin-1") for part in compact(value).lower().split(b":"))
