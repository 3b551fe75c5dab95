"""Tokens: numbers that stand for correspondents on networks whose addresses have no room for another address.

An internet address cannot be written into a mailbox name of eight characters or a telephone number; so its owner gets a
number there, which is kept for as long as a reply may come.
Promises: an address keeps its number; a number stands for one address; a new one is in `pending` until the caller has
stored it, and must not be shown before. May be used from several threads.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from threading import Lock
from typing import Final

from mappings.address import Address

SPACE: Final = 100_000_000
"""Numbers have at most eight digits: what fits the narrowest network."""


class TokenBook:
    """The numbers given so far. `secret` makes them hard to guess; nodes that share it give an address one number."""

    def __init__(self, secret: bytes, known: Iterable[tuple[int, Address]] = ()) -> None:
        self._secret = secret
        self._numbers: dict[tuple[str, str], int] = {}
        self._addresses: dict[int, Address] = {}
        self._pending: dict[int, Address] = {}
        self._used: set[int] = set()
        self._lock = Lock()
        for number, address in known:
            self.learn(number, address)

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def is_pending(self) -> bool:
        """Whether something was given that is not stored yet."""
        return bool(self._pending)

    @property
    def pending(self) -> tuple[tuple[int, Address], ...]:
        """What was given and is not stored yet."""
        with self._lock:
            return tuple(self._pending.items())

    def number(self, address: Address) -> int:
        """Return an address's number, a new one where it has none."""
        key = (address.network, address.key)
        known = self._numbers.get(key)
        if known is not None:
            self._used.add(known)
            return known
        digest = hmac.digest(self._secret, f"{address.network}:{address.key}".encode(), "sha256")
        number = int.from_bytes(digest[:8]) % SPACE
        with self._lock:
            while number in self._addresses and self._addresses[number] != address:
                number = (number + 1) % SPACE
            self._numbers[key] = number
            if number not in self._addresses:
                self._addresses[number] = self._pending[number] = address
        return number

    def address(self, number: int) -> Address | None:
        """Return whom a number stands for, None where it was never given, or was taken back."""
        self._used.add(number)
        return self._addresses.get(number)

    def take_used(self) -> set[int]:
        """Return the numbers that were shown or written to since the last call."""
        used, self._used = self._used, set()
        return used & self._addresses.keys()

    def learn(self, number: int, address: Address) -> None:
        """Take over what is stored. Where another node gave the number to somebody else first, ours gets a new one."""
        with self._lock:
            other = self._addresses.get(number)
            if other is not None and other != address:
                self._numbers.pop((other.network, other.key), None)
            self._addresses[number] = address
            self._numbers[address.network, address.key] = number
            self._pending.pop(number, None)

    def forget(self, number: int) -> None:
        """Take a number back whose address nobody wrote to for long."""
        with self._lock:
            address = self._addresses.pop(number, None)
            self._pending.pop(number, None)
            if address is not None:
                self._numbers.pop((address.network, address.key), None)
