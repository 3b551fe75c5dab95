"""The EWS connector over an organisation of the peer, for tests of what it puts there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from connectors.exchange.ews import Ews
from connectors.exchange.ews.config import EwsConfig
from gateway.contract import Context, Outcome, Parcel
from gateway.testing.peers import KitLog, ListBatch
from tests.peers.ews.process import EwsCompany

PATIENCE_S = 60.0


class EwsBench:
    """`made` is the connector while it runs."""

    def __init__(self, company: EwsCompany, folder: Path, **options: Any) -> None:
        self.company = company
        self.folder = folder
        self.options = options
        self.log = KitLog()
        self.counted: dict[str, float] = {}
        self.made: Ews

    @property
    def ann(self) -> str:
        return self.company.address("ann")

    def _count(self, name: str, value: float = 1, **labels: Any) -> None:
        self.counted[name] = self.counted.get(name, 0) + value

    def build(self) -> Ews:
        config = EwsConfig.model_validate({**self.company.access(), **self.options})
        context = Context("gw.kit.example", self.folder, self.folder, self.log, time.time, count=self._count)
        return Ews("office", config, context)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Ews]:
        self.made = self.build()
        await self.made.start()
        try:
            yield self.made
        finally:
            await self.made.stop()

    async def deliver(self, *parcels: Parcel, waiting: Sequence[Sequence[Parcel]] = ()) -> list[Outcome]:
        batch = ListBatch(parcels, self.made.next_hop(parcels[0].items[0].address), waiting=list(waiting))
        await self.made.deliver(batch)
        assert not [line for line in self.log.lines if line[1] == "deliver failed"], self.log.lines
        return list(batch.outcomes.values())
