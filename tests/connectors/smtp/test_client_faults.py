"""The table of refusals, row by row: what a reply at a stage means, and how far it reaches."""

from __future__ import annotations

import pytest

from connectors.smtp import faults
from connectors.smtp.client_wire import Reply, Stage
from tests.connectors.smtp.client_kit import word

ROWS: list[tuple[Stage, str, str]] = [
    # the host: whatever it says, nothing about any message
    (Stage.GREETING, "421 4.3.2 busy", "deferred 4.3.2 hop"),
    (Stage.GREETING, "554 5.7.1 blocked", "deferred 4.7.1 hop"),
    (Stage.GREETING, "554 no service", "deferred 4.0.0 hop"),
    (Stage.GREETING, "521 no mail here", "failed 5.3.2"),  # RFC 7504 §4
    (Stage.HELLO, "550 bad name", "deferred 4.1.0 hop"),
    (Stage.STARTTLS, "454 4.7.0 not now", "deferred 4.7.0 hop"),
    (Stage.AUTH, "535 5.7.8 wrong", "deferred 4.7.8 hop"),
    (Stage.AUTH, "454 4.7.0 temporary", "deferred 4.7.0 hop"),
    # an operator mends it; mail must not bounce meanwhile
    (Stage.MAIL, "530 5.7.0 authenticate first", "deferred 4.7.0 hop"),
    (Stage.MAIL, "530 5.7.0 Must issue a STARTTLS command first", "deferred 4.7.0 hop"),
    (Stage.RCPT, "538 5.7.11 encryption needed", "deferred 4.7.11 hop"),
    # the message
    (Stage.MAIL, "550 5.1.8 bad sender", "failed 5.1.8"),
    (Stage.MAIL, "552 5.3.4 too big", "failed 5.3.4"),
    (Stage.MAIL, "552 too big", "failed 5.3.4"),
    (Stage.MAIL, "450 4.1.8 sender's domain not found", "deferred 4.1.8 message"),
    (Stage.MAIL, "452 4.3.4 too big for now", "deferred 4.3.4 message"),
    (Stage.MAIL, "451 4.3.0 queue file", "deferred 4.3.0 hop"),
    (Stage.MAIL, "452 no space", "deferred 4.3.1 hop"),
    (Stage.DATA, "451 4.3.0 filter down", "deferred 4.3.0 message"),
    (Stage.DATA, "554 5.5.1 no valid recipients", "failed 5.5.1"),
    (Stage.DOT, "550 5.7.1 spam", "failed 5.7.1"),
    (Stage.DOT, "554 refused", "failed 5.0.0"),
    (Stage.DOT, "451 4.7.1 later", "deferred 4.7.1 message"),
    (Stage.DOT, "452 4.3.1 disk full", "deferred 4.3.1 hop"),
    # one recipient
    (Stage.RCPT, "550 5.1.1 who?", "failed 5.1.1"),
    (Stage.RCPT, "550 who?", "failed 5.1.0"),
    (Stage.RCPT, "551 moved", "failed 5.1.6"),
    (Stage.RCPT, "553 syntax", "failed 5.1.3"),
    (Stage.RCPT, "556 domain takes no mail", "failed 5.1.10"),  # RFC 7504
    (Stage.RCPT, "450 grey", "deferred 4.2.0 recipient"),
    (Stage.RCPT, "451 4.3.0 greylisted", "deferred 4.3.0 recipient"),
    (Stage.RCPT, "452 4.2.2 over quota", "deferred 4.2.2 recipient"),
    (Stage.RCPT, "452 4.3.1 disk full", "deferred 4.3.1 hop"),
    # the connection
    (Stage.RCPT, "421 4.7.0 too fast", "deferred 4.7.0 hop"),
    (Stage.DOT, "421 4.4.2 time-out", "deferred 4.4.2 hop"),
    # an enhanced code of another class than the reply's is not believed
    (Stage.RCPT, "550 4.2.0 what", "failed 5.1.0"),
    (Stage.RCPT, "450 5.1.1 what", "deferred 4.2.0 recipient"),
    (Stage.RCPT, "550 5.1.1.1 what", "failed 5.1.0"),
]


def reply(text: str) -> Reply:
    return Reply(int(text[:3]), (text[4:].encode(),))


@pytest.mark.parametrize(("stage", "said", "expected"), ROWS, ids=[f"{row[0].value} {row[1]}" for row in ROWS])
def test_refusals(stage: Stage, said: str, expected: str) -> None:
    outcome = faults.refused(stage, reply(said), "mx.example")
    assert word(outcome) == expected
    assert (outcome.status.reply, outcome.status.remote) == (said, "mx.example")


def test_under_lmtp_the_dot_speaks_of_one_recipient() -> None:
    said = reply("452 4.2.2 over quota")
    assert word(faults.refused(Stage.DOT, said, "x", lmtp=True)) == "deferred 4.2.2 recipient"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("452 4.5.3 too many recipients", True),
        ("452 too many recipients", True),
        ("552 too many recipients", True),
        ("552 5.5.3 too many recipients", True),
        ("550 5.5.3 too many recipients", True),
        ("452 4.2.2 over quota", False),
        ("552 5.2.2 over quota", False),
        ("450 4.2.0 grey", False),
        ("550 no", False),
    ],
)
def test_a_transaction_that_is_full(said: str, expected: bool) -> None:
    assert faults.too_many(reply(said)) is expected


def test_a_code_in_the_last_line_alone_counts() -> None:
    told = faults.status(Reply(550, (b"Mailbox unknown. It may", b"be gone.", b"5.1.1 User unknown")), "mx.example")
    assert told.code == "5.1.1"
    assert told.text == "Mailbox unknown. It may be gone. 5.1.1 User unknown"
    assert faults.status(Reply(550, (b"what", b"4.1.1 is no 550")), "mx.example").code == "5.1.0"


def test_text_for_people_is_the_peers_without_its_codes() -> None:
    status = faults.status(Reply(550, (b"5.1.1 <b@y.example>: no such", b"5.1.1 person")), "mx.example")
    assert status.text == "<b@y.example>: no such 5.1.1 person"
    assert status.reply == "550 5.1.1 <b@y.example>: no such 5.1.1 person"
