"""A small connector to test the kit with: messages as files in a loft. `fault` makes it break one promise."""

# ruff: noqa: ASYNC240 - its files are tiny, and threads would hide the order that the tests are about

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from collections.abc import Callable
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
    Outcome,
    Recipient,
    Rejected,
    Scope,
    Status,
    Unavailable,
)
from gateway.testing import Bench, DestinationDriver, Got, SourceDriver
from mappings.network import AddressError, Network, clean, network


class PigeonConfig(ConnectorConfig):
    loft: str = Field(description="The folder of the loft.")


class Undescribed(PigeonConfig):
    seeds: int = 3


class Seeds(ConnectorConfig):
    kind: str = "oats"


class UndescribedInside(PigeonConfig):
    seeds: Seeds = Field(Seeds(), description="What pigeons get.")


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
            max_line_octets=998 if self.fault == "shorter-lines" else None,
            charset="pigeon" if self.fault == "strange-charset" else "utf-8",
        )

    @property
    def takes_reports(self) -> bool:  # type: ignore[override]  # may depend on the configuration, as here
        return True

    async def start(self) -> None:
        if self.fault == "replays":  # it does not know what it has told of
            for kept in sorted(self.context.state_dir.glob("*.msg")):
                shutil.copy(kept, Path(self.config.loft) / "out" / f"again-{os.urandom(4).hex()}-{kept.name}")

    async def stop(self) -> None:
        if self.fault == "slow-stop":
            await asyncio.sleep(60)

    def reconfigure(self, config: Any) -> bool:
        return None if self.fault == "silent-reconfigure" else True  # type: ignore[return-value]  # wrong on purpose

    # The source

    async def run(self, intake: Intake) -> None:
        folder = Path(self.config.loft) / "in"
        pending: set[asyncio.Task[None]] = set()
        while True:
            for path in sorted(folder.glob("*.msg")):
                if self.fault == "blocks":
                    time.sleep(1.3)  # noqa: ASYNC251 - wrong on purpose
                if self.fault in ("stops-at-bad", "swallows-bad") and b"\0" in path.read_bytes():
                    if self.fault == "stops-at-bad":
                        await asyncio.sleep(60)
                    path.unlink()
                    continue
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
        if self.fault == "makes-addresses":
            someone = Address("smtp", "Ann Lee <ann@target.example>", "ann@target.example")
        envelope = Envelope(None, (Recipient(someone),), Origin("pigeon"), dedupe_key=key)
        accepting = asyncio.ensure_future(intake.accept(Message(envelope, Content(content))))
        try:
            if self.fault == "gives-up":
                await accepting
            else:
                await asyncio.shield(accepting)
        except asyncio.CancelledError:
            if self.fault == "loses-on-cancel":
                path.unlink()
                accepting.cancel()
                raise
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
        late: list[tuple[tuple[int, int], Outcome]] = []
        settle = batch.settle if self.fault != "settles-late" else lambda *each: late.append(each)
        if self.fault == "never-returns":
            await asyncio.Event().wait()
        await self._deliver(batch, settle)
        for id, outcome in late:
            batch.settle(id, outcome)

    async def _deliver(self, batch: Batch, settle: Callable[[tuple[int, int], Outcome], None]) -> None:
        parcels = batch.parcels
        while parcels:
            for parcel in parcels:
                ids = [item.id for item in parcel.items]
                if self.fault == "wrong-recipient":
                    ids.reverse()
                if self.fault == "strange-id":
                    ids = [(message, n + 50) for message, n in ids]
                for item, id in zip(parcel.items, ids, strict=True):
                    await asyncio.sleep(0)
                    if item.address.value.startswith("nobody@"):
                        settle(id, Failed(Status("5.1.1", "there is no such pigeon keeper")))
                        continue
                    if parcel.report is not None and self.fault == "refuses-reports":
                        settle(id, Failed(Status("5.6.1", "what is this?")))
                        continue
                    octets = b"".join(parcel.content.chunks())
                    notes: tuple[Note, ...] = ()
                    if self.fault in ("strips-nul", "strips-nul-and-tells"):
                        octets = octets.replace(b"\0", b"")
                    if self.fault == "strips-nul-and-tells":
                        notes = (Note(Fate.DROPPED, "NUL", "pigeons do not carry it"),)
                    if self.fault == "delivered-early":
                        settle(id, Delivered())
                        await asyncio.sleep(0)
                    if self.fault == "shorter-lines" and any(len(line) > 900 for line in octets.split(b"\r\n")):
                        settle(id, Failed(Status("5.6.0", "this line is too long for a pigeon")))
                        continue
                    try:
                        if not item.address.value.isascii() and self.fault != "carries-utf8":
                            raise UnicodeError
                        self._put(item.id, item.address, octets)
                    except UnicodeError:
                        settle(id, Failed(Status("5.6.7", "only ASCII addresses")))
                    except OSError as e:
                        if self.fault == "raises":
                            raise
                        status = Status("4.3.0", "the loft is closed", cause=str(e))
                        if self.fault == "fails":
                            settle(id, Failed(Status("5.3.0", "the loft is closed")))
                        else:
                            scope = Scope.RECIPIENT if self.fault == "narrow-scope" else Scope.HOP
                            settle(id, Deferred(status, scope))
                    else:
                        settle(id, Delivered(notes=notes))
                        if self.fault == "sends-twice":
                            self._put((item.id[0], item.id[1] + 90), item.address, octets)
            parcels = batch.more()

    def _put(self, id: tuple[int, int], address: Address, octets: bytes) -> None:
        out = Path(self.config.loft) / "out"
        temporary = out / f"{id[0]}-{id[1]}.tmp"
        temporary.write_bytes(address.value.encode() + b"\n" + octets)
        if self.fault == "replays":
            shutil.copy(temporary, self.context.state_dir / f"{id[0]}-{id[1]}.msg")
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

    def refused_recipient(self) -> Address:
        return network("smtp").parse("nobody@target.example")

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


class CoopNetwork(Network):
    """Addresses `name@coop` of pigeons. `fault` makes it break one promise."""

    name = "coop"
    imcea_type = "COOP"
    fault: ClassVar[str] = ""

    def parse(self, text: str) -> Address:
        if self.fault == "raises" and not text.strip():
            return Address("coop", text[0], text[0])
        value = text if self.fault == "takes-controls" else clean(text)
        if not re.fullmatch(r"[^@]+@[\w-]+", value):
            raise AddressError("coop.form", value, 0, "write name@coop")
        if self.fault == "does-not-round-trip":  # a blank more each time that it is read
            return Address("coop", value.replace("@", " @"), value.lower())
        return Address("coop", value, value.lower())

    def through(self, gate: Address, inner: Address) -> Address | None:
        made = inner.value.replace("@", "%" if self.fault != "one-way" else "-")
        return Address("coop", f"{made}@gate", f"{made}@gate".lower()) if inner.value.isascii() else None

    def behind(self, gate: Address, address: Address) -> Address | None:
        local, percent, domain = address.value.removesuffix("@gate").rpartition("%")
        return network("smtp").parse(f"{local}@{domain}") if percent else None
