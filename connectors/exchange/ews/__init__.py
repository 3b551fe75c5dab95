"""ews: an Exchange organisation by Exchange Web Services, from Exchange 2013 on."""

from __future__ import annotations

from typing import ClassVar

from connectors.exchange.connector import Exchange
from connectors.exchange.ews.config import EwsConfig
from connectors.exchange.ews.organisation import EwsOrganisation
from connectors.exchange.organisation import Organisation
from gateway.contract import ConnectorConfig


class Ews(Exchange):
    """Mailboxes of an Exchange organisation, by EWS."""

    Config: ClassVar[type[ConnectorConfig]] = EwsConfig

    protocol: ClassVar[str] = "EWS"

    def organisation(self) -> Organisation:
        return EwsOrganisation(self.name, self.config, self.context)


__all__ = ["Ews"]
