"""The first schema."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Key = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
SHORT_LIVED = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_insert_threshold": "-1",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0",
    "autovacuum_analyze_threshold": "20000",
}
TOAST = {
    "toast_tuple_target": "8160",
    "toast.autovacuum_vacuum_scale_factor": "0",
    "toast.autovacuum_vacuum_threshold": "20000",
    "toast.autovacuum_vacuum_cost_delay": "0",
}


def _content() -> list[sa.Column[Any]]:
    return [
        sa.Column("id", Id, primary_key=True, autoincrement=False),
        sa.Column("arrived_at", sa.Float, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("recipients", sa.Integer, nullable=False),
        sa.Column("is_report", sa.SmallInteger, nullable=False),
        sa.Column("traits", sa.SmallInteger, nullable=True),
        sa.Column("edited", sa.SmallInteger, nullable=False),
        sa.Column("content_offset", sa.BigInteger, nullable=False),
        sa.Column("content_ref", sa.Text, nullable=True),
        sa.Column("attributes", sa.Text, nullable=True),
        sa.Column("envelope", sa.Text, nullable=False),
        sa.Column("prefix", sa.LargeBinary, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    ]


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "nodes",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("worker", sa.Integer, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("beat_at", sa.Float, nullable=False),
    )
    op.create_table("messages", *_content(), postgresql_with={**SHORT_LIVED, **TOAST})
    op.create_table("kept", *_content(), sa.Column("kept_at", sa.Float, nullable=False))
    for table in ("messages", "kept"):
        _partial_index(f"{table}_content", table, ["content_ref"], "content_ref IS NOT NULL")
    op.create_table(
        "deliveries",
        sa.Column("message_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("lane", Key, nullable=False),
        sa.Column("sender", Key, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("delay_reported", sa.SmallInteger, nullable=False),
        sa.Column("notify", sa.SmallInteger, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("address_key", sa.Text, nullable=True),
        sa.Column("original", sa.Text, nullable=True),
        sa.Column("original_key", sa.Text, nullable=True),
        sa.Column("orcpt", sa.Text, nullable=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("lease", sa.BigInteger, nullable=True),
        sqlite_with_rowid=False,
        postgresql_with={**SHORT_LIVED, "fillfactor": "80"},
    )
    unleased = "lease IS NULL AND state = 'queued'"
    _partial_index("deliveries_due", "deliveries", ["lane", "next_attempt_at", "state", "lease"], unleased)
    _partial_index(
        "deliveries_fair",
        "deliveries",
        ["lane", "priority", "sender", "next_attempt_at", "state", "lease"],
        unleased,
    )
    op.create_table(
        "trace",
        sa.Column("message_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("n", sa.Integer, nullable=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dedupe",
        sa.Column("key", Key, primary_key=True),
        sa.Column("message_id", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("dedupe_at", "dedupe", ["at"])
    op.create_table(
        "lanes",
        sa.Column("lane", Key, primary_key=True),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("probe_by", sa.BigInteger, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blobs",
        sa.Column("id", Id, primary_key=True, autoincrement=True),
        sa.Column("node", sa.BigInteger, nullable=True),
        sa.Column("size", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "chunks",
        sa.Column("blob_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Mail is mostly base64 or packed already: compressing it costs time and saves little.
        for table, column in (("messages", "content"), ("kept", "content"), ("chunks", "data")):
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade() -> None:
    raise NotImplementedError("the first schema has nothing before it: restore a backup instead")
