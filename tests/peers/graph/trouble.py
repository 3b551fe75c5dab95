"""What the peer answers instead of a result: Graph's error object, and the breaks that a test has ordered."""

from __future__ import annotations

from typing import Any, Final

STATUS: Final[dict[str, int]] = {
    "InvalidAuthenticationToken": 401,
    "ErrorAccessDenied": 403,
    "ErrorSendAsDenied": 403,
    "ErrorItemNotFound": 404,
    "ErrorInvalidUser": 404,
    "ResourceNotFound": 404,
    "MailboxNotEnabledForRESTAPI": 404,
    "ErrorFolderExists": 409,
    "ErrorIrresolvableConflict": 409,
    "syncStateNotFound": 410,
    "resyncRequired": 410,
    "RequestEntityTooLarge": 413,
    "ErrorMessageSizeExceeded": 413,
    "ErrorMessageTooBig": 413,
    "Locked": 423,
    "ApplicationThrottled": 429,
    "TooManyRequests": 429,
    "ErrorInternalServerError": 500,
    "ServiceUnavailable": 503,
    "ErrorMailboxStoreUnavailable": 503,
    "GatewayTimeout": 504,
    "ErrorQuotaExceeded": 507,
}
"""The HTTP status that goes with a code; of all others 400."""


class Trouble(Exception):
    """An answer that is an error object."""

    def __init__(
        self, code: str, text: str = "", *, status: int | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(code)
        self.code, self.text = code, text or f"The request failed with {code}."
        self.status = status or STATUS.get(code, 400)
        self.headers = headers or {}

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the error object. Source: learn.microsoft.com "Microsoft Graph error responses and resource types"."""
        inner = {"request-id": request_id, "client-request-id": request_id, "date": "2026-01-01T00:00:00"}
        return {"error": {"code": self.code, "message": self.text, "innerError": inner}}


class Cut(Exception):
    """The connection is to be cut: without a word, or after the first `at` of an answer's octets."""

    def __init__(self, status: str = "cut", at: int | None = None, octets: bytes = b"") -> None:
        super().__init__(status)
        self.status, self.at, self.octets = status, at, octets
