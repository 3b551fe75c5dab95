"""Graph keeps the contract of mailbox stores."""

from __future__ import annotations

import itertools
from typing import Any, Final

from connectors.exchange.graph import Graph
from gateway.testing import Bench, MailboxDriver, MailboxStoreSuite, fixture_of
from tests.connectors.exchange.mailboxes import says_the_same_by_graph
from tests.peers.graph.process import GraphCompany, shared

CONFIG: Final[dict[str, Any]] = {}
_NUMBERS: Final = itertools.count(1)


class GraphMailboxes(MailboxDriver):
    """Mailboxes of an organisation in the Graph peer."""

    def __init__(self, bench: Bench) -> None:
        self.peer = shared()
        self.peer.refuse(False)
        self.peer.violations()
        self.company: GraphCompany = self.peer.organisation(domain=f"store{next(_NUMBERS)}.example")
        CONFIG.clear()
        CONFIG.update(self.company.access())

    def mailbox(self) -> str:
        name = f"box{next(_NUMBERS)}"
        self.company.add(name)
        return self.company.address(name)

    def forget_tokens(self) -> None:
        self.company.expire_sync()

    def carried(self, sent: bytes, got: bytes) -> bool:
        return says_the_same_by_graph(sent, got)

    def break_peer(self) -> None:
        self.peer.refuse(True)

    def mend_peer(self) -> None:
        self.peer.refuse(False)

    def close(self) -> None:
        self.peer.refuse(False)
        found = self.peer.violations()
        assert not found, "\n".join(found)


class TestGraph(MailboxStoreSuite):
    connector = fixture_of(Graph, config=CONFIG, driver=GraphMailboxes)
