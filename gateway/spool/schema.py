"""The spool's tables, as Core MetaData: one schema for SQLite and PostgreSQL.

`migrations/` builds the same tables; a test compares the two. The hot path (accept, then settle) writes one
row each to messages, deliveries and trace and touches no secondary index: both indexes of deliveries are
partial and hold only what no node has leased, and the trace is clustered by message id.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)

VERSION_TABLE: Final = "spool_version"

POSTGRESQL: Final = "postgresql"
"""Under this name a table's and an index's `info` has what PostgreSQL alone is told of it."""

metadata = MetaData()

# SQLite makes only an INTEGER key the row's own number; a BIGINT key would cost a second tree.
_Id = BigInteger().with_variant(Integer, "sqlite")
# Byte order: cheaper than a locale's, and the same on every machine.
_Key = Text().with_variant(Text(collation="C"), "postgresql")

# Rows live for seconds, so PostgreSQL must tidy up often: by count, not by share of a table that is mostly empty.
_SHORT_LIVED: Final = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_insert_threshold": "-1",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0",
    "autovacuum_analyze_threshold": "20000",
}
_TOAST: Final = {
    "toast_tuple_target": "8160",
    "toast.autovacuum_vacuum_scale_factor": "0",
    "toast.autovacuum_vacuum_threshold": "20000",
    "toast.autovacuum_vacuum_cost_delay": "0",
}

meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    # The fencing token: given once, never again.
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("host", Text, nullable=False),
    Column("worker", Integer, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("beat_at", Float, nullable=False),
)

_CONTENT = (
    ("arrived_at", Float, False),
    ("size", BigInteger, False),
    # How many deliveries the message came with: only one of several needs a lock when its last is settled.
    ("recipients", Integer, False),
    ("is_report", SmallInteger, False),
    ("traits", SmallInteger, True),
    ("edited", SmallInteger, False),
    ("content_offset", BigInteger, False),
    # Content file's name or chunk row's blob id; None where all of the content is in `content`.
    ("content_ref", Text, True),
    ("attributes", Text, True),
    ("envelope", Text, False),
    ("prefix", LargeBinary, False),
    # Last, so that SQLite reads the columns above without following the overflow pages.
    ("content", LargeBinary, False),
)


def _content_columns() -> list[Column[object]]:
    return [Column(name, kind, nullable=null) for name, kind, null in _CONTENT]


messages = Table(
    "messages",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    *_content_columns(),
    # Which rows name a content beside the row: empty for inline ones, so it costs them nothing.
    Index(
        "messages_content",
        "content_ref",
        sqlite_where=text("content_ref IS NOT NULL"),
        info={POSTGRESQL: {"where": text("content_ref IS NOT NULL")}},
    ),
    # A 4 KiB content stays in the row; what is larger lies beside it, uncompressed (STORAGE EXTERNAL).
    info={POSTGRESQL: {"with": {**_SHORT_LIVED, **_TOAST}}},
)

kept = Table(
    "kept",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=False),
    *_content_columns(),
    Column("kept_at", Float, nullable=False),
    Index(
        "kept_content",
        "content_ref",
        sqlite_where=text("content_ref IS NOT NULL"),
        info={POSTGRESQL: {"where": text("content_ref IS NOT NULL")}},
    ),
)

UNLEASED: Final = "lease IS NULL AND state = 'queued'"

# SQLite tests an index's own condition again for each entry; with these at hand it need not go to the row for it.
_COVERED: Final = ("state", "lease")

deliveries = Table(
    "deliveries",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("lane", _Key, nullable=False),
    Column("sender", _Key, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("next_attempt_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("delay_reported", SmallInteger, nullable=False),
    Column("notify", SmallInteger, nullable=False),
    Column("address", Text, nullable=False),
    Column("address_key", Text),
    Column("original", Text),
    Column("original_key", Text),
    Column("orcpt", Text),
    Column("reason", Text, nullable=False),
    Column("lease", BigInteger),
    # due(): the lanes, and each lane's earliest.
    Index(
        "deliveries_due",
        "lane",
        "next_attempt_at",
        *_COVERED,
        sqlite_where=text(UNLEASED),
        info={POSTGRESQL: {"where": text(UNLEASED)}},
    ),
    # claim(): by priority, then a seek from sender to sender, then the oldest.
    Index(
        "deliveries_fair",
        "lane",
        "priority",
        "sender",
        "next_attempt_at",
        *_COVERED,
        sqlite_where=text(UNLEASED),
        info={POSTGRESQL: {"where": text(UNLEASED)}},
    ),
    sqlite_with_rowid=False,
    info={POSTGRESQL: {"with": {**_SHORT_LIVED, "fillfactor": "80"}}},
)

trace = Table(
    "trace",
    metadata,
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("n", Integer),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_with_rowid=False,
)

dedupe = Table(
    "dedupe",
    metadata,
    Column("key", _Key, primary_key=True),
    Column("message_id", BigInteger, nullable=False),
    Column("at", Float, nullable=False),
    Index("dedupe_at", "at"),
    sqlite_with_rowid=False,
)

lanes = Table(
    "lanes",
    metadata,
    Column("lane", _Key, primary_key=True),
    Column("until", Float, nullable=False),
    Column("probe_by", BigInteger),
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("until", Float, nullable=False),
    sqlite_with_rowid=False,
)

# What an operator took over while it was leased to a node: the node is to forget it. A row leaves when its node has
# taken notice, or with its node.
withdrawn = Table(
    "withdrawn",
    metadata,
    Column("node", BigInteger, primary_key=True, autoincrement=False),
    Column("message_id", BigInteger, primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("dropped", SmallInteger, nullable=False),
    # The node has taken notice while it was sending it.
    Column("in_flight", SmallInteger, nullable=False),
    sqlite_with_rowid=False,
)

blobs = Table(
    "blobs",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    # The node that writes it, until a message owns it.
    Column("node", BigInteger),
    Column("size", BigInteger, nullable=False),
    # Copies of a message's row (a kept one) share its blob; it leaves with the last.
)

chunks = Table(
    "chunks",
    metadata,
    Column("blob_id", BigInteger, primary_key=True, autoincrement=False),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)


def with_postgresql_options() -> MetaData:
    """Return the tables with PostgreSQL's own options, which are in `info` until then: to take them, SQLAlchemy
    loads its dialect, which no gateway on SQLite needs."""
    for table in metadata.tables.values():
        told: list[Table | Index] = [table, *table.indexes]
        for each in told:
            for name, value in each.info.get(POSTGRESQL, {}).items():
                each.dialect_options[POSTGRESQL][name] = value
    return metadata
