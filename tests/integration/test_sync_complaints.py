"""What users of other tools for moving mailboxes complain of: messages copied twice, dropped, skipped, brought back.

Between two real servers, read by an independent client. The public issue is named at each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.sync.values import Policy
from tests.integration.sync_pair import Box, Two, mail, user
from tests.peers.dovecot import Dovecot
from tests.peers.imap_filter import Answer, Command, ImapFilter, Lose

TWO_WAY = Policy(mode="two-way", delete="remove", min_removed=100)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Dovecot, Dovecot]]:
    with Dovecot() as one, Dovecot(separator=".") as two:
        yield one, two


@pytest.fixture
def two(servers: tuple[Dovecot, Dovecot], tmp_path: Path) -> Two:
    name = user()
    return Two(Box(servers[0], name), Box(servers[1], name), tmp_path)


def same(two: Two) -> bool:
    """Tell whether both hold the same, and each message once."""
    return two.left.shown() == two.right.shown(".")


def test_a_second_run_copies_all_messages_again(two: Two) -> None:
    """imapsync #474."""
    two.left.put(*(mail(n) for n in range(200)))
    assert two.step().report.copied == 200
    with ImapFilter(two.left.server.port) as source, ImapFilter(two.right.server.port) as target:
        two.ports = source.port, target.port
        for _ in range(2):
            two.step()
        assert source.bodies() == target.bodies() == 0
        assert "APPEND" not in target.verbs()
    assert same(two)


@pytest.mark.parametrize("batches", [1, 3])
def test_an_interrupted_run_doubles_everything_when_started_again(two: Two, batches: int) -> None:
    """imapsync #246, mailcow #382: the connection goes after the server took what was sent, before it said so."""
    two.left.put(*(mail(n) for n in range(30)))
    commands = sent = 0

    def answer(command: Command) -> Answer:
        nonlocal commands, sent
        commands += command.verb == "APPEND"
        sent += len(command.literals) if command.verb == "APPEND" else 0
        return Lose() if command.verb == "APPEND" and commands == batches else None

    with ImapFilter(two.right.server.port, answer) as target:
        two.ports = 0, target.port
        two.step(Policy(batch_items=10))
        two.step(Policy(batch_items=10))
    assert sent == 30
    assert same(two)


def test_two_different_messages_with_the_same_headers_are_called_duplicates(two: Two) -> None:
    """imapsync #24: "quota 80 % full" and "below 80 % full" of the same second and length."""
    first, second = mail(1, "quota 80% full!!"), mail(1, "below 80% full!!")
    assert len(first) == len(second)
    two.left.put(first, second)
    two.step()
    assert two.right.octets() == sorted([first, second])
    two.forget()
    assert two.step().report.copied == 0
    # The one that the other side has is not taken for the one that it lacks.
    two.right.do("INBOX", ("STORE", "2", "+FLAGS", "\\Deleted"))
    two.forget()
    assert two.step().report.copied == 1
    assert same(two)


def test_messages_without_a_message_id_are_copied_in_each_run(two: Two) -> None:
    """imapsync #351, where a made-up Message-ID is the same for all and differs from run to run."""
    messages = [b"Subject: %d\r\n\r\ntext\r\n" % (n % 3) for n in range(9)]
    two.left.put(*messages)
    assert two.step().report.copied == 9
    assert two.right.octets() == sorted(messages)
    for lost in (False, True):
        if lost:
            two.forget()
        assert two.step().report.copied == 0
    assert same(two)


def test_messages_without_any_header_are_passed_over_in_silence(two: Two) -> None:
    """imapsync #365."""
    messages = [b"\r\nno header at all\r\n", b"no header, and no empty line\r\n", b"\r\n"]
    two.left.put(*messages)
    report = two.step().report
    assert (report.copied, report.problems, report.skipped) == (3, 0, 0)
    assert same(two)


def test_the_same_message_under_two_labels_is_copied_in_each_run(two: Two) -> None:
    """imapsync #305, imapsync #245: one that is in several folders, also after another run brought only some."""
    messages = [mail(n) for n in range(8)]
    for folder in ("INBOX", "All Mail", "Important"):
        two.left.put(*messages, folder=folder)
    two.right.put(*messages, folder="All Mail")
    assert two.step().report.copied == 16
    assert two.step().report.copied == 0
    two.forget()
    assert two.step().report.copied == 0
    assert same(two)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_new_uidvalidity_stops_it_or_doubles_everything(two: Two, side: str) -> None:
    """OfflineIMAP #62."""
    two.left.put(*(mail(n) for n in range(40)), flags="\\Seen")
    two.step(TWO_WAY)
    box = two.left if side == "left" else two.right
    box.server.adm("mailbox", "update", "-u", box.user, "--uid-validity", "77777", "INBOX")
    two.left.put(mail(100))
    report = two.step(TWO_WAY).report
    assert (report.copied, report.removed, report.problems) == (1, 0, 0)
    assert len(two.right.shown()) == 41
    assert same(two)


def test_a_message_that_vanishes_while_it_is_read_stops_it(two: Two) -> None:
    """OfflineIMAP #62: listed, and gone before it is fetched."""
    two.left.put(*(mail(n) for n in range(10)))
    is_gone = False

    def answer(command: Command) -> Answer:
        nonlocal is_gone
        if b"BODY.PEEK[]" in command.text and not is_gone:
            is_gone = True
            two.left.do("INBOX", ("STORE", "3:4", "+FLAGS", "\\Deleted"))
        return None

    with ImapFilter(two.left.server.port, answer) as source:
        two.ports = source.port, 0
        report = two.step().report
        assert (report.copied, report.problems) == (8, 0)
        assert two.step().report.problems == 0
    assert same(two)


def test_deletions_and_moves_come_back(two: Two) -> None:
    """imapsync's documentation on two ways: "impossible, imapsync is stateless"."""
    two.left.put(*(mail(n) for n in range(10)))
    two.left.put(mail(20), folder="Work")
    two.step(TWO_WAY)
    two.left.do("INBOX", ("STORE", "1", "+FLAGS", "\\Deleted"), ("MOVE", "2", "Work"))
    two.right.do(
        "INBOX", ("STORE", "3", "+FLAGS", "\\Deleted"), ("MOVE", "4", "Work"), ("STORE", "5", "+FLAGS", "mine")
    )
    report = two.step(TWO_WAY).report
    assert (report.removed, report.moved, report.flagged, report.copied) == (2, 2, 1, 0)
    gone, work = {mail(0), mail(2)}, {mail(1), mail(3), mail(20)}
    assert not gone & set(two.left.octets())
    assert {each.octets for each in two.left.shown() if each.folder == "Work"} == work
    assert same(two)
    report = two.step(TWO_WAY).report
    assert (report.removed, report.moved, report.flagged, report.copied) == (0, 0, 0, 0)


@pytest.mark.parametrize("policy", [TWO_WAY, Policy(mode="mirror", delete="remove")], ids=lambda policy: policy.mode)
def test_what_goes_before_the_second_run_is_not_noticed(two: Two, policy: Policy) -> None:
    """The same: a message that the first pass brought, and that is removed before another pass could list it."""
    two.left.put(*(mail(n) for n in range(6)))
    two.step(policy)
    two.right.do("INBOX", ("STORE", "2", "+FLAGS", "\\Deleted"))
    report = two.step(policy).report
    assert (report.removed, report.copied) == ((1, 0) if policy is TWO_WAY else (0, 1))
    assert len(two.left.octets()) == (5 if policy is TWO_WAY else 6)
    assert two.left.octets() == two.right.octets()


@pytest.mark.parametrize("keeps", ["IMAP4rev1", "IMAP4rev1 LITERAL+ SPECIAL-USE NAMESPACE"])
def test_the_number_of_a_new_message_is_not_found_and_it_is_appended_a_hundred_times(
    tmp_path: Path, keeps: str
) -> None:
    """OfflineIMAP #676, offlineimap3 #16: a server without UIDPLUS, into which others append at the same time."""
    messages = [mail(n) for n in range(30)]
    with Dovecot() as one, Dovecot(settings=f"imap_capability = {keeps}") as other:
        two = Two(Box(one, "anna"), Box(other, "anna"), tmp_path)
        two.left.put(*messages)
        strangers = 0

        def answer(command: Command) -> Answer:
            nonlocal strangers
            if command.verb == "APPEND" and strangers < 3:
                strangers += 1
                two.right.put(mail(1000 + strangers, "by another"))
            return None

        with ImapFilter(other.port, answer) as target:
            two.ports = 0, target.port
            for _ in range(3):
                two.step(Policy(batch_items=10))
            assert two.step().report.copied == 0
        assert strangers == 3
        octets = two.right.octets()
        assert len(octets) == len(set(octets)) == 33
        assert set(messages) <= set(octets)
