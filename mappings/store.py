"""Store: the identities in a database, on a Connection that the caller opens, commits and closes.

Promises: `save` replaces everything or nothing, by the caller's transaction; the generation grows with each save, so
that a node sees with one small query whether its snapshot is the newest. Works on SQLite and PostgreSQL.
The tables are made by `mappings.migrations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from mappings.address import Address
from mappings.identity import Held, Identity, Kind, Role

metadata: Final = MetaData()

state: Final = Table(
    "mapping_state",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1", name="mapping_state_one_row"), primary_key=True),
    Column("generation", BigInteger, nullable=False),
)

identities: Final = Table(
    "mapping_identities",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("home", Text),
)

addresses: Final = Table(
    "mapping_addresses",
    metadata,
    Column("network", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("identity_id", Integer, ForeignKey("mapping_identities.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Index("mapping_addresses_by_identity", "identity_id", "position"),
)

_BATCH: Final = 2000


class StaleMapping(Exception):
    """The stored mapping changed since it was read: read it again and repeat the change."""


def generation(connection: Connection) -> int:
    """Return the number of the newest save, 0 where nothing was ever saved."""
    found: int = connection.execute(select(state.c.generation)).scalar_one()
    return found


def load(connection: Connection) -> tuple[list[Identity], int]:
    """Return (identities in the order they were saved in, generation).

    Both are of one moment where the transaction is at least REPEATABLE READ, or on SQLite.
    """
    number = generation(connection)
    columns = select(
        identities.c.id,
        identities.c.name,
        identities.c.kind,
        identities.c.home,
        addresses.c.network,
        addresses.c.value,
        addresses.c.key,
        addresses.c.role,
    )
    query = columns.join(addresses, isouter=True).order_by(identities.c.id, addresses.c.position)
    found = []
    for _, group in groupby(connection.execute(query), key=lambda row: row.id):
        rows = list(group)
        held = tuple(Held(Address(r.network, r.value, r.key), Role(r.role)) for r in rows if r.network is not None)
        found.append(Identity(rows[0].name, held, Kind(rows[0].kind), rows[0].home))
    return found, number


def save(connection: Connection, people: Iterable[Identity], *, expected: int | None = None) -> int:
    """Replace all stored identities and return the new generation. Durable once the caller has committed.

    `expected` is the generation that the change was made from.
    Raises: StaleMapping where `expected` is not the stored one; IntegrityError where two identities claim one address.
    """
    # First of all, since it takes the row's lock: of two that save at once the later sees what the first has made.
    advance = update(state).values(generation=state.c.generation + 1)
    if expected is not None:
        advance = advance.where(state.c.generation == expected)
    if connection.execute(advance).rowcount != 1:
        raise StaleMapping(f"the mapping is not of generation {expected} any more; read it again")
    connection.execute(delete(addresses))
    connection.execute(delete(identities))
    people = iter(people)
    first = 0
    while batch := list(islice(people, _BATCH)):
        connection.execute(insert(identities), list(_identity_rows(batch, first)))
        rows = list(_address_rows(batch, first))
        if rows:
            connection.execute(insert(addresses), rows)
        first += len(batch)
    return generation(connection)


def _identity_rows(batch: list[Identity], first: int) -> Iterator[dict[str, Any]]:
    for id, who in enumerate(batch, first):
        yield {"id": id, "name": who.name, "kind": who.kind.value, "home": who.home}


def _address_rows(batch: list[Identity], first: int) -> Iterator[dict[str, Any]]:
    for id, who in enumerate(batch, first):
        for position, held in enumerate(who.addresses):
            yield {
                "network": held.address.network,
                "key": held.address.key,
                "value": held.address.value,
                "role": held.role.value,
                "identity_id": id,
                "position": position,
            }
