"""What is asked of DNS for all of this: the Resolver, and what its answers may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class LookupFault(Exception):
    """DNS has not answered, or not to be trusted with: time-out, SERVFAIL, no server. Try again later."""


class Resolver(Protocol):
    """Questions to DNS. Each returns an empty list where there is no such name or record; raises LookupFault.

    Names are absolute, without their final dot; a name that cannot be one has no records.
    """

    async def txt(self, name: str) -> Sequence[bytes]:
        """Return TXT records, the strings of each joined without a blank."""
        ...

    async def addresses(self, name: str, *, ipv6: bool) -> Sequence[str]: ...

    async def mx(self, name: str) -> Sequence[tuple[int, str]]:
        """Return (preference, host)."""
        ...

    async def ptr(self, name: str) -> Sequence[str]:
        """Return the names that a name below in-addr.arpa or ip6.arpa points to."""
        ...
