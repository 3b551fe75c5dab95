"""A whole connector between a broker in a thread and a recording intake, for tests of what it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from connectors.mqtt import Mqtt
from connectors.mqtt.config import MqttConfig
from gateway.contract import Context, Item, Outcome, Parcel
from gateway.testing import RecordingIntake
from gateway.testing.peers import KitLog, ListBatch, parcel
from mappings.network import network
from tests.connectors.mqtt.broker import Broker, Sent
from tests.peers.process import free_port

OPS = "smtp:ops@merged.example"
PATIENCE_S = 10.0


class Kit:
    """`made` is the connector; `put` publishes to it, `deliver` gives it mail."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.broker = Broker(free_port())
        self.intake: Any = RecordingIntake()
        self.log = KitLog()
        self.counted: dict[str, float] = {}
        self.now: Callable[[], float] = time.time
        self.options = options
        self.made: Mqtt
        self._tag = 0
        (folder / "state").mkdir(exist_ok=True)

    def config(self, **options: Any) -> MqttConfig:
        given = {
            "brokers": [f"mqtt://127.0.0.1:{self.broker.port}"],
            "client_id": "kit",
            "connect_timeout_s": 2,
            "retry_min_s": 0.05,
            "retry_max_s": 0.2,
            "quarantine": "bad",
        }
        return MqttConfig.model_validate(given | self.options | options)

    def build(self, **options: Any) -> Mqtt:
        context = Context(
            hostname="gw.kit.example",
            state_dir=self.folder / "state",
            base_dir=self.folder,
            log=self.log,
            clock=lambda: self.now(),
            stop_s=3.0,
            count=self._count,
        )
        return Mqtt("things", self.config(**options), context)

    def _count(self, name: str, value: float = 1, **labels: Any) -> None:
        for key in (name, *(f"{name} {label}" for label in labels.values())):
            self.counted[key] = self.counted.get(key, 0) + value

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[Mqtt]:
        self.made = self.build(**options)
        await self.made.start()
        task = asyncio.create_task(self.made.run(self.intake))
        try:
            yield self.made
        finally:
            self.intake.gate.set()
            task.cancel()
            await asyncio.wait((task,), timeout=6)
            await self.made.stop()
            assert task.cancelled(), task

    def put(self, topic: str, payload: bytes = b"hot", qos: int = 1, **more: Any) -> int:
        """Publish; return the number by which it is found among those acknowledged."""
        self._tag += 1
        self.broker.put(Sent(self._tag, topic, payload, qos, **more))
        return self._tag

    async def until(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < end, f"not in time: {what}; {self.log.lines[-5:]}"
            await asyncio.sleep(0.005)

    async def acknowledged(self, *tags: int) -> None:
        await self.until(lambda: self.broker.acknowledged >= set(tags), f"{tags} are acknowledged")

    def parcel(self, topic: str, octets: bytes, number: int = 1, sender: str = "ann@merged.example") -> Parcel:
        return parcel(number, [network("mqtt").parse(topic)], octets, sender=network("smtp").parse(sender))

    async def deliver(self, *parcels: Parcel, **more: Any) -> list[Outcome]:
        batch = ListBatch(parcels, self.made.next_hop(parcels[0].items[0].address), **more)
        async with asyncio.timeout(PATIENCE_S):
            await self.made.deliver(batch)
        return list(batch.outcomes.values())

    def bad(self) -> list[str]:
        """Return the reasons in the quarantine."""
        return [path.read_text() for path in sorted((self.folder / "bad").glob("**/*.reason.txt"))]

    def close(self) -> None:
        self.broker.close()


def item_of(parcel: Parcel) -> Item:
    return parcel.items[0]
