"""Test doubles for the core's side of the contract: an Intake and a Batch with a field for every fault.

They keep the contract's letter, so that a connector that works with them works with the core; and they write what
they promised into a journal, so that a promise outlives the process that gave it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any, Final

from gateway.adapt import adapt
from gateway.contract import (
    Action,
    Address,
    Blob,
    Capabilities,
    Content,
    Deferred,
    Envelope,
    Item,
    Message,
    Origin,
    Outcome,
    Parcel,
    Receipt,
    Recipient,
    RecipientReport,
    Rejected,
    Report,
    Status,
    Taken,
    Traits,
    Unavailable,
)
from gateway.spool.api import Delivery, Stored
from gateway.testing.calls import Calls
from gateway.testing.calls import message as shown
from gateway.testing.calls import outcome as shown_outcome
from gateway.testing.samples import number_in
from mappings.table import compile_table

INLINE_OCTETS: Final = 256 * 1024
UNSETTLED: Final = Deferred(Status("4.3.5", "not settled"))


class Journal:
    """Lines that outlive a kill: each is one `write` to a file opened for appending."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, line: dict[str, Any]) -> None:
        """Write one line; it is in the file when this returns."""
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, json.dumps(line).encode() + b"\n")
        finally:
            os.close(handle)

    def lines(self) -> list[dict[str, Any]]:
        """Return all lines written so far, by whichever process."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@dataclass(slots=True)
class Accepted:
    """One accepted message, and what was known when."""

    message: Message
    receipt: Receipt
    octets: bytes
    mark: int | None
    """The number that the kit gave the message, None where it has none."""


class MemoryWriter:
    """A ContentWriter whose content stays in memory, but is no inline content beyond the limit."""

    def __init__(self, intake: RecordingIntake) -> None:
        self._intake = intake
        self._octets = bytearray()
        self.finished = False
        self.abandoned = False

    @property
    def size(self) -> int:
        return len(self._octets)

    def write(self, piece: bytes) -> bool:
        self._octets += piece
        return len(self._octets) % (4 * INLINE_OCTETS) < 2 * INLINE_OCTETS  # asks for a drain now and then

    async def drain(self) -> None:
        await asyncio.sleep(0)
        if self._intake.no_room is not None:
            raise Unavailable(self._intake.no_room)

    async def finish(self, traits: Traits | None = None) -> Content:
        await self.drain()
        self.finished = True
        octets = bytes(self._octets)
        return Content(octets if len(octets) <= INLINE_OCTETS else _Octets(octets), traits=traits)

    async def abandon(self) -> None:
        self.abandoned = True
        self._octets.clear()


@dataclass(frozen=True, slots=True)
class _Octets:
    octets: bytes

    @property
    def size(self) -> int:
        return len(self.octets)

    def read(self, offset: int, length: int) -> bytes:
        return self.octets[offset : offset + length]


class RecordingIntake:
    """An Intake that records. Set a field and the next calls meet that fault.

    `gate` closed makes `accept` wait before its commit; `unavailable` and `faults` count how many calls of `accept`
    raise Unavailable or a plain exception; `rejects` and `check_answer` are the Status to refuse with; `no_room`
    is what a content writer that drains meets. `losses` counts how many calls commit, and raise Unavailable all the
    same, as where a database's answer is lost. With a journal, hand-overs accepted by an earlier process are known.
    `number` finds a message's number in its octets.
    """

    def __init__(self, journal: Journal | None = None, *, number: Callable[[bytes], int | None] = number_in) -> None:
        self.calls_log: Calls | None = None
        self._number = number
        self.accepted: list[Accepted] = []
        self.writers: list[MemoryWriter] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.unavailable = 0
        self.faults = 0
        self.losses = 0
        self.rejects: Status | None = None
        self.check_answer: Status | None = None
        self.no_room: Status | None = None
        self.calls = 0
        self.in_flight = 0
        self.in_flight_peak = 0
        self._journal = journal
        self._known: dict[str, int] = {}
        self._next = 1
        for line in journal.lines() if journal else ():
            self._next = max(self._next, line["id"] + 1)
            if line["key"] is not None:
                self._known[line["key"]] = line["id"]

    def check(self, envelope: Envelope, recipient: Recipient) -> Status | None:
        return self.check_answer

    def content(self) -> MemoryWriter:
        writer = MemoryWriter(self)
        self.writers.append(writer)
        return writer

    def __repr__(self) -> str:
        return "the intake"

    def _note(self, text: str) -> None:
        if self.calls_log is not None:
            self.calls_log.note(text)

    async def accept(self, message: Message, *, report: bool = False) -> Receipt:
        self.calls += 1
        self.in_flight += 1
        self.in_flight_peak = max(self.in_flight_peak, self.in_flight)
        self._note(f"  intake.accept({shown(message)})")
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            return await self._commit(message)
        except BaseException as fault:
            self._note(f"  intake.accept raised {fault!r}")
            raise
        finally:
            self.in_flight -= 1

    def submit(self, message: Message, *, report: bool = False) -> asyncio.Future[Receipt]:
        return asyncio.ensure_future(self.accept(message, report=report))

    def take(self, message: Message, told: Taken, *, report: bool = False) -> None:
        def over(done: asyncio.Future[Receipt]) -> None:
            fault = asyncio.CancelledError() if done.cancelled() else done.exception()
            told(done.result() if fault is None else None, fault)

        self.submit(message, report=report).add_done_callback(over)

    async def _commit(self, message: Message) -> Receipt:
        if self.unavailable > 0:
            self.unavailable -= 1
            raise Unavailable(Status("4.3.0", "the spool is not available, try again later"))
        if self.faults > 0:
            self.faults -= 1
            raise RuntimeError("a fault of the core, made by the kit")
        if self.rejects is not None:
            raise Rejected(self.rejects)
        key = message.envelope.dedupe_key
        if key is not None and key in self._known:
            receipt = Receipt(self._known[key], duplicate=True)
        else:
            receipt = Receipt(self._next)
            self._next += 1
            if key is not None:
                self._known[key] = receipt.message_id
        octets = b"".join(message.content.chunks())
        one = Accepted(message, receipt, octets, self._number(octets))
        self.accepted.append(one)
        self._note(f"  intake.accept: message {one.mark} is in the spool, {receipt}")
        if self._journal is not None:
            digest = hashlib.sha256(one.octets).hexdigest()
            self._journal.add({"id": receipt.message_id, "key": key, "mark": one.mark, "sha256": digest})
        await asyncio.sleep(0)  # after the commit, before the caller knows: the place where a receipt gets lost
        if self.losses > 0:
            self.losses -= 1
            raise Unavailable(Status("4.3.0", "whether it is in the spool is not known, try again later"))
        return receipt

    @property
    def marks(self) -> list[int]:
        """The numbers of the kit's messages accepted, in order; hand-overs known as duplicates left out."""
        return [one.mark for one in self.accepted if one.mark is not None and not one.receipt.duplicate]


@dataclass(slots=True)
class ListBatch:
    """A Batch over lists. The first outcome settled for an item stands; `settled_twice` counts the others."""

    parcels: Sequence[Parcel]
    next_hop: str = "kit"
    waiting: list[Sequence[Parcel]] = field(default_factory=list)
    """What `more` gives, call by call."""
    settled: dict[tuple[int, int], Outcome] = field(default_factory=dict)
    settled_twice: int = 0
    on_settle: Callable[[tuple[int, int], Outcome], None] | None = None
    journal: Journal | None = None
    strange: list[tuple[tuple[int, int], object]] = field(default_factory=list)
    """What was settled that is no item of this batch's, or with what is no Outcome."""
    calls_log: Calls | None = None
    _ids: set[tuple[int, int]] = field(default_factory=set)
    _of: int = -1

    def _known(self) -> set[tuple[int, int]]:
        if self._of != len(self.parcels):
            self._ids, self._of = {item.id for p in self.parcels for item in p.items}, len(self.parcels)
        return self._ids

    def __str__(self) -> str:
        return f"a batch of {len(self.parcels)} parcels for {self.next_hop!r}"

    def settle(self, id: tuple[int, int], outcome: Outcome) -> None:
        given: object = outcome  # whatever it is
        if self.calls_log is not None:
            self.calls_log.note(f"  batch.settle({id}, {shown_outcome(given)})")
        if not isinstance(given, Outcome) or id not in self._known():
            self.strange.append((id, outcome))
            return
        if id in self.settled:
            self.settled_twice += 1
            return
        self.settled[id] = outcome
        if self.journal is not None:
            self.journal.add({"id": list(id), "outcome": type(outcome).__name__})
        if self.on_settle is not None:
            self.on_settle(id, outcome)

    def more(self) -> Sequence[Parcel]:
        if not self.waiting:
            return ()
        parcels = self.waiting.pop(0)
        self.parcels = [*self.parcels, *parcels]
        return parcels

    async def refit(self, parcel: Parcel, capabilities: Capabilities) -> Parcel | None:
        made, refused = await asyncio.to_thread(refitted, parcel, capabilities)
        for id, outcome in refused:
            self.settle(id, outcome)
        return made

    @property
    def outcomes(self) -> dict[tuple[int, int], Outcome]:
        """Every item's outcome: Deferred where it was not settled."""
        return {item.id: self.settled.get(item.id, UNSETTLED) for p in self.parcels for item in p.items}


def parcel(
    number: int,
    recipients: Iterable[Address],
    octets: bytes,
    *,
    sender: Address | None = None,
    source: Blob | None = None,
) -> Parcel:
    """Return a parcel as the core hands it out."""
    items = tuple(Item((number, n), address, address) for n, address in enumerate(recipients))
    envelope = Envelope(sender, tuple(Recipient(item.address) for item in items), Origin("kit"))
    return Parcel(number, envelope, Content(octets if source is None else source), items, 1_795_000_000.0 + number)


def reported(parcel: Parcel, about: Address) -> Parcel:
    """Return a parcel that tells its recipient that mail for `about` failed."""
    to = parcel.items[0].address
    failed = RecipientReport(Action.FAILED, about, about, Status("5.1.1", "no such mailbox"))
    report = Report(parcel.message_id + 1000, to, parcel.arrived_at, (failed,), envid="kit")
    return replace(parcel, envelope=replace(parcel.envelope, reverse_path=None), report=report)


def refitted(
    parcel: Parcel, capabilities: Capabilities
) -> tuple[Parcel | None, Sequence[tuple[tuple[int, int], Outcome]]]:
    """Adapt a parcel as the core does, without an address table; return it and what can't be fitted."""
    lane = ("kit", "kit")
    deliveries = tuple(
        Delivery(i.id, lane, i.address, i.original, i.notify, i.orcpt, "", 0, 0.0, inf) for i in parcel.items
    )
    table = compile_table([], [], domains=[], homes={}, encapsulation=None, version=0)
    stored = Stored(parcel.message_id, parcel.envelope, b"", parcel.content, parcel.arrived_at, deliveries)
    fitted = adapt(stored, deliveries, capabilities, table)
    refused = {id for id, _ in fitted.refused}
    items = tuple(
        replace(i, address=fitted.addresses.get(i.id, i.address)) for i in parcel.items if i.id not in refused
    )
    made = replace(parcel, envelope=fitted.envelope, content=fitted.content, items=items) if items else None
    return made, fitted.refused


class KitLog:
    """A logger with the calls of the gateway's that keeps the last lines, to be shown when a test fails."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def bind(self, **values: Any) -> KitLog:
        return self

    new = bind

    def _log(self, level: str, event: str, values: dict[str, Any]) -> None:
        del self.lines[:-200]
        self.lines.append((level, event, values))

    def debug(self, event: str, **values: Any) -> None:
        self._log("debug", event, values)

    def info(self, event: str, **values: Any) -> None:
        self._log("info", event, values)

    def warning(self, event: str, **values: Any) -> None:
        self._log("warning", event, values)

    def error(self, event: str, **values: Any) -> None:
        self._log("error", event, values)

    def exception(self, event: str, **values: Any) -> None:
        self._log("error", event, values)

    critical = error
