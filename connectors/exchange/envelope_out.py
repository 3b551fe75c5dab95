"""What becomes of an envelope in a mailbox, which holds none. Pure.

The reverse-path goes into the field that final delivery writes; the rest ends here, since it was meant for this place
(RFC 5321 §4.4, RFC 3461 §5.2.3).
"""

from __future__ import annotations

from typing import Final

from gateway.contract import Envelope, Fate, Item, Note, Notify

NOTIFY: Final = Note(Fate.DROPPED, "NOTIFY", "a mailbox keeps no wish for reports; the gateway gives those itself")
NULL_PATH: Final = Note(
    Fate.DROPPED, "null reverse-path", "Exchange sends with the address of the mailbox that sends, which gets reports"
)
ORCPT: Final = Note(Fate.DROPPED, "ORCPT", "a mailbox keeps no envelope")
RET: Final = Note(Fate.DROPPED, "RET", "a mailbox keeps no envelope")
ENVID: Final = Note(Fate.DROPPED, "ENVID", "a mailbox keeps no envelope")
PRIORITY: Final = Note(Fate.DROPPED, "priority of the envelope", "a mailbox keeps no envelope")


def return_path(envelope: Envelope) -> bytes:
    """Return the field that tells where a mail came from; nothing where its address has no form in internet mail."""
    path = envelope.reverse_path
    if path is None:
        return b"Return-Path: <>\r\n"
    if path.network != "smtp" or not path.value.isascii() or not path.value.isprintable():
        return b""
    return f"Return-Path: <{path.value}>\r\n".encode("ascii")


def envelope_losses(envelope: Envelope, item: Item) -> tuple[Note, ...]:
    """Return what ends at the mailbox, of what this envelope has."""
    found = (
        (item.notify is not Notify.UNSET, NOTIFY),
        (item.orcpt is not None, ORCPT),
        (envelope.ret is not None, RET),
        (envelope.envid is not None, ENVID),
        (envelope.priority != 0, PRIORITY),
    )
    return tuple(note for has, note in found if has)
