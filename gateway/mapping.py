"""The stored mapping of a running gateway: opened, followed, and given as a directory to the table.

On SQLite it has a file of its own, `mapping.db`, beside the spool's: an import of a million people holds the file for
a while, and the leases in the shared file must not wait for it. Several processes open it, the command line too, so it
keeps no write-ahead log (see `spool/shared.py`). On PostgreSQL it lies in the spool's database.

Promises: everything that waits for the database is done in one thread of its own; a change is seen by every worker
within a second of its commit, whole; where the database is away, the last directory stays in force.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from gateway.spool.api import SpoolUnusable
from gateway.spool.content import sync_folder
from gateway.spool.copying import sync_file
from gateway.spool.folder import make_folder, sqlite_folder
from gateway.spool.nodes import live_nodes
from gateway.spool.shared import SHARED_PRAGMAS
from gateway.sqlite_engine import READING, open_engine
from mappings import followers, migrations, schema, store, token_store
from mappings.address import Address
from mappings.directory import Directory
from mappings.identity import Identity
from mappings.layered import LayeredDirectory
from mappings.reader import MappingReader
from mappings.tokens import TokenBook

T = TypeVar("T")

FILE: Final = "mapping.db"
FOLLOW_S: Final = 0.4
"""How often a worker looks for a change."""
UPKEEP_S: Final = 3600.0
TOKEN_DAYS: Final = 400
"""A number that is neither shown nor written to for so long is given back."""
_TIMEOUT_S: Final = 15.0
_IMPORT_PRAGMAS: Final = ("cache_spill=OFF",)
"""What a long transaction has written stays in memory until its commit, or it would keep readers out from then on."""
_COPY_PRAGMAS: Final = ("journal_mode=DELETE", "synchronous=FULL")
_ROWS: Final = 2000
_TOKEN_OVERLAP_S: Final = 60.0
"""Numbers given so long ago are read again: nodes' clocks differ, and commits come later than the times in them."""


class MappingDatabase:
    """Where the stored mapping lies; made or brought to this release when it is first opened.

    Raises, on its first use: SpoolUnusable.
    """

    def __init__(self, url: str, base: Path) -> None:
        """`url` is the spool's."""
        self._url = url
        self.folder = sqlite_folder(url, base)
        self._engine: Engine | None = None
        self.applied: list[str] = []
        """The revisions that opening it applied."""

    @property
    def url(self) -> str:
        """Return the spool's URL."""
        return self._url

    @property
    def name(self) -> str:
        return "the mapping" if self.folder is None else f"the mapping {self.folder / FILE}"

    def exists(self) -> bool:
        """Tell whether there may be one, without making it."""
        return self.folder is None or (self.folder / FILE).exists()

    @contextmanager
    def connect(self, *, reading: bool = False) -> Iterator[Connection]:
        """Lend a connection in a transaction that is committed at the end of the block.

        With `reading` it writes nothing, and waits for another process's commit alone, not for all that led to it.
        """
        engine = self._open()
        with engine.connect() as connection:
            if reading:
                connection = connection.execution_options(**{READING: True})
            with connection.begin():
                yield connection

    def read(self) -> AbstractContextManager[Connection]:
        """Lend a connection for reading."""
        return self.connect(reading=True)

    def upgrade(self) -> list[str]:
        """Bring it to this release and return the revisions applied. Raises: SpoolUnusable."""
        self._open()
        return self.applied

    def dump(self, to: Path) -> None:
        """Write the mapping of one moment, revisions and all, into a SQLite file, durably.

        Raises: FileExistsError, OSError, SQLAlchemyError.
        """
        if to.exists():
            raise FileExistsError(f"{to} is there already")
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = to.with_name(to.name + ".part")
        part.unlink(missing_ok=True)
        engine = open_engine(part, _TIMEOUT_S, _COPY_PRAGMAS)
        try:
            self._upgrade(engine)
            with engine.connect() as target, target.begin(), self._snapshot() as source:
                _copy_rows(source, target)
        finally:
            engine.dispose()
        sync_file(part)
        part.rename(to)
        sync_folder(str(to.parent))

    def restore(self, source: Path) -> None:
        """Fill an empty mapping from a dump. Raises: SpoolUnusable, SQLAlchemyError."""
        engine = open_engine(source, _TIMEOUT_S, ())
        try:
            with engine.connect() as dump, dump.begin(), self.connect() as target:
                if store.revision(target):
                    raise SpoolUnusable(f"{self.name} is not empty: a backup is restored into an empty one only")
                if migrations.current(dump) != migrations.head():
                    raise SpoolUnusable(
                        f"{source} is of another release: restore it with the one that made it, then upgrade"
                    )
                _copy_rows(dump, target)
        finally:
            engine.dispose()

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        with self._open().connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def _open(self) -> Engine:
        if self._engine is not None:
            return self._engine
        if self.folder is None:
            from gateway.spool.postgres import connect_arguments, engine_url

            engine = create_engine(
                engine_url(self._url), poolclass=NullPool, connect_args=connect_arguments("gatepost mapping")
            )
        else:
            make_folder(self.folder)
            # Several threads use it, each by a connection of its own.
            engine = open_engine(self.folder / FILE, _TIMEOUT_S, (*SHARED_PRAGMAS, *_IMPORT_PRAGMAS), pool=QueuePool)
        try:
            self._upgrade(engine)
        except BaseException:
            engine.dispose()
            raise
        self._engine = engine
        return engine

    def _upgrade(self, engine: Engine) -> None:
        until = time.monotonic() + _TIMEOUT_S
        while True:
            try:
                with engine.connect() as connection, connection.begin():
                    if connection.dialect.name == "postgresql":
                        connection.execute(text("SELECT pg_advisory_xact_lock(1735455078)"))  # one node at a time
                    self.applied = migrations.upgrade(connection)
                return
            except migrations.NewerSchema as newer:
                raise SpoolUnusable(str(newer)) from newer
            except DBAPIError as error:
                # Two workers that start together may both find no tables: the second looks again.
                if time.monotonic() > until or "already exists" not in str(error.orig):
                    raise SpoolUnusable(f"{self.name} cannot be opened: {error.orig}") from error
                time.sleep(0.05)


def _copy_rows(source: Connection, target: Connection) -> None:
    for table in schema.metadata.sorted_tables:
        target.execute(table.delete())
        for rows in source.execution_options(yield_per=_ROWS).execute(table.select()).partitions():
            target.execute(table.insert(), [dict(row._mapping) for row in rows])


def take_over(connection: Connection, people: Sequence[Identity], at: float) -> int:
    """Make the first revision, of what the configured files hold; return its number.

    Raises: StaleMapping where there is one already; MappingError.
    """
    changes = (store.Put(who) for who in people)
    why = "the first start, from the files under `import`"
    return store.apply(connection, changes, who="configuration", why=why, at=at, expected=0)


class FollowedMapping:
    """One worker's view of the stored mapping. Its methods are called in the event loop."""

    def __init__(
        self,
        database: MappingDatabase,
        state_dir: Path,
        secret: bytes,
        clock: Callable[[], float],
        log: Any,
    ) -> None:
        """`secret` makes the numbers of correspondents; `state_dir` keeps the snapshot that workers share."""
        self.database = database
        self._clock = clock
        self._log = log
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="mapping")
        self._reader = MappingReader(database.read, state_dir / "mapping")
        self.tokens = TokenBook(secret)
        self._tokens_until = float("-inf")
        self._next_upkeep = clock() + UPKEEP_S
        self.directory: Directory
        self.head = store.Head(0, "")
        """The revision of `directory`."""
        self.cutting: frozenset[int] = frozenset()
        """The numbers of those who are being cut over at that revision."""

    async def open(self, first: Callable[[], Sequence[Identity]]) -> Directory:
        """Open the mapping and return what it holds; where nothing was ever stored, `first` gives what to begin with.

        Raises: SpoolUnusable, SQLAlchemyError; what `first` raises.
        """

        def begin() -> LayeredDirectory:
            with self.database.connect() as connection:
                is_empty = store.revision(connection) == 0
            if is_empty and (people := first()):
                try:
                    with self.database.connect() as connection:
                        take_over(connection, people, self._clock())
                except store.StaleMapping:
                    pass  # another worker was faster
            return self._reader.open()

        self._take(await self._in_thread(begin))
        await self._in_thread(self._read_tokens)
        return self.directory

    async def close(self) -> None:
        await self._in_thread(self.database.close)
        self._pool.shutdown(wait=False)

    async def follow(self, changed: Callable[[Directory], None]) -> None:
        """Call `changed` with each new state of the mapping, until cancelled."""
        is_away = False
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                directory = await self._in_thread(self._reader.refresh)
                await self._in_thread(self._read_tokens)
                if self._clock() >= self._next_upkeep:
                    await self._in_thread(self._keep_tokens)
            except (SQLAlchemyError, SpoolUnusable, OSError) as fault:
                if not is_away:
                    self._log.warning("mapping_away", error=str(fault), text="what was read before stays in force")
                is_away = True
                continue
            is_away = False
            if directory is not None:
                self._take(directory)
                changed(directory)
                # In another thread: it may take seconds, and changes go on being seen.
                compact = await asyncio.to_thread(self._reader.compact)
                if compact is not None:
                    self.directory = compact
                    changed(compact)

    def _take(self, directory: LayeredDirectory) -> None:
        self.directory, self.head, self.cutting = directory, self._reader.head, directory.cutting

    async def change(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` does with the stored mapping, in one transaction that is committed when this returns.

        The change comes into force by `follow`, here as in all other workers. Raises: SQLAlchemyError, SpoolUnusable,
        and what `work` raises; nothing is changed then.
        """

        def do() -> T:
            with self.database.connect() as connection:
                return work(connection)

        return await self._in_thread(do)

    async def confirm(self, node: str, seen: store.Head) -> None:
        """Say that a node's queue is in accord with a revision; see `gateway.moving`.

        It waits for whoever writes the mapping, and nothing else waits for it. Raises: SQLAlchemyError, SpoolUnusable.
        """

        def do() -> None:
            with self.database.connect() as connection:
                followers.confirm(connection, node, seen)
                followers.forget(connection, {node, *live_nodes(connection, self.database.folder)})

        await asyncio.to_thread(do)

    async def homes_of(self, ids: Iterable[int]) -> set[str | None]:
        """Return the homes of some identities; None is among them where the routes decide, or one is gone.

        Raises: SQLAlchemyError, SpoolUnusable.
        """

        def do() -> set[str | None]:
            with self.database.read() as connection:
                found = [store.get(connection, id) for id in ids]
            return {None if who is None else who.home for who in found}

        return await asyncio.to_thread(do)

    @property
    def is_pending(self) -> bool:
        """Whether a correspondent has got a number that is not stored yet, and must not be shown."""
        return self.tokens.is_pending

    async def store(self) -> bool:
        """Store the numbers that were given and not shown yet; False where one of them is another's by now, so that
        whoever holds a text with it must make it anew. Raises: SQLAlchemyError, SpoolUnusable."""
        given = self.tokens.pending
        if not given:
            return True
        found = await self._in_thread(lambda: self._store_tokens(given))
        for number, address in found:
            self.tokens.learn(number, address)
        return found == list(given)

    def _store_tokens(self, given: Sequence[tuple[int, Address]]) -> list[tuple[int, Address]]:
        with self.database.connect() as connection:
            return token_store.store(connection, given, self._clock())

    def _read_tokens(self) -> None:
        now = self._clock()
        with self.database.read() as connection:
            found = list(token_store.load(connection, self._tokens_until - _TOKEN_OVERLAP_S))
        self._tokens_until = now
        for number, address in found:
            self.tokens.learn(number, address)

    def _keep_tokens(self) -> None:
        """Note which numbers were used, and take back those that nobody used for long."""
        now = self._clock()
        self._next_upkeep = now + UPKEEP_S
        used = self.tokens.take_used()
        with self.database.connect() as connection:
            token_store.touch(connection, used, now)
            for number in token_store.prune(connection, now - TOKEN_DAYS * 86_400):
                self.tokens.forget(number)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
