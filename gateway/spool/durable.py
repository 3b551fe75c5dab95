"""DurableSpool: the Spool that the node uses, in the event loop, over a writer and its store.

`submit` and `submit_settlements` are the plain functions under `accept` and `settle`, for callers that do without a
task: they are told, or have their future resolved, after the commit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from gateway.contract import ContentWriter, Unavailable
from gateway.message import Content
from gateway.spool import adopt, backup, fsck, leases, operate
from gateway.spool.api import (
    Again,
    Claim,
    Delivery,
    DeliveryId,
    Done,
    DuplicateHandOver,
    LaneDue,
    LaneKey,
    LeaseLost,
    QueueFilter,
    QueueRow,
    Settlement,
    SpoolError,
    State,
    Stored,
    TraceEvent,
    Withdrawal,
)
from gateway.spool.content import PieceWriter, StoredBlob
from gateway.spool.jobs import Accept, HandOver, Packed, Settle, Told, Work
from gateway.spool.options import SpoolOptions
from gateway.spool.rows import (
    Row,
    dump,
    fresh_rows,
    lane_text,
    plain,
    trace_event,
    trace_row,
)
from gateway.spool.sqlite import SqliteStore
from gateway.spool.store import Store
from gateway.spool.writer import Writer
from gateway.status import SPOOL_DOWN, SPOOL_FULL
from mappings.address import Address

T = TypeVar("T")

_TRACE_PIECE: Final = 4000
_LEAST_STATS_S: Final = 5.0
_CONTENT_THREADS: Final = 8
_LOOK_S: Final = 0.1
"""How often it is looked whether other nodes have taken notice."""


class DurableSpool:
    """See `gateway.spool.api.Spool` for what each method promises. Made by `open_spool`."""

    def __init__(self, store: Store, shared: Store | None, options: SpoolOptions, clock: Callable[[], float]) -> None:
        """`shared` is the store of what nodes share, None where that is `store` itself."""
        self._store = store
        self.options = options
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._fenced: list[Callable[[], None]] = []
        self._writer = Writer(store, self._loop, self._on_fenced)
        self._shared_writer = self._writer if shared is None else Writer(shared, self._loop, self._on_fenced, "shared")
        self._turns = leases.Turns()
        self._pool = ThreadPoolExecutor(_CONTENT_THREADS, thread_name_prefix="content")
        self._stats: Mapping[str, float] = {}
        self._stats_until = 0.0

    # -- life

    async def start(self) -> None:
        """Open the database. Raises: SpoolUnusable, SpoolError."""
        try:
            await self._writer.start()
            if self._shared_writer is not self._writer:
                try:
                    await self._shared_writer.start()
                except BaseException:
                    await self._writer.stop()
                    raise
        except BaseException:
            self._pool.shutdown(wait=False)
            raise

    async def close(self) -> None:
        """Commit what waits, give up singletons, close the database. Deliveries leased stay leased until then."""
        with contextlib.suppress(SpoolError, LeaseLost):  # else they run out by themselves
            await self._shared(lambda store: store.let_go())
        await self._writer.stop()
        if self._shared_writer is not self._writer:
            await self._shared_writer.stop()
        self._pool.shutdown(wait=False)

    async def __aenter__(self) -> DurableSpool:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def node_number(self) -> int:
        """A number that differs between nodes that run at one time, for their message ids."""
        return self._store.number

    @property
    def follower(self) -> str:
        """The name under which this node says how far it follows the mapping; see `nodes.live_nodes`."""
        return self._store.follower

    @property
    def fault(self) -> str | None:
        """Say why the spool has stopped for good, None while it works: only opening it anew mends that."""
        fault = self._writer.fault or self._shared_writer.fault
        return None if fault is None else f"{type(fault).__name__}: {fault}"

    def on_fenced(self, callback: Callable[[], None]) -> None:
        self._fenced.append(callback)

    def _on_fenced(self) -> None:
        for callback in self._fenced:
            callback()

    # -- accept and settle

    def submit(self, hand_overs: Sequence[HandOver]) -> None:
        """Hand messages to the writer. What `accept` does, without a task; a message's content must be inline or come
        from this spool's own `content()`, and those of what is stored with it be inline.

        Who hands one over is told after its commit; at once of what cannot be stored, or finds no room. Raises nothing.
        """
        accepts = []
        for message, more, told in hand_overs:
            try:
                accepts.append(self._accept(message, more, told))
            except Exception as fault:  # noqa: BLE001  # this message's alone
                told(None, fault)
        taken = 0
        why: SpoolError | None = None
        try:
            taken = self._writer.put_accepts(accepts)
        except SpoolError as fault:
            why = fault
        for accept in accepts[taken:]:
            accept.told(None, why or SpoolError(SPOOL_DOWN.but(cause="too many messages wait for the spool's writer")))

    def _accept(self, message: Stored, more: Sequence[Stored], told: Told) -> Accept:
        """Make a message ready to be written. Raises: SpoolError where there is no room, ValueError."""
        if self._store.low:
            raise SpoolError(SPOOL_FULL.but(cause="free space is below the spool's limit"))
        packed = self._pack(message)
        size = 0
        if packed.content_ref is None:
            size = message.content.size
        else:
            told = partial(_tell_or_disown, message, told)
        key = message.envelope.dedupe_key
        if key is not None:
            key = plain(key)
        return Accept(told, packed, key, size, [self._pack(m) for m in more] if more else ())

    def _pack(self, message: Stored) -> Packed:
        ref = None
        if not message.content.is_inline:
            blob: StoredBlob = message.content.source  # type: ignore[assignment]  # `_fresh` tells them apart
            if not _is_fresh(message.content):
                raise ValueError("the content's octets belong to another message: use accept()")
            ref = blob.ref
            blob.owned = True
        row, deliveries, event = fresh_rows(message, ref, self._store.numbers.next())
        return Packed(message.id, row, deliveries, event, ref)

    async def accept(self, message: Stored, more: Sequence[Stored] = ()) -> DuplicateHandOver | None:
        message = await self._own(message)
        # A copy for each, even of octets that nobody owns yet: they will be the first message's.
        more = [await self._own(other, copy=True) for other in more]
        future: asyncio.Future[DuplicateHandOver | None] = self._loop.create_future()
        self.submit([(message, more, partial(_resolve, future))])
        blobs: list[StoredBlob] = [m.content.source for m in (message, *more) if not m.content.is_inline]  # type: ignore[misc]  # submit() has seen to it
        if not blobs:
            return await future
        try:
            duplicate = await asyncio.shield(future)
        except SpoolError:
            for blob in blobs:
                blob.owned = False
            raise
        for blob in blobs:
            blob.owned = duplicate is None
        return duplicate

    async def _own(self, message: Stored, *, copy: bool = False) -> Stored:
        """Return the message with octets that the spool can own: those of another message are copied first."""
        content = message.content
        if content.is_inline or (_is_fresh(content) and not copy):
            return message
        writer = self.content()
        try:
            async for piece in content.stream():
                if not writer.write(piece):
                    await writer.drain()
            made = await writer.finish(content.__dict__.get("traits"))
        except Unavailable as error:
            await writer.abandon()
            raise SpoolError(error.status) from error
        except BaseException:
            await writer.abandon()
            raise
        octets = Content(made.source, traits=made.__dict__.get("traits"), attributes=content.attributes)
        return replace(message, content=octets)

    def submit_settlements(self, settlements: Sequence[Settlement], new: Sequence[Stored] = ()) -> asyncio.Future[None]:
        """Hand outcomes to the writer; what `settle` does, without a task."""
        number = self._store.numbers.next
        done = [trace_row(s.event, number()) for s in settlements if type(s) is Done]
        again = [(s, s.event) for s in settlements if type(s) is Again]
        future: asyncio.Future[None] = self._loop.create_future()
        self._writer.put(Settle(future, self._store.me, done, again, [self._pack(m) for m in new]))
        return future

    async def settle(self, settlements: Sequence[Settlement], new: Sequence[Stored] = ()) -> None:
        owned = [await self._own(m) for m in new]
        await self.submit_settlements(settlements, owned)

    def content(self) -> ContentWriter:
        """Return a writer for content that arrives in pieces."""
        return PieceWriter(self._store.sink, self._pool, self.options.inline_limit_bytes, self._store.content_status)

    # -- claims

    async def _work(
        self, run: Callable[[Store], T], *, durable: bool = True, patient: bool = False, bare: bool = False
    ) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        self._writer.put(Work(future, run, durable, patient, bare=bare))
        return await future

    async def claim(self, lane: LaneKey, limit: int, now: float) -> list[Claim]:
        turns = self._turns
        made, me = await self._work(
            lambda store: (leases.claim(store, turns, lane, limit, now), store.me), durable=False, bare=True
        )
        # Else they were leased to what this node was before it was fenced, and may be another's by now.
        return made() if me == self._store.me else []

    async def due(self, now: float) -> list[LaneDue]:
        return await self._work(lambda store: store.due(now), durable=False)

    async def give_back(self, ids: Sequence[DeliveryId]) -> None:
        if ids:
            await self._work(lambda store: store.give_back(ids), durable=False)

    # -- the operator's

    async def rows(self, where: QueueFilter, limit: int) -> list[QueueRow]:
        return await self._work(lambda store: operate.rows(store, where, limit), durable=False)

    async def change(
        self,
        where: QueueFilter,
        *,
        state: State | None = None,
        next_attempt_at: float | None = None,
        lane: LaneKey | None = None,
        address: Address | None = None,
        expires_at: float | None = None,
    ) -> list[DeliveryId]:
        what = operate.Change(state, next_attempt_at, lane, address, expires_at)
        return await self._in_bites(lambda store, after: operate.change(store, where, what, after))

    async def waiting(
        self, state: State, after: DeliveryId, limit: int, connectors: Collection[str] | None = None
    ) -> list[tuple[Delivery, bool]]:
        return await self._work(lambda store: operate.waiting(store, state, after, limit, connectors), durable=False)

    async def drop(self, where: QueueFilter, why: str) -> list[DeliveryId]:
        return await self._in_bites(lambda store, after: operate.drop(store, where, why, after))

    async def _in_bites(
        self, bite: Callable[[Store, DeliveryId], tuple[list[DeliveryId], DeliveryId | None]]
    ) -> list[DeliveryId]:
        ids: list[DeliveryId] = []
        after: DeliveryId | None = (-1, -1)
        while after is not None:
            found, after = await self._work(_at(bite, after))
            ids.extend(found)
        return ids

    async def withdrawals(self) -> list[Withdrawal]:
        return await self._work(lambda store: store.withdrawals(), durable=False)

    async def withdrew(self, noticed: Sequence[DeliveryId], in_flight: Collection[DeliveryId]) -> None:
        await self._work(lambda store: store.withdrew(noticed, in_flight), durable=False)

    async def not_withdrawn(self, ids: Sequence[DeliveryId], timeout_s: float) -> set[DeliveryId]:
        end = self._loop.time() + timeout_s
        while ids:
            silent, in_flight = await self._work(lambda store: store.not_withdrawn(ids), durable=False)
            if not silent or self._loop.time() >= end:
                return silent | in_flight
            await asyncio.sleep(_LOOK_S)
        return set()

    async def lanes_of(self, where: QueueFilter) -> set[LaneKey]:
        return await self._work(lambda store: operate.lanes_of(store, where), durable=False)

    async def load(self, message_id: int) -> Stored | None:
        return await self._work(lambda store: store.load(message_id), durable=False)

    async def load_kept(self, message_id: int) -> Stored | None:
        """Return a delivered message that is kept for a replay, without deliveries."""
        return await self._work(lambda store: store.load_kept(message_id), durable=False)

    # -- the trace

    async def trace(
        self,
        *,
        message_id: int | None = None,
        text: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 1000,
    ) -> list[TraceEvent]:
        def within(event: TraceEvent) -> bool:
            return (since is None or event.at >= since) and (until is None or event.at <= until)

        if message_id is not None:
            events = await self._work(lambda store: store.trace_of(message_id, limit), durable=False)
            return [e for e in events if within(e)]
        # As it stands in JSON, where a quote or a backslash of an address is escaped.
        needle = dump(text or "")[1:-1].casefold()
        found: list[TraceEvent] = []
        rows: list[Any] = []  # those of the message that is being read
        hit = not needle
        after = (-1, -1)
        while len(found) < limit:
            piece = await self._work(partial(_piece, after=after), durable=False)
            for row in piece:
                if rows and row[0] != rows[0][0]:
                    if hit:
                        found.extend(e for e in map(trace_event, rows) if within(e))
                    rows, hit = [], not needle
                rows.append(row)
                hit = hit or needle in row[5].casefold()
            if len(piece) < _TRACE_PIECE:
                break
            after = (piece[-1][0], piece[-1][1])
        if hit:
            found.extend(e for e in map(trace_event, rows) if within(e))
        return sorted(found, key=lambda e: (e.at, e.message_id))[:limit]

    async def record(self, events: Sequence[TraceEvent]) -> None:
        if events:
            await self._work(lambda store: store.record(events), patient=True)

    # -- shared between nodes

    async def lane_down(self, lane: LaneKey, until: float, probe_by: int | None) -> None:
        await self._shared(lambda store: store.lane_down(lane_text(lane), until, probe_by))

    async def lanes_up(self, lanes: Collection[LaneKey]) -> None:
        if lanes:
            await self._shared(lambda store: store.lanes_up([lane_text(lane) for lane in lanes]))

    async def lanes_down(self) -> dict[LaneKey, float]:
        return await self._shared(lambda store: store.lanes_down(self._clock()))

    def take_once(self, key: str) -> asyncio.Future[bool]:
        future: asyncio.Future[bool] = self._loop.create_future()
        self._shared_writer.put(Work(future, lambda store: store.take_once(key)))
        return future

    async def hold_singleton(self, name: str) -> bool:
        return await self._shared(lambda store: store.hold_singleton(name))

    async def _shared(self, run: Callable[[Store], T]) -> T:
        future: asyncio.Future[T] = self._loop.create_future()
        self._shared_writer.put(Work(future, run))
        return await future

    # -- figures, repair

    async def stats(self) -> Mapping[str, float]:
        """Return figures for metrics. Deliveries are counted by a scan, so one answer serves for some seconds,
        longer where the counting took long."""
        now = self._loop.time()
        if now >= self._stats_until:
            self._stats = await self._work(lambda store: store.stats(), durable=False)
            took = self._loop.time() - now
            self._stats_until = self._loop.time() + max(_LEAST_STATS_S, 50 * took)
        figures = self._store.figures
        waiting, waiting_bytes = self._writer.waiting
        return {
            **self._stats,
            "commits": figures.commits,
            "accepted": figures.accepted,
            "settled": figures.settled,
            "largest_group": figures.largest_group,
            "waiting": waiting,
            "waiting_bytes": waiting_bytes,
        }

    async def fsck(self, *, repair: bool = False) -> list[fsck.Finding]:
        """Check rows against each other and against the contents; `repair` mends what can be mended."""
        return await fsck.check(self._work, repair)

    async def backup(self, dest: Path) -> None:
        """Write a consistent copy of this worker's spool, contents and all, into a folder, while it runs.

        Several workers of one machine may share the folder. Durable when this returns: all of it. Raises:
        SpoolError, OSError (FileExistsError where it holds a backup of this worker already).
        """
        await backup.backup(self._outside, self._shared_writer is not self._writer, dest)

    async def adopt_orphans(self, live: Collection[int]) -> int:
        """Take over the files of workers that are gone: of every number not in `live` whose lock is free.

        What they held is in this spool afterwards, free to be claimed. Returns how many messages came; always 0
        where the nodes share a database. Raises: SpoolError, SpoolUnusable (a file of another schema, damaged).
        """
        store = self._store
        if not isinstance(store, SqliteStore):
            return 0
        return await adopt.adopt_all(store, self._work, {*live, store.worker})

    async def _outside(self, run: Callable[[Store], None], shared: bool) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        (self._shared_writer if shared else self._writer).put(Work(future, run, outside=True))
        await future


def _at(bite: Callable[[Store, DeliveryId], T], after: DeliveryId) -> Callable[[Store], T]:
    return lambda store: bite(store, after)


def _piece(store: Store, after: tuple[int, int]) -> Sequence[Row]:
    return store.trace_piece(after, _TRACE_PIECE)


def _disown(message: Stored) -> None:
    """Let a content's writer remove it: no message has it."""
    if not message.content.is_inline:
        blob: StoredBlob = message.content.source  # type: ignore[assignment]  # its own: `submit` has seen to it
        blob.owned = False


def _tell_or_disown(
    message: Stored, told: Told, duplicate: DuplicateHandOver | None, fault: BaseException | None
) -> None:
    """Tell of a commit. First let go of a content that is not used, so that whoever is told can abandon it."""
    if duplicate is not None or isinstance(fault, SpoolError):
        _disown(message)
    told(duplicate, fault)


def _resolve(
    future: asyncio.Future[DuplicateHandOver | None], duplicate: DuplicateHandOver | None, fault: BaseException | None
) -> None:
    if future.done():  # its caller was cancelled; what is committed stays committed
        return
    if fault is None:
        future.set_result(duplicate)
    else:
        future.set_exception(fault)


def _is_fresh(content: Content) -> bool:
    """Tell whether a content's Blob was written through this spool and belongs to no message yet."""
    return not getattr(content.source, "owned", True)
