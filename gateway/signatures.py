"""Which signatures a change of a message breaks: told in the Fidelity, since nobody can mend it afterwards.

DKIM: RFC 6376 §3.5 (h= names the signed fields), §5.4.2 (a body change breaks every signature but one with l=, which is
not asked).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.fidelity import Fate, Note
from mappings.fields import scan, unfold

_TAG: Final = re.compile(rb"(?:^|;)[ \t]*([a-z]+)[ \t]*=[ \t]*([^;]*)")
_MAX: Final = 20


def broken(before: bytes, after: bytes, *, body_changed: bool) -> list[Note]:
    """Return a note for each DKIM signature in the header `before` that no longer holds."""
    if b"dkim-signature" not in before.lower():
        return []
    notes: list[Note] = []
    changed = set() if before is after else set(_changed(before, after))
    for field in scan(before):
        if field.name != b"dkim-signature" or len(notes) >= _MAX:
            continue
        tags = dict(_TAG.findall(unfold(before[field.value_start : field.end])))
        signed = {name.strip().lower() for name in tags.get(b"h", b"").split(b":")}
        hit = sorted(signed & changed)
        if hit or body_changed:
            what = ", ".join(h.decode("latin-1").title() for h in hit) or "the body"
            domain = tags.get(b"d", b"").decode("latin-1").strip()
            notes.append(Note(Fate.DROPPED, f"signature broken: DKIM of {domain}", f"{what} had to be altered"))
    return notes


def _changed(before: bytes, after: bytes) -> Iterator[bytes]:
    old, new = _by_name(before), _by_name(after)
    for name in old.keys() | new.keys():
        if old.get(name) != new.get(name):
            yield name


def _by_name(head: bytes) -> dict[bytes, list[bytes]]:
    fields: dict[bytes, list[bytes]] = {}
    for field in scan(head):
        fields.setdefault(field.name, []).append(_relaxed(head[field.value_start : field.end]))
    return fields


def _relaxed(value: bytes) -> bytes:
    """Return a value as relaxed canonicalisation sees it: refolding alone breaks nothing (RFC 6376 §3.4.2)."""
    return re.sub(rb"[ \t]+", b" ", unfold(value))
