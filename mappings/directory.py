"""Directory: the identities as a table looks them up, by network and comparison key.

A directory is immutable and read by many threads; `MemoryDirectory` holds them as objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from mappings.address import Address
from mappings.identity import Identity, Kind, Role, Stage


class Person:
    """An identity as mapping and routing need it: its addresses of one moment, apart by what they are for."""

    __slots__ = ("copy_home", "former", "home", "identity", "is_timed", "kind", "name", "primaries", "stage")

    def __init__(self, identity: Identity, now: float | None = None) -> None:
        """Take the addresses that hold at `now`; None takes them all, for identities that are not timed."""
        self.identity = identity
        self.name = identity.name
        self.kind: Kind = identity.kind
        self.home = identity.home
        self.copy_home = identity.copy_home
        self.stage: Stage | None = identity.stage
        self.is_timed = now is not None
        held = identity.addresses if now is None else [h for h in identity.addresses if h.holds_at(now)]
        self.primaries: Mapping[str, Address] = {h.address.network: h.address for h in held if h.role is Role.PRIMARY}
        self.former = frozenset((h.address.network, h.address.key) for h in held if h.role is Role.FORMER)

    def fallback(self) -> Address | None:
        """Return the address to use where a network has no primary: smtp's, or the first."""
        return self.primaries.get("smtp") or next(iter(self.primaries.values()), None)

    def is_former(self, address: Address) -> bool:
        return (address.network, address.key) in self.former


class Directory(Protocol):
    """Identities by address."""

    def __len__(self) -> int: ...

    def find(self, network: str, key: str, now: float) -> Person | None:
        """Return who holds the address with this comparison key at this moment, None where nobody does."""
        ...

    def has_network(self, network: str) -> bool:
        """Tell whether anybody may have an address on a network, without looking for one."""
        ...

    def identities(self) -> Iterator[Identity]:
        """Yield all of them, in the order of their numbers or as they were given."""
        ...

    @property
    def homes(self) -> frozenset[str]:
        """The connectors that are anybody's home, or get copies."""
        ...


class MemoryDirectory:
    """Identities held as objects: for some thousands of them, and for what changed since a snapshot was made."""

    def __init__(self, identities: Iterable[Identity]) -> None:
        """Of two that claim one address the first has it; see `mappings.checks.collisions`."""
        self._people = [Person(identity) for identity in identities]
        self._keys: dict[str, dict[str, Person]] = {}
        self._timed: dict[tuple[str, str], list[Identity]] = {}
        for person in self._people:
            for held in person.identity.addresses:
                address = held.address
                if person.identity.is_timed:
                    self._timed.setdefault((address.network, address.key), []).append(person.identity)
                    self._keys.setdefault(address.network, {})
                else:
                    self._keys.setdefault(address.network, {}).setdefault(address.key, person)

    def __len__(self) -> int:
        return len(self._people)

    def find(self, network: str, key: str, now: float) -> Person | None:
        keys = self._keys.get(network)
        if keys is None:
            return None
        person = keys.get(key)
        if person is None and self._timed:
            for identity in self._timed.get((network, key), ()):
                if any(
                    h.address.key == key and h.address.network == network and h.holds_at(now)
                    for h in identity.addresses
                ):
                    return Person(identity, now)
        return person

    def has_network(self, network: str) -> bool:
        return network in self._keys

    def identities(self) -> Iterator[Identity]:
        return (person.identity for person in self._people)

    @property
    def homes(self) -> frozenset[str]:
        return frozenset(home for p in self._people for home in (p.home, p.copy_home) if home is not None)
