"""What refusals mean, row by row."""

from __future__ import annotations

import pytest

from connectors.imap.connection import Closed, NotLoggedIn, Refused
from connectors.imap.faults import CODES, back_off_s, fault_of, status_of
from connectors.imap.wire.responses import Said, response
from connectors.imap.wire.tokens import WireError
from gateway.contract import Scope, Status, StoreFault


def said(line: str) -> Said:
    """Return what a server said."""
    made = response([f"g1 {line}".encode()])
    assert isinstance(made, Said)
    return made


@pytest.mark.parametrize(
    ("line", "code", "scope"),
    [
        ("NO [OVERQUOTA] full", "4.2.2", Scope.RECIPIENT),
        ("NO Mailbox is full", "4.2.2", Scope.RECIPIENT),
        ("NO Over quota", "4.2.2", Scope.RECIPIENT),
        ("NO [LIMIT] too many messages", "4.7.28", Scope.RECIPIENT),
        ("NO [THROTTLED]", "4.7.28", Scope.RECIPIENT),
        ("BAD Too many simultaneous connections", "4.7.28", Scope.RECIPIENT),
        ("NO Account exceeded bandwidth limits", "4.7.28", Scope.RECIPIENT),
        ("NO [INUSE] locked", "4.2.1", Scope.RECIPIENT),
        ("NO [UNAVAILABLE] back end", "4.3.2", Scope.HOP),
        ("NO [SERVERBUG] oh", "4.3.0", Scope.MESSAGE),
        ("NO [TOOBIG] no", "5.3.4", Scope.MESSAGE),
        ("NO message too large", "5.3.4", Scope.MESSAGE),
        ("NO Maximum size of appendable message has been exceeded.", "5.3.4", Scope.MESSAGE),
        ("NO [CANNOT] such a name", "5.3.3", Scope.MESSAGE),
        ("NO [nonexistent] no such folder", "4.2.0", Scope.MESSAGE),
        ("NO [AUTHENTICATIONFAILED] no", "4.7.8", Scope.RECIPIENT),
        ("NO [X-NEW] and words", "4.3.0", Scope.MESSAGE),
        ("NO", "4.3.0", Scope.MESSAGE),
        ("BAD what?", "5.5.1", Scope.MESSAGE),
    ],
)
def test_a_refusal(line: str, code: str, scope: Scope) -> None:
    found = fault_of(Refused(said(line)), unknown=True)
    assert (found.status.code, found.scope, found.unknown) == (code, scope, False)
    assert status_of(said(line)).code == code


def test_every_code_is_a_status() -> None:
    assert all(not Status(code).is_success for code, _ in CODES.values())


def test_a_log_in() -> None:
    assert fault_of(NotLoggedIn(said("NO Login failed: wrong")), unknown=False).status.code == "4.7.8"
    assert fault_of(NotLoggedIn(said("BAD what?")), unknown=False).scope is Scope.RECIPIENT
    assert fault_of(NotLoggedIn(said("NO [UNAVAILABLE] later")), unknown=False).status.code == "4.3.2"


def test_a_connection() -> None:
    lost = fault_of(Closed("the server hung up: retry in 5 seconds"), unknown=True)
    assert (lost.status.code, lost.scope, lost.unknown, lost.retry_after_s) == ("4.4.2", Scope.HOP, True, 5)
    assert fault_of(WireError("what is this"), unknown=False).status.code == "4.4.2"
    assert fault_of(ConnectionRefusedError("no"), unknown=True).unknown is False  # nothing was said yet
    already = StoreFault(Status("4.2.0"))
    assert fault_of(already, unknown=True) is already


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Request is throttled. Suggested Backoff Time: 299961 milliseconds", 299.961),
        ("retry after 20 seconds", 20),
        ("Please retry in 3 s", 3),
        ("backoff 5000", 5),
        ("back-off: 500 ms", 0.5),
        ("retry in 999999999 seconds", 86400),
        ("come again", None),
        ("try 7 times", None),
    ],
)
def test_a_back_off(text: str, seconds: float | None) -> None:
    assert back_off_s(text) == seconds
