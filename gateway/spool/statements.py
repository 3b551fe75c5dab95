"""Every SQL statement of the spool's daily work, named and explained, compiled once per dialect.

Written with `:name` parameters and, in braces, what the dialects say differently:
    {pairs}  the delivery ids of one parameter as rows (message_id, n)
    {ids}    the message ids of one parameter as rows
    {texts}  the texts of one parameter as rows
    {taken}  the names of hand-overs with their message ids as rows of the table
    {claimable} a delivery that nobody has leased and that waits to be sent; the partial indexes' own words
    {free}   the same, said so that no partial index offers itself: where the ids are known they lead to the rows,
             and a planner that takes a table for empty, as it was a minute ago, must not walk a lane instead
    {skip}   "leave what another node has locked"; empty where there is one connection only
The operator's queries (rows, change, drop), which are put together from a filter, are Core expressions in
`operate.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import Dialect

from gateway.spool.rows import DELIVERY_COLUMNS, MESSAGE_COLUMNS, TRACE_COLUMNS
from gateway.spool.schema import UNLEASED

_FREE: Final = "coalesce(lease, 0) = 0 AND state = 'queued'"

_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "sqlite": {
        "pairs": "SELECT value ->> 0, value ->> 1 FROM json_each(:pairs)",
        "ids": "SELECT value FROM json_each(:ids)",
        "texts": "SELECT value FROM json_each(:texts)",
        # `WHERE true` tells the conflict's ON from a join's.
        "taken": "SELECT value ->> 0, value ->> 1, :now FROM json_each(:taken) WHERE true",
        "claimable": UNLEASED,
        "free": _FREE,
        "skip": "",
        "again": "json_each(:again) AS j",
        "j": "j.value ->> '$.{}'",
        "per_sender": (
            "json_each(:senders) AS s JOIN deliveries AS d ON (d.message_id, d.n) IN ("
            "SELECT e.message_id, e.n FROM deliveries AS e WHERE e.lease IS NULL AND e.state = 'queued'"
            " AND e.lane = :lane AND e.priority = :priority AND e.sender = s.value"
            " AND e.next_attempt_at <= :now ORDER BY e.next_attempt_at LIMIT :each)"
        ),
    },
    "postgresql": {
        "pairs": "SELECT * FROM unnest(CAST(:pairs AS bigint[]), CAST(:pairs_n AS integer[]))",
        "ids": "SELECT unnest(CAST(:ids AS bigint[]))",
        "texts": "SELECT unnest(CAST(:texts AS text[]))",
        "taken": "SELECT *, CAST(:now AS float8) FROM unnest(CAST(:taken AS text[]), CAST(:taken_ids AS bigint[]))",
        "claimable": UNLEASED,
        "free": _FREE,
        "skip": "FOR UPDATE SKIP LOCKED",
        "again": (
            "jsonb_to_recordset(CAST(:again AS jsonb)) AS j"
            "(m bigint, n integer, t float8, w float8, a integer, r text, s text, d smallint, k smallint)"
        ),
        "j": "j.{}",
        "per_sender": (
            "unnest(CAST(:senders AS text[])) AS s(value) CROSS JOIN LATERAL ("
            "SELECT e.message_id, e.n, e.priority, e.sender, e.next_attempt_at FROM deliveries AS e"
            " WHERE e.lease IS NULL AND e.state = 'queued'"
            " AND e.lane = :lane AND e.priority = :priority"
            " AND (e.sender, e.next_attempt_at) >= (s.value, -1e300)"
            " AND (e.sender, e.next_attempt_at) <= (s.value, :now)"
            " ORDER BY e.sender, e.next_attempt_at LIMIT :each) AS d"
        ),
    },
}

DUE_COUNT_LIMIT: Final = 256
"""due() counts no further than this in one lane: a long queue must not be walked."""

_DELIVERY: Final = ", ".join(DELIVERY_COLUMNS)

# Commit outcomes: a delivery is over. An operator may have ended this node's lease meanwhile; that it was
# delivered stays true, so only another node's lease stands in the way.
DONE: Final = """
DELETE FROM deliveries
WHERE (message_id, n) IN ({pairs}) AND (lease = :me OR lease IS NULL)
RETURNING message_id, n
"""

# The same in two steps, for a database in which nobody else comes between: what is over, and its removal.
ENDED: Final = """
SELECT message_id, n FROM deliveries WHERE (message_id, n) IN ({pairs}) AND (lease = :me OR lease IS NULL)
"""

END: Final = "DELETE FROM deliveries WHERE (message_id, n) IN ({pairs}) AND (lease = :me OR lease IS NULL)"

# Commit outcomes: a delivery is tried again later. What an operator did in the meantime wins: one that is held stays
# held, and one that was made due at another time than the node knew (`w`, told by more than a rounding) is due no
# later than that.
AGAIN: Final = """
UPDATE deliveries
SET next_attempt_at = CASE
      WHEN abs(deliveries.next_attempt_at - {j_w}) > 0.001 AND deliveries.next_attempt_at < {j_t}
      THEN deliveries.next_attempt_at ELSE {j_t} END,
    attempts = {j_a}, reason = {j_r}, delay_reported = {j_d},
    state = CASE WHEN deliveries.state = 'queued' THEN {j_s} ELSE deliveries.state END,
    lease = CASE WHEN {j_k} = 1 AND deliveries.state = 'queued' THEN deliveries.lease END
FROM {again}
WHERE deliveries.message_id = {j_m} AND deliveries.n = {j_n} AND deliveries.lease = :me
RETURNING deliveries.message_id, deliveries.n
"""

# Keep a delivered message for a later replay.
KEEP: Final = """
INSERT INTO kept ({message}, kept_at)
SELECT {message}, :now FROM messages
WHERE id IN ({ids}) AND is_report = 0
  AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.message_id = messages.id)
RETURNING id, size
"""

# A message leaves with its last delivery.
LEAVE: Final = """
DELETE FROM messages
WHERE id IN ({ids}) AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.message_id = messages.id)
RETURNING id, content_ref
"""

# The same where nobody else comes between: which leave whose contents lie beside their rows, and that they leave.
LEFT: Final = """
SELECT id, content_ref FROM messages
WHERE id IN ({ids}) AND content_ref IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.message_id = messages.id)
"""

GO: Final = """
DELETE FROM messages
WHERE id IN ({ids}) AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.message_id = messages.id)
"""

# Take the names of hand-overs; what does not come back had been taken, and the same name twice is taken once.
DEDUPE_TAKE_ALL: Final = """
INSERT INTO dedupe (key, message_id, at) {taken}
ON CONFLICT (key) DO NOTHING RETURNING message_id
"""

DEDUPE_FIND: Final = "SELECT message_id FROM dedupe WHERE key = :key"

# The oldest that are due in a lane, whoever sent them: all of them in a short queue, enough to be fair within.
CLAIM_WINDOW: Final = """
SELECT message_id, n, priority, sender, next_attempt_at FROM deliveries
WHERE {claimable} AND lane = :lane AND next_attempt_at <= :now
ORDER BY next_attempt_at LIMIT :window
"""

# The highest priority below a given one.
NEXT_PRIORITY: Final = """
SELECT priority FROM deliveries WHERE {claimable} AND lane = :lane AND priority < :priority
ORDER BY priority DESC LIMIT 1
"""

# The senders of one priority, each found by one seek in the index (a loose scan): a sender's 50,000 cost no
# more than another's one. Each with its earliest, so that senders with nothing due are left out; it is sought by
# the pair, since asked for one sender's earliest a planner may walk the lane by time until it meets the sender.
SENDERS: Final = """
WITH RECURSIVE s(sender, depth) AS (
  SELECT (SELECT sender FROM deliveries
          WHERE {claimable} AND lane = :lane AND priority = :priority AND sender > :after
          ORDER BY sender LIMIT 1), 1
  UNION ALL
  SELECT (SELECT d.sender FROM deliveries AS d
          WHERE d.lease IS NULL AND d.state = 'queued' AND d.lane = :lane AND d.priority = :priority
            AND d.sender > s.sender ORDER BY d.sender LIMIT 1), s.depth + 1
  FROM s WHERE s.sender IS NOT NULL AND s.depth < :depth
)
SELECT s.sender, (SELECT d.next_attempt_at FROM deliveries AS d
                  WHERE d.lease IS NULL AND d.state = 'queued' AND d.lane = :lane AND d.priority = :priority
                    AND (d.sender, d.next_attempt_at) >= (s.sender, -1e300)
                  ORDER BY d.sender, d.next_attempt_at LIMIT 1)
FROM s WHERE s.sender IS NOT NULL
"""

# The oldest few of each of these senders.
PER_SENDER: Final = """
SELECT d.message_id, d.n, d.priority, d.sender, d.next_attempt_at FROM {per_sender}
"""

# The other deliveries of the chosen messages in the lane: they cross in one transaction with the next hop.
# Not ordered: that alone would lead a planner through the whole table by its key.
SIBLINGS: Final = """
SELECT message_id, n FROM deliveries
WHERE message_id IN ({ids}) AND {free} AND lane = :lane AND next_attempt_at <= :now
LIMIT :most
"""

# What the chosen messages weigh in memory.
WEIGH: Final = """
SELECT id, CASE WHEN content_ref IS NULL THEN size ELSE 0 END FROM messages WHERE id IN ({ids})
"""

# Lease the chosen, as far as no other node was faster.
LEASE: Final = (
    """
UPDATE deliveries SET lease = :me
WHERE (message_id, n) IN (
  SELECT message_id, n FROM deliveries WHERE (message_id, n) IN ({pairs}) AND {free} {skip}
)
RETURNING """
    + _DELIVERY
)

# The same where nobody else comes between: the chosen that are free, and their lease.
LEASABLE: Final = "SELECT " + _DELIVERY + " FROM deliveries WHERE (message_id, n) IN ({pairs}) AND {free}"

TAKE: Final = "UPDATE deliveries SET lease = :me WHERE (message_id, n) IN ({pairs}) AND {free}"

# Take back what was stored without its peer being told so.
UNDO: Final = "DELETE FROM deliveries WHERE message_id IN ({ids})"

MESSAGES: Final = "SELECT {message} FROM messages WHERE id IN ({ids})"

KEPT: Final = "SELECT {message} FROM kept WHERE id = :id"

DELIVERIES: Final = "SELECT " + _DELIVERY + " FROM deliveries WHERE message_id = :id ORDER BY n"

# Lanes with something to claim: a seek per lane, its earliest by one more, and a count that stops early.
DUE: Final = """
WITH RECURSIVE l(lane) AS (
  SELECT (SELECT lane FROM deliveries WHERE {claimable} ORDER BY lane LIMIT 1)
  UNION ALL
  SELECT (SELECT d.lane FROM deliveries AS d
          WHERE d.lease IS NULL AND d.state = 'queued' AND d.lane > l.lane ORDER BY d.lane LIMIT 1)
  FROM l WHERE l.lane IS NOT NULL
)
SELECT l.lane,
  (SELECT d.next_attempt_at FROM deliveries AS d
   WHERE d.lease IS NULL AND d.state = 'queued' AND d.lane = l.lane ORDER BY d.next_attempt_at LIMIT 1),
  (SELECT count(*) FROM (SELECT 1 FROM deliveries AS d
   WHERE d.lease IS NULL AND d.state = 'queued' AND d.lane = l.lane AND d.next_attempt_at <= :now LIMIT :most) AS c)
FROM l WHERE l.lane IS NOT NULL
"""

GIVE_BACK: Final = "UPDATE deliveries SET lease = NULL WHERE (message_id, n) IN ({pairs}) AND lease = :me"

# What an operator takes over is told to who leases it, this node as well: its own command may be broken off. Anew where
# that node has been told of it before.
WITHDRAW: Final = """
INSERT INTO withdrawn (node, message_id, n, dropped, in_flight)
SELECT lease, message_id, n, :dropped, 0 FROM deliveries WHERE (message_id, n) IN ({pairs}) AND lease IS NOT NULL
ON CONFLICT (node, message_id, n) DO UPDATE SET dropped = excluded.dropped, in_flight = 0
"""

WITHDRAWALS: Final = "SELECT message_id, n, dropped FROM withdrawn WHERE node = :me AND in_flight = 0"

# A row stays a while where its delivery is being sent, so that the operator learns of it.
WITHDRAWN_IN_FLIGHT: Final = """
UPDATE withdrawn SET in_flight = 1 WHERE node = :me AND (message_id, n) IN ({pairs})
"""

WITHDREW: Final = "DELETE FROM withdrawn WHERE node = :me AND in_flight = 0 AND (message_id, n) IN ({pairs})"

WITHDRAWN_OVER: Final = """
DELETE FROM withdrawn WHERE node = :me AND in_flight = 1 AND NOT EXISTS (
  SELECT 1 FROM deliveries AS d
  WHERE d.message_id = withdrawn.message_id AND d.n = withdrawn.n AND d.lease = withdrawn.node)
"""

NOT_WITHDRAWN: Final = "SELECT message_id, n, in_flight FROM withdrawn WHERE (message_id, n) IN ({pairs})"

# At the start of a SQLite node: the file had one owner, and that one is gone.
FREE_ALL: Final = "UPDATE deliveries SET lease = NULL WHERE lease IS NOT NULL"

TRACE_OF: Final = """
SELECT message_id, seq, at, n, kind, detail FROM trace WHERE message_id = :id ORDER BY seq LIMIT :most
"""

# The trace in the order of its key, piece by piece, so that a search never holds up an accept for long.
TRACE_PIECE: Final = """
SELECT message_id, seq, at, n, kind, detail FROM trace
WHERE (message_id, seq) > (:after_id, :after_seq) ORDER BY message_id, seq LIMIT :most
"""

# Prune the trace in small bites from its old end (ids grow with time); what still waits keeps its trace.
TRACE_PRUNE: Final = """
DELETE FROM trace WHERE (message_id, seq) IN (
  SELECT message_id, seq FROM trace
  WHERE message_id < :before_id AND at < :before
    AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.id = trace.message_id)
  ORDER BY message_id, seq LIMIT :most
)
"""

DEDUPE_PRUNE: Final = """
DELETE FROM dedupe WHERE key IN (SELECT key FROM dedupe WHERE at < :before ORDER BY at LIMIT :most)
"""

KEPT_SIZE: Final = "SELECT count(*), coalesce(sum(size), 0) FROM kept"

KEPT_OLDEST: Final = "SELECT id, size, kept_at FROM kept ORDER BY id LIMIT :most"

KEPT_LEAVE: Final = "DELETE FROM kept WHERE id IN ({ids}) RETURNING id, content_ref"

# Figures. The states are counted whole, so the caller keeps them for a while.
COUNT_STATES: Final = "SELECT state, count(*), count(lease) FROM deliveries GROUP BY state"

OLDEST: Final = "SELECT arrived_at FROM messages ORDER BY id LIMIT 1"

LANE_DOWN: Final = """
INSERT INTO lanes (lane, until, probe_by) VALUES (:lane, :until, :probe_by)
ON CONFLICT (lane) DO UPDATE SET until = excluded.until, probe_by = excluded.probe_by
"""

LANES_DOWN: Final = "SELECT lane, until FROM lanes WHERE until > :now"

# An operator has these tried now, whoever found them down. The clocks of nodes differ, so no time of any is named.
LANES_UP: Final = "UPDATE lanes SET until = 0 WHERE lane IN ({texts}) AND until > 0"

LANES_PRUNE: Final = "DELETE FROM lanes WHERE until < :before"

# Take or renew a singleton's lease: ours, or one that has run out.
HOLD: Final = """
INSERT INTO leases (name, holder, until) VALUES (:name, :me, :until)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE leases.holder = excluded.holder OR leases.until < :now
RETURNING name
"""

LET_GO: Final = "DELETE FROM leases WHERE holder = :me"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement in a driver's own form, and the order of its parameters."""

    sql: str
    names: tuple[str, ...]

    def args(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple([values[name] for name in self.names])


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of one dialect."""

    done: Prepared
    ended: Prepared
    end: Prepared
    again: Prepared
    keep: Prepared
    leave: Prepared
    left: Prepared
    go: Prepared
    dedupe_take_all: Prepared
    dedupe_find: Prepared
    claim_window: Prepared
    next_priority: Prepared
    senders: Prepared
    per_sender: Prepared
    siblings: Prepared
    weigh: Prepared
    lease: Prepared
    leasable: Prepared
    take: Prepared
    undo: Prepared
    messages: Prepared
    kept: Prepared
    deliveries: Prepared
    due: Prepared
    give_back: Prepared
    withdraw: Prepared
    withdrawals: Prepared
    withdrawn_in_flight: Prepared
    withdrew: Prepared
    withdrawn_over: Prepared
    not_withdrawn: Prepared
    free_all: Prepared
    trace_of: Prepared
    trace_piece: Prepared
    trace_prune: Prepared
    dedupe_prune: Prepared
    kept_size: Prepared
    kept_oldest: Prepared
    kept_leave: Prepared
    count_states: Prepared
    oldest: Prepared
    lane_down: Prepared
    lanes_down: Prepared
    lanes_up: Prepared
    lanes_prune: Prepared
    hold: Prepared
    let_go: Prepared


@cache
def _dialect(name: str) -> Dialect:
    if name == "sqlite":
        return SQLiteDialect_pysqlite()
    from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg  # slow to import, and SQLite needs none of it

    return PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped


def prepare(statement: str, dialect: str) -> Prepared:
    """Compile one statement of this module for a dialect, `sqlite` or `postgresql`."""
    words = dict(_WORDS[dialect])
    member = words.pop("j")
    for name in "mntwarsdk":
        words[f"j_{name}"] = member.format(name)
    words["message"] = ", ".join(MESSAGE_COLUMNS)
    compiled = text(statement.format_map(words).strip()).compile(dialect=_dialect(dialect))
    return Prepared(str(compiled), tuple(compiled.positiontup or ()))


@cache
def statements(dialect: str) -> Statements:
    """Compile all of them, once a process: a start opens the spool more than once."""
    source = globals()
    return Statements(**{f.name: prepare(source[f.name.upper()], dialect) for f in fields(Statements)})


def insert_rows(table: str, columns: tuple[str, ...], count: int) -> str:
    """Return SQLite's insert of `count` rows at once: one step of the statement, so one time that the
    interpreter's lock is let go and fought for again, instead of one per row."""
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * count)}"


# PostgreSQL's inserts of any number of rows: one array a column, so the statement is prepared once and travels
# once. `%%b` sends arrays in binary form, or every content octet would be written as two digits.
ARRAYS: Final[Mapping[str, Mapping[str, str]]] = {
    "messages": {
        "id": "bigint", "arrived_at": "float8", "size": "bigint", "recipients": "integer", "is_report": "smallint",
        "traits": "smallint", "edited": "smallint", "content_offset": "bigint", "content_ref": "text",
        "attributes": "text", "envelope": "text", "prefix": "bytea", "content": "bytea",
    },
    "deliveries": {
        "message_id": "bigint", "n": "integer", "lane": "text", "sender": "text", "priority": "integer",
        "next_attempt_at": "float8", "expires_at": "float8", "state": "text", "attempts": "integer",
        "delay_reported": "smallint", "notify": "smallint", "address": "text", "address_key": "text",
        "original": "text", "original_key": "text", "orcpt": "text", "reason": "text", "lease": "bigint",
    },
    "trace": {
        "message_id": "bigint", "seq": "bigint", "at": "float8", "n": "integer", "kind": "text", "detail": "text",
    },
    "dedupe": {"key": "text", "message_id": "bigint", "at": "float8"},
}  # fmt: skip


def insert_arrays(table: str) -> str:
    """Return PostgreSQL's insert of rows that come as one array per column, in the order of the columns.

    A delivery's lease comes as 1 for "this node" and is multiplied by the node's number, the last parameter.
    """
    kinds = ARRAYS[table]
    columns = ", ".join(kinds)
    chosen = columns.replace("lease", "lease * %b") if table == "deliveries" else columns
    arrays = ", ".join(f"%b::{kind}[]" for kind in kinds.values())
    if table == "deliveries":
        return f"INSERT INTO {table} ({columns}) SELECT {chosen} FROM unnest({arrays}) AS r({columns})"
    return f"INSERT INTO {table} ({columns}) SELECT * FROM unnest({arrays})"


assert tuple(ARRAYS["messages"]) == MESSAGE_COLUMNS
assert tuple(ARRAYS["deliveries"]) == DELIVERY_COLUMNS
assert tuple(ARRAYS["trace"]) == TRACE_COLUMNS
