"""A Resolver over a table, for tests: what a zone holds, and how it fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.smtp.authentication.lookup import LookupFault


class Zone:
    """Answers by (name, type); a value of None is a time-out. Counts what it is asked."""

    def __init__(self, records: Mapping[tuple[str, str], Any]) -> None:
        self.records = {(name.lower().rstrip("."), kind): value for (name, kind), value in records.items()}
        self.asked: Counter[tuple[str, str]] = Counter()

    def _get(self, name: str, kind: str) -> Sequence[Any]:
        name = name.lower().rstrip(".")
        self.asked[name, kind] += 1
        found = self.records.get((name, kind), ())
        if found is None:
            raise LookupFault(f"{kind} of {name}")
        return list(found)

    async def txt(self, name: str) -> Sequence[bytes]:
        return self._get(name, "TXT")

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]:
        return self._get(name, "AAAA" if ipv6 else "A")

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        return self._get(name, "MX")

    async def ptr(self, name: str) -> Sequence[str]:
        return self._get(name, "PTR")
