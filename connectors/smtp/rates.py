"""Rate limits: so many messages or recipients in so much time, by client, sender or destination.

Each key has a bucket of `limit` tokens, which fills again evenly in `per_s`. Each worker process counts for itself, so
that it gives out its share of a limit.
Promises: at most MOST_KEYS buckets for each limit, whoever knocks: what was used longest ago goes, and begins full.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from connectors.smtp.checks import Check, Client, OnFault, Step, Transaction, Verdict, refuse
from connectors.smtp.clients import client_of
from connectors.smtp.filter_config import RateLimit, read_networks
from connectors.smtp.patterns import read_address
from gateway.contract import Context, Recipient

MOST_KEYS: Final = 65_536


class Buckets:
    """Tokens by key."""

    def __init__(self, limit: float, per_s: float, most_keys: int = MOST_KEYS) -> None:
        self._limit = limit
        self._rate = limit / per_s
        self._most = most_keys
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens left, and when that was."""

    def __len__(self) -> int:
        return len(self._left)

    def take(self, key: str, now: float) -> float:
        """Take a token, and return 0; or, where there is none, the seconds until there is one."""
        left, then = self._left.get(key, (self._limit, now))
        left = min(self._limit, left + (now - then) * self._rate)
        wait = 0.0 if left >= 1.0 else (1.0 - left) / self._rate
        self._left[key] = (left if wait else left - 1.0, now)
        self._left.move_to_end(key)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return wait


class RateMaker:
    """One limit of a source; see CheckMaker."""

    timeout_s = 30.0
    on_fault: OnFault = "accept"

    def __init__(
        self, number: int, table: RateLimit, context: Context, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.table = table
        self.name = f"rate_limit {number} by {table.by}"
        at_rcpt = table.by in ("destination", "recipient") or table.of == "recipients"
        self.steps = Step.RCPT if at_rcpt else Step.MAIL
        # One worker's share; never below one message.
        self.buckets = Buckets(max(1.0, table.limit / context.workers), table.per_s)
        self.clock = clock
        self._except = read_networks(table.except_networks)

    def begin(self, client: Client) -> Check | None:
        if self._except:
            address = read_address(client.address)
            if address is not None and any(address in network for network in self._except):
                return None
        return Rate(self)

    def close(self) -> None:
        return


class Rate(Check):
    """The limit as one connection meets it."""

    def __init__(self, maker: RateMaker) -> None:
        self._maker = maker
        self._counted: set[str] = set()
        """Keys that this message has been counted for."""

    async def mail(self, client: Client, transaction: Transaction) -> Verdict | None:
        return self._take(client, self._key(client, transaction, None))

    async def rcpt(self, client: Client, transaction: Transaction, recipient: Recipient) -> Verdict | None:
        key = self._key(client, transaction, recipient)
        if self._maker.table.of == "messages" and key in self._counted:
            return None
        verdict = self._take(client, key)
        if verdict is None:  # what was put off is not let in by asking once more
            self._counted.add(key)
        return verdict

    def reset(self) -> None:
        self._counted.clear()

    def _key(self, client: Client, transaction: Transaction, recipient: Recipient | None) -> str:
        by = self._maker.table.by
        if by == "client":
            return client_of(client.address)
        if by == "sender":
            return f"user {client.user}" if client.user else transaction.mail.path.lower()
        assert recipient is not None
        return recipient.address.key if by == "recipient" else recipient.address.value.rpartition("@")[2].lower()

    def _take(self, client: Client, key: str) -> Verdict | None:
        maker, table = self._maker, self._maker.table
        if client.trusted and not table.trusted:
            return None
        wait = maker.buckets.take(key, maker.clock())
        if not wait:
            return None
        what = {
            "client": "from your address",
            "sender": "from this sender",
            "destination": "to this domain",
            "recipient": "to this recipient",
        }[table.by]
        said = table.text or f"too many {table.of} {what}, try again in {max(1, round(wait))} seconds"
        return refuse("4.7.1", said, cause=f"over {table.limit} in {table.per_s:g} s: {key}")
