"""The mailboxes of an organisation as a store: the third side of the connectors that have one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from connectors.exchange.common_config import ExchangeConfig
from connectors.exchange.connector import Exchange
from connectors.exchange.organisation import Organisation
from connectors.exchange.shelf import Shelf
from connectors.exchange.store import ExchangeMailbox
from gateway.contract import Holds


class ExchangeStore(Exchange):
    """Adds the MailboxStore side."""

    @abstractmethod
    def holds(self) -> Holds:
        """Return what its mailboxes hold."""

    @abstractmethod
    def shelf(self, organisation: Organisation) -> Shelf:
        """Return the shelf of the organisation that `organisation()` made."""

    @property
    def organisation_in_use(self) -> Organisation:
        """Return the organisation that `start` made ready."""
        assert self._organisation is not None, "it is there after start()"
        return self._organisation

    @asynccontextmanager
    async def open(self, mailbox: str) -> AsyncIterator[ExchangeMailbox]:
        organisation = self.organisation_in_use
        config: ExchangeConfig = self.config
        yield ExchangeMailbox(mailbox, organisation, self.shelf(organisation), config.poll_s)
