"""What the event loop hands to the writer's thread: three kinds of job, ready to be written.

Rows are made where the job is made, so that what cannot be stored fails its own caller at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from gateway.spool.api import Again, DuplicateHandOver, Stored, TraceEvent
from gateway.spool.rows import Row

if TYPE_CHECKING:
    from gateway.spool.store import Store

T = TypeVar("T")

Told = Callable[[DuplicateHandOver | None, BaseException | None], None]
"""Is called in the event loop once a message is committed, with the hand-over that it repeats, if it does; or with what
kept it from being committed."""

HandOver = tuple[Stored, Sequence[Stored], Told]
"""A message, and what is stored with it or not at all, such as what a group's members get."""


@dataclass(slots=True)
class Packed:
    """A message as rows."""

    id: int
    message: Row
    deliveries: list[Row]
    event: Row
    content_ref: str | None


@dataclass(slots=True)
class Accept:
    """A message. Who hands it over is told by a call: a future for each, and its own place in the loop's next turn, is
    a twentieth of what the loop does for a message."""

    told: Told
    packed: Packed
    dedupe_key: str | None
    size_bytes: int
    more: Sequence[Packed] = ()
    """What is stored with it or not at all, such as what a group's members get."""


@dataclass(slots=True)
class Settle:
    """Outcomes and the reports due for them. It may wait a little for company."""

    future: asyncio.Future[None]
    me: int
    """The node whose leases these outcomes rest on."""
    done: list[Row]
    """Of each delivery that is over, the trace row of its end: it names the delivery, too."""
    again: list[tuple[Again, TraceEvent | None]]
    new: list[Packed]


@dataclass(slots=True)
class Work(Generic[T]):
    """Anything else that is done in a transaction. `durable` where a crash must not undo it; `patient` where it
    may wait for company as outcomes do. `outside` runs alone and in no transaction, which it may begin itself; `bare`
    needs none where nobody else writes, being void after a crash."""

    future: asyncio.Future[T]
    run: Callable[[Store], T]
    durable: bool = True
    patient: bool = False
    outside: bool = False
    bare: bool = False


Job = Accept | Settle | Work[Any]
