"""Each code has its outcome, row by row; every code of the schema has one; none that is unknown bounces a mail."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from connectors.exchange.ews.answer import HttpFault, NotSent, SoapFault
from connectors.exchange.ews.answer import fault as of_request
from connectors.exchange.faults import BUSY_S, DENIED_S, Mode, is_of_one, needs_operator, outcome
from connectors.exchange.organisation import Fault, Why
from gateway.contract import Deferred, Failed, Outcome, Scope

R, M, H = Scope.RECIPIENT, Scope.MESSAGE, Scope.HOP
SCHEMA = os.environ.get("GATEPOST_EWS_SCHEMA")


def told(made: Outcome) -> tuple[str, Scope | None]:
    return made.status.code, made.scope if isinstance(made, Deferred) else None


@pytest.mark.parametrize(
    ("code", "status", "scope"),
    [
        ("ErrorServerBusy", "4.4.5", H),
        ("ErrorExceededConnectionCount", "4.4.5", H),
        ("ErrorTooManyObjectsOpened", "4.4.5", H),
        ("ErrorSubmissionQuotaExceeded", "4.4.5", H),
        ("ErrorInsufficientResources", "4.4.5", H),
        ("ErrorMailboxStoreUnavailable", "4.3.2", H),
        ("ErrorMailboxMoveInProgress", "4.3.2", H),
        ("ErrorMailboxFailover", "4.3.2", H),
        ("ErrorConnectionFailed", "4.3.2", H),
        ("ErrorADUnavailable", "4.3.2", H),
        ("ErrorInternalServerError", "4.3.2", H),
        ("ErrorInternalServerTransientError", "4.3.2", H),
        ("ErrorTimeoutExpired", "4.3.2", H),
        ("ErrorQuotaExceeded", "4.2.2", R),
        ("ErrorMessagePerFolderCountReceiveQuotaExceeded", "4.2.2", R),
        ("ErrorMessageSizeExceeded", "5.3.4", None),
        ("HTTP 413", "5.3.4", None),
        ("ErrorNonExistentMailbox", "5.1.1", None),
        ("ErrorMailRecipientNotFound", "5.1.1", None),
        ("ErrorRecipientNotFound", "5.1.1", None),
        ("ErrorMissingRecipients", "5.1.3", None),
        ("ErrorInvalidRecipients", "5.1.3", None),
        ("ErrorAccountDisabled", "4.2.1", R),
        ("ErrorMailboxLogonFailed", "4.2.1", R),
        ("ErrorAccessDenied", "4.7.1", H),
        ("ErrorCreateItemAccessDenied", "4.7.1", H),
        ("ErrorImpersonateUserDenied", "4.7.1", H),
        ("ErrorImpersonationDenied", "4.7.1", H),
        ("ErrorImpersonationFailed", "4.7.1", H),
        ("ErrorSendAsDenied", "5.7.1", None),
        ("ErrorMimeContentInvalid", "5.6.0", None),
        ("ErrorMimeContentInvalidBase64String", "5.6.0", None),
        ("ErrorMimeContentConversionFailed", "4.6.0", R),
        ("ErrorContentConversionFailed", "4.6.0", R),
        ("ErrorVirusDetected", "5.7.1", None),
        ("ErrorVirusMessageDeleted", "5.7.1", None),
        ("ErrorFolderNotFound", "4.2.0", M),
        ("ErrorSchemaValidation", "4.3.5", R),
        ("ErrorInvalidRequest", "4.3.5", R),
        ("ErrorInvalidOperation", "4.3.5", R),
        ("ErrorIrresolvableConflict", "4.3.0", R),
        ("HTTP 401", "4.7.8", H),
        ("HTTP 403", "4.7.1", H),
        ("HTTP 429", "4.4.5", H),
        ("HTTP 500", "4.4.5", H),
        ("HTTP 503", "4.4.5", H),
        ("HTTP 302", "4.4.1", H),
        ("HTTP 200", "4.4.1", H),
        ("HTTP 404", "4.4.1", H),
        ("HTTP 507", "4.3.1", H),
        ("HTTP 418", "4.3.0", H),
        ("MailboxConcurrency", "4.4.5", H),
        ("ApplicationThrottled", "4.4.5", H),
        ("MailboxNotEnabledForRESTAPI", "5.1.1", None),
        ("ErrorInvalidUser", "5.1.1", None),
        ("InvalidAuthenticationToken", "4.7.8", H),
        ("invalid_client", "4.7.8", H),
        ("no token", "4.7.8", H),
        ("ErrorNeverHeardOf", "4.3.0", R),
        ("", "4.3.0", R),
    ],
)
def test_each_code_has_its_outcome(code: str, status: str, scope: Scope | None) -> None:
    assert told(outcome(Fault(code, "so it says"))) == (status, scope)


@pytest.mark.parametrize(
    ("why", "status", "scope"),
    [
        ("unreachable", "4.4.1", H),
        ("unknown", "4.4.2", H),
        ("busy", "4.3.2", H),
        ("denied", "4.7.1", H),
        ("refused", "4.3.0", R),
    ],
)
def test_a_fault_without_a_known_code_goes_by_what_became_of_the_request(why: Why, status: str, scope: Scope) -> None:
    assert told(outcome(Fault("Whatever", "", why))) == (status, scope)


def test_a_token_that_nobody_gives_is_no_failed_login() -> None:
    made = outcome(Fault("no token", "name not resolved", "unreachable", everywhere=True))
    assert (told(made), getattr(made, "retry_after_s", None)) == (("4.4.1", H), None)
    assert told(outcome(Fault("no token", "", "denied"))) == ("4.7.8", H)


def codes() -> list[str]:
    text = (Path(SCHEMA or "") / "ms-interop-mit/MS-OXWSCDATA-messages.xsd").read_text(encoding="utf-8-sig")
    start = text.index('"ResponseCodeType"')
    return re.findall(r'value="(\w+)"', text[start : text.index("simpleType>", start)])


@pytest.mark.skipif(not SCHEMA, reason="GATEPOST_EWS_SCHEMA names no schema")
@pytest.mark.parametrize("mode", ["deliver", "send"])
def test_every_code_of_the_schema_has_an_outcome(mode: Mode) -> None:
    found = [code for code in codes() if code != "NoError"]
    assert len(found) == 469
    final: dict[str, str] = {}
    for code in found:
        made = outcome(of_request(SoapFault(code, "text")), mode)
        assert made.status.text, code
        assert isinstance(made, Deferred) == made.status.code.startswith("4"), code
        if isinstance(made, Failed):
            final[code] = made.status.code
    known = {
        "ErrorMessageSizeExceeded", "ErrorAttachmentSizeLimitExceeded", "ErrorRequestStreamTooBig",
        "ErrorNonExistentMailbox", "ErrorMailRecipientNotFound", "ErrorRecipientNotFound", "ErrorMissingRecipients",
        "ErrorInvalidRecipients", "ErrorInvalidSmtpAddress", "ErrorSendAsDenied", "ErrorMimeContentInvalid",
        "ErrorMimeContentInvalidBase64String", "ErrorVirusDetected", "ErrorVirusMessageDeleted",
    }  # fmt: skip
    assert set(final) == known - ({"ErrorNonExistentMailbox"} if mode == "send" else set())


@pytest.mark.parametrize("code", ["ErrorMimeContentConversionFailed", "ErrorContentConversionFailed"])
def test_a_conversion_is_tried_once_more_before_it_counts(code: str) -> None:
    assert told(outcome(Fault(code), attempts=0)) == ("4.6.0", R)
    assert told(outcome(Fault(code), attempts=1)) == ("5.6.0", None)
    assert told(outcome(Fault("ErrorMimeContentInvalid"), attempts=0)) == ("5.6.0", None)


@pytest.mark.parametrize("code", ["ErrorNonExistentMailbox", "ErrorAccountDisabled", "ErrorQuotaExceeded"])
def test_what_is_wrong_with_the_mailbox_that_sends_bounces_nothing(code: str) -> None:
    made = outcome(Fault(code), "send")
    assert told(made) == ("4.3.5", H)
    assert "the mailbox that sends" in made.status.text
    assert told(outcome(Fault("ErrorRecipientNotFound"), "send")) == ("5.1.1", None)


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (of_request(SoapFault("ErrorServerBusy", back_off_s=7.0)), 7.0),
        (of_request(SoapFault("ErrorServerBusy")), BUSY_S),
        (of_request(HttpFault(503, retry_after_s=12.0)), 12.0),
        (of_request(HttpFault(401)), DENIED_S),
        (of_request(NotSent("refused")), None),
    ],
)
def test_the_servers_own_word_is_how_long_to_wait(fault: Fault, seconds: float | None) -> None:
    made = outcome(fault)
    assert isinstance(made, Deferred)
    assert (made.scope, made.retry_after_s) == (H, seconds)


def test_words_of_others_are_printable_and_short() -> None:
    made = outcome(Fault("ErrorQuotaExceeded", "full\r\nX: y\0" + "z" * 5000))
    assert made.status.reply.startswith("ErrorQuotaExceeded: full  X: y ")
    assert made.status.reply.isprintable()
    assert len(made.status.reply) == 300
    assert not made.status.cause
    assert outcome(Fault("CutOff", "reset", "unknown")).status.cause == "CutOff: reset"


@pytest.mark.parametrize(
    ("fault", "one"),
    [
        (Fault("HTTP 413"), True),
        (Fault("ErrorMimeContentInvalid"), True),
        (Fault("ErrorSchemaValidation"), True),
        (Fault("ErrorInvalidRecipients"), True),
        (Fault("ErrorRecipientNotFound"), True),
        (Fault("ErrorQuotaExceeded"), False),
        (Fault("ErrorNonExistentMailbox"), False),
        (Fault("ErrorServerBusy", why="busy"), False),
        (Fault("CutOff", why="unknown"), False),
        (Fault("Whatever"), False),
    ],
)
def test_whose_fault_it_may_be(fault: Fault, one: bool) -> None:
    assert is_of_one(fault) is one


def test_what_an_operator_has_to_mend() -> None:
    assert needs_operator(of_request(SoapFault("ErrorImpersonateUserDenied")))
    assert needs_operator(of_request(HttpFault(401)))
    assert not needs_operator(of_request(SoapFault("ErrorAccountDisabled")))
    assert not needs_operator(of_request(SoapFault("ErrorServerBusy")))
