"""What goes wrong in XMPP, as statuses: conditions of stanza errors and of stream errors. Pure.

Sources: RFC 6120 §8.3.3 (stanza errors), §4.9.3 (stream errors); RFC 6121 §8.5 (what servers answer for users).
"""

from __future__ import annotations

from typing import Final

from gateway.contract import Deferred, Failed, Outcome, Scope, Status

_FAILS: Final = {
    "bad-request": ("5.6.0", "the chat server does not understand the message"),
    "conflict": ("5.3.0", "the chat server refuses the message"),
    "feature-not-implemented": ("5.3.3", "the chat server cannot do this"),
    "forbidden": ("5.7.1", "the chat server does not allow it"),
    "gone": ("5.1.6", "the chat user has another address now"),
    "item-not-found": ("5.1.1", "there is no such chat user"),
    "jid-malformed": ("5.1.3", "the address is ill-formed"),
    "not-acceptable": ("5.7.1", "the chat user does not accept it"),
    "not-allowed": ("5.7.1", "the chat server does not allow it"),
    "not-authorized": ("5.7.1", "the chat server does not allow it"),
    "payment-required": ("5.7.1", "the chat server wants to be paid for it"),
    "policy-violation": ("5.7.1", "the chat server's policy is against it"),
    "redirect": ("5.1.6", "the chat user has another address now"),
    "registration-required": ("5.7.1", "the chat server wants a registration first"),
    "service-unavailable": ("5.1.1", "there is no such chat user, or nobody keeps messages for them"),
    "subscription-required": ("5.7.1", "the chat user takes messages of contacts alone"),
}
_WAITS: Final = {
    "internal-server-error": ("4.3.0", "the chat server is in trouble", Scope.RECIPIENT),
    "recipient-unavailable": ("4.2.1", "the chat user cannot be reached now", Scope.RECIPIENT),
    "remote-server-not-found": ("4.4.4", "the chat user's server is not found", Scope.HOP),
    "remote-server-timeout": ("4.4.1", "the chat user's server does not answer", Scope.HOP),
    "resource-constraint": ("4.2.2", "the chat server keeps no more messages for this user", Scope.RECIPIENT),
    "unexpected-request": ("4.3.0", "the chat server does not expect it now", Scope.RECIPIENT),
}
_STREAM: Final = {
    "conflict": "another connection has the component's name; it can have one",
    "host-unknown": "the chat server knows no component of this name",
    "host-gone": "the chat server knows no component of this name any more",
    "not-authorized": "the chat server does not take the component's secret",
    "invalid-from": "the chat server does not take the sender's address",
    "policy-violation": "the chat server's policy is against it",
    "reset": "the chat server begins anew",
    "resource-constraint": "the chat server has too much to do",
    "system-shutdown": "the chat server stops",
}


class LinkDown(Exception):
    """There is no connection to the server, or it was lost; `status` says why."""

    def __init__(self, text: str, cause: str = "") -> None:
        super().__init__(text)
        self.status = Status("4.4.1", text, cause=cause)

    @property
    def outcome(self) -> Deferred:
        return Deferred(self.status, Scope.HOP)


def outcome_of(condition: str, kind: str, text: str) -> Outcome:
    """Return what a stanza error means for its recipient; `kind` is its type: auth, cancel, modify, wait."""
    cause = f"{condition} ({kind})" + (f": {text[:300]}" if text else "")
    if condition in _WAITS:
        code, words, scope = _WAITS[condition]
        return Deferred(Status(code, words, cause=cause), scope)
    if kind == "wait":
        return Deferred(Status("4.3.0", "the chat server does not take it now", cause=cause))
    if condition in _FAILS:
        code, words = _FAILS[condition]
        return Failed(Status(code, words, cause=cause))
    if kind in ("auth", "cancel", "modify"):
        return Failed(Status("5.3.0", "the chat server refuses the message", cause=cause))
    return Deferred(Status("4.3.0", "the chat server says something that is not known here", cause=cause))


def stream_text(condition: str) -> str:
    """Return in words what a stream error means."""
    return _STREAM.get(condition, "the chat server has closed the connection")


def condition_of(status: Status) -> tuple[str, str]:
    """Return the condition and the type of the error by which a chat user is told a status."""
    if not status.is_permanent:
        return "resource-constraint", "wait"
    subject = status.code.split(".")[1]
    if status.code in ("5.1.1", "5.1.2", "5.1.6", "5.4.4"):
        return "item-not-found", "cancel"
    if status.code == "5.1.3":
        return "jid-malformed", "modify"
    return ("forbidden", "auth") if subject == "7" else ("not-acceptable", "modify")
