"""LayeredDirectory: a snapshot, and over it what changed since it was made.

Promises: immutable, as every Directory; `with_changes` makes another over the same snapshot in time that grows with
the changes alone. A number that was changed or removed is looked up above and never below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from typing import Final
from zlib import crc32

from mappings.directory import Person, person_of
from mappings.identity import Identity
from mappings.record import FINGERPRINT_BITS, TAB, decode, fingerprints_in, seed
from mappings.snapshot import Snapshot
from mappings.store import Facts

_MASK: Final = (1 << FINGERPRINT_BITS) - 1


class LayeredDirectory:
    """Identities in a snapshot and in a layer of records above it."""

    def __init__(
        self,
        base: Snapshot,
        facts: Facts,
        *,
        records: Mapping[int, str | None] | None = None,
        holders: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        """Lay `records` over the base, None for those removed; `holders` are their numbers by fingerprint."""
        self.base = base
        self._facts = facts
        self._networks = {network: (network.encode(), seed(network)) for network in facts.networks}
        self._records = records or {}
        self._holders = holders or {}

    def __len__(self) -> int:
        return self._facts.size

    @property
    def changes(self) -> int:
        """How many identities are looked up above the snapshot, or known to be gone."""
        return len(self._records)

    @property
    def homes(self) -> frozenset[str]:
        return self._facts.homes

    @property
    def cutting(self) -> frozenset[int]:
        """The numbers of those who are being cut over."""
        return self._facts.cutting

    def has_network(self, network: str) -> bool:
        return network in self._networks

    def find(self, network: str, key: str, now: float) -> Person | None:
        known = self._networks.get(network)
        if known is None or not key:
            return None
        name, start = known
        octets = key.encode("utf-8", "surrogatepass")
        fingerprint = crc32(octets, start) & _MASK
        if not self._records:
            return self.base.find(fingerprint, name, octets, now, ())
        for number in self._holders.get(fingerprint, ()):
            record = self._records[number]
            if record is not None:
                person = person_of(record.encode().split(TAB), name, octets, now)
                if person is not None:
                    return person
        return self.base.find(fingerprint, name, octets, now, self._records)

    def identities(self) -> Iterator[Identity]:
        above = (decode(record) for _, record in sorted(self._records.items()) if record is not None)
        below = (
            who for who in (decode(record.decode()) for record in self.base.records()) if who.id not in self._records
        )
        return merge(below, above, key=lambda who: who.id)

    def with_changes(
        self, changed: Iterable[tuple[int, str]], removed: Iterable[int], facts: Facts
    ) -> LayeredDirectory:
        """Return a directory with other records in place of those of some numbers, and without others."""
        records = dict(self._records)
        holders = dict(self._holders)
        for number, record in (*changed, *((number, None) for number in removed)):
            before = records.get(number)
            for each in fingerprints_in(before) if before is not None else ():
                left = tuple(other for other in holders[each] if other != number)
                if left:
                    holders[each] = left
                else:
                    del holders[each]
            for each in fingerprints_in(record) if record is not None else ():
                holders[each] = (*holders.get(each, ()), number)
            records[number] = record
        return LayeredDirectory(self.base, facts, records=records, holders=holders)
