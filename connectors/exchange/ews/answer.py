"""Answers: what a request came to, as values; and what a fault means to the organisation's users. Pure.

Promises: every response message of a request gives one Answer, whatever its code; a fault's text is the server's own
message, printable and short, and never a header, an address with a password, or a body.
Sources: MS-OXWSCDATA §2.2.4.43 (ResponseMessageType), §2.2.5.24 (ResponseCodeType); learn.microsoft.com "EWS throttling
in Exchange" (back-off, what is answered by whom); RFC 9110 §10.2.3 (Retry-After).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from connectors.exchange.ews.xml import E, Element, M, NotWhole, S, T, parse
from connectors.exchange.organisation import SYNC_STATE_LOST, Fault, Why
from gateway.contract import Scope

_TEXT_CHARS: Final = 300
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{2,99}")
_MAX_BACK_OFF_S: Final = 3600.0

_EVERYWHERE: Final = frozenset(
    {
        "ErrorServerBusy",
        "ErrorExceededConnectionCount",
        "ErrorTooManyObjectsOpened",
        "ErrorInsufficientResources",
        "ErrorSubmissionQuotaExceeded",
    }
)
_BUSY: Final = _EVERYWHERE | {
    "ErrorMailboxStoreUnavailable",
    "ErrorMailboxMoveInProgress",
    "ErrorMailboxFailover",
    "ErrorConnectionFailed",
    "ErrorADUnavailable",
    "ErrorInternalServerTransientError",
}
_DENIED: Final = frozenset(
    {
        "ErrorAccessDenied",
        "ErrorCreateItemAccessDenied",
        "ErrorImpersonateUserDenied",
        "ErrorImpersonationDenied",
        "ErrorImpersonationFailed",
        "ErrorMailboxLogonFailed",
        "ErrorAccountDisabled",
    }
)
_UNKNOWN: Final = frozenset({"ErrorTimeoutExpired", "ErrorInternalServerError", "ErrorRequestAborted"})
"""The server began and did not end: it may have done what it was asked."""
_SYNC_LOST: Final = frozenset({"ErrorInvalidSyncStateData", "ErrorSyncFolderNotFound"})


@dataclass(frozen=True, slots=True)
class Answer:
    """One response message: `result` is Success, Warning or Error; `element` holds what was asked for, but for the MIME
    of its item where that was taken out as `mime`."""

    result: str
    code: str
    text: str
    element: Element
    mime: bytes | None = None

    @property
    def ok(self) -> bool:
        return self.code == "NoError"


class Failure(Exception):
    """A request that brought no answers."""


class SoapFault(Failure):
    """The server refused the whole request by a code."""

    def __init__(self, code: str, text: str = "", back_off_s: float | None = None) -> None:
        self.code = code
        self.text = text
        self.back_off_s = back_off_s
        super().__init__(f"{code}: {text}")


class HttpFault(Failure):
    """Something answered by HTTP alone: a web server, a proxy or a login page; `retry_after_s` is its own hint."""

    def __init__(self, status: int, text: str = "", retry_after_s: float | None = None) -> None:
        self.status = status
        self.text = text
        self.retry_after_s = retry_after_s
        super().__init__(f"HTTP {status} {text}".rstrip())


class NotSent(Failure):
    """The request was certainly not sent: no connection, no TLS, no token."""


class CutOff(Failure):
    """The request was sent, and no whole answer came: it may have been done."""


def answers(octets: bytes, operation: str) -> tuple[list[Answer], bool]:
    """Return a body's answers in order, and whether its XML had to be mended.

    Raises: SoapFault, CutOff.
    """
    try:
        envelope, mended = parse(octets)
    except NotWhole as e:
        raise CutOff(f"the answer is not whole: {e}") from None
    return list(_answers(envelope, operation)), mended


def _answers(envelope: Element, operation: str) -> Iterator[Answer]:
    body = envelope.find(f"{S}Body")
    if body is None:
        raise CutOff("the answer has no body")
    fault = body.find(f"{S}Fault")
    if fault is not None:
        raise soap_fault(fault)
    response = body.find(f"{M}{operation}Response")
    if response is None:
        raise CutOff("the answer is to another request")
    messages = response.find(f"{M}ResponseMessages")
    if messages is None:  # FindPeople and a few others answer by one message without a list
        yield _answer(response)
        return
    for each in messages.iterchildren(tag="*"):
        yield _answer(each)


def _answer(message: Element) -> Answer:
    return Answer(
        message.get("ResponseClass", "Error"),
        _code(message.findtext(f"{M}ResponseCode")),
        short(message.findtext(f"{M}MessageText")),
        message,
    )


def soap_fault(fault: Element) -> SoapFault:
    """Return the fault of a SOAP body (SOAP 1.1 §4.4), with the time the server wants to be left alone."""
    detail = fault.find("detail")
    code = detail.findtext(f"{E}ResponseCode") if detail is not None else None
    text = detail.findtext(f"{E}Message") if detail is not None else None
    back_off = None
    if detail is not None:
        for value in detail.iterfind(f"{T}MessageXml/{T}Value"):
            if value.get("Name") == "BackOffMilliseconds":
                back_off = _back_off(value.text)
    if not code:
        code = (fault.findtext("faultcode") or "").rpartition(":")[2]
    return SoapFault(_code(code), short(text or fault.findtext("faultstring")), back_off)


def _back_off(text: str | None) -> float | None:
    """Milliseconds as seconds; None where nothing is said: 0 is what a server says that does not know."""
    try:
        seconds = int(text or "") / 1000.0
    except ValueError:
        return None
    return min(seconds, _MAX_BACK_OFF_S) if seconds > 0 else None


def retry_after(value: str | None, now: float) -> float | None:
    """Return Retry-After in seconds from now; None where it says nothing that can be read (RFC 9110 §10.2.3)."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        seconds = float(text)
    else:
        try:
            at = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            return None
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now
    return min(seconds, _MAX_BACK_OFF_S) if seconds > 0 else None


def short(text: str | None) -> str:
    """Return a server's words for one line of a log or a report."""
    return " ".join("".join(c if c.isprintable() else " " for c in (text or "")[: 2 * _TEXT_CHARS]).split())[
        :_TEXT_CHARS
    ]


def _code(text: str | None) -> str:
    code = (text or "").strip()
    return code if _CODE.fullmatch(code) else "ErrorUnreadableCode"


def refusal(answer: Answer) -> Fault:
    """Return the fault of one answer that is not NoError."""
    return _coded(answer.code, answer.text)


def fault(error: Exception) -> Fault:
    """Return what a request that brought no answers means."""
    match error:
        case SoapFault():
            return _coded(error.code, error.text, error.back_off_s)
        case HttpFault():
            return _by_status(error)
        case NotSent():
            return Fault("NotSent", short(str(error)), "unreachable", scope=Scope.HOP)
        case CutOff():
            return Fault("CutOff", short(str(error)), "unknown", scope=Scope.HOP)
    # A fault of ours or of the library: what became of the request is not known.
    return Fault("Unexpected", type(error).__name__, "unknown", scope=Scope.RECIPIENT)


def _coded(code: str, text: str, back_off_s: float | None = None) -> Fault:
    if code in _SYNC_LOST:
        return Fault(SYNC_STATE_LOST, text or code)
    why: Why = "refused"
    scope = Scope.RECIPIENT
    if code in _BUSY:
        why, scope = "busy", Scope.HOP
    elif code in _DENIED:
        why, scope = "denied", Scope.HOP
    elif code in _UNKNOWN:
        why, scope = "unknown", Scope.HOP
    return Fault(code, text, why, retry_after_s=back_off_s, scope=scope, everywhere=code in _EVERYWHERE)


def _by_status(error: HttpFault) -> Fault:
    status = error.status
    why: Why = "unknown" if status >= 500 else "refused"
    if status in {429, 503}:
        why = "busy"
    elif status in {401, 403}:
        why = "denied"
    elif status < 400:  # a redirection or a page: Exchange itself was not asked
        why = "unreachable"
    scope = Scope.RECIPIENT if status == 413 else Scope.HOP
    return Fault(
        f"HTTP {status}",
        error.text,
        why,
        retry_after_s=error.retry_after_s,
        scope=scope,
        everywhere=status in {401, 429, 503},
    )


def when(text: str | None) -> float | None:
    """Return an xs:dateTime as seconds since 1970; one without a zone is UTC, as we ask for it."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def stamp(seconds: float) -> str:
    """Return seconds since 1970 as xs:dateTime in whole seconds: some clients of a mailbox refuse fractions."""
    return datetime.fromtimestamp(max(0, int(seconds)), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
