"""Up to which revision each node has its queue by the mapping, while mailboxes are cut over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "m0004"
down_revision = "m0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mapping_followers",
        sa.Column("node", sa.Text, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("mark", sa.Text, nullable=False),
    )
