"""Identities, their addresses, and the generation of the whole."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "m0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    state = op.create_table(
        "mapping_state",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1", name="mapping_state_one_row"), primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(state, [{"id": 1, "generation": 0}])
    op.create_table(
        "mapping_identities",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("home", sa.Text),
    )
    op.create_table(
        "mapping_addresses",
        sa.Column("network", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("identity_id", sa.Integer, sa.ForeignKey("mapping_identities.id"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
    )
    op.create_index("mapping_addresses_by_identity", "mapping_addresses", ["identity_id", "position"])
