"""Identity: one person, group, room or device, and the addresses it has or had on every network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, unique

from mappings.address import Address


@unique
class Kind(Enum):
    """What an identity stands for."""

    PERSON = "person"
    GROUP = "group"
    ROOM = "room"
    DEVICE = "device"
    CONTACT = "contact"
    """Somebody elsewhere, whom the directory names."""


@unique
class Role(Enum):
    """How an identity holds an address. A FORMER one is still delivered to, and never shown."""

    PRIMARY = "primary"
    ALIAS = "alias"
    FORMER = "former"


@unique
class Stage(Enum):
    """Where an identity stands in a merger."""

    BEFORE = "before"
    COEXISTING = "coexisting"
    CUTTING = "cutting"
    """It is being cut over: what comes for it is kept in the spool until it stands elsewhere."""
    MOVED = "moved"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Held:
    """One address of an identity, with its role.

    `since` and `until` bound the time in which it is the identity's, in seconds since 1970; None where unbounded.
    Before and after it the address is nobody's.
    """

    address: Address
    role: Role
    since: float | None = None
    until: float | None = None

    def holds_at(self, now: float) -> bool:
        return (self.since is None or self.since <= now) and (self.until is None or now < self.until)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has which addresses.

    `name` is for people and need not be unique. `home` is the configured name of the connector that mail for this
    identity goes to; None where the routes decide. There is at most one PRIMARY address per network at a time.
    `id` is the store's number, 0 where it is in no store; two identities are equal whatever it is.
    """

    name: str
    addresses: tuple[Held, ...]
    kind: Kind = Kind.PERSON
    home: str | None = None
    stage: Stage | None = None
    copy_home: str | None = None
    """A second connector whose mailbox gets a copy of all mail, as during coexistence."""
    attributes: tuple[tuple[str, str], ...] = ()
    """Free facts about the identity, by name, sorted; `ref` is its key in the directory that it came from."""
    members: tuple[Address, ...] = ()
    """Of a group: addresses on any network, those of other groups too."""
    owner: Address | None = None
    """Of a group: who gets the reports about its members; the reverse-path where the gateway expands it."""
    expand: bool = True
    """Of a group: it is expanded here; False leaves that to its home."""
    id: int = field(default=0, compare=False)

    @property
    def is_timed(self) -> bool:
        """Whether an address is bounded in time, so that who it is depends on the moment."""
        return any(held.since is not None or held.until is not None for held in self.addresses)

    def attribute(self, name: str) -> str | None:
        return next((value for key, value in self.attributes if key == name), None)

    def primary(self, network: str) -> Address | None:
        """Return the address to use and to show on a network, None where there is none."""
        for held in self.addresses:
            if held.role is Role.PRIMARY and held.address.network == network:
                return held.address
        return None

    def in_ascii(self, network: str, now: float) -> Address | None:
        """Return a current address on a network that is all ASCII, the primary or else the first; None for none."""
        fit = [
            held
            for held in self.of(network)
            if held.role is not Role.FORMER and held.holds_at(now) and held.address.value.isascii()
        ]
        return min(fit, key=lambda held: held.role is not Role.PRIMARY).address if fit else None

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
