"""A group of accepts and outcomes as one SQLite statement, and so one step, one transaction and one fsync.

Around every step of a statement the interpreter's lock is let go and must be won back from the event loop, which is
busy under load; a group took seven of them. Here all rows, of whatever table, go into one temporary view, and a
trigger for each kind of row brings it where it belongs. Rows travel as the statement's parameters: as JSON, out of
which each value had to be looked up by its place, they took half as much again.
The view and its triggers are the connection's own: nothing of them is in the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from enum import IntEnum, unique
from functools import cache
from typing import Any, Final

from gateway.spool.jobs import Packed
from gateway.spool.rows import DEDUPE_COLUMNS, DELIVERY_COLUMNS, MESSAGE_COLUMNS, TRACE_COLUMNS, Row, dump

MOST_ROWS: Final = 160
"""A larger group costs less as one statement a table, for all that each is a step of its own."""

_STEP: Final = 8
"""Rows are filled up to a multiple of this with some that no trigger takes, so that few statements are kept ready."""


@unique
class _Kind(IntEnum):
    """Where a row of the view goes."""

    DONE = 0
    """The trace row of a delivery that it ends, and whose lease that rests on."""
    MESSAGE = 1
    TAKEN = 2
    DELIVERY = 3
    TRACE = 4


_WIDTH: Final = max(len(MESSAGE_COLUMNS), len(DELIVERY_COLUMNS), len(TRACE_COLUMNS) + 1, len(DEDUPE_COLUMNS))
_ME: Final = len(TRACE_COLUMNS)

VIEW: Final = f"""
CREATE TEMP VIEW one_group AS SELECT NULL AS kind, {", ".join(f"NULL AS c{n}" for n in range(_WIDTH))}
"""

# The trace of an outcome first, while it can be told whose lease the delivery has: it happened, so the trace says so,
# though another had the lease or the delivery was dropped; then it is marked as late.
_DONE: Final = f"""
  INSERT INTO trace ({", ".join(TRACE_COLUMNS)})
  VALUES (NEW.c0, NEW.c1, NEW.c2, NEW.c3, NEW.c4, CASE
    WHEN EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = NEW.c0 AND d.n = NEW.c3
                 AND (d.lease = NEW.c{_ME} OR d.lease IS NULL)) THEN NEW.c5
    WHEN NEW.c5 = '{{}}' THEN '{{"late":true}}'
    ELSE substr(NEW.c5, 1, length(NEW.c5) - 1) || ',"late":true}}' END);
  DELETE FROM deliveries WHERE message_id = NEW.c0 AND n = NEW.c3 AND (lease = NEW.c{_ME} OR lease IS NULL);
  DELETE FROM messages
  WHERE id = NEW.c0 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.message_id = NEW.c0);
"""
assert TRACE_COLUMNS == ("message_id", "seq", "at", "n", "kind", "detail")


def _insert(table: str, columns: Sequence[str]) -> str:
    values = ", ".join(f"NEW.c{n}" for n in range(len(columns)))
    return f"  INSERT INTO {table} ({', '.join(columns)}) VALUES ({values});\n"


_WHAT: Final = {
    _Kind.DONE: _DONE,
    _Kind.MESSAGE: _insert("messages", MESSAGE_COLUMNS),
    _Kind.TAKEN: _insert("dedupe", DEDUPE_COLUMNS),
    _Kind.DELIVERY: _insert("deliveries", DELIVERY_COLUMNS),
    _Kind.TRACE: _insert("trace", TRACE_COLUMNS),
}

TRIGGERS: Final = tuple(
    f"CREATE TEMP TRIGGER one_group_{kind.name.lower()} INSTEAD OF INSERT ON one_group WHEN NEW.kind = {kind.value}\n"
    f"BEGIN\n{what}END"
    for kind, what in _WHAT.items()
)

# Outcomes alone: the values are looked up by their places in JSON, which costs half as much again, but none of it while
# the interpreter's lock is held.
_FINISH: Final = f"""\
INSERT INTO one_group (kind, {", ".join(f"c{n}" for n in range(_ME + 1))})
SELECT {_Kind.DONE.value}, {", ".join(f"value ->> {n}" for n in range(_ME))}, ?2 FROM json_each(?1)
"""

_ROW: Final = f"({', '.join('?' * (1 + _WIDTH))})"


def _padding(taken: int) -> Row:
    # Numbers, which nothing reads: they are bound at a third of what NULL costs.
    return (0,) * (_WIDTH - taken)


_AFTER_MESSAGE: Final = _padding(len(MESSAGE_COLUMNS))
_AFTER_TAKEN: Final = _padding(len(DEDUPE_COLUMNS))
_AFTER_DELIVERY: Final = _padding(len(DELIVERY_COLUMNS))
_AFTER_TRACE: Final = _padding(len(TRACE_COLUMNS))
_AFTER_ME: Final = _padding(_ME + 1)
_NOTHING: Final = (-1, *_padding(0))
_DONE_ROW, _MESSAGE_ROW, _TAKEN_ROW, _DELIVERY_ROW, _TRACE_ROW = (kind.value for kind in _Kind)


@cache
def _statement(rows: int) -> str:
    return f"INSERT INTO one_group VALUES {', '.join([_ROW] * rows)}"


def prepare(raw: sqlite3.Connection) -> None:
    """Make the view and its triggers on a connection. Raises: sqlite3.Error."""
    raw.execute(VIEW)
    for trigger in TRIGGERS:
        raw.execute(trigger)


def finish(raw: sqlite3.Connection, done: Sequence[Row], me: int) -> None:
    """End the deliveries that `done` has the trace rows of, within the transaction that is open, or in one of its own.

    Assumes: none of their messages has a content in a file. Raises: sqlite3.Error.
    """
    if done:
        raw.execute(_FINISH, (dump(done), me))


def count(packed: Sequence[Packed], taken: Sequence[Row], done: Sequence[Row]) -> int:
    """Return how many rows `commit` would bring in, which is to be at most `MOST_ROWS`."""
    return sum([2 + len(p.deliveries) for p in packed]) + len(taken) + len(done)


def commit(
    raw: sqlite3.Connection, packed: Sequence[Packed], taken: Sequence[Row], done: Sequence[Row], me: int
) -> None:
    """Store messages and their events with the hand-overs `taken`, and end the deliveries that `done` has the trace
    rows of: all or nothing.

    Durable when this returns. Assumes: no transaction is open; no content lies in a file. Raises: sqlite3.Error
    (IntegrityError where a hand-over had been taken), UnicodeEncodeError where a text is no Unicode.
    """
    values: list[Any] = []
    # Table by table: what is stored together lies together.
    for row in done:
        values += (_DONE_ROW, *row, me, *_AFTER_ME)
    for p in packed:
        values += (_MESSAGE_ROW, *p.message, *_AFTER_MESSAGE)
    for row in taken:
        values += (_TAKEN_ROW, *row, *_AFTER_TAKEN)
    for p in packed:
        for row in p.deliveries:
            values += (_DELIVERY_ROW, *row, *_AFTER_DELIVERY)
    for p in packed:
        values += (_TRACE_ROW, *p.event, *_AFTER_TRACE)
    rows = len(values) // (1 + _WIDTH)
    missing = -rows % _STEP
    raw.execute(_statement(rows + missing), values + list(_NOTHING) * missing)
