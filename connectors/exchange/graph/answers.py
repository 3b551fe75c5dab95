"""What an answer of Graph means, from its status, fields and octets: a value, or a Fault. Pure.

Answers are bounded in size before they come here; their JSON is read without any code running from it, and whatever
has not the shape that was expected is a fault of the server's, never a guess. Words of the server are shown cut and
printable.

Source: learn.microsoft.com "Microsoft Graph error responses and resource types", "Microsoft Graph throttling guidance";
RFC 9110 §10.2.3 (Retry-After), §15.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from connectors.exchange.graph.token import plain
from connectors.exchange.organisation import Fault
from gateway.contract import Scope

PATIENCE_S: Final = 30.0
"""So long is waited after 429 or 503 where Graph does not say how long."""
TOO_LARGE: Final = "ErrorMessageSizeExceeded"
_SEND_AS: Final = frozenset({"ErrorSendAsDenied"})
_OF_THE_MAILBOX: Final = frozenset(
    {"MailboxNotEnabledForRESTAPI", "ErrorInvalidUser", "ErrorNonExistentMailbox", "Request_ResourceNotFound"}
)
"""Codes of 404 that speak of the mailbox, where all others speak of an item or a folder in it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came, or a part of a batch's."""

    status: int
    fields: Mapping[str, str]
    octets: bytes

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """Return the JSON object that it holds; nothing as an empty one. Raises: Malformed."""
        if not self.octets:
            return {}
        try:
            found = orjson.loads(self.octets)
        except orjson.JSONDecodeError as e:
            raise Malformed(f"the answer is no JSON: {plain(str(e))}") from e
        if not isinstance(found, dict):
            raise Malformed("the answer is JSON, and no object")
        return found


class Malformed(Exception):
    """An answer of status 2xx that cannot be read: what was asked for may have been done."""


def unread(e: Malformed, *, is_safe: bool) -> Fault:
    """Return the fault of an answer that cannot be read."""
    return Fault("malformed answer", str(e), "unreachable" if is_safe else "unknown", scope=Scope.HOP)


def fault(answer: Answer, *, is_safe: bool, now: float) -> Fault:
    """Return the fault that an answer of another status than 2xx tells.

    `is_safe`: what was asked changes nothing, so that it does not matter whether it was done.
    """
    code, text = error(answer)
    status = answer.status
    wait_s = retry_after_s(answer.fields, now)
    if status in (429, 503):
        return Fault(code, text, "busy", retry_after_s=PATIENCE_S if wait_s is None else wait_s, scope=Scope.HOP)
    if status == 401:
        return Fault(code, text, "denied", scope=Scope.HOP, everywhere=True)
    if status == 403:
        return Fault(code, text, "refused" if code in _SEND_AS else "denied", scope=Scope.HOP)
    if status == 413:
        return Fault(TOO_LARGE, text, scope=Scope.RECIPIENT)
    if status == 404:
        return Fault(code, text, scope=Scope.HOP if code in _OF_THE_MAILBOX else Scope.RECIPIENT)
    if 400 <= status < 500:
        return Fault(code, text, retry_after_s=wait_s)
    if status == 507:
        return Fault(code, text, retry_after_s=wait_s)
    if status >= 500:  # a gateway in front says 502 and 504 of what may have been done behind it
        return Fault(code, text, "unreachable" if is_safe else "unknown", retry_after_s=wait_s, scope=Scope.HOP)
    # 1xx never gets here; 3xx is a proxy or a portal that is not Graph.
    return Fault(code, text, "unreachable", scope=Scope.HOP)


def error(answer: Answer) -> tuple[str, str]:
    """Return the code and the text of an error object; of anything else the HTTP status."""
    try:
        found = answer.json().get("error")
    except Malformed:
        found = None
    if isinstance(found, dict) and isinstance(found.get("code"), str) and found["code"]:
        return plain(found["code"])[:80], plain(str(found.get("message") or ""))
    return f"HTTP {answer.status}", ""


def retry_after_s(fields: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that Retry-After asks for (RFC 9110 §10.2.3: a number, or a date); None: nothing readable."""
    text = (fields.get("retry-after") or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None
