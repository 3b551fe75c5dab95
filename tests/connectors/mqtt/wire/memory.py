"""A journal in memory: durable at once, or when it is told, or never."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence

from connectors.mqtt.wire.values import Phase


class MemoryJournal:
    """`fault`: what every step fails with from now on, memory staying as it was."""

    def __init__(self) -> None:
        self.fault: OSError | None = None
        self.steps: list[str] = []
        self._generations = itertools.count(1)
        self._inward: dict[int, int] = {}
        self._outward: dict[str, tuple[int, Phase]] = {}
        self._subscribed: list[str] = []
        self._broker = ""

    def inward(self) -> Mapping[int, int]:
        return dict(self._inward)

    def outward(self) -> Mapping[str, tuple[int, Phase]]:
        return dict(self._outward)

    def broker(self) -> str:
        return self._broker

    def subscribed(self) -> Sequence[str]:
        return list(self._subscribed)

    def open_inward(self, packet_id: int) -> tuple[int, asyncio.Future[None]]:
        if self.fault is None and packet_id not in self._inward:
            self._inward[packet_id] = next(self._generations)
        return self._inward.get(packet_id, 0), self._step(f"open {packet_id}")

    def close_inward(self, packet_id: int) -> asyncio.Future[None]:
        if self.fault is None:
            self._inward.pop(packet_id, None)
        return self._step(f"close {packet_id}")

    def sent(self, key: str, packet_id: int) -> asyncio.Future[None]:
        return self._phase(key, packet_id, Phase.SENT)

    def released(self, key: str) -> asyncio.Future[None]:
        return self._phase(key, self._outward[key][0], Phase.RELEASED)

    def done(self, key: str) -> asyncio.Future[None]:
        return self._phase(key, self._outward[key][0], Phase.DONE)

    def refused(self, key: str) -> asyncio.Future[None]:
        if self.fault is None:
            self._outward.pop(key, None)
        return self._step(f"refused {key}")

    def forget(self, broker: str = "") -> asyncio.Future[None]:
        if self.fault is None:
            self._broker = broker
            self._inward.clear()
            self._subscribed.clear()
            self._outward = {key: row for key, row in self._outward.items() if row[1] is Phase.DONE}
        return self._step("forget")

    def subscribe(self, lines: Sequence[str]) -> asyncio.Future[None]:
        if self.fault is None:
            self._subscribed = list(lines)
        return self._step("subscribe")

    def _phase(self, key: str, packet_id: int, phase: Phase) -> asyncio.Future[None]:
        if self.fault is None:
            self._outward[key] = (packet_id, phase)
        return self._step(f"{phase.value} {key}")

    def _step(self, name: str) -> asyncio.Future[None]:
        self.steps.append(name)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.fault is None:
            future.set_result(None)
        else:
            future.set_exception(self.fault)
        return future
