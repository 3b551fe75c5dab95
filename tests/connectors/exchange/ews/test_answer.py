"""Answers read, and what each fault means: tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.exchange.ews.answer import (
    Answer,
    CutOff,
    HttpFault,
    NotSent,
    SoapFault,
    answers,
    fault,
    refusal,
    retry_after,
    short,
    stamp,
    when,
)
from connectors.exchange.ews.xml import element, plain, truth
from gateway.contract import Scope
from tests.connectors.exchange.ews import canned
from tests.connectors.exchange.ews.canned import answer, envelope, message

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("code", "why", "scope", "everywhere"),
    [
        ("ErrorServerBusy", "busy", Scope.HOP, True),
        ("ErrorExceededConnectionCount", "busy", Scope.HOP, True),
        ("ErrorTooManyObjectsOpened", "busy", Scope.HOP, True),
        ("ErrorInsufficientResources", "busy", Scope.HOP, True),
        ("ErrorMailboxStoreUnavailable", "busy", Scope.HOP, False),
        ("ErrorMailboxMoveInProgress", "busy", Scope.HOP, False),
        ("ErrorInternalServerTransientError", "busy", Scope.HOP, False),
        ("ErrorImpersonateUserDenied", "denied", Scope.HOP, False),
        ("ErrorAccessDenied", "denied", Scope.HOP, False),
        ("ErrorInternalServerError", "unknown", Scope.HOP, False),
        ("ErrorTimeoutExpired", "unknown", Scope.HOP, False),
        ("ErrorQuotaExceeded", "refused", Scope.RECIPIENT, False),
        ("ErrorItemNotFound", "refused", Scope.RECIPIENT, False),
        ("ErrorNobodyKnowsThis", "refused", Scope.RECIPIENT, False),
    ],
)
def test_codes(code: str, why: str, scope: Scope, everywhere: bool) -> None:
    for told in (fault(SoapFault(code, "text", 3.0)), refusal(Answer("Error", code, "text", None))):
        assert (told.code, told.text, told.why, told.scope, told.everywhere) == (code, "text", why, scope, everywhere)
    assert fault(SoapFault(code, "", 3.0)).retry_after_s == 3.0


def test_a_lost_sync_state_is_told_by_one_name() -> None:
    assert fault(SoapFault("ErrorInvalidSyncStateData")).code == "SyncStateLost"
    assert refusal(Answer("Error", "ErrorInvalidSyncStateData", "", None)).code == "SyncStateLost"


@pytest.mark.parametrize(
    ("error", "code", "why"),
    [
        (HttpFault(401), "HTTP 401", "denied"),
        (HttpFault(403), "HTTP 403", "denied"),
        (HttpFault(413), "HTTP 413", "refused"),
        (HttpFault(404), "HTTP 404", "refused"),
        (HttpFault(429, "", 5.0), "HTTP 429", "busy"),
        (HttpFault(503), "HTTP 503", "busy"),
        (HttpFault(500), "HTTP 500", "unknown"),
        (HttpFault(502), "HTTP 502", "unknown"),
        (HttpFault(504), "HTTP 504", "unknown"),
        (HttpFault(302), "HTTP 302", "unreachable"),
        (HttpFault(200, "a page"), "HTTP 200", "unreachable"),
        (NotSent("no"), "NotSent", "unreachable"),
        (CutOff("no"), "CutOff", "unknown"),
        (ZeroDivisionError("secret"), "Unexpected", "unknown"),
    ],
)
def test_faults_without_a_code(error: Exception, code: str, why: str) -> None:
    told = fault(error)
    assert (told.code, told.why) == (code, why)
    assert "secret" not in told.text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("", None), ("0", None), ("7", 7.0), (" 7 ", 7.0), ("-7", None), ("soon", None),
        ("99999999", 3600.0), ("1e3", None), ("\u0667", None), ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:10 GMT", None), ("Tue, 99 Nov 2023 22:13:50 GMT", None),
    ],
)  # fmt: skip
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("said", "seconds"), [(None, None), (0, None), (-5, None), (1, 0.001), (7500, 7.5), (10**12, 3600.0)]
)
def test_back_off(said: int | None, seconds: float | None) -> None:
    with pytest.raises(SoapFault) as told:
        answers(canned.fault("ErrorServerBusy", back_off_ms=said), "GetItem")
    assert (told.value.code, told.value.back_off_s) == ("ErrorServerBusy", seconds)


def test_a_fault_without_detail_is_known_by_its_faultcode() -> None:
    said = envelope(
        "<s:Fault><faultcode>a:ErrorSchemaValidation</faultcode>"
        "<faultstring>The request\n failed</faultstring></s:Fault>"
    )
    with pytest.raises(SoapFault) as told:
        answers(said, "GetItem")
    assert (told.value.code, told.value.text) == ("ErrorSchemaValidation", "The request failed")


def test_each_message_is_an_answer_whatever_its_code() -> None:
    said = answer(
        "GetItem",
        message("GetItem"),
        message("GetItem", "", "ErrorItemNotFound", "gone"),
        message("GetItem", "", "ErrorOfNextYear", "?", "Warning"),
        message("GetItem", "", "not a code\r\n"),
    )
    found, mended = answers(said, "GetItem")
    assert not mended
    assert [(each.result, each.code, each.text, each.ok) for each in found] == [
        ("Success", "NoError", "", True),
        ("Error", "ErrorItemNotFound", "gone", False),
        ("Warning", "ErrorOfNextYear", "?", False),
        ("Error", "ErrorUnreadableCode", "", False),
    ]


def test_an_answer_without_a_list_is_one() -> None:
    inner = "<m:ResponseCode>NoError</m:ResponseCode><m:People/>"
    said = envelope(f'<m:FindPeopleResponse ResponseClass="Success">{inner}</m:FindPeopleResponse>')
    found, _ = answers(said, "FindPeople")
    assert [each.code for each in found] == ["NoError"]


@pytest.mark.parametrize("cut", range(0, 600, 13))
def test_no_part_of_an_answer_passes_for_the_whole(cut: int) -> None:
    whole = answer("GetItem", message("GetItem", "<m:Items/>"))
    if cut >= len(whole):
        pytest.skip("beyond it")
    with pytest.raises(CutOff):
        answers(whole[:cut], "GetItem")


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 60))
def test_whatever_comes_is_an_answer_or_is_none(octets: bytes, at: int, less: int) -> None:
    whole = answer("GetItem", message("GetItem", "<m:Items/>"))
    try:
        found, _ = answers(whole[:at] + octets + whole[at + less :], "GetItem")
    except (CutOff, SoapFault):
        return
    assert all(isinstance(each, Answer) for each in found)


def test_entities_are_not_made() -> None:
    bomb = '<!DOCTYPE s [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    said = envelope("<m:GetItemResponse>&b;</m:GetItemResponse>").decode().replace("?>", f"?>{bomb}", 1).encode()
    with pytest.raises(CutOff):
        answers(said, "GetItem")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2023-11-14T22:13:20Z", NOW), ("2023-11-14T22:13:20.5Z", NOW + 0.5), ("2023-11-14T23:13:20+01:00", NOW),
        ("2023-11-14T22:13:20", NOW), ("", None), (None, None), ("yesterday", None),
    ],
)  # fmt: skip
def test_times(text: str | None, seconds: float | None) -> None:
    assert when(text) == seconds


def test_times_go_out_in_whole_seconds() -> None:
    assert [stamp(each) for each in (NOW + 0.999, 0, -5)] == [
        "2023-11-14T22:13:20Z",
        "1970-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
    ]


def test_a_servers_words_fit_one_line() -> None:
    assert short("a\r\nb\x00 \x1b[31mc\u2028d") == "a b [31mc d"
    assert len(short("x" * 10_000)) == 300
    assert short(None) == ""


def test_texts_lose_what_xml_cannot_hold() -> None:
    assert plain("a\x00b\x1f\ud800\ufffe\tc\u00e9\U0001f600") == "ab\tc\u00e9\U0001f600"
    assert element("t:Value", text="\x01<&>").text == "<&>"


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("1", True), (" true ", True), ("false", False), ("0", False), (None, False), ("TRUE", False)],
)
def test_booleans(text: str | None, value: bool) -> None:
    assert truth(text) is value
