"""Patterns with * of names and addresses, and many rules looked up at once. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Generic, TypeVar

import idna

from gateway.contract import Address
from mappings.network import network

T = TypeVar("T")
_FIRST: Final = 0
MOST_STARS: Final = 8


def check(pattern: str) -> None:
    """Raises: ValueError for what is no pattern."""
    if not pattern or len(pattern) > 320 or pattern.count("*") > MOST_STARS:
        raise ValueError(f"{pattern!r} is no pattern with at most {MOST_STARS} * in at most 320 characters")


@lru_cache(4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the expression of a pattern: * stands for anything, case does not matter.

    Each part between two * is looked for once, as far to the left as it stands, which is where it has to be found if
    the rest is to match at all: no text is slow to match. Raises: ValueError.
    """
    check(pattern)
    first, *between = (re.escape(part) for part in low(pattern).split("*"))
    if not between:
        return re.compile(first)
    last = between.pop()
    return re.compile(first + "".join(f"(?>.*?{part})" for part in between) + ".*" + last, re.DOTALL)


def forms(address: Address | None) -> tuple[str, ...]:
    """Return the texts of a path that patterns are looked up for: the same ones for all spellings of an address, with
    its tag and without, and where its domain is beyond ASCII with A-labels and without. None is the null path."""
    if address is None:
        return ("<>",)
    found = []
    for key in network(address.network).lookup_keys(address):
        found.append(key)
        local, at, domain = key.rpartition("@")
        if "xn--" in domain:
            found.append(local + at + ".".join(_shown(label) for label in domain.split(".")))
    return tuple(found)


def _shown(label: str) -> str:
    try:
        return idna.decode(label)
    except (idna.IDNAError, ValueError):
        return label


def low(text: str) -> str:
    """Return a text as it is compared."""
    return unicodedata.normalize("NFC", text.lower())


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return an IP address, an IPv4 one out of its IPv6 form; None where the text is none."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def read_network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None


class NetworkRules(Generic[T]):
    """Values by network; of those that hold an address, the one that was given first."""

    def __init__(self, rules: Iterable[tuple[IPv4Network | IPv6Network, T]]) -> None:
        self._by_size: dict[tuple[int, int], dict[int, tuple[int, T]]] = {}
        for order, (of, value) in enumerate(rules):
            here = self._by_size.setdefault((of.version, of.prefixlen), {})
            here.setdefault(int(of.network_address), (order, value))

    def find(self, address: IPv4Address | IPv6Address) -> T | None:
        number, bits = int(address), address.max_prefixlen
        best: tuple[int, T] | None = None
        for (version, size), here in self._by_size.items():
            if version == address.version:
                found = here.get(number >> (bits - size) << (bits - size))
                if found is not None and (best is None or found[_FIRST] < best[_FIRST]):
                    best = found
        return None if best is None else best[1]


class PatternRules(Generic[T]):
    """Values by pattern of a name or address; of those that match, the one that was given first.

    A pattern without a *, or with one alone in front of `@domain`, is looked up; the others are tried one by one.
    """

    def __init__(self, rules: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, tuple[int, T]] = {}
        self._domains: dict[str, tuple[int, T]] = {}
        self._others: list[tuple[int, re.Pattern[str], T]] = []
        for order, (pattern, value) in enumerate(rules):
            check(pattern)
            text = low(pattern)
            if "*" not in text:
                self._exact.setdefault(text, (order, value))
            elif text.startswith("*@") and "*" not in text[1:]:
                self._domains.setdefault(text[2:], (order, value))
            else:
                self._others.append((order, compiled(pattern), value))

    def __bool__(self) -> bool:
        return bool(self._exact or self._domains or self._others)

    def find(self, *texts: str) -> T | None:
        """Return the value of the first pattern that matches one of these."""
        lows = [low(text) for text in texts]
        found = [self._exact.get(text) for text in lows]
        found += [self._domains.get(text.rpartition("@")[2]) for text in lows if "@" in text]
        best = min((each for each in found if each is not None), key=lambda each: each[_FIRST], default=None)
        for order, expression, value in self._others:
            if best is not None and best[_FIRST] < order:
                break
            if any(expression.fullmatch(text) for text in lows):
                return value
        return None if best is None else best[1]
