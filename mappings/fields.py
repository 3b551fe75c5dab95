"""Header fields at byte level: where each one stands, and nothing re-serialised.

Tolerant of anything: 8-bit octets, NUL, bare LF, lines of any length, lines without a colon, no header at all.
Linear in the size of the header. Source: RFC 5322 §2.2, §4; what real mail does beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_CRLF: Final = b"\r\n"
# The name and its colon, where there are any, and all up to the end of the last folded line.
_FIELD: Final = re.compile(rb"(?:([!-9;-~]++)[ \t]*+(:))?+[^\n]*+(?:\n[ \t][^\n]*+)*+\n?+")
_NAMED: Final = re.compile(rb"(?m)^([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_NAME: Final = re.compile(rb"([!-9;-~]+)[ \t]*:")


class Field(NamedTuple):
    """One header field.

    `name` is in lower case, empty for a line that is no field; `start` and `end` bound the field's octets with
    its line end, `value_start` is where the value begins, right after the colon.
    """

    name: bytes
    start: int
    value_start: int
    end: int


def header_end(octets: bytes, limit: int | None = None) -> tuple[int, int]:
    """Return (end of the last header line with its line end, start of the body).

    Where no empty line is found within `limit` octets, the whole is header if its first line is a field,
    and else the whole is body.
    """
    if octets[:2] == _CRLF:
        return 0, 2
    if octets[:1] == b"\n":
        return 0, 1
    if not starts_with_header(octets):
        return 0, 0
    # Two searches for what they are, the second one no further than the first led, cost a third of an expression.
    end = len(octets) if limit is None else min(limit, len(octets))
    at, size = octets.find(b"\n\r\n", 0, end), 3
    bare = octets.find(b"\n\n", 0, end if at < 0 else at + 1)
    if bare >= 0:
        at, size = bare, 2
    return (len(octets), len(octets)) if at < 0 else (at + 1, at + size)


def starts_with_header(octets: bytes) -> bool:
    """Tell whether the octets begin with a field, an mbox `From ` line or an empty line."""
    return _NAME.match(octets) is not None or octets[:5] == b"From " or octets[:2] == _CRLF or octets[:1] == b"\n"


def scan(head: bytes) -> Iterator[Field]:
    """Yield the fields of a header block (without its empty line) in order."""
    for match in _FIELD.finditer(head):
        start, end = match.span()
        if start == end:
            return
        name = match[1]
        if name is None:
            yield Field(b"", start, start, end)
        else:
            yield Field(name.lower(), start, match.end(2), end)


def named(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return name and value of each field of a header block, in order, both as they are written; a line that is none is
    left out. A third of what `scan` costs, where nobody asks for places."""
    return _NAMED.findall(head)


def unfold(value: bytes) -> bytes:
    """Return a field's value on one line, without its line end and outer blanks (RFC 5322 §2.2.3)."""
    value = value.strip(b" \t\r\n")
    return _FOLD.sub(b"", value) if b"\n" in value else value
