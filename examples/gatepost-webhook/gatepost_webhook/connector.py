"""The connector: its sides as they are configured."""

from __future__ import annotations

from typing import ClassVar

from gatepost_webhook.config import WebhookConfig
from gatepost_webhook.sending import Sender
from gatepost_webhook.taking import Taker
from gateway.contract import Address, Batch, Capabilities, Connector, ConnectorConfig, Context, Health, Intake


class Webhook(Connector):
    """Posts mail to an application, and takes mail that the application posts."""

    Config: ClassVar[type[ConnectorConfig]] = WebhookConfig
    contract_version: ClassVar[int] = 1
    config: WebhookConfig

    def __init__(self, name: str, config: WebhookConfig, context: Context) -> None:
        super().__init__(name, config, context)
        self._sender = Sender(config, context)
        self._taker = Taker(name, config, context)

    @property
    def capabilities(self) -> Capabilities:
        config = self.config
        return Capabilities(
            header_networks=config.networks, bare_newlines=True, max_size_bytes=config.max_message_bytes
        )

    async def start(self) -> None:
        self._sender.prepare()
        self._taker.open()

    async def stop(self) -> None:
        self._taker.close()
        await self._sender.close()

    def health(self) -> Health:
        trouble = self._sender.trouble
        return Health(False, trouble) if trouble else Health(True)

    # -- mail from the application

    async def run(self, intake: Intake) -> None:
        await self._taker.run(intake)

    # -- mail to the application

    def next_hop(self, address: Address) -> str:
        return self._sender.hop or "nowhere"

    async def deliver(self, batch: Batch) -> None:
        await self._sender.deliver(batch)
