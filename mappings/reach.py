"""Reach: which network's people cannot answer whom, since their network has no form for the address.

Promises: pure; everybody is looked at once, in the order given, and only counts and a few examples are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mappings.address import Address
from mappings.identity import Identity, Role

_EXAMPLES: Final = 5

Shown = Callable[[Address, str], Address]
"""Return the form under which an address is shown on a network; it is of another network where it has none there."""


@dataclass(frozen=True, slots=True)
class Gap:
    """People of `network` cannot answer `count` identities, of which the first are named.

    `of` is the network of their addresses that would be shown.
    """

    network: str
    of: str
    count: int
    examples: tuple[tuple[str, Address], ...]

    @property
    def text(self) -> str:
        shown = ", ".join(f"{name} ({address})" for name, address in self.examples)
        more = f" and {self.count - len(self.examples)} more" if self.count > len(self.examples) else ""
        return f"people of {self.network} cannot answer {self.count} with {self.of} addresses alone: {shown}{more}"

    @property
    def mend(self) -> str:
        return (
            f"give {self.network} a gate under [mapping.gates], add a rule from {self.of} to {self.network}, "
            f"or give them {self.network} addresses"
        )

    def __str__(self) -> str:
        return f"{self.text}; {self.mend}"


def find_gaps(identities: Iterable[Identity], networks: Sequence[str], shown: Shown) -> list[Gap]:
    """Return who cannot be answered from where, by network and by the network of the addresses; see `Gap`.

    `networks` are those whose people get mail. An identity that has an address on a network is answered there.
    """
    counts: dict[tuple[str, str], int] = {}
    examples: dict[tuple[str, str], list[tuple[str, Address]]] = {}
    for identity in identities:
        primaries = {h.address.network: h.address for h in identity.addresses if h.role is Role.PRIMARY}
        if not primaries:
            continue
        best = primaries.get("smtp") or next(iter(primaries.values()))
        for network in networks:
            if network in primaries or shown(best, network).network == network:
                continue
            gap = (network, best.network)
            counts[gap] = counts.get(gap, 0) + 1
            some = examples.setdefault(gap, [])
            if len(some) < _EXAMPLES:
                some.append((identity.name, best))
    return [Gap(network, of, count, tuple(examples[network, of])) for (network, of), count in sorted(counts.items())]
