"""ews: an Exchange organisation by Exchange Web Services, from Exchange 2013 on."""

from __future__ import annotations

from typing import ClassVar

from connectors.exchange.ews.config import EwsConfig
from connectors.exchange.ews.organisation import EwsOrganisation
from connectors.exchange.ews.shelf import holds
from connectors.exchange.organisation import Organisation
from connectors.exchange.shelf import Shelf
from connectors.exchange.store_side import ExchangeStore
from gateway.contract import ConnectorConfig, Holds


class Ews(ExchangeStore):
    """Mailboxes of an Exchange organisation, by EWS."""

    Config: ClassVar[type[ConnectorConfig]] = EwsConfig

    protocol: ClassVar[str] = "EWS"

    def organisation(self) -> Organisation:
        return EwsOrganisation(self.name, self.config, self.context)

    def holds(self) -> Holds:
        config: EwsConfig = self.config
        return holds(config.max_message_bytes)

    def shelf(self, organisation: Organisation) -> Shelf:
        assert isinstance(organisation, EwsOrganisation)
        return organisation.shelf()


__all__ = ["Ews"]
