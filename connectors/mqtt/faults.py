"""What a broker's reason code means for a mail: an outcome with its enhanced status code. Pure.

Sources: OASIS MQTT 5.0 §2.4 (reason codes), §3.4.2.1 (PUBACK), §3.5.2.1 (PUBREC); RFC 3463 (status codes). MQTT 3.1.1
has no refusals of a message: a broker that takes none ends the connection.
"""

from __future__ import annotations

from typing import Final

from connectors.mqtt.wire.values import Lost, Refused
from gateway.contract import Deferred, Delivered, Failed, Fate, Note, Outcome, Scope, Status

NO_SUBSCRIBERS: Final = 0x10
NOT_AUTHORIZED: Final = 0x87

_TABLE: Final[dict[int, tuple[str, str]]] = {
    0x80: ("4.3.0", "the broker gives no reason"),
    0x83: ("4.3.0", "the broker cannot take it now"),
    NOT_AUTHORIZED: ("5.7.1", "the broker does not let us publish to this topic"),
    0x90: ("5.1.3", "the broker takes this topic's name as invalid"),
    0x91: ("4.4.2", "the broker still has this packet identifier in use"),
    0x95: ("5.3.4", "the message is larger than the broker takes"),
    0x96: ("4.4.5", "the broker finds that we publish too fast"),
    0x97: ("4.2.2", "a quota of the broker is used up"),
    0x99: ("5.6.1", "the broker takes the payload as not what it says it is"),
    0x9A: ("5.6.3", "the broker keeps no retained messages"),
    0x9B: ("5.6.3", "the broker does not do this quality of service"),
}
_OF_THE_HOP: Final = frozenset({0x96, 0x97})
RETRY_S: Final = 30.0
LOST_S: Final = 2.0
"""The client connects anew at once: a lane that closed for its usual time would let commands wait for a broker that is
back. After a few such hints in a row a lane keeps to its own back-off, which grows."""
ABSENT_S: Final = 10.0

TAKEN: Final = Delivered(Status("2.0.0", "the broker has it"), relayed=True)
TAKEN_UNHEARD: Final = Delivered(
    Status("2.0.0", "the broker has it; nobody is subscribed to the topic"),
    relayed=True,
    notes=(Note(Fate.KEPT, "the publication", "the broker says that nobody is subscribed to the topic"),),
)


def taken(code: int) -> Delivered:
    """Return the outcome of a publication that the broker took, by its reason code under 0x80."""
    return TAKEN_UNHEARD if code == NO_SUBSCRIBERS else TAKEN


def refused(e: Refused, topic: str) -> Outcome:
    """Return the outcome of a publication that the broker refused."""
    code, text = _TABLE.get(e.code, ("4.3.0", "the broker refuses it for an unknown reason"))
    status = Status(code, text, cause=f"topic {topic!r}", reply=f"0x{e.code:02x} {_plain(e.text)}")
    if status.is_permanent:
        return Failed(status)
    return Deferred(status, Scope.HOP if e.code in _OF_THE_HOP else Scope.RECIPIENT, RETRY_S)


def lost(e: Lost) -> Deferred:
    """Return the outcome of a publication that was not answered: so is everything else under way."""
    return Deferred(Status("4.4.2", "the connection to the broker was lost", cause=_plain(e.text)), Scope.HOP, LOST_S)


def absent(why: str | None) -> Deferred:
    """Return the outcome where there is no connection to a broker."""
    cause = _plain(why or "not connected yet")
    return Deferred(Status("4.4.1", "no broker answers", cause=cause), Scope.HOP, ABSENT_S)


def _plain(text: str) -> str:
    """A broker's words are for a line of a log and a report."""
    return "".join(each if each.isprintable() else " " for each in text[:300])
