"""The Resolver that asks DNS itself."""

from __future__ import annotations

from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdtypes.ANY.MX
import dns.resolver

from connectors.smtp.mx import Absent, Family, LookupFault


class DnsResolver:
    """Asks DNS, by the given servers or the system's, through a bounded cache that heeds TTLs."""

    def __init__(self, nameservers: Sequence[str] = (), port: int = 53, *, timeout_s: float = 20.0) -> None:
        self._nameservers = list(nameservers)
        self._port = port
        self._timeout_s = timeout_s
        self._made: dns.asyncresolver.Resolver | None = None

    @property
    def _resolver(self) -> dns.asyncresolver.Resolver:
        # At the first question: a gateway that sends by no MX must start on a machine without DNS.
        if self._made is None:
            self._made = made = dns.asyncresolver.Resolver(configure=not self._nameservers)
            if self._nameservers:
                made.nameservers = list(self._nameservers)
                made.port = self._port
            made.lifetime = self._timeout_s
            made.cache = dns.resolver.LRUCache(20_000)
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

    async def _ask(self, name: str, kind: str) -> Sequence[dns.rdata.Rdata]:
        try:
            # Absolute: a search list would send mail for a mistyped domain to a host of ours.
            absolute = dns.name.from_text(name.rstrip(".") + ".")
            return list(await self._resolver.resolve(absolute, kind, search=False))
        except dns.resolver.NXDOMAIN as fault:
            raise Absent(domain_exists=False) from fault
        except dns.resolver.NoAnswer as fault:
            raise Absent(domain_exists=True) from fault
        except (dns.exception.DNSException, OSError) as fault:
            raise LookupFault(f"{kind} of {name}: {fault}") from fault
