"""What TLS to one host has to be by the recipient domain's own word: DANE before MTA-STS before what is configured.

RFC 8461 §2: a sender that does both never lets MTA-STS take the place of DANE that fails. What neither asks for is left
to the option `tls`, which they only raise. Each connection is counted for the domain's TLS report, where they are made.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from connectors.smtp import dane
from connectors.smtp.client_config import ClientConfig
from connectors.smtp.connection import Connection
from connectors.smtp.dane import Dane, Level
from connectors.smtp.faults import HopFault
from connectors.smtp.mta_sts import Policies, Policy
from connectors.smtp.mx import Finder, LookupFault, Target
from connectors.smtp.opening import BAD_TLS, NO_TLS, open_connection
from connectors.smtp.tls import TlsOptions
from connectors.smtp.tls_reports import Reports, Ruling
from connectors.smtp.transaction import ascii_domain
from gateway.contract import Deferred, Failed, Scope, Status

NO_TLSA: Final = Status("4.7.5", "DNS gave no answer about the certificates of the next hop")
NOT_NAMED: Final = Status("4.7.5", "the next hop is none of the hosts that its domain's MTA-STS policy names")

_EXPIRED: Final = 10
_HOST_MISMATCH: Final = (62, 64)
"""X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What holds for connections to one target."""

    ruling: Ruling
    tls: TlsOptions
    wished: TlsOptions | None = None
    """Tried first; where it fails, that is told and `tls` holds: a policy that is only being tested."""
    barred: Status | None = None
    """It must not be used."""
    flaw: str = ""
    """A result type of RFC 8460 that is told of each connection, whatever becomes of it."""


class Opens(Protocol):
    async def __call__(
        self, target: Target, config: ClientConfig, tls: TlsOptions, name: str, on_end: Callable[[Connection], None]
    ) -> Connection: ...


class GuardedFinder:
    """Finds targets as a Finder does, each with its guard; and opens connections under them."""

    def __init__(
        self,
        finder: Finder,
        config: ClientConfig,
        floor: TlsOptions,
        *,
        plain: ssl.SSLContext,
        verified: ssl.SSLContext,
        resolver: dane.SecureResolver | None,
        policies: Policies | None,
        reports: Reports | None,
        count: Callable[..., None],
        open_: Opens = open_connection,
    ) -> None:
        """`resolver` is None without DANE, `policies` without MTA-STS, `reports` without TLS reports; `count` is the
        Context's."""
        self._finder = finder
        self._config = config
        self._floor = floor
        self._plain = plain
        self._verified = verified
        self._resolver = resolver
        self._policies = policies
        self._reports = reports
        self._count = count
        self._open = open_

    def shun(self, target: Target) -> None:
        self._finder.shun(target)

    def praise(self, target: Target) -> None:
        self._finder.praise(target)

    async def find(self, next_hop: str) -> list[Target]:
        """Return the targets of a next hop in the order to try them, those last that may not be used.

        Raises: HopFault.
        """
        targets = await self._finder.find(next_hop)
        smart_host = self._config.smart_host
        if next_hop.startswith("[") or targets[0].port == 0:
            return targets  # an address or a socket, or where an operator has sent it by hand: nobody's domain
        domain = "" if smart_host is not None else ascii_domain(next_hop.rstrip("."))
        policy, fault = None, None
        if self._policies is not None and domain:
            policy, fault = await self._policies.of(domain)
            if fault is not None and self._reports is not None and policy is None:
                self._reports.count(Ruling(domain, "sts"), targets[0], fault.result, str(fault))
        try:
            may_have = self._resolver is not None and (
                not domain or await dane.domain_is_secure(self._resolver, domain)
            )
        except LookupFault as unknown:
            # The hosts are known, yet not whether they are proved: to go on would be to do without DANE.
            raise HopFault(Deferred(NO_TLSA.but(cause=str(unknown)), Scope.HOP)) from unknown
        guarded: list[Target] = []
        known: dict[tuple[str, int], Dane | LookupFault] = {}
        for target in targets:
            asks: Dane | LookupFault = dane.NO_DANE
            if may_have and target.name != target.address:
                key = (target.name, target.port)
                if key not in known:
                    known[key] = await self._dane(target, domain)
                asks = known[key]
            guarded.append(replace(target, guard=self._guard(target, domain, asks, policy)))
        guarded.sort(key=lambda target: target.guard is not None and target.guard.barred is not None)
        return guarded

    async def _dane(self, target: Target, domain: str) -> Dane | LookupFault:
        assert self._resolver is not None
        try:
            return await dane.look_up(self._resolver, target.name, target.port, [domain] if domain else [])
        except LookupFault as fault:
            return fault

    def _guard(self, target: Target, domain: str, asks: Dane | LookupFault, policy: Policy | None) -> Guard:
        named = domain or target.name
        if isinstance(asks, LookupFault):
            # RFC 7672 §2.1.2: whoever can suppress the answer could take the mail otherwise.
            return Guard(Ruling(named, "tlsa"), self._floor, barred=NO_TLSA.but(cause=str(asks)), flaw="dnssec-invalid")
        if asks.level is Level.MATCH:
            lines = tuple(f"{r.usage} {r.selector} {r.matching} {r.data.hex()}" for r in asks.records)
            options = TlsOptions("require", self._plain, lambda tls: dane.verify(asks, dane.chain_of(tls)), asks.base)
            return Guard(Ruling(named, "tlsa", lines, (target.name,)), options)
        if policy is not None and policy.mode != "none":
            return self._by_policy(target, domain, policy)
        if asks.level is Level.ENCRYPT:
            tls = self._floor if self._floor.is_needed else TlsOptions("require", self._plain)
            return Guard(Ruling(named, "tlsa", (), (target.name,)), tls, flaw="tlsa-invalid")
        return Guard(Ruling(named, "no-policy-found"), self._floor)

    def _by_policy(self, target: Target, domain: str, policy: Policy) -> Guard:
        ruling = Ruling(domain, "sts", policy.text, policy.hosts)
        verify = TlsOptions("verify", self._verified)
        if policy.mode == "enforce":
            if policy.allows(target.name):
                return Guard(ruling, verify)
            return Guard(ruling, verify, barred=NOT_NAMED.but(cause=target.name), flaw="validation-failure")
        if policy.allows(target.name):
            return Guard(ruling, self._floor, wished=verify)
        return Guard(ruling, self._floor, flaw="validation-failure")

    async def open(self, target: Target, name: str, on_end: Callable[[Connection], None]) -> Connection:
        """Open a connection under the target's guard. Raises: HopFault."""
        guard = target.guard
        if guard is None:
            return await self._open(target, self._config, self._floor, name, on_end)
        if guard.barred is not None:
            self._tell(target, guard, guard.flaw, str(guard.barred))
            raise HopFault(Deferred(guard.barred, Scope.HOP))
        if guard.wished is not None:
            try:
                return self._opened(target, guard, await self._open(target, self._config, guard.wished, name, on_end))
            except HopFault as fault:
                result = result_of(fault)
                if result is None:
                    raise
                self._tell(target, guard, result, str(fault.outcome.status))
                return await self._open(target, self._config, guard.tls, name, on_end)
        try:
            return self._opened(target, guard, await self._open(target, self._config, guard.tls, name, on_end))
        except HopFault as fault:
            result = result_of(fault)
            if result is not None:
                self._tell(target, guard, result, str(fault.outcome.status))
            if guard.tls.is_needed and isinstance(fault.outcome, Failed):
                # Said in clear, where it may be anybody's word: nobody's mail fails for good by it.
                said = fault.outcome.status
                later = Status(f"4{said.code[1:]}", said.text, said.cause, said.reply, said.remote)
                raise HopFault(Deferred(later, Scope.HOP)) from fault
            raise

    def _opened(self, target: Target, guard: Guard, connection: Connection) -> Connection:
        if guard.flaw:
            self._tell(target, guard, guard.flaw, "")
        elif connection.tls:
            self._tell(target, guard, "", "")
        else:
            self._tell(target, guard, "starttls-not-supported", "")
        return connection

    def _tell(self, target: Target, guard: Guard, result: str, text: str) -> None:
        self._count("tls_sessions", policy=guard.ruling.kind, result=result or "successful")
        if self._reports is not None and "." in guard.ruling.domain:
            self._reports.count(guard.ruling, target, result, text)


def result_of(fault: HopFault) -> str | None:
    """Return the result type of RFC 8460 §4.3.2 of a connection that came to nothing; None where TLS is not why."""
    status = fault.outcome.status
    cause: BaseException | None = fault
    while cause is not None:
        if isinstance(cause, dane.Mismatch):
            return cause.result
        if isinstance(cause, ssl.SSLCertVerificationError):
            if cause.verify_code == _EXPIRED:
                return "certificate-expired"
            return "certificate-host-mismatch" if cause.verify_code in _HOST_MISMATCH else "certificate-not-trusted"
        cause = cause.__cause__
    if status.code == NO_TLS.code:
        return "starttls-not-supported"
    return "validation-failure" if status.code == BAD_TLS.code else None
