"""Desk: the stored mapping of one configuration, opened for reading and for changes.

Before the first change the mapping holds what the gateway would begin with: the files under `import`. A change takes
them over first, as the gateway does at its first start, so that none is lost by whoever comes first.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from sqlalchemy import create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from gateway.config import Config, ConfigErrors, load
from gateway.mapping import MappingDatabase, take_over
from gateway.mapping_desk.directory import StoredDirectory
from gateway.spool.api import SpoolUnusable
from mappings import migrations, store
from mappings.address import Address, AddressError
from mappings.checks import MappingError
from mappings.directory import Directory, MemoryDirectory
from mappings.identity import Identity
from mappings.network import Registry, registry
from mappings.reader import MappingReader
from mappings.table import Table
from mappings.token_store import load as load_tokens
from mappings.tokens import TokenBook


class DeskError(Exception):
    """What was asked cannot be done; `reasons` are sentences for the operator, one for each thing that is wrong."""

    def __init__(self, *reasons: str) -> None:
        self.reasons = reasons
        super().__init__("\n".join(reasons))


class Desk:
    """The stored mapping of one configuration. Raises, from every method: DeskError."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.time) -> None:
        """`config` may have been loaded without identities."""
        self.config = config
        self.clock = clock
        self.networks: Registry = registry()
        self._database = MappingDatabase(config.spool_url, config.base_dir)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Lend a connection in which nothing is kept; for what takes a moment, since others wait meanwhile."""
        with _in_words(self._database.name), self._lent() as connection:
            if store.revision(connection) == 0:
                self._take_over(connection)
            yield connection
            connection.rollback()

    @contextmanager
    def changing(self, *, dry: bool = False) -> Iterator[Connection]:
        """Lend a connection in a transaction that no other writer comes between.

        It is committed at the end; with `dry` all of it is taken back instead.
        """
        with _in_words(self._database.name), self._lent() if dry else self._database.connect() as connection:
            # An empty revision changes nothing; but from here on other writers wait, whatever the database.
            if store.apply(connection, (), who="", why="", at=0.0) == 0:
                self._take_over(connection)
            yield connection
            if dry:
                connection.rollback()

    @contextmanager
    def _lent(self) -> Iterator[Connection]:
        with self._database.connect() if self._database.exists() else _scratch() as connection:
            yield connection

    def _take_over(self, connection: Connection) -> None:
        if self._first:
            take_over(connection, self._first, self.clock())

    @cached_property
    def _first(self) -> Sequence[Identity]:
        """What the mapping begins with."""
        if not self.config.mapping.imports:
            return ()
        try:
            return load(self.config.path, dry=True).identities
        except ConfigErrors as e:
            raise DeskError(*map(str, e.mistakes)) from None

    @property
    def is_begun(self) -> bool:
        """Whether anything was ever stored."""
        with _in_words(self._database.name), self._lent() as connection:
            return store.revision(connection) > 0

    def has_seen(self, seen: store.Head) -> bool:
        """Tell whether a revision was this mapping's, rather than one of before a restore."""
        with _in_words(self._database.name), self._lent() as connection:
            return store.is_past(connection, seen)

    def begin(self) -> None:
        """Take over what the mapping begins with, where nothing was ever stored."""
        with self.changing():
            pass

    def directory(self) -> Directory:
        """Return all identities, for what looks at many of them: no transaction is held, and little memory."""
        return self.snapshot()[0]

    def snapshot(self) -> tuple[Directory, int]:
        """Return all identities, and the revision that they are of; 0 where nothing was ever stored."""
        if not self.is_begun:
            return MemoryDirectory(self._first), 0
        with _in_words(self._database.name):
            reader = MappingReader(self._database.connect, self.config.state_dir / "mapping")
            return reader.open(), reader.revision

    def table(self, directory: Directory, connection: Connection | None = None) -> Table:
        """Make the table of some identities. `connection` gives it the numbers of correspondents."""
        encapsulation = self.config.encapsulation
        tokens = None
        if connection is not None and encapsulation is not None:
            tokens = TokenBook(encapsulation.derived_key("tokens"), load_tokens(connection))
        try:
            return self.config.compile(directory, version=1, tokens=tokens)
        except MappingError as e:
            raise DeskError(*e.problems) from None

    def stored_table(self, connection: Connection) -> tuple[Table, StoredDirectory]:
        """Make the table that looks everybody up in the database, for a few questions."""
        directory = StoredDirectory(connection)
        return self.table(directory, connection), directory

    # -- what an operator writes

    def address(self, text: str) -> Address:
        """Read `network:value`."""
        try:
            return self.networks.parse(text)
        except AddressError as e:
            raise DeskError(f"{text!r} is no address: {e.message} [{e.rule}]") from None

    def address_in(self, text: str) -> Address | None:
        """Return the address that a text is, of a network that is installed; None where it is none."""
        try:
            return self.networks.parse(text) if self.networks.is_installed(text.partition(":")[0].strip()) else None
        except AddressError:
            return None

    def one(self, connection: Connection, which: str) -> Identity:
        """Return the identity of a number, or of an address that it holds at any time."""
        if which.isdecimal():
            found = store.get(connection, int(which))
            if found is None:
                raise DeskError(f"there is no identity {which}; `gatepost map find TEXT` shows the numbers")
            return found
        address = self.address(which)
        holders = store.find(connection, address.network, address.key)
        now = [who for who in holders if any(h.address == address and h.holds_at(self.clock()) for h in who.addresses)]
        if len(now) == 1:
            return now[0]
        if not holders:
            raise DeskError(f"nobody has {address}; `gatepost map explain {address}` says what happens to it")
        if len(holders) > 1:
            several = ", ".join(f"{who.name!r} (identity {who.id})" for who in holders)
            raise DeskError(f"{address} is held by {several} at different times; name one by its number")
        return holders[0]


def whoami() -> str:
    """Return the name of who is at the keyboard: the one who called sudo, or whom the process runs as."""
    name = os.environ.get("SUDO_USER")
    if name:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


@contextmanager
def _scratch() -> Iterator[Connection]:
    """Lend a connection to an empty mapping in memory, for questions before there is one."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    try:
        with engine.connect() as connection:
            migrations.upgrade(connection)
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _in_words(name: str) -> Iterator[None]:
    """Tell the faults of the database and the store's refusals in words."""
    try:
        yield
    except MappingError as e:
        raise DeskError(*e.problems) from None
    except (store.NoSuchRevision, store.StaleMapping) as e:
        raise DeskError(str(e)) from None
    except SpoolUnusable as e:
        raise DeskError(str(e)) from None
    except DBAPIError as e:
        if "locked" in str(e.orig):
            raise DeskError(f"another command or a node is writing {name} for long; try again in a while") from None
        raise DeskError(f"{name} cannot be used: {e.orig}") from None
    except (SQLAlchemyError, OSError) as e:
        raise DeskError(f"{name} cannot be used: {e}") from None
