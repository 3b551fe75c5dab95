"""What users of other tools for moving mailboxes complain of, where mail is in files that others move about."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.folders import Folders
from gateway.sync.values import Policy
from tests.integration.sync_pair import At, Box, bring_in_step, mail, user
from tests.peers.dovecot import Dovecot

TWO_WAY = Policy(mode="two-way", delete="remove", min_removed=100)


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    with Dovecot(separator=".") as one:
        yield one


@pytest.mark.parametrize("policy", [Policy(), TWO_WAY], ids=lambda policy: policy.mode)
def test_a_file_that_a_mail_program_moves_is_taken_for_another_of_the_same_number(
    server: Dovecot, tmp_path: Path, policy: Policy
) -> None:
    """defects #37, afew #95, mu #613: mbsync writes its UID into a file's name; a move brings it where it is taken."""
    root = tmp_path / "Maildir"
    for folder in (root, root / ".Work"):
        for part in ("cur", "new", "tmp"):
            (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(6):
        folder = root if number < 3 else root / ".Work"
        (folder / "cur" / f"1700000000.{number}.host,U={number % 3 + 1}:2,S").write_bytes(mail(number))
    right = Box(server, user())
    left = At(Folders, {"format": "maildir", "path": str(root)}, "anna")
    where = server.port, right.user
    assert bring_in_step(left, where, tmp_path, policy).report.copied == 6
    bring_in_step(left, where, tmp_path, policy)
    # As afew, mu or a hand does it: the name stays, with a number that another file there has already.
    shutil.move(root / "cur" / "1700000000.0.host,U=1:2,S", root / ".Work" / "cur" / "1700000000.0.host,U=1:2,S")
    report = bring_in_step(left, where, tmp_path, policy).report
    assert (report.moved, report.copied, report.problems) == (1, 0, 0)
    found = {each.octets: each.folder for each in right.shown(".")}
    assert found == {mail(number): "Work" if number in (0, 3, 4, 5) else "INBOX" for number in range(6)}
    assert len(right.shown(".")) == 6
