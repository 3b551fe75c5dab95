"""Checks of identities and rules against each other, before a table is made of them.

Promises: every mistake is listed at once, each in words that name what to mend; what passes has, for every address,
one owner, and for every recipient, a way that ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mappings.address import Address, AddressError
from mappings.identity import Identity, Role
from mappings.network import Registry
from mappings.networks.smtp import domain_key
from mappings.rule import Compiled, Rule, RuleError, compile_rule, find_loops


class MappingError(ValueError):
    """Identities and rules that contradict each other; `problems` lists every one, in words for the operator."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


class Person:
    """An identity as the table holds it: what delivery and display need, found by any of its addresses' keys."""

    __slots__ = ("delivery", "identity", "primaries")

    def __init__(self, identity: Identity, delivery: Address | None) -> None:
        self.identity = identity
        self.delivery = delivery
        """Where its mail goes, None where that is the primary in the network it was asked for."""
        self.primaries = {h.address.network: h.address for h in identity.addresses if h.role is Role.PRIMARY}

    def fallback(self) -> Address:
        """Return the address to use where a network has no primary: smtp's, or the first."""
        return self.primaries.get("smtp") or next(iter(self.primaries.values()))

    def is_former(self, address: Address) -> bool:
        return any(h.role is Role.FORMER and h.address.key == address.key for h in self.identity.of(address.network))


@dataclass(frozen=True, slots=True)
class Checked:
    """What passed: `keys` finds a person by network and comparison key; `domains` are in comparison form."""

    people: Sequence[Person]
    keys: Mapping[str, Mapping[str, Person]]
    rules: Sequence[Compiled]
    domains: frozenset[str]


def check(
    identities: Iterable[Identity],
    rules: Sequence[Rule],
    *,
    domains: Iterable[str],
    homes: Mapping[str, str],
    gates: Mapping[str, Address],
    networks: Registry,
) -> Checked:
    """Check everything; see `mappings.table.compile_table` for the arguments. Raises: MappingError."""
    problems: list[str] = []
    people: list[Person] = []
    keys: dict[str, dict[str, Person]] = {}
    for identity in identities:
        mistakes = _mistakes(identity, homes)
        problems += mistakes
        if mistakes:
            continue
        home = None if identity.home is None else identity.primary(homes[identity.home])
        person = Person(identity, home)
        people.append(person)
        for held in identity.addresses:
            other = keys.setdefault(held.address.network, {}).setdefault(held.address.key, person)
            if other is not person:
                names = f"{other.identity.name!r} and {identity.name!r}"
                problems.append(f"{held.address} is claimed by both {names}; take it from one of them")
    compiled: list[Compiled] = []
    for order, rule in enumerate(rules):
        try:
            compiled.append(compile_rule(rule, order, networks))
        except RuleError as e:
            problems.append(f"rule {order + 1} ({rule}): {e}")
    problems += find_loops(compiled)
    own = set()
    for domain in domains:
        try:
            own.add(domain_key(domain))
        except AddressError as e:
            problems.append(f"domain {domain!r}: {e.message}")
    for network, gate in gates.items():
        probe = networks.get("smtp").parse("postmaster@gate.example")
        if gate.network != network or networks.get(network).through(gate, probe) is None:
            problems.append(f"gate {gate} cannot stand for this gateway on network {network!r}")
    if problems:
        raise MappingError(problems)
    return Checked(people, keys, compiled, frozenset(own))


def _mistakes(identity: Identity, homes: Mapping[str, str]) -> list[str]:
    """Return what is wrong with one identity by itself."""
    who = repr(identity.name)
    current = [h.address.network for h in identity.addresses if h.role is not Role.FORMER]
    primary = [h.address.network for h in identity.addresses if h.role is Role.PRIMARY]
    found = []
    if not current:
        found.append(f"{who} has no current address, so its mail can go nowhere")
    for network in sorted(set(current)):
        if (n := primary.count(network)) != 1:
            found.append(f"{who} has {n} primary addresses on {network}; it needs exactly one")
    if identity.home is None:
        return found
    if identity.home not in homes:
        known = ", ".join(sorted(homes)) or "none"
        found.append(f"{who} has the home {identity.home!r}, which is no configured connector; there are: {known}")
    elif current and homes[identity.home] not in primary:
        network = homes[identity.home]
        found.append(
            f"{who} has its home at {identity.home!r}, which takes {network} addresses, and no {network} address"
        )
    return found
