"""Killed at any moment (kill -9), a spool has everything that it said it has."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.spool.api import QueueFilter
from gateway.spool.open import open_spool
from tests.gateway.spool.builders import LANE, Clock

_WORKER = """
import asyncio, os, sys
from pathlib import Path
from gateway.message import Traits
from gateway.spool.open import open_spool
from gateway.spool.options import SpoolOptions
from tests.gateway.spool.builders import Clock, Maker

def say(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

async def main():
    clock = Clock(float(sys.argv[2]))
    spool = await open_spool(sys.argv[1], Path("/"), 0, clock, SpoolOptions(wal_pages=200))
    maker = Maker(clock)
    say("ready")
    async def session(i):
        n = 0
        while True:
            n += 1
            if i == 0 and n % 3 == 0:
                writer = spool.content()
                writer.write(b"z" * 300_000)
                message = maker.message(content=await writer.finish(Traits(True, False)))
            else:
                message = maker.message(2)
            await spool.accept(message)
            say("accepted", message.id)
            if n % 2:
                report = maker.message()
                await spool.settle([maker.done(d.id) for d in message.deliveries], [report])
                say("settled", message.id, report.id)
    await asyncio.gather(*(session(i) for i in range(8)))

asyncio.run(main())
"""


def run_and_kill(url: str, now: float, after_s: float) -> list[list[str]]:
    """Run the worker and kill it; returns what it said."""
    command = [sys.executable, "-c", _WORKER, url, str(now)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        time.sleep(after_s)
        worker.kill()
        return [line.split() for line in worker.stdout.read().splitlines() if line]


@pytest.mark.parametrize("seed", range(3))
async def test_kill(url: str, seed: int) -> None:
    rnd = random.Random(seed)
    accepted: set[int] = set()
    settled: set[int] = set()
    now = 1_800_000_000.0
    for round_ in range(2):
        now += 1000
        lines = await asyncio.to_thread(run_and_kill, url, now, rnd.uniform(0.02, 0.6))
        for line in lines:
            if line[0] == "accepted" and len(line) == 2:
                accepted.add(int(line[1]))
            elif line[0] == "settled" and len(line) == 3:
                settled.add(int(line[1]))
                accepted.add(int(line[2]))
        clock = Clock(now + 500)
        spool = await open_spool(url, Path("/"), 0, clock)
        try:
            there = {r.delivery.id[0] for r in await spool.rows(QueueFilter(), 1_000_000)}
            # What went out may have been settled without a word; what was said is true.
            untold = accepted - settled - there
            kinds = {id: {e.kind for e in await spool.trace(message_id=id)} for id in untold}
            assert all("delivered" in k for k in kinds.values())
            assert len(untold) <= 8 * (round_ + 1)
            assert not settled & there
            assert await spool.fsck() == []
            # Everything is free to be claimed, at once.
            (due,) = await spool.due(clock())
            assert due.due > 0
            claims = await spool.claim(LANE, 50, clock())
            assert claims
            for claim in claims:
                assert sum(map(len, claim.message.content.chunks())) == claim.message.content.size
        finally:
            await spool.close()
    assert accepted
