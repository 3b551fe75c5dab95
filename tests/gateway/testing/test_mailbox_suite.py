"""The suite of mailbox stores: a sound one passes, and each lie is found by the test that is for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.testing import Bench, Broken, MailboxStoreSuite, fixture_of
from tests.gateway.testing.memory_store import MemoryDriver, MemoryStore, lying


class TestMemory(MailboxStoreSuite):
    """In memory alone, so that nothing of it outlives a process."""

    test_store_killed_at_every_step_of_an_append = None
    connector = fixture_of(MemoryStore, config={}, driver=MemoryDriver)


@pytest.mark.parametrize(
    ("lie", "test", "arguments", "words"),
    [
        ("flags", "test_flags_keywords_and_dates_are_held_as_declared", (), "a store holds what it declares"),
        ("ids", "test_items_move", (), "a store holds what it declares"),
        ("names", "test_any_name_is_a_folders_name", ("a\\b",), "a folder's name is as it was given"),
        ("order", "test_folders_are_told_with_their_parents_first", (), "each parent comes before"),
        ("tokens", "test_changes_tell_everything_and_then_what_changed", (), "nothing that happened is left out"),
        ("reset", "test_a_token_that_is_not_known_starts_anew", (), "answered with reset"),
        ("gaps", "test_items_come_back_in_order", (), "per-item trouble is a Status"),
        ("octets", "test_octets_are_kept_as_declared", ("nul",), "a store holds what it declares"),
        ("find", "test_what_was_appended_is_found_by_its_key", (), "find() looks into one folder"),
        ("subscriptions", "test_folders_are_subscribed_as_declared", (), "a store holds what it declares"),
        ("remove", "test_items_are_removed", (), "gone already is done"),
    ],
)
def test_a_lie_is_found(lie: str, test: str, arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    bench = Bench(lying(lie), {}, MemoryDriver, tmp_path)
    with pytest.raises(Broken, match=words.replace("(", r"\(").replace(")", r"\)")):
        getattr(MailboxStoreSuite(), test)(bench, *arguments)
