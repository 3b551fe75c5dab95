"""What users of other tools for moving mailboxes complain of: messages that the new server does not take as they are.

The destination is a real server; what some refuse is refused by a filter before it, in the words that users report.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.mailbox import StoreFault
from gateway.sync.engine import Result
from gateway.sync.values import Policy
from tests.gateway.sync.memory import Memory
from tests.gateway.sync.memory import mail as numbered
from tests.integration.sync_pair import Box, Two, Waits, bring_in_step, mail, notes, problems, user
from tests.peers.dovecot import Dovecot
from tests.peers.imap_filter import Answer, Bye, Command, ImapFilter


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Dovecot, Dovecot]]:
    with Dovecot() as one, Dovecot(separator=".") as two:
        yield one, two


@pytest.fixture
def two(servers: tuple[Dovecot, Dovecot], tmp_path: Path) -> Two:
    name = user()
    return Two(Box(servers[0], name), Box(servers[1], name), tmp_path)


def refusing(is_bad: Callable[[bytes], bool], answer: Bye | bytes) -> Callable[[Command], Answer]:
    """Refuse an append of anything bad."""

    def check(command: Command) -> Answer:
        is_refused = command.verb == "APPEND" and any(is_bad(literal) for literal in command.literals)
        return answer if is_refused else None

    return check


@dataclass
class Odd:
    """A mailbox in memory with ordinary messages around an odd one, and a server that does not take it."""

    right: Box
    path: Path
    odd: bytes

    def run(self, answer: Callable[[Command], Answer], policy: Policy = Policy()) -> tuple[Result, bytes | None]:  # noqa: B008  # frozen
        """Copy all; returns the result and what became of the odd one."""
        left = Memory()
        for number in range(20):
            left.put(self.odd if number == 7 else mail(number), name=f"<{number}@example.org>")
        waits = Waits()
        with ImapFilter(self.right.server.port, answer) as target:
            result = bring_in_step(left, (target.port, self.right.user), self.path, policy, waits=waits)
            again = bring_in_step(left, (target.port, self.right.user), self.path, policy, waits=waits)
        assert again.report.copied == 0
        ordinary = {mail(number) for number in range(20)} - {mail(7)}
        octets = self.right.octets()
        assert len(octets) == len(set(octets))
        assert ordinary <= set(octets), "an odd one stopped others"
        (found,) = [*(set(octets) - ordinary), None][:1]
        return result, found


@pytest.fixture
def odd(servers: tuple[Dovecot, Dovecot], tmp_path: Path) -> Odd:
    return Odd(Box(servers[1], user()), tmp_path, b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"NO Message contains NUL characters",
        Bye(b"Invalid character in literal"),
    ],
    ids=["refused", "the connection ends"],
)
def test_a_nul_in_a_message_is_refused_or_kills_the_connection(odd: Odd, answer: Bye | bytes) -> None:
    """OfflineIMAP #215, imapsync #124, gmvault #212: it is mended, noted, and the rest goes on."""
    odd.odd = numbered(7, "before\0after")
    result, found = odd.run(refusing(lambda octets: b"\0" in octets, answer))
    assert (result.report.copied, result.report.problems, result.report.mended) == (20, 0, 1)
    assert found is not None
    assert b"\0" not in found
    assert email.message_from_bytes(found).get_payload(decode=True) == b"before\0after\r\n"
    (text,) = notes(odd.path)
    assert "NUL" in text


def test_a_message_that_ends_each_connection_is_listed_and_stops_no_other(odd: Odd) -> None:
    """gmvault #212, where nothing that is known can be mended."""
    odd.odd = numbered(7, "poison")
    result, found = odd.run(refusing(lambda octets: b"poison" in octets, Bye(b"Invalid character in literal")))
    assert (result.report.copied, result.report.problems) == (19, 1)
    assert found is None
    (problem,) = problems(odd.path)
    assert "Invalid character" in problem.text


def test_eight_bits_in_a_header_are_refused_and_all_that_is_not_ascii_becomes_z(odd: Odd) -> None:
    """imapsync's documentation of errors of APPEND: one field is encoded, the body is what it was."""
    text = "Message-ID: <7@example.org>\r\nSubject: Gr\xfc\xdfe\r\nX-Plain: yes\r\n\r\nK\xf6rper \xff\r\n"
    odd.odd = text.encode("latin-1")
    is_bad = lambda octets: any(octet > 127 for octet in octets.partition(b"\r\n\r\n")[0])  # noqa: E731
    result, found = odd.run(refusing(is_bad, b"NO Message contains invalid header"))
    assert (result.report.copied, result.report.problems, result.report.mended) == (20, 0, 1)
    assert found is not None
    head, _, body = found.partition(b"\r\n\r\n")
    assert body == odd.odd.partition(b"\r\n\r\n")[2]
    assert b"X-Plain: yes" in head
    assert b"Message-ID: <7@example.org>" in head
    assert "Gr" in str(email.message_from_bytes(found, policy=email.policy.default)["Subject"])


def test_lines_of_more_than_9900_octets_are_refused_and_cut_by_line_ends(odd: Odd) -> None:
    """imapsync's documentation of errors of APPEND: the part is encoded, and its text is what it was."""
    text = "word " * 4000
    odd.odd = f"Message-ID: <7@example.org>\r\nSubject: long\r\nContent-Type: text/plain\r\n\r\n{text}\r\n".encode()
    is_bad = lambda octets: any(len(line) > 9900 for line in octets.split(b"\r\n"))  # noqa: E731
    result, found = odd.run(refusing(is_bad, b"NO Command Error. 11: line too long"))
    assert (result.report.copied, result.report.problems, result.report.mended) == (20, 0, 1)
    assert found is not None
    made = email.message_from_bytes(found, policy=email.policy.default)
    assert made.get_content().rstrip("\r\n") == text.rstrip("\r\n")


def test_an_overlong_header_line_makes_a_client_spoil_the_message_at_each_look(odd: Odd) -> None:
    """authentication_milter #110: as it is where it is taken; folded, and nothing else, where it is refused."""
    value = "; ".join(f"dkim=pass header.i=@{n}.example.org" for n in range(100))
    odd.odd = f"Message-ID: <7@example.org>\r\nAuthentication-Results: {value}\r\nSubject: 7\r\n\r\ntext\r\n".encode()
    result, found = odd.run(lambda command: None)
    assert found == odd.odd
    assert result.report.mended == 0
    odd.right, odd.path = Box(odd.right.server, user()), odd.path / "refused"
    odd.path.mkdir()
    is_bad = lambda octets: any(len(line) > 998 for line in octets.split(b"\r\n"))  # noqa: E731
    result, found = odd.run(refusing(is_bad, b"NO Message contains invalid header"))
    assert (result.report.copied, result.report.problems, result.report.mended) == (20, 0, 1)
    assert found is not None
    assert re.sub(rb"\r\n[ \t]", b" ", found).replace(b"  ", b" ") == odd.odd


@pytest.mark.parametrize("mend", [True, False])
def test_too_large_messages_are_cut_short(two: Two, tmp_path: Path, mend: bool) -> None:
    """imapsync's documentation of large messages: told before they are sent, listed, never cut."""
    large = mail(1, "line of text\r\n" * 4000)
    with Dovecot(settings="imap_capability = +APPENDLIMIT=20000") as other:
        two.right = Box(other, two.left.user)
        two.left.put(mail(0), large, mail(2))
        with ImapFilter(other.port) as target:
            two.ports = 0, target.port
            report = two.step(Policy(mend=mend)).report
            assert (report.copied, report.problems) == (2, 1)
            assert not any(b"{56" in command.text for command in target.commands), "it was sent all the same"
        assert two.right.octets() == sorted([mail(0), mail(2)])
        (problem,) = problems(tmp_path)
        assert problem.code == "5.3.4"
        assert "20000" in problem.text


def test_a_server_that_does_not_tell_its_limit_refuses_a_large_message(two: Two, tmp_path: Path) -> None:
    """imapsync's documentation of large messages."""
    large = mail(1, "line of text\r\n" * 4000)
    two.left.put(mail(0), large, mail(2))
    answer = refusing(lambda octets: len(octets) > 20000, b"NO [TOOBIG] Maximum size of appendable message exceeded")
    with ImapFilter(two.right.server.port, answer) as target:
        two.ports = 0, target.port
        report = two.step().report
        assert (report.copied, report.problems) == (2, 1)
        assert two.step().report.copied == 0
    (problem,) = problems(tmp_path)
    assert problem.code == "5.3.4"
    two.ports = 0, 0
    assert two.step(retry=True).report.copied == 1
    assert two.left.shown() == two.right.shown()


@pytest.mark.parametrize(
    ("keywords", "answer"),
    [
        (("NonJunk", "Label/1"), b"NO APPEND Invalid flag list"),
        (("NonJunk",), b"BAD Invalid system flag"),
    ],
)
def test_a_flag_that_the_server_does_not_know_refuses_the_message(
    two: Two, keywords: tuple[str, ...], answer: bytes
) -> None:
    """imapsync's documentation of flags: NonJunk, $MDNSent, \\FORWARDED. The message arrives without it."""
    two.left.put(mail(0), mail(1), flags="\\Seen")
    two.left.do("INBOX", ("STORE", "2", "+FLAGS", f"({' '.join(keywords)})"))

    def refuse(command: Command) -> Answer:
        return answer if command.verb in ("APPEND", "UID STORE") and b"NonJunk" in command.text else None

    with ImapFilter(two.right.server.port, refuse) as target:
        two.ports = 0, target.port
        report = two.step().report
        assert (report.copied, report.problems) == (2, 0)
        for _ in range(2):
            again = two.step().report
            assert (again.copied, again.flagged) == (0, 0)
    assert two.right.octets() == [mail(0), mail(1)]
    assert all("\\Seen" in each.flags for each in two.right.shown())


def test_a_flag_of_another_systems_own_is_no_reason_to_refuse(two: Two) -> None:
    """imapsync's documentation of flags: `BAD Invalid system flag \\FORWARDED` from a server that is sent it."""
    two.left.put(mail(0), flags="\\Seen")

    def alter(response: bytes) -> bytes:
        return response.replace(b"FLAGS (\\Seen", b"FLAGS (\\FORWARDED \\Seen") if b" FETCH " in response else response

    with ImapFilter(two.left.server.port, alter=alter) as source:
        two.ports = source.port, 0
        report = two.step().report
    assert (report.copied, report.problems) == (1, 0)
    assert two.right.octets() == [mail(0)]


def test_the_new_mailbox_is_full_in_the_middle_and_all_begins_anew(two: Two) -> None:
    """imapsync #342."""
    quota = (
        "mail_plugins = quota\nprotocol imap {\n  mail_plugins = quota imap_quota\n}\n"
        "plugin {\n  quota = maildir:User quota\n  quota_rule = *:storage=%dK\n}"
    )
    messages = [mail(n, "line of text\r\n" * 700) for n in range(30)]
    two.left.put(*messages)
    with Dovecot(settings=quota % 100) as other:
        two.right = Box(other, two.left.user)
        short = two.look().short_bytes
        assert short is not None
        assert 100_000 < short < 400_000, "it is told before the first copy"
        with pytest.raises(StoreFault, match="OVERQUOTA"):
            two.step(Policy(batch_items=5))
        first = two.right.octets()
        assert 5 <= len(first) < 15
        config = other.folder / "dovecot.conf"
        config.write_text(config.read_text().replace("storage=100K", "storage=10000K"))
        other.adm("reload")
        report = two.step(Policy(batch_items=5)).report
        assert report.copied == 30 - len(first)
        assert two.right.octets() == sorted(messages)
