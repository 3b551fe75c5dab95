"""SPF records, read whole before anything of them is evaluated. Source: RFC 7208 §4.6.1, §5, §6, §12."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, NetmaskValueError
from typing import Final, Literal, cast

from connectors.smtp.authentication.spf_macros import Spec, SyntaxFault, read, read_domain

Verdict = Literal["none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"]
MAX_OCTETS: Final = 16 * 1024
"""Of one record; RFC 7208 §3.4 has 450 for what is reasonable."""

_VERSION: Final = re.compile(rb"(?i)v=spf1(?: |\Z)")
_MODIFIER: Final = re.compile(r"([A-Za-z][A-Za-z0-9\-_.]*)=(.*)")
_MECHANISM: Final = re.compile(r"([+\-?~]?)([A-Za-z][A-Za-z0-9\-_.]*)(.*)")
_CIDR: Final = re.compile(r"(.*?)(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?")
_QUALIFIERS: Final[dict[str, Verdict]] = {"": "pass", "+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}


@dataclass(frozen=True, slots=True)
class Mechanism:
    """One mechanism: `verdict` is what a match says; `domain` None stands for the current one."""

    name: str
    verdict: Verdict
    domain: Spec | None = None
    cidr4: int = 32
    cidr6: int = 128
    network: IPv4Network | IPv6Network | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One record: mechanisms in order, and the two modifiers that mean something."""

    mechanisms: tuple[Mechanism, ...]
    redirect: Spec | None = None
    exp: Spec | None = None


def is_spf(octets: bytes) -> bool:
    return _VERSION.match(octets) is not None


def parse(octets: bytes) -> Record:
    """Read a record for which `is_spf` holds. Raises: SyntaxFault."""
    if len(octets) > MAX_OCTETS:
        raise SyntaxFault("record too long")
    try:
        terms = octets.decode("ascii").split(" ")[1:]
    except UnicodeDecodeError as fault:
        raise SyntaxFault("record not in ASCII") from fault
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, Spec] = {}
    for term in terms:
        if not term:
            continue
        found = _MODIFIER.fullmatch(term)
        if found is None:
            mechanisms.append(_mechanism(term))
            continue
        name = found[1].lower()
        if name not in ("redirect", "exp"):
            read(found[2])
        elif name in modifiers:
            raise SyntaxFault(f"{name}= twice")
        else:
            modifiers[name] = read_domain(found[2])
    return Record(tuple(mechanisms), modifiers.get("redirect"), modifiers.get("exp"))


def _mechanism(term: str) -> Mechanism:
    found = _MECHANISM.fullmatch(term)
    reader = _READERS.get(found[2].lower()) if found else None
    if found is None or reader is None:
        raise SyntaxFault(f"unknown term {term[:40]!a}")
    return reader(found[2].lower(), _QUALIFIERS[found[1]], found[3])


def _bare(name: str, verdict: Verdict, rest: str) -> Mechanism:
    if rest:
        raise SyntaxFault(f"{name} takes nothing")
    return Mechanism(name, verdict)


def _with_domain(name: str, verdict: Verdict, rest: str) -> Mechanism:
    if not rest.startswith(":"):
        raise SyntaxFault(f"{name} without a domain")
    return Mechanism(name, verdict, read_domain(rest[1:]))


def _ptr(name: str, verdict: Verdict, rest: str) -> Mechanism:
    return _with_domain(name, verdict, rest) if rest else Mechanism(name, verdict)


def _hosts(name: str, verdict: Verdict, rest: str) -> Mechanism:
    found = _CIDR.fullmatch(rest)
    assert found is not None  # it matches everything
    domain, four, six = found.groups()
    cidr4, cidr6 = int(four or 32), int(six or 128)
    if cidr4 > 32 or cidr6 > 128:
        raise SyntaxFault(f"{name} with too long a prefix")
    if not domain:
        return Mechanism(name, verdict, None, cidr4, cidr6)
    if not domain.startswith(":"):
        raise SyntaxFault(f"{name} with something else than a domain")
    return Mechanism(name, verdict, read_domain(domain[1:]), cidr4, cidr6)


_PREFIX4: Final = re.compile(r":([0-9.]+)(?:/(0|[1-9]\d?))?")
_PREFIX6: Final = re.compile(r":([0-9A-Fa-f:.]+)(?:/(0|[1-9]\d{0,2}))?")


def _network(name: str, verdict: Verdict, rest: str) -> Mechanism:
    found = (_PREFIX4 if name == "ip4" else _PREFIX6).fullmatch(rest)
    if found is None:
        raise SyntaxFault(f"{name} without a network")
    try:
        network: IPv4Network | IPv6Network
        if name == "ip4":
            network = IPv4Network((int(IPv4Address(found[1])), int(found[2] or 32)), strict=False)
        else:
            network = IPv6Network((int(IPv6Address(found[1])), int(found[2] or 128)), strict=False)
    except (AddressValueError, NetmaskValueError, ValueError) as fault:
        raise SyntaxFault(f"{name} without a network") from fault
    return Mechanism(name, verdict, network=network)


Reader = Callable[[str, Verdict, str], Mechanism]
_READERS: Final = cast(
    dict[str, Reader],
    {
        "all": _bare,
        "include": _with_domain,
        "a": _hosts,
        "mx": _hosts,
        "ptr": _ptr,
        "ip4": _network,
        "ip6": _network,
        "exists": _with_domain,
    },
)
