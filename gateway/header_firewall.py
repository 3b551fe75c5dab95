"""The header firewall: fields that belong to one organisation stay inside it.

An Exchange server believes what fields such as `X-MS-Exchange-Organization-SCL` say: that a message was filtered, that
its sender was authenticated, which rules have run. From somebody else's mail they are forgeries; in mail that leaves
they tell what is nobody's business. Servers drop them where mail crosses a connector they don't trust; a gateway that
puts mail straight into mailboxes, or takes it from there, is such a border.
Promises: whole fields go, by name alone; every other octet stays as it was, so that a signature that does not sign the
fields still holds (one that does is noted); the same object comes back where nothing has to go.
Sources: "Header firewall" and "Message headers in Exchange" in Microsoft's documentation of Exchange; RFC 5322 §2.2;
RFC 6376 §3.5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from gateway.fidelity import Fate, Note
from gateway.message import Content
from gateway.signatures import broken
from mappings.fields import scan

ORGANIZATION: Final = (
    "X-MS-Exchange-Organization-*",
    "X-MS-Exchange-Forest-*",
    "X-MS-Exchange-CrossPremises-*",
)
"""What an Exchange organisation, a forest of it, and the two halves of a hybrid one say to themselves."""

WHY: Final = "the header firewall lets no such field across"
_PATTERN: Final = re.compile(r"[!-9;-~]{1,200}")
_MOST: Final = 20
_MOST_CHARS: Final = 80


def check(patterns: Iterable[str]) -> None:
    """Raises: ValueError for what is no field name with at most one `*`, at its end."""
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern) or "*" in pattern[:-1] or pattern == "*":
            raise ValueError(
                f"{pattern!r} is no name of a header field; write it without its colon, with a * at its end for all"
                " names that begin so"
            )


def strip(content: Content, patterns: tuple[str, ...] = ORGANIZATION) -> tuple[Content, tuple[Note, ...]]:
    """Return the content without the fields whose names match one of `patterns`, and a note for each name.

    A pattern is a field's name in any case; a `*` at its end stands for anything. Reads the header of a content that is
    not in memory: call it in a thread then.
    """
    matches = _compiled(patterns)
    head = content.head
    if matches is None or not matches.search(head):
        return content, ()
    kept: list[bytes] = []
    found: dict[bytes, int] = {}
    for field in scan(head):
        octets = head[field.start : field.end]
        if field.name and matches.match(octets):
            found[field.name] = found.get(field.name, 0) + 1
        else:
            kept.append(octets)
    if not found:
        return content, ()
    after = b"".join(kept)
    notes = [Note(Fate.DROPPED, _told(name, count), WHY) for name, count in list(found.items())[:_MOST]]
    if len(found) > _MOST:
        notes.append(Note(Fate.DROPPED, f"{len(found) - _MOST} more fields", WHY))
    notes += broken(head, after, body_changed=False)
    return content.with_head(after), tuple(notes)


@lru_cache(64)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[bytes] | None:
    if not patterns:
        return None
    check(patterns)
    names = [re.escape(p[:-1]) + r"[!-9;-~]*" if p.endswith("*") else re.escape(p) for p in patterns]
    return re.compile(rf"(?im)^(?:{'|'.join(names)})[ \t]*:".encode("ascii"))


def _told(name: bytes, count: int) -> str:
    shown = name.decode("ascii", "replace")[:_MOST_CHARS].title()
    return f"field {shown}" + (f" ({count} of them)" if count > 1 else "")
