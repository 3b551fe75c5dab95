"""What users of other tools for moving mailboxes complain of: sizes, dates, receipts and names that do not come along.

Between real servers; what only others tell is put into a server's answers by a filter before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.contract import Folder
from gateway.sync.values import Policy
from tests.gateway.sync.memory import Memory
from tests.integration.sync_pair import Box, Two, bring_in_step, look, mail, notes, problems, user
from tests.peers.dovecot import Dovecot
from tests.peers.imap_filter import Answer, Command, ImapFilter

TWO_WAY = Policy(mode="two-way", delete="remove", min_removed=100)
LAYOUT = "maildir:~/Maildir:LAYOUT=fs"
"""In which a folder's name may have a dot."""
PREFIXED = "namespace inbox {\n  prefix = INBOX.\n}"


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Dovecot, Dovecot]]:
    with Dovecot(location=LAYOUT) as one, Dovecot(separator=".", settings=PREFIXED) as two:
        yield one, two


@pytest.fixture
def two(servers: tuple[Dovecot, Dovecot], tmp_path: Path) -> Two:
    name = user()
    return Two(Box(servers[0], name), Box(servers[1], name), tmp_path)


@pytest.mark.parametrize("told", [b"null", b"NIL", b"0", b"17"])
def test_a_server_that_tells_no_size_has_its_messages_passed_over(two: Two, told: bytes) -> None:
    """imapsync #271, imapsync #163: `RFC822.SIZE null`. What is fetched counts."""
    two.left.put(*(mail(n) for n in range(5)))
    alter = lambda response: re.sub(rb"RFC822\.SIZE [0-9]+", b"RFC822.SIZE " + told, response)  # noqa: E731
    with ImapFilter(two.left.server.port, alter=alter) as source:
        two.ports = source.port, 0
        report = two.step().report
        assert (report.copied, report.problems, report.skipped) == (5, 0, 0)
        two.forget()
        assert two.step().report.copied == 0
    assert two.right.octets() == two.left.octets()


@pytest.mark.parametrize("told", [b'"30-Dec-1899 00:00:00 +0000"', b'"31-Foo-2010 27:00:00 +0000"', b"NIL", b'""'])
def test_a_date_that_is_none_has_the_mail_sorted_by_the_day_of_the_move(two: Two, told: bytes) -> None:
    """imapsync #271: the day it was received at is that of its newest Received field, else of its Date field."""
    received = "from a.example by b.example; Sat, 01 Feb 2014 10:00:00 +0100"
    two.left.put(
        mail(1, Received=received, Date="Thu, 30 Jan 2014 10:00:00 +0100"),
        mail(2, Date="Thu, 30 Jan 2014 10:00:00 +0100"),
    )
    alter = lambda response: re.sub(rb'INTERNALDATE "[^"]*"', b"INTERNALDATE " + told, response)  # noqa: E731
    with ImapFilter(two.left.server.port, alter=alter) as source:
        two.ports = source.port, 0
        assert two.step().report.copied == 2
        assert two.step().report.copied == 0
    noted = notes(two.path)
    assert len(noted) == 2
    assert all("date" in text.lower() or "received" in text.lower() for text in noted), noted
    at = {each.octets.partition(b"\r\n")[0]: each.at for each in two.right.shown(".")}
    assert at == {b"Message-ID: <1@example.org>": 1391245200.0, b"Message-ID: <2@example.org>": 1391072400.0}


def test_receipts_are_sent_again_after_the_move(two: Two) -> None:
    """imapsync's documentation of Exchange: what was seen and asked for a receipt is marked as having had it."""
    asks = {"Disposition-Notification-To": "<boss@example.org>"}
    two.left.put(mail(1, **asks), mail(2), flags="\\Seen")
    two.left.put(mail(3, **asks))
    two.step(TWO_WAY)
    octets = {each.octets: set(each.flags) for each in two.right.shown(".")}
    assert octets == {
        mail(1, **asks): {"\\Seen", "$MDNSent"},
        mail(2): {"\\Seen"},
        mail(3, **asks): set(),
    }
    for _ in range(2):
        report = two.step(TWO_WAY).report
        assert report.copied == 0
    report = two.step(TWO_WAY).report
    assert report.flagged == 0


def test_names_of_folders_break_the_move(two: Two) -> None:
    """imapsync's documentation of mapping folders: separators, `INBOX.`, characters, blanks at the end."""
    names = ["Clients.North", 'a*b%c#"d', "trailing ", "Work/Deep/er", "Entw&APw-rfe", "R&AOk-sum&AOk-s/&bUuL1Q-"]
    for number, name in enumerate(names):
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        with two.left.client() as client:
            told, answer = client.create(f'"{quoted}"')
            assert told == "OK", answer
            client.append(f'"{quoted}"', "", "", mail(number))
    two.left.put(mail(50))
    preview = two.look(TWO_WAY)
    assert preview.copies == len(names) + 1
    assert preview.collisions == []
    before = two.left.folders()
    for _ in range(2):
        report = two.step(TWO_WAY).report
        assert report.problems == 0
    # Those above a folder, which were no mailboxes, may have become some; nothing else comes back.
    above = {"Work", "Work/Deep", "R&AOk-sum&AOk-s"}
    assert set(before) | above == set(two.left.folders()) | above, "a name came back otherwise"
    before = two.left.folders()
    folder_of = {each.octets: each.folder for each in two.right.shown()}
    assert len(folder_of) == len(names) + 1
    assert folder_of[mail(50)] == "INBOX"
    assert folder_of[mail(3)] == "INBOX.Work.Deep.er"
    assert folder_of[mail(0)].count(".") == 1
    right = two.right.folders()
    two.forget()
    report = two.step(TWO_WAY).report
    assert (report.copied, report.problems) == (0, 0)
    assert (two.left.folders(), two.right.folders()) == (before, right)


def test_a_mailbox_of_another_systems_prefix_goes_below_the_inbox(two: Two) -> None:
    """imapsync's documentation of mapping folders: `INBOX.` on one side alone, in the other direction."""
    with two.right.client() as client:
        client.create("INBOX.Old.Deep")
        client.append("INBOX.Old.Deep", "", "", mail(1))
    back = Two(two.right, two.left, two.path)
    assert back.step().report.copied == 1
    assert [each.folder for each in two.left.shown()] == ["Old/Deep"]


def test_two_names_that_differ_in_case_alone_are_told_before_the_first_copy(two: Two) -> None:
    """imapsync's documentation of Office 365: "trash already exists"."""
    two.left.put(mail(1), folder="Archive2")
    two.left.put(mail(2), folder="archive2")
    preview = two.look()
    assert any("case" in told and "rchive2" in told for told in preview.collisions)
    report = two.step()
    assert any("case" in told for told in report.collisions)
    assert two.right.octets() == [mail(1), mail(2)]


def test_a_folder_that_the_server_does_not_let_be_made_stops_all(two: Two) -> None:
    """imapsync's documentation of Office 365: a folder may not be named "Files" there."""
    two.left.put(mail(1), folder="Files")
    two.left.put(mail(2), folder="Other")

    def answer(command: Command) -> Answer:
        is_refused = command.verb == "CREATE" and b"Files" in command.text
        return b"NO [CANNOT] Mailbox name not allowed" if is_refused else None

    with ImapFilter(two.right.server.port, answer) as target:
        two.ports = 0, target.port
        for _ in range(2):
            two.step()
    assert two.right.octets() == [mail(2)]
    told = problems(two.path)
    assert any("Files" in problem.text and "not allowed" in problem.text for problem in told)
    two.ports = 0, 0
    two.step(retry=True)
    assert two.right.octets() == [mail(1), mail(2)]


def test_calendars_and_contacts_are_left_behind_without_a_word(two: Two) -> None:
    """imapsync's documentation of contacts and calendars: what is not moved is told, before and after."""
    left = Memory()
    left.list_folders["calendar"] = Folder("calendar", ("Calendar",), kind="calendar", total=12)
    left.put(mail(1))
    where = two.right.server.port, two.right.user
    assert any("Calendar" in told for told in look(left, where, two.path).left_out)
    result = bring_in_step(left, where, two.path)
    assert any("Calendar" in told and "calendar" in told for told in result.left_out)
    assert result.report.copied == 1
    assert not any("alendar" in name for name in two.right.folders())
