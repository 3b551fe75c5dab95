"""Appointments and the like between stores that hold them: copied, edited, conflicts, and a kill at every call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.contract import KINDS, Folder, Status
from gateway.mailbox import Holds
from gateway.sync.folders import pair_folders
from gateway.sync.objects import stamp_of
from gateway.sync.plan import Abilities, doubts, plan
from gateway.sync.values import Copy, Item, Mode, Move, Pair, Policy, Print, Seen, SetFlags
from tests.gateway.sync.memory import HOLDS, Killed, Memory, event, mail
from tests.gateway.sync.test_engine import TWO_WAY, step

ALL = replace(HOLDS, kinds=KINDS)
NATIVE = replace(ALL, native="memory")
MIRROR = Policy(mode="mirror", delete="remove", min_removed=100)
CAN = Abilities(NATIVE, NATIVE)
KNOWN = Print(100, "u", b"d" * 16, 1.6e9, kind="calendar", version="1")
PAIR = Pair(7, "l", "r", 1, 1, print=KNOWN, right_digest=b"e" * 16, right_version="5")


def told(id: str, version: str | None, digest: bytes | None, folder: int = 1) -> Seen:
    """Return what a side tells of its item; nothing where there is no version."""
    if version is None:
        return Seen()
    print = replace(KNOWN, message_id=None, version=version, digest=digest)
    return Seen({id: Item(id, folder, frozenset(), print)})


S, E = ("2", b"d" * 16), ("2", b"x" * 16)
"""Of the left: with its old content under another version, and with another."""


@pytest.mark.parametrize(
    ("left", "right", "copy", "mirror", "two_way"),
    [
        ((None, None), (None, None), "", "", ""),
        (S, ("6", b"e" * 16), "", "", ""),
        (("1", None), ("5", None), "", "", ""),
        (E, (None, None), "right for r", "right for r", "right for r"),
        ((None, None), ("6", b"y" * 16), "", "right for r", "left for l"),
        (E, ("6", b"y" * 16), "right", "right for r", "right"),
        (E, ("6", b"x" * 16), "", "right for r", ""),
    ],
)
def test_the_table_of_edits(
    left: tuple[str | None, bytes | None], right: tuple[str | None, bytes | None], copy: str, mirror: str, two_way: str
) -> None:
    modes: dict[Mode, str] = {"copy": copy, "mirror": mirror, "two-way": two_way}
    for mode, wanted in modes.items():
        made = plan([PAIR], told("l", *left), told("r", *right), Policy(mode=mode), CAN, total=1)
        found = [f"{a.side} for {a.replaces}" if a.replaces else a.side for a in made.actions if isinstance(a, Copy)]
        assert "; ".join(found) == wanted, mode
        is_conflict = wanted == "right"
        assert [each.what for each in made.conflicts] == ["edited on both sides: both are kept"] * is_conflict
        assert bool(made.again) is (is_conflict and mode == "two-way")


@pytest.mark.parametrize(("conflict", "wanted"), [("left", ("right", "r")), ("right", ("left", "l"))])
def test_one_sides_will_may_be_done(conflict: str, wanted: tuple[str, str]) -> None:
    policy = Policy(mode="two-way", conflict=conflict)  # type: ignore[arg-type]
    made = plan([PAIR], told("l", *E), told("r", "6", b"y" * 16), policy, CAN)
    (action,) = made.actions
    assert isinstance(action, Copy)
    assert (action.side, action.replaces) == wanted
    assert len(made.conflicts) == 1


def test_another_version_of_the_same_is_noted_and_only_it_is_read() -> None:
    right = told("r", "6", None)
    assert doubts([PAIR], told("l", "1", None), right, CAN) == {"left": set(), "right": {"r"}}
    made = plan([PAIR], Seen(), told("r", "6", b"e" * 16), Policy(mode="two-way"), CAN)
    assert (made.actions, made.rows) == ([], [replace(PAIR, right_version="6")])
    fresh = replace(PAIR, right_digest=None, right_version=None)
    made = plan([fresh], Seen(), told("r", "6", b"z" * 16), Policy(mode="two-way"), CAN)
    assert (made.actions, made.rows) == ([], [replace(fresh, right_digest=b"z" * 16, right_version="6")])


def test_what_is_moved_and_edited_is_moved_first() -> None:
    made = plan([PAIR], told("l", "2", b"x" * 16, folder=2), Seen(), Policy(), CAN)
    assert [type(each) for each in made.actions] == [Move]
    assert made.again == {1, 2}
    (row,) = made.rows
    assert row.stamp_on("left") == ("1", b"d" * 16)


def test_flags_of_the_side_that_is_replaced_are_merged_before() -> None:
    left, right = told("l", *E), Seen({"r": Item("r", 1, frozenset(["red"]), replace(KNOWN, version="5"))})
    made = plan([PAIR], left, right, Policy(mode="two-way"), CAN)
    flags, copy = made.actions
    assert isinstance(flags, SetFlags)
    assert isinstance(copy, Copy)
    assert (flags.side, {*flags.add}, {*copy.item.words}) == ("left", {"red"}, {"red"})


def test_lines_that_say_when_it_was_written_are_no_content() -> None:
    assert stamp_of(event(1, stamp=1), "ical") == stamp_of(event(1, stamp=2), "ical")
    assert stamp_of(event(1), "ical")[1] == "1@example.org"
    assert stamp_of(event(1), "ical")[0] != stamp_of(event(1, "other"), "ical")[0]
    folded = event(1).replace(b"SUMMARY:text", b"SUMMARY:te\r\n xt")
    assert stamp_of(folded, "ical") == stamp_of(event(1), "ical")


def test_folders_are_paired_by_kind() -> None:
    left = [Folder("1", ("Days",), "calendar"), Folder("2", ("People",), "contacts"), Folder("3", ("Notes",), "notes")]
    right = [Folder("A", ("Days",), "mail"), Folder("B", ("People",), "contacts"), Folder("C", ("To do",), "tasks")]
    some: Holds = replace(HOLDS, kinds=frozenset(("mail", "calendar", "contacts")))
    made = pair_folders(left, right, [], (some, replace(ALL, kinds=some.kinds | {"tasks"})), Policy(), "two-way")
    assert [(pair.left, pair.right, pair.kind) for pair in made.pairs] == [
        ("1", None, "calendar"), ("2", "B", "contacts"), (None, "A", "mail"),
    ]  # fmt: skip
    assert made.left_out == ["Notes: notes", "To do: tasks"]


def filled(holds: Holds = NATIVE, count: int = 4) -> Memory:
    box = Memory(holds)
    box.list_folders["days"] = Folder("days", ("Days",), "calendar")
    for number in range(count):
        box.put(event(number), "days", *(["red"] if number % 2 else []), kind="calendar")
    box.put(mail(1), name="<1@example.org>")
    return box


def by_name(box: Memory, number: int) -> list[str]:
    """Return the ids of all that have an UID."""
    return [id for id, held in box.items.items() if f"UID:{number}@".encode() in held.octets]


@pytest.mark.parametrize("holds", [ALL, NATIVE])
@pytest.mark.parametrize("policy", [Policy(), MIRROR, TWO_WAY])
def test_appointments_go_along_and_so_do_edits(tmp_path: Path, holds: Holds, policy: Policy) -> None:
    left, right = filled(holds), Memory(holds)
    assert step(tmp_path, left, right, policy).report.copied == 5
    assert right.shown() == left.shown()
    assert {each.kind for each in right.list_folders.values() if each.path == ("Days",)} == {"calendar"}
    for _ in range(2):
        again = step(tmp_path, left, right, policy).report
        assert (again.copied, again.flagged, again.removed, again.conflicts) == (0, 0, 0, 0)
    assert again.read == 0
    left.edit(by_name(left, 1)[0], event(1, "at noon"))
    left.edit(by_name(left, 2)[0], event(2, stamp=7))
    assert step(tmp_path, left, right, policy).report.copied == 1
    assert [right.items[id].octets for id in by_name(right, 1)] == [event(1, "at noon")]
    assert len(right.items) == 5
    assert step(tmp_path, left, right, policy).report.copied == 0
    (id,) = by_name(right, 3)
    right.edit(id, event(3, "in the evening"))
    assert step(tmp_path, left, right, policy).report.copied == (policy.mode != "copy")
    wanted = {"copy": ("text", "in the evening"), "mirror": ("text", "text")}.get(policy.mode, ("in the evening",) * 2)
    for box, text in zip((left, right), wanted, strict=True):
        assert [box.items[id].octets for id in by_name(box, 3)] == [event(3, text)]
    assert step(tmp_path, left, right, policy).report.copied == 0


def test_edits_on_both_sides_are_both_kept(tmp_path: Path) -> None:
    left, right = filled(), Memory(NATIVE)
    step(tmp_path, left, right, TWO_WAY)
    left.edit(by_name(left, 1)[0], event(1, "left"))
    right.edit(by_name(right, 1)[0], event(1, "right"))
    result = step(tmp_path, left, right, TWO_WAY)
    assert result.conflicts == ["edited on both sides: both are kept"]
    assert right.shown() == left.shown()
    assert {left.items[id].octets for id in by_name(left, 1)} == {event(1, "left"), event(1, "right")}
    assert step(tmp_path, left, right, TWO_WAY).report.copied == 0
    assert len(by_name(left, 1)) == 2


def test_a_state_that_is_lost_makes_no_doubles_of_appointments(tmp_path: Path) -> None:
    left, right = filled(), Memory(NATIVE)
    step(tmp_path, left, right, TWO_WAY)
    right.edit(by_name(right, 1)[0], event(1, "right"))
    for file in tmp_path.glob("sync.sqlite*"):
        file.unlink()
    result = step(tmp_path, left, right, TWO_WAY)
    assert (result.report.copied, result.report.adopted) == (0, 5)
    assert result.conflicts == ["not the same on both sides: each stays as it is"]


def test_an_edit_that_is_refused_is_told_and_tried_again(tmp_path: Path) -> None:
    left, right = filled(), Memory(NATIVE)
    step(tmp_path, left, right, MIRROR)
    right.refuses[b"SUMMARY:bad"] = Status("5.6.0", "no")
    left.edit(by_name(left, 1)[0], event(1, "bad"))
    assert step(tmp_path, left, right, MIRROR).report.problems == 1
    assert [right.items[id].octets for id in by_name(right, 1)] == [event(1)]
    right.refuses.clear()
    assert step(tmp_path, left, right, MIRROR, retry=True).report.copied == 1
    assert right.shown() == left.shown()


def _first(left: Memory, right: Memory) -> None:
    return


def _edits(left: Memory, right: Memory) -> None:
    left.edit(by_name(left, 0)[0], event(0, "left"))
    right.edit(by_name(right, 1)[0], event(1, "right"))


def _both(left: Memory, right: Memory) -> None:
    left.edit(by_name(left, 2)[0], event(2, "left"))
    right.edit(by_name(right, 2)[0], event(2, "right"))


@pytest.mark.parametrize("edits", [_first, _edits, _both])
@pytest.mark.parametrize(("where", "after"), [("right", True), ("right", False), ("left", True)])
def test_a_pass_over_appointments_may_end_anywhere(
    tmp_path: Path, edits: Callable[[Memory, Memory], None], where: str, after: bool
) -> None:
    policy = replace(TWO_WAY, batch_items=2, page_items=3, connections=1)
    for cut in range(100):
        folder = tmp_path / str(cut)
        folder.mkdir()
        left, right = filled(count=3), Memory(NATIVE)
        if edits is not _first:
            step(folder, left, right, policy)
            step(folder, left, right, policy)
            edits(left, right)
        box = left if where == "left" else right
        box.cut, box.cut_after, box.kills = cut, after, True
        with contextlib.suppress(Killed):
            step(folder, left, right, policy)
        is_through = box.cut is not None
        box.cut = None
        step(folder, left, right, policy)
        assert step(folder, left, right, policy).report.copied == 0, f"cut at call {cut}"
        assert right.shown() == left.shown(), f"cut at call {cut}"
        assert len(left.items) == (5 if edits is _both else 4), f"cut at call {cut}"
        texts = {held.octets for held in left.items.values()}
        if edits is _edits:
            assert texts >= {event(0, "left"), event(1, "right")}
        if edits is _both:
            assert texts >= {event(2, "left"), event(2, "right")}
        if is_through:
            assert cut >= 2
            return
    raise AssertionError("it has no end")


def test_a_store_of_mail_alone_gets_none_of_it(tmp_path: Path) -> None:
    left, right = filled(), Memory()
    result = step(tmp_path, left, right)
    assert result.left_out == ["Days: calendar"]
    assert result.report.copied == 1
    assert asyncio.run(right.folders())[0].path == ("Inbox",)
