"""Works one batch off: which transaction is next, and what each reply or lost connection means for whom.

No I/O here: a Connection calls it, the destination gives it connections until nothing is left that a further
one could do. Outcomes go by item id, so equal addresses cannot be mistaken for one another.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from connectors.smtp import faults
from connectors.smtp.client_config import ClientConfig
from connectors.smtp.client_wire import Event, Extensions, Stage, Transaction
from connectors.smtp.connection import Connection, Ended, Ending
from connectors.smtp.offers import Offers
from connectors.smtp.transaction import may_be_fitted, plan, traits_are_known
from gateway.contract import Batch, Content, Deferred, Item, Outcome, Parcel, Scope, Status

_Entry = tuple[Parcel, Sequence[Item]]

Count = Callable[[str, int], None]
"""Add to a counter: `duplicates_possible`, recipients whose answer was lost after the dot, so that each may get
the message twice; `newlines_mended`, messages that came with bare newlines which adaptation should have mended."""


class Coming(Protocol):
    """A batch some of whose parcels are still made ready."""

    @property
    def is_preparing(self) -> bool: ...

    async def wait(self) -> None: ...


class _Flight:
    """One parcel's recipients in one transaction. `open` are those without an outcome, by ordinal."""

    __slots__ = ("items", "open", "parcel", "postponed")

    def __init__(self, parcel: Parcel, items: tuple[Item, ...]) -> None:
        self.parcel = parcel
        self.items = items
        self.open = set(range(len(items)))
        self.postponed: list[Item] = []
        """Refused only since the transaction was full: they go in a further one."""


class Courier:
    """The Work of one `deliver`. `coming` is the batch where it has parcels that are not ready yet."""

    def __init__(
        self, batch: Batch, config: ClientConfig, offers: Offers, count: Count, coming: Coming | None = None
    ) -> None:
        self._batch = batch
        self._coming = coming
        self._waits = False
        """Nothing is left but what is not ready yet; `read` waits for it."""
        self._config = config
        self._offers = offers
        self._count = count
        self._lmtp = config.protocol_out == "lmtp"
        self._queue: deque[_Entry] = deque((parcel, parcel.items) for parcel in batch.parcels)
        self._must_read: Parcel | None = None
        self._was_read: Parcel | None = None
        self._unfit: _Entry | None = None
        """What the present peer can't take as it is; `read` has it adapted to this peer."""
        self._fitted: Parcel | None = None
        """What was adapted to the present peer last; what it can't take even so fails."""
        self._connection: Connection | None = None
        self._progress = False
        """Whether the present connection has brought anyone's outcome; one that never does is not tried again."""
        self.fault: Outcome | None = None
        """What holds for all that is left: no further connection is worth trying."""

    # --- for the destination

    @property
    def has_work(self) -> bool:
        coming = self._coming
        return self.fault is None and (bool(self._queue) or (coming is not None and coming.is_preparing))

    def use(self, connection: Connection) -> None:
        """Work over this connection from now on."""
        self._connection = connection
        self._progress = False
        self._fitted = None
        self._offers.learn(self._batch.next_hop, connection.wire.extensions)

    def finish(self) -> None:
        """Settle what was never sent, for the fault that kept it from being sent."""
        if self.fault is None:
            return
        while self._queue:
            _, items = self._queue.popleft()
            for item in items:
                self._batch.settle(item.id, self.fault)

    # --- Work

    @property
    def must_read(self) -> bool:
        return self._must_read is not None or self._unfit is not None or self._waits

    async def read(self) -> None:
        if self._waits:
            self._waits = False
            assert self._coming is not None
            await self._coming.wait()
            return
        if self._unfit is not None:
            await self._fit(self._unfit)
            return
        parcel = self._must_read
        if parcel is None:
            return
        try:
            await asyncio.to_thread(_look_at, parcel.content)
            self._was_read = parcel
        except OSError as fault:
            unread = Deferred(Status("4.3.0", "the content cannot be read", cause=str(fault)), Scope.MESSAGE)
            for item in self._queue.popleft()[1]:
                self._batch.settle(item.id, unread)
        finally:
            self._must_read = None

    async def _fit(self, entry: _Entry) -> None:
        """Have a parcel adapted to the present peer, and put it back; it is not in the queue meanwhile."""
        parcel, items = entry
        assert self._connection is not None
        peer = self._connection.wire.extensions
        try:
            self._offers.learn(self._batch.next_hop, peer)  # what was known may have been forgotten meanwhile
            made = await self._batch.refit(replace(parcel, items=tuple(items)), self._offers.of(peer))
        finally:
            self._unfit = None
        if made is not None:
            self._fitted = made
            self._queue.appendleft((made, made.items))

    def next(self, peer: Extensions) -> Transaction | None:
        queue = self._queue
        self._waits = False
        while self.fault is None and self._unfit is None:
            if not queue:
                queue.extend((parcel, parcel.items) for parcel in self._batch.more())
                if not queue:
                    self._waits = self._coming is not None and self._coming.is_preparing
                    return None
            parcel, items = queue[0]
            if not parcel.content.is_inline and self._needs_look(parcel, peer):
                self._must_read = parcel
                return None
            queue.popleft()
            limit = self._config.max_recipients_per_message
            tx, outcomes = plan(parcel, items[:limit], peer, assume_8bit=self._config.assume_8bit)
            if outcomes and parcel is not self._fitted and any(may_be_fitted(outcome) for _, outcome in outcomes):
                self._unfit = (parcel, items)
                return None
            if len(items) > limit:
                queue.appendleft((parcel, items[limit:]))
            for item, outcome in outcomes:
                self._batch.settle(item.id, outcome)
            if tx is not None:
                tx.ref = _Flight(parcel, tx.ref)  # type: ignore[arg-type]  # plan's ref: the tuple of items
                return tx
        return None

    def content(self, tx: Transaction) -> Content:
        return _flight(tx).parcel.content

    def answered(self, event: Event) -> None:
        tx, reply, stage = event.transaction, event.reply, event.stage
        assert tx is not None
        assert self._connection is not None
        flight = _flight(tx)
        remote = self._connection.target.name
        if stage is Stage.DATA and flight.postponed:
            self._queue.appendleft((flight.parcel, flight.postponed))
            flight.postponed = []
        if reply.code == 354 or (reply.code == 421 and stage is not Stage.DOT):
            return  # a 421 ends the connection, and `ended` decides about what was not sent
        if reply.code < 300:
            relayed = not (self._lmtp or self._connection.wire.extensions.dsn)
            outcome: Outcome = faults.taken(reply, remote, relayed=relayed)
        elif stage is Stage.RCPT and tx.accepted and faults.too_many(reply):
            flight.open.discard(event.ordinal)
            flight.postponed.append(flight.items[event.ordinal])
            return
        else:
            outcome = faults.refused(stage, reply, remote, lmtp=self._lmtp)
            if isinstance(outcome, Deferred) and outcome.scope is Scope.HOP:
                self.fault = outcome
        if event.ordinal >= 0:
            self._settle(flight, (event.ordinal,), outcome)
        else:
            self._settle(flight, tuple(flight.open) if stage is Stage.MAIL else tx.accepted, outcome)

    def mended(self) -> None:
        self._count("newlines_mended", 1)

    def ended(self, ended: Ended) -> None:
        connection = self._connection
        assert connection is not None
        # Silence and garbage tell of the host; a close may be about this one message, unless it is all it ever does.
        is_useless = ended.why in (Ending.SILENT, Ending.GARBAGE)
        is_hop = is_useless or (ended.why is not Ending.OURS and not self._progress and not connection.is_reused)
        outcome = Deferred(ended.status, Scope.HOP if is_useless else Scope.MESSAGE)
        if ended.unanswered:
            doubtful = sum(1 if index >= 0 else len(tx.accepted) for tx, index in ended.unanswered)
            self._count("duplicates_possible", doubtful)
        for tx, index in ended.unanswered:
            self._settle(_flight(tx), (index,) if index >= 0 else tx.accepted, outcome)
        if ended.cut is not None:
            self._settle(_flight(ended.cut), tuple(_flight(ended.cut).open), outcome)
        for tx_open in (ended.cut, ended.unsent):
            if tx_open is not None:
                flight = _flight(tx_open)
                left = [*(flight.items[index] for index in sorted(flight.open)), *flight.postponed]
                if left:
                    self._queue.appendleft((flight.parcel, left))
        if is_hop and self.fault is None:
            self.fault = Deferred(ended.status, Scope.HOP)

    def _settle(self, flight: _Flight, ordinals: Sequence[int], outcome: Outcome) -> None:
        for ordinal in ordinals:
            if ordinal in flight.open:
                flight.open.discard(ordinal)
                self._progress = True
                self._batch.settle(flight.items[ordinal].id, outcome)

    def _needs_look(self, parcel: Parcel, peer: Extensions) -> bool:
        """Whether planning would read a content that is not in memory."""
        if parcel is self._was_read:
            return False
        if parcel.envelope.smtputf8:
            return True
        return not self._config.assume_8bit and not peer.eight_bit and not traits_are_known(parcel.content)


def _flight(tx: Transaction) -> _Flight:
    assert isinstance(tx.ref, _Flight)
    return tx.ref


def _look_at(content: Content) -> None:
    """Bring what planning asks of a content into its cache."""
    _ = content.traits, content.head
