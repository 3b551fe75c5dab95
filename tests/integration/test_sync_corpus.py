"""Every file of the corpus goes from one IMAP server to another and back, and comes back with the octets it had.

The files lie in the first server's mailbox as they are, messages or not. What a server shows of one may differ from
the file, for reasons that are the server's and are listed here; what differs between two mailboxes would be ours.
"""

from __future__ import annotations

import imaplib
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.sync.values import Policy
from tests.integration.sync_pair import bring_in_step
from tests.integration.test_octets import corpus
from tests.peers.dovecot import PASSWORD, Dovecot

EXACT = "mail_save_crlf = yes"
"""Else Dovecot drops all but one of several CR in front of a LF."""
BOX = re.compile(r"[^A-Za-z0-9-]")


def files() -> Iterator[tuple[str, bytes]]:
    """Yield the name of a folder and the octets of a file for it."""
    folder = corpus()
    for path in sorted(each for each in folder.rglob("*") if each.is_file() and not each.is_symlink()):
        place = path.relative_to(folder).parts
        yield BOX.sub("-", place[0]) if len(place) > 1 else "Top", path.read_bytes()


def fill(server: Dovecot, user: str) -> dict[str, list[bytes]]:
    """Write the corpus into a user's Maildir; returns what is in which folder."""
    home = server.folder / "mail" / user / "Maildir"
    put: dict[str, list[bytes]] = {}
    for number, (folder, octets) in enumerate(files()):
        box = home / f".{folder}"
        if folder not in put:
            for each in ("cur", "new", "tmp"):
                (box / each).mkdir(parents=True)
            (box / "maildirfolder").touch()
        put.setdefault(folder, []).append(octets)
        at = 1_500_000_000 + number
        file = box / "cur" / f"{at}.M{number:06d}.corpus:2,"
        file.write_bytes(octets)
        os.utime(file, (at, at))
    for each in ("cur", "new", "tmp"):
        (home / each).mkdir()
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "nobody:nogroup", str(home.parent)], check=True)
    return put


def shown(server: Dovecot, user: str, folders: Iterator[str] | list[str]) -> dict[str, list[bytes]]:
    """Return what an independent client reads, by folder, in order."""
    client = imaplib.IMAP4("127.0.0.1", server.port, timeout=120)
    client.login(user, PASSWORD)
    found: dict[str, list[bytes]] = {}
    for folder in folders:
        told, answer = client.select(f'"{folder}"', readonly=True)
        assert told == "OK", answer
        parts = client.fetch("1:*", "(BODY.PEEK[])")[1]
        found[folder] = [part[1] for part in parts if isinstance(part, tuple)]
        found[folder] += [b"" for part in parts if isinstance(part, bytes) and b'BODY[] ""' in part]
    client.logout()
    return found


REASONS = (
    "as it is",
    "line ends become CRLF, as IMAP has them",
    "NUL, which IMAP cannot carry, becomes 0x80",
)


def reason(file: bytes, read: bytes) -> str:
    """Return why a server shows something else than the file; fail where there is no reason."""
    if file == read:
        return REASONS[0]
    with_ends = re.sub(rb"(?<!\r)\n", b"\r\n", file)
    if with_ends == read:
        return REASONS[1]
    assert with_ends.replace(b"\0", b"\x80") == read, file[:200]
    return REASONS[2]


@pytest.mark.timeout(600)
def test_every_file_goes_there_and_back(tmp_path: Path) -> None:
    with Dovecot(settings=EXACT) as one, Dovecot(separator=".", settings=EXACT) as two:
        put = fill(one, "there")
        count = sum(map(len, put.values()))
        at_first = shown(one, "there", list(put))
        (tmp_path / "to").mkdir()
        (tmp_path / "back").mkdir()
        policy = Policy(connections=2)
        report = bring_in_step((one.port, "there"), (two.port, "away"), tmp_path / "to", policy).report
        empty = sum(not octets for some in put.values() for octets in some)
        assert (report.copied, report.problems, report.mended) == (count, 0, empty)
        report = bring_in_step((two.port, "away"), (one.port, "back"), tmp_path / "back", policy).report
        assert (report.copied, report.problems, report.mended) == (count, 0, 0)
        away, back = shown(two, "away", list(put)), shown(one, "back", list(put))
    reasons: Counter[str] = Counter()
    for folder, octets in at_first.items():
        # A server takes no message without any octets, so that one is an empty line now.
        there = sorted(each or b"\r\n" for each in octets)
        assert sorted(away[folder]) == there
        assert sorted(back[folder]) == there
        for file, read in zip(put[folder], octets, strict=True):
            reasons[reason(file, read)] += 1
    print(reasons)
    assert reasons.total() == count
    assert set(reasons) == set(REASONS)
