"""A process that takes messages both ways by journal and calm, and dies by its own SIGKILL at one commit.

`python -m tests.connectors.mqtt.doomed` reads lines of JSON, `{"folder": …, "at": n, "when": "before"}`, does for each
what is left to do in that folder in a child of its own, and answers `killed` or `ended`. What has happened outside of
the store (what the spool took, what the broker was sent) is a file of lines, which a kill does not take along.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

from connectors.mqtt.calm import Calm, Pass
from connectors.mqtt.journal import SqliteJournal
from connectors.mqtt.rules import Calm as Rule
from connectors.mqtt.store import Store, create
from connectors.mqtt.wire.values import Phase

MESSAGES, DELIVERIES, AT_ONCE = 14, 7, 5
RULE = Rule(max_mails=3, window_s=60, digest_lines=2000)


class World:
    """All that is known outside of the gateway's own state."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "world"
        self.file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.lines: list[list[Any]] = [json.loads(line) for line in self.path.read_text().splitlines()]

    def say(self, *words: object) -> None:
        os.write(self.file, json.dumps(words).encode() + b"\n")
        self.lines.append(list(words))

    def all(self, word: str) -> list[list[Any]]:
        return [line[1:] for line in self.lines if line[0] == word]


class DoomedStore(Store):
    """Dies at its n-th commit: before it, or after it and before anybody is told."""

    at = 0
    when = ""

    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.set_trace_callback(self._trace)
        return connection

    def _trace(self, statement: str) -> None:
        if statement == "COMMIT":
            DoomedStore.at -= 1
            if DoomedStore.at == 0 and self.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)

    def _commit(self, *args: Any) -> None:
        super()._commit(*args)
        if DoomedStore.at == 0 and self.when == "after":
            os.kill(os.getpid(), signal.SIGKILL)


class Gateway:
    """What is between a broker and a spool."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.path = folder / "state" / "in.db"
        self.late = 0.0

    def clock(self) -> float:
        return 1_000_000.0 + 10 * len(self.world.all("complete")) + self.late

    async def run(self) -> None:
        """Do all that is left."""
        self.store = await DoomedStore.open(self.path)
        self.journal = await SqliteJournal.open(self.store, "gw")
        self.calm = await Calm.open(self.store, {"r": RULE}, self.clock)
        await self.store.write(create(["PRAGMA wal_autocheckpoint = 20"]))
        await asyncio.gather(self.inward(), self.outward(), self.digests())
        self.late = 100.0
        await self.digests()
        await self.store.close()

    # -- inward

    async def inward(self) -> None:
        begun: dict[int, int] = dict(self.world.all("send"))
        ended = {n for (n,) in self.world.all("complete")}
        self.under_way = {n: packet for n, packet in begun.items() if n not in ended}
        fresh = iter(range(len(begun), MESSAGES))
        again = iter(list(self.under_way))

        async def worker() -> None:
            for n in again:
                await self.take(n)
            for n in fresh:
                packet = next(each for each in range(1, 99) if each not in self.under_way.values())
                self.under_way[n] = packet
                self.world.say("send", n, packet)
                await self.take(n)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    async def take(self, n: int) -> None:
        packet = self.under_way[n]
        if [n] not in self.world.all("received"):
            generation, durable = self.journal.open_inward(packet)
            await durable
            if not await self.journal.is_settled(packet):
                settle = self.journal.settler(packet)
                verdict = await self.calm.decide("r", f"t/{n % 3}", "", str(n), settle=settle)
                if isinstance(verdict, Pass):
                    await asyncio.sleep(0)
                    self.world.say("spool", f"{packet}:{generation}", [str(n)])
                    self.calm.passed(verdict)
            self.world.say("received", n)
        await self.journal.close_inward(packet)
        self.world.say("complete", n)
        del self.under_way[n]

    async def digests(self) -> None:
        for digest in await self.calm.due():
            self.world.say("spool", digest.key, [line.text for line in digest.lines])
            await self.calm.sent(digest)

    # -- outward

    async def outward(self) -> None:
        settled = {key for (key,) in self.world.all("settled")}
        waiting = iter([key for key in (f"d{n}" for n in range(DELIVERIES)) if key not in settled])

        async def worker() -> None:
            for key in waiting:
                await self.deliver(key)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    async def deliver(self, key: str) -> None:
        outward = self.journal.outward()
        packet, phase = outward.get(key, (0, None))
        if phase is None:
            taken = {each for each, how in outward.values() if how is not Phase.DONE}
            packet = next(each for each in range(1, 99) if each not in taken)
        if phase in (None, Phase.SENT):
            await self.journal.sent(key, packet)
            self.world.say("publish", key, packet)
            await self.journal.released(key)
        if phase is not Phase.DONE:
            self.world.say("release", packet)
            await self.journal.done(key)
        self.world.say("settled", key)


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            DoomedStore.at, DoomedStore.when = asked["at"], asked["when"]
            asyncio.run(Gateway(Path(asked["folder"])).run())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("killed" if killed else "ended" if status == 0 else f"broken {status}", flush=True)


if __name__ == "__main__":
    main()
