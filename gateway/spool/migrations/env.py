"""Alembic's entry: runs the migrations on the connection that `upgrade` hands in."""

from __future__ import annotations

from alembic import context

from gateway.spool.schema import VERSION_TABLE, metadata, with_postgresql_options

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=with_postgresql_options() if connection.dialect.name == "postgresql" else metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
