"""Tests of a connector as it is installed: what `pytest --gatepost-connector=NAME` runs beside its suites.

They need no driver: the entry point, the contract's version, the options' texts, what the distribution carries along;
and that each side of the connector, and each network of the distribution, has a suite that tests it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from inspect import getattr_static
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.contract import CONTRACT_VERSION, Connector
from gateway.registry import ConnectorUnavailable, Entry, connectors
from gateway.testing.bench import promise
from gateway.testing.suites.connector import Suite, undescribed
from gateway.testing.suites.destination import DestinationSuite
from gateway.testing.suites.mailbox import MailboxStoreSuite
from gateway.testing.suites.network import NetworkSuite
from gateway.testing.suites.source import SourceSuite
from mappings.installed import installed
from mappings.network import GROUP as NETWORKS

SIDES: Final[dict[str, tuple[str, type[Suite]]]] = {
    "source": ("run", SourceSuite),
    "destination": ("deliver", DestinationSuite),
    "mailbox store": ("open", MailboxStoreSuite),
}
"""Each side, the method that makes it one, and the suite that tests it."""


@dataclass
class Wanted:
    """The connector that is asked for, the networks of its distribution, and the suites that were found for them."""

    entry: Entry | None
    kind: type[Connector] | None
    networks: frozenset[str]
    suites: set[type[Suite]] = field(default_factory=set)

    @staticmethod
    def of(name: str) -> Wanted:
        entry = connectors().get(name)
        if entry is None:
            return Wanted(None, None, frozenset())
        try:
            kind = entry.load()
        except ConnectorUnavailable:
            return Wanted(entry, None, frozenset())
        dist = entry.point.dist
        ours = dist is not None and dist.name == "gatepost"  # whose networks are not those of one connector
        if dist is None or ours:
            return Wanted(entry, kind, frozenset())
        mine = (point.name for point in installed(NETWORKS) if point.dist is not None and point.dist.name == dist.name)
        return Wanted(entry, kind, frozenset(mine))

    def has(self, suite: type[Suite]) -> bool:
        """Tell whether a suite tests this connector, or a network that comes with it."""
        if issubclass(suite, NetworkSuite):
            network: Any = getattr(suite, "network", None)
            return (network if isinstance(network, str) else getattr(network, "name", None)) in self.networks
        kind = getattr(getattr_static(suite, "connector", None), "gatepost_kind", None)
        return self.kind is not None and kind is self.kind

    def untested(self) -> Iterator[str]:
        """Yield in words what has no suite."""
        for side, (method, suite) in SIDES.items():
            if hasattr(self.kind, method) and not any(issubclass(each, suite) for each in self.suites):
                yield f"no {suite.__name__} for its {side}, {method}()"
        tested = {
            each.network if isinstance(each.network, str) else each.network.name
            for each in self.suites
            if issubclass(each, NetworkSuite)
        }
        for network in sorted(self.networks - tested):
            yield f"no NetworkSuite for its network {network}"


WANTED: Final = pytest.StashKey[Wanted]()


@pytest.fixture
def wanted(request: pytest.FixtureRequest, gatepost_connector: str) -> Wanted:
    found = request.config.stash[WANTED]
    there = ", ".join(connectors())
    promise(
        found.entry is not None, "a connector is found by its entry point", f"{gatepost_connector!r} is none: {there}"
    )
    return found


class TestInstalled:
    """Tests of one installed connector."""

    def test_it_can_be_used(self, wanted: Wanted) -> None:
        assert wanted.entry is not None
        try:
            wanted.entry.load()
        except ConnectorUnavailable as e:
            promise(False, "an installed connector is of this contract, and can be imported", str(e))
        old = wanted.entry.deprecation()
        promise(old is None, f"this gateway speaks version {CONTRACT_VERSION} of the contract", f"{old}")

    def test_every_option_is_described(self, wanted: Wanted) -> None:
        assert wanted.kind is not None, "it cannot be used; see the test of that"
        bare = ", ".join(undescribed(wanted.kind.Config))
        promise(not bare, "the Config model documents every option", f"gives no description for {bare}")

    def test_its_types_can_be_checked(self, wanted: Wanted) -> None:
        assert wanted.kind is not None, "it cannot be used; see the test of that"
        assert wanted.entry is not None
        package = __import__(wanted.entry.point.module.partition(".")[0])
        there = [(Path(folder) / "py.typed").exists() for folder in getattr(package, "__path__", [])]
        promise(not there or any(there), "a package says by py.typed that its types can be checked", "has none")

    def test_every_side_has_a_suite(self, wanted: Wanted) -> None:
        assert wanted.kind is not None, "it cannot be used; see the test of that"
        untested = "; ".join(wanted.untested())
        promise(not untested, "each side of a connector, and each network, is tested by the kit", f"has {untested}")
