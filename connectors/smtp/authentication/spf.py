"""SPF: whether a host may send with a domain in its envelope. Source: RFC 7208.

Promises: at most 10 terms that ask DNS, 10 MX or PTR names each, 2 look-ups without an answer (§4.6.4); a record is
read whole before any of it is evaluated; what DNS does not answer is `temperror`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

from connectors.smtp.authentication.lookup import LookupFault, Resolver
from connectors.smtp.authentication.spf_macros import (
    IpAddress,
    Spec,
    SyntaxFault,
    Values,
    expand,
    expand_domain,
    read,
    reverse_name,
)
from connectors.smtp.authentication.spf_record import Mechanism, Record, Verdict, is_spf, parse

MAX_TERMS: Final = 10
MAX_VOID: Final = 2
MAX_NAMES: Final = 10
MAX_EXPLANATION: Final = 500
"""Characters of an explanation, which goes into an SMTP reply."""

_KEPT_OCTETS: Final = 1024
"""Of a record that is kept read; to read one costs more than to evaluate it."""
_NAME: Final = re.compile(r"(?=.{1,253}\Z)(?:[^.\x00-\x1f]{1,63}\.)+[^.\x00-\x1f]{1,63}")


class SpfResult(NamedTuple):
    """What SPF says of one identity. `explanation` is the domain's own text for a `fail`, printable ASCII."""

    verdict: Verdict
    domain: str = ""
    reason: str = ""
    explanation: str = ""


class _Ends(Exception):
    """The evaluation is over, whatever it was within."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        self.verdict: Verdict = verdict
        super().__init__(reason)


async def check_host(
    ip: str, domain: str, sender: str, helo: str, resolver: Resolver, *, receiver: str = "", now: float = 0.0
) -> SpfResult:
    """Return whether the host at `ip` may send for `domain`, which is of `sender` or, by itself, `helo` (§4.1).

    `sender` is `local@domain`; without a local part that is `postmaster` (§4.3). `receiver` is our name.
    """
    address = client_address(ip)
    domain = domain.rstrip(".").lower()
    if address is None or not _NAME.fullmatch(domain):
        return SpfResult("none", domain, "no domain")
    local, _, of = sender.rpartition("@")
    evaluation = _Evaluation(address, local or "postmaster", of or domain, helo, resolver, receiver, now)
    try:
        verdict, explanation = await evaluation.check(domain, explains=True)
    except _Ends as end:
        return SpfResult(end.verdict, domain, str(end))
    return SpfResult(verdict, domain, evaluation.matched if verdict != "none" else "no record", explanation)


@lru_cache(4096)
def client_address(text: str) -> IpAddress | None:
    """Return a client's address, an IPv4 one in IPv6 as that; None where it has none."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


class _Evaluation:
    """One evaluation, with its budget of look-ups."""

    def __init__(
        self, ip: IpAddress, local: str, sender_domain: str, helo: str, resolver: Resolver, receiver: str, now: float
    ) -> None:
        self._ip = ip
        self._resolver = resolver
        self._base = (local, sender_domain, helo, receiver or "unknown", now)
        self._terms = 0
        self._void = 0
        self._names: list[str] | None = None
        self.matched = "default"

    async def check(self, domain: str, *, explains: bool) -> tuple[Verdict, str]:
        """Return what check_host says of a domain, and the explanation where it is asked for.

        Raises: _Ends for temperror and permerror.
        """
        record = await self._record(domain)
        if record is None:
            return "none", ""
        values = self._values(domain)
        for mechanism in record.mechanisms:
            if await self._matches(mechanism, domain, values):
                self.matched = mechanism.name
                explanation = ""
                if mechanism.verdict == "fail" and explains and record.exp is not None:
                    explanation = await self._explanation(record.exp, values)
                return mechanism.verdict, explanation
        if record.redirect is None:
            self.matched = "default"
            return "neutral", ""
        self._count_term()
        verdict, explanation = await self._within(await expand_domain(record.redirect, values), explains)
        if verdict == "none":
            raise _Ends("permerror", "redirect= to a domain without a record")
        return verdict, explanation

    async def _within(self, name: str, explains: bool) -> tuple[Verdict, str]:
        return await self.check(name, explains=explains) if _NAME.fullmatch(name) else ("none", "")

    def _values(self, domain: str) -> Values:
        local, sender_domain, helo, receiver, now = self._base

        async def validated() -> str:
            return await self._name_for(domain)

        return Values(self._ip, local, sender_domain, domain, helo, receiver, now, validated)

    async def _record(self, domain: str) -> Record | None:
        try:
            texts = await self._resolver.txt(domain)
        except LookupFault as fault:
            raise _Ends("temperror", "no answer for the record") from fault
        found = [text for text in texts if is_spf(text)]
        if len(found) > 1:
            raise _Ends("permerror", "more than one record")
        try:
            return _parsed(found[0]) if found else None
        except SyntaxFault as fault:
            raise _Ends("permerror", str(fault)) from fault

    def _count_term(self) -> None:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise _Ends("permerror", "too many look-ups")

    def _count_void(self) -> None:
        self._void += 1
        if self._void > MAX_VOID:
            raise _Ends("permerror", "too many look-ups without an answer")

    # Mechanisms

    async def _matches(self, mechanism: Mechanism, domain: str, values: Values) -> bool:
        match mechanism.name:
            case "all":
                return True
            case "ip4" | "ip6":
                network = mechanism.network
                return network is not None and network.version == self._ip.version and self._ip in network
        self._count_term()
        name = domain if mechanism.domain is None else await expand_domain(mechanism.domain, values)
        match mechanism.name:
            case "include":
                return await self._include(name)
            case "ptr":
                return await self._ptr(name)
        if not _NAME.fullmatch(name):
            return False  # §4.8: a name that can't be looked up does not exist
        match mechanism.name:
            case "exists":
                return bool(await self._addresses(name, ipv6=False))
            case "mx":
                return await self._mx(name, mechanism)
            case _:
                return self._is_among(await self._addresses(name), mechanism)

    async def _include(self, name: str) -> bool:
        verdict, _ = await self._within(name, explains=False)
        if verdict == "none":
            raise _Ends("permerror", "include of a domain without a record")
        return verdict == "pass"

    async def _mx(self, name: str, mechanism: Mechanism) -> bool:
        try:
            records = await self._resolver.mx(name)
        except LookupFault as fault:
            raise _Ends("temperror", "no answer for mx") from fault
        if not records:
            self._count_void()
        if len(records) > MAX_NAMES:
            raise _Ends("permerror", "too many MX records")
        for _, host in sorted(records):
            if _NAME.fullmatch(host.rstrip(".")) and self._is_among(await self._addresses(host), mechanism):
                return True
        return False

    async def _ptr(self, name: str) -> bool:
        name = name.lower()
        return any(_is_within(each, name) for each in await self._validated_names())

    async def _addresses(self, name: str, *, ipv6: bool | None = None) -> Sequence[str]:
        try:
            found = await self._resolver.addresses(name, ipv6=self._ip.version == 6 if ipv6 is None else ipv6)
        except LookupFault as fault:
            raise _Ends("temperror", "no answer for an address") from fault
        if not found:
            self._count_void()
        return found

    def _is_among(self, addresses: Sequence[str], mechanism: Mechanism) -> bool:
        ip = self._ip
        network: IPv4Network | IPv6Network
        if isinstance(ip, IPv4Address):
            network = IPv4Network((ip, mechanism.cidr4), strict=False)
        else:
            network = IPv6Network((ip, mechanism.cidr6), strict=False)
        return any(_is_in(address, network) for address in addresses)

    # Names of the address (§5.5), for ptr and %{p}

    async def _validated_names(self) -> list[str]:
        if self._names is None:
            self._names = []
            try:
                names = await self._resolver.ptr(reverse_name(self._ip))
            except LookupFault:
                return self._names
            if not names:
                self._count_void()
            for name in names[:MAX_NAMES]:
                name = name.rstrip(".").lower()
                try:
                    found = await self._resolver.addresses(name, ipv6=self._ip.version == 6)
                except LookupFault:
                    continue
                if any(_same_address(each, self._ip) for each in found):
                    self._names.append(name)
        return self._names

    async def _name_for(self, domain: str) -> str:
        """Return what %{p} stands for: a name of the domain itself at best, then one within it, then any (§7.3)."""
        names = await self._validated_names()
        domain = domain.lower()
        best = [n for n in names if n == domain] or [n for n in names if _is_within(n, domain)] or names
        return best[0] if best else "unknown"

    # Explanation (§6.2)

    async def _explanation(self, spec: Spec, values: Values) -> str:
        """Return the domain's text; empty where there is none, or it is ill-formed: it never changes the verdict."""
        try:
            texts = await self._resolver.txt(await expand_domain(spec, values))
            if len(texts) != 1:
                return ""
            text = await expand(read(texts[0].decode("ascii"), explains=True), values)
        except (LookupFault, SyntaxFault, UnicodeDecodeError, _Ends):
            return ""
        return text if text.isascii() and text.isprintable() and len(text) <= MAX_EXPLANATION else ""


def _parsed(octets: bytes) -> Record:
    return _parsed_before(octets) if len(octets) <= _KEPT_OCTETS else parse(octets)


@lru_cache(512)
def _parsed_before(octets: bytes) -> Record:
    return parse(octets)


def _is_within(name: str, domain: str) -> bool:
    return name == domain or name.endswith("." + domain)


def _same_address(text: str, ip: IpAddress) -> bool:
    try:
        return ip_address(text) == ip
    except ValueError:
        return False


def _is_in(text: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        return ip_address(text) in network
    except ValueError:
        return False
