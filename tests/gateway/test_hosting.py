"""Connectors that cannot be at work: isolated, told of, tried again; and what stands for them meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import hosting
from gateway.absent import ABSENT_HOP, Absent, AbsentConfig, NotStarted, networks_of, remember, remembered
from gateway.config import ConfigErrors, ConnectorSection, load
from gateway.contract import (
    Address,
    Batch,
    Capabilities,
    Connector,
    ConnectorConfig,
    Context,
    Deferred,
    Delivered,
    Health,
    Scope,
    StoreFault,
)
from gateway.hosting import Hosting
from gateway.testing import KitLog, ListBatch, parcel
from mappings.network import parse

LONG_S = 60.0
ANN = parse("smtp:ann@target.example")


class Good(Connector):
    def next_hop(self, address: Address) -> str:
        return "there"

    async def deliver(self, batch: Batch) -> None:
        for each in batch.parcels:
            for item in each.items:
                batch.settle(item.id, Delivered())


class Stumbles(Good):
    """Its start raises what is in `faults`, one after the other."""

    faults: list[BaseException]
    hangs: asyncio.Event | None = None
    slow_s = 0.0

    async def start(self) -> None:
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        if type(self).faults:
            raise type(self).faults.pop(0)


class Unbuildable(Good):
    faults = 1

    def __init__(self, name: str, config: Any, context: Context) -> None:
        if type(self).faults:
            type(self).faults -= 1
            raise RuntimeError("a bug in __init__")
        super().__init__(name, config, context)


class Ill(Good):
    def health(self) -> Health:
        raise ZeroDivisionError("a bug in health")

    @property
    def capabilities(self) -> Capabilities:
        if getattr(self, "broken", False):
            raise ZeroDivisionError("a bug in capabilities")
        return Capabilities(header_networks=("mhs",))

    async def stop(self) -> None:
        raise ZeroDivisionError("a bug in stop")


class Stage:
    """A hosting with what it calls."""

    def __init__(self, tmp_path: Path) -> None:
        self.log = KitLog()
        self.back: list[str] = []
        self.reloads = 0
        self.tmp_path = tmp_path
        self.hosting = Hosting(self._context, self.log, stop_s=lambda: 1.0, back=self._is_back, reload=self._reload)

    def _context(self, section: ConnectorSection) -> Context:
        return Context("gw.example", self.tmp_path, self.tmp_path, self.log, time.time)

    async def _is_back(self, name: str) -> None:
        self.back.append(name)

    async def _reload(self) -> None:
        self.reloads += 1

    def add(self, cls: type[Connector], config: ConnectorConfig | None = None) -> None:
        self.hosting.add(ConnectorSection("x", cls, "kind", config or ConnectorConfig()))

    async def until(self, done: Callable[[], object]) -> None:
        async with asyncio.timeout(LONG_S):
            while not done():  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.002)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(hosting, "AGAIN_MIN_S", 0.01)
    monkeypatch.setattr(hosting, "LOOK_MIN_S", 0.01)
    return Stage(tmp_path)


async def outcome(stage: Stage) -> Any:
    batch = ListBatch([parcel(1, [ANN], b"x")])
    await stage.hosting.destinations["x"].deliver(batch)
    return batch.settled[1, 0]


@pytest.mark.parametrize("fault", [KeyError("a bug"), SystemExit(1)])
async def test_a_start_that_raises_is_isolated_and_tried_again(stage: Stage, fault: BaseException) -> None:
    Stumbles.faults = [fault, OSError("the port is taken"), ValueError("no")]
    stage.add(Stumbles)
    await stage.hosting.start("x", first=True)
    assert not stage.hosting.is_at_work("x")
    assert stage.hosting.health("x") == Health(False, f"it cannot start: {fault!r}")
    destination = stage.hosting.destinations["x"]
    assert isinstance(destination, NotStarted)
    assert destination.next_hop(ANN) == "there"
    deferred = await outcome(stage)
    assert isinstance(deferred, Deferred)
    assert (deferred.scope, deferred.status.text) == (Scope.HOP, "the connector for this destination is not at work")
    assert "bug" not in deferred.status.text, "the cause is no word for strangers"
    await stage.until(lambda: stage.back)
    assert stage.back == ["x"]
    assert stage.hosting.health("x").ok
    assert await outcome(stage) == Delivered()
    await stage.hosting.stop()
    assert stage.hosting.connectors == {}


async def test_what_an_operator_has_to_mend_is_raised_at_the_first_start_alone(stage: Stage) -> None:
    Stumbles.faults = [OSError("the port is taken")]
    stage.add(Stumbles)
    with pytest.raises(OSError, match="connector 'x' cannot start: the port is taken"):
        await stage.hosting.start("x", first=True)
    Stumbles.faults = [OSError("the port is taken")]
    await stage.hosting.start("x", first=False)
    assert stage.hosting.health("x").text == "it cannot start: the port is taken"
    await stage.until(lambda: stage.back)
    await stage.hosting.stop()


async def test_a_start_that_does_not_end_holds_up_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "START_S", 0.05)
    monkeypatch.setattr(Stumbles, "slow_s", 0.3)
    Stumbles.faults = []
    stage.add(Stumbles)
    await stage.hosting.start("x", first=True)
    assert "has not ended after" in stage.hosting.health("x").text
    await stage.until(lambda: stage.back)
    assert stage.hosting.is_at_work("x")
    await stage.hosting.stop()


async def test_one_that_cannot_be_built_is_absent_until_it_can(stage: Stage) -> None:
    Unbuildable.faults = 2
    stage.add(Unbuildable)
    assert isinstance(stage.hosting.connectors["x"], Absent)
    await stage.hosting.start("x", first=True)
    assert "a bug in __init__" in stage.hosting.health("x").text
    assert isinstance(await outcome(stage), Deferred)
    await stage.until(lambda: stage.back)
    assert isinstance(stage.hosting.connectors["x"], Unbuildable)
    assert await outcome(stage) == Delivered()
    await stage.hosting.stop()


async def test_an_absent_plugin_is_looked_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, True])
    monkeypatch.setattr(hosting, "can_be_loaded", lambda kind, in_use: next(answers, False))
    stage.add(Absent, AbsentConfig(reason="it cannot be imported", networks=("mhs",)))
    await stage.hosting.start("x", first=True)
    assert stage.hosting.health("x") == Health(False, "it cannot be imported")
    assert stage.hosting.networks() == {"x": ("mhs",)}
    assert stage.hosting.destinations["x"].next_hop(ANN) == ABSENT_HOP
    with pytest.raises(StoreFault):
        stage.hosting.connectors["x"].open("somebody")  # type: ignore[attr-defined]
    await stage.until(lambda: stage.reloads)
    await stage.hosting.stop()


async def test_bugs_where_it_is_only_asked_hide_nothing(stage: Stage) -> None:
    stage.add(Ill)
    await stage.hosting.start("x", first=True)
    assert stage.hosting.networks() == {"x": ("mhs",)}
    stage.hosting.connectors["x"].broken = True  # type: ignore[attr-defined]
    assert stage.hosting.networks() == {"x": ("mhs",)}, "what it said before stays"
    assert stage.hosting.health("x") == Health(False, "health() raised ZeroDivisionError('a bug in health')")
    await stage.hosting.stop()
    assert "connector_stop_fault" in [event for _, event, _ in stage.log.lines]


async def test_a_stop_ends_what_tries_again(stage: Stage) -> None:
    Stumbles.faults = [KeyError("a bug")] * 1000
    stage.add(Stumbles)
    await stage.hosting.start("x", first=True)
    await stage.hosting.stop(["x"])
    left = len(Stumbles.faults)
    await asyncio.sleep(0.1)
    assert len(Stumbles.faults) == left
    assert stage.back == []
    await stage.hosting.stop()


# -- the configuration

TOML = """
[gateway]
name = "gw.example"
spool = "sqlite:///spool"
[connector.chat]
type = "missing"
secret = "not shown"
anything = 5
[[route]]
match = "xmpp:*"
to = "chat"
"""


class _Entry:
    def load(self) -> type[Connector]:
        from gateway.registry import ConnectorUnavailable

        raise ConnectorUnavailable("connector type 'missing' cannot be imported: no such module")


def test_a_configuration_stands_without_its_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gatepost.toml"
    path.write_text(TOML)
    monkeypatch.setattr("gateway.config_check.connectors", lambda: {"missing": _Entry()})
    with pytest.raises(ConfigErrors, match="cannot be imported"):
        load(path, dry=True)
    config = load(path, dry=True, isolate=True)
    section = config.connectors["chat"]
    assert section.cls is Absent
    assert "not shown" not in repr(section)
    assert config.warnings == (
        f"{path}:5: connector type 'missing' cannot be imported: no such module; mail for it is kept",
    )
    assert config.homes == {"chat": "smtp"}


def test_networks_are_those_of_its_last_start(tmp_path: Path) -> None:
    assert networks_of("xmpp", "chat", None) == ("xmpp",), "a network of the type's own name"
    assert networks_of("vendor", "chat", tmp_path) == ("smtp",)
    remember(tmp_path, {"chat": ("vendor", ("mhs", "smtp"))})
    remember(tmp_path, {"other": ("vendor", ("ftn",))})
    assert networks_of("vendor", "chat", tmp_path) == ("mhs", "smtp")
    assert networks_of("elsewhere", "chat", tmp_path) == ("smtp",), "another type has other networks"
    (tmp_path / "connectors.json").write_text('{"chat": {"type": 5}, "other": 7}')
    assert remembered(tmp_path) == {}
    (tmp_path / "connectors.json").write_text("[")
    assert remembered(tmp_path) == {}


def test_a_type_that_is_gone_is_kept_for_who_was_there(tmp_path: Path) -> None:
    path = tmp_path / "gatepost.toml"
    path.write_text(TOML)
    with pytest.raises(ConfigErrors, match="expected an installed connector type"):
        load(path, dry=True, isolate=True)
    state = tmp_path / "spool" / "state"
    state.mkdir(parents=True)
    remember(state, {"chat": ("missing", ("xmpp",))})
    config = load(path, dry=True, isolate=True)
    assert (config.connectors["chat"].cls, config.homes) == (Absent, {"chat": "xmpp"})
    with pytest.raises(ConfigErrors, match="expected an installed connector type"):
        load(path, dry=True)
