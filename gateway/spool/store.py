"""What is done inside a transaction: a group of accepts and outcomes, claims, reads, pruning.

Runs in the writer's thread alone, on its one connection. A dialect adds how many rows go in at once, how sets
travel, and where content over the inline limit lies.
"""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import Connection

from gateway.ids import EPOCH_MS
from gateway.message import Blob
from gateway.spool.api import (
    Again,
    Delivery,
    DeliveryId,
    DuplicateHandOver,
    LaneDue,
    LaneKey,
    LeaseLost,
    Stored,
    TraceEvent,
    Withdrawal,
)
from gateway.spool.content import Sink, status_of
from gateway.spool.jobs import Accept, Job, Packed, Settle, Work
from gateway.spool.options import SpoolOptions
from gateway.spool.rows import (
    Row,
    Sequence63,
    again_json,
    delivery_from,
    dump,
    lane_key,
    late,
    stored_from,
    trace_event,
    trace_row,
)
from gateway.spool.statements import DUE_COUNT_LIMIT, Prepared, Statements, statements
from gateway.status import Status

HOST: Final = socket.gethostname()

_PRUNED_KEYS: Final = 1000


class Fenced(Exception):
    """This node's row is gone, or too old to rely on: what it had leased may be another's."""


@dataclass(slots=True)
class Figures:
    """What the writer counts; read by metrics from another thread, so only whole values are replaced."""

    commits: int = 0
    accepted: int = 0
    settled: int = 0
    largest_group: int = 0


@dataclass(slots=True)
class Aftermath:
    """What is done once a transaction is committed: contents that no row names any more, and other steps."""

    accepted: int = 0
    settled: int = 0
    unlink: list[str] = field(default_factory=list)
    then: list[Callable[[], None]] = field(default_factory=list)


class Store(ABC):
    """The spool's tables over one connection. All methods but `connect` and `commit` run inside
    `transaction`."""

    dialect: str
    connection: Connection
    me: int = 1
    """This node's number, the fencing token in every lease it holds."""

    def __init__(self, options: SpoolOptions, clock: Callable[[], float]) -> None:
        self.options = options
        self.clock = clock
        self.statements: Statements = statements(self.dialect)
        self.figures = Figures()
        self.numbers = Sequence63()
        self.aftermath = Aftermath()
        self.doubtful: list[int] = []
        self._kept_count = self._kept_bytes = -1

    # -- what a dialect says for itself

    @abstractmethod
    def connect(self) -> None:
        """Open the database, blocking. Raises: SpoolUnusable, SpoolError."""

    @abstractmethod
    def close(self) -> None:
        """End the connection; safe to call twice."""

    @abstractmethod
    @contextmanager
    def transaction(self, durable: bool, ids: Sequence[int] = (), reports: Sequence[int] = ()) -> Iterator[None]:
        """Run the block in one transaction. Not `durable`: what it did may be forgotten by a crash.

        `ids` are the messages that the block accepts, `reports` those that it stores with outcomes: by them a
        commit whose answer was lost is looked up. Where it cannot be, the accepted ones are taken back later. The
        reports are not: their outcomes will be settled again, without effect if they were in that commit.
        """
        yield

    @abstractmethod
    def fault(self, error: Exception) -> Exception | None:
        """Return what a fault means for everybody in the group (SpoolError, LeaseLost); None where it may be one
        item's own. Makes the connection usable again, or ready to be opened again."""

    @abstractmethod
    def insert(self, table: str, rows: Sequence[Row]) -> None:
        """Insert rows of messages, deliveries or trace."""

    @abstractmethod
    def pairs(self, ids: Sequence[DeliveryId]) -> dict[str, Any]:
        """Return the parameters of a statement's {pairs}."""

    @abstractmethod
    def ids(self, ids: Sequence[int]) -> dict[str, Any]:
        """Return the parameter of a statement's {ids}."""

    @abstractmethod
    def texts(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return the parameter of a statement's {texts}."""

    @abstractmethod
    def hand_overs(self, named: Sequence[tuple[str, int]]) -> dict[str, Any]:
        """Return the parameters of a statement's {taken}, but for the time."""

    @abstractmethod
    def senders_parameter(self, senders: Sequence[str]) -> dict[str, Any]:
        """Return the parameter of the statement PER_SENDER."""

    @abstractmethod
    def blob(self, ref: str, size: int) -> Blob:
        """Return the octets that a row's content_ref names."""

    @abstractmethod
    def own_blobs(self, refs: Sequence[str]) -> None:
        """Take blobs over from their writers, in the transaction that stores their messages."""

    @abstractmethod
    def forget_blobs(self, refs: Sequence[str]) -> None:
        """Let go of blobs whose rows are being removed."""

    @abstractmethod
    def tick(self) -> None:
        """Do what is due regularly: heartbeat, free space, pruning. Own transactions."""

    @abstractmethod
    def sizes(self) -> dict[str, float]:
        """Return free_bytes and database_bytes, as far as they are known."""

    def lock_shared(self, message_ids: Sequence[int]) -> None:  # noqa: B027  # one connection has nobody to lock out
        """Lock messages of several deliveries against other nodes."""

    fenced: Callable[[], None] = staticmethod(lambda: None)
    """Tells the node that it is fenced; set by the writer."""
    between: Callable[[], None] = staticmethod(lambda: None)
    """Lets a long piece of work outside of transactions have what waits committed; set by the writer."""
    low = False
    """There is too little free space for new mail; read by other threads."""

    def rejoin(self) -> None:  # noqa: B027  # the owner of a file is never fenced
        """Join the other nodes anew, after Fenced."""

    @property
    @abstractmethod
    def number(self) -> int:
        """A number of this node's for message ids, 0..1023."""

    @property
    @abstractmethod
    def follower(self) -> str:
        """This node's name among those of the same spool, as `nodes.live_nodes` tells them."""

    @abstractmethod
    def sink(self) -> Sink:
        """Open a sink for a content over the inline limit; called in any thread."""

    def content_status(self, error: BaseException) -> Status:
        """Return what a sink's fault means for a peer."""
        return status_of(error)

    @abstractmethod
    def backup(self, dest: Path) -> None:
        """Copy the database and its contents into a folder, durably. Runs outside of transactions."""

    @abstractmethod
    def integrity(self) -> list[str]:
        """Return what the database itself finds wrong with its files."""

    @abstractmethod
    def content_size(self, ref: str) -> int | None:
        """Return how many octets a content_ref really has, None where there are none."""

    @abstractmethod
    def orphans(self, older_than_s: float) -> list[tuple[str, int]]:
        """Return (ref, size) of contents that no row names and nobody can be writing."""

    @abstractmethod
    def remove_orphan(self, ref: str) -> None:
        """Remove a content that no row names."""

    def now(self) -> float:
        """Return the time that leases run by."""
        return self.clock()

    @property
    def holder(self) -> str:
        """The name under which this node holds singletons."""
        return str(self.me)

    # -- statements

    # The daily work goes to the driver at once: what SQLAlchemy adds around a statement that is ready already would
    # be a tenth of all the work on a message. Migrations and the operator's queries, put together at run time, are
    # Core's.

    @abstractmethod
    def run(self, sql: str, arguments: Sequence[Any]) -> Any:
        """Execute one statement in the driver's own form; returns its cursor."""

    def query(self, statement: Prepared, **values: Any) -> Sequence[Row]:
        rows: Sequence[Row] = self.run(statement.sql, statement.args(values)).fetchall()
        return rows

    def both(self, *asked: tuple[Prepared, Mapping[str, Any]]) -> Sequence[Sequence[Row]]:
        """Return the rows of each of some SELECTs that give many."""
        return [self.query(statement, **values) for statement, values in asked]

    def execute(self, statement: Prepared, **values: Any) -> int:
        count: int = self.run(statement.sql, statement.args(values)).rowcount
        return count

    # -- the hot path

    def commit(self, group: Sequence[Job], durable: bool, ids: Sequence[int], reports: Sequence[int]) -> list[object]:
        """Do a group's jobs in one transaction; see `transaction` and `apply`. Raises: Fenced."""
        with self.transaction(durable, ids, reports):
            return self.apply(group)

    may_have_files = False
    """Messages that leave may have contents beside their rows, which only `leave` lets go of."""

    def is_plain(self, group: Sequence[Job]) -> bool:
        """Tell whether a group is what nearly all are: inline messages, and deliveries that are over.

        It is done in one go, in which a hand-over that was taken before is a conflict: then its jobs are done one by
        one, as where the group is not plain.
        """
        if self.options.keep_delivered_s > 0:
            return False
        for job in group:
            if isinstance(job, Accept):
                if job.packed.content_ref is not None or any(p.content_ref for p in job.more):
                    return False
            elif not isinstance(job, Settle) or job.again or job.new or (job.done and self.may_have_files):
                return False
        return True

    def plainly(self, group: Sequence[Job]) -> tuple[list[Packed], list[Row], list[Row], list[object]]:
        """Return what a plain group stores, the rows of the hand-overs that it takes, the trace rows of the deliveries
        that it ends, and its jobs' results."""
        packed: list[Packed] = []
        taken: list[Row] = []
        done: list[Row] = []
        results: list[object] = []
        for job in group:
            result: object = None
            if isinstance(job, Accept):
                packed.append(job.packed)
                packed.extend(job.more)
                if job.dedupe_key is not None:
                    taken.append((job.dedupe_key, job.packed.id, self.clock()))
            elif isinstance(job, Settle):
                if job.me == self.me:
                    done += job.done
                else:
                    result = LeaseLost("the node was fenced before these outcomes were committed")
            results.append(result)
        taken.sort()  # in one order, so that two nodes with the same names never wait for each other
        return packed, taken, done, results

    def apply(self, group: Sequence[Job]) -> list[object]:
        """Do a group's jobs; returns their results in order, an exception where one has failed by itself.
        Everything that can be is done for all at once."""
        results: list[object] = [None] * len(group)
        packed: list[Packed] = []
        events: list[Row] = []
        settles: list[tuple[int, Settle]] = []
        works: list[tuple[int, Work[Any]]] = []
        named = [(j.dedupe_key, j.packed.id) for j in group if isinstance(j, Accept) and j.dedupe_key is not None]
        took: set[int] = self._take_all(named) if named else set()
        for i, job in enumerate(group):
            if isinstance(job, Accept):
                if job.dedupe_key is not None and job.packed.id not in took:
                    results[i] = self._taken_before(job.dedupe_key)
                    continue
                packed.append(job.packed)
                packed.extend(job.more)
            elif isinstance(job, Settle):
                if job.me == self.me:
                    settles.append((i, job))
                else:
                    results[i] = LeaseLost("the node was fenced before these outcomes were committed")
            else:
                works.append((i, job))
        if settles:
            packed.extend(self._settle([job for _, job in settles], events))
        self.put(packed, events)
        for i, work in works:
            results[i] = work.run(self)
        self.aftermath.accepted = len(packed)
        return results

    def _take_all(self, named: Sequence[tuple[str, int]]) -> set[int]:
        """Take many hand-overs; return the ids of the messages that are the first of theirs."""
        st = self.statements.dedupe_take_all
        named = sorted(named, key=lambda one: one[0])  # as in `plainly`
        return {row[0] for row in self.query(st, **self.hand_overs(named), now=self.clock())}

    def _taken_before(self, key: str) -> DuplicateHandOver:
        return DuplicateHandOver(self.query(self.statements.dedupe_find, key=key)[0][0])

    def put(self, packed: Sequence[Packed], events: list[Row]) -> None:
        if packed:
            self.bring(packed, events)
            refs = [p.content_ref for p in packed if p.content_ref is not None]
            if refs:
                self.own_blobs(refs)
        if events:
            self.insert("trace", events)

    def bring(self, packed: Sequence[Packed], events: list[Row]) -> None:
        """Insert messages and their deliveries, and the trace of their arrival, or leave that to `events`."""
        self.insert("messages", [p.message for p in packed])
        self.insert("deliveries", [row for p in packed for row in p.deliveries])
        events.extend([p.event for p in packed])

    def _settle(self, jobs: Sequence[Settle], events: list[Row]) -> list[Packed]:
        """Commit outcomes; appends their trace rows and returns the reports that go in with them."""
        done = [(row[0], row[3]) for job in jobs for row in job.done]
        again = [a for job in jobs for a, _ in job.again]
        effective: set[DeliveryId] = set()
        if done:
            message_ids = list({i[0] for i in done})
            self.lock_shared(message_ids)
            effective.update((r[0], r[1]) for r in self.end(done))
            self.leave(list({i[0] for i in effective}), keep=True)
        if again:
            effective.update(self._again(again))
        new: list[Packed] = []
        number = self.numbers.next
        for job in jobs:
            took = 0
            rows: list[tuple[DeliveryId, Row | None]] = [((row[0], row[3]), row) for row in job.done]
            rows += [(a.id, None if event is None else trace_row(event, number())) for a, event in job.again]
            for id, row in rows:
                if id in effective:
                    took += 1
                    if row is not None:
                        events.append(row)
                elif row is not None:
                    # It happened, so the trace says so, though another had the lease or the delivery was dropped.
                    events.append(late(row))
            if took or not (job.done or job.again):
                new.extend(job.new)
        self.aftermath.settled = len(effective)
        return new

    def _again(self, again: Sequence[Again]) -> list[DeliveryId]:
        rows = self.query(self.statements.again, again=again_json(again), me=self.me)
        return [(r[0], r[1]) for r in rows]

    def leave(self, message_ids: Sequence[int], *, keep: bool) -> None:
        """Remove those of the messages that have no delivery left, or keep them for a replay where configured."""
        if not message_ids:
            return
        st = self.statements
        kept: set[int] = set()
        if keep and self.options.keep_delivered_s > 0:
            rows = self.query(st.keep, **self.ids(message_ids), now=self.clock())
            kept = {r[0] for r in rows}
            self._count_kept(len(rows), sum(r[1] for r in rows))
        refs = [r[1] for r in self.go(message_ids) if r[1] is not None and r[0] not in kept]
        if refs:
            self.forget_blobs(refs)

    def end(self, ids: Sequence[DeliveryId]) -> Sequence[Row]:
        """Remove deliveries that are over, as far as no other node has leased them; return the ids of those."""
        return self.query(self.statements.done, **self.pairs(ids), me=self.me)

    def go(self, message_ids: Sequence[int]) -> Sequence[Row]:
        """Remove those of the messages that have no delivery left; return ids and content_refs, at least of those that
        have a content beside the row."""
        return self.query(self.statements.leave, **self.ids(message_ids))

    def lease(
        self, ids: Sequence[DeliveryId], message_ids: Sequence[int]
    ) -> tuple[int, Callable[[], Sequence[Sequence[Row]]]]:
        """Lease deliveries of these messages to this node, as far as they are free; return how many of them are, and
        what gives their rows, and those of the messages, to whoever asks for them, in any thread."""
        st = self.statements
        leased = self.query(st.lease, **self.pairs(ids), me=self.me)
        messages = self.query(st.messages, **self.ids(message_ids)) if leased else ()
        return len(leased), lambda: (leased, messages)

    # -- reads

    def load_messages(self, deliveries: Mapping[int, Sequence[Delivery]]) -> dict[int, Stored]:
        """Read messages, each with the deliveries given."""
        rows = self.query(self.statements.messages, **self.ids(list(deliveries)))
        return {row[0]: self.stored(row, deliveries[row[0]]) for row in rows}

    def stored(self, row: Row, deliveries: Sequence[Delivery]) -> Stored:
        """Return the message of a row with these deliveries."""
        size, offset, ref, front = row[2], row[7], row[8], row[12]
        blob = None if ref is None else self.blob(ref, size - len(front) + offset)
        return stored_from(row, deliveries, blob)

    def load(self, message_id: int) -> Stored | None:
        rows = self.query(self.statements.deliveries, id=message_id)
        return self.load_messages({message_id: [delivery_from(r) for r in rows]}).get(message_id)

    def load_kept(self, message_id: int) -> Stored | None:
        rows = self.query(self.statements.kept, id=message_id)
        return self.stored(rows[0], ()) if rows else None

    def due(self, now: float) -> list[LaneDue]:
        rows = self.query(self.statements.due, now=now, most=DUE_COUNT_LIMIT)
        return [LaneDue(lane_key(lane), due, earliest) for lane, earliest, due in rows]

    def give_back(self, ids: Sequence[DeliveryId]) -> None:
        self.execute(self.statements.give_back, **self.pairs(ids), me=self.me)

    def trace_of(self, message_id: int, most: int) -> list[TraceEvent]:
        return [trace_event(r) for r in self.query(self.statements.trace_of, id=message_id, most=most)]

    def trace_piece(self, after: tuple[int, int], most: int) -> Sequence[Row]:
        return self.query(self.statements.trace_piece, after_id=after[0], after_seq=after[1], most=most)

    def record(self, events: Sequence[TraceEvent]) -> None:
        if events:
            self.insert("trace", [trace_row(e, self.numbers.next()) for e in events])

    # -- shared between nodes

    def lane_down(self, lane: str, until: float, probe_by: int | None) -> None:
        self.execute(self.statements.lane_down, lane=lane, until=until, probe_by=probe_by)

    def lanes_up(self, lanes: Sequence[str]) -> None:
        self.execute(self.statements.lanes_up, **self.texts(lanes))

    def lanes_down(self, now: float) -> dict[LaneKey, float]:
        return {lane_key(lane): until for lane, until in self.query(self.statements.lanes_down, now=now)}

    def withdraw(self, ids: Sequence[DeliveryId], *, dropped: bool) -> None:
        """Have the nodes forget these that lease them. Before they are removed."""
        self.execute(self.statements.withdraw, dropped=int(dropped), **self.pairs(ids))

    def withdrawals(self) -> list[Withdrawal]:
        """Return what this node is to forget."""
        return [Withdrawal((m, n), bool(d)) for m, n, d in self.query(self.statements.withdrawals, me=self.me)]

    def withdrew(self, noticed: Sequence[DeliveryId], in_flight: Collection[DeliveryId]) -> None:
        """Note what this node has forgotten, and what of it is being sent."""
        st = self.statements
        self.execute(st.withdrawn_over, me=self.me)
        if in_flight:
            self.execute(st.withdrawn_in_flight, me=self.me, **self.pairs(list(in_flight)))
        self.execute(st.withdrew, me=self.me, **self.pairs(noticed))

    def not_withdrawn(self, ids: Sequence[DeliveryId]) -> tuple[set[DeliveryId], set[DeliveryId]]:
        """Return which of these a node has not taken notice of yet, and which one was sending when it did."""
        rows = self.query(self.statements.not_withdrawn, **self.pairs(ids))
        return {(m, n) for m, n, flag in rows if not flag}, {(m, n) for m, n, flag in rows if flag}

    def take_once(self, key: str) -> bool:
        """Take a key where no node has it. What is past its time goes first: nobody else prunes what nodes share."""
        st, now = self.statements, self.clock()
        self.execute(st.dedupe_prune, before=now - self.options.dedupe_days * 86400, most=_PRUNED_KEYS)
        return bool(self._take_all([(key, 0)]))

    def hold_singleton(self, name: str) -> bool:
        now = self.now()
        rows = self.query(self.statements.hold, name=name, me=self.holder, until=now + self.options.lease_s, now=now)
        return bool(rows)

    def let_go(self) -> None:
        """Give up every singleton that this node holds."""
        self.execute(self.statements.let_go, me=self.holder)

    # -- figures and pruning

    def stats(self) -> dict[str, float]:
        figures: dict[str, float] = {"queued": 0, "held": 0, "parked": 0, "moving": 0, "leased": 0}
        for state, count, leased in self.query(self.statements.count_states):
            figures[state] = count
            figures["leased"] += leased
        oldest = self.query(self.statements.oldest)
        if oldest:
            figures["oldest_arrived_at"] = oldest[0][0]
        figures["kept"] = max(0, self._kept()[0])
        figures.update(self.sizes())
        return figures

    def prune(self, bite: int) -> bool:
        """Remove one bite of what is past its time; returns whether there may be more."""
        st = self.statements
        now = self.clock()
        before = now - self.options.trace_days * 86400
        before_id = max(0, int(before * 1000) - EPOCH_MS) << 22
        removed = self.execute(st.trace_prune, before=before, before_id=before_id, most=bite)
        removed += self.execute(st.dedupe_prune, before=now - self.options.dedupe_days * 86400, most=bite)
        self.execute(st.lanes_prune, before=now - 86400)
        return removed >= bite or self._prune_kept(bite)

    def _prune_kept(self, bite: int) -> bool:
        count, size = self._kept()
        if not count:
            return False
        before = self.clock() - self.options.keep_delivered_s
        over = size - self.options.keep_delivered_bytes
        leaving: list[int] = []
        for id, octets, kept_at in self.query(self.statements.kept_oldest, most=bite):
            if over <= 0 and kept_at >= before:
                break
            leaving.append(id)
            over -= octets
            self._count_kept(-1, -octets)
        if leaving:
            refs = [r[1] for r in self.query(self.statements.kept_leave, **self.ids(leaving)) if r[1] is not None]
            if refs:
                self.forget_blobs(refs)
        return len(leaving) == bite

    def _kept(self) -> tuple[int, int]:
        if self._kept_count < 0:
            self._kept_count, self._kept_bytes = self.query(self.statements.kept_size)[0]
        return self._kept_count, self._kept_bytes

    def _count_kept(self, count: int, size: int) -> None:
        if self._kept_count >= 0:
            self._kept_count += count
            self._kept_bytes += size

    def undo_doubtful(self, *, forget: bool) -> None:
        """Remove messages whose commit has failed in a way that may have left them in: their peers were told to
        try again, and their contents may be gone. `forget` where no such commit can still be under way. Begins its
        own transaction."""
        if not self.doubtful:
            return
        found, now = self.doubtful, self.clock()
        with self.connection.begin():
            self.execute(self.statements.undo, **self.ids(found))
            there = [row[0] for row in self.query(self.statements.messages, **self.ids(found))]
            self.leave(there, keep=False)
            why = "its commit was in doubt, and its peer was told to try again"
            self.record([TraceEvent(id, now, "dropped", None, {"why": why}) for id in there])
        if forget:
            self.doubtful = []

    def recount(self) -> None:
        """Forget running counts, after a transaction that was rolled back."""
        self._kept_count = self._kept_bytes = -1


def json_pairs(ids: Sequence[DeliveryId]) -> str:
    return dump([[m, n] for m, n in ids])
