"""StoredDirectory: identities looked up in the database one by one, for a few questions of an operator.

It serves within the transaction of its Connection, and notes whom it found, so that an answer can name its sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from sqlalchemy import Connection

from mappings import store
from mappings.directory import Person
from mappings.identity import Identity
from mappings.store import Facts


class StoredDirectory:
    """A Directory over a Connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.found: dict[tuple[str, str], Identity] = {}
        """Whoever was found, by network and comparison key."""

    @cached_property
    def _facts(self) -> Facts:
        return store.facts(self._connection)

    def __len__(self) -> int:
        return self._facts.size

    def find(self, network: str, key: str, now: float) -> Person | None:
        for who in store.find(self._connection, network, key):
            if any(held.address.key == key and held.holds_at(now) for held in who.of(network)):
                self.found[network, key] = who
                return Person(who, now if who.is_timed else None)
        return None

    def has_network(self, network: str) -> bool:
        return network in self._facts.networks

    def identities(self) -> Iterator[Identity]:
        return store.load(self._connection)

    @property
    def homes(self) -> frozenset[str]:
        return self._facts.homes
