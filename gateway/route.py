"""Route: ordered rules from a recipient's Address to a connector, and perhaps a next hop of its own.

Promises: the first rule that matches wins, but an identity's home connector comes before all rules; the same rules
and address always give the same answer; nothing is looked up. Immutable but for a bounded memory of domains.
A pattern is `network:text`, where `*` stands for any characters, also none; the text is compared without case with
the address's comparison key. `smtp:*@*.example` means the domains below example, not example itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mappings.address import Address, AddressError
from mappings.network import registry

_REMEMBERED: Final = 10_000
_NON_ASCII_LABEL: Final = re.compile(r"[^.*]*[^\x00-\x7f][^.*]*")


class RouteError(ValueError):
    """A route's pattern cannot be used; the text says what is expected."""


@dataclass(frozen=True, slots=True)
class Route:
    """One rule, as configured: `next_hop` replaces the one that the connector would name itself."""

    match: str
    to: str
    next_hop: str | None = None

    def __str__(self) -> str:
        via = f" next_hop {self.next_hop}" if self.next_hop else ""
        return f"{self.match} -> {self.to}{via}"


@dataclass(frozen=True, slots=True)
class RouteChoice:
    """Which connector takes a recipient, the next hop where a rule names one, and in words which rule said so."""

    connector: str
    next_hop: str | None
    rule: str


@dataclass(frozen=True, slots=True)
class _Compiled:
    """`tail` is matched with what follows the last @, `head` with what stands before it; None matches everything.
    Where `whole` is set, it is matched with the whole key instead."""

    network: str
    head: re.Pattern[str] | None
    tail: re.Pattern[str] | None
    whole: re.Pattern[str] | None
    choice: RouteChoice

    def takes(self, key: str, head: str, tail: str | None) -> bool:
        if self.whole is not None:
            return self.whole.fullmatch(key) is not None
        if self.tail is not None and (tail is None or self.tail.fullmatch(tail) is None):
            return False
        return self.head is None or self.head.fullmatch(head) is not None


class Routes:
    """The rules of one configuration.

    Raises: RouteError on a pattern that cannot be used.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._compiled = tuple(_compile(route, n) for n, route in enumerate(routes, 1))
        self._homes: dict[str, RouteChoice] = {}
        self._by_domain: dict[tuple[str, str | None], tuple[_Compiled, ...]] = {}

    def find(self, address: Address, home: str | None = None) -> RouteChoice | None:
        """Return where mail for an address goes; None where no rule matches.

        `home` is the home connector of the identity that the address belongs to, if any.
        """
        if home is not None:
            choice = self._homes.get(home)
            if choice is None:
                choice = self._homes[home] = RouteChoice(home, None, f"home of the identity: {home}")
            return choice
        key = address.key
        head, at, tail = key.rpartition("@")
        domain = tail if at else None
        candidates = self._by_domain.get((address.network, domain))
        if candidates is None:
            candidates = self._candidates(address.network, domain)
        for rule in candidates:
            if rule.head is None and rule.whole is None:
                return rule.choice
            if rule.takes(key, head, domain):
                return rule.choice
        return None

    def _candidates(self, network: str, domain: str | None) -> tuple[_Compiled, ...]:
        """Return the rules that may match addresses of one domain, up to the first that takes them all."""
        found = []
        for rule in self._compiled:
            if rule.network != network:
                continue
            if rule.tail is not None and (domain is None or rule.tail.fullmatch(domain) is None):
                continue
            found.append(rule)
            if rule.head is None and rule.whole is None:
                break
        if len(self._by_domain) >= _REMEMBERED:
            # Strangers choose the domains, so the memory must not grow with them.
            self._by_domain.clear()
        candidates = self._by_domain[network, domain] = tuple(found)
        return candidates

    def explain(self, address: Address, home: str | None = None) -> list[str]:
        """Return in words how the answer is found, a line for each rule looked at."""
        if home is not None:
            return [f"the identity's home is {home}, which comes before all routes"]
        head, at, tail = address.key.rpartition("@")
        lines = []
        for n, (route, rule) in enumerate(zip(self.routes, self._compiled, strict=True), 1):
            if rule.network == address.network and rule.takes(address.key, head, tail if at else None):
                lines.append(f"route {n} ({route}) matches")
                return lines
            lines.append(f"route {n} ({route}) does not match {address}")
        return [*lines, f"no route matches {address}"]

    def patterns(self) -> Iterator[tuple[str, str]]:
        """Yield the network of each rule, and its pattern as it compares with keys."""
        return (_split(route.match) for route in self.routes)


def _compile(route: Route, n: int) -> _Compiled:
    network, text = _split(route.match)
    via = f", next hop {route.next_hop}" if route.next_hop else ""
    choice = RouteChoice(route.to, route.next_hop, f"route {n}: {route.match} goes to {route.to}{via}")
    if text == "*":
        return _Compiled(network, None, None, None, choice)
    head, at, tail = text.rpartition("@")
    if not at:
        return _Compiled(network, None, None, _glob(text), choice)
    return _Compiled(network, None if head == "*" else _glob(head), _glob(tail), None, choice)


def _split(match: str) -> tuple[str, str]:
    prefix, colon, text = match.partition(":")
    if not colon or not text.strip():
        raise RouteError('"network:pattern", such as "smtp:*@acme.example" or "mhs:*"')
    networks = registry()
    name = networks.canonical_name(prefix.strip())
    if not networks.is_installed(name):
        raise RouteError(f"the name of an installed network before the colon: {', '.join(networks.names)}")
    return name, _folded(name, text.strip())


def _folded(network: str, text: str) -> str:
    """Return a pattern as it compares with keys, and refuse what no key can match."""
    head, at, tail = text.rpartition("@")
    if network == "smtp":
        if not at and text.lower() != "postmaster" and text.strip("*"):
            raise RouteError(f'a mailbox and a domain, such as "smtp:*@{text.lstrip("*@")}"')
        if at and (not head or not tail):
            raise RouteError('a mailbox and a domain, such as "smtp:*@acme.example"')
        if "*" not in text:
            try:
                return registry().parse_in(network, text).key
            except AddressError as e:
                raise RouteError(f"an address that can be: {e.message}") from None
        text = f"{head}@{_NON_ASCII_LABEL.sub(_ascii, tail)}" if at else text
    return text.lower()


def _ascii(label: re.Match[str]) -> str:
    try:
        return registry().parse_in("smtp", f"x@{label[0]}.example").key.removeprefix("x@").removesuffix(".example")
    except AddressError as e:
        raise RouteError(f"a domain that can be: {e.message}") from None


def _glob(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in re.split(r"\*+", text)), re.DOTALL | re.IGNORECASE)


def glob(match: str) -> re.Pattern[str]:
    """Return what matches `network:key` texts as a whole for a pattern of routes. Raises: RouteError."""
    network, text = _split(match)
    return re.compile(re.escape(network) + ":" + _glob(text).pattern, re.DOTALL | re.IGNORECASE)
