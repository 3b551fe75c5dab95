"""Somebody is away: who is told, how often, and who never is."""

from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest

from connectors.folders.local.answered import Answered
from gateway.contract import MailRules, Notify, Status, Vacation
from tests.connectors.folders.local.kit import MESSAGE, NOW, Place, smtp

AWAY = MailRules(
    "Ann Lée",
    (smtp("ann@acme.example"), smtp("ann.lee@acme.example")),
    vacation=Vacation("I am away until May.\nÄnn", days=7),
)
DAY = 86_400.0


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path, create=True)
    made.rules["ann@acme.example"] = AWAY
    return made


def answers(place: Place) -> list[EmailMessage]:
    return [cast(EmailMessage, message_from_bytes(one.octets, policy=policy.default)) for one in place.intake.accepted]


def test_the_sender_is_told(place: Place) -> None:
    message = MESSAGE.replace(b"Subject: hi", b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nReferences: <0@else.example>")
    assert place.deliver(message=message)[0].status.code == "2.1.5"
    (accepted,) = place.intake.accepted
    envelope = accepted.message.envelope
    assert envelope.reverse_path is None
    assert [(each.address, each.notify) for each in envelope.recipients] == [(smtp("bob@else.example"), Notify.NEVER)]
    (answer,) = answers(place)
    assert answer["From"] == "Ann Lée <ann@acme.example>"
    assert answer["To"] == "bob@else.example"
    assert answer["Subject"] == "Auto: Grüße"
    assert answer["Auto-Submitted"] == "auto-replied"
    assert answer["X-Auto-Response-Suppress"] == "All"
    assert answer["In-Reply-To"] == "<1@else.example>"
    assert answer["References"] == "<0@else.example> <1@else.example>"
    assert answer["Message-ID"].endswith("@gw.kit.example>")
    assert answer.get_content().replace("\r\n", "\n") == "I am away until May.\nÄnn\n"


def test_one_with_an_address_beyond_ascii_is_away_too(place: Place) -> None:
    own = smtp("\u00e4nn@b\u00fccher.example")
    place.rules["ann@acme.example"] = replace(
        AWAY, name='Ann "the" L\u00e9e', addresses=(own, smtp("ann@acme.example"))
    )
    place.deliver()
    (accepted,) = place.intake.accepted
    assert accepted.message.envelope.smtputf8
    assert f'"Ann \\"the\\" L\u00e9e" <{own.value}>'.encode() in accepted.octets


def test_once_in_some_days_however_often_they_write(place: Place) -> None:
    for number in range(1, 4):
        place.deliver(number=number)
    place.deliver(number=4, sender="BOB@else.example")
    assert len(answers(place)) == 1
    place.now = NOW + 7 * DAY + 1
    place.deliver(number=5)
    assert len(answers(place)) == 2
    place.deliver(number=6, sender="carl@else.example")
    assert len(answers(place)) == 3


def test_the_same_delivery_again_makes_no_second_answer(place: Place) -> None:
    place.deliver(number=1)
    place.deliver(number=1)
    keys = {one.message.envelope.dedupe_key for one in place.intake.accepted}
    assert len(keys) == 1


def test_one_that_could_not_be_sent_is_sent_next_time(place: Place) -> None:
    place.intake.rejects = Status("4.3.1", "full")
    assert place.deliver(number=1)[0].status.code == "2.1.5"
    place.intake.rejects = None
    place.deliver(number=2)
    assert len(answers(place)) == 1


def test_one_that_cannot_be_written_keeps_no_message_waiting(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("something in it that nobody thought of")

    monkeypatch.setattr("connectors.folders.local.vacation.answer", fail)
    assert place.deliver(number=1)[0].status.code == "2.1.5"
    monkeypatch.undo()
    place.deliver(number=2)
    assert len(answers(place)) == 1


def test_its_time_and_its_own_subject(place: Place) -> None:
    assert AWAY.vacation is not None
    vacation = replace(AWAY.vacation, since=NOW + 10, until=NOW + 20, subject="Away")
    place.rules["ann@acme.example"] = replace(AWAY, vacation=vacation)
    for number, now in enumerate((NOW, NOW + 15, NOW + 20), start=1):
        place.now = now
        place.deliver(number=number, sender=f"bob{number}@else.example")
    assert [(one["To"], one["Subject"]) for one in answers(place)] == [("bob2@else.example", "Away")]


@pytest.mark.parametrize(
    "fields",
    [
        b"Auto-Submitted: auto-replied\r\n",
        b"Auto-Submitted: auto-generated; x=y\r\n",
        b"Precedence: bulk\r\n",
        b"Precedence: list\r\n",
        b"Precedence: junk\r\n",
        b"List-Id: <a.example>\r\n",
        b"List-Help: <mailto:x@y.example>\r\n",
        b"LIST-UNSUBSCRIBE: <mailto:x@y.example>\r\n",
        b"List-Archive: <x>\r\n",
        b"X-Auto-Response-Suppress: OOF\r\n",
    ],
)
def test_no_program_and_no_list_is_told(place: Place, fields: bytes) -> None:
    place.deliver(message=fields + MESSAGE)
    assert not answers(place)


@pytest.mark.parametrize(
    "sender",
    [
        None,
        "mailer-daemon@else.example",
        "MAILER-DAEMON@else.example",
        "postmaster@else.example",
        "owner-list@else.example",
        "list-owner@else.example",
        "list-request@else.example",
        "news-bounces+ann=acme.example@lists.example",
        "bounce-123@else.example",
        "noreply@else.example",
        "no-reply@else.example",
        "listserv@else.example",
        "ann@acme.example",
        "ann.lee@acme.example",
    ],
)
def test_no_machine_and_not_oneself(place: Place, sender: str | None) -> None:
    place.deliver(sender=sender)
    assert not answers(place)


@pytest.mark.parametrize(
    ("to", "is_told"),
    [
        (b"To: all@acme.example\r\n", False),
        (b"To: undisclosed-recipients:;\r\n", False),
        (b"", False),
        (b"X-To: ann@acme.example\r\n", False),
        (b'To: "ann@acme.example" <carl@acme.example>\r\n', False),
        (b"To: x@y.example,\r\n Ann <ANN.LEE@acme.example>\r\n", True),
        (b"Cc: ann+tag@acme.example\r\n", True),
        (b"Resent-To: ann@acme.example\r\n", True),
        (b"Bcc: ann@acme.example\r\n", True),
        (b"To: " + b":" * 5000 + b"\r\n" + b"Cc: ann@acme.example\r\n", True),
    ],
)
def test_only_where_the_person_is_named(place: Place, to: bytes, is_told: bool) -> None:
    place.deliver(message=MESSAGE.replace(b"To: ann@acme.example\r\n", to))
    assert bool(answers(place)) is is_told


def test_an_answer_to_an_answer_ends_there(tmp_path: Path) -> None:
    """Two who are away, each at a gateway of their own, write to each other: one answer each way at most."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = Place(tmp_path / "a", create=True), Place(tmp_path / "b", create=True)
    one.rules["ann@acme.example"] = AWAY
    other.rules["bob@else.example"] = replace(AWAY, name="Bob", addresses=(smtp("bob@else.example"),))
    one.deliver()
    (accepted,) = one.intake.accepted
    other.deliver("bob@else.example", accepted.octets, sender=None)
    other.deliver("bob@else.example", accepted.octets, sender="ann@acme.example", number=2)  # its envelope was broken
    assert not other.intake.accepted


def test_a_subject_breaks_no_header(place: Place) -> None:
    nasty = b"Subject: =?utf-8?q?a=0D=0ABcc:_x=40y.example?= =?bad?q?=zz?=\r\n"
    place.deliver(message=MESSAGE.replace(b"Subject: hi\r\n", nasty))
    (accepted,) = place.intake.accepted
    assert accepted.message.content.get(b"bcc") is None


def test_what_was_answered_is_remembered_by_the_file(tmp_path: Path) -> None:
    path = tmp_path / "answered"
    assert Answered(path).take("ann", "bob@x", "1-0", NOW, 7)
    assert Answered(path).take("ann", "bob@x", "1-0", NOW, 7)  # the same delivery, after a crash
    assert not Answered(path).take("ann", "bob@x", "2-0", NOW + 6 * DAY, 7)
    assert Answered(path).take("carl", "bob@x", "3-0", NOW, 7)
    Answered(path).give_back("ann", "bob@x", "9-0")
    assert not Answered(path).take("ann", "bob@x", "4-0", NOW + DAY, 7)
    Answered(path).give_back("ann", "bob@x", "1-0")
    assert Answered(path).take("ann", "bob@x", "5-0", NOW + DAY, 7)
    assert Answered(path).take("ann", "bob@x", "6-0", NOW + 8 * DAY, 7)
