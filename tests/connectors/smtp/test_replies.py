"""Replies: whatever the text holds, whole lines of printable ASCII within the limit."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.smtp.replies import refusal, reply
from gateway.contract import Status

LINES = re.compile(rb"(?:\d{3}-[ -~]*\r\n)*\d{3} [ -~]*\r\n")


@pytest.mark.parametrize(
    ("made", "octets"),
    [
        (reply(250, "2.0.0", "ok"), b"250 2.0.0 ok\r\n"),
        (reply(220, "", "gw.example ESMTP"), b"220 gw.example ESMTP\r\n"),
        (reply(250, "", "gw\nSIZE 1\nHELP"), b"250-gw\r\n250-SIZE 1\r\n250 HELP\r\n"),
        (reply(550, "5.1.1", ""), b"550 5.1.1 \r\n"),
        (reply(550, "5.1.1", "no\r\n250 ok"), b"550-5.1.1 no\r\n550 5.1.1 250 ok\r\n"),
        (reply(550, "5.1.1", "Grüße\0\x7f"), b"550 5.1.1 Gr?e?\r\n"),
    ],
)
def test_replies(made: bytes, octets: bytes) -> None:
    assert LINES.fullmatch(made)
    assert made == octets


@given(st.text(max_size=3000), st.sampled_from(["", "5.1.1"]))
def test_no_text_breaks_a_reply(text: str, enhanced: str) -> None:
    made = reply(550, enhanced, text)
    assert LINES.fullmatch(made)
    assert all(len(line) <= 510 for line in made.split(b"\r\n"))
    assert {line[:3] for line in made.split(b"\r\n")[:-1]} == {b"550"}


@pytest.mark.parametrize(
    ("code", "at_rcpt", "at_end"),
    [
        ("5.1.1", 550, 554),
        ("5.7.1", 550, 554),
        ("5.1.3", 553, 554),
        ("5.1.6", 551, 554),
        ("5.2.2", 552, 552),
        ("5.3.4", 552, 552),
        ("5.4.6", 550, 554),
        ("4.2.1", 450, 451),
        ("4.2.2", 452, 452),
        ("4.3.0", 450, 451),
        ("4.3.1", 452, 452),
        ("4.5.3", 452, 452),
        ("2.0.0", 451, 451),
    ],
)
def test_each_status_has_its_reply(code: str, at_rcpt: int, at_end: int) -> None:
    assert int(refusal(Status(code, "text"))[:3]) == at_rcpt
    assert int(refusal(Status(code, "text"), at_end=True)[:3]) == at_end


def test_the_cause_stays_in() -> None:
    assert b"secret" not in refusal(Status("5.7.1", "refused", cause="secret", reply="secret"))
