"""Identity: one person, group, room or device, and the addresses it has or had on every network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, unique

from mappings.address import Address


@unique
class Kind(Enum):
    """What an identity stands for."""

    PERSON = "person"
    GROUP = "group"
    ROOM = "room"
    DEVICE = "device"


@unique
class Role(Enum):
    """How an identity holds an address. A FORMER one is still delivered to, and never shown."""

    PRIMARY = "primary"
    ALIAS = "alias"
    FORMER = "former"


@dataclass(frozen=True, slots=True)
class Held:
    """One address of an identity, with its role."""

    address: Address
    role: Role


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has which addresses.

    `name` is for people and need not be unique. `home` is the configured name of the connector that mail for this
    identity goes to; None where the routes decide. There is at most one PRIMARY address per network.
    """

    name: str
    addresses: tuple[Held, ...]
    kind: Kind = Kind.PERSON
    home: str | None = None

    def primary(self, network: str) -> Address | None:
        """Return the address to use and to show on a network, None where there is none."""
        for held in self.addresses:
            if held.role is Role.PRIMARY and held.address.network == network:
                return held.address
        return None

    def of(self, network: str) -> Iterator[Held]:
        """Yield the addresses on one network, in order."""
        return (held for held in self.addresses if held.address.network == network)


def addresses(*in_order: Address, former: tuple[Address, ...] = ()) -> tuple[Held, ...]:
    """Give roles to addresses in order: the first on each network is PRIMARY, the rest ALIAS; `former` are FORMER."""
    seen: set[str] = set()
    held = []
    for address in in_order:
        held.append(Held(address, Role.ALIAS if address.network in seen else Role.PRIMARY))
        seen.add(address.network)
    return (*held, *(Held(address, Role.FORMER) for address in former))
