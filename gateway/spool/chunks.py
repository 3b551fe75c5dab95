"""Contents over the inline limit in PostgreSQL: rows of one chunk each, written and read beside the writer.

A blob belongs to the node that writes it until a message owns it; a dead node's blobs are swept. Chunks are
committed without waiting for the disk but the last, whose commit takes all before it along.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
from sqlalchemy.engine import make_url

CHUNK_BYTES: Final = 256 * 1024
_IDLE: Final = 4

_BEGIN: Final = "INSERT INTO blobs (node, size) VALUES (%b, 0) RETURNING id"
_CHUNK: Final = "INSERT INTO chunks (blob_id, seq, data) VALUES (%b, %b, %b)"
_FINISH: Final = "UPDATE blobs SET size = %b WHERE id = %b"
_READ: Final = "SELECT data FROM chunks WHERE blob_id = %b AND seq BETWEEN %b AND %b ORDER BY seq"
# Nobody's message: an accept that made it one has taken the node away.
_UNWRITE: Final = "DELETE FROM blobs WHERE id = %b AND node IS NOT NULL RETURNING id"
_UNWRITE_CHUNKS: Final = "DELETE FROM chunks WHERE blob_id = %b"


class ChunkDatabase:
    """Connections for contents, as many as threads need at once; a few are kept."""

    def __init__(self, url: str, arguments: dict[str, Any]) -> None:
        self.node = 0
        self._conninfo = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._arguments = arguments
        self._lock = threading.Lock()
        self._idle: list[psycopg.Connection[Any]] = []
        self._closed = False

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection in autocommit mode. Raises: psycopg.Error."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None or connection.closed:
            connection = psycopg.connect(self._conninfo, autocommit=True, **self._arguments)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if not self._closed and len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def sink(self) -> ChunkSink:
        return ChunkSink(self)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(psycopg.Error):
                connection.close()


class ChunkSink:
    """Writes one content."""

    def __init__(self, database: ChunkDatabase) -> None:
        self._database = database
        self._rest = bytearray()
        self._seq = 0
        self._size = 0
        with database.connection() as connection:
            row = connection.execute(_BEGIN, (database.node,)).fetchone()
        assert row is not None
        self._id: int = row[0]

    def write(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._rest += piece
        if len(self._rest) >= CHUNK_BYTES:
            with self._database.connection() as connection:
                connection.execute("SET synchronous_commit = off")
                self._put(connection, CHUNK_BYTES)
                connection.execute("RESET synchronous_commit")

    def _put(self, connection: psycopg.Connection[Any], least: int) -> None:
        rest = self._rest
        at = 0
        with connection.pipeline():
            while len(rest) - at >= least and at < len(rest):
                chunk = bytes(memoryview(rest)[at : at + CHUNK_BYTES])
                connection.execute(_CHUNK, (self._id, self._seq, chunk))
                self._seq += 1
                self._size += len(chunk)
                at += len(chunk)
        del rest[:at]

    def finish(self) -> ChunkBlob:
        with self._database.connection() as connection, connection.transaction():
            self._put(connection, 1)
            connection.execute(_FINISH, (self._size, self._id))
        return ChunkBlob(self._database, self._id, self._size, owned=False)

    def discard(self) -> None:
        with suppress(psycopg.Error), self._database.connection() as connection, connection.transaction():
            if connection.execute(_UNWRITE, (self._id,)).fetchone() is not None:
                connection.execute(_UNWRITE_CHUNKS, (self._id,))


class ChunkBlob:
    """A content in chunk rows."""

    __slots__ = ("_database", "_id", "owned", "ref", "size")

    def __init__(self, database: ChunkDatabase, id: int, size: int, *, owned: bool) -> None:
        self._database = database
        self._id = id
        self.ref = str(id)
        self.size = size
        self.owned = owned

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        first = offset // CHUNK_BYTES
        last = (offset + length - 1) // CHUNK_BYTES
        try:
            with self._database.connection() as connection:
                rows = connection.execute(_READ, (self._id, first, last), binary=True).fetchall()
        except psycopg.Error as error:
            raise OSError(f"content {self._id} cannot be read: {error}") from error
        start = offset - first * CHUNK_BYTES
        octets: bytes = rows[0][0] if len(rows) == 1 else b"".join(row[0] for row in rows)
        return octets if start == 0 and len(octets) == length else octets[start : start + length]
