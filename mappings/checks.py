"""Checks of identities and rules against each other, before a table is made of them.

Promises: every mistake is listed at once, each in words that name what to mend; what passes has, for every address,
one owner, and for every recipient, a way that ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mappings.address import Address, AddressError
from mappings.identity import Held, Identity, Kind, Role
from mappings.mail_rules import mistakes_in
from mappings.network import Registry, registry
from mappings.networks.smtp import domain_key
from mappings.prove import prove_rules
from mappings.rule import Compiled, Rule, RuleError, compile_rule


class MappingError(ValueError):
    """Identities and rules that contradict each other; `problems` lists every one, in words for the operator."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class Checked:
    """What passed: `domains` are in comparison form."""

    rules: Sequence[Compiled]
    domains: frozenset[str]


def check(
    rules: Sequence[Rule],
    *,
    domains: Iterable[str],
    gates: Mapping[str, Address],
    networks: Registry,
) -> tuple[Checked, list[str]]:
    """Check what the configuration says of the mapping; see `mappings.table.compile_table` for the arguments.

    Returns what can be used of it, and the mistakes.
    """
    problems: list[str] = []
    compiled: list[Compiled] = []
    for order, rule in enumerate(rules):
        try:
            compiled.append(compile_rule(rule, order, networks))
        except RuleError as e:
            problems.append(f"rule {order + 1} ({rule}): {e}")
    problems += [finding.text for finding in prove_rules(compiled, networks)]
    own = set()
    for domain in domains:
        try:
            own.add(domain_key(domain))
        except AddressError as e:
            problems.append(f"domain {domain!r}: {e.message}")
    for network, gate in gates.items():
        probe = networks.get("smtp").parse("postmaster@gate.example")
        there = networks.get(network)
        if gate.network != network or (there.through(gate, probe) is None and there.numbered(gate, 0) is None):
            problems.append(f"gate {gate} cannot stand for this gateway on network {network!r}")
    return Checked(compiled, frozenset(own)), problems


def check_identities(identities: Iterable[Identity], homes: Mapping[str, str]) -> list[str]:
    """Return what is wrong with identities, each by itself and together."""
    problems: list[str] = []
    claims: dict[tuple[str, str], list[tuple[Identity, Held]]] = {}
    for identity in identities:
        problems += mistakes_of(identity, homes)
        for held in identity.addresses:
            others = claims.setdefault((held.address.network, held.address.key), [])
            for other, theirs in others:
                if other is not identity and overlap(held, theirs):
                    names = f"{other.name!r} and {identity.name!r}"
                    problems.append(f"{held.address} is claimed by both {names}; take it from one of them")
            others.append((identity, held))
    return problems


def overlap(one: Held, other: Held) -> bool:
    """Tell whether two hold their address at one time."""
    inf = float("inf")
    starts = max(-inf if h.since is None else h.since for h in (one, other))
    ends = min(inf if h.until is None else h.until for h in (one, other))
    return starts < ends


def mistakes_of(identity: Identity, homes: Mapping[str, str] | None = None) -> list[str]:
    """Return what is wrong with one identity by itself. `homes` gives each connector's network, None where the
    connectors are not known."""
    who = repr(identity.name)
    current = [h for h in identity.addresses if h.role is not Role.FORMER]
    primary = [h for h in current if h.role is Role.PRIMARY]
    found = []
    if not current:
        found.append(f"{who} has no current address, so its mail can go nowhere")
    for network in sorted({h.address.network for h in current}):
        there = [h for h in primary if h.address.network == network]
        if not there:
            found.append(f"{who} has 0 primary addresses on {network}; it needs exactly one")
        elif any(overlap(a, b) for i, a in enumerate(there) for b in there[i + 1 :]):
            found.append(f"{who} has {len(there)} primary addresses on {network}; it needs exactly one")
    found += [
        f"{who} holds {h.address} until a time before it holds it; turn the two around"
        for h in identity.addresses
        if h.since is not None and h.until is not None and h.until <= h.since
    ]
    if identity.kind is not Kind.GROUP and (identity.members or identity.owner):
        found.append(f"{who} has members or an owner, and is no group")
    found += mistakes_in(identity, registry())
    for home in (identity.home, identity.copy_home):
        if home is None or homes is None:
            continue
        if home not in homes:
            known = ", ".join(sorted(homes)) or "none"
            found.append(f"{who} has the home {home!r}, which is no configured connector; there are: {known}")
        elif current and not any(h.address.network == homes[home] for h in primary):
            found.append(
                f"{who} has its home at {home!r}, which takes {homes[home]} addresses, and no {homes[home]} address"
            )
    return found
