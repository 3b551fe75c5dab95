"""Messages and outcomes for the spool's tests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from gateway.ids import IdSource
from gateway.message import Content, Envelope, Notify, Origin, Recipient, Traits
from gateway.spool.api import (
    Again,
    Delivery,
    DeliveryId,
    Done,
    DuplicateHandOver,
    LaneKey,
    State,
    Stored,
    TraceEvent,
)
from gateway.spool.durable import DurableSpool
from mappings.address import Address

LANE: LaneKey = ("internet", "mx.example")
OTHER_LANE: LaneKey = ("oldmhs", "sales")


class Clock:
    """A wall clock that the test moves."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def smtp(text: str) -> Address:
    return Address("smtp", text, text.lower())


def submit(spool: DurableSpool, message: Stored) -> asyncio.Future[DuplicateHandOver | None]:
    """Submit a message in this very turn of the loop; the future gives what is told after the commit."""
    (future,) = submit_all(spool, [message])
    return future


def submit_all(spool: DurableSpool, messages: Sequence[Stored]) -> list[asyncio.Future[DuplicateHandOver | None]]:
    """Submit messages together, as `submit` does one."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[DuplicateHandOver | None]] = [loop.create_future() for _ in messages]

    def tell(
        future: asyncio.Future[DuplicateHandOver | None],
        duplicate: DuplicateHandOver | None,
        fault: BaseException | None,
    ) -> None:
        if fault is None:
            future.set_result(duplicate)
        else:
            future.set_exception(fault)

    spool.submit([(m, (), partial(tell, future)) for m, future in zip(messages, futures, strict=True)])
    return futures


class Maker:
    """Makes messages with ids that grow."""

    def __init__(self, clock: Clock, node: int = 0) -> None:
        self.clock = clock
        self.ids = IdSource(node, clock)

    def message(
        self,
        recipients: int = 1,
        *,
        sender: str = "ann@acme.example",
        body: bytes = b"hello\r\n",
        lane: LaneKey = LANE,
        priority: int = 0,
        dedupe_key: str | None = None,
        content: Content | None = None,
        state: State = State.QUEUED,
        first: int = 0,
    ) -> Stored:
        id = self.ids.next()
        now = self.clock()
        to = tuple(
            Recipient(smtp(f"Bob{i}@there.example"), Notify.FAILURE, f"rfc822;bob{i}") for i in range(recipients)
        )
        if content is None:
            head = f"From: {sender}\r\nMessage-ID: <{id}@acme.example>\r\nSubject: a\r\n\r\n".encode()
            content = Content(head + body, traits=Traits(True, False))
        return Stored(
            id=id,
            envelope=Envelope(
                reverse_path=smtp(sender),
                recipients=to,
                origin=Origin("internet", "127.0.0.1", "client.example", "ESMTP", trusted=True),
                priority=priority,
                envid="QQ314159",
                dedupe_key=dedupe_key,
            ),
            prefix=b"Received: from client.example by gw.example\r\n",
            content=content,
            arrived_at=now,
            deliveries=tuple(
                Delivery(
                    id=(id, i),
                    lane=lane,
                    address=r.address,
                    original=smtp(f"b{i}@acme.example"),
                    notify=r.notify,
                    orcpt=r.orcpt,
                    sender=f"smtp:{sender}",
                    priority=priority,
                    next_attempt_at=now,
                    expires_at=now + 432_000,
                    state=state,
                )
                for i, r in enumerate(to, first)
            ),
        )

    def done(self, id: DeliveryId, kind: str = "delivered") -> Done:
        return Done(id, TraceEvent(id[0], self.clock(), kind, id[1], {"status": "2.1.5 ok"}))

    def again(self, id: DeliveryId, *, after: float = 60.0, attempts: int = 1, **other: object) -> Again:
        event = TraceEvent(id[0], self.clock(), "deferred", id[1], {"status": "4.2.1 busy"})
        return replace(Again(id, self.clock() + after, attempts, "4.2.1 busy", event), **other)  # type: ignore[arg-type]  # fields by name
