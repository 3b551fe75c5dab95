"""Smtp: the connector of internet mail, a source and a destination under one name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from connectors.smtp.config import SmtpConfig
from connectors.smtp.destination import SmtpDestination
from connectors.smtp.source import SmtpSource
from gateway.contract import Address, Batch, Capabilities, Connector, Context, Health, Intake, unreadable


class Smtp(Connector):
    """Speaks SMTP and LMTP, in and out; see SmtpSource and SmtpDestination."""

    Config = SmtpConfig

    def __init__(self, name: str, config: SmtpConfig, context: Context) -> None:
        super().__init__(name, config, context)
        self.source = SmtpSource(name, config, context)
        self.destination = SmtpDestination(name, config, context)

    @property
    def capabilities(self) -> Capabilities:
        return self.destination.capabilities

    def capabilities_for(self, next_hop: str) -> Capabilities:
        return self.destination.capabilities_for(next_hop)

    async def start(self) -> None:
        await self.destination.start()
        await self.source.start()

    async def stop(self) -> None:
        await self.source.stop()
        await self.destination.stop()

    def reconfigure(self, config: SmtpConfig) -> bool:
        if config.srs != self.config.srs or (config.tls_reports_from is None) != (self.config.tls_reports_from is None):
            return False  # what stands between the source and the gateway is another
        if not self.source.reconfigure(config):
            return False
        self.destination.reconfigure(config)
        self.config = config
        return True

    def health(self) -> Health:
        receiving, sending = self.source.health(), self.destination.health()
        if receiving.ok and sending.ok:
            return Health(True, receiving.text)
        return Health(False, "; ".join(side.text for side in (receiving, sending) if not side.ok))

    def missing(self) -> Sequence[str]:
        config, base = self.config, self.context.base_dir
        named = {"tls_cert": config.tls_cert, "tls_key": config.tls_key}
        if config.login is not None:
            named["login.file"] = config.login.file
        return [why for option, file in named.items() if file for why in unreadable(option, base / file)]

    async def run(self, intake: Intake) -> None:
        if self.config.srs is not None:
            from connectors.smtp.srs import srs_of
            from connectors.smtp.srs_intake import SrsIntake

            per_hour = max(1.0, self.config.srs.per_hour / self.context.workers)  # each worker gives its share
            intake = SrsIntake(intake, srs_of(self.config.srs), per_hour, self.context.clock)
        if self.config.tls_reports_from is None:
            await self.source.run(intake)
            return
        reporting = asyncio.create_task(self.destination.report_tls(intake), name=f"TLS reports of {self.name}")
        try:
            await self.source.run(intake)
        finally:
            reporting.cancel()

    def next_hop(self, address: Address) -> str:
        return self.destination.next_hop(address)

    async def deliver(self, batch: Batch) -> None:
        await self.destination.deliver(batch)
