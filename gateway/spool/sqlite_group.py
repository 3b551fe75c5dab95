"""A group of accepts and outcomes as one SQLite statement, and so one step, one transaction and one fsync.

Around every step of a statement the interpreter's lock is let go and must be won back from the event loop, which is
busy under load; a group took seven of them. Here it is one row put into a temporary view, whose trigger does the rest.
Rows travel as JSON, contents as one blob beside them, from which each row is told its piece.
The view and its trigger are the connection's own: nothing of them is in the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import orjson

from gateway.spool.jobs import Packed
from gateway.spool.rows import DEDUPE_COLUMNS, DELIVERY_COLUMNS, MESSAGE_COLUMNS, TRACE_COLUMNS, Row

_OCTETS: Final = ("prefix", "content")
_PLAIN: Final = MESSAGE_COLUMNS[: -len(_OCTETS)]
assert MESSAGE_COLUMNS[-2:] == _OCTETS

_AT: Final = len(_PLAIN)
"""Where a message's JSON says at which octet of the blob its prefix begins; then the lengths of both."""


def _items(count: int) -> str:
    return ", ".join(f"value ->> {n}" for n in range(count))


VIEW: Final = """
CREATE TEMP VIEW one_group AS
SELECT NULL AS messages, NULL AS octets, NULL AS deliveries, NULL AS trace, NULL AS taken, NULL AS done, NULL AS me
"""

# The trace of outcomes first, while it can be told whose lease a delivery has: it happened, so the trace says so,
# though another had the lease or the delivery was dropped; then it is marked as late.
TRIGGER: Final = f"""
CREATE TEMP TRIGGER one_group_comes INSTEAD OF INSERT ON one_group
BEGIN
  INSERT INTO trace ({", ".join(TRACE_COLUMNS)})
  SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, CASE
    WHEN EXISTS (SELECT 1 FROM deliveries AS d WHERE d.message_id = value ->> 0 AND d.n = value ->> 3
                 AND (d.lease = NEW.me OR d.lease IS NULL)) THEN value ->> 5
    WHEN value ->> 5 = '{{}}' THEN '{{"late":true}}'
    ELSE substr(value ->> 5, 1, length(value ->> 5) - 1) || ',"late":true}}' END
  FROM json_each(NEW.done);
  DELETE FROM deliveries
  WHERE (message_id, n) IN (SELECT value ->> 0, value ->> 3 FROM json_each(NEW.done))
    AND (lease = NEW.me OR lease IS NULL);
  DELETE FROM messages
  WHERE id IN (SELECT value ->> 0 FROM json_each(NEW.done))
    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.message_id = messages.id);
  INSERT INTO messages ({", ".join(MESSAGE_COLUMNS)})
  SELECT {_items(_AT)},
    substr(NEW.octets, value ->> {_AT}, value ->> {_AT + 1}),
    substr(NEW.octets, (value ->> {_AT}) + (value ->> {_AT + 1}), value ->> {_AT + 2})
  FROM json_each(NEW.messages);
  INSERT INTO dedupe ({", ".join(DEDUPE_COLUMNS)})
  SELECT {_items(len(DEDUPE_COLUMNS))} FROM json_each(NEW.taken);
  INSERT INTO deliveries ({", ".join(DELIVERY_COLUMNS)})
  SELECT {_items(len(DELIVERY_COLUMNS))} FROM json_each(NEW.deliveries);
  INSERT INTO trace ({", ".join(TRACE_COLUMNS)})
  SELECT {_items(len(TRACE_COLUMNS))} FROM json_each(NEW.trace);
END
"""

INSERT: Final = "INSERT INTO one_group VALUES (?, ?, ?, ?, ?, ?, ?)"


def prepare(raw: sqlite3.Connection) -> None:
    """Make the view and its trigger on a connection. Raises: sqlite3.Error."""
    raw.execute(VIEW)
    raw.execute(TRIGGER)


def commit(
    raw: sqlite3.Connection, packed: Sequence[Packed], taken: Sequence[Row], done: Sequence[Row], me: int
) -> None:
    """Store messages and their events with the hand-overs `taken`, and end the deliveries that `done` has the trace
    rows of: all or nothing.

    Durable when this returns. Assumes: no transaction is open; no content lies in a file. Raises: sqlite3.Error
    (IntegrityError where a hand-over had been taken), orjson.JSONEncodeError where a text is no Unicode.
    """
    messages: list[list[Any]] = []
    octets: list[bytes] = []
    at = 1
    for p in packed:
        prefix, content = p.message[_AT], p.message[_AT + 1]
        messages.append([*p.message[:_AT], at, len(prefix), len(content)])
        octets += (prefix, content)
        at += len(prefix) + len(content)
    deliveries = [row for p in packed for row in p.deliveries]
    events = [p.event for p in packed]
    dumps = orjson.dumps
    raw.execute(
        INSERT,
        (
            dumps(messages).decode(), b"".join(octets), dumps(deliveries).decode(), dumps(events).decode(),
            dumps(taken).decode(), dumps(done).decode(), me,
        ),
    )  # fmt: skip
