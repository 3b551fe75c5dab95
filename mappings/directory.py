"""Directory: the identities as a table looks them up, by network and comparison key.

A directory is immutable and read by many threads; `MemoryDirectory` holds them as objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import orjson

from mappings.address import Address
from mappings.identity import Identity, Kind, Role, Stage
from mappings.mail_rules import FORWARD
from mappings.record import FIRST, FORMER, HOME, MORE, NAME, PRIMARY, TAB, TIMED, WIDTH, decode

_LAZY: Final = frozenset(
    ("copy_home", "former", "forward", "home", "identity", "is_timed", "kind", "name", "primaries", "stage"),
)
_new: Final = object.__new__


class Person:
    """An identity as mapping and routing need it: its addresses of one moment, apart by what they are for.

    One that is made of a record decodes what is asked for and no more: mostly its name and one address.
    """

    __slots__ = ("_fields", *_LAZY)

    identity: Identity
    name: str
    kind: Kind
    home: str | None
    copy_home: str | None
    stage: Stage | None
    is_timed: bool
    forward: str | None
    """Where mail is forwarded to, as `mappings.mail_rules` reads it; None where it is not."""
    primaries: Mapping[str, Address]
    """The address to use and to show on each network that has one, by network."""
    former: frozenset[tuple[str, str]]
    """(network, key) of each former address."""

    def __init__(self, identity: Identity, now: float | None = None) -> None:
        """Take the addresses that hold at `now`; None takes them all, for identities that are not timed."""
        self._fields: list[bytes] | None = None
        self.identity = identity
        self.name = identity.name
        self.kind = identity.kind
        self.home = identity.home
        self.copy_home = identity.copy_home
        self.stage = identity.stage
        self.is_timed = now is not None
        self.forward = identity.attribute(FORWARD)
        held = identity.addresses if now is None else [h for h in identity.addresses if h.holds_at(now)]
        self.primaries = {h.address.network: h.address for h in held if h.role is Role.PRIMARY}
        self.former = frozenset((h.address.network, h.address.key) for h in held if h.role is Role.FORMER)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            """Fill the slot that was asked for, and those that come with it. Two threads at once fill in the same."""
            if name not in _LAZY:
                raise AttributeError(name)
            fields = self._fields
            if name == "primaries":
                self.primaries = {a.network: a for a in _addresses(fields, PRIMARY)}
            elif name == "former":
                self.former = frozenset((a.network, a.key) for a in _addresses(fields, FORMER))
            elif name == "identity":
                self.identity = decode(TAB.join(fields).decode())
            else:
                more = orjson.loads(fields[MORE]) if fields[MORE] else {}
                self.name = more.get("name", fields[NAME].decode())
                self.home = fields[HOME].decode() or more.get("home")
                self.kind = Kind(more["kind"]) if "kind" in more else Kind.PERSON
                self.stage = Stage(more["stage"]) if "stage" in more else None
                self.copy_home = more.get("copy_home")
                self.is_timed = False
                self.forward = dict(more["attributes"]).get(FORWARD) if "attributes" in more else None
            return object.__getattribute__(self, name)

    def primary(self, network: str) -> Address | None:
        """Return `primaries[network]`, None where there is none, without making the others."""
        fields = self._fields
        if fields is None:
            return self.primaries.get(network)
        tag = (PRIMARY + network).encode("utf-8", "surrogatepass")
        try:
            at = fields.index(tag, FIRST)
        except ValueError:
            return None
        if (at - FIRST) % WIDTH:  # a value that reads like a network with its sign
            return self.primaries.get(network)
        value, key = fields[at + 1].decode(), fields[at + 2]
        return Address(network, value, key.decode() if key else value)

    def fallback(self) -> Address | None:
        """Return the address to use where a network has no primary: smtp's, or the first."""
        return self.primaries.get("smtp") or next(iter(self.primaries.values()), None)

    def is_former(self, address: Address) -> bool:
        return (address.network, address.key) in self.former


def person_of(fields: list[bytes], network: bytes, key: bytes, now: float) -> Person | None:
    """Return the person of a record's fields where it holds an address at this moment, else None."""
    if fields[MORE].startswith(TIMED):
        identity = decode(TAB.join(fields).decode())
        return Person(identity, now) if _holds(identity, network.decode(), key.decode(), now) else None
    at = FIRST
    try:
        while True:
            at = fields.index(key, at)
            # Not where what reads like the key is a value with another key, or a network.
            part = (at - FIRST) % WIDTH
            if (part == 2 or (part == 1 and not fields[at + 1])) and fields[at - part][1:] == network:
                break
            at += 1
    except ValueError:
        return None
    person = _new(Person)
    person._fields = fields
    if fields[NAME]:
        person.name = fields[NAME].decode()
    return person


def _addresses(fields: list[bytes], sign: str) -> Iterator[Address]:
    """Yield the addresses of a role."""
    for at in range(FIRST, len(fields), WIDTH):
        tag, value, key = (field.decode() for field in fields[at : at + WIDTH])
        if tag[0] == sign:
            yield Address(tag[1:], value, key or value)


def _holds(identity: Identity, network: str, key: str, now: float) -> bool:
    return any(h.address.key == key and h.address.network == network and h.holds_at(now) for h in identity.addresses)


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
                if _holds(identity, network, key, now):
                    return Person(identity, now)
        return person

    def has_network(self, network: str) -> bool:
        return network in self._keys

    def identities(self) -> Iterator[Identity]:
        return (person.identity for person in self._people)

    @property
    def homes(self) -> frozenset[str]:
        return frozenset(home for p in self._people for home in (p.home, p.copy_home) if home is not None)
