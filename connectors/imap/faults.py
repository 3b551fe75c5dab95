"""What a server's refusals mean, as statuses and faults of a store. Pure.

Source: RFC 5530 (response codes), RFC 9051 §7.1, RFC 9208 (OVERQUOTA), RFC 4469 (TOOBIG), RFC 3463 (statuses).
THROTTLED and the back-off in the texts of Exchange Online and Gmail are in no RFC; they are as these servers send them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from connectors.imap.connection import Closed, NotLoggedIn, Refused
from connectors.imap.wire.responses import BAD, Said
from connectors.imap.wire.tokens import WireError
from gateway.mailbox import Scope, Status, StoreFault

RECIPIENT, HOP, MESSAGE = Scope.RECIPIENT, Scope.HOP, Scope.MESSAGE
CODES: Final[Mapping[str, tuple[str, Scope]]] = {
    "ALREADYEXISTS": ("4.2.0", MESSAGE),
    "AUTHENTICATIONFAILED": ("4.7.8", RECIPIENT),
    "AUTHORIZATIONFAILED": ("4.7.8", RECIPIENT),
    "BADCHARSET": ("5.6.1", MESSAGE),
    "CANNOT": ("5.3.3", MESSAGE),
    "CLIENTBUG": ("5.5.1", MESSAGE),
    "CONTACTADMIN": ("4.3.0", RECIPIENT),
    "CORRUPTION": ("4.2.0", MESSAGE),
    "EXPIRED": ("4.7.11", RECIPIENT),
    "EXPUNGEISSUED": ("4.2.0", MESSAGE),
    "INUSE": ("4.2.1", RECIPIENT),
    "LIMIT": ("4.7.28", RECIPIENT),
    "NONEXISTENT": ("4.2.0", MESSAGE),
    "NOPERM": ("4.7.1", MESSAGE),
    "OVERQUOTA": ("4.2.2", RECIPIENT),
    "PRIVACYREQUIRED": ("4.7.11", HOP),
    "SERVERBUG": ("4.3.0", MESSAGE),
    "THROTTLED": ("4.7.28", RECIPIENT),
    "TOOBIG": ("5.3.4", MESSAGE),
    "TRYCREATE": ("4.2.0", MESSAGE),
    "UNAVAILABLE": ("4.3.2", HOP),
    "UNKNOWN-CTE": ("5.6.1", MESSAGE),
}
_BACK_OFF: Final = re.compile(
    r"(?:backoff|back-off|retry)[^0-9]{0,30}([0-9]{1,9})\s*(milliseconds|ms|seconds|s)?\b", re.I
)
_WORDS: Final = (
    (re.compile(r"over ?quota|quota exceeded|mailbox is full", re.I), "OVERQUOTA"),
    (re.compile(r"throttl|too many (?:commands|requests|simultaneous)|rate limit|bandwidth limit", re.I), "THROTTLED"),
    (re.compile(r"too (?:big|large)|maximum size", re.I), "TOOBIG"),
)
_MOST_S: Final = 24 * 3600.0


def status_of(said: Said, otherwise: str = "4.3.0") -> Status:
    """Return the status of a refusal; `otherwise` is its code where the server gives no reason that is known."""
    code, _ = _meaning(said, otherwise)
    return Status(code, str(said)[:300])


def _meaning(said: Said, otherwise: str) -> tuple[str, Scope]:
    if said.code is not None and said.code.name in CODES:
        return CODES[said.code.name]
    for words, name in _WORDS:
        if words.search(said.text):
            return CODES[name]
    return ("5.5.1" if said.word == BAD else otherwise), MESSAGE


def back_off_s(text: str) -> float | None:
    """Return for how long a server wants to be left alone, by its own words; at most a day."""
    found = _BACK_OFF.search(text)
    if found is None:
        return None
    number = float(found[1])
    return min(_MOST_S, number if (found[2] or "ms").lower().startswith("s") else number / 1000)


def fault_of(fault: Exception, *, unknown: bool) -> StoreFault:
    """Return the fault of a whole call. `unknown`: what was asked may have been done if the connection broke."""
    if isinstance(fault, StoreFault):
        return fault
    if isinstance(fault, Refused):
        code, scope = _meaning(fault.said, "4.3.0")
        if isinstance(fault, NotLoggedIn) and scope is MESSAGE:
            code, scope = "4.7.8", RECIPIENT
        return StoreFault(Status(code, str(fault.said)[:300]), scope, back_off_s(fault.said.text))
    if isinstance(fault, Closed | WireError):
        return StoreFault(Status("4.4.2", str(fault)[:300]), HOP, back_off_s(str(fault)), unknown)
    return StoreFault(Status("4.4.1", f"no connection: {fault!s:.200}"), HOP)
