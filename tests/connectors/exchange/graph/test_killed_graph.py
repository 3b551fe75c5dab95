"""Graph's connector killed before every request, and before every answer: nothing is lost, and nothing doubled.

Parts of a batch count as requests of their own: a kill before one is done finds others of its batch done or not.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.exchange.graph import Graph
from tests.connectors.exchange.test_killed import HOW, every_request, put, take
from tests.peers.graph.process import GraphPeer


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", HOW)
def test_what_is_taken_comes_once(tmp_path: Path, graph_peer: GraphPeer, how: str) -> None:
    def one(folder: Path, nth: int) -> bool:
        return take(folder, graph_peer.organisation("ann"), nth, how, Graph)

    assert every_request(tmp_path, one) >= 6, "a token, folders, a page, the items, and two moves"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", HOW)
def test_what_is_put_into_a_mailbox_is_there_once(tmp_path: Path, graph_peer: GraphPeer, how: str) -> None:
    def one(folder: Path, nth: int) -> bool:
        return put(folder, graph_peer.organisation("ann", "bob"), nth, how, Graph)

    assert every_request(tmp_path, one) >= 4


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", HOW)
def test_what_is_sent_arrives_once(tmp_path: Path, graph_peer: GraphPeer, how: str) -> None:
    def one(folder: Path, nth: int) -> bool:
        company = graph_peer.organisation("ann", "bob")
        return put(folder, company, nth, how, Graph, mode="send", send_as=company.address("ann"))

    assert every_request(tmp_path, one) >= 6
