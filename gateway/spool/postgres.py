"""The spool on PostgreSQL: many nodes, on many machines, share one database.

Each node has a row with a heartbeat by the database's clock. Its number is the fencing token: every transaction
that stores or settles locks that row against removal first, so once another node has taken it away, nothing of
this one is committed any more. A node that cannot beat stops relying on its leases well before they end, tells
the dispatcher, and joins anew under another number when the database is back.

The writer's connection is remade when it is lost; until then every call fails within `_CONNECT_S`, and at once
while a first failure is fresh. Contents over the inline limit go through connections of their own (`chunks.py`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from gateway.message import Blob
from gateway.spool.api import DeliveryId, LeaseLost, SpoolError, SpoolUnusable
from gateway.spool.chunks import ChunkBlob, ChunkDatabase
from gateway.spool.content import Sink
from gateway.spool.dump import dump_database
from gateway.spool.jobs import Accept, Job, Packed
from gateway.spool.migrations import check_or_create, upgrade_and_say
from gateway.spool.options import SpoolOptions
from gateway.spool.postgres_statements import FENCED_STATE, NOW, WIRE, node_statements
from gateway.spool.postgres_wire import Wire, array_writer, number
from gateway.spool.rows import Row
from gateway.spool.statements import ARRAYS, insert_arrays
from gateway.spool.store import HOST, Aftermath, Fenced, Store
from gateway.status import SPOOL_DOWN, SPOOL_FULL, Status

_CONNECT_S: Final = 3
_RETRY_S: Final = 1.0
_STATEMENT_MS: Final = 15_000
_LOCK_MS: Final = 5_000
_RELY: Final = 0.6
"""The share of a lease after which a node without a heartbeat no longer relies on it."""
_DEADLOCKS: Final = 2
"""So often a group is done again after the database has ended it."""
_BEATS: Final = 4
"""Heartbeats in the time of one lease."""
_PRUNE_EVERY_S: Final = 10.0
_PRUNE_BITE: Final = 1000

_INSERTS: Final = {table: insert_arrays(table) for table in ("messages", "deliveries", "trace")}
_FLOATS: Final = {"messages": (1,), "deliveries": (5, 6), "trace": (2,)}

_WRITERS: Final = {table: [array_writer(kind) for kind in kinds.values()] for table, kinds in ARRAYS.items()}
_BIGINTS, _FLOAT8S, _INTEGERS, _TEXTS = map(array_writer, ("bigint", "float8", "integer", "text"))

_FULL_STATES: Final = frozenset({"53100"})
_ITEM_CLASSES: Final = frozenset({"22", "23"})


def engine_url(url: str) -> Any:
    """Return a `postgresql://` URL for the driver we use. Raises: SpoolUnusable."""
    try:
        return make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+psycopg")
    except Exception as error:
        raise SpoolUnusable(f"the spool's URL cannot be read: {error}") from error


def connect_arguments(application: str) -> dict[str, Any]:
    """Return how the database is connected to, so that no wait is without a bound."""
    return {
        "connect_timeout": _CONNECT_S,
        "application_name": application,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": _STATEMENT_MS,
        "options": f"-c statement_timeout={_STATEMENT_MS} -c lock_timeout={_LOCK_MS} "
        # The tables are empty one minute and long the next, and the planner knows them as they were; every statement
        # here has its index, so it is told to use it.
        "-c jit=off -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c enable_sort=off "
        f"-c idle_in_transaction_session_timeout={2 * _STATEMENT_MS} -c client_encoding=UTF8",
    }


class PostgresStore(Store):
    """One node's part in a shared database."""

    dialect = "postgresql"

    def __init__(self, url: str, worker: int, options: SpoolOptions, clock: Callable[[], float]) -> None:
        super().__init__(options, clock)
        self.worker = worker
        self.me = 0
        self._url = engine_url(url)
        self._name = f"the spool {self._url.render_as_string(hide_password=True)}"
        self._engine: Engine | None = None
        self._raw: psycopg.Connection[Any] | None = None
        self._wire: Wire | None = None
        self._retry_at = 0.0
        self._beat_at = 0.0
        self._checked = False
        self._doubt_until = 0.0
        self._next_beat = self._next_reap = self._next_prune = 0.0
        self.chunks = ChunkDatabase(
            self._url.render_as_string(hide_password=False), connect_arguments("gatepost content")
        )
        self._node = node_statements()

    @property
    def number(self) -> int:
        return self.me % 1024

    @property
    def follower(self) -> str:
        return str(self.me)

    # -- life

    def connect(self) -> None:
        until = time.monotonic() + self.options.open_timeout_s
        while True:
            try:
                self._open()
                return
            except SpoolError as error:
                if time.monotonic() >= until:
                    raise SpoolError(SPOOL_DOWN.but(cause=f"{self._name}: {error.status.cause}")) from error
                time.sleep(0.2)
                self._retry_at = 0.0

    def _open(self) -> None:
        """Connect, and join where this node is not known any more. Raises: SpoolError, SpoolUnusable."""
        if time.monotonic() < self._retry_at:
            raise SpoolError(SPOOL_DOWN.but(cause="the database does not answer"))
        engine = create_engine(
            self._url, poolclass=NullPool, paramstyle="format",
            connect_args=connect_arguments(f"gatepost worker {self.worker}"),
        )  # fmt: skip
        try:
            connection = engine.connect()
            self._check_database(connection)
        except DBAPIError as error:
            engine.dispose()
            self._retry_at = time.monotonic() + _RETRY_S
            if _is_denied(error):
                raise SpoolUnusable(f"{self._name} refuses us: {error.orig}") from error
            raise SpoolError(SPOOL_DOWN.but(cause=str(error.orig))) from error
        raw = connection.connection.driver_connection
        assert isinstance(raw, psycopg.Connection)
        self._engine, self.connection, self._raw = engine, connection, raw
        self._wire = Wire(raw, WIRE)
        if self.me == 0 or self._is_stale():
            self.rejoin()
        self.undo_doubtful(forget=False)

    def _check_database(self, connection: Connection) -> None:
        check_or_create(connection, self._name)
        with connection.begin():
            if connection.execute(text("SHOW fsync")).scalar() != "on":
                raise SpoolUnusable(f"{self._name} runs with fsync off: it would lose accepted mail; turn it on")

    def rejoin(self) -> None:
        if self._raw is None:
            self.me = 0
            self._open()
            return
        p = self._node
        with self.connection.begin():
            gone = [self.me] if self.me else []
            for id, pid in self.query(p.namesakes, host=HOST, worker=self.worker):
                if id != self.me and (pid == os.getpid() or not _is_running(pid)):
                    gone.append(id)
            if gone:
                self.execute(p.remove, ids=gone)
            self.me = self.query(p.join, host=HOST, worker=self.worker, pid=os.getpid())[0][0]
            self._free_dead()
        self.chunks.node = self.me
        self._beat_at = time.monotonic()

    def _free_dead(self) -> None:
        p = self._node
        self.query(p.reaper)
        self.execute(p.free_dead)
        self.execute(p.let_go_dead)
        self.execute(p.withdrawn_dead)
        orphans = [row[0] for row in self.query(p.orphans)]
        if orphans:
            self.forget_blobs([str(id) for id in orphans])

    def _is_stale(self) -> bool:
        return time.monotonic() - self._beat_at > self.options.lease_s * _RELY

    def close(self) -> None:
        if self._raw is not None:
            with suppress(DBAPIError, psycopg.Error), self.connection.begin():
                self.execute(self._node.remove, ids=[self.me])
                self._free_dead()
        self._disconnect()
        self.chunks.close()

    def _disconnect(self) -> None:
        engine, self._engine, self._raw, self._wire = self._engine, None, None, None
        if engine is not None:
            with suppress(Exception):
                self.connection.invalidate()
            with suppress(Exception):
                self.connection.close()
            engine.dispose()

    # -- transactions

    @contextmanager
    def transaction(self, durable: bool, ids: Sequence[int] = (), reports: Sequence[int] = ()) -> Iterator[None]:
        if self._raw is None:
            self._open()
        if self._is_stale():
            raise Fenced
        self.aftermath = Aftermath()
        self._checked = False
        transaction = self.connection.begin()
        try:
            yield
        except BaseException:
            self.recount()
            with suppress(DBAPIError, psycopg.Error):
                transaction.rollback()
            raise
        try:
            transaction.commit()
        except DBAPIError as error:
            self.recount()
            if (ids or reports) and (self._raw is None or self._raw.closed) and self._was_committed(ids, reports):
                return
            raise error

    def _was_committed(self, ids: Sequence[int], reports: Sequence[int]) -> bool:
        """Look up a commit whose answer was lost. What is not found is in doubt, since the server may still be at
        it: its peers are told to try again, so it is removed when the database is back, and once more later."""
        self._disconnect()
        self._retry_at = 0.0
        try:
            self._open()
            with self.connection.begin():
                if self.query(self._node.known, ids=[*ids, *reports]):
                    return True
        except (DBAPIError, psycopg.Error, SpoolError, SpoolUnusable):
            pass
        self.doubtful.extend(ids)
        self._doubt_until = time.monotonic() + 2 * _STATEMENT_MS / 1000
        return False

    def fault(self, error: Exception) -> Exception | None:
        if isinstance(error, SpoolError | LeaseLost):
            return error
        if isinstance(error, SpoolUnusable):
            return SpoolError(SPOOL_DOWN.but(cause=str(error)))
        if isinstance(error, Fenced):
            return LeaseLost("the node was fenced")
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, psycopg.Error):
            return None
        state = cause.sqlstate or ""
        if state in _FULL_STATES:
            return SpoolError(SPOOL_FULL.but(cause=str(cause)))
        if self._raw is None or self._raw.closed or not state:
            self._disconnect()
            return SpoolError(SPOOL_DOWN.but(cause=str(cause)))
        if state[:2] in _ITEM_CLASSES:
            return None
        if state[:2] in ("08", "57", "25", "58"):  # gone, shutting down, became a stand-by, its disk fails
            self._disconnect()
        return SpoolError(SPOOL_DOWN.but(cause=str(cause)))

    def _check_alive(self) -> None:
        if not self._checked:
            if not self.query(self._node.alive, me=self.me):
                raise Fenced
            self._checked = True

    # -- the hot path

    def run(self, sql: str, arguments: Sequence[Any]) -> Any:
        if self._raw is None:
            raise SpoolError(SPOOL_DOWN.but(cause="the database does not answer"))
        return self._raw.execute(sql, arguments)

    def commit(self, group: Sequence[Job], durable: bool, ids: Sequence[int], reports: Sequence[int]) -> list[object]:
        # Of nodes that take the same rows in different orders, an operator's at one and outcomes at another, the
        # database ends one, whole: it does its work again.
        for _ in range(_DEADLOCKS):
            try:
                return self._commit(group, durable, ids, reports)
            except (DBAPIError, psycopg.Error) as error:
                cause = error.orig if isinstance(error, DBAPIError) else error
                if not isinstance(cause, psycopg.errors.DeadlockDetected):
                    raise
        return self._commit(group, durable, ids, reports)

    def _commit(self, group: Sequence[Job], durable: bool, ids: Sequence[int], reports: Sequence[int]) -> list[object]:
        if not self.is_plain(group):
            return super().commit(group, durable, ids, reports)
        if self._raw is None:
            self._open()
        if self._is_stale():
            raise Fenced
        assert self._wire is not None
        self.aftermath = aftermath = Aftermath()
        packed, taken, done, results = self.plainly(group)
        try:
            answers = self._wire.run(self._calls(packed, taken, done))
        except psycopg.errors.UniqueViolation:
            if not taken:
                raise
            # Most likely one of the hand-overs had been taken, as after a crash.
            self.recount()
            return super().commit(group, durable, ids, reports)
        except psycopg.Error as error:
            self.recount()
            if error.sqlstate == FENCED_STATE:
                raise Fenced from error
            if ids and (self._raw is None or self._raw.closed) and self._was_committed(ids, reports):
                return results
            raise
        aftermath.accepted = len(packed)
        aftermath.settled = len(answers[2]) if done else 0
        return results

    def _calls(
        self, packed: Sequence[Packed], taken: Sequence[Row], done: Sequence[Row]
    ) -> list[tuple[str, list[bytes]]]:
        me = number(self.me)
        calls: list[tuple[str, list[bytes]]] = [("alive", [me])]
        if done:
            message_id, seq, at, n, kind, detail = zip(*done, strict=True)
            ids = _BIGINTS(message_id)
            settled = [ids, _BIGINTS(seq), _FLOAT8S(at), _INTEGERS(n), _TEXTS(kind), _TEXTS(detail)]
            calls += [("lock_shared", [ids]), ("done", [me, *settled]), ("leave", [ids])]
        if packed:
            calls.append(("messages", _columns("messages", [p.message for p in packed])))
            rows = [row for p in packed for row in p.deliveries]
            calls.append(("deliveries", [*_columns("deliveries", rows), me]))
            calls.append(("trace", _columns("trace", [p.event for p in packed])))
        if taken:
            calls.append(("dedupe", _columns("dedupe", taken)))
        return calls

    def apply(self, group: Sequence[Job]) -> list[object]:
        if not all(isinstance(job, Accept) and job.dedupe_key is None for job in group):
            self._check_alive()
        return super().apply(group)

    def put(self, packed: Sequence[Packed], events: list[Row]) -> None:
        refs = [p.content_ref for p in packed if p.content_ref is not None]
        if refs:
            self.own_blobs(refs)
        rows: dict[str, Sequence[Row]] = {
            "messages": [p.message for p in packed],
            "deliveries": [row for p in packed for row in p.deliveries],
            "trace": [*events, *(p.event for p in packed)],
        }
        self._check_alive()
        for table, some in rows.items():
            if some:
                self.insert(table, some)

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        assert self._raw is not None
        columns: list[Any] = [list(column) for column in zip(*rows, strict=True)]
        for at in _FLOATS[table]:
            columns[at] = list(map(float, columns[at]))
        if table == "deliveries":
            columns.insert(0, self.me)
        self._raw.execute(_INSERTS[table], columns)

    def lock_shared(self, message_ids: Sequence[int]) -> None:
        self.query(self._node.lock_shared, ids=list(message_ids))

    def pairs(self, ids: Sequence[DeliveryId]) -> dict[str, Any]:
        return {"pairs": [i[0] for i in ids], "pairs_n": [i[1] for i in ids]}

    def hand_overs(self, named: Sequence[tuple[str, int]]) -> dict[str, Any]:
        return {"taken": [key for key, _ in named], "taken_ids": [id for _, id in named]}

    def ids(self, ids: Sequence[int]) -> dict[str, Any]:
        return {"ids": list(ids)}

    def texts(self, texts: Sequence[str]) -> dict[str, Any]:
        return {"texts": list(texts)}

    def senders_parameter(self, senders: Sequence[str]) -> dict[str, Any]:
        return {"senders": list(senders)}

    # -- content

    def sink(self) -> Sink:
        return self.chunks.sink()

    def content_status(self, error: BaseException) -> Status:
        if isinstance(error, psycopg.Error) and error.sqlstate in _FULL_STATES:
            return SPOOL_FULL.but(cause=str(error))
        return SPOOL_DOWN.but(cause=str(error) or type(error).__name__)

    def blob(self, ref: str, size: int) -> Blob:
        return ChunkBlob(self.chunks, int(ref), size, owned=True)

    def own_blobs(self, refs: Sequence[str]) -> None:
        if self.execute(self._node.own_blobs, ids=[int(r) for r in refs], me=self.me) != len(refs):
            raise SpoolError(SPOOL_DOWN.but(cause="the content was swept away after this node had been fenced"))

    def forget_blobs(self, refs: Sequence[str]) -> None:
        ids = [int(r) for r in refs]
        self.execute(self._node.forget_chunks, ids=ids)
        self.execute(self._node.forget_blobs, ids=ids)

    def content_size(self, ref: str) -> int | None:
        size: int | None = self.query(self._node.chunks_size, id=int(ref))[0][0]
        return size

    def orphans(self, older_than_s: float) -> list[tuple[str, int]]:
        return [(str(id), size) for id, size in self.query(self._node.orphans)]

    def remove_orphan(self, ref: str) -> None:
        self.forget_blobs([ref])

    def backup(self, dest: Path) -> None:
        dump_database(self._conninfo(), dest, self.between)

    def _conninfo(self) -> str:
        return self._url.set(drivername="postgresql").render_as_string(hide_password=False)  # type: ignore[no-any-return]  # SQLAlchemy's URL

    def integrity(self) -> list[str]:
        return []  # the server checks its own pages where it was set up with checksums

    # -- regularly

    def now(self) -> float:
        return float(self.connection.execute(text(f"SELECT {NOW}")).scalar_one())

    def tick(self) -> None:
        if self.me and self._is_stale():
            # Told once, without waiting for the database: another node may be about to take over.
            self.me = 0
            self.fenced()
        now = time.monotonic()
        if self._raw is None:
            self._open()
        if now >= self._next_beat:
            self._next_beat = now + self.options.lease_s / _BEATS
            self._beat()
        if now >= self._next_reap:
            self._next_reap = now + self.options.lease_s / 2
            with self.connection.begin():
                if self.query(self._node.silent, lease=self.options.lease_s):
                    self._free_dead()
        if self.doubtful and now >= self._doubt_until:
            self.undo_doubtful(forget=True)
        if now >= self._next_prune:
            with self.transaction(False):
                more = self.prune(_PRUNE_BITE)
            self._next_prune = now if more else now + _PRUNE_EVERY_S

    def _beat(self) -> None:
        began = time.monotonic()
        with self.connection.begin():
            if self.me and self.execute(self._node.beat, me=self.me) == 1:
                self._beat_at = began
                return
        if self.me:
            self.fenced()
        self.rejoin()

    def sizes(self) -> dict[str, float]:
        return {"database_bytes": self.query(self._node.database_size)[0][0]}


def upgrade_database(url: str) -> list[str]:
    """Bring a database's schema to this release's. Nodes of this and the previous release may run meanwhile."""
    target = engine_url(url)
    engine = create_engine(target, poolclass=NullPool, connect_args={"connect_timeout": _CONNECT_S})
    name = f"the spool {target.render_as_string(hide_password=True)}"
    try:
        with engine.connect() as connection:
            return upgrade_and_say(connection, name)
    except DBAPIError as error:
        raise SpoolUnusable(f"{name} cannot be upgraded: {error.orig}") from error
    finally:
        engine.dispose()


def _columns(table: str, rows: Sequence[Row]) -> list[bytes]:
    return [write(column) for write, column in zip(_WRITERS[table], zip(*rows, strict=True), strict=True)]


def _is_denied(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None) or ""
    words = str(error.orig)
    return state[:2] in ("28", "3D") or "authentication failed" in words or "does not exist" in words


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
