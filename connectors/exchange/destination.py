"""The destination side: mails into mailboxes, each created once."""

from __future__ import annotations

from connectors.exchange.common_config import ExchangeConfig
from connectors.exchange.organisation import Organisation
from gateway.contract import Batch, Context, Deferred, Status


class ExchangeDestination:
    """Delivers what a batch holds."""

    def __init__(self, name: str, config: ExchangeConfig, organisation: Organisation, context: Context) -> None:
        self._name = name
        self._config = config
        self._organisation = organisation
        self._context = context

    def trouble(self) -> str | None:
        """Say in words for an operator what does not work."""
        return None

    async def stop(self) -> None:
        """End what is under way."""

    async def deliver(self, batch: Batch) -> None:
        """Try every item once."""
        for parcel in batch.parcels:
            for item in parcel.items:
                batch.settle(item.id, Deferred(Status("4.3.0", "not ready")))
