"""A Resolver for DANE, MTA-STS and reports: FakeDns with proof, TLSA and TXT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.smtp.dns_resolver import Tlsa
from connectors.smtp.mx import Absent, LookupFault
from tests.connectors.smtp.client_kit import FakeDns


class SecureDns(FakeDns):
    """`secure` are the names whose records are proved; a TLSA or TXT value of None is no answer at all."""

    def __init__(
        self,
        mx: Mapping[str, Sequence[tuple[int, str]] | None] | None = None,
        hosts: Mapping[str, Sequence[str] | None] | None = None,
        *,
        tlsa: Mapping[str, Sequence[Tlsa] | None] | None = None,
        txt: Mapping[str, Sequence[bytes] | None] | None = None,
        secure: Sequence[str] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(mx, hosts)
        self.records = dict(tlsa or {})
        self.texts = dict(txt or {})
        self.secure = set(secure)
        self.aliases = aliases or {}

    async def txt(self, name: str) -> Sequence[bytes]:
        self.asked.append(name)
        if name not in self.texts:
            raise Absent(domain_exists=False)
        found = self.texts[name]
        if found is None:
            raise LookupFault("SERVFAIL")
        return found

    async def tlsa(self, name: str) -> tuple[Sequence[Tlsa], bool]:
        self.asked.append(name)
        if name not in self.records:
            raise Absent(domain_exists=False)
        found = self.records[name]
        if found is None:
            raise LookupFault("SERVFAIL")
        return found, name.split(".", 2)[2] in self.secure

    async def is_secure(self, name: str, kind: str) -> bool:
        if kind == "MX":
            await self.mx(name)
        else:
            await self.addresses(name, "ipv4" if kind == "A" else "ipv6")
        return name in self.secure

    async def canonical(self, name: str, kind: str) -> str:
        return self.aliases.get(name, name)
