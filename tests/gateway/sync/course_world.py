"""A world for the course of one mailbox: what tests of it have in common.

The mailboxes are in memory and the mapping is real. The gateway is a few lines that do what its nodes do: mail for
somebody who is being cut over is kept, and goes to where the mailbox is once that is over. A message comes in at
each step.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.config import Config, load
from gateway.mailbox import Holds, OpenMailbox
from gateway.mapping_desk.desk import Desk
from gateway.mapping_desk.edit import Author, add
from gateway.sync.course import Course, Moved
from gateway.sync.journal import Journal
from gateway.sync.pairing import pairings
from gateway.sync.runner import Runner
from gateway.sync.state import State
from gateway.sync.switch import Switch
from gateway.sync.values import Pairing
from mappings.identity import Identity, Stage
from tests.gateway.sync.memory import HOLDS, Killed, Memory

WHO: Final = "smtp:ann@acme.example"
NEW: Final = "smtp:ann@new.example"
_CONFIG: Final = """
[gateway]
name = "gw.example"
spool = "sqlite:///spool"

[mapping]
domains = ["acme.example", "new.example"]

[connector.oldmail]
type = "smtp"
smart_host = "127.0.0.1:2501"

[connector.newmail]
type = "smtp"
smart_host = "127.0.0.1:2502"

[connector.old]
type = "imap"
host = "127.0.0.1"
tls = "none"
password = "secret"

[connector.new]
type = "imap"
host = "127.0.0.1"
tls = "none"
password = "secret"

[sync.merger]
from = "old"
to = "new"
home = "newmail"
mode = "two-way"

[[sync.merger.pair]]
from = "ann"
identity = "smtp:ann@acme.example"
"""


class Store:
    """One mailbox, as a store."""

    def __init__(self, box: Memory) -> None:
        self.box = box

    def holds(self) -> Holds:
        return HOLDS

    @asynccontextmanager
    async def open(self, mailbox: str) -> AsyncIterator[OpenMailbox]:
        yield self.box


class World:
    """Both mailboxes, the mapping, and mail that comes in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config: Config = load(folder / "gatepost.toml", mapping=False, dry=True)
        self.desk = Desk(self.config)
        self.old, self.new = Memory(), Memory()
        self.old.put(b"Message-ID: <before@x>\r\n\r\nbefore\r\n", name="<before@x>")
        self.new.put(b"Message-ID: <stranger@x>\r\n\r\nnot of the old one\r\n", name="<stranger@x>")
        self.state = State(folder / "sync.sqlite")
        self.pairings = pairings("merger", self.config.syncs["merger"], folder)
        self.kept: list[bytes] = []
        self.sent: list[bytes] = []
        self.is_flowing = False

    @property
    def pairing(self) -> Pairing:
        return self.pairings[0]

    def who(self) -> Identity:
        with self.desk.reading() as connection:
            return self.desk.one(connection, "1")

    def pump(self) -> None:
        """Do what a node does by the mapping."""
        who = self.who()
        if who.stage is not Stage.CUTTING:
            box = self.new if who.home == "newmail" else self.old
            for octets in self.kept:
                box.put(octets, name=octets.split(b"\r\n")[0].split(b" ")[1].decode())
            self.kept.clear()

    def mail(self) -> None:
        """Take a message in."""
        if self.is_flowing:
            octets = b"Message-ID: <%d@x>\r\n\r\ntext %d\r\n" % (len(self.sent), len(self.sent))
            self.sent.append(octets)
            self.kept.append(octets)
            self.pump()

    def runner(self) -> Runner:
        return Runner(self.config, self.state, {"old": Store(self.old), "new": Store(self.new)})

    async def course(self, what: str, **options: Any) -> Moved:
        """Do one command with a course of its own, as a process would."""
        course = Course(self.runner(), wait_s=options.pop("wait_s", 1.0))
        try:
            (moved,) = await getattr(course, what)(self.pairings, **options)
        finally:
            course.close_files()
        return moved

    async def seed(self) -> None:
        """Copy all once."""
        (outcome,) = await self.runner().all(self.pairings)
        assert outcome.is_done

    def stage(self) -> str:
        return next(stage for pairing, stage in asyncio.run(self.state.pairings()) if pairing.id == self.pairing.id)

    def octets(self, box: Memory) -> list[bytes]:
        return sorted(octets for _, octets, _ in box.shown())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("course")
    (folder / "gatepost.toml").write_text(_CONFIG)
    desk = Desk(load(folder / "gatepost.toml", mapping=False, dry=True))
    add(desk, Author("test", "new"), ["name=Ann Lee", f"+{WHO}", "home=oldmail", "stage=coexisting"])
    return folder


MakeWorld = Callable[[], World]


@pytest.fixture
def make_world(template: Path, tmp_path: Path) -> Iterator[MakeWorld]:
    made: list[World] = []

    def make() -> World:
        folder = tmp_path / str(len(made))
        shutil.copytree(template, folder)
        world = World(folder)
        made.append(world)
        return world

    yield make
    for world in made:
        world.state.close()


class Steps:
    """Counts the steps of a course, and ends the process before or after one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, world: World) -> None:
        self.world = world
        self.count = 0
        self.ends_at: int | None = None
        for owner, name in (
            (Journal, "note"), (Switch, "hold"), (Switch, "switch"), (Switch, "switch_back"), (Switch, "release"),
            (Switch, "wait"), (Runner, "course_pass"),
        ):  # fmt: skip
            monkeypatch.setattr(owner, name, self._step(getattr(owner, name)))

    def _step(self, real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def step(*given: Any, **named: Any) -> Any:
            self._turn()
            result = await real(*given, **named)
            self._turn()
            return result

        return step

    def _turn(self) -> None:
        self.world.mail()
        self.count += 1
        if self.count - 1 == self.ends_at:
            self.ends_at = None
            raise Killed


async def seeded(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> tuple[World, Steps]:
    world = make_world()
    await world.seed()
    steps = Steps(monkeypatch, world)
    world.is_flowing = True
    return world, steps


def everything_once(world: World, box: Memory) -> None:
    """All that was ever sent is in a mailbox once, and nothing is kept."""
    assert world.kept == []
    held = world.octets(box)
    assert len(held) == len(set(held)), "nothing is doubled"
    assert {*world.sent, b"Message-ID: <before@x>\r\n\r\nbefore\r\n"} <= set(held), "nothing is lost"


async def end(world: World) -> None:
    """No more mail comes, and what reached the old side last is fetched."""
    world.is_flowing = False
    world.pump()
    (outcome,) = await world.runner().all(world.pairings)
    assert outcome.is_done, outcome
