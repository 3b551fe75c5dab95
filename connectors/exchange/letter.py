"""Letter: a mail as the sending mailbox writes it, for those recipients alone that this delivery is for. Pure.

Exchange sends to whom the header names (MS-OXWSCORE, SendItem): it knows no envelope. So To and Cc keep those that this
delivery is for, who is not named there becomes Bcc, and what To and Cc said stands in fields of ours.
Promises: nobody is sent a mail a second time since a header names them too; nobody that the delivery is for is left
out; body and all other fields stay octet for octet; no line end of others gets into a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from gateway.contract import Address, Content, Fate, Mailbox, Note, compose, memo

ORIGINAL: Final = {b"to": b"X-Gatepost-Original-To", b"cc": b"X-Gatepost-Original-Cc"}
_OURS: Final = frozenset(each.lower() for each in ORIGINAL.values())
_GONE: Final = frozenset({b"bcc", b"resent-bcc", b"return-path"}) | _OURS
_MAX_ORIGINAL: Final = 8192
_LOOSE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n|\0")
_SOUND: Final = re.compile(rb"[!-9;-~]++:[^\0\r\n]*+\r\n(?:[ \t][^\0\r\n]*+\r\n)*+")

CUT: Final = "Exchange sends to all whom the header names, and this delivery is not for all of them"
HIDDEN: Final = Note(Fate.MAPPED, "recipients whom To and Cc do not name", "Exchange sends to them as Bcc")
LOOSE: Final = Note(Fate.MAPPED, "bare CR or LF and NUL in the header", "what others may take for a line's end is none")
BEHALF: Final = Note(Fate.MAPPED, "Sender", "the mail is sent on behalf of its author")
REVERSE_PATH: Final = Note(Fate.DROPPED, "reverse-path", "Exchange sends with the address of the mailbox that sends")


def letter(
    content: Content, recipients: Mapping[str, Address], sender: Address, *, on_behalf: bool, hostname: str
) -> tuple[Content, tuple[Note, ...]]:
    """Return the mail for `recipients` (by lower-case address), and notes of what was changed of its header."""
    notes: list[Note] = []
    if _LOOSE.search(content.head):
        # Where a CR alone ends a line for a reader, a field of ours could go on as one that names somebody.
        content = content.with_head(_LOOSE.sub(_closed, content.head))
        notes.append(LOOSE)
    head = content.head
    named: dict[str, None] = {}
    lines: list[bytes] = []
    people: list[bytes] = []
    originals: list[bytes] = []
    seen: set[bytes] = set()
    is_cut = False
    # Behind a line that is no field a reader may see no more of the header: then whom it is for stands before all else.
    sound = all(_SOUND.fullmatch(head, field.start, field.end) for field in content.fields)
    for field in content.fields:
        octets = head[field.start : field.end]
        name = field.name
        if name in _GONE or (name == b"sender" and on_behalf):
            continue
        seen.add(name)
        if name not in ORIGINAL:
            lines.append(octets)
            continue
        boxes = memo(Content(octets + b"\r\n")).mailboxes(name, ("smtp",))
        kept = [box for box in boxes if box.address.value.lower() in recipients and not _is_named(box, named)]
        written = _field(name, kept, hostname)
        originals.append(_original(name, octets, field.value_start - field.start))
        if len(kept) < len(boxes) or not kept:
            notes.append(Note(Fate.MAPPED, name.decode("ascii").title(), CUT))
            is_cut = True
        # What is no address would be refused, or sent to whoever the directory takes it for.
        (lines if sound else people).append(octets if sound and _squeezed(octets) == _squeezed(written) else written)
    if is_cut:
        lines += originals
    hidden = [address for each, address in recipients.items() if each not in named]
    if hidden:
        people.append(_field(b"bcc", [Mailbox("", address) for address in hidden], hostname))
        notes.append(HIDDEN)
    if b"from" not in seen:
        people.append(_field(b"from", [Mailbox("", sender)], hostname))
    if on_behalf:
        people.append(_field(b"sender", [Mailbox("", sender)], hostname))
        notes.append(BEHALF)
    return content.with_head(b"".join(_ended(people + lines))), (*dict.fromkeys(notes), REVERSE_PATH)


def _closed(match: re.Match[bytes]) -> bytes:
    return b"\r\n" if match[0] == b"\n" else b" "


def _is_named(box: Mailbox, named: dict[str, None]) -> bool:
    """Note that a field names somebody; say whether one before it did."""
    key = box.address.value.lower()
    if key in named:
        return True
    named[key] = None
    return False


def _squeezed(field: bytes) -> bytes:
    """Return a field without what folding and quoting may change."""
    return re.sub(rb'[ \t\r\n"]+', b"", field).lower()


def _original(name: bytes, octets: bytes, value: int) -> bytes:
    """Return what a field said as a field that nobody is sent to by; no longer than a header line should be."""
    if len(octets) > _MAX_ORIGINAL:
        return b""
    return ORIGINAL[name] + b":" + octets[value:].rstrip(b"\r\n") + b"\r\n"


def _field(name: bytes, boxes: list[Mailbox], hostname: str) -> bytes:
    if not boxes:
        return b""
    whole = compose([(name.decode("ascii").title(), boxes)], "", hostname=hostname)[0]
    return whole[: whole.index(b"MIME-Version:")]


def _ended(lines: Iterable[bytes]) -> Iterable[bytes]:
    """A header without a body may end without a line end."""
    return (line if line.endswith(b"\n") or not line else line + b"\r\n" for line in lines)
