"""X-Auto-Response-Suppress: which answers of programs a sender does not want, and what we ask of others so.

Exchange and Outlook write and honour it; nothing else says as much: `Auto-Submitted` tells what a message is, not which
answers to it are unwelcome. Pure. Anything else in the field is passed over, as Exchange does.
Source: MS-OXCMAIL §2.1.3.2.20 (the field), MS-OXOMSG §2.2.1.77 (PidTagAutoResponseSuppress, the bits); RFC 3834 §2.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final

from gateway.message import Content, Notify

FIELD: Final = b"x-auto-response-suppress"
LINE: Final = "X-Auto-Response-Suppress: All"
"""What our own notices and reports carry, so that no mailbox answers them."""
_MOST_OCTETS: Final = 1000


class Suppress(IntFlag):
    """Kinds of answers, with their bits in PidTagAutoResponseSuppress."""

    NONE = 0
    DR = 0x01
    """Delivery reports."""
    NDR = 0x02
    """Non-delivery reports."""
    RN = 0x04
    """Notifications that it was read."""
    NRN = 0x08
    """Notifications that it was not read."""
    OOF = 0x10
    """Out-of-office notices."""
    AUTO_REPLY = 0x20
    """Answers of rules and programs."""


ALL: Final = Suppress(0x3F)
ANSWERS: Final = Suppress.OOF | Suppress.AUTO_REPLY
"""What a program writes to a person since they wrote."""

_WORDS: Final = {
    b"none": Suppress.NONE,
    b"all": ALL,
    b"dr": Suppress.DR,
    b"ndr": Suppress.NDR,
    b"rn": Suppress.RN,
    b"nrn": Suppress.NRN,
    b"oof": Suppress.OOF,
    b"autoreply": Suppress.AUTO_REPLY,
}


def of(content: Content) -> Suppress:
    """Return what a message's header asks to be suppressed; of several fields, all together."""
    found = Suppress.NONE
    for value in content.get_all(FIELD):
        for word in value[:_MOST_OCTETS].replace(b";", b",").split(b","):
            found |= _WORDS.get(word.strip().lower(), Suppress.NONE)
    return found


def wants_no_answer(content: Content) -> bool:
    """Say whether a sender asks programs not to answer: an out-of-office notice, a notice of a new address."""
    return bool(of(content) & ANSWERS)


def notify(given: Notify, suppressed: Suppress) -> Notify:
    """Return when a recipient's report is wanted (RFC 3461 §4.1) once `suppressed` is heeded.

    For peers that are trusted to say so: with NDR nobody hears that the message was lost, nor that it is late.
    """
    if not suppressed & (Suppress.DR | Suppress.NDR) or given & Notify.NEVER:
        return given
    asked = given or Notify.FAILURE | Notify.DELAY
    if suppressed & Suppress.DR:
        asked &= ~Notify.SUCCESS
    if suppressed & Suppress.NDR:
        asked &= ~(Notify.FAILURE | Notify.DELAY)
    if not asked:
        return Notify.NEVER
    return given if not given and asked == Notify.FAILURE | Notify.DELAY else asked
