"""Identities as records, with their revisions.

What an earlier release stored becomes the first revision. Its tables stay as they are, for a node of it that still
runs; a later release drops them.
"""

from __future__ import annotations

import secrets
import time
from itertools import groupby
from typing import Any
from zlib import crc32

import sqlalchemy as sa
from alembic import op

revision = "m0002"
down_revision = "m0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("mapping_state", sa.Column("next_id", sa.BigInteger, nullable=False, server_default="1"))
    op.add_column("mapping_state", sa.Column("mark", sa.Text, nullable=False, server_default=""))
    records = op.create_table(
        "mapping_records",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("ref", sa.Text),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("mapping_records_by_ref", "mapping_records", ["ref"])
    holders = op.create_table(
        "mapping_holders",
        sa.Column("fingerprint", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("identity_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    counts = op.create_table(
        "mapping_counts",
        sa.Column("what", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    revisions = op.create_table(
        "mapping_revisions",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("mark", sa.Text, nullable=False),
        sa.Column("added", sa.BigInteger, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("removed", sa.BigInteger, nullable=False),
    )
    changes = op.create_table(
        "mapping_changes",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("identity_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("before", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index("mapping_changes_by_identity", "mapping_changes", ["identity_id", "revision"])
    _take_over(records, holders, counts, revisions, changes)


def _take_over(records: Any, holders: Any, counts: Any, revisions: Any, changes: Any) -> None:
    """Make what is stored a revision. Its numbers began at 0, which stands for a new identity now."""
    connection = op.get_bind()
    number = connection.execute(sa.text("SELECT generation FROM mapping_state")).scalar_one() + 1
    tally: dict[tuple[str, str], int] = {}
    found = 0
    last = -1
    query = sa.text(
        "SELECT i.id, i.name, i.kind, i.home, a.network, a.value, a.key, a.role "
        "FROM mapping_identities i LEFT JOIN mapping_addresses a ON a.identity_id = i.id ORDER BY i.id, a.position"
    )
    for old, group in groupby(connection.execute(query).all(), key=lambda row: row.id):
        rows = list(group)
        id = old + 1
        home = rows[0].home
        kind = rows[0].kind
        fields = [str(id), rows[0].name, home or "", "" if kind == "person" else f'{{"kind":"{kind}"}}']
        held = set()
        for row in rows:
            if row.network is None:
                continue
            fields += [row.role[0].upper() + row.network, row.value, "" if row.key == row.value else row.key]
            held.add(crc32(f"{row.network}:{row.key}".encode()) & 0x7FFFFFFF)
            tally["network", row.network] = tally.get(("network", row.network), 0) + 1
        if home is not None:
            tally["home", home] = tally.get(("home", home), 0) + 1
        connection.execute(sa.insert(records).values(id=id, record="\t".join(fields)))
        if held:
            rows_of_it = [{"fingerprint": each, "identity_id": id} for each in held]
            connection.execute(sa.insert(holders), rows_of_it)
        connection.execute(sa.insert(changes).values(revision=number, identity_id=id))
        found += 1
        last = old
    if not found:
        return
    tally["identities", ""] = found
    connection.execute(
        sa.insert(counts), [{"what": what, "name": name, "number": each} for (what, name), each in tally.items()]
    )
    mark = secrets.token_hex(8)
    connection.execute(
        sa.insert(revisions).values(
            number=number,
            at=time.time(),
            who="upgrade",
            why="stored by an earlier release, which kept no revisions",
            mark=mark,
            added=found,
            changed=0,
            removed=0,
        )
    )
    connection.execute(
        sa.text("UPDATE mapping_state SET generation = :number, mark = :mark, next_id = :next"),
        {"number": number, "mark": mark, "next": last + 2},
    )
