"""Prove: rules and routes looked at together before they come into force.

Promises: no recipient that a rule takes is translated without end; none that a rule makes ends where no route leads;
no rule or route stands behind others that take all that it could take. What breaks this is found with an address that
shows it, and its way step by step, each tried with the rules themselves. Where it can be neither shown nor refuted
that rules feed each other without end, that is said too (`Kind.RING`), and they are refused.
Pure: sets of addresses are compared as languages (`mappings.language`), with an index by their literal ends, so that
thousands of rules and routes take less than a second. Identities are not looked at: who is somebody goes no further.
Networks whose normal form is not the text as a pattern writes it are tried with samples alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, unique
from functools import cached_property
from itertools import chain as joined
from typing import Final, Generic, TypeVar

from mappings.address import Address, AddressError
from mappings.language import (
    Chain,
    GaveUp,
    Language,
    Link,
    head_of,
    is_literal,
    literal,
    meeting,
    outside,
    run,
    tail_of,
)
from mappings.network import Registry, registry
from mappings.rule import MAX_STEPS, Compiled, Pattern, Place, Span

_SAMPLES: Final = ("x", "17", "5551234", "a.b-c")
_ODD: Final = (*"!#$%&'*+-./=?^_`{|}~[]", "é", "日", "a.b", "a+b", "A", "x" * 70)
_MOST_TAKERS: Final = 300
_LAST: Final = "\U0010ffff"

V = TypeVar("V")


@unique
class Kind(Enum):
    """What is wrong. All but HIDDEN are reasons not to load a set."""

    LOOP = "loop"
    """An address is translated without end."""
    RING = "ring"
    """Rules may feed each other without end, and it is not proved that they do not."""
    NOWHERE = "nowhere"
    """An address that a rule takes ends where no route leads, or where its network is not carried."""
    NEVER = "never"
    """A rule or route that no address comes to."""
    HIDDEN = "hidden"
    """A rule shows addresses that replies do not come back by, so that it is never used."""


@dataclass(frozen=True, slots=True)
class RouteLike:
    """A route as far as a proof needs it: `pattern` in the network's comparison form, `*` for any characters.

    A star before the last @ of a pattern takes no part of what follows it. `networks` are those whose addresses the
    connector takes, the one first that others are translated to; empty for all.
    """

    network: str
    pattern: str
    connector: str
    networks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.network}:{self.pattern} -> {self.connector}"

    def chain(self) -> Chain:
        head, at, tail = self.pattern.rpartition("@")
        if not at:
            return _globbed(self.pattern, ())
        return (*_globbed(head, ()), *literal(at), *_globbed(tail, "@"))


def _globbed(text: str, without: Iterable[str]) -> Chain:
    star = run(without, optional=True)
    links: list[Link] = []
    for char in text:
        if char != "*":
            links += literal(char)
        elif not links or links[-1] is not star:
            links.append(star)
    return tuple(links)


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason not to load a set: `rule` or `route` says which, counted from 0; `way` is that of `example`."""

    kind: Kind
    text: str
    rule: int | None = None
    route: int | None = None
    example: Address | None = None
    way: tuple[str, ...] = ()

    @property
    def refuses(self) -> bool:
        return self.kind is not Kind.HIDDEN

    def __str__(self) -> str:
        return self.text


def prove(
    rules: Sequence[Compiled],
    routes: Sequence[RouteLike] | None = None,
    *,
    domains: Iterable[str] = (),
    gates: Collection[str] = (),
    places: Iterable[Place] = (),
    ours: Iterable[Address] = (),
    is_somebody: Callable[[Address], bool] | None = None,
    networks: Registry | None = None,
) -> list[Finding]:
    """Return every reason why rules and routes should not come into force, rules first, in their order.

    Without `routes` nothing is said of where addresses end. `domains` are ours, in comparison form: whoever is nobody
    there is refused, which is an end. `gates` are the networks on which this gateway has an address that others are
    shown behind. `places` are where messages come from, for rules that ask for it. `ours` are addresses that stay as
    they are and that the routes must take. `is_somebody` tells of an identity's address; without it no single address
    that a rule names is looked at. Raises nothing.
    """
    networks = networks if networks is not None else registry()
    found: dict[tuple[Kind, int | None, int | None], Finding] = {}
    ways = _Ways(routes, frozenset(domains), gates, is_somebody, networks)
    signatures: dict[frozenset[int], Place | None] = {}
    for place in (None, *places):
        signatures.setdefault(frozenset(r.order for r in rules if r.takes_from(place)), place)
    never: list[dict[int, Finding]] = []
    for orders, place in signatures.items():
        here = _Proof([r for r in rules if r.order in orders], place, ways)
        for finding in (*here.loops(), *here.nowhere(), *here.hidden()):
            found.setdefault((finding.kind, finding.rule, finding.route), finding)
        never.append({f.rule: f for f in here.never() if f.rule is not None})
    for order in sorted({n for one in never for n in one}):
        in_force = [one for orders, one in zip(signatures, never, strict=True) if order in orders]
        if all(order in one for one in in_force):
            found.setdefault((Kind.NEVER, order, None), in_force[0][order])
    return sorted(
        (*found.values(), *ways.never(), *ways.without_route(ours)),
        key=lambda f: (f.rule is None, f.rule or 0, f.route is None, f.route or 0, f.kind.value),
    )


def prove_rules(rules: Sequence[Compiled], networks: Registry | None = None) -> list[Finding]:
    """Return every way in which rules alone translate, or may translate, without end. Raises nothing."""
    ways = _Ways(None, frozenset(), (), None, networks if networks is not None else registry())
    words = dict.fromkeys(word for r in rules for word in r.rule.source)
    places = (None, *(Place(word.partition(":")[0], word.partition(":")[2] or None) for word in words))
    found: dict[tuple[Kind, int | None], Finding] = {}
    for place in places:
        for finding in _Proof([r for r in rules if r.takes_from(place)], place, ways).loops():
            found.setdefault((finding.kind, finding.rule), finding)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class _Taker:
    """A chain of addresses that a rule, a route or a domain takes, with its literal ends."""

    chain: Chain
    head: str
    tail: str
    owner: int
    """The rule's or route's place; -1 for a domain of ours."""
    is_literal: bool

    @classmethod
    def of(cls, chain: Chain, owner: int) -> _Taker:
        return cls(chain, head_of(chain), tail_of(chain), owner, is_literal(chain))


class _Starts(Generic[V]):
    """Values by text, found by another text that begins so, or that they begin with."""

    def __init__(self) -> None:
        self._values: dict[str, V] = {}
        self._lengths: set[int] = set()
        self._sorted: list[str] | None = None

    def setdefault(self, text: str, value: V) -> V:
        if text not in self._values:
            self._sorted = None
            self._lengths.add(len(text))
        return self._values.setdefault(text, value)

    def shorter(self, text: str) -> Iterator[V]:
        """Yield the values of texts that the given one begins with, its own too."""
        if len(self._values) <= len(self._lengths):
            yield from (value for start, value in self._values.items() if text.startswith(start))
            return
        for length in self._lengths:
            if length <= len(text) and (value := self._values.get(text[:length])) is not None:
                yield value

    def longer(self, text: str) -> list[V]:
        """Return the values of longer texts that begin with the given one."""
        first, last = self._range(text)
        return [self._values[one] for one in (self._sorted or ())[first:last]]

    def count_longer(self, text: str) -> int:
        first, last = self._range(text)
        return last - first

    def _range(self, text: str) -> tuple[int, int]:
        if self._sorted is None:
            self._sorted = sorted(self._values)
        return bisect_right(self._sorted, text), bisect_right(self._sorted, text + _LAST)


class _Index:
    """Takers by network and literal ends."""

    def __init__(self) -> None:
        self._by_tail: dict[str, _Starts[_Starts[list[_Taker]]]] = defaultdict(_Starts)
        self._by_head: dict[str, _Starts[_Starts[list[_Taker]]]] = defaultdict(_Starts)

    def add(self, network: str, taker: _Taker) -> None:
        turned = taker.tail[::-1]
        self._by_tail[network].setdefault(turned, _Starts()).setdefault(taker.head, []).append(taker)
        self._by_head[network].setdefault(taker.head, _Starts()).setdefault(turned, []).append(taker)

    def general(self, network: str, head: str, tail: str) -> Iterator[_Taker]:
        """Yield the takers that ask for no more at both ends than is given."""
        if network in self._by_tail:
            for by_head in self._by_tail[network].shorter(tail[::-1]):
                for takers in by_head.shorter(head):
                    yield from takers

    def compatible(self, network: str, head: str, tail: str) -> Iterator[_Taker]:
        """Yield the takers whose ends do not exclude those given."""
        if network not in self._by_tail:
            return
        outer, inner, first, second = self._by_tail[network], self._by_head[network], tail[::-1], head
        if outer.count_longer(first) > inner.count_longer(second):
            outer, first, second = inner, second, first
        for some in joined(outer.shorter(first), outer.longer(first)):
            for takers in joined(some.shorter(second), some.longer(second)):
                yield from takers


_ANYTHING: Final = run(optional=True)
_NO_MAILBOXES: Final = tuple(
    _Taker.of(chain, -1)
    for chain in (
        (_ANYTHING, *literal(".."), _ANYTHING),
        (*literal("."), _ANYTHING),
        (_ANYTHING, *literal(".@"), _ANYTHING),
        (_ANYTHING, *literal("@."), _ANYTHING),
        (_ANYTHING, *literal(".")),
    )
)


class _Languages:
    """Languages of some takers, made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, ...], Language] = {}

    def of(self, takers: Sequence[_Taker]) -> Language:
        key = tuple(id(taker) for taker in takers)
        made = self._made.get(key)
        if made is None:
            made = self._made[key] = Language(taker.chain for taker in takers)
        return made

    def of_no_use(self, network: str, takers: Sequence[_Taker]) -> Language:
        """Return what some takers take, and what is no address of the network at all."""
        return self.of((*takers, *_NO_MAILBOXES) if network == "smtp" else takers)


class _Ways:
    """Where addresses end: at routes, or in a space of ours where whoever is nobody is refused."""

    def __init__(
        self,
        routes: Sequence[RouteLike] | None,
        domains: frozenset[str],
        gates: Collection[str],
        is_somebody: Callable[[Address], bool] | None,
        networks: Registry,
    ) -> None:
        self.are_known = routes is not None
        self.routes = routes or ()
        self.domains = domains
        self.gates = frozenset(gates)
        self.is_somebody = is_somebody
        self.networks = networks
        self.languages = _Languages()
        self.takers = [_Taker.of(route.chain(), n) for n, route in enumerate(self.routes)]
        self.index = _Index()
        for route, taker in zip(self.routes, self.takers, strict=True):
            self.index.add(route.network, taker)

    def is_own(self, address: Address) -> bool:
        return address.network == "smtp" and address.key.rpartition("@")[2] in self.domains

    def route(self, address: Address) -> int | None:
        """Return the first route that takes an address."""
        key = address.key
        takers = sorted(self.index.general(address.network, key, key), key=lambda taker: taker.owner)
        return next((t.owner for t in takers if self.languages.of((t,)).has(key)), None)

    def trouble(self, address: Address, rules: Sequence[Compiled] = ()) -> str:
        """Return why mail for an address goes nowhere; empty where it goes somewhere."""
        n = self.route(address)
        if n is None:
            return f"no route takes {address}; add one, such as {_suggested(address)!r}"
        route = self.routes[n]
        if not route.networks or address.network in route.networks or route.networks[0] in ("smtp", *self.gates):
            return ""
        there = route.networks[0]
        if any(r.to.network == there and r.match.read(address) for r in rules if r.forwards) or any(
            r.match.network == there and r.to.read(address) for r in rules if r.backwards
        ):
            return ""
        return (
            f"route {n + 1} ({route}) takes {address}, and {route.connector} has no form for it; "
            f"give {there} a gate, or lead {address.network} addresses elsewhere"
        )

    def never(self) -> Iterator[Finding]:
        """Yield the routes that no address comes to."""
        for n, (route, taker) in enumerate(zip(self.routes, self.takers, strict=True)):
            earlier = [t for t in self.index.general(route.network, taker.head, taker.tail) if t.owner < n]
            if not earlier or not _is_within((taker.chain,), self.languages.of_no_use(route.network, earlier)):
                continue
            example = _example(route.network, taker.chain, self.networks)
            by = self.route(example) if example is not None else earlier[0].owner
            if by is None or by == n:
                continue
            way = (f"route {by + 1} ({self.routes[by]}) takes {example or 'the same'}",)
            shown = f", for instance {example}" if example is not None else ""
            text = (
                f"no address comes to route {n + 1} ({route}){shown}: {way[0]}; "
                "put the one for fewer addresses first, or take one out"
            )
            yield Finding(Kind.NEVER, text, route=n, example=example, way=way)

    def without_route(self, addresses: Iterable[Address]) -> Iterator[Finding]:
        """Yield, for one of each domain, the addresses that no route takes."""
        seen: set[tuple[str, str]] = set()
        for address in addresses:
            space = (address.network, address.key.rpartition("@")[2])
            if space in seen:
                continue
            trouble = self.trouble(address)
            if trouble:
                seen.add(space)
                yield Finding(
                    Kind.NOWHERE, f"mail to {address} ends nowhere: {trouble}", example=address, way=(trouble,)
                )


@dataclass(frozen=True, slots=True)
class _Walk:
    """What becomes of an address by rules alone: `is_fixed` where the last rule makes of it what it was."""

    steps: tuple[str, ...]
    end: Address
    orders: tuple[int, ...]
    is_endless: bool = False
    is_fixed: bool = False


class _Proof:
    """The rules that are in force at one place."""

    def __init__(self, rules: Sequence[Compiled], place: Place | None, ways: _Ways) -> None:
        self._rules = rules
        self._place = place
        self._ways = ways
        self._networks = ways.networks
        self._forward = {r.order: r for r in rules if r.forwards}
        self._walks: dict[Address, _Walk] = {}
        self._unread: dict[str, set[int]] = defaultdict(set)
        """By network, the rules of which it is not known what they take."""
        self._sign = _sub_address_sign(self._networks)
        self._plain: dict[str, bool] = {}
        self._taken: dict[int, tuple[_Taker, ...]] = {}
        self._untagged: dict[int, tuple[_Taker, ...]] = {}
        self._made: dict[int, tuple[_Taker, ...]] = {}
        self._index = _Index()
        for rule in self._forward.values():
            self._read(rule)

    def _read(self, rule: Compiled) -> None:
        """Note what a rule takes and makes, in chains, with what it does to sub-addresses."""
        tagged = self._sign if rule.match.network == "smtp" and not _takes_every_mailbox(rule.match) else ""
        taken = rule.match.chains() if self._is_plain(rule.match) else ()
        made = rule.to.chains(rule.match) if self._is_plain(rule.to) else ()
        plain = len(taken)
        if tagged:
            taken = (*taken, *(_with_tag(one, tagged) for one in taken))
            if rule.to.network == "smtp":
                made = (*made, *(_with_tag(one, tagged) for one in made))
        self._taken[rule.order] = tuple(_Taker.of(one, rule.order) for one in taken)
        self._untagged[rule.order] = self._taken[rule.order][:plain]
        self._made[rule.order] = tuple(_Taker.of(one, rule.order) for one in made)
        for taker in self._taken[rule.order]:
            self._index.add(rule.match.network, taker)
        if not taken:
            self._unread[rule.match.network].add(rule.order)

    def _is_plain(self, pattern: Pattern) -> bool:
        """Tell whether a pattern's network compares addresses as the pattern writes them, but for case."""
        known = self._plain.get(pattern.text)
        if known is None:
            known = self._plain[pattern.text] = pattern.network == "smtp" or all(
                made is None or made.key.lower() == made.value.lower() == pattern.sample(filler).lower()
                for filler in _SAMPLES
                for made in (_parsed(pattern.network, pattern.sample(filler), self._networks),)
            )
        return known

    # -- one address

    def _next(self, address: Address) -> tuple[Compiled, Address] | None:
        key = address.key.lower()
        orders = {taker.owner for taker in self._index.general(address.network, key, key)}
        for order in sorted(orders.union(self._unread.get(address.network, ()))):
            made = self._forward[order].forward(address)
            if made is not None:
                return self._forward[order], made
        return None

    def walk(self, address: Address) -> _Walk:
        """Translate an address as the table does, but for identities."""
        known = self._walks.get(address)
        if known is None:
            known = self._walks[address] = self._walk(address)
        return known

    def _walk(self, address: Address) -> _Walk:
        steps: list[str] = []
        orders: list[int] = []
        for _ in range(MAX_STEPS):
            after = self._next(address)
            if after is None:
                return _Walk(tuple(steps), address, tuple(orders))
            rule, made = after
            if made == address:
                return _Walk(tuple(steps), address, (*orders, rule.order), is_fixed=True)
            steps.append(f"{address} by rule {rule.order + 1} ({rule.rule}) is {made}")
            orders.append(rule.order)
            address = made
        return _Walk(tuple(steps), address, tuple(orders), is_endless=True)

    def _samples(self, pattern: Pattern, fillers: Iterable[str] = _SAMPLES) -> Iterator[Address]:
        for filler in fillers:
            made = _parsed(pattern.network, pattern.sample(filler), self._networks)
            if made is not None and pattern.read(made) is not None:
                yield made

    def _odd_samples(self, pattern: Pattern) -> Iterator[Address]:
        """Yield addresses of a pattern, with characters that some networks do not take."""
        return self._samples(pattern, (*_SAMPLES, *(f"x{odd}x" for odd in _ODD), *_ODD))

    def _before(self, rule: Compiled, made: Address) -> Address | None:
        """Return an address that a rule makes another of, None where none is found."""
        texts = rule.to.read(made)
        if texts is None:
            return None
        lost = rule.match.names - texts.keys()
        return rule.match.write(texts | {n: rule.match.sample_of(n, "x") for n in lost}, self._networks)

    # -- loops

    def loops(self) -> Iterator[Finding]:
        """Yield one finding for each set of rules that translate, or may translate, without end."""
        known: set[int] = set()
        for rule in self._forward.values():
            for sample in self._samples(rule.match):
                found = self._loop(sample, known)
                if found is not None:
                    yield found
        for ring in self._rings():
            if not known.isdisjoint(ring):
                continue
            yield self._ring(ring, known)

    def _loop(self, address: Address, known: set[int]) -> Finding | None:
        """Return the finding of an address that is translated without end by rules that are not known for it."""
        walk = self.walk(address)
        if not walk.is_endless or not known.isdisjoint(walk.orders):
            return None
        known.update(walk.orders)
        again = {order for order in walk.orders if walk.orders.count(order) > 1}
        many = "without end" if again else f"more than {MAX_STEPS - 1} times"
        first = next((n for n, order in enumerate(walk.orders) if order in walk.orders[:n]), len(walk.orders))
        steps = "; then ".join(walk.steps[:first])
        shown = f"mail to {address} would be translated {many}: {steps}{'; and so on' if again else ''}"
        return Finding(Kind.LOOP, shown, rule=min(again or walk.orders), example=address, way=walk.steps)

    def _ring(self, ring: Sequence[int], known: set[int]) -> Finding:
        """Return the finding of rules that feed each other in a ring: an address that runs in it, if one is found."""
        example = self._between(ring[-1], ring[0])
        address = example
        for at in range(-1, -2 * MAX_STEPS - 2, -1):
            if address is None:
                break
            found = self._loop(address, known)
            if found is not None:
                return found
            address = self._before(self._forward[ring[at % len(ring)]], address)
        for order in ring:  # an odd address may escape a rule that is in the way of others
            for sample in self._odd_samples(self._forward[order].match):
                found = self._loop(sample, known)
                if found is not None:
                    return found
        shown = "; then ".join(str(self._forward[order].rule) for order in ring)
        met = f", for instance with {example}" if example is not None else ""
        text = f"these rules may feed each other without end{met}, and it is not proved that they do not: {shown}"
        way = () if example is None else self.walk(example).steps
        return Finding(Kind.RING, text, rule=min(ring), example=example, way=way)

    def _between(self, one: int, other: int) -> Address | None:
        """Return an address that one rule makes and another takes."""
        word = self._meeting(one, other)
        return None if word is None else _parsed(self._forward[one].to.network, word, self._networks)

    def _meeting(self, one: int, other: int) -> str | None:
        made, taken = (self._ways.languages.of(takers) for takers in (self._made[one], self._taken[other]))
        network = self._forward[one].to.network
        earlier = {
            id(taker): taker
            for t in (*self._taken[other], *self._made[one])
            for taker in self._index.general(network, t.head, t.tail)
            if taker.owner < other and self._never_fails(taker.owner)
        }
        try:
            return meeting((made, taken), self._ways.languages.of_no_use(network, list(earlier.values())))
        except GaveUp:
            return meeting((made, taken))

    def _never_fails(self, order: int) -> bool:
        """Tell whether a rule certainly applies to all that it takes: what it writes stays on the same network."""
        rule = self._forward[order]
        if any(p.lookup is not None for p in rule.to.pieces):
            return False
        return not rule.to.names or rule.to.network == rule.match.network

    def _rings(self) -> list[list[int]]:
        """Return a shortest ring in each set of rules that feed each other."""
        rings = []
        for some in self._circles(self._roughly()):
            edges = self._closely(some)
            for few in self._circles(edges):
                exact = {a: [b for b in edges.get(a, ()) if b in few and self._meeting(a, b) is not None] for a in few}
                for knot in self._circles(exact):
                    if not (len(knot) == 1 and self._settles(self._forward[min(knot)])):
                        rings.append(_shortest_ring(exact, min(knot)))
        return rings

    def _circles(self, edges: Mapping[int, Sequence[int]]) -> list[set[int]]:
        """Return the sets of rules that lead to each other; one that leads to itself is a set too."""
        found = []
        for knot in _knots(edges):
            rules = {n for n in knot if n >= 0}
            if rules and (len(knot) > 1 or knot[0] in edges.get(knot[0], ())):
                found.append(rules)
        return found

    def _roughly(self) -> dict[int, list[int]]:
        """Return which rules may feed which, by way of the domains that they take (negative numbers): never too few."""
        spaces: dict[tuple[str, str], int] = {}
        edges: dict[int, list[int]] = defaultdict(list)
        index = _Index()
        for order, takers in self._taken.items():
            network = self._forward[order].match.network
            for taker in takers:
                end = (
                    taker.tail[taker.tail.rfind("@") :] if "@" in taker.tail else "" if taker.is_literal else taker.tail
                )
                if (network, end) not in spaces:
                    spaces[network, end] = -1 - len(spaces)
                    index.add(network, _Taker((), "", end, spaces[network, end], is_literal=False))
                edges[spaces[network, end]].append(order)
        for order, made in self._made.items():
            network = self._forward[order].to.network
            for taker in made:
                edges[order] += {space.owner for space in index.compatible(network, "", taker.tail)}
        return edges

    def _closely(self, some: Collection[int]) -> dict[int, list[int]]:
        """Return which of some rules may feed which, by the ends of what they make and take: never too few."""
        index = _Index()
        for order in some:
            for taker in self._taken[order]:
                index.add(self._forward[order].match.network, taker)
        edges: dict[int, list[int]] = {}
        for order in some:
            after: set[int] = set()
            network = self._forward[order].to.network
            for taker in self._made[order]:
                find = index.general if taker.is_literal else index.compatible
                after |= {t.owner for t in find(network, taker.head, taker.tail)}
            edges[order] = sorted(after)
        return edges

    def _settles(self, rule: Compiled) -> bool:
        """Tell whether a rule that takes what it makes leaves that as it is, as a catch-all does."""
        if not rule.to.names:
            return True
        if rule.match.ambiguous is not None:
            return False
        met = self._between(rule.order, rule.order)
        made = [one for sample in self._samples(rule.match) if (one := rule.forward(sample)) is not None]
        return met is not None and all(rule.forward(one) in (None, one) for one in (met, *made))

    # -- ends

    def nowhere(self) -> Iterator[Finding]:
        """Yield, for each rule, the first address found that it leads where nothing takes it."""
        if not self._ways.are_known:
            return
        for rule in self._forward.values():
            for address in (*self._samples(rule.match), *self._outside(rule)):
                found = self._dead_end(address)
                if found is not None:
                    yield found
                    break

    @cached_property
    def _spaces(self) -> _Index:
        """The domains of ours, and those that rules answer for."""
        anybody = run(optional=True)
        chains = {(anybody, *literal(f"@{domain}")): None for domain in self._ways.domains}
        for order, takers in self._untagged.items():
            if self._forward[order].match.domain_end:
                for taker in takers:
                    at = max(n for n, link in enumerate(taker.chain) if link.char == "@")
                    chains[anybody, *taker.chain[at:]] = None
        index = _Index()
        for chain in chains:
            index.add("smtp", _Taker.of(chain, -1))
        return index

    def _takers(self, find: str, network: str, taker: _Taker) -> list[_Taker]:
        """Return what takes addresses for good, or takes them on: routes, domains of ours, rules and their domains."""
        indices = (self._ways.index, self._index, *((self._spaces,) if network == "smtp" else ()))
        return [t for index in indices for t in getattr(index, find)(network, taker.head, taker.tail)]

    def _outside(self, rule: Compiled) -> Iterator[Address]:
        """Yield addresses that come to a rule, and of which it makes some that nothing takes."""
        for taker in self._made[rule.order]:
            takers = self._takers("general", rule.to.network, taker)
            language = self._ways.languages.of_no_use(rule.to.network, takers)
            if _is_within((taker.chain,), language):
                continue
            near = self._takers("compatible", rule.to.network, taker)
            if len(near) <= _MOST_TAKERS:
                language = self._ways.languages.of_no_use(rule.to.network, near)
            try:
                word = outside((taker.chain,), language)
            except GaveUp:
                continue
            made = None if word is None else _parsed(rule.to.network, word, self._networks)
            before = None if made is None else self._before(rule, made)
            if before is not None:
                yield before
            if rule.to.network == rule.match.network and any(_may_meet(t, taker) for t in self._taken[rule.order]):
                yield from self._left_alone(rule, taker)

    def _left_alone(self, rule: Compiled, made: _Taker) -> Iterator[Address]:
        """Yield addresses that a rule makes and takes, and may leave as they are, and that no route takes."""
        languages = self._ways.languages
        routes = list(self._ways.index.compatible(rule.to.network, made.head, made.tail))
        try:
            word = meeting(
                (languages.of((made,)), languages.of(self._taken[rule.order])),
                languages.of_no_use(rule.to.network, routes[:_MOST_TAKERS]),
            )
        except GaveUp:
            return
        address = None if word is None else _parsed(rule.to.network, word, self._networks)
        if address is not None:
            yield address

    def _dead_end(self, address: Address) -> Finding | None:
        """Return the finding of an address that ends where nothing takes it, None where something does."""
        walk = self.walk(address)
        if walk.is_endless or not walk.orders:
            return None
        last = self._forward[walk.orders[-1]]
        if not last.to.names:  # one address, which an identity may well have
            is_somebody = self._ways.is_somebody
            if is_somebody is None or is_somebody(walk.end):
                return None
            trouble = "nobody has that address" if self._ways.is_own(walk.end) else ""
        elif not walk.is_fixed and self._is_refused(walk.end):
            return None
        else:
            trouble = ""
        trouble = trouble or self._ways.trouble(walk.end, self._rules)
        if not trouble:
            return None
        way = (*walk.steps, trouble)
        text = f"mail to {address} ends nowhere: {'; then '.join(walk.steps)}; {trouble}"
        return Finding(Kind.NOWHERE, text, rule=last.order, example=address, way=way)

    def _is_refused(self, address: Address) -> bool:
        """Tell whether an address that is nobody's is refused as such, which the sender is told at once."""
        if address.network != "smtp":
            return False
        key = "x" + address.key[address.key.rfind("@") :]
        return self._ways.is_own(address) or any(
            self._ways.languages.of((taker,)).has(key) for taker in self._spaces.general("smtp", key, key)
        )

    # -- what never applies

    def never(self) -> Iterator[Finding]:
        """Yield the rules that no address comes to, since earlier ones take all that they could take."""
        for rule in self._forward.values():
            postmaster = self._at_postmaster(rule)
            if postmaster is not None:
                yield postmaster
                continue
            takers = self._untagged[rule.order]
            earlier = {
                id(taker): taker
                for t in takers
                for taker in self._index.general(rule.match.network, t.head, t.tail)
                if taker.owner < rule.order
            }
            chains = tuple(t.chain for t in takers)
            if not earlier or not _is_within(
                chains, self._ways.languages.of_no_use(rule.match.network, list(earlier.values()))
            ):
                continue
            firsts = [(self._next(sample), sample) for sample in self._odd_samples(rule.match)]
            taken = [(first, sample) for first, sample in firsts if first is not None]
            if taken and all(first[0].order < rule.order for first, _ in taken):
                yield self._shadow(rule, *taken[0])
            # else an odd address comes to it, that the earlier rule's other side does not take

    def _shadow(self, rule: Compiled, first: tuple[Compiled, Address], example: Address) -> Finding:
        by, made = first
        way = (f"{example} by rule {by.order + 1} ({by.rule}) is {made}",)
        text = (
            f"no address comes to rule {rule.order + 1} ({rule.rule}), for instance {way[0]}; "
            "put the rule for fewer addresses first, or take one out"
        )
        return Finding(Kind.NEVER, text, rule=rule.order, example=example, way=way)

    def _at_postmaster(self, rule: Compiled) -> Finding | None:
        if rule.match.network != "smtp" or rule.match.names:
            return None
        address = _parsed("smtp", rule.match.sample("x"), self._networks)
        if address is None or not address.key.startswith("postmaster@") or not self._ways.is_own(address):
            return None
        way = (f"{address} goes to the configured postmaster",)
        text = f"no address comes to rule {rule.order + 1} ({rule.rule}): {way[0]} before any rule"
        return Finding(Kind.NEVER, text, rule=rule.order, example=address, way=way)

    def hidden(self) -> Iterator[Finding]:
        """Yield the rules that only show addresses, and show none that a reply would come back by."""
        for rule in self._rules:
            if rule.forwards or not rule.to.names:
                continue
            shown = [(sample, made) for sample in self._samples(rule.to) if (made := rule.backward(sample)) is not None]
            if not shown or any(self.walk(made).end == self.walk(sample).end for sample, made in shown):
                continue
            sample, made = shown[0]
            walk = self.walk(made)
            way = (f"{sample} by rule {rule.order + 1} ({rule.rule}) would be shown as {made}", *walk.steps)
            text = (
                f"rule {rule.order + 1} ({rule.rule}) is never used: {way[0]}, and a reply to that would not come to "
                f"{sample}; add a rule that translates it back, or set direction to both"
            )
            yield Finding(Kind.HIDDEN, text, rule=rule.order, example=sample, way=way)


def _may_meet(one: _Taker, other: _Taker) -> bool:
    """Tell whether the ends of two do not exclude each other."""
    heads, tails = sorted((one.head, other.head), key=len), sorted((one.tail, other.tail), key=len)
    return heads[1].startswith(heads[0]) and tails[1].endswith(tails[0])


def _is_within(chains: Iterable[Chain], language: Language) -> bool:
    try:
        return outside(chains, language) is None
    except GaveUp:
        return False


def _parsed(network: str, text: str, networks: Registry) -> Address | None:
    try:
        return networks.parse_in(network, text)
    except AddressError:
        return None


def _example(network: str, chain: Chain, networks: Registry) -> Address | None:
    """Return an address of a route's chain, its stars filled with what makes one; None where nothing tried does."""
    for filler in ("x", "1", "", "x@x.example", "x@x", "x/x"):
        made = _parsed(network, "".join(link.char or filler for link in chain), networks)
        if made is not None and Language((chain,)).has(made.key):
            return made
    return None


def _suggested(address: Address) -> str:
    _, at, domain = address.value.rpartition("@")
    return f"{address.network}:*{at}{domain}" if address.network == "smtp" else f"{address.network}:*"


def _takes_every_mailbox(match: Pattern) -> bool:
    first, second = (*match.pieces, *match.pieces)[:2]
    return bool(first.name) and first.lookup is None and second.text.startswith("@")


def _with_tag(chain: Chain, sign: str) -> Chain:
    at = max(n for n, link in enumerate(chain) if link.char == "@")
    return (*chain[:at], *literal(sign), run(Span.ANY.value), *chain[at:])


def _sub_address_sign(networks: Registry) -> str:
    """Return what sets a tag off from a mailbox on the internet, empty where nothing does."""
    smtp = networks.get("smtp")
    for sign in "+-=_#":
        if len(list(smtp.lookup_keys(smtp.parse(f"x{sign}x@x.example")))) > 1:
            return sign
    return ""


def _shortest_ring(edges: Mapping[int, Sequence[int]], start: int) -> list[int]:
    """Return the nodes of a shortest way from a node back to it."""
    ways = [[start]]
    seen: set[int] = set()
    for way in ways:
        for after in edges.get(way[-1], ()):
            if after == start:
                return way
            if after not in seen:
                seen.add(after)
                ways.append([*way, after])
    raise AssertionError("the node is in no ring")


def _knots(edges: Mapping[int, Sequence[int]]) -> list[list[int]]:
    """Return the strongly connected sets of a graph (R. Tarjan, 1972), without recursion."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found = []
    for root in edges:
        if root in index:
            continue
        work = [(root, iter(edges.get(root, ())))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            for after in rest:
                if after not in index:
                    index[after] = low[after] = len(index)
                    stack.append(after)
                    on_stack.add(after)
                    work.append((after, iter(edges.get(after, ()))))
                    break
                if after in on_stack:
                    low[node] = min(low[node], index[after])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    knot = [stack.pop()]
                    while knot[-1] != node:
                        knot.append(stack.pop())
                    on_stack.difference_update(knot)
                    found.append(knot)
    return found
