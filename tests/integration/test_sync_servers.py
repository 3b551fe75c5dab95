"""Mailboxes kept in step between servers that none of us wrote: Dovecot, Cyrus and Courier, each as a side.

They differ in separators, in where a user's folders lie, in how names are written, and in what they offer.
"""

from __future__ import annotations

import imaplib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from gateway.sync.values import Policy
from tests.integration.sync_pair import Box, Two, mail, user
from tests.peers.courier import Courier
from tests.peers.cyrus import Cyrus
from tests.peers.dovecot import Dovecot

FOLDERS = ("Projects", "Projects/Alpha", "Projects/Alpha/Deep", "B&APw-cher &- &ZeVnLIqe-", "Sent", "Empty")
HEADLESS = b"no header at all\r\n"
"""Cyrus takes no message without a header, so there it is one with an empty one."""
ODD = (
    b"Subject: 8 bit \xe4\xf6 in it\r\nMessage-ID: <odd2@example.org>\r\n\r\nbody \xff\xfe\r\n",
    b"Subject: long\r\n\r\n" + b"x" * 5000 + b"\r\n",
    b"Message-ID: <twice@example.org>\r\n\r\none\r\n",
    b"Message-ID: <twice@example.org>\r\n\r\ntwo\r\n",
    b"Message-ID: <same@example.org>\r\n\r\nsame\r\n",
    b"Message-ID: <same@example.org>\r\n\r\nsame\r\n",
)
FLAGS = ("", "\\Seen", "\\Flagged \\Answered", "\\Draft word $Label1")


class Server(Protocol):
    port: int


class Place(Box):
    """A mailbox at one of the servers; `separator` and `prefix` are how it names folders below the top."""

    def __init__(self, server: Server, user: str, separator: str = "/", prefix: str = "") -> None:
        super().__init__(server, user)  # type: ignore[arg-type]  # all it asks of a server is its port
        self.separator, self.prefix = separator, prefix

    def named(self, path: str) -> str:
        return path if path == "INBOX" else self.prefix + path.replace("/", self.separator)

    def fill(self) -> None:
        with self.client() as client:
            for path in FOLDERS:
                client.create(f'"{self.named(path)}"')
            folders = ("INBOX", *FOLDERS[:-1])
            for number in range(36):
                date = imaplib.Time2Internaldate(1_500_000_000 + number * 86400)
                folder, flags = folders[number % len(folders)], FLAGS[number % len(FLAGS)]
                self._add(client, folder, flags, date, mail(number, "text " * 50))
            for octets in ODD if isinstance(self.server, Cyrus) else (HEADLESS, *ODD):
                self._add(client, "INBOX", "", imaplib.Time2Internaldate(1_400_000_000), octets)

    def _add(self, client: imaplib.IMAP4, folder: str, flags: str, date: str, octets: bytes) -> None:
        told, answer = client.append(f'"{self.named(folder)}"', flags, date, octets)
        assert told == "OK", answer

    def paths(self) -> set[str]:
        return {self._path(name) for name in self.folders()}

    def _path(self, name: str) -> str:
        return name if name == "INBOX" else name.removeprefix(self.prefix).replace(self.separator, "/")

    def items(self) -> list[tuple[object, ...]]:
        """Return all messages by their paths; a header that had to be made is as if there were none."""
        found: list[tuple[object, ...]] = []
        for each in self.shown(self.separator):
            path = each.folder if each.folder == "INBOX" else each.folder.removeprefix(self.prefix.replace(".", "/"))
            octets = HEADLESS if each.octets == b"\r\n" + HEADLESS else each.octets
            found.append((path, octets, frozenset(flag.lower() for flag in each.flags), each.at))
        return sorted(found, key=repr)


@pytest.fixture(scope="module")
def places() -> Iterator[Callable[[str], Place]]:
    """Make a mailbox at a server by its name; a server starts when it is first asked for."""
    with ExitStack() as stack:
        servers: dict[str, Dovecot | Cyrus | Courier] = {}

        def place(name: str) -> Place:
            if name not in servers:
                made: Dovecot | Cyrus | Courier
                if name.startswith("dovecot"):
                    made = Dovecot(separator="." if name.endswith("dots") else "/")
                else:
                    made = Cyrus() if name == "cyrus" else Courier()
                servers[name] = stack.enter_context(made)
            server = servers[name]
            who = user()
            if not isinstance(server, Dovecot):
                server.user(who)
            if isinstance(server, Courier):
                return Place(server, who, ".", "INBOX.")
            return Place(server, who, "." if name.endswith("dots") else "/")

        yield place


PAIRS = (
    ("dovecot", "dovecot-dots"),
    ("dovecot", "cyrus"),
    ("courier", "dovecot"),
    ("cyrus", "courier"),
)


@pytest.mark.parametrize(("left", "right"), PAIRS, ids=["-to-".join(pair) for pair in PAIRS])
def test_a_mailbox_comes_over_whole_and_stays_in_step(
    places: Callable[[str], Place], tmp_path: Path, left: str, right: str
) -> None:
    pair = Two(places(left), places(right), tmp_path)
    here, there = pair.left, pair.right
    assert isinstance(here, Place)
    assert isinstance(there, Place)
    here.fill()
    report = pair.step().report
    count = len(here.items())
    assert (report.copied, report.problems, report.mended) == (count, 0, right == "cyrus")
    assert there.items() == here.items()
    assert there.paths() >= here.paths()

    again = pair.step().report
    assert (again.copied, again.read, again.flagged, again.removed) == (0, 0, 0, 0)

    pair.forget()
    lost = pair.step().report
    assert (lost.copied, lost.adopted) == (0, count)

    policy = Policy(mode="mirror", delete="remove")
    pair.step(policy)
    here.put(mail(900), folder=here.named("Projects/Alpha"), flags="\\Seen")
    here.do("INBOX", ("STORE", "1,3", "+FLAGS", "(\\Flagged)"), ("STORE", "2", "+FLAGS", "(\\Deleted)"))
    report = pair.step(policy).report
    assert (report.copied, report.flagged, report.removed) == (1, 2, 1)
    assert there.items() == here.items()


@pytest.mark.parametrize(("left", "right"), PAIRS[1:], ids=["-and-".join(pair) for pair in PAIRS[1:]])
def test_both_ends_change_and_both_have_it(
    places: Callable[[str], Place], tmp_path: Path, left: str, right: str
) -> None:
    pair = Two(places(left), places(right), tmp_path)
    here, there = pair.left, pair.right
    assert isinstance(here, Place)
    assert isinstance(there, Place)
    here.fill()
    policy = Policy(mode="two-way", delete="remove")
    pair.step(policy)
    here.do("INBOX", ("STORE", "1", "+FLAGS", "(\\Answered)"), ("STORE", "2", "+FLAGS", "(\\Deleted)"))
    there.do("INBOX", ("STORE", "1", "+FLAGS", "(\\Flagged)"), ("STORE", "9", "+FLAGS", "(\\Deleted)"))
    there.put(mail(901, "from the right"), folder=there.named("Projects"))
    report = pair.step(policy).report
    assert (report.copied, report.removed, report.conflicts) == (1, 2, 0)
    assert there.items() == here.items()
    quiet = pair.step(policy).report
    assert (quiet.copied, quiet.flagged, quiet.removed, quiet.read) == (0, 0, 0, 0)
