"""Mailboxes kept in step while it runs: by what servers tell and by the clock, at the stages that take part."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.contract import Status, StoreFault
from gateway.control import ControlError
from gateway.log import Silence
from gateway.outcome import Scope
from gateway.sync import child as child_module
from gateway.sync import watch as watch_module
from gateway.sync.child import WatchChild
from gateway.sync.figures import Figures
from gateway.sync.opening import locked
from gateway.sync.passes import Passes
from gateway.sync.runner import Outcome
from gateway.sync.watch import BY_ITSELF, Watch
from tests.gateway.sync.memory import Memory
from tests.gateway.sync.rig import Rig, Store, mailbox, message, rig

BOUND_S = 60


class Telling(Memory):
    """A mailbox whose server tells of what happens."""

    async def watch(self, folders: Sequence[str]) -> AsyncIterator[str]:
        seen = len(self.log)
        while True:
            while len(self.log) == seen:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            seen = len(self.log)
            yield folders[0]


def telling(count: int) -> Memory:
    made = Telling()
    plain = mailbox(count)
    made.items, made.log, made.numbers = plain.items, plain.log, plain.numbers
    return made


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def watching(made: Rig, **more: Any) -> AsyncIterator[list[Outcome]]:
    ended: list[Outcome] = []
    task = asyncio.ensure_future(Watch(made.runner, made.pairings, ended=ended.append, **more).run())
    try:
        yield ended
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "SETTLE_S", 0.01)
    monkeypatch.setattr(watch_module, "LOOK_S", 0.02)
    monkeypatch.setattr(watch_module, "BUSY_S", 0.02)
    monkeypatch.setattr(watch_module, "AGAIN_S", 0.02)


async def test_what_a_server_tells_is_followed_at_once(tmp_path: Path) -> None:
    old, new = Store(ann=telling(3)), Store(ann=telling(0))
    with rig(tmp_path, old, new, interval="1d", mode="two-way") as made:
        async with watching(made):
            await until(lambda: len(new.boxes["ann"].items) == 3)
            old.boxes["ann"].put(message(10), "inbox")
            await until(lambda: len(new.boxes["ann"].items) == 4)
            new.boxes["ann"].put(message(11), "inbox")
            await until(lambda: len(old.boxes["ann"].items) == 5)
    assert (old.opens, new.opens) == ({"ann": 1}, {"ann": 1})  # they stayed open


async def test_the_others_have_their_passes_by_the_clock(tmp_path: Path) -> None:
    old, new = Store(ann=telling(1), bob=telling(1)), Store(ann=telling(0), bob=telling(0))
    with rig(tmp_path, old, new, interval=0.05, listen_to=0) as made:
        async with watching(made) as ended:
            await until(lambda: len(ended) >= 4)
            old.boxes["bob"].put(message(10), "inbox")
            await until(lambda: len(new.boxes["bob"].items) == 2)
    assert old.opens["ann"] > 1


async def test_a_mailbox_that_cannot_be_had_is_tried_again_and_stops_no_other(tmp_path: Path) -> None:
    class Down(Store):
        down = True

        @asynccontextmanager
        async def open(self, name: str) -> AsyncIterator[Memory]:
            if self.down and name == "ann":
                raise StoreFault(Status("4.4.1", "it is away"), Scope.HOP)
            async with super().open(name) as box:
                yield box

    old, new = Down(ann=telling(1), bob=telling(2)), Store(ann=telling(0), bob=telling(0))
    with rig(tmp_path, old, new, interval=0.05) as made:
        async with watching(made) as ended:
            await until(lambda: len(new.boxes["bob"].items) == 2)
            await until(lambda: any(each.fault == "4.4.1 at old: it is away" for each in ended))
            assert (await Passes(made.state).all())["merger/ann"].fault == "4.4.1 at old: it is away"
            old.down = False
            await until(lambda: len(new.boxes["ann"].items) == 1)


async def test_a_server_that_cannot_be_listened_to_is_asked_by_the_clock(tmp_path: Path) -> None:
    class Deaf(Memory):
        async def watch(self, folders: Sequence[str]) -> AsyncIterator[str]:
            raise StoreFault(Status("4.4.2", "lost"), Scope.HOP)
            yield ""

    old, new = Store(ann=Deaf()), Store(ann=Deaf())
    with rig(tmp_path, old, new, interval=0.05) as made:
        async with watching(made):
            old.boxes["ann"].put(message(1), "inbox")
            await until(lambda: len(new.boxes["ann"].items) == 1)
            old.boxes["ann"].put(message(2), "inbox")
            await until(lambda: len(new.boxes["ann"].items) == 2)


async def test_a_server_that_hung_up_is_listened_to_again(tmp_path: Path) -> None:
    class Restarted(Telling):
        watched = 0

        async def watch(self, folders: Sequence[str]) -> AsyncIterator[str]:
            self.watched += 1
            if self.watched == 1:
                raise StoreFault(Status("4.4.2", "the server hung up"), Scope.HOP)
            async for each in super().watch(folders):
                yield each

    box = Restarted()
    old, new = Store(ann=box), Store(ann=telling(0))
    with rig(tmp_path, old, new, interval="1d") as made:
        async with watching(made):
            await until(lambda: box.watched == 2)
            for count in (1, 2):
                box.put(message(count), "inbox")
                await until(lambda: len(new.boxes["ann"].items) == count)  # noqa: B023  ends before the next


async def test_a_mailbox_that_brings_out_a_bug_stops_no_other(tmp_path: Path) -> None:
    class Odd(Store):
        @asynccontextmanager
        async def open(self, name: str) -> AsyncIterator[Memory]:
            if name == "ann":
                raise KeyError("what nobody thought of")
            async with super().open(name) as box:
                yield box

    old, new = Odd(ann=telling(1), bob=telling(2)), Store(ann=telling(0), bob=telling(0))
    with rig(tmp_path, old, new, interval=0.05) as made:
        async with watching(made) as ended:
            await until(lambda: len(new.boxes["bob"].items) == 2)
            await until(lambda: any("a fault of this program: KeyError" in (each.fault or "") for each in ended))


async def test_by_itself_the_gateway_leaves_alone_what_was_not_begun_and_what_is_closed(tmp_path: Path) -> None:
    old = Store(ann=telling(1), bob=telling(1), carl=telling(1))
    new = Store(ann=telling(0), bob=telling(0), carl=telling(0))
    with rig(tmp_path, old, new, interval=0.05) as made:
        ann, bob, carl = made.pairings
        for each in (bob, carl):
            await made.runner.one(each)
        await made.state.set_stage(carl.id, "closed")
        async with watching(made, stages=BY_ITSELF) as ended:
            await until(lambda: len(ended) >= 3)
            assert {each.pairing.id for each in ended} == {bob.id}
            await made.runner.one(ann)  # an operator begins it
            await until(lambda: any(each.pairing.id == ann.id for each in ended))
            await made.state.set_stage(bob.id, "closed")
            await until(lambda: len(ended) >= 6)
            ended.clear()
            await until(lambda: len(ended) >= 6)
            assert sum(each.pairing.id == bob.id for each in ended) <= 1


async def test_another_command_at_a_mailbox_is_waited_for(tmp_path: Path) -> None:
    old, new = Store(ann=telling(2)), Store(ann=telling(0))
    with rig(tmp_path, old, new, interval=0.05) as made:
        with locked(made.config.state_dir, "merger/ann"):
            async with watching(made) as ended:
                await until(lambda: bool(ended))
                assert ended[0].is_locked
                assert new.boxes["ann"].items == {}
        async with watching(made):
            await until(lambda: len(new.boxes["ann"].items) == 2)


async def test_figures_come_from_the_state(tmp_path: Path) -> None:
    old, new = Store(ann=mailbox(3), bob=mailbox(2)), Store(ann=Memory(), bob=Memory())
    new.boxes["bob"].refuses = {b"<1@": Status("5.6.0", "no")}
    figures = Figures(cast(Any, SimpleNamespace(syncs={}, spool_dir=tmp_path)))
    assert await figures.samples() == []
    with rig(tmp_path, old, new, mend=False) as made:
        figures.put_in_force(made.config)
        for each in made.pairings:
            await made.runner.one(each)
        found = {(name, tuple(map(tuple, labels))): value for name, labels, value in await figures.samples()}
        told = (await figures.standings({"sync": "merger", "details": True}))["mailboxes"]
        with pytest.raises(ControlError, match=r"no \[sync\.other\]; there are: merger"):
            await figures.standings({"sync": "other"})
    figures.close()
    assert [(each["from"], each["stage"], each["items"]) for each in told] == [
        ("ann", "coexisting", 3),
        ("bob", "coexisting", 1),
    ]
    assert [each["message_id"] for each in told[1]["problems"]] == ["<1@example.org>"]
    merger = ("sync", "merger")
    assert found.pop(("gatepost_sync_oldest_pass_seconds", (merger,))) < BOUND_S
    assert found == {
        ("gatepost_sync_mailboxes", (merger, ("stage", "coexisting"))): 2.0,
        ("gatepost_sync_copied_total", (merger,)): 4.0,
        ("gatepost_sync_copied_bytes_total", (merger,)): float(4 * len(message(1))),
        ("gatepost_sync_items", (merger,)): 4.0,
        ("gatepost_sync_problems", (merger,)): 1.0,
        ("gatepost_sync_running", (merger,)): 0.0,
        ("gatepost_sync_failing", (merger,)): 1.0,
    }


# -- the process that the gateway has for it


_CHILD = """
import json, os, sys
with open(sys.argv[1], "a") as file:
    file.write(json.dumps([os.getpid(), sys.argv[2:]]) + "\\n")
sys.stdin.read()
"""


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _starts(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _config(path: Path, *, watched: bool = True) -> Any:
    section = SimpleNamespace(watch=watched)
    return SimpleNamespace(path=path, syncs={"merger": section}, gateway=SimpleNamespace(stop_after=BOUND_S))


async def test_the_process_is_started_anew_where_it_ends_and_for_another_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, script = tmp_path / "starts", tmp_path / "child.py"
    script.write_text(_CHILD)
    monkeypatch.setattr(child_module, "_COMMAND", (sys.executable, str(script), str(noted)))
    monkeypatch.setattr(child_module, "_RESTART_MIN_S", 0.01)
    monkeypatch.setattr(child_module, "_RESTART_MAX_S", 0.02)
    child = WatchChild(_config(tmp_path / "a.toml", watched=False), Silence({}))
    task = asyncio.ensure_future(child.run())
    try:
        await asyncio.sleep(0.05)
        assert not noted.exists()
        child.put_in_force(_config(tmp_path / "b.toml"))
        await until(lambda: len(_starts(noted)) == 1)
        os.kill(_starts(noted)[0][0], signal.SIGKILL)
        await until(lambda: len(_starts(noted)) == 2)
        child.put_in_force(_config(tmp_path / "c.toml"))
        await until(lambda: len(_starts(noted)) == 3)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    (one, _), (two, before), (three, after) = _starts(noted)
    assert before == ["-c", str(tmp_path / "b.toml"), "--child"]
    assert after == ["-c", str(tmp_path / "c.toml"), "--child"]
    assert not any(map(is_there, (one, two, three)))
