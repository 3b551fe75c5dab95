"""Changes of a message's header that checks ask for, done at octets: what is not named stays as it was.

Promises: a field is always whole lines of the header, whatever its value holds: no value can end the header or begin
a field of its own.
Source: RFC 5322 §2.2.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from gateway.contract import Content

_NAME: Final = re.compile(r"[!-9;-~]{1,200}")
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
MOST_OCTETS: Final = 64 * 1024
"""Of one field that a check adds."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of the header. `value` None takes the field away.

    Without `nth` a field is added: at place `at`, counted from 0 at the top, or at the end where that is None. With it
    the `nth` field of this name, counted from 1, gets the value; where there is none, it is added at the end. A field
    that is taken away keeps its number for the edits of the same verdict. The value may be folded by CR LF and a blank;
    it is written behind the colon as it is, after one blank where it has none.
    """

    name: str
    value: str | None
    nth: int | None = None
    at: int | None = None


async def edited(content: Content, edits: Iterable[Edit]) -> Content:
    """Return a content with these changes, done in their order. Raises: ValueError for what is no field."""
    if content.is_inline:
        return _edited(content, edits)
    return await asyncio.to_thread(_edited, content, edits)


def field(name: str, value: str) -> bytes:
    """Return one field's lines. Surrogates of undecodable octets are those octets again. Raises: ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no name of a header field")
    octets = value.encode("utf-8", "surrogateescape").replace(b"\0", b"")
    first, *more = _LINE_END.split(octets.rstrip(b"\r\n"))
    # A line of the value that does not begin with a blank would be a field, an empty one the end of the header.
    lines = [first, *((line if line[:1] in (b" ", b"\t") else b" " + line) for line in more if line.strip())]
    blank = b"" if first[:1] in (b" ", b"\t") else b" "
    made = name.encode("ascii") + b":" + blank + b"\r\n".join(lines) + b"\r\n"
    if len(made) > MOST_OCTETS:
        raise ValueError(f"field {name} has over {MOST_OCTETS} octets")
    return made


def _edited(content: Content, edits: Iterable[Edit]) -> Content:
    head = content.head
    fields = [(f.name, head[f.start : f.end]) for f in content.fields]
    for edit in edits:
        name = edit.name.lower().encode("ascii", "replace")
        if edit.nth is None:
            if edit.value is not None:
                place = len(fields) if edit.at is None else max(0, edit.at)
                fields.insert(place, (name, field(edit.name, edit.value)))
            continue
        places = [n for n, (known, _) in enumerate(fields) if known == name]
        found = places[edit.nth - 1] if 0 < edit.nth <= len(places) else None
        if edit.value is None:
            if found is not None:
                fields[found] = (name, b"")  # its number stays taken, for edits that count on it
        elif found is not None:
            fields[found] = (name, field(edit.name, edit.value))
        else:
            fields.append((name, field(edit.name, edit.value)))
    made = b"".join(o if o[-1:] in (b"\n", b"") else o + b"\r\n" for _, o in fields)
    after = content.with_head(made)
    traits = content.__dict__.get("traits")
    if traits is None or traits.eight_bit or made.isascii():
        return after
    # What was known of the octets does not hold any more: a next hop must be told of the new ones.
    return Content(
        after.source,
        front=after.front,
        offset=after.offset,
        edited=True,
        traits=replace(traits, eight_bit=True),
        attributes=after.attributes,
    )
