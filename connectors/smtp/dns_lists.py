"""Black and white lists in DNS: what others know of a client, weighed and added up.

All lists are asked at once, at the client's first MAIL, and once per connection; one that does not answer in time
counts nothing, so that a list that is gone cannot stop the mail. Who may relay is not asked about.
Source: RFC 5782.
"""

from __future__ import annotations

import asyncio
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, Protocol

from connectors.smtp.checks import Check, Client, OnFault, Step, Transaction, Verdict, refuse
from connectors.smtp.filter_config import DnsList, DnsListsTable, read_networks
from connectors.smtp.mx import Absent, Family, LookupFault
from connectors.smtp.patterns import read_address
from gateway.contract import Context

_NOT_FOR_YOU: Final = IPv4Network("127.255.255.0/24")
"""Answers by which the large lists say that this resolver may not ask."""
_MOST_TEXT: Final = 200
_UNPRINTABLE: Final = re.compile(r"[^ -~]+")


class Lookups(Protocol):
    """What is asked of DNS."""

    async def addresses(self, host: str, family: Family) -> object: ...

    async def txt(self, name: str) -> list[bytes]: ...


def query_name(address: IPv4Address | IPv6Address, zone: str) -> str:
    """Return the name that a list is asked for (RFC 5782 §2.1, §2.4)."""
    labels = str(address).split(".") if address.version == 4 else list(address.exploded.replace(":", ""))
    return ".".join([*reversed(labels), zone])


class DnsListsMaker:
    """The lists of one source; see CheckMaker."""

    name = "dns_lists"
    steps = Step.MAIL
    on_fault: OnFault = "accept"

    def __init__(self, table: DnsListsTable, resolver: Lookups, context: Context) -> None:
        self.table = table
        self.timeout_s = table.timeout_s + 5.0
        self.resolver = resolver
        self.context = context
        self.lists: list[tuple[DnsList, tuple[IPv4Network | IPv6Network, ...]]] = [
            (each, read_networks(each.answers)) for each in table.lists
        ]

    def begin(self, client: Client) -> Check | None:
        address = read_address(client.address)
        if address is None or client.trusted:
            return None
        return _Asked(self, address)

    def close(self) -> None:
        return


class _Asked(Check):
    """What the lists said of one client; asked once."""

    def __init__(self, maker: DnsListsMaker, address: IPv4Address | IPv6Address) -> None:
        self._maker = maker
        self._address = address
        self._is_asked = False
        self._refusal: Verdict | None = None

    async def mail(self, client: Client, transaction: Transaction) -> Verdict | None:
        if client.welcome or client.trusted or transaction.welcome:
            return None
        if not self._is_asked:
            self._refusal = await self._ask(client)
            self._is_asked = True
        return self._refusal

    async def _ask(self, client: Client) -> Verdict | None:
        maker, table = self._maker, self._maker.table
        listed = await asyncio.gather(*(self._is_on(each, networks) for each, networks in maker.lists))
        on = [each for (each, _), is_on in zip(maker.lists, listed, strict=True) if is_on]
        score = sum(each.weight for each in on)
        for each in on:
            maker.context.count("dns_listed", zone=each.zone)
        if score <= table.accept_at:
            client.welcome = True
        if score < table.reject_at:
            return None
        worst = max(on, key=lambda each: each.weight)
        why = await self._text(worst)
        names = ", ".join(f"{each.zone} ({each.weight:g})" for each in on)
        return refuse("5.7.1", f"your address {self._address} is listed at {worst.zone}{why}", cause=f"listed: {names}")

    async def _is_on(self, each: DnsList, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
        try:
            async with asyncio.timeout(self._maker.table.timeout_s):
                found = await self._maker.resolver.addresses(query_name(self._address, each.zone), "ipv4")
        except Absent:
            return False
        except (LookupFault, TimeoutError) as fault:
            self._maker.context.count("dns_list_faults", zone=each.zone)
            self._maker.context.log.debug("dns_list_failed", zone=each.zone, reason=str(fault) or "no answer in time")
            return False
        answers = [ip_address(answer) for answer in found]  # type: ignore[attr-defined]  # a sequence of texts
        return any(answer not in _NOT_FOR_YOU and any(answer in network for network in networks) for answer in answers)

    async def _text(self, each: DnsList) -> str:
        """Return what the list says of the client, for the answer; nothing where it says nothing."""
        try:
            async with asyncio.timeout(self._maker.table.timeout_s):
                texts = await self._maker.resolver.txt(query_name(self._address, each.zone))
        except (Absent, LookupFault, TimeoutError):
            return ""
        said = _UNPRINTABLE.sub("?", texts[0].decode("ascii", "replace"))[:_MOST_TEXT] if texts else ""
        return f": {said}" if said else ""
