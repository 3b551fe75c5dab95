"""ReverseDns: which host an address belongs to, believed only where the name leads back to the address.

Source: RFC 1912 §2.1; RFC 8601 §2.7.3 (iprev).
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

import dns.rdtypes.ANY.PTR
import dns.reversename

from connectors.smtp.dns_resolver import DnsResolver
from connectors.smtp.mx import Absent

MOST_NAMES: Final = 10
"""Names of one address that are followed; RFC 7208 §5.5 has the same bound."""


class ReverseDns(DnsResolver):
    """A resolver that also asks for the names of addresses."""

    async def reverse(self, address: str) -> list[str]:
        """Return the names that an address's reverse records give. Raises: Absent, LookupFault."""
        records = await self._ask(dns.reversename.from_address(address).to_text(), "PTR")
        return [
            record.target.to_text(omit_final_dot=True)
            for record in records
            if isinstance(record, dns.rdtypes.ANY.PTR.PTR)
        ]

    async def name_of(self, address: str) -> str:
        """Return the first of an address's names that has this address; empty where none has.

        Raises: LookupFault where DNS gave no answer.
        """
        try:
            mine = ip_address(address.partition("%")[0])
        except ValueError:
            return ""
        try:
            names = await self.reverse(str(mine))
        except Absent:
            return ""
        for name in names[:MOST_NAMES]:
            try:
                found = await self.addresses(name, "ipv4" if mine.version == 4 else "ipv6")
            except Absent:
                continue
            if any(ip_address(each) == mine for each in found):
                return name.lower()
        return ""
