"""What an item takes along to the other side, and what is changed of it where it is refused as it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.fidelity import Fate, Note
from gateway.mailbox import Form, Holds
from gateway.message import Content
from gateway.status import Status
from gateway.sync.faithful import AddressOf, Mend, asks_for_receipt, date_of, mended, mends_for, replyable, tries_of
from gateway.sync.fingerprint import digest_of
from gateway.sync.search import Search
from gateway.sync.values import Copy, Print

_NO_MEND: Final = ("5.3.4", "5.7.", "5.1.", "5.2.")
"""Of these refusals none is of the octets."""


@dataclass(slots=True)
class Means:
    """What a pass has for all its transfers. `losses`: by item, how often a connection ended while it was appended."""

    search: Search = field(default_factory=Search)
    address_of: AddressOf | None = None
    mends: bool = True
    losses: Counter[str] = field(default_factory=Counter)
    refused: set[str] = field(default_factory=set)
    """Items that were neither done nor refused once."""
    said: str = ""
    """What the server said when one did."""


@dataclass(frozen=True, slots=True)
class Read:
    """An item as it is to be appended. `came` is its content as it was read, `print` what that is known by; `appended`
    the digest of `content` where it is another one. `tries`: what may still be mended; None where nothing was refused
    yet."""

    copy: Copy
    came: Content
    content: Content
    print: Print
    words: frozenset[str]
    at: float | None
    appended: bytes | None = None
    notes: tuple[Note, ...] = ()
    tries: tuple[tuple[Mend, ...], ...] | None = None
    refusal: Status | None = None
    form: Form = "mime"


async def ready(copy: Copy, content: Content, holds: Holds, means: Means) -> Read:
    """Return an item with all that it takes along to a store that holds this."""
    listed, words = copy.item.print, copy.item.words
    known = replace(listed, digest=await digest_of(content), size=listed.size or content.size)
    notes: list[Note] = []
    made, appended = content, None
    if means.address_of is not None:
        made, notes = replyable(content, means.address_of)
        appended = await digest_of(made) if notes else None
    if "seen" in words and "mdn_sent" in holds.flags and asks_for_receipt(content):
        words |= {"mdn_sent"}  # whoever opens it there sends no receipt for what was read long ago
    at = listed.received_at
    if at is None and holds.internal_date:
        found = date_of(content)
        if found is not None:
            at = found[0]
            notes.append(Note(Fate.MAPPED, "date of receipt", f"the store has none, and it is that of {found[1]}"))
    return Read(copy, content, made, known, words, at, appended, tuple(notes))


async def next_mended(one: Read, refusal: Status, means: Means) -> Read | None:
    """Return a refused item with the next thing mended that may help; None where there is none."""
    if not means.mends or one.copy.item.print.kind != "mail" or refusal.code.startswith(_NO_MEND):
        return None
    tries = one.tries
    if tries is None:
        tries = tuple(tries_of(await asyncio.to_thread(mends_for, one.content, refusal.reply or refusal.text)))
    if not tries:
        return None
    base = one.came
    notes: list[Note] = []
    if means.address_of is not None:
        base, notes = replyable(base, means.address_of)
    content, more = await asyncio.to_thread(mended, base, tries[0])
    kept = [note for note in one.notes if note.what == "date of receipt"]
    return replace(
        one,
        content=content,
        appended=await digest_of(content),
        notes=(*notes, *kept, *more),
        tries=tries[1:],
        refusal=one.refusal or refusal,
    )
