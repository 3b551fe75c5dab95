"""The course of a mailbox, ended at every step and gone on with."""

from __future__ import annotations

import os
from typing import Final

import pytest

from tests.gateway.sync.course_world import (
    MakeWorld,
    end,
    everything_once,
    make_world,
    seeded,
    template,
)
from tests.gateway.sync.memory import Killed

__all__ = ["make_world", "template"]  # fixtures

EACH: Final = 1 if "GATEPOST_CUTOVER" in os.environ else 3
"""Every step is the last one in the long run, each third of them else."""


async def test_every_step_of_a_cut_over_may_be_the_last(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    at = 0
    while True:
        world, steps = await seeded(make_world, monkeypatch)
        steps.ends_at = at
        try:
            moved = await world.course("cut_over")
        except Killed:
            moved = await world.course("cut_over")
        else:
            assert at > 10, "there are as many steps"
            break
        assert moved.error is None, (at, moved)
        assert world.who().home == "newmail"
        await end(world)
        everything_once(world, world.new)
        monkeypatch.undo()
        at += EACH


async def test_every_step_of_a_roll_back_may_be_the_last(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 0
    while True:
        world, steps = await seeded(make_world, monkeypatch)
        assert (await world.course("cut_over")).error is None
        steps.count, steps.ends_at = 0, at
        try:
            moved = await world.course("roll_back")
        except Killed:
            moved = await world.course("roll_back")
        else:
            assert at > 10, "there are as many steps"
            break
        assert moved.error is None, (at, moved)
        assert (world.who().home, moved.stage) == ("oldmail", "coexisting")
        world.is_flowing = False
        everything_once(world, world.old)
        monkeypatch.undo()
        at += EACH


async def test_a_cut_over_that_was_cut_is_ended_instead(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    at = 0
    while True:
        world, steps = await seeded(make_world, monkeypatch)
        steps.ends_at = at
        try:
            await world.course("cut_over")
        except Killed:
            moved = await world.course("roll_back")
        else:
            break
        if moved.error is None:
            assert (world.who().home, moved.stage) == ("oldmail", "coexisting"), at
        else:
            assert "was not cut over: its stage is coexisting" in moved.error, "it was not begun"
        world.is_flowing = False
        world.pump()
        everything_once(world, world.old)
        monkeypatch.undo()
        at += EACH
