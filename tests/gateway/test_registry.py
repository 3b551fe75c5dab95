"""The registry: what is wrong with one connector is a sentence, and never keeps the others from being found."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from gateway.contract import Connector
from gateway.registry import GROUP, Connectors, ConnectorUnavailable, connectors


class Good(Connector):
    pass


class OfTheFuture(Connector):
    contract_version = 99


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
        (f"{HERE}:OfTheFuture", r"is made for version 99 of the connector contract, and this is version 1"),
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
