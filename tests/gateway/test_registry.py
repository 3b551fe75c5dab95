"""The registry: what is wrong with one connector is a sentence, and never keeps the others from being found."""

from __future__ import annotations

import re
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.config import load
from gateway.contract import Connector
from gateway.faces import _status
from gateway.node import Node
from gateway.registry import GROUP, Connectors, ConnectorUnavailable, connectors
from gateway.sources import Sources
from gateway.stall import StallWatch
from gateway.testing import KitLog


class Good(Connector):
    pass


class OfTheFuture(Connector):
    contract_version = 99


class Unversioned(Connector):
    contract_version = "latest"  # type: ignore[assignment]  # wrong on purpose


class WrongConfig(Connector):
    Config = dict  # type: ignore[assignment]  # wrong on purpose


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, GROUP)


HERE = __name__


def test_our_own_are_installed_and_load() -> None:
    found = connectors()
    assert {"smtp", "filedrop"} <= set(found)
    assert all(issubclass(found[name].load(), Connector) for name in ("smtp", "filedrop"))
    assert found["smtp"].distribution.startswith("gatepost ")


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    found = Connectors([point("antigravity", "antigravity:Fly")])
    assert list(found) == ["antigravity"]
    assert "antigravity" not in sys.modules


def test_types_are_sorted() -> None:
    assert list(Connectors([point("b", "x:B"), point("a", "x:A")])) == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("no_such_module_here:X", r"'x' of no_such_module_here:X cannot be imported: No module named"),
        (f"{HERE}:Missing", r"cannot be imported: AttributeError"),
        (f"{HERE}:HERE", r"is not a Connector class"),
        (
            f"{HERE}:OfTheFuture",
            r"type 'x' of .* is made for version 99 of the connector contract, and this gateway speaks version 1; "
            r"upgrade gatepost, or install an older release of it",
        ),
        (f"{HERE}:Unversioned", r"'x' of .* states contract_version = 'latest'; it is a whole number such as 1"),
        (
            "tests.gateway.plugin_of_the_future:Pigeon",
            r"imports Teleporter from gateway.contract, which version 1 of the connector contract does not have: it is "
            r"made for another version; upgrade gatepost",
        ),
        (f"{HERE}:WrongConfig", r"is not a ConnectorConfig"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(value: str, said: str) -> None:
    found = Connectors([point("x", value), point("good", f"{HERE}:Good")])
    with pytest.raises(ConnectorUnavailable, match=said):
        found["x"].load()
    assert found["good"].load() is Good


def test_two_claims_on_one_name_are_both_named() -> None:
    found = Connectors([point("x", f"{HERE}:Good"), point("x", "other:Good")])
    with pytest.raises(ConnectorUnavailable, match=r"claimed by .*:Good.* and .*other:Good.*; uninstall all but one"):
        found["x"].load()


def test_one_distribution_seen_twice_is_no_clash() -> None:
    found = Connectors([point("x", f"{HERE}:Good"), point("x", f"{HERE}:Good")])
    assert found["x"].load() is Good


def versions(monkeypatch: pytest.MonkeyPatch, current: int, oldest: int) -> None:
    monkeypatch.setattr("gateway.registry.CONTRACT_VERSION", current)
    monkeypatch.setattr("gateway.registry.OLDEST_CONTRACT_VERSION", oldest)


def test_one_of_the_version_before_works_and_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Connectors([point("x", f"{HERE}:Good")])["x"]
    assert entry.deprecation() is None
    versions(monkeypatch, current=2, oldest=1)
    assert entry.load() is Good
    assert entry.deprecation() == (
        f"connector type 'x' of {HERE}:Good is made for version 1 of the connector contract; this gateway speaks "
        "version 2 and the next will not take it any more: install a newer release of it"
    )


def test_one_of_an_older_version_is_refused_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, current=3, oldest=2)
    with pytest.raises(ConnectorUnavailable, match=r"versions 2 to 3; install a newer release"):
        Connectors([point("x", f"{HERE}:Good")])["x"].load()


async def test_an_operator_is_told_by_check_and_by_health(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is deprecated works: the warning is the connector's text wherever its health is shown."""
    monkeypatch.setattr("gateway.registry.CONTRACT_VERSION", 2)
    (tmp_path / "gatepost.toml").write_text(
        '[gateway]\nname = "gw.example"\nspool = "sqlite:///spool"\n'
        '[connector.old]\ntype = "filedrop"\nnetwork = "mhs"\noutbox = "out"\n'
    )
    config = load(tmp_path / "gatepost.toml")
    said = r"gatepost.toml:5: connector type 'filedrop' of gatepost [\d.]+ is made for version 1 .* install a newer"
    assert any(re.search(said, warning) for warning in config.warnings)
    section = config.connectors["old"]
    assert section.deprecation is not None
    log = KitLog()
    monkeypatch.setattr("gateway.node.get_log", lambda *given, **named: log)
    node = Node(config)
    node.connectors["old"] = section.cls("old", section.config, node._context_for(section))
    node.stalls = StallWatch(node.connectors, log)
    assert ("warning", "contract_deprecated", {"text": section.deprecation}) in log.lines
    node.sources = Sources(None, None, None)  # type: ignore[arg-type]  # asked for its counts alone
    node.dispatcher = SimpleNamespace(fault_of=lambda name: None)  # type: ignore[assignment]
    node.stalls = SimpleNamespace(told=lambda name: None)  # type: ignore[assignment]
    (told,) = _status(node)["connectors"]
    assert (told["ok"], told["text"]) == (True, section.deprecation)
