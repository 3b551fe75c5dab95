"""What Exchange's word means for a mail: an outcome with its enhanced status code. Pure.

Promises: no mail bounces for a mistake of an operator, for what a server can't do now, or for a code that nobody here
knows, however final its name sounds; what holds up the whole server holds the connector, what holds up a mailbox its
lane.
Sources: MS-OXWSCDATA §2.2.5.24 (ResponseCodeType), learn.microsoft.com "EWS throttling in Exchange" and "Microsoft
Graph error responses and resource types"; RFC 3463 (status codes), RFC 9110 §15 (HTTP).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from connectors.exchange.organisation import Fault
from gateway.contract import Deferred, Failed, Scope, Status

Mode = Literal["deliver", "send"]

BUSY_S: Final = 60.0
"""How long a busy server is left alone that does not say how long."""
DENIED_S: Final = 300.0
"""How long until a mistake of an operator's may be mended; asking more often may lock an account out."""
UNCERTAIN_S: Final = 30.0
"""How long until what became of a request is looked up anew."""
TRIES: Final = 2
"""A conversion that failed is tried once more before it counts: some servers fail so under load."""

R, M, H = Scope.RECIPIENT, Scope.MESSAGE, Scope.HOP


@dataclass(frozen=True, slots=True)
class Row:
    """What a code comes to: `code` of class 4 is a deferral of `scope`, of class 5 a failure."""

    code: str
    text: str
    scope: Scope = R
    retry_s: float | None = None


def _all(row: Row, *codes: str) -> dict[str, Row]:
    return dict.fromkeys(codes, row)


_BUSY: Final = Row("4.4.5", "Exchange asks for less work for a while", H, BUSY_S)
_AWAY: Final = Row("4.3.2", "the mailbox is not available at present", H)
_FULL: Final = Row("4.2.2", "the mailbox is full")
_NO_MAILBOX: Final = Row("5.1.1", "there is no such mailbox in the organisation")
_BAD_ADDRESS: Final = Row("5.1.3", "Exchange does not take the address")
_DISABLED: Final = Row("4.2.1", "the mailbox is switched off at present")
_DENIED: Final = Row("4.7.1", "Exchange does not let the gateway do this", H, DENIED_S)
_LOGIN: Final = Row("4.7.8", "Exchange does not let the gateway log in", H, DENIED_S)
_TOO_BIG: Final = Row("5.3.4", "the message is larger than Exchange takes")
_CONVERSION: Final = Row("5.6.0", "Exchange cannot make the message of its content")
_VIRUS: Final = Row("5.7.1", "Exchange takes the message for malicious")
_OURS: Final = Row("4.3.5", "Exchange takes the gateway's request as ill-formed; this is to be reported as a fault")
_NO_FOLDER: Final = Row("4.2.0", "the mailbox's folder is not there", M)
_FORWARD: Final = Row("4.4.1", "Exchange cannot reach the mailbox's server", H)
_STORE: Final = Row("4.3.1", "Exchange has no room to work in", H, BUSY_S)
_CONFLICT: Final = Row("4.3.0", "Exchange was changing the mailbox itself")
_ABSENT: Final = Row("4.4.1", "Exchange does not answer", H)
_UNKNOWN: Final = Row("4.3.0", "Exchange refuses it for a reason that the gateway does not know")

_TABLE: Final[Mapping[str, Row]] = {
    **_all(
        _BUSY,
        "ErrorServerBusy",
        "ErrorExceededConnectionCount",
        "ErrorTooManyObjectsOpened",
        "ErrorSubmissionQuotaExceeded",
        "ErrorInsufficientResources",
        # Graph
        "ApplicationThrottled",
        "MailboxConcurrency",
        "TooManyRequests",
        "activityLimitReached",
    ),
    **_all(
        _AWAY,
        "ErrorMailboxStoreUnavailable",
        "ErrorMailboxMoveInProgress",
        "ErrorMailboxFailover",
        "ErrorConnectionFailed",
        "ErrorADUnavailable",
        "ErrorADOperation",
        "ErrorInternalServerError",
        "ErrorInternalServerTransientError",
        "ErrorTimeoutExpired",
        "ErrorRequestAborted",
        "ErrorClientDisconnected",
        "ErrorDataSourceOperation",
        # Graph
        "serviceNotAvailable",
        "ServiceUnavailable",
        "MailboxInTransit",
    ),
    **_all(_STORE, "ErrorNotEnoughMemory", "InsufficientStorage", "quotaLimitReached"),
    **_all(
        _FORWARD,
        "ErrorProxyCallFailed",
        "ErrorProxyRequestProcessingFailed",
        "ErrorProxyServiceDiscoveryFailed",
        "ErrorNoRespondingCASInDestinationSite",
        "ErrorNoApplicableProxyCASServersAvailable",
        "ErrorCrossSiteRequest",
    ),
    **_all(_FULL, "ErrorQuotaExceeded", "ErrorMessagePerFolderCountReceiveQuotaExceeded"),
    **_all(
        _TOO_BIG,
        "ErrorMessageSizeExceeded",
        "ErrorAttachmentSizeLimitExceeded",
        "ErrorRequestStreamTooBig",
        "HTTP 413",
        # Graph
        "RequestEntityTooLarge",
        "MaximumRequestSizeExceeded",
    ),
    **_all(
        _NO_MAILBOX,
        "ErrorNonExistentMailbox",
        "ErrorMailRecipientNotFound",
        "ErrorRecipientNotFound",
        # Graph
        "ErrorInvalidUser",
        "MailboxNotEnabledForRESTAPI",
        "MailboxNotSupportedForRESTAPI",
        "ResourceNotFound",
        "Request_ResourceNotFound",
    ),
    **_all(_BAD_ADDRESS, "ErrorMissingRecipients", "ErrorInvalidRecipients", "ErrorInvalidSmtpAddress"),
    **_all(_DISABLED, "ErrorAccountDisabled", "ErrorMailboxLogonFailed"),
    **_all(
        _DENIED,
        "ErrorAccessDenied",
        "ErrorCreateItemAccessDenied",
        "ErrorCreateSubfolderAccessDenied",
        "ErrorImpersonateUserDenied",
        "ErrorImpersonationDenied",
        "ErrorImpersonationFailed",
        "ErrorNotDelegate",
        "ErrorTokenSerializationDenied",
        "ErrorOrganizationAccessBlocked",
        "HTTP 403",
        # Graph
        "accessDenied",
        "Authorization_RequestDenied",
    ),
    **_all(
        _LOGIN,
        "ErrorPasswordExpired",
        "ErrorPasswordChangeRequired",
        "ErrorInvalidLogonType",
        "ErrorInvalidClientSecurityContext",
        "HTTP 401",
        # Graph
        "InvalidAuthenticationToken",
        "unauthenticated",
        # of the token's endpoint, RFC 6749 §5.2
        "invalid_client",
        "unauthorized_client",
        "invalid_grant",
        "no token",
    ),
    "ErrorSendAsDenied": Row("5.7.1", "the gateway's mailbox may not send in this author's name"),
    **_all(
        _CONVERSION,
        "ErrorMimeContentInvalid",
        "ErrorMimeContentInvalidBase64String",
        "ErrorMimeContentConversionFailed",
        "ErrorContentConversionFailed",
        "ErrorUnsupportedMimeConversion",
    ),
    **_all(_VIRUS, "ErrorVirusDetected", "ErrorVirusMessageDeleted"),
    **_all(
        _NO_FOLDER, "ErrorFolderNotFound", "ErrorSavedItemFolderNotFound", "ErrorToFolderNotFound",
        "ErrorParentFolderNotFound", "ErrorItemNotFound",
    ),
    **_all(
        _CONFLICT, "ErrorIrresolvableConflict", "ErrorStaleObject", "ErrorBatchProcessingStopped", "HTTP 409",
        "HTTP 423",
    ),
    **_all(_OURS, "ErrorSchemaValidation", "ErrorInvalidRequest", "ErrorInvalidOperation", "BadRequest", "HTTP 400"),
}  # fmt: skip

_MAY_PASS: Final = frozenset(
    {"ErrorMimeContentConversionFailed", "ErrorContentConversionFailed", "ErrorUnsupportedMimeConversion"}
)
_OF_THE_SENDER: Final = frozenset(
    {
        "ErrorNonExistentMailbox",
        "ErrorInvalidUser",
        "MailboxNotEnabledForRESTAPI",
        "MailboxNotSupportedForRESTAPI",
        "ResourceNotFound",
        "Request_ResourceNotFound",
        "ErrorAccountDisabled",
        "ErrorMailboxLogonFailed",
        "ErrorQuotaExceeded",
        "ErrorMessagePerFolderCountReceiveQuotaExceeded",
    }
)
"""In send mode these are about the mailbox that sends, which no recipient can help."""
_NOBODY: Final = frozenset({"ErrorMailRecipientNotFound", "ErrorRecipientNotFound"})
_SINGLY: Final = _NOBODY | {
    code for code, row in _TABLE.items() if row in (_TOO_BIG, _BAD_ADDRESS, _CONVERSION, _VIRUS, _OURS)
}


def outcome(fault: Fault, mode: Mode = "deliver", *, attempts: int = 0) -> Deferred | Failed:
    """Return what a fault means for one recipient, by its code, else by what is known of the request.

    `attempts` is how many tries there were before this one.
    """
    row = _row(fault)
    if mode == "send" and fault.code in _OF_THE_SENDER:
        row = Row("4.3.5", f"the mailbox that sends: {row.text}", H, DENIED_S)
    code = row.code
    if fault.code in _MAY_PASS and attempts + 1 < TRIES:
        code = "4" + code[1:]
    status = Status(code, row.text, cause=plain(f"{fault.code}: {fault.text}" if fault.text else fault.code))
    if fault.why == "refused":
        status = Status(code, row.text, reply=status.cause)
    if status.is_permanent:
        return Failed(status)
    scope = H if fault.everywhere else row.scope
    return Deferred(status, scope, fault.retry_after_s or row.retry_s)


def _row(fault: Fault) -> Row:
    if fault.why == "unreachable" and not fault.code.startswith("HTTP "):
        return _ABSENT
    row = _TABLE.get(fault.code)
    if row is not None:
        return row
    if fault.code.startswith("HTTP "):
        return _by_status(fault.code.removeprefix("HTTP ").strip())
    match fault.why:
        case "unknown":
            return Row("4.4.2", "the connection to Exchange was lost before it answered", H, UNCERTAIN_S)
        case "busy":
            return _BUSY if fault.everywhere else _AWAY
        case "denied":
            return _DENIED
    return _UNKNOWN


def _by_status(status: str) -> Row:
    if status[:1] in ("1", "2", "3"):
        return Row("4.4.1", "something else than Exchange answers at this address", H)
    if status == "404":
        return Row("4.4.1", "there is no such service at this address", H, DENIED_S)
    if status == "507":
        return _STORE
    if status == "429" or status[:1] == "5":
        return Row("4.4.5", _BUSY.text, H, BUSY_S)
    return Row("4.3.0", "the server in front of Exchange refuses the request", H, DENIED_S)


def is_of_one(fault: Fault) -> bool:
    """Say whether one message of a refused request may be to blame for it, so that the others are to go singly."""
    return fault.why == "refused" and fault.code in _SINGLY


def is_of_recipient(fault: Fault) -> bool:
    """Say whether one recipient of several may be to blame, so that each is to get a mail of its own."""
    return fault.why == "refused" and (_TABLE.get(fault.code) is _BAD_ADDRESS or fault.code in _NOBODY)


def needs_operator(fault: Fault) -> bool:
    """Say whether only an operator can mend it, so that it belongs to the connector's health."""
    return fault.why == "denied" and _row(fault) is not _DISABLED


def plain(text: str) -> str:
    """A server's words are for a line of a log and a report."""
    return "".join(each if each.isprintable() else " " for each in text[:300])
