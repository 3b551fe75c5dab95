"""The spool on SQLite: one file per worker, held by exactly one connection.

Files in the spool's folder (mode 0700):
    worker-N.db     messages, deliveries, trace of worker N; WAL, synchronous=FULL
    worker-N.lock   locked (flock) as long as worker N runs, so that a dead worker's file is known at once
    content/        content files
    shared.db       what the workers share; see `shared.py`

SQLite before 3.51.3 can damage a WAL file that two connections share when one of them resets it. So a worker's
file has one connection in all, which also writes the log back: `locking_mode=EXCLUSIVE` is set before WAL and
keeps everybody else out, and there is no shared-memory file at all.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError

from gateway.spool import sqlite_fresh, sqlite_group, sqlite_rows
from gateway.spool.api import DeliveryId, SpoolError, SpoolUnusable
from gateway.spool.content import FULL_ERRNOS, ContentFile, ContentFolder, Sink
from gateway.spool.copying import copy_database, copy_durably
from gateway.spool.folder import make_folder, take_worker_lock
from gateway.spool.jobs import Job, Packed, Settle, Work
from gateway.spool.migrations import check_or_create
from gateway.spool.options import SpoolOptions
from gateway.spool.rows import DELIVERY_COLUMNS, MESSAGE_COLUMNS, TRACE_COLUMNS, Row
from gateway.spool.statements import Prepared, insert_rows
from gateway.spool.store import Aftermath, Store, json_pairs
from gateway.sqlite_engine import open_engine
from gateway.status import SPOOL_DOWN, SPOOL_FULL

# Row values, RETURNING, UPDATE FROM and the ->> operator.
_OLDEST_SQLITE: Final = (3, 38, 0)

# Measured: for small messages the same as 4 KiB pages, for those of 100 KiB a third less CPU.
PAGE_BYTES: Final = 16384
_CACHE_KIB: Final = 32 * 1024
_PRUNE_EVERY_S: Final = 10.0
_PRUNE_BITE: Final = 500
_TIDY_EVERY_S: Final = 3600.0

# The most rows of one insert; for each number up to it a statement is kept ready.
_BLOCK: Final = 40
_SEVERAL: Final = 40
"""A group of more jobs costs less as one statement a table, for all that each is a step of its own, or a kind."""

_COLUMNS: Final = {"messages": MESSAGE_COLUMNS, "deliveries": DELIVERY_COLUMNS, "trace": TRACE_COLUMNS}
# A parameter that is no number and no text is asked for two attributes that neither None nor bytes has, and the fault
# of each is written out and thrown away, unless there is an adapter: these give back what they are given.
sqlite3.register_adapter(type(None), dict[None, None]().get)
sqlite3.register_adapter(bytes, bytes)

_INSERTS: Final = {
    table: [insert_rows(table, columns, count) for count in range(_BLOCK + 1)] for table, columns in _COLUMNS.items()
}

_IOERR_WRITES: Final = frozenset({sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_TRUNCATE})


def worker_pragmas(options: SpoolOptions) -> list[str]:
    """Return how a worker's file is opened; the order matters."""
    return [
        "locking_mode=EXCLUSIVE",  # before WAL, or a shared-memory file is made and others can join
        "journal_mode=WAL",
        "synchronous=FULL",
        f"wal_autocheckpoint={options.wal_pages}",
        f"journal_size_limit={options.wal_pages * PAGE_BYTES}",
        f"cache_size=-{_CACHE_KIB}",
        "temp_store=MEMORY",
        # Debian's SQLite overwrites what it deletes: twice the writing for rows that live for a second.
        "secure_delete=OFF",
        "foreign_keys=OFF",
    ]


class SqliteStore(Store):
    """One worker's file."""

    dialect = "sqlite"

    def __init__(self, folder: Path, worker: int, options: SpoolOptions, clock: Callable[[], float]) -> None:
        super().__init__(options, clock)
        self.folder = folder
        self.worker = worker
        self.path = folder / f"worker-{worker}.db"
        self.content = ContentFolder(folder / "content", "", options.min_free_bytes)
        self._engine: Engine | None = None
        self._raw: sqlite3.Connection | None = None
        self._lock = -1
        self._durable = True
        self._failed: list[int] = []
        self.may_have_files = True
        """A row may name a content file, which is to be removed when the row is."""
        self._next_prune = 0.0
        self._next_tidy = 0.0
        self._gathered = sqlite_rows.gathered(self.statements)

    @property
    def holder(self) -> str:
        # The lock file lets one process be worker N, so after a restart its old leases are its own.
        return f"worker-{self.worker}"

    @property
    def number(self) -> int:
        return self.worker

    @property
    def follower(self) -> str:
        return str(self.worker)

    # -- life

    def connect(self) -> None:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            need = ".".join(map(str, _OLDEST_SQLITE))
            raise SpoolUnusable(f"SQLite {sqlite3.sqlite_version} is too old for the spool: it needs {need} or newer")
        make_folder(self.folder)
        self._lock = take_worker_lock(self.folder, self.worker, self.options.open_timeout_s)
        self._check_room()
        self._open()
        with self.transaction(True):
            self.execute(self.statements.free_all)
            self.content.tag = self._own_tag()
        self._sweep()

    def _open(self) -> None:
        engine = open_engine(
            self.path, self.options.open_timeout_s, worker_pragmas(self.options), new_page_bytes=PAGE_BYTES
        )
        try:
            connection = engine.connect()
        except DBAPIError as error:
            raise self._unusable(error.orig) from error
        self._engine = engine
        self.connection = connection
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        self._raw = raw
        self._durable = True
        mode = raw.execute("PRAGMA journal_mode").fetchone()[0]
        if mode != "wal":
            raise SpoolUnusable(f"the spool {self.path} cannot use a write-ahead log (journal mode {mode})")
        try:
            check_or_create(connection, f"the spool {self.path}")
            sqlite_group.prepare(raw)
            sqlite_fresh.prepare(raw)
            self.undo_doubtful(forget=True)
        except DBAPIError as error:
            raise self._unusable(error.orig) from error
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: BaseException | None) -> Exception:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return SpoolUnusable(f"the spool {self.path} is held by another process that opened its database file")
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return SpoolUnusable(
                f"the spool {self.path} is damaged ({error}): keep the file and run `gatepost db restore` from a backup"
            )
        if code == sqlite3.SQLITE_FULL:
            return SpoolError(SPOOL_FULL.but(cause=str(error)))
        return SpoolUnusable(f"the spool {self.path} cannot be opened: {error}")

    def _own_tag(self) -> str:
        """Return the name of this file's folder of contents: no other file's, so it may sweep there."""
        run = self.connection.exec_driver_sql
        row = run("SELECT value FROM meta WHERE key = 'tag'").fetchone()
        if row is not None:
            return str(row[0])
        tag = f"w{self.worker}-{secrets.token_hex(4)}"
        run("INSERT INTO meta (key, value) VALUES ('tag', ?)", (tag,))
        return tag

    def _sweep(self) -> None:
        """Remove content files without a row: we hold the lock, so nobody is writing any."""
        with self.transaction(False):
            self.aftermath.unlink += [ref for ref, _ in self.content.walk() if not self._named(ref)]

    def _named(self, ref: str) -> bool:
        run = self.connection.exec_driver_sql
        return any(
            run(f"SELECT 1 FROM {table} WHERE content_ref = ?", (ref,)).fetchone() for table in ("messages", "kept")
        )

    def close(self) -> None:
        self._close_database()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _close_database(self) -> None:
        engine, self._engine, self._raw = self._engine, None, None
        if engine is not None:
            with suppress(Exception):
                self.connection.close()
            engine.dispose()

    # -- transactions

    @contextmanager
    def transaction(self, durable: bool, ids: Sequence[int] = (), reports: Sequence[int] = ()) -> Iterator[None]:
        if self._raw is None:
            self._open()
        raw = self._raw
        assert raw is not None
        self._set_durable(raw, durable)
        self.aftermath = Aftermath()
        try:
            with self.connection.begin():
                yield
        except BaseException:
            self.recount()
            self._failed = list(ids)
            raise
        self.content.remove(self.aftermath.unlink)
        for then in self.aftermath.then:
            then()

    def _set_durable(self, raw: sqlite3.Connection, durable: bool) -> None:
        if durable is not self._durable:
            # Leases need no fsync: after a crash they are all free anyway, and the next durable commit takes
            # what is in the log before it along.
            raw.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable

    def commit(self, group: Sequence[Job], durable: bool, ids: Sequence[int], reports: Sequence[int]) -> list[object]:
        write: Callable[[sqlite3.Connection], None] | None = None
        packed: Sequence[Packed] = ()
        taken: list[Row] = []
        done: list[Row] = []
        takes = False
        results: list[object] = [None] * len(group)
        if all(type(job) is Settle for job in group) and self.is_plain(group):
            packed, taken, done, results = self.plainly(group)
            write = partial(sqlite_group.finish, done=done, me=self.me)
        elif len(group) == 1 and isinstance(group[0], Work) and group[0].bare:
            return [self._barely(group[0])]
        elif len(group) > _SEVERAL:
            fresh = sqlite_fresh.alone(group, self.clock())
            if fresh is not None:
                packed, names = fresh
                takes = any(name is not None for name, _ in names)
                write = partial(sqlite_fresh.insert, packed=packed, names=names)
        elif self.is_plain(group):
            packed, taken, done, results = self.plainly(group)
            takes = bool(taken)
            if sqlite_group.count(packed, taken, done) <= sqlite_group.MOST_ROWS:
                write = partial(sqlite_group.commit, packed=packed, taken=taken, done=done, me=self.me)
        if write is None:
            return super().commit(group, durable, ids, reports)
        if self._raw is None:
            self._open()
        raw = self._raw
        assert raw is not None
        self._set_durable(raw, durable)
        self.aftermath = aftermath = Aftermath()
        try:
            write(raw)
        except sqlite3.IntegrityError:
            if not takes:
                raise
            # Most likely one of the hand-overs had been taken, as after a crash.
            return super().commit(group, durable, ids, reports)
        except BaseException:
            self.recount()
            self._failed = list(ids)
            raise
        aftermath.accepted = len(packed)
        aftermath.settled = len(done)
        return results

    def _barely(self, work: Work[Any]) -> object:
        """Do what needs no transaction around it: nobody else writes here."""
        if self._raw is None:
            self._open()
        self._failed = []  # a fault here leaves no accept in doubt
        self.aftermath = Aftermath()
        return work.run(self)

    def fault(self, error: Exception) -> Exception | None:
        self.connection.rollback()
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(error, SpoolError | SpoolUnusable):
            return SpoolError(SPOOL_DOWN.but(cause=str(error))) if isinstance(error, SpoolUnusable) else error
        if isinstance(cause, OSError) and cause.errno in FULL_ERRNOS:
            return SpoolError(SPOOL_FULL.but(cause=str(cause)))
        if not isinstance(cause, sqlite3.Error):
            return None
        code = getattr(cause, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_FULL or code in _IOERR_WRITES:
            self.low = True
            return SpoolError(SPOOL_FULL.but(cause=str(cause)))
        if code & 0xFF in (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG):
            return None
        if isinstance(cause, sqlite3.OperationalError | sqlite3.DatabaseError) and code & 0xFF in (
            sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
            sqlite3.SQLITE_READONLY, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM,
        ):  # fmt: skip
            # After a failed fsync nobody knows what is on the disk: open anew, and let the log tell.
            self._close_database()
            self.doubtful += self._failed
            return SpoolError(SPOOL_DOWN.but(cause=str(cause)))
        return None

    # -- how things travel

    def run(self, sql: str, arguments: Sequence[Any]) -> Any:
        assert self._raw is not None
        return self._raw.execute(sql, arguments)

    def query(self, statement: Prepared, **values: Any) -> Sequence[Row]:
        if statement.sql in self._gathered:
            return self.both((statement, values))[0]
        return super().query(statement, **values)

    def both(self, *asked: tuple[Prepared, Mapping[str, Any]]) -> Sequence[Sequence[Row]]:
        return self._both(*asked)()

    def _both(self, *asked: tuple[Prepared, Mapping[str, Any]]) -> Callable[[], Sequence[Sequence[Row]]]:
        """Read now what is made of by whoever asks for it."""
        forms = [self._gathered[statement.sql] for statement, _ in asked]
        arguments = [value for statement, values in asked for value in statement.args(values)]
        return partial(sqlite_rows.rows, forms, self.run(sqlite_rows.together(*forms), arguments).fetchone())

    # Nobody else comes between a look and what is done after it, so that what was found need not come row by row from
    # the statement that does it.

    def end(self, ids: Sequence[DeliveryId]) -> Sequence[Row]:
        pairs = self.pairs(ids)
        ended = self.query(self.statements.ended, **pairs, me=self.me)
        self.execute(self.statements.end, **pairs, me=self.me)
        return ended

    def go(self, message_ids: Sequence[int]) -> Sequence[Row]:
        ids = self.ids(message_ids)
        left = self.query(self.statements.left, **ids) if self.may_have_files else ()
        self.execute(self.statements.go, **ids)
        return left

    def lease(
        self, ids: Sequence[DeliveryId], message_ids: Sequence[int]
    ) -> tuple[int, Callable[[], Sequence[Sequence[Row]]]]:
        st, pairs = self.statements, self.pairs(ids)
        leased = self._both((st.leasable, pairs), (st.messages, self.ids(message_ids)))
        return self.execute(st.take, **pairs, me=self.me), leased

    def _settle(self, jobs: Sequence[Settle], events: list[Row]) -> list[Packed]:
        if not self.is_plain(jobs):
            return super()._settle(jobs, events)
        done = [row for job in jobs for row in job.done]
        if done:
            assert self._raw is not None
            sqlite_group.finish(self._raw, done, self.me)
            self.aftermath.settled = len(done)
        return []

    def bring(self, packed: Sequence[Packed], events: list[Row]) -> None:
        if len(packed) > _SEVERAL and sqlite_fresh.are_whole(packed):
            assert self._raw is not None
            sqlite_fresh.insert(self._raw, packed)
        else:
            super().bring(packed, events)

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        run = self.run
        inserts = _INSERTS[table]
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            run(inserts[len(block)], block[0] if len(block) == 1 else tuple(chain.from_iterable(block)))

    def pairs(self, ids: Sequence[DeliveryId]) -> dict[str, Any]:
        return {"pairs": json_pairs(ids)}

    def texts(self, texts: Sequence[str]) -> dict[str, Any]:
        return {"texts": json.dumps(list(texts))}

    def hand_overs(self, named: Sequence[tuple[str, int]]) -> dict[str, Any]:
        return {"taken": json.dumps(named)}

    def ids(self, ids: Sequence[int]) -> dict[str, Any]:
        return {"ids": f"[{','.join(map(str, ids))}]"}

    def senders_parameter(self, senders: Sequence[str]) -> dict[str, Any]:
        return {"senders": json.dumps(list(senders))}

    # -- content

    def blob(self, ref: str, size: int) -> ContentFile:
        return self.content.file(ref, size)

    def own_blobs(self, refs: Sequence[str]) -> None:
        self.may_have_files = True  # the row that names a file owns it

    def sink(self) -> Sink:
        return self.content.sink()

    def content_size(self, ref: str) -> int | None:
        try:
            return os.stat(self.content.path(ref)).st_size
        except OSError:
            return None

    def orphans(self, older_than_s: float) -> list[tuple[str, int]]:
        horizon = time.time() - older_than_s
        found = []
        for ref, size in self.content.walk():
            with suppress(FileNotFoundError):
                if os.stat(self.content.path(ref)).st_mtime < horizon and not self._named(ref):
                    found.append((ref, size))
        return found

    def remove_orphan(self, ref: str) -> None:
        self.content.remove((ref,))

    def integrity(self) -> list[str]:
        lines = [row[0] for row in self.connection.exec_driver_sql("PRAGMA quick_check(100)").fetchall()]
        return [] if lines == ["ok"] else lines

    def backup(self, dest: Path) -> None:
        if self._raw is None:
            self._open()
        assert self._raw is not None
        with self.content.undisturbed():
            refs = copy_database(self._raw, dest / self.path.name, self.between)
            for ref in refs:
                copy_durably(Path(self.content.path(ref)), dest / "content" / ref)
                self.between()

    def forget_blobs(self, refs: Sequence[str]) -> None:
        self.aftermath.unlink.extend(refs)

    # -- regularly

    def _check_room(self) -> None:
        room = os.statvfs(self.folder)
        free = room.f_bavail * room.f_frsize
        if free < self.options.min_free_bytes and self._raw is not None:
            # The file never shrinks: pages that messages have left are room too, or one flood would shut the door
            # for good.
            free += self._pragma("freelist_count") * self._pragma("page_size")
        self.low = free < self.options.min_free_bytes

    def _pragma(self, name: str) -> int:
        assert self._raw is not None
        value: int = self._raw.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    def tick(self) -> None:
        if self.may_have_files and self._raw is not None:
            found = self._raw.execute("SELECT 1 FROM messages WHERE content_ref IS NOT NULL LIMIT 1").fetchone()
            self.may_have_files = found is not None
        self._check_room()
        now = time.monotonic()
        if now >= self._next_prune:
            with self.transaction(False):
                more = self.prune(_PRUNE_BITE)
            self._next_prune = now if more else now + _PRUNE_EVERY_S
        if now >= self._next_tidy:
            self.content.tidy()
            self._next_tidy = now + _TIDY_EVERY_S

    def sizes(self) -> dict[str, float]:
        room = os.statvfs(self.folder)
        size = sum(
            path.stat().st_size for path in (self.path, self.path.with_name(self.path.name + "-wal")) if path.exists()
        )
        return {"free_bytes": room.f_bavail * room.f_frsize, "database_bytes": size}
