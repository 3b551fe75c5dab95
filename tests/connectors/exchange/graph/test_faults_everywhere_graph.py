"""Whatever Graph does wrong, and wherever: each mail is there in the end, and once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connectors.exchange.graph import Graph, answers, token
from connectors.exchange.graph.pacing import Pacing
from tests.connectors.exchange.test_faults_everywhere import (
    CUTS,
    LONGEST_HOLD_S,
    Fault,
    chance,
    in_ways,
    soon,
    through,
)
from tests.peers.graph.process import GraphPeer
from tests.peers.organisation import Company

__all__ = ["soon"]

EVERYWHERE: dict[str, Fault] = {
    "throttled half the time": chance("busy", 0.5, ms=1000),
    "throttled half the time without a word of how long": chance("busy", 0.5),
    "unavailable": chance("http", 0.3, status=503, retry_after=1),
    "tokens refused now and then": chance("http", 0.2, status=401),
    "closed with an error": chance("http", 0.3, status=500, close=True),
    "cut before": chance("cut_before", 0.3),
    "cut after": chance("cut_after", 0.3),
    "cut off answers": chance("truncate", 0.3),
    "changes lost": chance("expire_sync", 0.5, "Delta"),
    "refused items": chance("refuse", 0.3, code="ErrorMailboxStoreUnavailable"),
    "slow": chance("slow", 0.2, seconds=0.5),
}
OPERATIONS = [
    "Token",
    "GetFolder",
    "ListFolders",
    "ListChildFolders",
    "CreateFolder",
    "Delta",
    "GetMime",
    "MoveMessage",
]
OPERATIONS += ["CreateMessage", "ListMessages", "UpdateMessage", "SendMessage", "Batch"]
SENDING = ("SendMessage", "UpdateMessage")


@pytest.fixture(autouse=True)
def sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Graph's own patience, too, be over in a moment."""
    hold = Pacing.hold
    moment = LONGEST_HOLD_S
    monkeypatch.setattr(Pacing, "hold", lambda pacing, name, wait_s: hold(pacing, name, min(wait_s, moment)))
    monkeypatch.setattr(answers, "PATIENCE_S", moment)
    monkeypatch.setattr(token, "REFUSED_S", moment)
    monkeypatch.setattr(token, "UNREACHABLE_S", moment)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("fault", "mode"), in_ways(EVERYWHERE))
def test_a_graph_that_misbehaves_everywhere_costs_no_mail(
    tmp_path: Path, graph_peer: GraphPeer, fault: str, mode: str
) -> None:
    through(tmp_path, graph_peer.organisation("ann", "bob"), EVERYWHERE[fault], mode, Graph)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_connection_cut_at_an_operation_costs_no_mail(tmp_path: Path, graph_peer: GraphPeer, operation: str) -> None:
    """Each operation's first three requests end in the three ways in which a connection can."""

    def fault(company: Company) -> None:
        for nth, kind in enumerate(CUTS, 1):
            cut: Any = kind
            company.fault(operation, cut, nth=nth)

    mode = "send" if operation in SENDING else "deliver"
    company = graph_peer.organisation("ann", "bob")
    through(tmp_path, company, fault, mode, Graph, ends=True)
    assert "cut" in {each.answered for each in company.log(operation)}, "it is asked for at all"
