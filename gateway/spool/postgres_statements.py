"""The statements that only a database of many nodes needs: joining, heartbeat, fencing, reaping, chunk rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from gateway.spool.statements import Prepared, prepare

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
