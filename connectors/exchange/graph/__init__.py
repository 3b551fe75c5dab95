"""graph: mailboxes of Exchange Online by Microsoft Graph."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from connectors.exchange.graph.config import GraphConfig
from connectors.exchange.graph.mime import DRAFT_OCTETS
from connectors.exchange.graph.organisation import GraphOrganisation
from connectors.exchange.graph.shelf import holds
from connectors.exchange.organisation import Organisation
from connectors.exchange.shelf import Shelf
from connectors.exchange.store_side import ExchangeStore
from gateway.contract import Capabilities, ConnectorConfig, Holds


class Graph(ExchangeStore):
    """Mailboxes of Exchange Online, by Microsoft Graph."""

    Config: ClassVar[type[ConnectorConfig]] = GraphConfig

    protocol: ClassVar[str] = "Graph"

    def organisation(self) -> Organisation:
        return GraphOrganisation(self.name, self.config, self.context)

    @property
    def capabilities(self) -> Capabilities:
        """Return what the organisation carries; where large mail is refused, no more than fits into one request."""
        config: GraphConfig = self.config
        told = super().capabilities
        if config.large == "upload":
            return told
        return replace(told, max_size_bytes=min(config.max_message_bytes, DRAFT_OCTETS))

    def holds(self) -> Holds:
        config: GraphConfig = self.config
        return holds(config.max_message_bytes)

    def shelf(self, organisation: Organisation) -> Shelf:
        assert isinstance(organisation, GraphOrganisation)
        return organisation.shelf()


__all__ = ["Graph"]
