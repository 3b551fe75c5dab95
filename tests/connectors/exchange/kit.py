"""A whole connector between an organisation of a peer and a recording intake, for tests of what it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from connectors.exchange.connector import Exchange
from connectors.exchange.ews import Ews
from gateway.contract import Context, Outcome, Parcel
from gateway.testing import RecordingIntake
from gateway.testing.peers import Journal, KitLog, ListBatch
from tests.peers.organisation import Company

PATIENCE_S = 60.0


def mail(number: int, company: Company, *, to: str = "olga@out.example", more: Sequence[str] = ()) -> bytes:
    """Return a mail that the recording intake knows by its number."""
    lines = [
        f"From: Ann <{company.address('ann')}>",
        f"To: {to}",
        f"Subject: number {number}",
        f"Message-ID: <n{number}@{company.domain}>",
        f"X-Kit: {number}",
        *more,
        "",
        f"This is number {number}.",
        "",
    ]
    return "\r\n".join(lines).encode()


class Kit:
    """`make` builds the connector anew, as a restart does; `intake` is what its source hands mail to."""

    def __init__(self, folder: Path, company: Company, kind: type[Exchange] = Ews, **options: Any) -> None:
        self.folder = folder
        self.company = company
        self.kind = kind
        self.options = options
        self.log = KitLog()
        self.counted: dict[str, float] = {}
        self.journal = Journal(folder / "journal")
        self.intake = RecordingIntake(self.journal)
        self.now: Callable[[], float] = time.time
        (folder / "state").mkdir(exist_ok=True)

    def watched(self, **more: Any) -> dict[str, Any]:
        """Return a rule that takes what lies in Ann's folder Out."""
        given = {"mailbox": self.company.address("ann"), "folder": "Out", "recipients": ["ann@target.example"]}
        return given | more

    def make(self, **options: Any) -> Exchange:
        context = Context(
            hostname="gw.kit.example",
            state_dir=self.folder / "state",
            base_dir=self.folder,
            log=self.log,
            clock=lambda: self.now(),
            stop_s=3.0,
            count=self._count,
        )
        config = self.kind.Config.model_validate(self.company.access(poll_s=1) | self.options | options)
        return self.kind("office", config, context)

    def _count(self, name: str, value: float = 1, **labels: Any) -> None:
        self.counted[name] = self.counted.get(name, 0) + value

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[Exchange]:
        """Run both sides, and stop them as a node does."""
        made = self.make(**options)
        await made.start()
        task = asyncio.create_task(made.run(self.intake))
        try:
            yield made
        finally:
            self.intake.gate.set()
            task.cancel()
            await asyncio.wait((task,), timeout=6)
            await made.stop()
            assert task.cancelled(), task

    async def until(self, done: Callable[[], bool], what: str) -> None:
        """Wait until `done`, which may ask the peer."""
        began = time.monotonic()
        while not await asyncio.to_thread(done):
            waited = time.monotonic() - began
            assert waited < PATIENCE_S, f"{what}: not within {PATIENCE_S} s; {self.log.lines[-5:]}"
            await asyncio.sleep(max(0.02, min(waited / 10, 0.1)))

    async def deliver(self, made: Exchange, parcels: Sequence[Parcel]) -> dict[tuple[int, int], Outcome]:
        """Deliver parcels of one next hop; return every item's outcome."""
        batch = ListBatch(parcels, made.next_hop(parcels[0].items[0].address))
        await made.deliver(batch)
        return batch.outcomes

    def folder_of(self, name: str, folder: str) -> list[int]:
        """Return the numbers of what lies in a folder."""
        return sorted(int(item.subject.split()[-1]) for item in self.company.items(name, folder, whole=False))
