"""Which hosts to try for a next hop, in order: MX records, their addresses, and what DNS says against it.

`order` and `cut` are pure; `Finder` asks a Resolver, which tests replace. Every way to fail is a HopFault with the
Outcome it means: final only where DNS has answered, a deferral of the whole hop where it has not.
"""

from __future__ import annotations

import asyncio
import random
import re
import socket
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import groupby
from typing import TYPE_CHECKING, Final, Literal, Protocol

import dns.exception
import dns.name

from connectors.smtp.client_config import ClientConfig, host_port
from connectors.smtp.faults import HopFault
from connectors.smtp.transaction import ascii_domain
from gateway.contract import Deferred, Failed, Scope, Status

if TYPE_CHECKING:
    from connectors.smtp.tls_guard import Guard

MAX_HOSTS: Final = 8
MAX_TARGETS: Final = 12
"""Hosts looked up and addresses tried for one connection; a zone of hundreds must not hold a lane for hours."""

_SHUN_S: Final = 120.0
_SHUN_LIMIT: Final = 4096

NULL_MX: Final = Status("5.1.10", "the domain takes no mail")
NO_SUCH_DOMAIN: Final = Status("5.1.2", "the domain does not exist")
NO_HOST: Final = Status("5.4.4", "the domain has no host that takes mail")
OURSELVES: Final = Status("5.4.6", "the domain's mail comes back to this gateway, which has no mailbox for it")
BAD_DOMAIN: Final = Status("5.1.2", "the domain is ill-formed")
NO_SMART_HOST: Final = Status("4.4.4", "the smart host has no address")
NO_ANSWER_OF_DNS: Final = Status("4.4.3", "DNS gave no answer for the domain")

Family = Literal["ipv4", "ipv6"]


_NAMED_HOST: Final = re.compile(r"\[([^\[\]]+)\]:([0-9]{1,5})")


class Absent(Exception):
    """DNS has answered: there is no such record. `domain_exists` is false for NXDOMAIN."""

    def __init__(self, *, domain_exists: bool) -> None:
        self.domain_exists = domain_exists
        super().__init__("no such record" if domain_exists else "no such domain")


class LookupFault(Exception):
    """DNS has not answered, or not to be trusted with: time-out, SERVFAIL, no server."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address to connect to. `name` is the host's, for TLS and reports; `address` an IP or `unix:/path`."""

    name: str
    address: str
    port: int
    guard: Guard | None = field(default=None, compare=False)
    """What DNS and policy say of TLS to it, where they are asked."""


class Resolver(Protocol):
    """The questions that are asked of DNS. Each raises Absent or LookupFault."""

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        """Return (preference, host name without trailing dot); `""` is the root of a null MX."""
        ...

    async def addresses(self, host: str, family: Family) -> Sequence[str]: ...


def order(records: Iterable[tuple[int, str]], shuffle: Callable[[list[str]], None]) -> list[tuple[int, str]]:
    """Return MX records by preference, those of equal preference in random order, each host once.

    Source: RFC 5321 §5.1.
    """
    ordered: list[tuple[int, str]] = []
    seen: set[str] = set()
    for preference, group in groupby(sorted(set(records)), key=lambda record: record[0]):
        hosts = [host for _, host in group]
        shuffle(hosts)
        ordered.extend((preference, host) for host in hosts if host not in seen)
        seen.update(hosts)
    return ordered


def cut(records: Sequence[tuple[int, str]], is_ours: Callable[[str], bool]) -> list[tuple[int, str]]:
    """Return the records that are better than the best one which is ourselves (RFC 5321 §5.1).

    Mail for an equal or worse host would only come back to us.
    """
    ours = [preference for preference, host in records if is_ours(host)]
    return [record for record in records if not ours or record[0] < min(ours)]


class Finder:
    """Finds targets, and remembers for a short while which did not answer, so that they are tried last."""

    def __init__(
        self,
        config: ClientConfig,
        resolver: Resolver,
        *,
        own_name: str,
        clock: Callable[[], float],
        shuffle: Callable[[list[str]], None] = random.shuffle,
    ) -> None:
        self._config = config
        self._resolver = resolver
        self._clock = clock
        self._shuffle = shuffle
        self._own_names = {name.rstrip(".").lower() for name in (own_name, *config.own_names)}
        self._own_addresses = {str(ip_address(text)) for text in config.own_addresses}
        self._shunned: OrderedDict[Target, float] = OrderedDict()
        first: Family = config.prefer
        self._families: tuple[Family, Family] = (first, "ipv4" if first == "ipv6" else "ipv6")

    def shun(self, target: Target) -> None:
        """Remember that a target did not answer."""
        self._shunned[target] = self._clock() + _SHUN_S
        self._shunned.move_to_end(target)
        if len(self._shunned) > _SHUN_LIMIT:
            self._shunned.popitem(last=False)

    def praise(self, target: Target) -> None:
        """Forget that a target did not answer: it does now."""
        self._shunned.pop(target, None)

    async def find(self, next_hop: str) -> list[Target]:
        """Return the targets of a next hop in the order to try them, at least one.

        `[host]:port` is where an operator has rerouted to: one host, without MX and past the smart host. No address has
        a domain of that form. All else goes to the smart host where there is one, also what an earlier one was to have.

        Raises: HopFault.
        """
        smart_host, named = self._config.smart_host, _NAMED_HOST.fullmatch(next_hop)
        if named and next_hop != smart_host:
            port = int(named[2])
            if not 1 <= port <= 65535:
                raise HopFault(Deferred(NO_SMART_HOST.but(cause=f"{port} is no port"), Scope.HOP))
            targets = await self._host(named[1], port)
        elif smart_host is not None:
            targets = await self._host(*host_port(smart_host, self._config.port))
        else:
            targets = await self._domain(next_hop)
        now = self._clock()
        targets.sort(key=lambda target: self._shunned.get(target, 0.0) > now)  # stable: the order stays otherwise
        return targets[:MAX_TARGETS]

    async def _host(self, host: str, port: int) -> list[Target]:
        if host.startswith("unix:"):
            return [Target("localhost", host, 0)]
        try:
            return [Target(str(ip_address(host)), str(ip_address(host)), port)]
        except ValueError:
            pass
        try:
            return [Target(host, address, port) for address in await self._addresses(host, NO_HOST)]
        except HopFault as missing:
            # The operator's own choice of host: a name that DNS has lost is mended, mail for it does not fail.
            cause = missing.outcome.status.cause
            raise HopFault(Deferred(NO_SMART_HOST.but(cause=cause), Scope.HOP)) from missing

    async def _domain(self, next_hop: str) -> list[Target]:
        port = self._config.port
        if next_hop.startswith("["):
            address = _literal(next_hop)
            if address in self._own_addresses:
                raise HopFault(Failed(OURSELVES))
            return [Target(address, address, port)]
        try:
            domain = ascii_domain(next_hop)
            dns.name.from_text(domain)
        except (ValueError, dns.exception.DNSException) as fault:
            raise HopFault(Failed(BAD_DOMAIN.but(cause=str(fault)))) from fault
        try:
            records = order([(p, host.lower()) for p, host in await self._resolver.mx(domain)], self._shuffle)
        except LookupFault as fault:
            raise HopFault(Deferred(NO_ANSWER_OF_DNS.but(cause=str(fault)), Scope.HOP)) from fault
        except Absent as absent:
            if not absent.domain_exists:
                raise HopFault(Failed(NO_SUCH_DOMAIN)) from absent
            records = [(0, domain)]  # RFC 5321 §5.1: the domain itself, as an implicit MX
        if [host for _, host in records] == [""]:
            raise HopFault(Failed(NULL_MX))  # RFC 7505 §3
        better = cut([record for record in records if record[1]], lambda host: host in self._own_names)
        if not better:
            raise HopFault(Failed(OURSELVES))
        return await self._targets(better[:MAX_HOSTS], port)

    async def _targets(self, records: Sequence[tuple[int, str]], port: int) -> list[Target]:
        """Look the hosts' addresses up, and cut again where one of them is an address of ours."""
        found: list[tuple[int, Target]] = []
        fault: HopFault | None = None
        for preference, host in records:
            try:
                addresses = await self._addresses(host, NO_HOST)
            except HopFault as missing:
                # A deferral outlasts a final answer: what is not known now may be a host that works.
                if fault is None or isinstance(missing.outcome, Deferred):
                    fault = missing
                continue
            found.extend((preference, Target(host, address, port)) for address in addresses)
        ours = [preference for preference, target in found if target.address in self._own_addresses]
        better = [target for preference, target in found if not ours or preference < min(ours)]
        if better:
            return better
        if ours:
            raise HopFault(Failed(OURSELVES))
        raise fault or HopFault(Failed(NO_HOST))

    async def _addresses(self, host: str, nothing: Status) -> list[str]:
        found: list[str] = []
        unknown: LookupFault | None = None
        for family in self._families:
            try:
                found.extend(await self._resolver.addresses(host, family))
            except Absent:
                continue
            except LookupFault as fault:
                unknown = fault
        if found:
            return found
        if unknown is not None:
            raise HopFault(Deferred(NO_ANSWER_OF_DNS.but(cause=f"{host}: {unknown}"), Scope.HOP)) from unknown
        raise HopFault(Failed(nothing.but(cause=f"{host} has no address")))


def _literal(next_hop: str) -> str:
    """Return the IP address in an address literal, `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 §4.1.3)."""
    text = next_hop.strip("[]")
    if text.lower().startswith("ipv6:"):
        text = text[5:]
    try:
        return str(ip_address(text))
    except ValueError as fault:
        raise HopFault(Failed(BAD_DOMAIN.but(cause=str(fault)))) from fault


class SystemResolver:
    """Asks the system (hosts file and all) for addresses: for a smart host, which is often named only there."""

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        raise Absent(domain_exists=True)

    async def addresses(self, host: str, family: Family) -> Sequence[str]:
        wanted = socket.AF_INET if family == "ipv4" else socket.AF_INET6
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, family=wanted, type=socket.SOCK_STREAM)
        except socket.gaierror as fault:
            if fault.errno in (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY):
                raise Absent(domain_exists=True) from fault
            raise LookupFault(f"address of {host}: {fault}") from fault
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def resolver_for(config: ClientConfig) -> Resolver:
    """Return the resolver that a configuration asks for."""
    if config.smart_host is not None and not config.nameservers:
        return SystemResolver()
    from connectors.smtp.dns_resolver import DnsResolver  # slow to import, and no smart host needs it

    return DnsResolver(config.nameservers, config.nameserver_port)
