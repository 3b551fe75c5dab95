"""Graph keeps the connector contract, both ways. What it makes of a mail is not octet for octet; its notes say so."""

from __future__ import annotations

from connectors.exchange.graph import Graph
from gateway.testing import DestinationSuite, SourceSuite, fixture_of
from tests.connectors.exchange.graph.driver import CONFIG, GraphDriver, SendingDriver


class TestGraph(DestinationSuite, SourceSuite):
    connector = fixture_of(Graph, config=CONFIG, driver=GraphDriver)


class TestGraphSend(DestinationSuite):
    """Each mail that is sent is two requests at least, and Exchange Online takes thirty mails a minute of a mailbox."""

    connector = fixture_of(Graph, config=CONFIG, driver=SendingDriver)
