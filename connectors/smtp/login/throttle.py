"""Throttle: what guessing passwords costs. Times in seconds by a clock that never steps back.

Each failure doubles the time that the next try of the same client, and for the same account, must wait. The wait comes
before the password is looked at, so that its end tells nothing; and one client has one try at a time, so that many
connections gain nothing; before its failures are known it has a few. An account's owner waits a few seconds at most,
whoever guesses at it, and no time at all from where they logged in lately.

Where there are several workers, all of a machine count failures together, by their Tally; only what a right password
forgives is forgiven by the worker that saw it.
Promises: memory bounded by MOST, whoever knocks: the oldest are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from connectors.smtp.tally import Tally

MOST: Final = 16_384
FREE: Final = 3
"""Failures that cost nothing: people mistype."""
TOGETHER: Final = 16
"""Tries at once of a client that has not failed so far, such as the server of a web mail."""
FIRST_S: Final = 1.0
CLIENT_MOST_S: Final = 60.0
ACCOUNT_MOST_S: Final = 8.0
FORGOTTEN_AFTER_S: Final = 3600.0
_CLIENTS: Final = "failures of "
_ACCOUNTS: Final = "failures at "
_TRIES: Final = "tries of "
_MOST_S: Final = {_CLIENTS: CLIENT_MOST_S, _ACCOUNTS: ACCOUNT_MOST_S}


@dataclass(slots=True)
class _Failures:
    count: int
    at: float


class Throttle:
    """Counts failures by client and by account."""

    def __init__(self, most: int = MOST, tally: Tally | None = None) -> None:
        """`tally` is for the workers of one gateway, where there are several."""
        self._most = most
        self._tally = tally
        self._failures: dict[str, OrderedDict[str, _Failures]] = {kind: OrderedDict() for kind in _MOST_S}
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        """Who logged in from where, so that guesses of others do not slow them."""
        self._under_way: dict[str, int] = {}

    def enter(self, client: str, now: float) -> bool:
        """Begin a try; False where this client has as many under way as it may."""
        here = self._under_way.get(client, 0)
        tally = self._tally
        others = 0 if tally is None else tally.others(_TRIES + client)
        most = TOGETHER if self._delay(_CLIENTS, client, now) == 0 else 1
        if here + others >= most:
            return False
        self._under_way[client] = here + 1
        if tally is not None:
            tally.tell(_TRIES + client, here + 1)
        return True

    def leave(self, client: str) -> None:
        """End a try that `enter` let begin."""
        left = self._under_way[client] - 1
        if left:
            self._under_way[client] = left
        else:
            del self._under_way[client]
        if self._tally is not None:
            self._tally.tell(_TRIES + client, left)

    def delay_s(self, client: str, account: str, now: float) -> float:
        """Return how long a try has to wait before it is looked at."""
        by_client = self._delay(_CLIENTS, client, now)
        if (client, account) in self._known:
            return by_client
        return max(by_client, self._delay(_ACCOUNTS, account, now))

    def failed(self, client: str, account: str, now: float) -> None:
        """Count a failure; `account` is empty where the client named none."""
        self._count(_CLIENTS, client, now)
        if account:
            self._count(_ACCOUNTS, account, now)

    def succeeded(self, client: str, account: str) -> None:
        """Forgive a client that knows a password half of its failures, and forget those of that account.

        Not all of them: an account of one's own must not make guesses at those of others free.
        """
        if (failures := self._failures[_CLIENTS].get(client)) is not None:
            failures.count //= 2
            self._tell(_CLIENTS, client, failures)
        if (failures := self._failures[_ACCOUNTS].pop(account, None)) is not None:
            self._tell(_ACCOUNTS, account, _Failures(0, failures.at))
        self._known[client, account] = None
        self._known.move_to_end((client, account))
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def _count(self, kind: str, key: str, now: float) -> None:
        failures = self._failures[kind]
        found = failures.get(key)
        count = 1 if found is None or now - found.at > FORGOTTEN_AFTER_S else found.count + 1
        failures[key] = made = _Failures(count, now)
        failures.move_to_end(key)
        if len(failures) > self._most:
            failures.popitem(last=False)
        self._tell(kind, key, made)

    def _tell(self, kind: str, key: str, failures: _Failures) -> None:
        if self._tally is not None:
            self._tally.tell(kind + key, failures.count, until=failures.at + FORGOTTEN_AFTER_S)

    def _delay(self, kind: str, key: str, now: float) -> float:
        found = self._failures[kind].get(key)
        count = 0 if found is None or now - found.at > FORGOTTEN_AFTER_S else found.count
        if self._tally is not None:
            count += self._tally.others(kind + key)
        return 0.0 if count < FREE else min(_MOST_S[kind], FIRST_S * 2.0 ** min(count - FREE, 30))
