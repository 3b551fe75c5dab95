"""Rate limits: so many messages or recipients in so much time, by client, sender or destination.

What is left for each key is counted by an Allowance, which the worker processes of a machine share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from connectors.smtp.allowance import Allowance
from connectors.smtp.checks import Check, Client, OnFault, Step, Transaction, Verdict, refuse
from connectors.smtp.clients import client_of
from connectors.smtp.filter_config import RateLimit, read_networks
from connectors.smtp.patterns import read_address
from gateway.contract import Context, Recipient


class RateMaker:
    """One limit of a source; see CheckMaker."""

    timeout_s = 30.0
    on_fault: OnFault = "accept"

    def __init__(
        self, number: int, table: RateLimit, context: Context, clock: Callable[[], float] | None = None
    ) -> None:
        self.table = table
        self.name = f"rate_limit {number} by {table.by}"
        at_rcpt = table.by in ("destination", "recipient") or table.of == "recipients"
        self.steps = Step.RCPT if at_rcpt else Step.MAIL
        # Workers number their limits alike only where none has been reconfigured: what a limit says is its name.
        name = hashlib.blake2b(table.model_dump_json().encode(), digest_size=8).hexdigest()
        self.allowance = Allowance(name, table.limit, table.per_s, context, clock)
        self._except = read_networks(table.except_networks)

    def begin(self, client: Client) -> Check | None:
        if self._except:
            address = read_address(client.address)
            if address is not None and any(address in network for network in self._except):
                return None
        return Rate(self)

    def close(self) -> None:
        self.allowance.close()


class Rate(Check):
    """The limit as one connection meets it."""

    def __init__(self, maker: RateMaker) -> None:
        self._maker = maker
        self._counted: set[str] = set()
        """Keys that this message has been counted for."""

    async def mail(self, client: Client, transaction: Transaction) -> Verdict | None:
        return await self._take(client, self._key(client, transaction, None))

    async def rcpt(self, client: Client, transaction: Transaction, recipient: Recipient) -> Verdict | None:
        key = self._key(client, transaction, recipient)
        if self._maker.table.of == "messages" and key in self._counted:
            return None
        verdict = await self._take(client, key)
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

    async def _take(self, client: Client, key: str) -> Verdict | None:
        maker, table = self._maker, self._maker.table
        if client.trusted and not table.trusted:
            return None
        wait = await maker.allowance.take(key)
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
