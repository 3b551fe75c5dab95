"""IMAP keeps the contract of mailbox stores, at real servers, and at one that has less and less."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from connectors.imap import Imap
from gateway.testing import Bench, MailboxStoreSuite, fixture_of
from tests.connectors.imap.mailboxes import (
    CONFIG,
    CourierMailboxes,
    CyrusMailboxes,
    CyrusPrefixed,
    CyrusRenumbered,
    DovecotMailboxes,
    lacking,
)
from tests.connectors.imap.without import ALL

SUITE: Final = MailboxStoreSuite()


class TestDovecot(MailboxStoreSuite):
    connector = fixture_of(Imap, config=CONFIG, driver=DovecotMailboxes)


class TestNothingButImap(MailboxStoreSuite):
    """A server of the year 1996: IMAP4rev1, and no extension at all."""

    connector = fixture_of(Imap, config=CONFIG, driver=lacking(*ALL))


@pytest.mark.xdist_group("imap-cyrus")
class TestCyrus(MailboxStoreSuite):
    connector = fixture_of(Imap, config=CONFIG, driver=CyrusMailboxes)

    def test_a_token_that_is_not_known_starts_anew(self, connector: Bench) -> None:
        renumbered = Bench(Imap, CONFIG, CyrusRenumbered, connector.tmp)
        try:
            super().test_a_token_that_is_not_known_starts_anew(renumbered)
        finally:
            renumbered.driver.close()


@pytest.mark.xdist_group("imap-courier")
class TestCourier(MailboxStoreSuite):
    connector = fixture_of(Imap, config=CONFIG, driver=CourierMailboxes)


@pytest.mark.parametrize(
    "lacks",
    [*(each for each in ALL if each != "CONDSTORE"), "UIDPLUS MOVE", "CONDSTORE QRESYNC", "MULTIAPPEND LITERAL+"],
)
def test_without(lacks: str, tmp_path: Path) -> None:
    bench = Bench(Imap, CONFIG, lacking(*lacks.split()), tmp_path)
    try:
        SUITE.test_items_come_back_in_order(bench)
        SUITE.test_changes_tell_everything_and_then_what_changed(bench)
        SUITE.test_flags_change(bench)
        SUITE.test_items_move(bench)
        SUITE.test_items_are_removed(bench)
        SUITE.test_folders_are_renamed_moved_and_removed(bench)
    finally:
        bench.driver.close()


@pytest.mark.xdist_group("imap-courier")
def test_folders_below_the_inbox(tmp_path: Path) -> None:
    bench = Bench(Imap, CONFIG, CyrusPrefixed, tmp_path)
    SUITE.test_folders_are_told_with_their_parents_first(bench)
    SUITE.test_folders_are_renamed_moved_and_removed(bench)
    SUITE.test_any_name_is_a_folders_name(bench, "INBOX x")
    SUITE.test_items_move(bench)
