"""graph: mailboxes of Exchange Online by Microsoft Graph."""

from __future__ import annotations

from typing import ClassVar

from connectors.exchange.connector import Exchange
from connectors.exchange.graph.config import GraphConfig
from connectors.exchange.graph.organisation import GraphOrganisation
from connectors.exchange.organisation import Organisation
from gateway.contract import ConnectorConfig


class Graph(Exchange):
    """Mailboxes of Exchange Online, by Microsoft Graph."""

    Config: ClassVar[type[ConnectorConfig]] = GraphConfig

    protocol: ClassVar[str] = "Graph"

    def organisation(self) -> Organisation:
        return GraphOrganisation(self.name, self.config, self.context)


__all__ = ["Graph"]
