"""DnsLookup: the Resolver that asks DNS, by one small cache for SPF, DKIM, ARC and DMARC.

dnspython keeps a cache of its own, but to ask it costs some 100 microseconds a question, and a message asks half a
dozen. Promises: what is kept is bounded in entries and octets, for the time that DNS gives, within bounds of ours; a
fault is not kept; a question that is answered from what is kept awaits nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.PTR
import dns.rdtypes.ANY.TXT
import dns.resolver

from connectors.smtp.abreast import MustWait
from connectors.smtp.authentication.lookup import LookupFault
from connectors.smtp.dns_resolver import resolver_at

Kind = Literal["TXT", "A", "AAAA", "MX", "PTR"]
MAX_TTL_S: Final = 3600.0
MIN_TTL_S: Final = 5.0
ABSENT_TTL_S: Final = 120.0
"""How long it is remembered that there is no such name or record, at most (RFC 2308 §5 lets it be three hours)."""
MAX_ENTRIES: Final = 20_000
MAX_OCTETS: Final = 16 * 1024 * 1024
_MAX_VALUE: Final = 64 * 1024
"""Octets of one answer; what is longer is not kept."""
_MAX_RECORDS: Final = 100
QUESTION_S: Final = 8.0
"""Seconds that one question may take, retries to other servers among them."""


class Kept:
    """Answers by kind and name, the least used thrown out first."""

    __slots__ = ("_answers", "_octets")

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[Kind, str], tuple[float, int, Sequence[Any]]] = OrderedDict()
        self._octets = 0

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, kind: Kind, name: str, now: float) -> Sequence[Any] | None:
        key = (kind, name)
        found = self._answers.get(key)
        if found is None:
            return None
        if found[0] < now:
            self._remove(key)
            return None
        self._answers.move_to_end(key)
        return found[2]

    def put(self, kind: Kind, name: str, values: Sequence[Any], until: float) -> None:
        size = len(name) + 100 + sum(_size(value) for value in values)
        key = (kind, name)
        if key in self._answers:
            self._remove(key)
        if size > _MAX_VALUE:
            return
        self._answers[key] = (until, size, values)
        self._octets += size
        while len(self._answers) > MAX_ENTRIES or self._octets > MAX_OCTETS:
            self._remove(next(iter(self._answers)))

    def _remove(self, key: tuple[Kind, str]) -> None:
        self._octets -= self._answers.pop(key)[1]


def _size(value: Any) -> int:
    return 60 + len(value if isinstance(value, (bytes, str)) else value[1])


class DnsLookup:
    """Asks DNS, by the given servers or the system's. `until` hands out a Resolver with a deadline."""

    def __init__(
        self, nameservers: Sequence[str] = (), port: int = 53, *, clock: Callable[[], float] | None = None
    ) -> None:
        self._nameservers = list(nameservers)
        self._port = port
        self._made: dns.asyncresolver.Resolver | None = None
        self.now = clock or _loop_time
        self.kept = Kept()

    def until(self, deadline: float) -> Questions:
        """Return the Resolver of one message; `deadline` is by the event loop's clock."""
        return Questions(self, deadline)

    def at_hand(self) -> Questions:
        """Return the Resolver of a message that does not wait: where an answer is not kept it raises MustWait."""
        return Questions(self, None)

    async def ask(self, kind: Kind, name: str, deadline: float | None) -> Sequence[Any]:
        """Return what DNS has. Raises: LookupFault; MustWait where it would have to be asked and there is no
        deadline."""
        name = name.rstrip(".").lower()
        now = self.now()
        found = self.kept.get(kind, name, now)
        if found is None:
            if deadline is None:
                raise MustWait
            if now >= deadline:
                raise LookupFault(f"{kind} of {name}: no time left")
            try:
                async with asyncio.timeout(min(deadline - now, QUESTION_S)):
                    found, ttl_s = await self._ask(kind, name)
            except TimeoutError as fault:
                raise LookupFault(f"{kind} of {name}: no answer in time") from fault
            self.kept.put(kind, name, found, now + ttl_s)
        return found

    async def _ask(self, kind: Kind, name: str) -> tuple[Sequence[Any], float]:
        try:
            absolute = dns.name.from_text(name + ".")
        except (dns.exception.DNSException, UnicodeError, ValueError):
            return (), MAX_TTL_S  # no such name can be
        try:
            answer = await self._resolver.resolve(absolute, kind, search=False, raise_on_no_answer=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.YXDOMAIN):
            return (), ABSENT_TTL_S
        except (dns.exception.DNSException, OSError) as fault:
            raise LookupFault(f"{kind} of {name}: {type(fault).__name__}") from fault
        if answer.rrset is None:
            return (), ABSENT_TTL_S
        records = list(answer.rrset)[:_MAX_RECORDS]
        ttl_s = min(MAX_TTL_S, max(MIN_TTL_S, float(answer.rrset.ttl)))
        return tuple(_value(record) for record in records), ttl_s

    @property
    def _resolver(self) -> dns.asyncresolver.Resolver:
        # At the first question: a gateway must start on a machine without DNS.
        if self._made is None:
            self._made = resolver_at(self._nameservers, self._port, QUESTION_S)
        return self._made


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def _value(record: Any) -> Any:
    match record:
        case dns.rdtypes.ANY.TXT.TXT():
            return b"".join(record.strings)
        case dns.rdtypes.ANY.MX.MX():
            return record.preference, record.exchange.to_text(omit_final_dot=True)
        case dns.rdtypes.ANY.PTR.PTR():
            return record.target.to_text(omit_final_dot=True)
        case _:
            return record.to_text()


class Questions:
    """The Resolver of one message. What is kept is given without a further coroutine."""

    __slots__ = ("_deadline", "_lookup", "_now")

    def __init__(self, lookup: DnsLookup, deadline: float | None) -> None:
        self._lookup = lookup
        self._deadline = deadline
        self._now = lookup.now()
        """Asked for once: what may be used when the first question of a message is asked may be used for the others."""

    async def txt(self, name: str) -> Sequence[bytes]:
        found = self._lookup.kept.get("TXT", name, self._now)
        return await self._lookup.ask("TXT", name, self._deadline) if found is None else found

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]:
        return await self._lookup.ask("AAAA" if ipv6 else "A", name, self._deadline)

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        return await self._lookup.ask("MX", name, self._deadline)

    async def ptr(self, name: str) -> Sequence[str]:
        return await self._lookup.ask("PTR", name, self._deadline)
