"""What an application's answer means for a message: a table of HTTP statuses. Pure.

Sources: RFC 9110 §15, §10.2.3 (Retry-After); RFC 6585 §4 (429).
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final

from gateway.contract import Deferred, Delivered, Failed, Outcome, Scope, Status

LONGEST_WAIT_S: Final = 86_400.0

_FOR_NOW: Final = {
    401: "the application does not know our secret",
    407: "a proxy wants to know who we are",
    408: "the application did not get the whole request in time",
    409: "the application has this very message at work",
    425: "the application does not take it so early",
    429: "the application asks for a pause",
}
_WHOLE_HOP: Final = frozenset({401, 407, 429, 502, 503, 504})
"""What says nothing of one message; a 500 may be of one alone."""


def outcome_of(status: int, retry_after: str | None, said: str, now: float) -> Outcome:
    """Return what an answer means; `said` is how its body begins, for the trace."""
    if 200 <= status < 300:
        return Delivered(Status("2.0.0", f"the application has taken it ({status})"))
    cause = f"HTTP {status}" + (f": {said}" if said else "")
    if status in _FOR_NOW or status >= 500:
        text = _FOR_NOW.get(status, "the application is in trouble")
        scope = Scope.HOP if status in _WHOLE_HOP else Scope.MESSAGE
        code = "4.7.0" if status in (401, 407) else "4.3.2"
        wait_s = seconds(retry_after, now)
        return Deferred(Status(code, f"{text} ({status})", cause=cause), scope, wait_s)
    if 300 <= status < 400:
        text = f"the application's address has changed ({status}); set url anew"
        return Deferred(Status("4.4.4", text, cause=cause), Scope.HOP)
    if status == 413:
        return Failed(Status("5.3.4", "the message is larger than the application takes (413)", cause=cause))
    if status in (404, 410):
        return Failed(Status("5.1.1", f"the application has no such mailbox ({status})", cause=cause))
    if status >= 400:
        return Failed(Status("5.7.1", f"the application refuses the message ({status})", cause=cause))
    return Deferred(Status("4.5.0", f"the application's answer means nothing ({status})", cause=cause), Scope.HOP)


def seconds(retry_after: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After asks for, as a number or a date; None where it says nothing usable."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), LONGEST_WAIT_S)
    try:
        return max(0.0, min(parsedate_to_datetime(text).timestamp() - now, LONGEST_WAIT_S))
    except (ValueError, OverflowError):
        return None
