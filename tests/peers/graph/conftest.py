"""The client that most tests of the peer use."""

from collections.abc import Iterator

import pytest

from tests.peers.graph.client import Client, client
from tests.peers.graph.process import GraphCompany
from tests.peers.graph.sdk import graph_sdk as graph_sdk


@pytest.fixture
def graph(graph_company: GraphCompany) -> Iterator[Client]:
    """Ann's and Bob's organisation, and a token for it."""
    with client(graph_company) as found:
        yield found
