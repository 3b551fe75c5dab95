"""Passes over two mailboxes in memory: first contact, changes, faults, and a kill at every call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.contract import Appended, Content, Folder, NewItem, Scope, Status, StoreFault
from gateway.sync import line
from gateway.sync.engine import Result, run_pass
from gateway.sync.pace import Pace
from gateway.sync.state import State
from gateway.sync.values import Pair, Policy
from tests.gateway.sync.memory import HOLDS, Killed, Memory, mail

TWO_WAY = Policy(mode="two-way", delete="remove", min_removed=100)
EVERY = 1 if os.environ.get("GATEPOST_KILLS") == "every" else 2
"""Of how many calls one is cut. A cut before a call leaves what one after the call before leaves, so that both at every
second call find each state between two; `make soak` cuts at all."""


def step(path: Path, left: Memory, right: Memory, policy: Policy = Policy(), *, retry: bool = False) -> Result:  # noqa: B008  # frozen
    """Do one pass, with the state opened anew."""

    async def nothing(_: float) -> None:
        return

    state = State(path / "sync.sqlite")
    try:
        paces = Pace(policy.batch_items, sleep=nothing), Pace(policy.batch_items, sleep=nothing)
        return asyncio.run(run_pass("p", left, right, state, policy, paces=paces, retry=retry))  # type: ignore[arg-type]
    finally:
        state.close()


def filled(count: int = 5) -> Memory:
    box = Memory()
    box.list_folders["work"] = Folder("work", ("Work",))
    for number in range(count):
        box.put(mail(number), "inbox" if number % 2 else "work", *(["seen", "word"] if number % 3 else []),
                name=f"<{number}@example.org>")  # fmt: skip
    return box


class Taking(Memory):
    """A mailbox that takes a while for each append. `busy` are those, by their numbers, that it has no time for."""

    def __init__(self, busy: tuple[int, ...] = (), **given: Any) -> None:
        super().__init__(**given)
        self.busy = busy
        self.all_busy = asyncio.Event()
        self.under_way = self.most = self.asked = 0

    async def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        self.asked += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        is_busy = self.asked in self.busy
        if is_busy and self.asked == max(self.busy):
            self.all_busy.set()
        try:
            await asyncio.sleep(0.05)
            if is_busy:
                async with asyncio.timeout(30):
                    await self.all_busy.wait()  # each of them is under way before one is told no
                raise StoreFault(Status("4.7.28", "throttled"), Scope.RECIPIENT, 5.0)
            return await super().append(folder, items)
        finally:
            self.under_way -= 1


@pytest.mark.parametrize("queues", [True, False])
def test_a_store_has_its_next_batch_before_it_has_done_one(tmp_path: Path, queues: bool) -> None:
    left, right = filled(60), Taking(holding=replace(HOLDS, queues=queues))
    assert step(tmp_path, left, right, Policy(batch_items=5)).report.copied == 60
    assert right.most == (2 if queues else 1)
    in_order = [[held.octets for held in box.items.values() if held.folder == "inbox"] for box in (left, right)]
    assert in_order[0] == in_order[1]


@pytest.mark.parametrize(("unnoted_s", "fewest", "most"), [(60.0, 1, 12), (0.0, 8, 20)])
def test_what_is_done_is_noted_along_with_what_is_next_but_not_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unnoted_s: float, fewest: int, most: int
) -> None:
    settle, asked = State.settle, [0, 0]
    right = Taking()

    async def counted(self: State, pairing: str, rows: Sequence[Pair] = (), **more: Any) -> None:
        asked[0] += bool(rows)
        asked[1] += bool(more.get("intended"))
        await settle(self, pairing, rows, **more)

    monkeypatch.setattr(State, "settle", counted)
    monkeypatch.setattr(line, "_UNNOTED_S", unnoted_s)
    monkeypatch.setattr(line, "_AT_ONCE", 25)
    assert step(tmp_path, filled(100), right, Policy(batch_items=5)).report.copied == 100
    assert right.asked == 20
    assert fewest <= asked[0] <= most
    assert asked[1] <= 12


@pytest.mark.parametrize("busy", [(2,), (2, 3), (3,)])
def test_of_two_batches_one_is_not_taken(tmp_path: Path, busy: tuple[int, ...]) -> None:
    left, right = filled(60), Taking(busy=busy)
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    state = State(tmp_path / "sync.sqlite")
    policy = Policy(batch_items=5)
    paces = Pace(5), Pace(5, sleep=wait, clock=lambda: sum(waits))
    report = asyncio.run(run_pass("p", left, right, state, policy, paces=paces)).report  # type: ignore[arg-type]
    state.close()
    assert (report.copied, report.problems) == (60, 0)
    assert len(right.items) == 60
    assert sum(waits) == pytest.approx(5.0)  # both were told of one time


@pytest.mark.parametrize("is_marked", [False, True])
def test_a_page_is_read_before_all_of_the_one_before_is_there(tmp_path: Path, is_marked: bool) -> None:
    """Where it tells again of an item that is still on its way, it waits for that one's row: it is there once."""
    right = Taking()
    there: list[int] = []

    class Telling(Memory):
        async def fetch(self, ids: Sequence[str], form: str = "mime") -> AsyncIterator[tuple[str, Content | Status]]:
            there.append(len(right.items))
            if is_marked and len(there) == 1:
                self.mark(first, add=["flagged"])
            async for each in super().fetch(ids, form):
                yield each

    left = Telling()
    first, *_ = [left.put(mail(number), name=f"<{number}@example.org>") for number in range(150)]
    assert step(tmp_path, left, right).report.copied == 150  # the first page is one of a hundred
    assert right.shown() == left.shown()
    at = 3  # of that page 10 are read, 50, and 40
    assert there[at] == 100 if is_marked else there[at] < 100


def test_a_mailbox_is_copied_once(tmp_path: Path) -> None:
    left, right = filled(1234), Memory()
    report = step(tmp_path, left, right).report
    assert right.shown() == left.shown()
    assert report.copied == report.read == 1234
    step(tmp_path, left, right)
    left.calls.clear()
    right.calls.clear()
    again = step(tmp_path, left, right).report
    assert (again.copied, again.read, again.listed) == (0, 0, 0)
    assert left.calls == right.calls == ["folders"]


def test_a_half_filled_destination_gets_what_it_lacks(tmp_path: Path) -> None:
    left, right = filled(40), filled(20)
    report = step(tmp_path, left, right).report
    assert right.shown() == left.shown()
    assert (report.copied, report.adopted, report.read) == (20, 20, 20)


def test_duplicates_stay_what_they_are(tmp_path: Path) -> None:
    left, right = Memory(), Memory()
    for _ in range(3):
        left.put(mail(1), name="<1@example.org>")
    right.put(mail(1), name="<1@example.org>")
    report = step(tmp_path, left, right).report
    assert (report.copied, report.adopted) == (2, 1)
    assert right.shown() == left.shown()


def test_dedupe_copies_one_of_each(tmp_path: Path) -> None:
    left, right = Memory(), Memory()
    for _ in range(3):
        left.put(mail(1))
    assert step(tmp_path, left, right, Policy(dedupe=True)).report.copied == 1
    assert step(tmp_path, left, right, Policy(dedupe=True)).report.copied == 0
    assert len(right.items) == 1


def test_the_same_header_does_not_make_two_messages_one(tmp_path: Path) -> None:
    left, right = Memory(), Memory()
    left.put(mail(1, "quota 80% full"), name="<1@example.org>")
    right.put(mail(1, "quota 90% full"), name="<1@example.org>", at=1.5e9)
    step(tmp_path, left, right)
    assert len(right.items) == 2


def test_items_without_any_header_are_copied_once(tmp_path: Path) -> None:
    left, right = Memory(), Memory()
    left.put(b"no header at all")
    left.put(b"NO header at all")
    for _ in range(2):
        step(tmp_path, left, right)
    assert right.shown() == left.shown()


@pytest.mark.parametrize("what", ["state", "left tokens", "right tokens", "left ids", "right ids", "both ids"])
@pytest.mark.parametrize("policy", [Policy(), TWO_WAY])
def test_what_is_lost_makes_no_doubles(tmp_path: Path, what: str, policy: Policy) -> None:
    left, right = filled(30), Memory()
    step(tmp_path, left, right, policy)
    if what == "state":
        for file in tmp_path.glob("sync.sqlite*"):
            file.unlink()
    for side, box in (("left", left), ("right", right)):
        if what in (f"{side} ids", "both ids"):
            box.renumber()
        if what == f"{side} tokens":
            box.forget_tokens()
    before = left.shown()
    left.put(mail(100), name="<100@example.org>")
    assert step(tmp_path, left, right, policy).report.copied == 1
    assert right.shown() == left.shown() == sorted([*before, (("Inbox",), mail(100), ())])
    assert step(tmp_path, left, right, policy).report.copied == 0


def test_a_copy_only_adds(tmp_path: Path) -> None:
    left, right = filled(6), Memory()
    step(tmp_path, left, right)
    gone, kept = list(left.items)[:2]
    octets = left.items[gone].octets
    left.drop(gone)
    left.mark(kept, ["flagged"])
    removed = next(id for id, held in right.items.items() if held.octets == mail(5))
    right.drop(removed)
    step(tmp_path, left, right)
    step(tmp_path, left, right)
    shown = {(o, w) for _, o, w in right.shown()}
    assert any(o == octets for o, _ in shown)
    assert not any(o == mail(5) for o, _ in shown)
    assert any(o == left.items[kept].octets and "flagged" in w for o, w in shown)


def test_a_mirror_is_made_as_the_left_is(tmp_path: Path) -> None:
    policy = Policy(mode="mirror", delete="remove")
    left, right = filled(8), Memory()
    step(tmp_path, left, right, policy)
    left.drop(next(iter(left.items)))
    left.carry(next(id for id, held in left.items.items() if held.folder == "inbox"), "work")
    right.mark(next(iter(right.items)), ["answered"])
    right.drop(list(right.items)[-1])
    step(tmp_path, left, right, policy)
    step(tmp_path, left, right, policy)
    assert right.shown() == left.shown()


def test_a_move_is_a_move(tmp_path: Path) -> None:
    left, right = filled(8), Memory()
    step(tmp_path, left, right, TWO_WAY)
    left.carry(next(id for id, held in left.items.items() if held.folder == "inbox"), "work")
    report = step(tmp_path, left, right, TWO_WAY).report
    assert (report.moved, report.copied, report.removed, report.read) == (1, 0, 0, 0)
    right.carry(
        next(id for id, held in right.items.items() if right.list_folders[held.folder].path == ("Work",)), "inbox"
    )
    report = step(tmp_path, left, right, TWO_WAY).report
    assert (report.moved, report.copied, report.removed) == (1, 0, 0)
    assert right.shown() == left.shown()


def test_too_many_removals_are_none(tmp_path: Path) -> None:
    policy = Policy(mode="mirror", delete="remove", min_removed=3)
    left, right = filled(20), Memory()
    step(tmp_path, left, right, policy)
    left.items.clear()
    left.forget_tokens()
    left.put(mail(50))
    result = step(tmp_path, left, right, policy)
    assert result.refused is not None
    assert (result.refused.removals, result.refused.total) == (20, 20)
    assert len(right.items) == 21
    assert step(tmp_path, left, right, replace(policy, allow_removal=True)).report.removed == 20
    assert right.shown() == left.shown()


def test_a_folder_that_is_removed_is_removed_across(tmp_path: Path) -> None:
    left, right = filled(9), Memory()
    step(tmp_path, left, right, TWO_WAY)
    asyncio.run(left.remove_folder("work"))
    step(tmp_path, left, right, TWO_WAY)
    assert right.shown() == left.shown()
    assert {folder.path for folder in right.list_folders.values()} == {("Inbox",)}


def test_one_bad_item_stops_no_other_and_is_listed(tmp_path: Path) -> None:
    left, right = filled(9), Memory()
    right.refuses[b"Subject: 4\r\n"] = Status("5.6.0", "contains what I do not like")
    assert step(tmp_path, left, right).report.problems == 1
    assert len(right.items) == 8
    assert step(tmp_path, left, right).report.copied == 0
    state = State(tmp_path / "sync.sqlite")
    (problem,) = asyncio.run(state.problems("p"))
    state.close()
    assert (problem.code, problem.text) == ("5.6.0", "contains what I do not like")
    right.refuses.clear()
    assert step(tmp_path, left, right, retry=True).report.copied == 1
    assert right.shown() == left.shown()
    assert step(tmp_path, left, right, retry=True).report.copied == 0


def _edits(left: Memory, right: Memory) -> None:
    """Change both sides in all ways."""
    one, two, three, four, *_ = [id for id, held in left.items.items() if held.folder == "inbox"]
    left.mark(one, ["flagged"], ["seen"])
    left.drop(two)
    left.carry(three, "work")
    left.put(mail(70), name="<70@example.org>")
    mine = {held.octets: id for id, held in right.items.items()}
    right.mark(mine[left.items[four].octets], ["answered"])
    right.put(mail(71), name="<71@example.org>")


def _first(left: Memory, right: Memory) -> None:
    return


@pytest.mark.parametrize("edits", [_first, _edits])
@pytest.mark.parametrize("kills", [True, False])
@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("where", ["left", "right"])
def test_a_pass_may_end_between_any_two_calls(
    tmp_path: Path, edits: Callable[[Memory, Memory], None], kills: bool, after: bool, where: str
) -> None:
    policy = replace(TWO_WAY, batch_items=3, page_items=4, connections=1)
    State(tmp_path / "empty.sqlite").close()
    for cut in range(0, 100, EVERY):
        folder = tmp_path / str(cut)
        folder.mkdir()
        shutil.copy(tmp_path / "empty.sqlite", folder / "sync.sqlite")  # to make its tables takes longer than a pass
        left, right = filled(14), Memory()
        if edits is _edits:
            step(folder, left, right, policy)
            edits(left, right)
        box = left if where == "left" else right
        box.cut, box.cut_after, box.kills = cut, after, kills
        with contextlib.suppress(Killed):
            step(folder, left, right, policy)
        is_through = box.cut is not None
        box.cut = None
        step(folder, left, right, policy)
        step(folder, left, right, policy)
        octets = [held.octets for held in left.items.values()]
        assert right.shown() == left.shown(), f"cut at call {cut}"
        assert len(octets) == len(set(octets)) == (15 if edits is _edits else 14), f"cut at call {cut}"
        if is_through:
            assert cut > 3
            return
    raise AssertionError("it has no end")


def test_no_message_is_to_blame_for_a_full_disk(tmp_path: Path) -> None:
    class Full(Memory):
        full = 8

        async def append(self, folder: str, items: Any) -> Any:
            if self.full:
                self.full -= 1
                raise StoreFault(Status("4.3.1", "the disk is full"), Scope.HOP, unknown=True)
            return await super().append(folder, items)

    left, right = filled(3), Full()
    result = step(tmp_path, left, right)
    assert (result.report.copied, result.report.problems) == (3, 0)
