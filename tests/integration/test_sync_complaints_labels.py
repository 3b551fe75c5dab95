"""What users of other tools for moving mailboxes complain of, from Gmail, whose folders are labels.

The server is a real one, which a filter makes tell of labels as Google describes it; no Gmail was asked.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.sync.values import Policy
from tests.integration.sync_pair import Box, Shown, Two, mail, user
from tests.peers.dovecot import Dovecot
from tests.peers.imap_filter import ImapFilter

SYSTEM = """
namespace inbox {
  mailbox "[Gmail]/All Mail" {
    auto = create
    special_use = \\All
  }
  mailbox "[Gmail]/Starred" {
    auto = create
    special_use = \\Flagged
  }
}
"""
ALL = "[Gmail]/All Mail"
LABELS = {"INBOX": "\\\\Inbox", "[Gmail]/Starred": "\\\\Starred"}
"""By folder, where the label is no name of one, as it is quoted on the wire."""


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Dovecot, Dovecot, Dovecot]]:
    with Dovecot(settings=SYSTEM) as one, Dovecot(settings=SYSTEM) as two, Dovecot(separator=".") as plain:
        yield one, two, plain


class Labels(ImapFilter):
    """Makes a server tell of labels. `under`: the folders of each message, by its Message-ID without brackets."""

    def __init__(self, server: Dovecot, under: dict[bytes, list[str]]) -> None:
        super().__init__(server.port, alter=self._tell, rewrite=self._ask)
        self.under = under

    def _ask(self, text: bytes) -> bytes:
        return text.replace(b"X-GM-MSGID ", b"").replace(b"X-GM-LABELS ", b"")

    def _tell(self, response: bytes) -> bytes:
        if b"CAPABILITY IMAP4" in response:
            return response.replace(b"CAPABILITY IMAP4rev1", b"CAPABILITY IMAP4rev1 X-GM-EXT-1")
        found = re.search(rb"Message-ID: <(.*?)>", response)
        if found is None or b"HEADER.FIELDS" not in response:
            return response
        names = [LABELS.get(folder, folder) for folder in self.under.get(found[1], ()) if folder != ALL]
        said = " ".join(f'"{name}"' for name in names).encode()
        told = b"FETCH (X-GM-MSGID %d X-GM-LABELS (%s) " % (zlib.crc32(found[1]), said)
        return response.replace(b"FETCH (", told, 1)


def fill(box: Box, *messages: tuple[int, list[str]]) -> dict[bytes, list[str]]:
    """Put messages under labels, and in the folder of all."""
    for number, folders in messages:
        for folder in (ALL, *folders):
            box.put(mail(number), folder=folder, flags="\\Flagged" if "[Gmail]/Starred" in folders else "")
    return {f"{number}@example.org".encode(): folders for number, folders in messages}


MESSAGES: list[tuple[int, list[str]]] = [
    (1, ["INBOX", "Work", "Clients/North"]),
    (2, ["Work", "Clients/North"]),
    (3, []),
    (4, ["[Gmail]/Starred"]),
]


def test_the_same_mail_comes_once_for_each_of_its_labels(
    servers: tuple[Dovecot, Dovecot, Dovecot], tmp_path: Path
) -> None:
    """imapsync's documentation of Gmail: one message, in the first folder that it belongs to, its labels keywords."""
    name = user()
    two = Two(Box(servers[0], name), Box(servers[2], name), tmp_path)
    with Labels(servers[0], fill(two.left, *MESSAGES)) as source:
        two.ports = source.port, 0
        assert two.look().copies == 4
        report = two.step().report
        assert (report.copied, report.problems) == (4, 0)
        shown = {(each.octets, each.folder): set(each.flags) for each in two.right.shown(".")}
        (archive,) = {folder for octets, folder in shown if octets == mail(3)}
        assert shown == {
            (mail(1), "INBOX"): {"Work", "Clients/North"},
            (mail(2), "Clients/North"): {"Work"},
            (mail(3), archive): set(),
            (mail(4), archive): {"\\Flagged"},
        }
        assert two.step().report.copied == 0
        two.forget()
        assert two.step().report.copied == 0


@pytest.mark.parametrize("policy", [Policy(labels="folders"), Policy(mode="mirror")])
def test_or_once_in_each_folder_where_that_is_wanted(
    servers: tuple[Dovecot, Dovecot, Dovecot], tmp_path: Path, policy: Policy
) -> None:
    """imapsync's documentation of Gmail: only the first label is kept, though all are wanted."""
    name = user()
    two = Two(Box(servers[0], name), Box(servers[2], name), tmp_path)
    with Labels(servers[0], fill(two.left, *MESSAGES)) as source:
        two.ports = source.port, 0
        two.step(policy)
        found = {(each.octets, each.folder) for each in two.right.shown(".")}
    assert {folder for octets, folder in found if octets == mail(1)} >= {"INBOX", "Work", "Clients/North"}
    assert {folder for octets, folder in found if octets == mail(2)} >= {"Work", "Clients/North"}


def test_between_two_gmails_the_same_messages_are_copied_in_each_run(
    servers: tuple[Dovecot, Dovecot, Dovecot], tmp_path: Path
) -> None:
    """imapsync #305, imapsync #245."""
    name = user()
    two = Two(Box(servers[0], name), Box(servers[1], name), tmp_path)
    under = fill(two.left, *MESSAGES)
    with Labels(servers[0], under) as source, Labels(servers[1], under) as target:
        two.ports = source.port, target.port
        assert two.step().report.copied == len(two.left.shown())
        for lost in (False, True, False):
            if lost:
                two.forget()
            assert two.step().report.copied == 0

    def places(shown: list[Shown]) -> list[tuple[str, bytes]]:
        return [(each.folder, each.octets) for each in shown]

    assert places(two.right.shown()) == places(two.left.shown())
