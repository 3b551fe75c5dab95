"""Clients: how many connections and messages each address has, and whether one more is borne.

Where there are several workers, all of a machine count together, by their Tally.
Promises: memory bounded whatever addresses knock: the table of connections by the connections themselves, that of
messages by MAX_COUNTED, beyond which newcomers share one count.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import Final

from connectors.smtp.tally import Tally

MAX_COUNTED: Final = 65_536
WINDOW_S: Final = 60.0
_ALL: Final = "all"
_CONNECTIONS: Final = "connections of "
_MESSAGES: Final = "messages of "


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

    def __init__(self, limits: Limits, tally: Tally | None = None) -> None:
        """`tally` is for the workers of one gateway, where there are several."""
        self.limits = limits
        self._tally = tally
        self._connections: dict[str, int] = {}
        self._messages: dict[str, int] = {}
        self._window = 0
        self.total = 0

    def enter(self, address: str, *, trusted: bool) -> str | None:
        """Count a connection; where it is one too many, return why, and count nothing."""
        here = self._connections.get(address, 0)
        total, all_here = self.total, here
        if (tally := self._tally) is not None:
            total += tally.others(_ALL)
            all_here += tally.others(_CONNECTIONS + address)
        if total >= self.limits.connections:
            return "too many connections, try again later"
        if not trusted and all_here >= self.limits.connections_per_client:
            return "too many connections from your address, try again later"
        self._connections[address] = here + 1
        self.total += 1
        self._tell(address, here + 1)
        return None

    def leave(self, address: str) -> None:
        """Take a connection off that `enter` had counted."""
        self.total -= 1
        left = self._connections[address] - 1
        if left:
            self._connections[address] = left
        else:
            del self._connections[address]
        self._tell(address, left)

    def may_send(self, address: str, now: float) -> bool:
        """Count a message of an address that is not trusted, and tell whether it is within the limit."""
        window = int(now // WINDOW_S)
        if window != self._window:
            self._messages.clear()
            self._window = window
        key = address if address in self._messages or len(self._messages) < MAX_COUNTED else ""
        sent = self._messages.get(key, 0) + 1
        self._messages[key] = sent
        if (tally := self._tally) is not None:
            tally.tell(_MESSAGES + key, sent, until=(window + 1) * WINDOW_S)
            sent += tally.others(_MESSAGES + key)
        return sent <= self.limits.messages_per_minute

    def _tell(self, address: str, count: int) -> None:
        if self._tally is not None:
            self._tally.tell(_ALL, self.total)
            self._tally.tell(_CONNECTIONS + address, count)
