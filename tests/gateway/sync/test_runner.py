"""Passes over several mailboxes: what goes wrong with one, locks, stages, and what is told of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.contract import Status, StoreFault
from gateway.outcome import Scope
from gateway.sync import runner as runner_module
from gateway.sync.opening import locked
from gateway.sync.outcome import after_lines
from gateway.sync.pairing import PairingErrors
from gateway.sync.passes import SILENT_S, Passes
from gateway.sync.progress import Event
from gateway.sync.runner import Outcome
from gateway.sync.state import State
from gateway.sync.transfer import Report
from gateway.sync.values import Pairing
from tests.gateway.sync.memory import Memory
from tests.gateway.sync.rig import Store, mailbox, message, rig
from tests.peers.postgres import PostgresServer


async def test_one_bad_mailbox_stops_no_other(tmp_path: Path) -> None:
    class Broken(Memory):
        async def folders(self) -> Any:
            raise KeyError("a bug")

    class Refusing(Memory):
        async def folders(self) -> Any:
            raise StoreFault(Status("5.7.8", "wrong password"), Scope.HOP)

    names = ["ann", "bob", "carl", "dora", "emil"]
    old = Store(ann=mailbox(3), carl=Broken(), dora=Refusing(), emil=mailbox(4))
    new = Store(ann=Memory(), bob=Memory(), carl=Memory(), dora=Memory(), emil=Memory())
    with rig(tmp_path, old, new, mailboxes=names) as made:
        outcomes = await made.runner.all(made.pairings)
    assert [each.fault for each in outcomes] == [
        None,
        "5.1.1 at old: there is no mailbox bob",
        "a fault of this program: KeyError: 'a bug'",
        "5.7.8 at old: wrong password",
        None,
    ]
    assert [each.is_done for each in outcomes] == [True, False, False, False, True]
    assert (len(new.boxes["ann"].items), len(new.boxes["emil"].items)) == (3, 4)


async def test_several_mailboxes_go_into_one(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(3), bob=mailbox(5)), Store(team=Memory())
    both = [{"from": name, "to": "team"} for name in ("ann", "bob")]
    with rig(tmp_path, old, new, pair=both) as made:
        assert [each.report.copied for each in await made.runner.all(made.pairings)] == [3, 2]
        old.boxes["ann"].put(message(9), "inbox")
        assert [each.report.copied for each in await made.runner.all(made.pairings)] == [1, 0]
        assert len(new.boxes["team"].items) == 6, "what both had is there once"
        for pairing in made.pairings:
            assert (await made.runner.check(pairing)).is_done
    for mode in ({"mode": "two-way"}, {"mode": "mirror", "strict": True}):
        with pytest.raises(PairingErrors, match="team stands under to in"), rig(tmp_path, old, new, pair=both, **mode):
            pass


async def test_no_more_mailboxes_at_once_than_are_configured(tmp_path: Path) -> None:
    most = running = 0
    full = asyncio.Event()

    class Slow(Memory):
        async def folders(self) -> Any:
            nonlocal most, running
            running += 1
            most = max(most, running)
            if running == 3:
                full.set()
            await full.wait()
            await asyncio.sleep(0)
            running -= 1
            return await super().folders()

    names = [f"m{n}" for n in range(9)]
    old, new = Store(**{name: Slow() for name in names}), Store(**{name: Memory() for name in names})
    with rig(tmp_path, old, new, mailboxes_at_once=3) as made:
        outcomes = await asyncio.wait_for(made.runner.all(made.pairings), 60)
    assert all(each.is_done for each in outcomes)
    assert most == 3


async def test_a_mailbox_at_which_another_process_is_is_left_alone(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(2), bob=mailbox(1)), Store(ann=Memory(), bob=Memory())
    with rig(tmp_path, old, new) as made:
        with locked(made.config.state_dir, made.pairings[0].id):
            ann, bob = await made.runner.all(made.pairings)
        assert (ann.is_locked, ann.is_done, bob.is_done) == (True, False, True)
        assert new.boxes["ann"].items == {}
        assert (await made.runner.one(made.pairings[0])).report.copied == 2


async def test_a_command_waits_for_who_is_at_a_mailbox(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(2)), Store(ann=Memory())
    with rig(tmp_path, old, new) as made:
        with locked(made.config.state_dir, "merger/ann"):
            waiting = asyncio.ensure_future(made.runner.all(made.pairings, wait_s=60))
            await asyncio.sleep(0.05)
            assert not waiting.done()
        [outcome] = await asyncio.wait_for(waiting, 60)
    assert outcome.report.copied == 2


async def test_a_process_that_lost_its_lock_knows_who_has_begun_since(tmp_path: Path) -> None:
    now = 1000.0
    old, new = Store(ann=mailbox(1)), Store(ann=Memory())
    with rig(tmp_path, old, new) as made:
        pairing = made.pairings[0]
        await made.state.add_pairing(pairing)
        there, here = Passes(made.state, lambda: now), Passes(made.state, lambda: now)
        there._who = "elsewhere:7"
        await there.begin(pairing.id)
        assert (await here.all())[pairing.id].is_running(now)
        now += SILENT_S + 1
        assert not (await here.all())[pairing.id].is_running(now)
        await here.begin(pairing.id)
        assert not await there.going(pairing.id, Report())
        await there.end(pairing.id, Report(copied=5), is_done=True, fault="", began_at=1000.0)
        assert (await here.all())[pairing.id].ended_at is None


async def test_a_mailbox_at_which_another_machine_is_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def taken(self: State, pairing: str) -> AsyncIterator[bool]:
        yield False

    monkeypatch.setattr(State, "locked", taken)
    old, new = Store(ann=mailbox(1)), Store(ann=Memory())
    with rig(tmp_path, old, new) as made:
        outcome = await made.runner.one(made.pairings[0])
    assert (outcome.is_locked, outcome.fault) == (True, "another machine is at this mailbox just now")
    assert new.opens == {}


async def test_a_pass_ends_where_another_machine_has_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(Memory):
        async def folders(self) -> Any:
            await asyncio.Event().wait()

    async def lost(self: Passes, pairing: str, report: Report) -> bool:
        return False

    monkeypatch.setattr(Passes, "going", lost)
    monkeypatch.setattr(runner_module, "BEAT_S", 0.01)
    old, new = Store(ann=Hanging()), Store(ann=Memory())
    with rig(tmp_path, old, new) as made:
        outcome = await asyncio.wait_for(made.runner.one(made.pairings[0]), 60)
    assert outcome.fault is not None
    assert "taken this mailbox over" in outcome.fault


async def test_stages_go_on_with_the_passes(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(2)), Store(ann=Memory())
    with rig(tmp_path, old, new) as made:
        pairing, passes = made.pairings[0], Passes(made.state)
        assert await passes.stage(pairing.id) is None
        new.boxes["ann"].refuses = {b"<1@": Status("5.6.0", "no")}
        outcome = await made.runner.one(pairing)
        assert (outcome.not_done, outcome.is_done) == (1, False)
        assert await passes.stage(pairing.id) == "coexisting"  # what is refused is told, and holds up nothing else
        steps = [step for step, _, _ in await made.state.journal(pairing.id)]
        assert steps == ["seeding", "coexisting"]
        await made.state.set_stage(pairing.id, "closed")
        closed = await made.runner.one(pairing)
        assert (closed.is_locked, closed.fault) == (True, "its stage is: closed")


async def test_a_first_pass_that_is_not_done_leaves_it_at_seeding(tmp_path: Path) -> None:
    class Ending(Memory):
        async def append(self, folder: str, items: Any) -> Any:
            raise StoreFault(Status("5.2.1", "the mailbox is disabled"))

    old, new = Store(ann=mailbox(2)), Store(ann=Ending())
    with rig(tmp_path, old, new) as made:
        outcome = await made.runner.one(made.pairings[0])
        assert outcome.fault == "5.2.1 at new: the mailbox is disabled"
        assert await Passes(made.state).stage(made.pairings[0].id) == "seeding"


async def test_a_fault_within_a_pass_says_on_which_side_it_was(tmp_path: Path) -> None:
    class Failing(Memory):
        async def changes(self, folder: str, token: str | None, limit: int = 500) -> Any:
            raise StoreFault(Status("5.3.0", "the disk is broken"))

    old, new = Store(ann=Failing()), Store(ann=Memory())
    with rig(tmp_path, old, new) as made:
        assert (await made.runner.one(made.pairings[0])).fault == "5.3.0 at old: the disk is broken"
        assert (await made.runner.check(made.pairings[0])).fault == "5.3.0 at old: the disk is broken"


async def test_what_did_not_get_across_is_told_until_it_has(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(5)), Store(ann=Memory())
    new.boxes["ann"].refuses = {b"<2@": Status("5.6.0", "it is refused")}
    with rig(tmp_path, old, new, mend=False) as made:
        pairing = made.pairings[0]
        first = await made.runner.one(pairing)
        assert (first.report.copied, first.not_done, first.is_done) == (4, 1, False)
        again = await made.runner.one(pairing)
        assert (again.report.copied, again.not_done, again.is_done) == (0, 1, False)
        assert again.told().startswith("ann: in step already, 1 not done before")
        new.boxes["ann"].refuses = {}
        old.boxes["ann"].put(message(9), "inbox")
        retried = await made.runner.one(pairing, retry=True)
        assert (retried.report.copied, retried.is_done) == (1, True)
        assert len(new.boxes["ann"].items) == 5  # that alone
        assert (await made.runner.one(pairing)).report.copied == 1


async def test_too_many_removals_are_refused_until_they_are_allowed(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(30)), Store(ann=Memory())
    with rig(tmp_path, old, new, mode="mirror", delete="remove") as made:
        pairing = made.pairings[0]
        assert (await made.runner.one(pairing)).is_done
        for id in list(old.boxes["ann"].items)[:20]:
            old.boxes["ann"].drop(id)
        refused = await made.runner.one(pairing)
        assert not refused.is_done
        assert "20 of 30 items would go, and at most 10 may: none was removed" in refused.told()
        assert not list(after_lines([refused], {})), "it was told as the mailbox ended"
        assert len(new.boxes["ann"].items) == 30
        assert (await Passes(made.state).all())[pairing.id].fault == "too much would be removed"
        assert (await made.runner.one(pairing, allow_removal=True)).report.removed == 20


async def test_a_mailbox_that_was_lost_where_it_was_copied_to_is_not_in_step(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(30)), Store(ann=Memory())
    with rig(tmp_path, old, new) as made:
        pairing = made.pairings[0]
        assert (await made.runner.one(pairing)).is_done
        for id in list(new.boxes["ann"].items):
            new.boxes["ann"].drop(id)
        old.boxes["ann"].put(message(50), "inbox", name="<50@example.org>")
        for copied in (1, 0):
            lost = await made.runner.one(pairing)
            assert not lost.is_done
            assert lost.report.copied == copied  # what is new goes on
            assert "30 of 31 items are gone" in lost.told() or "30 of 30 items are gone" in lost.told()
        checked = await made.runner.check(pairing)
        assert (checked.is_done, checked.count("missing")) == (False, 30)
    with rig(tmp_path, old, new, mode="mirror") as made:
        assert (await made.runner.one(pairing)).report.copied == 30
        assert (await made.runner.check(pairing)).is_done


async def test_what_its_owner_removed_after_all_is_noted_when_it_is_said(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(30)), Store(ann=Memory())
    with rig(tmp_path, old, new) as made:
        pairing = made.pairings[0]
        assert (await made.runner.one(pairing)).is_done
        for id in list(new.boxes["ann"].items):
            new.boxes["ann"].drop(id)
        assert (await made.runner.one(pairing, allow_removal=True)).is_done
        assert (await made.runner.one(pairing)).is_done
        assert (await made.runner.check(pairing)).count("removed there") == 30


async def test_a_pass_is_told_from_its_begin_to_its_end(tmp_path: Path) -> None:
    heard: list[Event] = []

    def listen(pairing: Pairing, what: Event) -> None:
        heard.append(what)

    old, new = Store(ann=mailbox(3)), Store(ann=Memory())
    with rig(tmp_path, old, new, listen=listen) as made:
        await made.runner.one(made.pairings[0])
        told = (await Passes(made.state).all())["merger/ann"]
    assert heard[0] is None
    assert isinstance(heard[-1], Outcome)
    assert any(isinstance(each, Report) for each in heard[1:-1])
    assert (told.passes, told.copied, told.is_done, told.report.copied) == (1, 3, True, 3)
    assert told.who.endswith(f":{os.getpid()}")


async def test_a_pass_that_is_stopped_is_told_as_stopped(tmp_path: Path) -> None:
    reached = asyncio.Event()

    class Hanging(Memory):
        async def folders(self) -> Any:
            reached.set()
            await asyncio.Event().wait()

    old, new = Store(ann=Hanging()), Store(ann=Memory())
    with rig(tmp_path, old, new) as made:
        task = asyncio.ensure_future(made.runner.all(made.pairings))
        await asyncio.wait_for(reached.wait(), 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        told = (await Passes(made.state).all())["merger/ann"]
        assert (told.fault, told.is_done) == ("stopped", False)
        with locked(made.config.state_dir, "merger/ann"):
            pass


async def test_machines_that_share_a_database_keep_out_of_each_others_way(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "BEAT_S", 0.01)
    reached, goes_on = asyncio.Event(), asyncio.Event()

    class Slow(Memory):
        async def folders(self) -> Any:
            reached.set()
            await goes_on.wait()
            return await super().folders()

    url = postgres.new_database("machines")
    slow = Slow()
    slow.put(message(1), "inbox")
    old, new = Store(ann=slow), Store(ann=Memory())
    with (
        rig(tmp_path / "one", old, new, url=url) as one,
        rig(tmp_path / "two", old, new, url=url) as two,
    ):
        pairing = one.pairings[0]
        under_way = asyncio.ensure_future(one.runner.one(pairing))
        await asyncio.wait_for(reached.wait(), 60)
        refused = await two.runner.one(pairing)
        assert refused.fault == "another machine is at this mailbox just now"
        async with asyncio.timeout(60):
            while (told := (await Passes(two.state).all()).get(pairing.id)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert told.is_running(time.time())
        goes_on.set()
        assert (await asyncio.wait_for(under_way, 60)).report.copied == 1
        again = await two.runner.one(pairing)
        assert (again.is_done, again.report.copied, again.report.read) == (True, 0, 0)
        assert (await Passes(one.state).all())[pairing.id].passes == 2
