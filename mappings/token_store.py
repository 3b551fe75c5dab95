"""Where the numbers of `mappings.tokens` are kept, on a Connection that the caller opens, commits and closes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from mappings.address import Address
from mappings.schema import tokens

_BATCH: Final = 500


def load(connection: Connection, since: float = float("-inf")) -> Iterator[tuple[int, Address]]:
    """Yield the numbers given or used since a time, in seconds since 1970, with whom they stand for."""
    columns = select(tokens.c.number, tokens.c.network, tokens.c.value, tokens.c.key).where(tokens.c.used_at >= since)
    for number, network, value, key in connection.execute(columns):
        yield number, Address(network, value, key)


def store(connection: Connection, given: Iterable[tuple[int, Address]], at: float) -> list[tuple[int, Address]]:
    """Store numbers and return whom each stands for now: somebody else, where another node gave it first.

    Durable once the caller has committed.
    """
    found = []
    for number, address in given:
        values = {
            "number": number,
            "network": address.network,
            "value": address.value,
            "key": address.key,
            "used_at": at,
        }
        try:
            with connection.begin_nested():
                connection.execute(insert(tokens).values(values))
        except IntegrityError:
            query = select(tokens.c.network, tokens.c.value, tokens.c.key).where(tokens.c.number == number)
            address = Address(*connection.execute(query).one())
        found.append((number, address))
    return found


def touch(connection: Connection, numbers: Iterable[int], at: float) -> None:
    """Note that numbers were used: shown, or written to."""
    wanted = list(numbers)
    for start in range(0, len(wanted), _BATCH):
        batch = wanted[start : start + _BATCH]
        connection.execute(update(tokens).where(tokens.c.number.in_(batch)).values(used_at=at))


def prune(connection: Connection, before: float) -> list[int]:
    """Take back the numbers that nobody used since a time, and return them."""
    gone = [number for (number,) in connection.execute(select(tokens.c.number).where(tokens.c.used_at < before))]
    connection.execute(delete(tokens).where(tokens.c.used_at < before))
    return gone
