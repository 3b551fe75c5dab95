"""The tables of the stored mapping; `mappings.migrations` makes them, `mappings.store` reads and writes them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, CheckConstraint, Column, Float, Index, Integer, MetaData, Table, Text

metadata: Final = MetaData()

state: Final = Table(
    "mapping_state",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="mapping_state_one_row"), primary_key=True),
    # The newest revision. Its row is what writers lock, one after the other.
    Column("generation", BigInteger, nullable=False),
    # The number that the next new identity gets; none is used twice, so that an old revision means whom it meant.
    Column("next_id", BigInteger, nullable=False, server_default="1"),
    # The newest revision's mark.
    Column("mark", Text, nullable=False, server_default=""),
)

identities: Final = Table(
    "mapping_records",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    # The identity's key in the directory that it came from.
    Column("ref", Text),
    Column("record", Text, nullable=False),
    Index("mapping_records_by_ref", "ref"),
)

# Who may hold an address: its fingerprint, which others may share, and the identity, whose record tells for certain.
# In this order the rows are what a snapshot looks addresses up by, so that making one sorts nothing.
holders: Final = Table(
    "mapping_holders",
    metadata,
    Column("fingerprint", Integer, primary_key=True, autoincrement=False),
    Column("identity_id", BigInteger, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

# How many identities there are (what="identities"), of them at each home ("home"), and addresses on each network
# ("network"); under the number of each who is being cut over ("cutting") stands 1. A reader needs the names and must
# not look through a million records for them.
counts: Final = Table(
    "mapping_counts",
    metadata,
    Column("what", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

revisions: Final = Table(
    "mapping_revisions",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    # Random, so that revisions of one number in a database and in a restored one are told apart.
    Column("mark", Text, nullable=False),
    Column("added", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("removed", BigInteger, nullable=False),
)

# What each revision found; what it left is what the identity's next revision found, or its record of today.
changes: Final = Table(
    "mapping_changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("identity_id", BigInteger, primary_key=True, autoincrement=False),
    Column("before", Text),
    Index("mapping_changes_by_identity", "identity_id", "revision"),
    sqlite_with_rowid=False,
)

# Up to which revision a node holds what waits for those who are being cut over, and sends what waits for others.
followers: Final = Table(
    "mapping_followers",
    metadata,
    # The spool's name for the node: a worker's number, or the node's own.
    Column("node", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("mark", Text, nullable=False),
)

# Numbers that stand for correspondents on networks without room for their addresses; see `mappings.tokens`.
tokens: Final = Table(
    "mapping_tokens",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("network", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("used_at", Float, nullable=False),
    Index("mapping_tokens_by_use", "used_at"),
)


def plain(text: str) -> str:
    """Return text that every database takes: with a sign for what none has, or not all."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
