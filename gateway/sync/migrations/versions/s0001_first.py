"""Pairings, their folders and items, appends under way, and what went wrong."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "s0001"
down_revision = None
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "sync_pairing",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("left_connector", sa.Text, nullable=False),
        sa.Column("left_mailbox", sa.Text, nullable=False),
        sa.Column("right_connector", sa.Text, nullable=False),
        sa.Column("right_mailbox", sa.Text, nullable=False),
        sa.Column("identity", sa.Text),
        sa.Column("batch", sa.Text, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("stage", sa.Text, nullable=False, server_default="planned"),
    )
    op.create_table(
        "sync_folder",
        sa.Column("id", Id, primary_key=True),
        sa.Column("pairing", sa.Text, nullable=False),
        sa.Column("left", sa.Text),
        sa.Column("right", sa.Text),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("left_token", sa.Text),
        sa.Column("right_token", sa.Text),
        sa.Column("left_mark", sa.Text),
        sa.Column("right_mark", sa.Text),
        sa.Column("is_known", sa.Boolean, nullable=False),
        sa.Column("limits", sa.Text),
        sa.Column("kind", sa.Text, nullable=False),
    )
    op.create_index("sync_folder_by_pairing", "sync_folder", ["pairing"])
    op.create_table(
        "sync_item",
        sa.Column("id", Id, primary_key=True),
        sa.Column("pairing", sa.Text, nullable=False),
        sa.Column("left", sa.Text),
        sa.Column("right", sa.Text),
        sa.Column("left_folder", sa.BigInteger, nullable=False),
        sa.Column("right_folder", sa.BigInteger, nullable=False),
        sa.Column("left_words", sa.Text, nullable=False),
        sa.Column("right_words", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("message_id", sa.Text),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("received_at", sa.Float),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("right_digest", sa.LargeBinary),
        sa.Column("left_object", sa.Text),
        sa.Column("right_object", sa.Text),
        sa.Column("right_version", sa.Text),
    )
    op.create_index("sync_item_by_left", "sync_item", ["pairing", "left"])
    op.create_index("sync_item_by_right", "sync_item", ["pairing", "right"])
    op.create_index("sync_item_by_left_folder", "sync_item", ["left_folder"])
    op.create_index("sync_item_by_right_folder", "sync_item", ["right_folder"])
    op.create_index("sync_item_by_left_object", "sync_item", ["pairing", "left_object"])
    op.create_table(
        "sync_intent",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("pairing", sa.Text, nullable=False),
        sa.Column("folder", sa.BigInteger, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("pair", sa.BigInteger, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("message_id", sa.Text),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("received_at", sa.Float),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("appended", sa.LargeBinary),
        sa.Column("replaces", sa.Text),
    )
    op.create_index("sync_intent_by_pairing", "sync_intent", ["pairing"])
    op.create_table(
        "sync_placed",
        sa.Column("pairing", sa.Text, primary_key=True),
        sa.Column("side", sa.Text, primary_key=True),
        sa.Column("item", sa.Text, primary_key=True),
        sa.Column("folder", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "sync_owed",
        sa.Column("pairing", sa.Text, primary_key=True),
        sa.Column("side", sa.Text, primary_key=True),
        sa.Column("item", sa.Text, primary_key=True),
    )
    op.create_table(
        "sync_problem",
        sa.Column("pairing", sa.Text, primary_key=True),
        sa.Column("folder", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("side", sa.Text, primary_key=True),
        sa.Column("item", sa.Text, primary_key=True),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger),
        sa.Column("message_id", sa.Text),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("received_at", sa.Float),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("version", sa.Text),
    )
    op.create_table(
        "sync_note",
        sa.Column("pairing", sa.Text, primary_key=True),
        sa.Column("side", sa.Text, primary_key=True),
        sa.Column("item", sa.Text, primary_key=True),
        sa.Column("folder", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "sync_journal",
        sa.Column("seq", Id, primary_key=True),
        sa.Column("pairing", sa.Text, nullable=False),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("sync_journal_by_pairing", "sync_journal", ["pairing"])
    op.create_table(
        "sync_pass",
        sa.Column("pairing", sa.Text, primary_key=True),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("began_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("is_done", sa.Boolean, nullable=False),
        sa.Column("fault", sa.Text, nullable=False),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("passes", sa.Integer, nullable=False),
        sa.Column("copied", sa.BigInteger, nullable=False),
        sa.Column("octets", sa.BigInteger, nullable=False),
    )
