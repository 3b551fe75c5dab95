"""The course of a mailbox by itself: there and back, what is refused, what is given up."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from sqlalchemy import update

from gateway.config import load
from gateway.mailbox import StoreFault
from gateway.mapping_desk.edit import Author, add, change
from gateway.outcome import Scope
from gateway.spool.folder import lock_file
from gateway.status import Status
from gateway.sync.journal import Journal
from gateway.sync.opening import locked
from gateway.sync.pairing import pairings
from gateway.sync.runner import Runner
from gateway.sync.schema import PASS
from mappings.identity import Role, Stage
from tests.gateway.sync.course_world import (
    NEW,
    WHO,
    MakeWorld,
    end,
    everything_once,
    make_world,
    seeded,
    template,
)

__all__ = ["make_world", "template"]  # fixtures


async def test_a_cut_over_and_back(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = await seeded(make_world, monkeypatch)
    moved = await world.course("cut_over")
    assert (moved.error, moved.stage, moved.lines) == (None, "cut over", ())
    assert moved.held_s is not None
    assert 0 <= moved.held_s < 60
    who = world.who()
    assert (who.home, who.stage) == ("newmail", Stage.MOVED)
    assert (await world.course("cut_over")).lines == ("it was cut over before",)
    await end(world)
    everything_once(world, world.new)
    world.new.put(b"Message-ID: <own@x>\r\n\r\nput in by hand\r\n", name="<own@x>")
    dropped = next(id for id, held in world.new.items.items() if b"before" in held.octets)
    world.new.drop(dropped)
    world.is_flowing = True
    moved = await world.course("roll_back")
    assert (moved.error, moved.stage) == (None, "coexisting")
    assert moved.held_s is not None
    who = world.who()
    assert (who.home, who.stage) == ("oldmail", Stage.COEXISTING)
    world.is_flowing = False
    everything_once(world, world.old)
    assert b"Message-ID: <own@x>\r\n\r\nput in by hand\r\n" in world.octets(world.old), "it was brought back"


async def test_mail_goes_on_where_the_last_pass_fails(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = await seeded(make_world, monkeypatch)
    real = Runner.course_pass

    async def course_pass(self: Runner, *given: Any) -> Any:
        if world.who().stage is Stage.CUTTING:
            raise StoreFault(Status("4.4.2", "the server is gone"), Scope.HOP)
        return await real(self, *given)

    monkeypatch.setattr(Runner, "course_pass", course_pass)
    moved = await world.course("cut_over")
    assert moved.error is not None
    assert moved.error.endswith("4.4.2 the server is gone; mail goes on to the old home")
    assert (world.who().home, world.who().stage, moved.stage) == ("oldmail", Stage.COEXISTING, "coexisting")
    world.is_flowing = False
    world.pump()
    everything_once(world, world.old)
    monkeypatch.setattr(Runner, "course_pass", real)
    assert (await world.course("cut_over")).stage == "cut over"


async def test_the_mailbox_stays_where_a_roll_back_fails(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = await seeded(make_world, monkeypatch)
    assert (await world.course("cut_over")).error is None

    async def course_pass(self: Runner, *given: Any) -> Any:
        raise StoreFault(Status("4.4.2", "the server is gone"), Scope.HOP)

    monkeypatch.setattr(Runner, "course_pass", course_pass)
    moved = await world.course("roll_back")
    assert moved.error is not None
    assert moved.error.endswith("4.4.2 the server is gone; the mailbox stays at its new home")
    assert (world.who().home, world.who().stage, moved.stage) == ("newmail", Stage.MOVED, "cut over")


@pytest.mark.parametrize("what", ["cut_over", "roll_back"])
async def test_mail_goes_on_whatever_a_pass_stumbles_over(
    what: str, make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, _ = await seeded(make_world, monkeypatch)
    if what == "roll_back":
        assert (await world.course("cut_over")).error is None
    before, real = world.who(), Runner.course_pass

    async def course_pass(self: Runner, *given: Any) -> Any:
        if world.who().stage is Stage.CUTTING:
            raise KeyError("what nobody thought of")
        return await real(self, *given)

    monkeypatch.setattr(Runner, "course_pass", course_pass)
    moved = await world.course(what)
    assert moved.error is not None
    assert "a fault of this program: KeyError: 'what nobody thought of'; " in moved.error
    assert (world.who().home, world.who().stage) == (before.home, before.stage)


async def test_a_mailbox_that_brings_out_a_bug_stops_no_other(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()

    async def newest(self: Journal) -> str:
        raise KeyError("what nobody thought of")

    await world.seed()
    monkeypatch.setattr(Journal, "newest", newest)
    moved = await world.course("roll_back")
    assert moved.error is not None
    assert moved.error.startswith("a fault of this program: ")
    assert moved.stage == "coexisting"


@pytest.mark.parametrize("what", ["cut_over", "roll_back"])
async def test_who_is_stopped_by_hand_lets_the_mail_go_on(
    what: str, make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    await world.seed()
    if what == "roll_back":
        assert (await world.course("cut_over")).error is None
    before, stage = world.who(), "coexisting" if what == "cut_over" else "cut over"
    is_held = asyncio.Event()
    real = Runner.course_pass

    async def course_pass(self: Runner, *given: Any) -> Any:
        if world.who().stage is Stage.CUTTING:
            is_held.set()
            await asyncio.sleep(600)
        return await real(self, *given)

    monkeypatch.setattr(Runner, "course_pass", course_pass)
    task = asyncio.ensure_future(world.course(what))
    async with asyncio.timeout(60):
        await is_held.wait()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # somebody is impatient
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.who() == before
    stages = {pairing.id: stage for pairing, stage in await world.state.pairings()}
    assert stages[world.pairing.id] == stage


async def test_what_the_old_system_refuses_keeps_nobody_from_going_back(make_world: MakeWorld) -> None:
    world = make_world()
    await world.seed()
    assert (await world.course("cut_over")).error is None
    world.old.refuses[b"bad"] = Status("5.6.0", "no such thing here")
    world.new.put(b"Message-ID: <bad@x>\r\n\r\nbad\r\n", name="<bad@x>")
    world.new.put(b"Message-ID: <good@x>\r\n\r\ngood\r\n", name="<good@x>")
    moved = await world.course("roll_back")
    assert (moved.error, moved.stage) == (None, "coexisting")
    assert [line.partition(":")[0] for line in moved.lines] == [
        "1 items did not get back, and are in the new mailbox alone"
    ]
    assert b"Message-ID: <good@x>\r\n\r\ngood\r\n" in world.octets(world.old)


async def test_a_node_that_says_nothing_is_told_and_nothing_is_switched(make_world: MakeWorld) -> None:
    world = make_world()
    await world.seed()
    spool = world.config.spool_dir
    assert spool is not None
    lock = lock_file(spool / "worker-0.lock")
    moved = await world.course("cut_over", wait_s=0.3)
    assert moved.error == "within 0.3 s there was no word from worker 0; mail goes on to the old home"
    assert (world.who().stage, moved.stage) == (Stage.COEXISTING, "coexisting")
    os.close(lock)
    (spool / "worker-0.db").touch()
    moved = await world.course("cut_over")
    assert (moved.error, moved.lines) == (
        None,
        (
            "worker 0 does not run: what waits in its queue for the old home still goes there, and later passes "
            "fetch it",
        ),
    )


async def test_addresses_switch_with_the_home_and_back(make_world: MakeWorld) -> None:
    world = make_world()
    text = (world.folder / "gatepost.toml").read_text()
    (world.folder / "gatepost.toml").write_text(text + f'address = "{NEW}"\n')
    world.config = load(world.folder / "gatepost.toml", mapping=False, dry=True)
    world.pairings = pairings("merger", world.config.syncs["merger"], world.folder)
    await world.seed()
    assert (await world.course("cut_over")).error is None
    assert {str(h.address): h.role for h in world.who().addresses} == {NEW: Role.PRIMARY, WHO: Role.FORMER}
    change(world.desk, Author("test", "meanwhile"), "1", ["+smtp:lee@acme.example", "attribute.room=7"])
    assert (await world.course("roll_back")).error is None
    who = world.who()
    assert {str(h.address): h.role for h in who.addresses} == {
        WHO: Role.PRIMARY, NEW: Role.ALIAS, "smtp:lee@acme.example": Role.ALIAS,
    }  # fmt: skip
    assert who.attribute("room") == "7", "what was changed meanwhile stays"


async def test_what_is_refused_is_refused_before_anything_is_kept(make_world: MakeWorld) -> None:
    world = make_world()
    moved = await world.course("cut_over")
    assert moved.error == "it was not copied yet: `gatepost sync run` does that first"
    assert (await world.course("roll_back")).error == "it was not cut over: its stage is planned"
    assert (await world.course("close")).error == "only what is cut over is closed; its stage is planned"
    await world.seed()
    for edit, undo, error in (
        ("copy_home=newmail", "copy_home=", "would come twice"),
        ("home=newmail", "home=oldmail", "has its home at newmail already"),
        ("stage=cutting", "stage=coexisting", "is being cut over already"),
    ):
        change(world.desk, Author("test", ""), "1", [edit])
        before = world.who()
        moved = await world.course("cut_over")
        assert moved.error is not None
        assert error in moved.error
        assert (world.who(), moved.stage) == (before, "coexisting")
        change(world.desk, Author("test", ""), "1", [undo])


async def test_an_address_that_is_anothers_is_refused_beforehand(make_world: MakeWorld) -> None:
    world = make_world()
    text = (world.folder / "gatepost.toml").read_text()
    (world.folder / "gatepost.toml").write_text(text + f'address = "{NEW}"\n')
    world.config = load(world.folder / "gatepost.toml", mapping=False, dry=True)
    world.pairings = pairings("merger", world.config.syncs["merger"], world.folder)
    add(world.desk, Author("test", "new"), ["name=Ann of the others", f"+{NEW}", "home=newmail"])
    await world.seed()
    moved = await world.course("cut_over")
    assert moved.error is not None
    assert f"{NEW} is claimed by both" in moved.error
    assert (world.who().stage, moved.stage) == (Stage.COEXISTING, "coexisting")


async def test_problems_stop_a_cut_over_unless_told(make_world: MakeWorld) -> None:
    world = make_world()
    world.new.refuses[b"bad"] = Status("5.6.0", "no such thing here")
    world.old.put(b"Message-ID: <bad@x>\r\n\r\nbad\r\n", name="<bad@x>")
    await world.runner().all(world.pairings)
    moved = await world.course("cut_over")
    assert moved.error is not None
    assert moved.error.startswith("1 items or folders did not get across")
    moved = await world.course("cut_over", despite_problems=True)
    assert (moved.error, moved.stage) == (None, "cut over")


async def test_closing_waits_until_nothing_more_comes_in_on_the_old_side(make_world: MakeWorld) -> None:
    world = make_world()
    await world.seed()
    assert (await world.course("cut_over")).error is None
    world.old.put(b"Message-ID: <late@x>\r\n\r\npast us\r\n", name="<late@x>")
    moved = await world.course("close")
    assert moved.error is not None
    assert moved.error.startswith("1 items had still come in on the old side")
    assert b"Message-ID: <late@x>\r\n\r\npast us\r\n" in world.octets(world.new)
    assert (await world.course("close")).stage == "closed"
    assert (await world.course("roll_back")).error == "it was not cut over: its stage is closed"


async def test_a_mailbox_of_nobody_is_closed_without_a_cut_over(make_world: MakeWorld) -> None:
    world = make_world()
    text = (world.folder / "gatepost.toml").read_text()
    (world.folder / "gatepost.toml").write_text(text.replace(f'identity = "{WHO}"', ""))
    world.config = load(world.folder / "gatepost.toml", mapping=False, dry=True)
    world.pairings = pairings("merger", world.config.syncs["merger"], world.folder)
    await world.seed()
    moved = await world.course("cut_over")
    assert moved.error is not None
    assert moved.error.startswith("no identity is named for it")
    world.old.put(b"Message-ID: <late@x>\r\n\r\nlate\r\n", name="<late@x>")
    moved = await world.course("close")
    assert moved.error is not None
    assert moved.error.startswith("1 items had still come in on the old side")
    assert ((await world.course("close")).stage, world.who().home) == ("closed", "oldmail")


async def test_a_pass_under_way_is_waited_for(make_world: MakeWorld) -> None:
    world = make_world()
    await world.seed()
    lock = locked(world.config.state_dir, world.pairing.id)
    with lock:
        moved = await world.course("cut_over", wait_s=0.3)
        assert moved.error == "another command, or the gateway, is at this mailbox just now"
        cutting = asyncio.ensure_future(world.course("cut_over", wait_s=60))
        await asyncio.sleep(0.3)
    assert (await cutting).error is None


async def test_a_process_that_lost_its_lock_lets_the_mail_go_on(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    await world.seed()
    real = Runner.course_pass

    async def course_pass(self: Runner, *given: Any) -> Any:
        if world.who().stage is Stage.CUTTING:
            await world.state.do(lambda connection: connection.execute(update(PASS).values(who="elsewhere:1")))
            await asyncio.sleep(60)
        return await real(self, *given)

    monkeypatch.setattr(Runner, "course_pass", course_pass)
    monkeypatch.setattr("gateway.sync.course.BEAT_S", 0.1)
    moved = await world.course("cut_over")
    assert moved.error == "another process has taken this mailbox over, this one having lost its lock"
    assert (world.who().stage, moved.stage) == (Stage.COEXISTING, "coexisting")
