"""A glance at mailboxes that may be in step: what it reads is what the state holds, and what it passes over is none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, load
from gateway.log import Silence
from gateway.sync import migrations
from gateway.sync.ends import Report
from gateway.sync.glance import in_step
from gateway.sync.marks import VERSION, Marks
from gateway.sync.opening import open_state, open_stores
from gateway.sync.outcome import Outcome
from gateway.sync.pairing import pairings
from gateway.sync.passes import Passes
from gateway.sync.runner import Runner
from gateway.sync.stages import CLOSED, COEXISTING
from gateway.sync.state import State
from gateway.sync.values import FolderPair, Intent, Pairing, Place, Placed, Print, Problem
from tests.gateway.sync.test_dovecot import fill, login, message
from tests.peers.dovecot import PASSWORD, Dovecot

PAIRING = Pairing("p", "merger", Place("old", "anna"), Place("new", "ben"), "anna@example.org", "one", "two-way")
FOLDER = FolderPair(0, "l", "r", ("Größe", "a/b"), "lt", "rt", "lm", "rm", True, "limits")

Act = Callable[[State], Coroutine[Any, Any, None]]


async def _in_step(state: State) -> FolderPair:
    await state.add_pairing(PAIRING)
    await state.set_stage(PAIRING.id, COEXISTING)
    number = await state.put_folder(PAIRING.id, FOLDER)
    passes = Passes(state, lambda: 2.0)
    await passes.end(PAIRING.id, Report(copied=3, octets=30), is_done=True, fault="", began_at=1.0)
    return replace(FOLDER, id=number)


def test_what_it_reads_and_notes_is_what_the_state_holds(tmp_path: Path) -> None:
    assert migrations.head() == VERSION

    async def work() -> None:
        with closing(State(tmp_path / "sync.sqlite")) as state:
            await _in_step(state)
            with closing(Marks(tmp_path / "sync.sqlite")) as marks:
                assert marks.folders(PAIRING) == await state.folders(PAIRING.id)
                assert marks.stage(PAIRING) == COEXISTING
                marks.ended([(PAIRING.id, 10.0, 11.0)])
            told = (await Passes(state).all())[PAIRING.id]
            assert (told.began_at, told.updated_at, told.ended_at, told.is_done) == (10.0, 11.0, 11.0, True)
            assert (told.passes, told.copied, told.octets, told.report, told.fault) == (2, 3, 30, Report(), "")

    asyncio.run(work())


async def _intends(state: State) -> None:
    await state.intend(PAIRING.id, [Intent("k", 1, "right", "x", frozenset(), Print())])


async def _has_a_problem(state: State) -> None:
    await state.settle(PAIRING.id, problems=[Problem(1, "left", "x", "5.6.0", "no")])


async def _has_placed(state: State) -> None:
    await state.settle(PAIRING.id, placed=[Placed("right", 1, "x")])


async def _is_configured_otherwise(state: State) -> None:
    await state.add_pairing(replace(PAIRING, mode="copy"))


async def _is_closed(state: State) -> None:
    await state.set_stage(PAIRING.id, CLOSED)


async def _is_under_way(state: State) -> None:
    await Passes(state).begin(PAIRING.id)


async def _was_cut(state: State) -> None:
    await Passes(state).end(PAIRING.id, Report(), is_done=False, fault="stopped", began_at=3.0)


@pytest.mark.parametrize(
    "act",
    [_intends, _has_a_problem, _has_placed, _is_configured_otherwise, _is_closed, _is_under_way, _was_cut],
)
def test_where_there_is_more_to_do_it_knows_of_no_folders(tmp_path: Path, act: Act) -> None:
    async def work() -> None:
        with closing(State(tmp_path / "sync.sqlite")) as state:
            await _in_step(state)
            await act(state)
            with closing(Marks(tmp_path / "sync.sqlite")) as marks:
                assert marks.folders(PAIRING) is None

    asyncio.run(work())


# -- between two Dovecots


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Dovecot, Dovecot]]:
    with Dovecot() as one, Dovecot(separator=".") as two:
        yield one, two


def configured(servers: tuple[Dovecot, Dovecot], folder: Path, user: str) -> Config:
    file = folder / "gatepost.toml"
    lines = ["[gateway]", 'name = "gw.example"']
    for name, server in zip(("old", "new"), servers, strict=True):
        lines += [f"[connector.{name}]", 'type = "imap"', 'host = "127.0.0.1"', f"port = {server.port}"]
        lines += ['tls = "none"', f"password = {json.dumps(PASSWORD)}"]
    lines += ["[sync.merger]", 'from = "old"', 'to = "new"', 'mode = "two-way"', 'delete = "remove"']
    lines += ["[[sync.merger.pair]]", f'from = "{user}"', f'to = "{user}"']
    file.write_text("\n".join(lines))
    return load(file, mapping=False, dry=True)


def glanced(config: Config) -> dict[str, Outcome]:
    return asyncio.run(in_step(config, pairings("merger", config.syncs["merger"], config.base_dir), Silence({})))


def passed(config: Config) -> Outcome:
    async def work() -> Outcome:
        (pairing,) = pairings("merger", config.syncs["merger"], config.base_dir)
        with open_state(config) as state:
            async with open_stores(config, ["old", "new"]) as stores:
                return await Runner(config, state, stores).one(pairing)

    return asyncio.run(work())


def test_it_sees_each_change_and_nothing_else(servers: tuple[Dovecot, Dovecot], tmp_path: Path) -> None:
    config = configured(servers, tmp_path, "glance")
    old, new = login(servers[0], "glance"), login(servers[1], "glance")
    fill(servers[0], "glance", 4)
    assert glanced(config) == {}, "there is no state yet"

    def settle() -> None:
        assert any(passed(config).report.folders == 0 for _ in range(6)), "passes end to find something"
        (outcome,) = glanced(config).values()
        assert outcome.is_done
        assert outcome.told().split(": ", 1)[1].startswith("in step already, in ")

    settle()
    for client in (old, new):
        client.append("INBOX", "", None, message(77))
        assert glanced(config) == {}
        assert passed(config).report.copied == 1
        settle()
    for number, client in enumerate((old, new)):
        client.select("Sent")
        client.store("1", ("+FLAGS", "-FLAGS")[number], "(\\Flagged)")
        client.close()
        assert glanced(config) == {}
        assert passed(config).report.flagged == 1
        settle()
    for number, client in enumerate((old, new)):
        client.create(f"Another{number}")
        assert glanced(config) == {}
        settle()
    old.rename("Another0", "Renamed")
    assert glanced(config) == {}
    for client in (old, new):
        client.logout()
