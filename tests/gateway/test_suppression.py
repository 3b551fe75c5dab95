"""X-Auto-Response-Suppress: read as MS-OXCMAIL says, heeded in what is reported, carried by what we write."""

from __future__ import annotations

import pytest

from gateway.message import Content, Notify
from gateway.suppression import ALL, Suppress, notify, of, wants_no_answer

N = Notify
S = Suppress


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"", S.NONE),
        (b"None", S.NONE),
        (b"All", ALL),
        (b"all\r\n", ALL),
        (b"DR", S.DR),
        (b"DR, NDR, RN, NRN, OOF, AutoReply", ALL),
        (b"dr,OOF , autoreply", S.DR | S.OOF | S.AUTO_REPLY),
        (b"OOF;\r\n NRN", S.OOF | S.NRN),
        (b"RN, frog, 7, =?utf-8?q?DR?=", S.RN),
        (b"x" * 5000 + b", DR", S.NONE),
    ],
)
def test_the_fields_words(value: bytes, found: Suppress) -> None:
    assert of(Content(b"From: a@b.example\r\nX-Auto-Response-Suppress: " + value + b"\r\n\r\nDR\r\n")) == found


def test_several_fields_count_together_and_none_is_none() -> None:
    assert of(Content(b"X-Auto-Response-Suppress: DR\r\nx-auto-response-suppress: OOF\r\n\r\n")) == S.DR | S.OOF
    assert of(Content(b"Subject: DR\r\n\r\nX-Auto-Response-Suppress: All\r\n")) == S.NONE


@pytest.mark.parametrize(
    ("value", "none"), [(b"OOF", True), (b"AutoReply", True), (b"All", True), (b"DR, NDR, RN, NRN", False)]
)
def test_who_wants_no_answer(value: bytes, none: bool) -> None:
    assert wants_no_answer(Content(b"X-Auto-Response-Suppress: " + value + b"\r\n\r\n")) is none


@pytest.mark.parametrize(
    ("given", "suppressed", "then"),
    [
        (N.UNSET, S.NONE, N.UNSET),
        (N.UNSET, S.OOF | S.RN, N.UNSET),
        (N.UNSET, S.DR, N.UNSET),
        (N.UNSET, S.NDR, N.NEVER),
        (N.UNSET, ALL, N.NEVER),
        (N.NEVER, ALL, N.NEVER),
        (N.SUCCESS, S.DR, N.NEVER),
        (N.SUCCESS, S.NDR, N.SUCCESS),
        (N.SUCCESS | N.FAILURE | N.DELAY, S.DR, N.FAILURE | N.DELAY),
        (N.SUCCESS | N.FAILURE, S.NDR, N.SUCCESS),
        (N.FAILURE, S.DR, N.FAILURE),
        (N.FAILURE | N.DELAY, S.DR, N.FAILURE | N.DELAY),
    ],
)
def test_which_reports_are_left(given: Notify, suppressed: Suppress, then: Notify) -> None:
    assert notify(given, suppressed) == then
