"""The tables of the state of syncs, which `migrations/` builds; a test compares the two."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, Table, Text

METADATA: Final = MetaData()
VERSION_TABLE: Final = "sync_version"

Id: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself where the type is INTEGER to the letter."""

PAIRING: Final = Table(
    "sync_pairing",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("config", Text, nullable=False),
    Column("left_connector", Text, nullable=False),
    Column("left_mailbox", Text, nullable=False),
    Column("right_connector", Text, nullable=False),
    Column("right_mailbox", Text, nullable=False),
    Column("identity", Text),
    Column("batch", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("stage", Text, nullable=False, server_default="planned"),
)

FOLDER: Final = Table(
    "sync_folder",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("pairing", Text, nullable=False),
    Column("left", Text),
    Column("right", Text),
    Column("path", Text, nullable=False),
    Column("left_token", Text),
    Column("right_token", Text),
    Column("left_mark", Text),
    Column("right_mark", Text),
    Column("is_known", Boolean, nullable=False),
    Column("limits", Text),
    Column("kind", Text, nullable=False),
    Index("sync_folder_by_pairing", "pairing"),
)

ITEM: Final = Table(
    "sync_item",
    METADATA,
    Column("id", Id, primary_key=True),
    Column("pairing", Text, nullable=False),
    Column("left", Text),
    Column("right", Text),
    Column("left_folder", BigInteger, nullable=False),
    Column("right_folder", BigInteger, nullable=False),
    Column("left_words", Text, nullable=False),
    Column("right_words", Text, nullable=False),
    Column("size", BigInteger),
    Column("message_id", Text),
    Column("digest", LargeBinary),
    Column("received_at", Float),
    Column("kind", Text, nullable=False),
    Column("version", Text),
    Column("right_digest", LargeBinary),
    Column("left_object", Text),
    Column("right_object", Text),
    Column("right_version", Text),
    Index("sync_item_by_left", "pairing", "left"),
    Index("sync_item_by_right", "pairing", "right"),
    Index("sync_item_by_left_folder", "left_folder"),
    Index("sync_item_by_right_folder", "right_folder"),
    Index("sync_item_by_left_object", "pairing", "left_object"),
)

INTENT: Final = Table(
    "sync_intent",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("pairing", Text, nullable=False),
    Column("folder", BigInteger, nullable=False),
    Column("side", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("pair", BigInteger, nullable=False),
    Column("words", Text, nullable=False),
    Column("size", BigInteger),
    Column("message_id", Text),
    Column("digest", LargeBinary),
    Column("received_at", Float),
    Column("kind", Text, nullable=False),
    Column("version", Text),
    Column("appended", LargeBinary),
    Column("replaces", Text),
    Index("sync_intent_by_pairing", "pairing"),
)

PLACED: Final = Table(
    "sync_placed",
    METADATA,
    Column("pairing", Text, primary_key=True),
    Column("side", Text, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("folder", BigInteger, nullable=False),
)

OWED: Final = Table(
    "sync_owed",
    METADATA,
    Column("pairing", Text, primary_key=True),
    Column("side", Text, primary_key=True),
    Column("item", Text, primary_key=True),
)
"""What was replaced, and is still to be removed."""

PROBLEM: Final = Table(
    "sync_problem",
    METADATA,
    Column("pairing", Text, primary_key=True),
    Column("folder", BigInteger, primary_key=True, autoincrement=False),
    Column("side", Text, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("code", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("words", Text, nullable=False),
    Column("size", BigInteger),
    Column("message_id", Text),
    Column("digest", LargeBinary),
    Column("received_at", Float),
    Column("kind", Text, nullable=False),
    Column("version", Text),
)

NOTE: Final = Table(
    "sync_note",
    METADATA,
    Column("pairing", Text, primary_key=True),
    Column("side", Text, primary_key=True),
    Column("item", Text, primary_key=True),
    Column("folder", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Column("at", Float, nullable=False),
)
"""What got across, but not as it was."""

JOURNAL: Final = Table(
    "sync_journal",
    METADATA,
    Column("seq", Id, primary_key=True),
    Column("pairing", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", Float, nullable=False),
    Index("sync_journal_by_pairing", "pairing"),
)
"""What was done with a pairing's course, in order."""

PASS: Final = Table(
    "sync_pass",
    METADATA,
    Column("pairing", Text, primary_key=True),
    Column("who", Text, nullable=False),
    Column("began_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("is_done", Boolean, nullable=False),
    Column("fault", Text, nullable=False),
    Column("report", Text, nullable=False),
    Column("passes", Integer, nullable=False),
    Column("copied", BigInteger, nullable=False),
    Column("octets", BigInteger, nullable=False),
)
"""Of each pairing the pass that is under way, or else the last one, for whoever asks how things stand; and in all
passes together what was copied."""
