"""Several prepared statements in one transaction and one round trip, on the protocol's own pipeline.

A cursor's pipeline waits for the socket after every statement, and each wait gives the interpreter away to the event
loop; here a whole group travels out, is committed by the one Sync at its end, and is waited for once.
Rows travel as one array per column, in the server's binary form.
Source: PostgreSQL's documentation, "Pipelining" in the protocol's message flow; `array_send` and its peers.
"""

from __future__ import annotations

import select
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result

_OIDS: Final = {
    "bigint": 20, "integer": 23, "smallint": 21, "float8": 701, "text": 25, "bytea": 17,
}  # fmt: skip
_NUMBERS: Final = {"bigint": "q", "integer": "i", "smallint": "h", "float8": "d"}
_NULL: Final = b"\xff\xff\xff\xff"
_LENGTH: Final = struct.Struct(">i").pack
_HEADER: Final = struct.Struct(">iiIii").pack
_BINARY: Final = 1

Array = Callable[[Sequence[Any]], bytes]


def array_writer(kind: str) -> Array:
    """Return what writes values of an SQL type (or None) as a one-dimensional array in binary form."""
    oid = _OIDS[kind]
    if kind in _NUMBERS:
        code = _NUMBERS[kind]
        size = struct.calcsize(f">{code}")

        def write_numbers(values: Sequence[Any]) -> bytes:
            if None in values:
                pack = struct.Struct(f">{code}").pack
                length = _LENGTH(size)
                cells = [_NULL if v is None else length + pack(v) for v in values]
                return _HEADER(1, 1, oid, len(values), 1) + b"".join(cells)
            flat = [size] * (2 * len(values))
            flat[1::2] = values
            return _HEADER(1, 0, oid, len(values), 1) + _interleaved(code, len(values)).pack(*flat)

        return write_numbers

    def write_octets(values: Sequence[Any]) -> bytes:
        parts = [_HEADER(1, 1, oid, len(values), 1)]
        for value in values:
            if value is None:
                parts.append(_NULL)
            else:
                octets = value.encode() if type(value) is str else value
                parts.append(_LENGTH(len(octets)))
                parts.append(octets)
        return b"".join(parts)

    return write_octets


@lru_cache(maxsize=1024)
def _interleaved(code: str, count: int) -> struct.Struct:
    return struct.Struct(">" + f"i{code}" * count)


def number(value: int) -> bytes:
    """Write one bigint parameter."""
    return _BIGINT(value)


_BIGINT: Final = struct.Struct(">q").pack


class Wire:
    """One connection's prepared statements. Assumes: the connection is in no transaction when `run` is called."""

    def __init__(self, connection: psycopg.Connection[Any], statements: Mapping[str, str]) -> None:
        """Raises: psycopg.Error."""
        self._pg = connection.pgconn
        self._encoding = "utf-8"
        for name, sql in statements.items():
            result = self._pg.prepare(name.encode(), sql.encode())
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise error_from_result(result, encoding=self._encoding)

    def run(self, calls: Sequence[tuple[str, Sequence[bytes]]]) -> list[list[bytes | None]]:
        """Execute statements in order, all or none; durable when this returns.

        Returns for each call the first column of its rows. Raises: psycopg.Error, of the first statement that
        failed; where the connection broke, the transaction may have been committed.
        """
        pg = self._pg
        pg.enter_pipeline_mode()
        try:
            for name, parameters in calls:
                pg.send_query_prepared(name.encode(), parameters, [_BINARY] * len(parameters), _BINARY)
            pg.pipeline_sync()
            return self._results(len(calls))
        finally:
            if pg.status == pq.ConnStatus.OK:
                pg.exit_pipeline_mode()

    def _results(self, count: int) -> list[list[bytes | None]]:
        answers: list[list[bytes | None]] = []
        fault: psycopg.Error | None = None
        synced = False
        self._flush()
        while not synced:
            result = self._next()
            if result is None:  # ends the results of one statement
                continue
            status = result.status
            if status == pq.ExecStatus.PIPELINE_SYNC:
                synced = True
            elif status == pq.ExecStatus.FATAL_ERROR:
                if fault is None:
                    fault = error_from_result(result, encoding=self._encoding)
                if self._pg.status != pq.ConnStatus.OK:
                    raise fault
            elif status != pq.ExecStatus.PIPELINE_ABORTED:
                answers.append([result.get_value(row, 0) for row in range(result.ntuples)] if result.nfields else [])
        if fault is not None:
            raise fault
        return answers

    def _flush(self) -> None:
        pg = self._pg
        poll = select.poll()
        poll.register(pg.socket, select.POLLIN | select.POLLOUT)
        while pg.flush():
            for _, happened in poll.poll():
                if happened & ~select.POLLOUT:
                    pg.consume_input()

    def _next(self) -> Any:
        pg = self._pg
        if pg.is_busy():
            poll = select.poll()
            poll.register(pg.socket, select.POLLIN)
            while pg.is_busy():
                poll.poll()
                pg.consume_input()
        return pg.get_result()
