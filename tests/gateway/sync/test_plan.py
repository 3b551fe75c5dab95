"""The plan, one row for each case of its table."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from gateway.mailbox import FLAGS, Holds
from gateway.sync.plan import Abilities, doubts, plan
from gateway.sync.values import (
    Action,
    Copy,
    Item,
    Mode,
    Move,
    Pair,
    Plan,
    Policy,
    Print,
    Remove,
    Seen,
    SetFlags,
    Side,
    other,
)

HOLDS = Holds(FLAGS, keywords=True, internal_date=True, change_tokens=True, stable_ids=False, exact=True)
CAN = Abilities(HOLDS, HOLDS)
PRINT = Print(100, "<1@example.org>", b"d" * 16, 1.6e9)
SEEN = frozenset(["seen"])
PAIR = Pair(7, "l", "r", 1, 1, SEEN, SEEN, PRINT)


def item(id: str, folder: int = 1, *words: str, **more: object) -> Item:
    return Item(id, folder, frozenset(words), replace(PRINT, digest=None, **more))  # type: ignore[arg-type]


def side(id: str, what: str, flag: str) -> Seen:
    """Return what a side tells: S nothing, C a flag set, M moved to folder 2, G gone."""
    if what == "S":
        return Seen()
    if what == "G":
        return Seen({}, frozenset([id]))
    if what == "M":
        return Seen({f"{id}2": item(f"{id}2", 2, "seen")}, frozenset([id]))
    return Seen({id: item(id, 1, "seen", flag)})


def word(action: Action) -> str:
    match action:
        case Copy():
            return f"copy {action.side}" + (" again" if action.pair is not None and action.pair.id else "")
        case SetFlags():
            signs = [f"+{each}" for each in sorted(action.add)] + [f"-{each}" for each in sorted(action.remove)]
            return f"set {action.side} {' '.join(signs)}"
        case Move():
            return f"move {action.side} {action.folder}"
        case Remove():
            return f"remove {action.side}"


def words(made: Plan) -> list[str]:
    return [word(action) for action in made.actions] + ["forget" for _ in made.forget]


@pytest.mark.parametrize(
    ("told", "copy", "mirror", "two_way"),
    [
        ("SS", "", "", ""),
        ("CS", "set right +flagged", "set right +flagged", "set right +flagged"),
        ("SC", "", "set right -answered", "set left +answered"),
        ("CC", "set right +flagged", "set right +flagged -answered", "set left +answered; set right +flagged"),
        ("MS", "move right 2", "move right 2", "move right 2"),
        ("SM", "", "move right 1", "move left 2"),
        ("MM", "", "", ""),
        ("GS", "", "remove right", "remove right"),
        ("GC", "", "remove right", "copy left again"),
        ("GM", "", "remove right", "copy left again"),
        ("SG", "", "copy right again", "remove left"),
        ("CG", "", "copy right again", "copy right again"),
        ("MG", "", "copy right again", "copy right again"),
        ("GG", "forget", "forget", "forget"),
    ],
)
def test_the_table(told: str, copy: str, mirror: str, two_way: str) -> None:
    left, right = side("l", told[0], "flagged"), side("r", told[1], "answered")
    modes: dict[Mode, str] = {"copy": copy, "mirror": mirror, "two-way": two_way}
    for mode, wanted in modes.items():
        made = plan([PAIR], left, right, Policy(mode=mode), CAN, total=1)
        assert "; ".join(words(made)) == wanted, mode
        is_conflict = mode == "two-way" and told in ("GC", "GM", "CG", "MG")
        assert len(made.conflicts) == int(is_conflict)
        if wanted == "" and told != "SS":
            (row,) = made.rows
            assert (row.left is None, row.right is None) == (told[0] == "G", told[1] == "G")


@pytest.mark.parametrize(
    ("mode", "delete", "conflict", "told", "wanted"),
    [
        ("two-way", "keep", "both", "GS", ""),
        ("two-way", "keep", "both", "SG", ""),
        ("two-way", "trash", "left", "GC", "remove right"),
        ("two-way", "trash", "right", "GC", "copy left again"),
        ("two-way", "trash", "right", "CG", "remove left"),
        ("mirror", "keep", "both", "GS", ""),
    ],
)
def test_the_policy_decides(mode: Mode, delete: str, conflict: str, told: str, wanted: str) -> None:
    policy = Policy(mode=mode, delete=delete, conflict=conflict)  # type: ignore[arg-type]
    left, right = side("l", told[0], "flagged"), side("r", told[1], "answered")
    assert "; ".join(words(plan([PAIR], left, right, policy, CAN, total=1))) == wanted


@pytest.mark.parametrize("gone", ["left", "right"])
@pytest.mark.parametrize("conflict", ["both", "left", "right"])
def test_what_is_only_marked_as_deleted_is_not_kept_for_that(
    gone: Side, conflict: Literal["both", "left", "right"]
) -> None:
    policy = Policy(mode="two-way", conflict=conflict)
    there = other(gone)

    def planned(*words_now: str) -> list[str]:
        seen = {gone: Seen({}, frozenset([gone[0]])), there: Seen({there[0]: item(there[0], 1, *words_now)})}
        return words(plan([PAIR], seen["left"], seen["right"], policy, CAN, total=1))

    kept = [f"remove {there}" if conflict == gone else f"copy {gone} again"]
    assert planned("seen", "deleted") == [f"remove {there}"]
    assert planned("seen", "deleted", "flagged") == kept
    assert planned("deleted") == kept


@pytest.mark.parametrize("gone", ["left", "right"])
@pytest.mark.parametrize("mode", ["copy", "two-way"])
def test_what_went_for_good_stays_away(gone: str, mode: Mode) -> None:
    pair = replace(PAIR, left=None) if gone == "left" else replace(PAIR, right=None)
    left, right = (side("l", "C", "flagged"), Seen()) if gone == "right" else (Seen(), side("r", "C", "flagged"))
    assert words(plan([pair], left, right, Policy(mode=mode), CAN)) == []


@pytest.mark.parametrize(
    ("policy", "left", "right", "wanted", "adopted"),
    [
        (Policy(), [item("a")], [], "copy right", 0),
        (Policy(), [], [item("b")], "", 0),
        (Policy(mode="two-way"), [], [item("b")], "copy left", 0),
        (Policy(mode="mirror"), [], [item("b")], "", 0),
        (Policy(mode="mirror", strict=True), [], [item("b")], "remove right", 0),
        (Policy(), [item("a", 1, "flagged")], [item("b", 1, "answered")], "set right +flagged", 1),
        (Policy(mode="two-way"), [item("a", 1, "flagged")], [item("b")], "set right +flagged", 1),
        (Policy(), [item("a")], [item("b", 2)], "copy right", 0),
        (Policy(), [item("a")], [item("b", 1, size=900)], "copy right", 0),
        (Policy(max_size=50), [item("a")], [], "", 0),
        (Policy(max_age_s=1e8), [item("a")], [], "", 0),
    ],
)
def test_what_is_not_paired(policy: Policy, left: list[Item], right: list[Item], wanted: str, adopted: int) -> None:
    one, two = Seen({each.id: each for each in left}), Seen({each.id: each for each in right})
    made = plan([], one, two, policy, CAN, now=1.8e9)
    assert "; ".join(words(made)) == wanted
    assert made.adopted == adopted
    assert len(made.skipped) == int(policy.max_size is not None or policy.max_age_s is not None)


def test_only_what_is_in_doubt_is_read() -> None:
    sure, other = item("a"), item("b")
    assert doubts([], Seen({"a": sure}), Seen({"b": other}), CAN) == {"left": set(), "right": set()}
    later = item("b", received_at=1.7e9)
    assert doubts([], Seen({"a": sure}), Seen({"b": later}), CAN) == {"left": {"a"}, "right": {"b"}}
    twice = {"a": sure, "c": item("c")}
    assert doubts([], Seen(twice), Seen({"b": other}), CAN) == {"left": {"a", "c"}, "right": {"b"}}
    apart = item("b", message_id="<2@example.org>")
    assert doubts([], Seen({"a": sure}), Seen({"b": apart}), CAN) == {"left": set(), "right": set()}


def test_another_digest_is_another_message() -> None:
    one = Item("a", 1, frozenset(), replace(PRINT, received_at=None))
    two = Item("b", 1, frozenset(), replace(PRINT, received_at=None, digest=b"e" * 16))
    assert plan([], Seen({"a": one}), Seen({"b": two}), Policy(), CAN).adopted == 0


def test_another_id_in_the_same_folder_is_the_same_item() -> None:
    left = Seen({"new": item("new", 1, "seen")}, frozenset(), frozenset([1]))
    made = plan([PAIR], left, Seen(), Policy(mode="mirror"), CAN, total=1)
    assert made.actions == []
    assert made.rows == [replace(PAIR, left="new")]


def test_too_many_removals_are_refused_and_the_rest_is_done() -> None:
    pairs = [replace(PAIR, id=n, left=f"l{n}", right=f"r{n}") for n in range(1, 31)]
    left = Seen({"x": item("x", message_id="<2@example.org>")}, frozenset(f"l{n}" for n in range(1, 12)))
    made = plan(pairs, left, Seen(), Policy(mode="mirror"), CAN, total=30)
    assert words(made) == ["copy right"]
    assert made.refused is not None
    assert (made.refused.removals, made.refused.allowed) == (11, 10)
    made = plan(pairs, left, Seen(), Policy(mode="mirror"), CAN, total=60)
    assert words(made).count("remove right") == 11


def test_what_was_lost_on_the_right_is_not_taken_for_removed_by_its_owner() -> None:
    pairs = [replace(PAIR, id=n, left=f"l{n}", right=f"r{n}") for n in range(1, 31)]
    left = Seen({"x": item("x", message_id="<2@example.org>")})
    right = Seen({}, frozenset(f"r{n}" for n in range(1, 12)))
    made = plan(pairs, left, right, Policy(mode="copy"), CAN, total=30)
    assert (words(made), made.rows) == (["copy right"], [])
    assert made.refused is not None
    assert (made.refused.removals, made.refused.allowed, made.refused.is_lost) == (11, 10, True)
    for policy, total in ((Policy(mode="copy"), 60), (Policy(mode="copy", allow_removal=True), 30)):
        made = plan(pairs, left, right, policy, CAN, total=total)
        assert made.refused is None
        assert {row.right for row in made.rows} == {None}
    assert words(plan(pairs, Seen(), right, Policy(mode="mirror"), CAN, total=30)) == ["copy right again"] * 11


def test_what_a_side_cannot_hold_is_not_cleared_on_the_other() -> None:
    poor = replace(HOLDS, flags=frozenset(["seen"]), keywords=True, forbidden_in_keywords=" ")
    can = Abilities(HOLDS, poor)
    left = Seen({"l": item("l", 1, "seen", "flagged", "red flag")})
    made = plan([PAIR], left, Seen(), Policy(mode="two-way"), can)
    assert words(made) == ["set right +red_flag"]
    (row,) = made.rows
    assert row.right_words == frozenset(["seen", "red_flag"])
    again = plan([row], Seen(), Seen({"r": item("r", 1, "seen", "red_flag")}), Policy(mode="two-way"), can)
    assert (again.actions, again.rows) == ([], [])
    cleared = plan([row], Seen(), Seen({"r": item("r", 1, "seen")}), Policy(mode="two-way"), can)
    assert words(cleared) == ["set left -red flag"]
