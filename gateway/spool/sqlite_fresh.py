"""Many messages that come in as one SQLite statement, and so one step of it: a message with all its rows is one row of
a temporary view, whose trigger brings them where they belong.

Around every step of a statement the interpreter's lock is let go and must be won back from the event loop, which is
busy under such a load; a statement for each table and each block of rows cost both of them a sixth of their time.
The view and its trigger are the connection's own: nothing of them is in the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from gateway.spool.jobs import Accept, Job, Packed
from gateway.spool.rows import DEDUPE_COLUMNS, DELIVERY_COLUMNS, MESSAGE_COLUMNS, TRACE_COLUMNS

Name = tuple[str | None, float | None]
"""A hand-over and when it is taken; of a message without one, neither."""
_UNNAMED: Final[Name] = (None, None)

_SIZES: Final = (64, 128, 208, 320, 416, 512)
"""Rows are filled up to one of these with some that the trigger leaves out: to make a statement ready takes as long as
to store as many messages."""
MOST: Final = _SIZES[-1]
"""Messages of one statement."""

_TABLES: Final = (("messages", MESSAGE_COLUMNS), ("deliveries", DELIVERY_COLUMNS), ("trace", TRACE_COLUMNS))
_ROWS: Final = sum(len(columns) for _, columns in _TABLES)
_WIDTH: Final = _ROWS + 2
"""The name of the hand-over, and when it is taken, stand behind the rows."""
_NOBODY: Final = (0,) * _WIDTH
"""Numbers, which nothing reads: they are bound at a third of what NULL costs."""

VIEW: Final = f"CREATE TEMP VIEW fresh AS SELECT {', '.join(f'NULL AS c{n}' for n in range(_WIDTH))}"


def _inserts() -> str:
    said, place = [], 0
    for table, columns in _TABLES:
        values = ", ".join(f"NEW.c{place + n}" for n in range(len(columns)))
        said.append(f"  INSERT INTO {table} ({', '.join(columns)}) VALUES ({values});\n")
        place += len(columns)
    said.append(f"  INSERT INTO dedupe ({', '.join(DEDUPE_COLUMNS)})\n")
    said.append(f"  SELECT NEW.c{_ROWS}, NEW.c0, NEW.c{_ROWS + 1} WHERE NEW.c{_ROWS} IS NOT NULL;\n")
    return "".join(said)


assert DEDUPE_COLUMNS == ("key", "message_id", "at")


TRIGGER: Final = f"CREATE TEMP TRIGGER fresh_in INSTEAD OF INSERT ON fresh WHEN NEW.c0 <> 0\nBEGIN\n{_inserts()}END"


@lru_cache(maxsize=64)
def _statement(rows: int, empty: tuple[int, ...]) -> str:
    row = f"({', '.join('NULL' if n in empty else '?' for n in range(_WIDTH))})"
    return f"INSERT INTO fresh VALUES {', '.join([row] * rows)}"


def prepare(raw: sqlite3.Connection) -> None:
    """Make the view and its trigger on a connection. Raises: sqlite3.Error."""
    raw.execute(VIEW)
    raw.execute(TRIGGER)


def are_whole(packed: Iterable[Packed]) -> bool:
    """Tell whether each message has one delivery, and so is one row of the view."""
    return all(len(p.deliveries) == 1 for p in packed)


def alone(group: Sequence[Job], now: float) -> tuple[list[Packed], list[Name]] | None:
    """Return the messages of a group that one statement is enough for, since they are whole and their contents inline,
    and of each the hand-over that it takes `now`. None for any other group."""
    packed: list[Packed] = []
    names: list[Name] = []
    for job in group:
        if type(job) is not Accept or job.more or job.packed.content_ref is not None:
            return None
        packed.append(job.packed)
        names.append(_UNNAMED if job.dedupe_key is None else (job.dedupe_key, now))
    return (packed, names) if len(packed) <= MOST and are_whole(packed) else None


def insert(raw: sqlite3.Connection, packed: Sequence[Packed], names: Sequence[Name] | None = None) -> None:
    """Store whole messages, their deliveries, the trace of their arrival and the hand-overs that they take: all or
    nothing of each `MOST` of them.

    Durable when this returns, or with the transaction that is open. Raises: sqlite3.Error (IntegrityError where a
    hand-over had been taken), UnicodeEncodeError where a text is no Unicode.
    """
    names = names or [_UNNAMED] * len(packed)
    for start in range(0, len(packed), MOST):
        stop = start + MOST
        rows: list[tuple[Any, ...]] = [
            (*p.message, *p.deliveries[0], *p.event, *name)
            for p, name in zip(packed[start:stop], names[start:stop], strict=True)
        ]
        count = len(rows)
        size = next(each for each in _SIZES if each >= count)
        columns = list(zip(*rows, *[_NOBODY] * (size - count), strict=True))
        # To bind nothing is dearer than to bind a number, and some columns are empty in nearly all messages.
        empty = tuple([n for n, column in enumerate(columns) if column[0] is None and column.count(None) == count])
        if empty:
            columns = [column for n, column in enumerate(columns) if n not in empty]
        raw.execute(_statement(size, empty), tuple(chain.from_iterable(zip(*columns, strict=True))))
