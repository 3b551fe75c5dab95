"""Person: what a connector is told of the identity that an address belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mappings.address import Address
from mappings.identity import Role

if TYPE_CHECKING:
    from mappings.table import Table


@dataclass(frozen=True, slots=True)
class Person:
    """An identity of the mapping, of any kind: its name, its present addresses on all networks, the primary ones first,
    and its free attributes."""

    name: str
    addresses: tuple[Address, ...]
    attributes: Mapping[str, str] = field(default_factory=dict, repr=False)


def person_of(table: Table, address: Address, now: float) -> Person | None:
    """Return whom an address belongs to now; None where it is nobody's, or was once. Asks nobody, waits for nothing."""
    identity = table.identity_of(address)
    if identity is None:
        return None
    held = [h for h in identity.addresses if h.role is not Role.FORMER and h.holds_at(now)]
    if all(h.address != address for h in held):
        return None
    held.sort(key=lambda h: h.role is not Role.PRIMARY)
    return Person(identity.name, tuple(h.address for h in held), dict(identity.attributes))
