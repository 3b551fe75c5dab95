"""Clients: how many connections and messages each address has, and whether one more is borne. Pure.

Promises: memory bounded whatever addresses knock: the table of connections by the connections themselves, that of
messages by MAX_COUNTED, beyond which newcomers share one count.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import Final

MAX_COUNTED: Final = 65_536
WINDOW_S: Final = 60.0


def client_of(peer: str) -> str:
    """Return by what a peer is counted: an IPv4 address itself; of IPv6 the /64, all of which one host may have."""
    if ":" not in peer:
        return peer
    try:
        return str(IPv6Network((peer.partition("%")[0], 64), strict=False))
    except ValueError:
        return peer


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is borne in all, and of one address that is not trusted."""

    connections: int
    connections_per_client: int
    messages_per_minute: int


class Clients:
    """Counts by address; the caller says which are trusted, so exempt from the limits of one client."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._connections: dict[str, int] = {}
        self._messages: dict[str, int] = {}
        self._window_ends = 0.0
        self.total = 0

    def enter(self, address: str, *, trusted: bool) -> str | None:
        """Count a connection; where it is one too many, return why, and count nothing."""
        if self.total >= self.limits.connections:
            return "too many connections, try again later"
        here = self._connections.get(address, 0)
        if not trusted and here >= self.limits.connections_per_client:
            return "too many connections from your address, try again later"
        self._connections[address] = here + 1
        self.total += 1
        return None

    def leave(self, address: str) -> None:
        """Take a connection off that `enter` had counted."""
        self.total -= 1
        left = self._connections[address] - 1
        if left:
            self._connections[address] = left
        else:
            del self._connections[address]

    def may_send(self, address: str, now: float) -> bool:
        """Count a message of an address that is not trusted, and tell whether it is within the limit."""
        if now >= self._window_ends:
            self._messages.clear()
            self._window_ends = now + WINDOW_S
        key = address if address in self._messages or len(self._messages) < MAX_COUNTED else ""
        sent = self._messages.get(key, 0) + 1
        self._messages[key] = sent
        return sent <= self.limits.messages_per_minute
