"""The statements that only a database of many nodes needs: joining, heartbeat, fencing, reaping, chunk rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from gateway.spool.rows import DEDUPE_COLUMNS, DELIVERY_COLUMNS, MESSAGE_COLUMNS, TRACE_COLUMNS
from gateway.spool.statements import ARRAYS, Prepared, prepare

# The one clock that all nodes see alike; within a transaction it goes on.
NOW: Final = "extract(epoch FROM clock_timestamp())"

# Join: the sequence gives a number that no node ever had.
JOIN: Final = f"""
INSERT INTO nodes (host, worker, pid, beat_at) VALUES (:host, :worker, :pid, {NOW}) RETURNING id
"""
BEAT: Final = f"UPDATE nodes SET beat_at = {NOW} WHERE id = :me"
# Every commit rests on this row: shared, so that a node's transactions don't wait for each other; the reaper does.
ALIVE: Final = "SELECT 1 FROM nodes WHERE id = :me FOR SHARE"
SILENT: Final = f"DELETE FROM nodes WHERE beat_at < {NOW} - :lease RETURNING id"
# The same worker of this machine, restarted: its predecessor is dead if its process is.
NAMESAKES: Final = "SELECT id, pid FROM nodes WHERE host = :host AND worker = :worker"
REMOVE: Final = "DELETE FROM nodes WHERE id IN ({ids})"
# One reaper at a time, and its snapshot taken after the one before has committed: else it might take a row that
# the other has freed and a third node has leased meanwhile for a dead node's still.
REAPER: Final = "SELECT pg_advisory_xact_lock(1735455077)"
# A dead node's leases: also those that a commit of its last moment left behind.
FREE_DEAD: Final = """
UPDATE deliveries SET lease = NULL
WHERE lease IS NOT NULL AND NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.id = deliveries.lease)
"""
LET_GO_DEAD: Final = "DELETE FROM leases WHERE NOT EXISTS (SELECT 1 FROM nodes WHERE CAST(nodes.id AS text) = holder)"
WITHDRAWN_DEAD: Final = "DELETE FROM withdrawn WHERE NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.id = withdrawn.node)"
ORPHANS: Final = """
SELECT id, size FROM blobs
WHERE (node IS NOT NULL AND NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.id = blobs.node))
   OR (node IS NULL AND NOT EXISTS (SELECT 1 FROM messages WHERE content_ref = CAST(blobs.id AS text))
                    AND NOT EXISTS (SELECT 1 FROM kept WHERE content_ref = CAST(blobs.id AS text)))
"""
# A message of several deliveries is locked before the last of them can go, or two nodes that settle two of
# them at once would each see the other's still there, and the message would stay for ever.
LOCK_SHARED: Final = "SELECT id FROM messages WHERE id IN ({ids}) AND recipients > 1 ORDER BY id FOR UPDATE"
OWN_BLOBS: Final = "UPDATE blobs SET node = NULL WHERE id IN ({ids}) AND node = :me"
FORGET_CHUNKS: Final = "DELETE FROM chunks WHERE blob_id IN ({ids})"
FORGET_BLOBS: Final = "DELETE FROM blobs WHERE id IN ({ids})"
CHUNKS_SIZE: Final = "SELECT sum(length(data)) FROM chunks WHERE blob_id = :id"
DATABASE_SIZE: Final = "SELECT pg_database_size(current_database())"
KNOWN: Final = "SELECT 1 FROM messages WHERE id IN ({ids}) LIMIT 1"


# A group of accepts and outcomes, in one transaction and one round trip (see `postgres_wire`), so that no statement
# may need what another has answered. Division by zero is the one fault that plain SQL can be made to have: it undoes
# the group of a node whose row is gone.
WIRE_ALIVE: Final = "SELECT 1 / count(*) FROM (SELECT 1 FROM nodes WHERE id = $1 FOR SHARE) AS n"
FENCED_STATE: Final = "22012"

WIRE_LOCK_SHARED: Final = """
SELECT id FROM messages WHERE id IN (SELECT unnest($1::bigint[])) AND recipients > 1 ORDER BY id FOR UPDATE
"""

# Deliveries that are over, and their trace. It happened, so the trace says so, though another node had the lease or
# the delivery was dropped; then it is marked as late.
WIRE_DONE: Final = """
WITH e AS (
  SELECT * FROM unnest($2::bigint[], $3::bigint[], $4::float8[], $5::integer[], $6::text[], $7::text[])
    AS r(message_id, seq, at, n, kind, detail)
), d AS (
  DELETE FROM deliveries
  WHERE (message_id, n) IN (SELECT message_id, n FROM e) AND (lease = $1::bigint OR lease IS NULL)
  RETURNING message_id
), t AS (
  INSERT INTO trace (message_id, seq, at, n, kind, detail)
  SELECT message_id, seq, at, n, kind, CASE
    WHEN EXISTS (SELECT 1 FROM deliveries AS x WHERE x.message_id = e.message_id AND x.n = e.n
                 AND (x.lease = $1::bigint OR x.lease IS NULL)) THEN detail
    WHEN detail = '{}' THEN '{"late":true}'
    ELSE left(detail, -1) || ',"late":true}' END
  FROM e
)
SELECT message_id FROM d
"""

# A message leaves with its last delivery, and its chunks with it.
WIRE_LEAVE: Final = """
WITH gone AS (
  DELETE FROM messages
  WHERE id IN (SELECT unnest($1::bigint[]))
    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.message_id = messages.id)
  RETURNING content_ref
), refs AS (
  SELECT CAST(content_ref AS bigint) AS id FROM gone WHERE content_ref IS NOT NULL
), c AS (
  DELETE FROM chunks WHERE blob_id IN (SELECT id FROM refs)
)
DELETE FROM blobs WHERE id IN (SELECT id FROM refs)
"""


def _wire_insert(table: str, columns: tuple[str, ...], chosen: str = "*") -> str:
    arrays = ", ".join(f"${n}::{ARRAYS[table][column]}[]" for n, column in enumerate(columns, 1))
    names = ", ".join(columns)
    return f"INSERT INTO {table} ({names}) SELECT {chosen} FROM unnest({arrays}) AS r({names})"


# A delivery's lease comes as 1 for "this node" and is multiplied by the node's number, the last parameter.
WIRE: Final = {
    "alive": WIRE_ALIVE,
    "lock_shared": WIRE_LOCK_SHARED,
    "done": WIRE_DONE,
    "leave": WIRE_LEAVE,
    "messages": _wire_insert("messages", MESSAGE_COLUMNS),
    "deliveries": _wire_insert(
        "deliveries",
        DELIVERY_COLUMNS,
        ", ".join(DELIVERY_COLUMNS).replace("lease", f"lease * ${len(DELIVERY_COLUMNS) + 1}::bigint"),
    ),
    "trace": _wire_insert("trace", TRACE_COLUMNS),
    "dedupe": _wire_insert("dedupe", DEDUPE_COLUMNS),
}


@dataclass(frozen=True, slots=True)
class NodeStatements:
    join: Prepared
    beat: Prepared
    alive: Prepared
    silent: Prepared
    namesakes: Prepared
    remove: Prepared
    reaper: Prepared
    free_dead: Prepared
    let_go_dead: Prepared
    withdrawn_dead: Prepared
    orphans: Prepared
    lock_shared: Prepared
    own_blobs: Prepared
    forget_chunks: Prepared
    forget_blobs: Prepared
    chunks_size: Prepared
    database_size: Prepared
    known: Prepared


def node_statements() -> NodeStatements:
    """Compile all of them."""
    source = globals()
    return NodeStatements(**{f.name: prepare(source[f.name.upper()], "postgresql") for f in fields(NodeStatements)})
