"""What a dry run tells, and that it writes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from gateway.contract import FLAGS, Folder
from gateway.sync.preview import Preview, plan_pass
from gateway.sync.state import State
from gateway.sync.values import Policy
from tests.gateway.sync.memory import HOLDS, Memory, mail
from tests.gateway.sync.test_engine import filled, step

_READS = {"folders", "changes", "fetch"}


def preview(path: Path, left: Memory, right: Memory, policy: Policy = Policy()) -> Preview:  # noqa: B008  # frozen
    state = State(path / "sync.sqlite")
    left.calls.clear()
    right.calls.clear()
    before = left.shown(), right.shown(), asyncio.run(state.folders("p")), asyncio.run(state.count("p"))
    try:
        made = asyncio.run(plan_pass("p", left, right, state, policy))  # type: ignore[arg-type]
        after = left.shown(), right.shown(), asyncio.run(state.folders("p")), asyncio.run(state.count("p"))
    finally:
        state.close()
    assert after == before
    assert set(left.calls) | set(right.calls) <= _READS
    assert "fetch" not in left.calls + right.calls
    return made


def test_a_first_pass_is_told_by_counts_and_octets(tmp_path: Path) -> None:
    left, right = filled(40), Memory()
    made = preview(tmp_path, left, right)
    assert made.copies == 40
    assert made.octets == sum(len(held.octets) for held in left.items.values())
    assert {(each.path, each.is_new, each.items) for each in made.folders} == {
        (("Inbox",), False, 20),
        (("Work",), True, 20),
    }
    assert made.estimate_s > 0
    assert step(tmp_path, left, right).report.copied == made.copies
    assert preview(tmp_path, left, right).copies == 0


def test_what_a_half_filled_destination_has_is_adopted_or_in_doubt(tmp_path: Path) -> None:
    left, right = filled(10), filled(4)
    right.put(mail(7, "another text"), "inbox", at=1.1e9, name="<7@example.org>")
    made = preview(tmp_path, left, right)
    assert sum(each.adopted for each in made.folders) == 4
    assert (made.copies, made.doubtful) == (6, 1)


def test_changes_removals_and_the_guard(tmp_path: Path) -> None:
    policy = Policy(mode="mirror", delete="remove", min_removed=2)
    left, right = filled(20), Memory()
    step(tmp_path, left, right, policy)
    one, two, three, *rest = [id for id, held in left.items.items() if held.folder == "inbox"]
    left.mark(one, ["flagged"])
    left.drop(two)
    left.carry(three, "work")
    made = preview(tmp_path, left, right, policy)
    assert [(each.flags, each.moves, each.removals) for each in made.folders] == [(1, 0, 1), (0, 1, 0)]
    assert made.refused is None
    for id in rest:
        left.drop(id)
    made = preview(tmp_path, left, right, policy)
    assert made.refused is not None
    assert made.removals == 0


def test_what_cannot_be_carried_is_counted(tmp_path: Path) -> None:
    left, right = filled(3), Memory()
    left.put(mail(50) + b"x" * 1000, "inbox", "flagged", "of two words")
    left.list_folders["case"] = Folder("case", ("WORK",))
    right.holding = replace(
        HOLDS, flags=FLAGS - {"flagged"}, forbidden_in_keywords=" ", internal_date=False, max_item_bytes=900
    )
    left.put(mail(51), "inbox", "flagged", "of two words")
    made = preview(tmp_path, left, right)
    assert made.cannot == {
        "date of receipt": 4,
        "flag or keyword flagged": 1,
        "keyword of two words: as of_two_words": 1,
        "item of more than 900 octets": 1,
    }
    assert made.collisions == ["Work and WORK differ in case alone"]


def test_limits_leave_out(tmp_path: Path) -> None:
    left, right = filled(4), Memory()
    left.put(mail(50) + b"x" * 1000)
    left.put(mail(51), at=1e9)
    policy = Policy(max_size=500, max_age_s=3e8, folders=("!Work",))
    state = State(tmp_path / "sync.sqlite")
    made = asyncio.run(plan_pass("p", left, right, state, policy, clock=lambda: 1.61e9))  # type: ignore[arg-type]
    state.close()
    assert [(each.path, each.copies, each.skipped) for each in made.folders] == [(("Inbox",), 2, 2)]


def test_limits_that_are_widened_are_told(tmp_path: Path) -> None:
    left, right = filled(4), Memory()
    left.put(mail(50) + b"x" * 1000)
    step(tmp_path, left, right, Policy(max_size=500))
    assert preview(tmp_path, left, right, Policy(max_size=500)).copies == 0
    assert preview(tmp_path, left, right).copies == 1
