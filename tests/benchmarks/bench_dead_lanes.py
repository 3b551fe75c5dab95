"""What 100 dead destinations with 10,000 queued messages cost a live one.

`python -m tests.benchmarks.bench_dead_lanes [--pairs 7] [--count 20000]`

The real spool on the file system of `--folder` (a temporary one beside the checkout), the real dispatcher, destinations
in the process. Half of the dead ones refuse at once, half never answer. A live lane's messages are accepted and
delivered as fast as they go, with and without the dead ones, in alternating pairs; the order within a pair changes.
Prints each pair and the median ratio as the last line; exits 1 below the bar.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop

from gateway.adapt import Adapter
from gateway.contract import (
    Address,
    Batch,
    Capabilities,
    Content,
    Deferred,
    Delivered,
    Envelope,
    Notify,
    Origin,
    Recipient,
    Scope,
    Status,
    Traits,
)
from gateway.dispatch import Dispatcher
from gateway.ids import IdSource
from gateway.log import Silence
from gateway.spool.api import Claim, Delivery, Stored
from gateway.spool.durable import DurableSpool
from gateway.spool.open import open_spool
from mappings.table import compile_table

BAR = 0.90
DEAD = 100
QUEUED = 10_000
SESSIONS = 20

_HEAD = (
    b"Received: from client by relay with ESMTP; Tue, 24 Nov 2026 07:00:00 +0000\r\nFrom: Bob <bob@x.example>\r\n"
    b"To: Ann <ann@live.example>\r\nSubject: bench\r\nMessage-ID: <1@x.example>\r\nMIME-Version: 1.0\r\n\r\n"
)
_OCTETS = (_HEAD + (b"x" * 70 + b"\r\n") * 60)[:4096]


class Hops:
    """Destinations in the process: `live` takes everything, `dead-even` refuses, `dead-odd` never answers."""

    capabilities = Capabilities(max_line_octets=998)

    def __init__(self) -> None:
        self.delivered = 0
        self.tried = 0
        self._wanted = 0
        self._done = asyncio.Event()

    async def all_of(self, count: int) -> None:
        """Wait until so many messages were delivered."""
        self._wanted = count
        if self.delivered < count:
            await self._done.wait()

    def next_hop(self, address: Address) -> str:
        return address.value.rpartition("@")[2]

    async def deliver(self, batch: Batch) -> None:
        if batch.next_hop != "live.example":
            self.tried += 1
            if int(batch.next_hop.split(".")[0][4:]) % 2:
                await asyncio.sleep(30.0)  # a connect that times out
            for parcel in batch.parcels:
                for item in parcel.items:
                    batch.settle(item.id, Deferred(Status("4.4.1", "no answer"), Scope.HOP))
            return
        parcels = batch.parcels
        while parcels:
            await asyncio.sleep(0)
            for parcel in parcels:
                parcel.content.octets()
                for item in parcel.items:
                    batch.settle(item.id, Delivered())
                    self.delivered += 1
            if self.delivered == self._wanted:
                self._done.set()
            parcels = batch.more()


def messages(ids: IdSource, hops: Iterator[str]) -> Iterator[Stored]:
    sender = Address("smtp", "bob@x.example", "bob@x.example")
    for hop in hops:
        now = time.time()
        to = Address("smtp", f"ann@{hop}", f"ann@{hop}")
        message_id = ids.next()
        delivery = Delivery(
            (message_id, 0), ("out", hop), to, to, Notify.UNSET, None, sender.value, 0, now, now + 86_400.0
        )
        yield Stored(
            message_id, Envelope(sender, (Recipient(to),), Origin("in")), b"Received: by bench; now\r\n",
            Content(_OCTETS, traits=Traits(crlf_only=True, eight_bit=False)), now, (delivery,),
        )  # fmt: skip


async def measure(folder: Path, count: int, *, dead: bool) -> float:
    """Return the live lane's messages per second, from the first accept to the last delivery."""
    spool = await open_spool(f"sqlite:///{folder}", Path("/"))
    ids = IdSource(0, time.time)
    hops = Hops()
    table = compile_table([], [], domains=["x.example"], homes={}, encapsulation=None, version=1)
    adapter = Adapter()
    if dead:
        queued = messages(ids, (f"dead{i % DEAD}.example" for i in range(QUEUED)))
        await asyncio.gather(*(_accept(spool, queued, None) for _ in range(100)))
        await spool.close()
        spool = await open_spool(f"sqlite:///{folder}", Path("/"))  # a restart: everything is due at once
    dispatcher = Dispatcher(
        spool, {"out": hops}, lambda m, ds, c: adapter.adapt(m, ds, c, table), lambda report, about: None,
        clock=time.time, rng=random.Random(1), log=Silence({}),
    )  # fmt: skip
    running = asyncio.create_task(dispatcher.run())
    await asyncio.sleep(0.2)
    live = messages(ids, ("live.example" for _ in range(count)))
    started = time.perf_counter()
    await asyncio.gather(*(_accept(spool, live, dispatcher) for _ in range(SESSIONS)))
    await hops.all_of(count)
    took = time.perf_counter() - started
    if dead:
        assert hops.tried >= DEAD, "the dead ones were tried too"
        left = await spool.stats()
        assert left["queued"] >= QUEUED, left
    await dispatcher.stop(0.1)
    await running
    await spool.close()
    return count / took


async def _accept(spool: DurableSpool, source: Iterator[Stored], dispatcher: Dispatcher | None) -> None:
    for message in source:
        await spool.accept(message)
        if dispatcher is not None:
            dispatcher.hand_over((Claim(message, message.deliveries),))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, default=Path(__file__).parents[2])
    options = parser.parse_args()
    ratios = []
    for pair in range(options.pairs):
        speeds: dict[bool, float] = {}
        for dead in (pair % 2 == 0, pair % 2 == 1):
            with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-dead-") as folder:
                speeds[dead] = uvloop.run(measure(Path(folder), options.count, dead=dead))
        ratios.append(speeds[True] / speeds[False])
        print(
            f"pair {pair + 1}: {speeds[False]:.0f}/s alone, {speeds[True]:.0f}/s with them: {ratios[-1]:.2f}",
            flush=True,
        )
    ratio = statistics.median(ratios)
    print(f"live lane beside {DEAD} dead ones with {QUEUED} messages: {ratio:.2f} of its speed (bar {BAR:.2f})")
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
