"""A Graph peer for the session, and organisations in it that the connector's own code speaks to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange.graph.config import GraphConfig
from connectors.exchange.graph.organisation import GraphOrganisation
from tests.connectors.exchange.graph.kit import context
from tests.peers.graph.process import GraphCompany, GraphPeer

Opened = Callable[..., Awaitable[GraphOrganisation]]


@pytest.fixture(scope="session")
def graph_peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraphPeer]:
    """The server, once a session."""
    with GraphPeer(tmp_path_factory.mktemp("graph-peer")) as peer:
        yield peer


@pytest.fixture
def company(graph_peer: GraphPeer) -> Iterator[GraphCompany]:
    """A fresh organisation; whatever was asked or answered against the service's description fails the test."""
    graph_peer.violations()
    yield graph_peer.organisation("ann", "bob")
    assert graph_peer.violations() == []


@pytest.fixture
async def opened(company: GraphCompany, tmp_path: Path) -> AsyncIterator[Opened]:
    """Open the organisation by the connector's code, with options."""
    made: list[GraphOrganisation] = []

    async def open_(**options: Any) -> GraphOrganisation:
        config = GraphConfig.model_validate({**company.access(), **options})
        organisation = GraphOrganisation("graph", config, context(tmp_path))
        made.append(organisation)
        await organisation.start()
        return organisation

    yield open_
    for each in made:
        await each.stop()
