"""The source side: from items of watched folders to mails in the spool."""

from __future__ import annotations

import asyncio

from connectors.exchange.common_config import ExchangeConfig
from connectors.exchange.organisation import Organisation
from connectors.exchange.tokens import Tokens
from gateway.contract import Context, Intake


class ExchangeSource:
    """Takes the items of watched folders."""

    def __init__(
        self, name: str, config: ExchangeConfig, organisation: Organisation, tokens: Tokens, context: Context
    ) -> None:
        self._name = name
        self._config = config
        self._organisation = organisation
        self._tokens = tokens
        self._context = context

    def trouble(self) -> str | None:
        """Say in words for an operator what does not work."""
        return None

    async def run(self, intake: Intake) -> None:
        """Serve until cancelled."""
        await asyncio.Event().wait()
