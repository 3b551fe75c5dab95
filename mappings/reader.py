"""MappingReader: what a worker keeps of the stored mapping, and keeps at its newest revision.

Promises: `open` gives all identities at the newest revision, from a prepared snapshot where there is one that this
database made, else by making one; processes that share a folder make one together. `refresh` costs one small query
where nothing changed, and else time that grows with what changed. A directory once given never changes, and holds
whole revisions only. A snapshot that cannot be written is kept in memory instead. Everything here blocks; call it in
a thread, any thread.

Snapshots are read in many short transactions, since a reader of a SQLite file makes its writers wait. What changed
meanwhile lies over the snapshot as any change does.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final

from sqlalchemy import Connection

from mappings import store
from mappings.layered import LayeredDirectory
from mappings.record import FINGERPRINT_BITS
from mappings.snapshot import Snapshot, SnapshotError, SnapshotWriter, open_snapshot, snapshot_in
from mappings.store import Facts, Head

MOST_CHANGES: Final = 200_000
"""With more of them than this a new snapshot is made at once: a change to everybody, as a first import."""
MANY_CHANGES: Final = 10_000
"""With more of them than this, and a fiftieth of the snapshot, `compact` makes a new one."""

_first: Final = itemgetter(0)
_second: Final = itemgetter(1)
_RECORDS: Final = 20_000
_HOLDERS: Final = 50_000


class MappingReader:
    """The stored mapping as one process reads it.

    `open_connection` gives a connection in a transaction that ends with the context; `folder` is this gateway's own,
    and shared by the processes of one machine that read the same database.
    """

    def __init__(self, open_connection: Callable[[], AbstractContextManager[Connection]], folder: Path) -> None:
        self._connection = open_connection
        self._folder = folder
        self._path = folder / "mapping.snapshot"
        self._directory: LayeredDirectory | None = None
        self._head = Head(0, "")
        # For a moment, around taking the newest changes; never while a snapshot is made.
        self._lock = Lock()

    @property
    def revision(self) -> int:
        """The number of the revision that the newest directory given is at."""
        return self._head.number

    @property
    def head(self) -> Head:
        """The revision that the newest directory given is at."""
        return self._head

    def open(self) -> LayeredDirectory:
        """Return the directory at the newest revision. Raises: DBAPIError."""
        return self._lay(self._prepared() or self._renewed(unless_newer_than=None))

    def refresh(self) -> LayeredDirectory | None:
        """Return the directory at the newest revision, None where it is the one given last. Raises: DBAPIError."""
        with self._lock:
            directory, seen = self._directory, self._head
            if directory is None:
                raise RuntimeError("the mapping is not open")
            with self._connection() as connection:
                head = store.head(connection)
                if head == seen:
                    return None
                if store.is_past(connection, seen):
                    more = store.count_since(connection, seen.number)
                    if directory.changes + more <= _most_changes(directory.base):
                        return self._take(connection, directory, seen.number)
        # A new mapping altogether, or one of before a restore.
        return self.open()

    def compact(self) -> LayeredDirectory | None:
        """Return the directory over a new snapshot where so much changed that it pays, else None.

        Raises: DBAPIError.
        """
        directory = self._directory
        if directory is None or directory.changes <= max(MANY_CHANGES, directory.base.size // 50):
            return None
        return self._lay(self._renewed(unless_newer_than=directory.base))

    def _lay(self, base: Snapshot) -> LayeredDirectory:
        """Lay over a snapshot what changed since it was made."""
        with self._lock, self._connection() as connection:
            return self._take(connection, LayeredDirectory(base, Facts(0, frozenset(), frozenset())), base.revision)

    def _take(self, connection: Connection, directory: LayeredDirectory, since: int) -> LayeredDirectory:
        found = store.records_since(connection, since)
        self._directory = directory.with_changes(found.changed, found.removed, found.facts)
        self._head = found.head
        return self._directory

    def _prepared(self) -> Snapshot | None:
        """Return the folder's snapshot where it is of this database and new enough."""
        try:
            found = open_snapshot(self._path)
        except (OSError, SnapshotError):
            return None
        with self._connection() as connection:
            if store.is_past(connection, Head(found.revision, found.mark)):
                changes = store.count_since(connection, found.revision)
                return found if changes <= _most_changes(found) else None
        return None

    def _renewed(self, *, unless_newer_than: Snapshot | None) -> Snapshot:
        """Make a new snapshot, or take the one that another process made while this one waited for its turn."""
        try:
            with self._turn():
                found = self._prepared()
                if found is not None and (unless_newer_than is None or found.revision > unless_newer_than.revision):
                    return found
                new = self._path.with_suffix(".new")
                with new.open("wb") as stream:
                    os.fchmod(stream.fileno(), 0o600)
                    self._write(stream)
                    os.fsync(stream.fileno())
                new.replace(self._path)
                return open_snapshot(self._path)
        except (OSError, SnapshotError):
            # A full disk stops mail from coming in, and must not stop what is here from going out.
            kept = io.BytesIO()
            self._write(kept)
            return snapshot_in(kept.getvalue())

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _write(self, stream: BinaryIO) -> None:
        with self._connection() as connection:
            head = store.head(connection)
        writer = SnapshotWriter(stream, head.number, head.mark)
        after = 0
        while True:
            with self._connection() as connection:
                rows = store.records_after(connection, after, _RECORDS)
            if not rows:
                break
            writer.add_records(list(map(_first, rows)), list(map(_second, rows)))
            after = rows[-1][0]
        with self._connection() as connection:
            addresses = store.count_addresses(connection)
        parts = 1 + addresses // _HOLDERS
        for part in range(parts):
            first, last = ((n << FINGERPRINT_BITS) // parts for n in (part, part + 1))
            with self._connection() as connection:
                rows = store.holders_between(connection, first, last)
            writer.add_holders(list(map(_first, rows)), list(map(_second, rows)))
        writer.close()


def _most_changes(base: Snapshot) -> int:
    return max(MOST_CHANGES, base.size // 5)
