"""A destination over an organisation in memory, and mails for it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from connectors.exchange.common_config import ExchangeConfig
from connectors.exchange.desk import Desk
from connectors.exchange.destination import ExchangeDestination
from connectors.exchange.organisation import Fault
from gateway.contract import Context, Outcome, Parcel, Scope
from gateway.testing.peers import KitLog, ListBatch, parcel
from gateway.testing.samples import numbered
from mappings.network import network
from tests.connectors.exchange.memory import MemoryOrganisation

ANN = "ann@acme.example"
CUT = Fault("CutOff", "reset by peer", "unknown", scope=Scope.HOP)


class Bench:
    """A destination over an organisation in memory, with a clock of its own."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.organisation = MemoryOrganisation()
        self.log = KitLog()
        self.counted: dict[str, float] = {}
        self.now = 1000.0
        self.passed = 0.0
        self.config = ExchangeConfig.model_validate(options)
        self.context = Context("gw.kit.example", folder, folder, self.log, self.wall, count=self._count)
        self.restart()

    def wall(self) -> float:
        return time.time() + self.passed

    def restart(self) -> None:
        desk = Desk(self.config, self.organisation, self.context, clock=lambda: self.now, look_after_s=0.0)
        self.made = ExchangeDestination("ex", self.config, self.organisation, self.context, desk)

    def _count(self, name: str, value: float = 1, **labels: Any) -> None:
        self.counted[name] = self.counted.get(name, 0) + value

    async def deliver(self, *parcels: Parcel, hop: str = ANN, **more: Any) -> list[Outcome]:
        batch = ListBatch(parcels, hop, **more)
        await self.made.deliver(batch)
        assert batch.settled_twice == 0
        assert not [line for line in self.log.lines if "failed" in line[1]], self.log.lines
        return list(batch.outcomes.values())


def mail(number: int, *to: str, fresh: bool = True, attempts: int = 0, octets: bytes | None = None) -> Parcel:
    addresses = [network("smtp").parse(each) for each in to or (ANN,)]
    sender = network("smtp").parse("pat@far.example")
    made = parcel(number, addresses, numbered(number) if octets is None else octets, sender=sender)
    return replace(made, items=tuple(replace(item, fresh=fresh, attempts=attempts) for item in made.items))


def code(outcome: Outcome) -> str:
    return outcome.status.code
