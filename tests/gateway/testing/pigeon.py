"""A small connector to test the kit with: messages as files in a loft. `fault` makes it break one promise."""

# ruff: noqa: ASYNC240 - its files are tiny, and threads would hide the order that the tests are about

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from gateway.contract import (
    Address,
    Batch,
    Capabilities,
    Connector,
    ConnectorConfig,
    Content,
    Deferred,
    Delivered,
    Envelope,
    Failed,
    Fate,
    Intake,
    Message,
    Note,
    Origin,
    Recipient,
    Rejected,
    Scope,
    Status,
    Unavailable,
)
from gateway.testing import Bench, DestinationDriver, Got, SourceDriver
from mappings.network import network


class PigeonConfig(ConnectorConfig):
    loft: str = Field(description="The folder of the loft.")


class Undescribed(PigeonConfig):
    seeds: int = 3


class Loose(PigeonConfig):
    model_config: ClassVar[Any] = {"extra": "ignore"}


class Pigeon(Connector):
    Config: ClassVar[type[ConnectorConfig]] = PigeonConfig
    fault: ClassVar[str] = ""

    @property
    def capabilities(self) -> Capabilities:
        # A pigeon mail address is plain ASCII.
        return Capabilities(
            bare_newlines=self.fault != "denies-newlines",
            utf8_addresses=self.fault == "claims-utf8",
            charset="pigeon" if self.fault == "strange-charset" else "utf-8",
        )

    @property
    def takes_reports(self) -> bool:  # type: ignore[override]  # may depend on the configuration, as here
        return True

    async def stop(self) -> None:
        if self.fault == "slow-stop":
            await asyncio.sleep(60)

    # The source

    async def run(self, intake: Intake) -> None:
        folder = Path(self.config.loft) / "in"
        pending: set[asyncio.Task[None]] = set()
        while True:
            for path in sorted(folder.glob("*.msg")):
                if self.fault == "unbounded":
                    taken = path.rename(path.with_suffix(".taken"))
                    pending.add(asyncio.create_task(self._take(intake, taken)))
                else:
                    await self._take(intake, path)
            await asyncio.sleep(0.01)

    async def _take(self, intake: Intake, path: Path) -> None:
        octets = path.read_bytes()
        if self.fault == "acknowledges-early":
            path.unlink()
        key = f"{path.name}:{os.urandom(4).hex() if self.fault == 'new-key' else ''}"
        content = octets.replace(b"\n.", b"\n") if self.fault == "changes-content" else octets
        someone = network("smtp").parse("ann@target.example")
        envelope = Envelope(None, (Recipient(someone),), Origin("pigeon"), dedupe_key=key)
        accepting = asyncio.ensure_future(intake.accept(Message(envelope, Content(content))))
        try:
            if self.fault == "gives-up":
                await accepting
            else:
                await asyncio.shield(accepting)
        except asyncio.CancelledError:
            # What is being accepted is finished, within the bound.
            limit = 60 if self.fault == "never-ends" else self.context.stop_s * 0.8
            await asyncio.wait((accepting,), timeout=limit)
            if accepting.done() and not accepting.cancelled() and accepting.exception() is None:
                path.unlink(missing_ok=True)
            accepting.cancel()
            raise
        except Rejected:
            if self.fault != "forgets-refusals":
                path.rename(path.with_suffix(".bad"))
            else:
                path.unlink()
            return
        except Unavailable:
            if self.fault == "refuses-for-now":
                path.rename(path.with_suffix(".bad"))
            return
        except RuntimeError:
            if self.fault == "dies":
                raise
            path.rename(path.with_suffix(".later"))
            return
        path.unlink(missing_ok=True)

    # The destination

    def next_hop(self, address: Address) -> str:
        return f"loft-{os.urandom(2).hex()}" if self.fault == "random-hop" else "loft"

    async def deliver(self, batch: Batch) -> None:
        parcels = batch.parcels
        while parcels:
            for parcel in parcels:
                for item in parcel.items:
                    await asyncio.sleep(0)
                    if parcel.report is not None and self.fault == "refuses-reports":
                        batch.settle(item.id, Failed(Status("5.6.1", "what is this?")))
                        continue
                    octets = b"".join(parcel.content.chunks())
                    notes: tuple[Note, ...] = ()
                    if self.fault in ("strips-nul", "strips-nul-and-tells"):
                        octets = octets.replace(b"\0", b"")
                    if self.fault == "strips-nul-and-tells":
                        notes = (Note(Fate.DROPPED, "NUL", "pigeons do not carry it"),)
                    if self.fault == "delivered-early":
                        batch.settle(item.id, Delivered())
                        await asyncio.sleep(0)
                    try:
                        if not item.address.value.isascii() and self.fault != "carries-utf8":
                            raise UnicodeError
                        self._put(item.id, item.address, octets)
                    except UnicodeError:
                        batch.settle(item.id, Failed(Status("5.6.7", "only ASCII addresses")))
                    except OSError as e:
                        if self.fault == "raises":
                            raise
                        status = Status("4.3.0", "the loft is closed", cause=str(e))
                        if self.fault == "fails":
                            batch.settle(item.id, Failed(Status("5.3.0", "the loft is closed")))
                        else:
                            scope = Scope.RECIPIENT if self.fault == "narrow-scope" else Scope.HOP
                            batch.settle(item.id, Deferred(status, scope))
                    else:
                        batch.settle(item.id, Delivered(notes=notes))
                        if self.fault == "sends-twice":
                            self._put((item.id[0], item.id[1] + 90), item.address, octets)
            parcels = batch.more()

    def _put(self, id: tuple[int, int], address: Address, octets: bytes) -> None:
        out = Path(self.config.loft) / "out"
        temporary = out / f"{id[0]}-{id[1]}.tmp"
        temporary.write_bytes(address.value.encode() + b"\n" + octets)
        temporary.rename(temporary.with_suffix(".msg"))


class PigeonDriver(SourceDriver, DestinationDriver):
    in_flight_bound = 1
    flood = 20

    def __init__(self, bench: Bench) -> None:
        self.loft = bench.tmp / "loft"
        self.inbox, self.outbox = self.loft / "in", self.loft / "out"
        for folder in (self.inbox, self.outbox):
            folder.mkdir(parents=True)
        self._submitted: set[int] = set()

    def submit(self, number: int, octets: bytes) -> None:
        writing = self.inbox / f"{number}.tmp"
        writing.write_bytes(octets)
        writing.rename(writing.with_suffix(".msg"))
        self._submitted.add(number)

    def acknowledged(self) -> set[int]:
        there = {int(path.stem) for path in self.inbox.iterdir()}
        return self._submitted - there

    def refused(self) -> set[int]:
        return {int(path.stem) for path in self.inbox.glob("*.bad")}

    def recipient(self, number: int) -> Address:
        return network("smtp").parse(f"user{number}@target.example")

    def utf8_recipient(self) -> Address:
        return network("smtp").parse("jürgen@target.example")

    def received(self) -> list[Got]:
        found = []
        for path in self.outbox.glob("*.msg"):
            to, _, octets = path.read_bytes().partition(b"\n")
            found.append(Got(frozenset([to.decode()]), octets))
        return found

    def made_anew(self, sent: bytes, got: bytes) -> bool:
        return got.endswith(sent.replace(b"\0", b""))

    def break_peer(self) -> None:
        self.outbox.rename(self.loft / "away")

    def mend_peer(self) -> None:
        (self.loft / "away").rename(self.outbox)
