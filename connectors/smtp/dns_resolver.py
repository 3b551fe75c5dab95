"""The Resolver that asks DNS itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.TLSA
import dns.rdtypes.ANY.TXT
import dns.resolver

from connectors.smtp.mx import Absent, Family, LookupFault

_PAYLOAD: Final = 1232
"""Octets of an answer by UDP that no path breaks up; a longer one is asked for by TCP."""


class Tlsa(NamedTuple):
    """One TLSA record (RFC 6698 §2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


def resolver_at(nameservers: Sequence[str], port: int, lifetime_s: float) -> dns.asyncresolver.Resolver:
    """Return what asks these servers, or the system's where none are given, for so long in all.

    Raises: dns.resolver.NoResolverConfiguration where the system names none.
    """
    made = dns.asyncresolver.Resolver(configure=not nameservers)
    if nameservers:
        made.nameservers = list(nameservers)
        made.port = port
    made.lifetime = lifetime_s
    return made


class DnsResolver:
    """Asks DNS, by the given servers or the system's, through a bounded cache that heeds TTLs.

    With `validated`, the servers are asked to say what DNSSEC has proved, and `is_secure` tells it; believe it only of
    a server that validates and is reached by a path that nobody else writes to.
    """

    def __init__(
        self, nameservers: Sequence[str] = (), port: int = 53, *, timeout_s: float = 20.0, validated: bool = False
    ) -> None:
        self._nameservers = list(nameservers)
        self._port = port
        self._timeout_s = timeout_s
        self._validated = validated
        self._made: dns.asyncresolver.Resolver | None = None

    @property
    def _resolver(self) -> dns.asyncresolver.Resolver:
        # At the first question: a gateway that sends by no MX must start on a machine without DNS.
        if self._made is None:
            self._made = made = resolver_at(self._nameservers, self._port, self._timeout_s)
            made.cache = dns.resolver.LRUCache(20_000)
            if self._validated:
                made.use_edns(0, dns.flags.DO, _PAYLOAD)
                made.flags = dns.flags.RD | dns.flags.AD
        return self._made

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        records = await self._ask(domain, "MX")
        return [
            (record.preference, record.exchange.to_text(omit_final_dot=True).removesuffix("."))
            for record in records
            if isinstance(record, dns.rdtypes.ANY.MX.MX)
        ]

    async def addresses(self, host: str, family: Family) -> Sequence[str]:
        return [record.to_text() for record in await self._ask(host, "A" if family == "ipv4" else "AAAA")]

    async def txt(self, name: str) -> list[bytes]:
        """Return each TXT record, its strings joined."""
        records = await self._ask(name, "TXT")
        return [b"".join(r.strings) for r in records if isinstance(r, dns.rdtypes.ANY.TXT.TXT)]

    async def tlsa(self, name: str) -> tuple[list[Tlsa], bool]:
        """Return the TLSA records of a name and whether DNSSEC has proved them."""
        answer = await self._answer(name, "TLSA")
        found = [
            Tlsa(r.usage, r.selector, r.mtype, bytes(r.cert))
            for r in answer
            if isinstance(r, dns.rdtypes.ANY.TLSA.TLSA)
        ]
        return found, _is_proved(answer)

    async def is_secure(self, name: str, kind: str) -> bool:
        """Say whether DNSSEC has proved the records of a kind that a name has."""
        return _is_proved(await self._answer(name, kind))

    async def canonical(self, name: str, kind: str) -> str:
        """Return the name that a chain of aliases ends at, without its trailing dot."""
        answer = await self._answer(name, kind)
        return answer.canonical_name.to_text(omit_final_dot=True).lower()

    async def _ask(self, name: str, kind: str) -> Sequence[dns.rdata.Rdata]:
        return list(await self._answer(name, kind))

    async def _answer(self, name: str, kind: str) -> dns.resolver.Answer:
        try:
            # Absolute: a search list would send mail for a mistyped domain to a host of ours.
            absolute = dns.name.from_text(name.rstrip(".") + ".")
            return await self._resolver.resolve(absolute, kind, search=False)
        except dns.resolver.NXDOMAIN as fault:
            raise Absent(domain_exists=False) from fault
        except dns.resolver.NoAnswer as fault:
            raise Absent(domain_exists=True) from fault
        except (dns.exception.DNSException, OSError) as fault:
            raise LookupFault(f"{kind} of {name}: {fault}") from fault


def _is_proved(answer: dns.resolver.Answer) -> bool:
    # Of an answer that the cache holds the flags are kept with it.
    return bool(answer.response.flags & dns.flags.AD)
