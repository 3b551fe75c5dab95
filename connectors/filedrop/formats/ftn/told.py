"""What netmail does not carry of a message, or carries in another form, beyond what its making tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from connectors.filedrop.formats.ftn.settings import FtnSettings
from connectors.filedrop.formats.losses import envelope_losses, field_losses, path_losses, reference_losses
from gateway.contract import Fate, Item, Mailbox, Memo, Note, Notify, Parcel, memo

_NETWORKS: Final = ("ftn", "smtp")
_ID: Final = re.compile(r"<[^<>\s]+>")
_CONTROLS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
_CARRIED: Final = frozenset(
    (
        *(b"from", b"to", b"cc", b"subject", b"date", b"message-id", b"in-reply-to", b"references", b"reply-to"),
        *(b"x-ftn-kludge", b"x-ftn-tid", b"x-ftn-via", b"x-ftn-pid"),
    )
)
_URGENT: Final = (b"priority", b"importance", b"x-priority")
_RECEIPT: Final = b"disposition-notification-to"


def told(parcel: Parcel, item: Item, settings: FtnSettings, *, crash: bool) -> tuple[Note, ...]:
    """Return the notes. `crash` is whether the netmail has the flag. Raises: OSError."""
    found = memo(parcel.content)
    return (
        *_of_envelope(parcel, item, crash=crash),
        *_of_people(parcel, found),
        *_of_header(found, crash=crash),
        *_of_text(found, settings),
    )


def _of_envelope(parcel: Parcel, item: Item, *, crash: bool) -> Iterator[Note]:
    why = "netmail has no place for it"
    yield from envelope_losses(parcel, (item,), why, told=("NOTIFY", "priority"))
    if Notify.SUCCESS in item.notify:
        yield Note(Fate.MAPPED, "envelope NOTIFY", "a return receipt is asked for, whatever comes of the message")
    elif item.notify is not Notify.UNSET:
        yield Note(Fate.DROPPED, "envelope NOTIFY", why)
    if parcel.envelope.priority:
        fate, how = (Fate.MAPPED, "the crash flag stands for it") if crash else (Fate.DROPPED, why)
        yield Note(fate, f"envelope priority {parcel.envelope.priority}", how)


def _of_people(parcel: Parcel, found: Memo) -> Iterator[Note]:
    authors = found.mailboxes(b"from", _NETWORKS)
    sender: Mailbox | None = next(iter((*authors, *found.mailboxes(b"sender", _NETWORKS))), None)
    # An answer to netmail goes to its From alone; no program but a gateway looks at where bounces are wanted.
    yield from path_losses(parcel, sender.address if sender is not None else None, "netmail tells its sender alone")
    if sender is None:
        yield Note(Fate.MAPPED, "From", "the message names nobody who wrote it; Postmaster stands there")
    elif sender.address.network != "ftn":
        how = "the name stands at this gateway's number; REPLYADDR and REPLYTO tell where answers go"
        yield Note(Fate.MAPPED, f"From: {sender.address.value}", how)
    if len(authors) > 1:
        yield Note(Fate.DROPPED, "further authors", "netmail names one sender")
    answers = found.mailboxes(b"reply-to", _NETWORKS)
    if answers and (len(answers) > 1 or answers[0].address.network == "ftn" or answers[0].name):
        lost = "where answers go is one internet address in REPLYADDR, without a name"
        is_there = answers[0].address.network != "ftn" and len(answers) == 1
        yield Note(Fate.MAPPED if is_there else Fate.DROPPED, "Reply-To", lost)


def _of_header(found: Memo, *, crash: bool) -> Iterator[Note]:
    content = found.content
    carried = set(_CARRIED)
    carried |= {name for name in _URGENT if crash or found.get(name).lower() in ("normal", "3")}
    if found.get(_RECEIPT):
        carried.add(_RECEIPT)
        yield Note(Fate.MAPPED, "Disposition-Notification-To", "a return receipt is asked for, by the sender")
    if crash and any(found.get(name) for name in _URGENT):
        yield Note(Fate.MAPPED, "Priority, Importance or X-Priority", "the crash flag stands for it")
    yield from field_losses(content, carried, "netmail has no place for them")
    ids = _ID.findall(found.get(b"in-reply-to")) or _ID.findall(found.get(b"references"))[-1:]
    yield from reference_losses(content, ids[:1], "REPLY names the one message that this one answers")


def _of_text(found: Memo, settings: FtnSettings) -> Iterator[Note]:
    count = len(_CONTROLS.findall(found.text))
    if count:
        yield Note(Fate.DROPPED, f"control characters: {count}", "^A begins a control line, and others are no text")
    if settings.attachments == "file" and found.attachments:
        yield Note(Fate.MAPPED, "media types of attachments", "a file beside netmail has a name alone")
