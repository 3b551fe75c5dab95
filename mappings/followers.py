"""Followers: the nodes of a gateway, each with the newest revision that its queue is in accord with.

A node holds what waits for people who are being cut over, and sends on what waits for the others; it says so here for
whoever waits for it. What was said of a mapping before a restore counts for nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, delete, insert, select, update

from mappings.schema import followers, revisions
from mappings.stored import Head


def confirm(connection: Connection, node: str, seen: Head) -> None:
    """Say that a node's queue is in accord with a revision. The caller commits."""
    values = {"revision": seen.number, "mark": seen.mark}
    if not connection.execute(update(followers).where(followers.c.node == node).values(values)).rowcount:
        connection.execute(insert(followers).values(node=node, **values))


def confirmed(connection: Connection, revision: int) -> set[str]:
    """Return the nodes whose queues are in accord with a revision, or with a later one."""
    is_ours = (revisions.c.number == followers.c.revision) & (revisions.c.mark == followers.c.mark)
    query = select(followers.c.node).join(revisions, is_ours).where(followers.c.revision >= revision)
    return set(connection.execute(query).scalars())


def forget(connection: Connection, alive: Collection[str]) -> None:
    """Drop what nodes said that are gone. The caller commits."""
    connection.execute(delete(followers).where(followers.c.node.not_in(list(alive))))
