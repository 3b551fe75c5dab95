"""History: who changed the mapping, when and why; what changed between two revisions; and undoing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from gateway.mapping_desk import ldap
from gateway.mapping_desk.desk import Desk, DeskError
from gateway.mapping_desk.edit import Author
from mappings import store
from mappings.identity import Identity
from mappings.store import Revision

MOST_SHOWN: Final = 1000
"""Changes of one revision that are told one by one."""

Pairs = list[tuple[Identity | None, Identity | None]]


@dataclass(frozen=True, slots=True)
class Made:
    """A revision that was made; the newest one, not `is_new`, where nothing had to be changed.

    `changes` is empty where they are too many to be told one by one.
    """

    revision: Revision
    is_new: bool
    changes: Pairs


def log(desk: Desk, *, limit: int, which: str | None = None) -> list[Revision]:
    """Return the newest revisions, newest first; those of one identity where it is named."""
    with desk.reading() as connection:
        identity = None
        if which is not None:
            # One that was removed is known by its number still.
            identity = int(which) if which.isdecimal() else desk.one(connection, which).id
        return store.log(connection, limit=limit, identity=identity)


def diff(desk: Desk, older: int, newer: int | None = None) -> Pairs:
    """Return (before, after) of each identity that differs between two revisions; the newest where one is named."""
    with desk.reading() as connection:
        try:
            return store.diff(connection, older, store.revision(connection) if newer is None else newer)
        except ValueError as e:
            raise DeskError(str(e)) from None


def rollback(desk: Desk, author: Author, number: int | None, to: int | None) -> Made:
    """Undo one revision, or everything after the revision `to`."""
    if (number is None) == (to is None):
        raise DeskError("name either the revision to undo, or with --to the one to go back to")
    what = f"undone revision {number}" if to is None else f"back to revision {to}"
    with desk.changing() as connection:
        before = store.revision(connection)
        why = f"{what}{f': {author.why}' if author.why else ''}"
        store.rollback(connection, number, to=to, who=author.who, why=why, at=desk.clock())
        made = made_since(connection, before)
    ldap.forget(desk)
    return made


def made_since(connection: Connection, before: int) -> Made:
    """Return what the newest revision is and changed, where it is another one than before."""
    (newest,) = store.log(connection, limit=1)
    is_new = newest.number != before
    few = newest.added + newest.changed + newest.removed <= MOST_SHOWN
    return Made(newest, is_new, store.diff(connection, before, newest.number) if is_new and few else [])


def find(desk: Desk, text: str, limit: int) -> list[Identity]:
    """Return identities by a number, by an address that they hold at any time, or by a text in them."""
    text = text.strip()
    found: dict[int, Identity] = {}
    with desk.reading() as connection:
        if text.isdecimal() and (one := store.get(connection, int(text))) is not None:
            found[one.id] = one
        # An address may be written in another way than it is stored.
        address = desk.address_in(text)
        if address is not None:
            for key in desk.networks.get(address.network).lookup_keys(address):
                found |= {who.id: who for who in store.find(connection, address.network, key)}
        if not found:
            found |= {who.id: who for who in store.search(connection, text, limit)}
    return list(found.values())[:limit]
