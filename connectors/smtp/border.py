"""The border: header fields that are taken out of what comes in and of what goes out, where `remove_headers` says so.

An Exchange organisation that is joined by SMTP says things to itself in its header fields, which it believes of others
too (see `gateway.header_firewall`). Without the option nothing here is in the way of a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field, field_validator

from gateway.contract import (
    Batch,
    Capabilities,
    ConnectorConfig,
    Content,
    ContentWriter,
    Deferred,
    Delivered,
    Envelope,
    Intake,
    Message,
    Note,
    Outcome,
    Parcel,
    Receipt,
    Recipient,
    Scope,
    Status,
    Taken,
    check_field_names,
    without_fields,
)


class BorderConfig(ConnectorConfig):
    """What both sides take out of headers."""

    remove_headers: tuple[str, ...] = Field(
        (),
        description="Header fields that are taken out of all mail that comes in or goes out here, by name in any case; "
        'a * at the end stands for all names that begin so, as in "X-MS-Exchange-Organization-*".',
    )

    @field_validator("remove_headers")
    @classmethod
    def _names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        check_field_names(names)
        return names


async def without_headers(batch: Batch, names: tuple[str, ...]) -> Batch:
    """Return a batch whose parcels are without these fields."""
    border = OutwardBorder(batch, names)
    await border.prepare()
    return border


class InwardBorder:
    """An Intake that takes fields out of what it accepts."""

    def __init__(self, intake: Intake, names: tuple[str, ...]) -> None:
        self._intake = intake
        self._names = names

    def check(self, envelope: Envelope, recipient: Recipient) -> Status | None:
        return self._intake.check(envelope, recipient)

    def content(self) -> ContentWriter:
        return self._intake.content()

    async def accept(self, message: Message, *, report: bool = False) -> Receipt:
        content, _ = await stripped(message.content, self._names)
        return await self._intake.accept(replace(message, content=content), report=report)

    def submit(self, message: Message, *, report: bool = False) -> asyncio.Future[Receipt]:
        content, _ = without_fields(message.content, self._names)
        return self._intake.submit(replace(message, content=content), report=report)

    def take(self, message: Message, told: Taken, *, report: bool = False) -> None:
        content, _ = without_fields(message.content, self._names)
        self._intake.take(replace(message, content=content), told, report=report)


class OutwardBorder:
    """A Batch whose parcels are without fields; the outcome tells which."""

    def __init__(self, batch: Batch, names: tuple[str, ...]) -> None:
        self._batch = batch
        self._names = names
        self._parcels: Sequence[Parcel] = ()
        self._notes: dict[int, tuple[Note, ...]] = {}
        """By message's id."""

    @property
    def next_hop(self) -> str:
        return self._batch.next_hop

    @property
    def parcels(self) -> Sequence[Parcel]:
        return self._parcels

    async def prepare(self) -> None:
        """Read the headers of the parcels; to be awaited before anything else. What can't be read is deferred."""
        parcels = []
        for parcel in self._batch.parcels:
            try:
                parcels.append(await self._without(parcel))
            except OSError as fault:
                unread = Deferred(Status("4.3.0", "the content cannot be read", cause=str(fault)), Scope.MESSAGE)
                for item in parcel.items:
                    self._batch.settle(item.id, unread)
        self._parcels = parcels

    async def _without(self, parcel: Parcel) -> Parcel:
        content, notes = await stripped(parcel.content, self._names)
        return self._made(parcel, content, notes)

    def _made(self, parcel: Parcel, content: Content, notes: tuple[Note, ...]) -> Parcel:
        if not notes:
            return parcel
        self._notes[parcel.message_id] = notes
        return replace(parcel, content=content)

    def more(self) -> Sequence[Parcel]:
        return [self._made(parcel, *without_fields(parcel.content, self._names)) for parcel in self._batch.more()]

    def settle(self, id: tuple[int, int], outcome: Outcome) -> None:
        notes = self._notes.get(id[0], ())
        if notes and isinstance(outcome, Delivered):
            outcome = replace(outcome, notes=outcome.notes + notes)
        self._batch.settle(id, outcome)

    async def refit(self, parcel: Parcel, capabilities: Capabilities) -> Parcel | None:
        # A message is adapted as it came, so that what was taken out is there again.
        made = await self._batch.refit(parcel, capabilities)
        return None if made is None else await self._without(made)


async def stripped(content: Content, names: tuple[str, ...]) -> tuple[Content, tuple[Note, ...]]:
    if content.is_inline:
        return without_fields(content, names)
    return await asyncio.to_thread(without_fields, content, names)
