"""Throttle: what guessing passwords costs. Pure; times in seconds by any clock that never steps back.

Each failure doubles the time that the next try of the same client, and for the same account, must wait. The wait comes
before the password is looked at, so that its end tells nothing; and one client has one try at a time, so that many
connections gain nothing; before its failures are known it has a few. An account's owner waits a few seconds at most,
whoever guesses at it, and no time at all from where they logged in lately.

Promises: memory bounded by MOST, whoever knocks: the oldest are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MOST: Final = 16_384
FREE: Final = 3
"""Failures that cost nothing: people mistype."""
TOGETHER: Final = 16
"""Tries at once of a client that has not failed so far, such as the server of a web mail."""
FIRST_S: Final = 1.0
CLIENT_MOST_S: Final = 60.0
ACCOUNT_MOST_S: Final = 8.0
FORGOTTEN_AFTER_S: Final = 3600.0


@dataclass(slots=True)
class _Failures:
    count: int
    at: float


class Throttle:
    """Counts failures by client and by account."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._clients: OrderedDict[str, _Failures] = OrderedDict()
        self._accounts: OrderedDict[str, _Failures] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        """Who logged in from where, so that guesses of others do not slow them."""
        self._under_way: dict[str, int] = {}

    def enter(self, client: str, now: float) -> bool:
        """Begin a try; False where this client has as many under way as it may."""
        under_way = self._under_way.get(client, 0)
        most = TOGETHER if self._delay(self._clients, client, now, CLIENT_MOST_S) == 0 else 1
        if under_way >= most:
            return False
        self._under_way[client] = under_way + 1
        return True

    def leave(self, client: str) -> None:
        """End a try that `enter` let begin."""
        left = self._under_way[client] - 1
        if left:
            self._under_way[client] = left
        else:
            del self._under_way[client]

    def delay_s(self, client: str, account: str, now: float) -> float:
        """Return how long a try has to wait before it is looked at."""
        by_client = self._delay(self._clients, client, now, CLIENT_MOST_S)
        if (client, account) in self._known:
            return by_client
        return max(by_client, self._delay(self._accounts, account, now, ACCOUNT_MOST_S))

    def failed(self, client: str, account: str, now: float) -> None:
        """Count a failure; `account` is empty where the client named none."""
        self._count(self._clients, client, now)
        if account:
            self._count(self._accounts, account, now)

    def succeeded(self, client: str, account: str) -> None:
        """Forgive a client that knows a password half of its failures, and forget those of that account.

        Not all of them: an account of one's own must not make guesses at those of others free.
        """
        if (failures := self._clients.get(client)) is not None:
            failures.count //= 2
        self._accounts.pop(account, None)
        self._known[client, account] = None
        self._known.move_to_end((client, account))
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def _count(self, failures: OrderedDict[str, _Failures], key: str, now: float) -> None:
        found = failures.get(key)
        count = 1 if found is None or now - found.at > FORGOTTEN_AFTER_S else found.count + 1
        failures[key] = _Failures(count, now)
        failures.move_to_end(key)
        if len(failures) > self._most:
            failures.popitem(last=False)

    def _delay(self, failures: OrderedDict[str, _Failures], key: str, now: float, most_s: float) -> float:
        found = failures.get(key)
        if found is None or found.count < FREE or now - found.at > FORGOTTEN_AFTER_S:
            return 0.0
        return min(most_s, FIRST_S * 2.0 ** min(found.count - FREE, 30))
