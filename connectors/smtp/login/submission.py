"""The check of what those who have logged in submit: whose addresses they send as, how much, and what it lacks.

It is asked before all other checks, so that these see the message as it will leave, and is silent about whoever has
not logged in. Source: RFC 6409 §6.1, §8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from connectors.smtp.allowance import Allowance
from connectors.smtp.checks import Check, Client, OnFault, Step, Transaction, Verdict, refuse
from connectors.smtp.login.accounts import Account, folded
from connectors.smtp.login.desk import LoginDesk
from gateway.completion import Author, authors, complete
from gateway.contract import Address, AddressError, Content, Context, Recipient
from mappings.network import network

WINDOW_S: Final = 3600.0


class Quota:
    """How much each account may send in an hour; what it has used comes back evenly over the next one."""

    def __init__(self, messages: int | None, recipients: int | None, context: Context) -> None:
        self._messages = None if messages is None else Allowance("login messages", messages, WINDOW_S, context)
        self._recipients = None if recipients is None else Allowance("login recipients", recipients, WINDOW_S, context)

    def has_room(self, account: str, recipients: int) -> bool:
        """Say whether a message to so many recipients may be sent, as far as this worker knows."""
        return (self._messages is None or not self._messages.wait_for(account)) and (
            self._recipients is None or not self._recipients.wait_for(account, recipients)
        )

    async def take(self, account: str, recipients: int) -> bool:
        """Count a message, where there is room for it."""
        if self._messages is not None and await self._messages.take(account):
            return False
        if self._recipients is not None and await self._recipients.take(account, recipients):
            if self._messages is not None:
                self._messages.give_back(account, 1.0)
            return False
        return True

    def give_back(self, account: str, recipients: int) -> None:
        """Take a message off that was counted and is not sent."""
        if self._messages is not None:
            self._messages.give_back(account, 1.0)
        if self._recipients is not None:
            self._recipients.give_back(account, recipients)

    def close(self) -> None:
        for each in (self._messages, self._recipients):
            if each is not None:
                each.close()


def owns(account: Account, spec: str, addresses_of: Callable[[Address], tuple[Address, ...]]) -> bool:
    """Say whether an account may send as an addr-spec: it is named so, it was given to it, or both are one identity's.

    `addresses_of` gives all present addresses of the identity that has an address.
    """
    address = _address(spec)
    if address is None:
        return False
    own = [found for name in (account.name, *account.addresses) if (found := _address(name)) is not None]
    if address in own:
        return True
    domain = address.value.rpartition("@")[2].casefold()
    if any(pattern == "*" or pattern.casefold() == f"*@{domain}" for pattern in account.addresses):
        return True
    return any(address in addresses_of(each) for each in own)


def _address(spec: str) -> Address | None:
    if "@" not in spec:
        return None
    try:
        return network("smtp").parse(spec)
    except AddressError:
        return None


class SubmissionMaker:
    """The check of one source."""

    name = "submission"
    steps = Step.MAIL | Step.RCPT | Step.CONTENT
    timeout_s = 60.0
    on_fault: OnFault = "tempfail"

    def __init__(self, desk: LoginDesk, context: Context) -> None:
        self.desk = desk
        self.context = context
        self.quota = Quota(desk.config.messages_per_hour, desk.config.recipients_per_hour, context)

    def begin(self, client: Client) -> Check | None:
        return SubmissionCheck(self)

    def close(self) -> None:
        self.quota.close()


class SubmissionCheck(Check):
    """What is asked about one client."""

    def __init__(self, maker: SubmissionMaker) -> None:
        self._maker = maker

    async def mail(self, client: Client, transaction: Transaction) -> Verdict | None:
        maker = self._maker
        if not client.user:
            return None
        if not maker.quota.has_room(folded(client.user), 1):
            return _too_much(client)
        path = transaction.reverse_path
        if path is None or maker.desk.config.senders == "any":  # RFC 5321 §4.5.5: nobody is reported to
            return None
        if not self._owns(client, path.value):
            return refuse("5.7.1", f"{client.user} may not send as {path.value}")
        return None

    async def rcpt(self, client: Client, transaction: Transaction, recipient: Recipient) -> Verdict | None:
        maker = self._maker
        wanted = len(transaction.recipients) + 1
        if client.user and not maker.quota.has_room(folded(client.user), wanted):
            return _too_much(client)
        return None

    async def content(self, client: Client, transaction: Transaction, content: Content) -> Verdict | None:
        if not client.user:
            return None
        quota, account, recipients = self._maker.quota, folded(client.user), len(transaction.recipients)
        if not await quota.take(account, recipients):
            return _too_much(client)
        verdict: Verdict | None = None
        is_sent = False
        try:
            if content.is_inline:
                verdict = self._judge(client, transaction, content)
            else:
                verdict = await asyncio.to_thread(self._judge, client, transaction, content)
            is_sent = verdict is None or verdict.status is None
        finally:
            if not is_sent:
                quota.give_back(account, recipients)
        return verdict

    def _judge(self, client: Client, transaction: Transaction, content: Content) -> Verdict | None:
        """Look at the header: blocks where the content is not in memory."""
        config, context = self._maker.desk.config, self._maker.context
        if config.senders == "own":
            found = authors(content)
            if not found and content.get(b"from") is not None:
                return refuse("5.7.1", f"{client.user} has to send as an address, and From holds none")
            for spec in found:
                if not self._owns(client, spec):
                    return refuse("5.7.1", f"{client.user} may not send as {spec[:200]}, as From says")
        if not config.complete:
            return None
        path = transaction.reverse_path
        author = Author(path.value) if path is not None else None
        made = complete(content, hostname=context.hostname, now=context.clock(), author=author)
        return None if made is content else Verdict(content=made)

    def _owns(self, client: Client, spec: str) -> bool:
        account = self._maker.desk.present(client.user) or Account(client.user)
        return owns(account, spec, self._addresses_of)

    def _addresses_of(self, address: Address) -> tuple[Address, ...]:
        person = self._maker.context.person(address)
        return () if person is None else person.addresses


def _too_much(client: Client) -> Verdict:
    return refuse("4.7.1", f"{client.user} has sent too much in the last hour, try again later")
