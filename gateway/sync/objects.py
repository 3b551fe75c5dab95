"""Appointments, contacts, tasks and notes: how they go across, and how they are known again.

They are edited where they are, so a row remembers of each side at which version and with which digest it was in step.
The digest is made of an iCalendar object or a vCard without the lines that say when and by what it was written: a
lossless export is another one each time that it is asked for, and says nothing of another store's.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.mailbox import Form, Holds, Kind
from gateway.message import Content
from gateway.sync.ends import End, Report, fetched
from gateway.sync.fingerprint import digest_of_octets

FORMS: Final[Mapping[Kind, Form]] = {
    "mail": "mime", "calendar": "ical", "tasks": "ical", "contacts": "vcard", "notes": "mime"
}  # fmt: skip
"""What a kind is told apart by, and goes across in between stores that have no native form in common."""
_FOLD: Final = re.compile(rb"\r?\n[ \t]")
_VOLATILE: Final = re.compile(rb"(?:PRODID|DTSTAMP|LAST-MODIFIED|CREATED|REV)[;:]", re.I)
_UID: Final = re.compile(rb"UID(?:;[^:]*)?:(.*)", re.I)
MOST_UID: Final = 512

Stamp = tuple[bytes, str | None]
"""A digest, and the UID where there is one."""


def kinds_of(left: Holds, right: Holds) -> frozenset[Kind]:
    """Return the kinds that go along as what they are: those that both hold."""
    return left.kinds & right.kinds


def form_across(kind: Kind, here: Holds, there: Holds) -> Form:
    """Return the form in which an item of a kind that both hold goes across.

    Mail goes as MIME even where an export would keep more of it: only so are its octets, and with them signatures,
    known to be the same, what is there already found, and what is refused mended.
    """
    if kind != "mail" and here.native is not None and here.native == there.native:
        return "native"
    return FORMS[kind]


def stamp_of(octets: bytes, form: Form) -> Stamp:
    """Return what an object is known by in a form."""
    if form not in ("ical", "vcard"):
        return digest_of_octets(octets), None
    lines = [line for line in _FOLD.sub(b"", octets).splitlines() if line and not _VOLATILE.match(line)]
    uids = {found[1].strip() for line in lines if (found := _UID.fullmatch(line)) is not None}
    uid = uids.pop().decode("utf-8", "replace")[:MOST_UID] if len(uids) == 1 else None
    return digest_of_octets(b"\n".join(lines)), uid or None


async def stamps(
    end: End, items: Iterable[tuple[str, Kind]], report: Report, *, comparable: bool = False
) -> dict[str, Stamp]:
    """Return the stamps of items, by their ids; of what has no form that can be compared with another store's, that of
    the native one, unless only what is `comparable` is asked for. Raises: StoreFault."""
    asked: dict[Form, list[str]] = {}
    for id, kind in items:
        asked.setdefault(FORMS[kind], []).append(id)
    found: dict[str, Stamp] = {}
    others: list[str] = []
    for form, ids in asked.items():
        async for id, content in fetched(end, ids, report, form):
            if isinstance(content, Content):
                found[id] = await asyncio.to_thread(lambda content=content, form=form: stamp_of(content.octets(), form))  # type: ignore[misc]  # mypy takes no default of a lambda
            elif content.is_permanent:
                others.append(id)
    if others and not comparable and end.mailbox.holds().native is not None:
        async for id, content in fetched(end, others, report, "native"):
            if isinstance(content, Content):
                found[id] = digest_of_octets(content.octets()), None
    return found
