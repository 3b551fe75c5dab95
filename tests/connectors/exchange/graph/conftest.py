"""Organisations of the Graph peer that the connector's own code speaks to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.exchange.graph.config import GraphConfig
from connectors.exchange.graph.organisation import GraphOrganisation
from tests.connectors.exchange.graph.kit import context
from tests.peers.graph.process import GraphCompany

Opened = Callable[..., Awaitable[GraphOrganisation]]


@pytest.fixture
def company(graph_company: GraphCompany) -> GraphCompany:
    """A fresh organisation; whatever was asked or answered against the service's description fails the test."""
    return graph_company


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
