"""SyncFolderItems: nothing of what happens in a folder is missed, and what happened comes once."""

from __future__ import annotations

import pytest

from tests.peers.ews.asking import Answer, Asker, letter
from tests.peers.ews.process import EwsCompany, EwsPeer


@pytest.fixture
def here(ews_peer: EwsPeer) -> EwsCompany:
    return ews_peer.organisation("ann")


@pytest.fixture
def ann(here: EwsCompany) -> Asker:
    return Asker(here, mailbox=here.address("ann"))


def _told(answer: Answer) -> tuple[list[tuple[str, str]], str, bool]:
    """Return the changes (kind, id), the state, and whether that is all."""
    assert answer.codes == ["NoError"], answer.raw
    changes = [(each.tag.rsplit("}", 1)[1], each.xpath("string(.//*/@Id)")) for each in answer.all(".//m:Changes/*")]
    return changes, answer.texts(".//m:SyncState")[0], answer.texts(".//m:IncludesLastItemInRange") == ["true"]


def test_first_what_there_is_in_pages(here: EwsCompany, ann: Asker) -> None:
    made = [here.put("ann", letter(str(each))) for each in range(5)]
    seen, state, last = [], None, False
    while not last:
        changes, state, last = _told(ann.sync(state, most=2))
        assert len(changes) <= 2
        seen += changes
    assert seen == [("Create", each) for each in made]
    assert _told(ann.sync(state)) == ([], state, True)


def test_what_came_between_two_pages_is_told(here: EwsCompany, ann: Asker) -> None:
    for each in range(3):
        here.put("ann", letter(str(each)))
    _, state, last = _told(ann.sync(None, most=2))
    assert not last
    new = here.put("ann", letter("new"))
    seen = []
    while not last:
        changes, state, last = _told(ann.sync(state, most=2))
        seen += changes
    changes, _, _ = _told(ann.sync(state))
    assert ("Create", new) in seen + changes


def test_each_kind_of_change(here: EwsCompany, ann: Asker) -> None:
    one, two, three, four = [here.put("ann", letter(str(each))) for each in range(4)]
    _, state, _ = _told(ann.sync())
    here.alter("ann", one, delete=True)
    here.alter("ann", two, is_read=True)
    here.alter("ann", three, categories=["Red"])
    here.alter("ann", four, move="junkemail")
    five = here.put("ann", letter("5"))
    changes, state, last = _told(ann.sync(state))
    assert last
    assert changes == [("Delete", one), ("ReadFlagChange", two), ("Update", three), ("Delete", four), ("Create", five)]
    assert _told(ann.sync(state))[0] == []


def test_what_came_and_went_is_not_told(here: EwsCompany, ann: Asker) -> None:
    _, state, _ = _told(ann.sync())
    here.alter("ann", here.put("ann", letter()), delete=True)
    assert _told(ann.sync(state))[0] == []


def test_what_was_moved_back_is_another_item(here: EwsCompany, ann: Asker) -> None:
    old = here.put("ann", letter())
    _, state, _ = _told(ann.sync())
    there = here.alter("ann", old, move="junkemail")
    new = here.alter("ann", there, move="inbox")
    assert _told(ann.sync(state))[0] == [("Delete", old), ("Create", new)]


def test_a_state_is_of_one_folder_and_may_expire(here: EwsCompany, ann: Asker) -> None:
    _, state, _ = _told(ann.sync())
    assert ann.sync(state, folder="drafts").codes == ["ErrorInvalidSyncStateData"]
    assert ann.sync("nonsense").codes == ["ErrorInvalidSyncStateData"]
    here.expire_sync()
    assert ann.sync(state).codes == ["ErrorInvalidSyncStateData"]
    assert ann.sync().codes == ["NoError"]
