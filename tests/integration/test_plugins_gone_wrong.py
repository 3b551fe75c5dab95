"""Plugins that cannot be imported, do not start, crash, exit or block, beside a relay that goes on: in one gateway."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.peers import bad_plugins
from tests.peers.gateway import Gateway
from tests.peers.process import wait_until
from tests.peers.raw import send
from tests.peers.sink import Sink

pytestmark = pytest.mark.xdist_group("plugins-gone-wrong")  # one gateway, and an order of what happens to it
CONTENT = b"From: <ann@source.example>\r\nTo: <bob@target.example>\r\nMessage-Id: <%s@test>\r\n\r\nbody\r\n"
LONG_S = 90.0


class IllGateway(Gateway):
    """One of which it is known that it is not well."""

    def is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/healthz", timeout=5):
                return True
        except urllib.error.HTTPError as e:
            return e.code == 503
        except OSError:
            return False


@dataclass
class World:
    gateway: Gateway
    sink: Sink
    folder: Path

    def health(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.gateway.cli("connectors")["connectors"]}

    def now(self, name: str) -> dict[str, Any]:
        """Return how a connector is by the worker's own word: for who asks again and again."""
        return next(each for each in self.gateway.asked("status")["connectors"] if each["name"] == name)

    def send(self, domain: str, id: str) -> None:
        assert send(self.gateway.port, "ann@source.example", [f"bob@{domain}"], CONTENT % id.encode()).code == 250

    def relays(self, id: str) -> None:
        """Show that the healthy relay goes on."""
        self.send("target.example", id)
        wait_until(lambda: f"{id}@test" in {t.id for t in self.sink.taken()}, LONG_S, f"{id} is relayed")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("wrong")
    plugins = folder / "plugins"
    bad_plugins.write(plugins)
    with Sink(folder, keep=True) as sink:
        gateway = IllGateway(
            folder, sink.port, gateway='retry_min = "1s"\nretry_max = "2s"', env={"PYTHONPATH": str(plugins)}
        )
        text = gateway.config.read_text()
        gateway.config.write_text(text.replace("[[route]]", bad_plugins.tables() + "\n[[route]]", 1))
        try:
            with gateway:
                yield World(gateway, sink, plugins)
        finally:
            print(gateway.said()[-6000:])


def test_check_names_what_cannot_be_imported(world: World) -> None:
    with pytest.raises(RuntimeError, match=r"'unimportable' of bad-unimportable 0.12 cannot be imported: No module"):
        world.gateway.cli("check")


def test_each_fault_is_shown_and_the_relay_goes_on(world: World) -> None:
    for name in bad_plugins.TYPES:
        world.send(f"{name}.example", f"first-{name}")
    world.relays("beside")
    wait_until(lambda: "its source fell over" in world.now("crashing")["text"], LONG_S, "the crash is shown")
    told = world.health()
    assert "no_such_module_here" in told["unimportable"]["health"]
    assert told["stumbling"]["health"] == "it cannot start: KeyError('a bug in start')"
    assert told["exiting"]["health"].startswith("its source fell over: SystemExit(")
    assert {name for name, each in told.items() if not each["ok"]} >= set(bad_plugins.TYPES) - {"blocking"}
    assert told["internet"]["ok"]
    assert told["crashing"]["restarts"] >= 1
    waiting = {row["connector"]: row for row in world.gateway.cli("queue", "list")["rows"]}
    assert waiting.keys() >= {"unimportable", "stumbling", "crashing", "exiting"}, "their mail is kept"
    assert world.gateway.metrics()['gatepost_connector_healthy{connector="internet"}'] == 1.0
    assert world.gateway.metrics()['gatepost_connector_healthy{connector="stumbling"}'] == 0.0


def test_who_blocks_is_named_with_the_line(world: World) -> None:
    wait_until(lambda: bad_plugins.got(world.folder, "blocking"), LONG_S, "the blocking one has delivered")
    wait_until(lambda: "loop_goes_on" in world.gateway.said(), LONG_S, "the stall is told")
    (line, *_) = [each for each in world.gateway.said().splitlines() if "loop_blocked" in each]
    assert "blocking: loop_blocked" in line
    assert "plugins/bad_blocking.py:7 in ask_the_vendor" in line
    assert world.gateway.metrics()['gatepost_loop_stalls_total{connector="blocking"}'] >= 1
    assert "blocked the event loop" in world.health()["blocking"]["health"]
    assert world.health()["blocking"]["ok"], "it works; it is in everybody's way"
    world.relays("after-the-stall")


def test_what_is_mended_gets_its_mail(world: World) -> None:
    """Without a restart, and without a word from an operator."""
    for name in ("unimportable", "stumbling", "crashing"):
        bad_plugins.mend(world.folder, name)
    for name in ("stumbling", "crashing", "unimportable"):
        wait_until(lambda name=name: bad_plugins.got(world.folder, name), LONG_S, f"{name} delivers")  # type: ignore[misc]
        assert bad_plugins.got(world.folder, name) == [f"smtp:bob@{name}.example"]
    wait_until(lambda: world.now("unimportable")["ok"], LONG_S, "it is well")
    assert world.health()["stumbling"]["health"] == "ok"
    assert world.gateway.cli("check")["ok"]


def test_it_stops_in_its_time_and_keeps_what_is_left(world: World) -> None:
    world.relays("last")
    assert world.gateway.stop() == 0
    assert [row["connector"] for row in world.gateway.cli("queue", "list")["rows"]] == ["exiting"]
