"""The tables of the state of syncs."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA: Final = MetaData()

ABOUT: Final = Table("about", METADATA, Column("name", String, primary_key=True), Column("value", String))
"""The version of the tables."""

PAIRING: Final = Table(
    "pairing",
    METADATA,
    Column("id", String, primary_key=True),
    Column("config", String, nullable=False),
    Column("left_connector", String, nullable=False),
    Column("left_mailbox", String, nullable=False),
    Column("right_connector", String, nullable=False),
    Column("right_mailbox", String, nullable=False),
    Column("identity", String),
    Column("batch", String, nullable=False),
    Column("mode", String, nullable=False),
    Column("stage", String, nullable=False, server_default="planned"),
)

FOLDER: Final = Table(
    "folder",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("pairing", String, nullable=False, index=True),
    Column("left", String),
    Column("right", String),
    Column("path", Text, nullable=False),
    Column("left_token", Text),
    Column("right_token", Text),
    Column("left_mark", Text),
    Column("right_mark", Text),
    Column("is_known", Boolean, nullable=False),
)

ITEM: Final = Table(
    "item",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("pairing", String, nullable=False),
    Column("left", String),
    Column("right", String),
    Column("left_folder", Integer, nullable=False),
    Column("right_folder", Integer, nullable=False),
    Column("left_words", Text, nullable=False),
    Column("right_words", Text, nullable=False),
    Column("size", Integer),
    Column("message_id", Text),
    Column("digest", LargeBinary),
    Column("received_at", Float),
    Index("item_left", "pairing", "left"),
    Index("item_right", "pairing", "right"),
    Index("item_left_folder", "left_folder"),
    Index("item_right_folder", "right_folder"),
)

INTENT: Final = Table(
    "intent",
    METADATA,
    Column("key", String, primary_key=True),
    Column("pairing", String, nullable=False, index=True),
    Column("folder", Integer, nullable=False),
    Column("side", String, nullable=False),
    Column("source", String, nullable=False),
    Column("pair", Integer, nullable=False),
    Column("words", Text, nullable=False),
    Column("size", Integer),
    Column("message_id", Text),
    Column("digest", LargeBinary),
    Column("received_at", Float),
)

PROBLEM: Final = Table(
    "problem",
    METADATA,
    Column("pairing", String, primary_key=True),
    Column("folder", Integer, primary_key=True),
    Column("side", String, primary_key=True),
    Column("item", String, primary_key=True),
    Column("code", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("words", Text, nullable=False),
    Column("size", Integer),
    Column("message_id", Text),
    Column("digest", LargeBinary),
    Column("received_at", Float),
)

JOURNAL: Final = Table(
    "journal",
    METADATA,
    Column("seq", Integer, primary_key=True),
    Column("pairing", String, nullable=False, index=True),
    Column("step", String, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", Float, nullable=False),
)
"""What was done with a pairing's course, in order."""

PASS: Final = Table(
    "pass",
    METADATA,
    Column("pairing", String, primary_key=True),
    Column("who", String, nullable=False),
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
