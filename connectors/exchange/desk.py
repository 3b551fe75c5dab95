"""Desk: what deliveries to one organisation share: whose mailbox an address is, folders, who is to be left alone.

Promises: all it keeps is a cache, bounded, and asked anew once Exchange says that it is wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from connectors.exchange.common_config import MIB, ExchangeConfig
from connectors.exchange.faults import Mode, needs_operator, outcome
from connectors.exchange.losses import predict
from connectors.exchange.organisation import Fault, Organisation, Where, where
from connectors.exchange.pace import EVERYWHERE, Pace
from gateway.contract import (
    Address,
    Content,
    Context,
    Deferred,
    Failed,
    Item,
    Note,
    Outcome,
    Scope,
    Status,
    without_fields,
)

LARGE: Final = 4 * MIB
IN_THREAD_OCTETS: Final = 64 * 1024
_MOST: Final = 10_000
NO_PERSON: Final = Status("5.1.1", "the directory of the organisation knows nobody of this address")
NOT_OURS: Final = Status("5.1.3", "the address is none of a mailbox")

NO_UTF8: Final = Status("5.6.7", "Exchange takes no addresses beyond ASCII here")  # RFC 6531 §3.4


@dataclass(frozen=True, slots=True)
class Made:
    """A mail's content as it goes out, what is told of the change, and of what Exchange makes of it."""

    content: Content
    notes: tuple[Note, ...] = ()
    predicted: tuple[Note, ...] = ()


class Desk:
    """One a connector. `look_after_s` is how long the server gets to end what it did not answer."""

    def __init__(
        self,
        config: ExchangeConfig,
        organisation: Organisation,
        context: Context,
        *,
        clock: Callable[[], float] = time.monotonic,
        look_after_s: float = 1.0,
    ) -> None:
        self.config = config
        self.organisation = organisation
        self.context = context
        self.log = context.log
        self.pace = Pace(clock)
        self.look_after_s = look_after_s
        self.large = asyncio.Semaphore(config.large_at_once)
        self.mode: Mode = config.mode
        self.uncertain_at = context.clock()
        """When it was last unknown whether a mail was sent: a start is such a moment too."""
        self._folders: dict[tuple[str, Where], str] = {}
        self._mailboxes: dict[str, str] = {}
        self._trouble: dict[str, str] = {}

    # -- who and where

    async def mailbox(self, address: Address) -> str | Status:
        """Return the SMTP address behind a recipient's address, or why there is none. Raises: Fault."""
        if address.network == "smtp":
            name = address.value.lower()
            if not name.isascii():
                return NO_UTF8
            return self._mailboxes.get(name, name)
        if address.network != "x500":
            return NOT_OURS
        known = self._mailboxes.get(address.value)
        if known is None:
            person = (await self.organisation.resolve([address.value])).get(address.value)
            if person is None or not person.smtp:
                return NO_PERSON
            known = self._keep_mailbox(address.value, person.smtp.lower())
        return known

    async def primary(self, mailbox: str) -> str | None:
        """Return the primary address of a mailbox that Exchange takes by that alone; None where it has no other."""
        person = (await self.organisation.resolve([mailbox])).get(mailbox)
        if person is None or not person.smtp or person.smtp.lower() == mailbox:
            return None
        return self._keep_mailbox(mailbox, person.smtp.lower())

    def _keep_mailbox(self, name: str, mailbox: str) -> str:
        if len(self._mailboxes) >= _MOST:
            self._mailboxes.clear()
        self._mailboxes[name] = mailbox
        return mailbox

    async def folder(self, mailbox: str, place: Where) -> str:
        """Return a folder's id, of a folder that is made where it is not there. Raises: Fault."""
        known = self._folders.get((mailbox, place))
        if known is None:
            known = await self.organisation.folder(mailbox, place, create=True)
            if len(self._folders) >= _MOST:
                self._folders.clear()
            self._folders[mailbox, place] = known
        return known

    def forget_folders(self, mailbox: str) -> None:
        """Ask for a mailbox's folders anew."""
        for each in [each for each in self._folders if each[0] == mailbox]:
            del self._folders[each]

    @property
    def target(self) -> Where:
        """The folder that mail is put into."""
        return where(self.config.deliver_to)

    # -- what goes out

    async def made(self, content: Content) -> Made:
        """Return a content as it goes out. Raises: OSError."""
        if content.is_inline and content.size <= IN_THREAD_OCTETS:
            return self._made(content)
        return await asyncio.to_thread(self._made, content)

    def _made(self, content: Content) -> Made:
        notes: tuple[Note, ...] = ()
        if self.config.organization_headers == "strip":
            content, notes = without_fields(content)
        return Made(content, notes, predict(content))

    # -- what came of it

    def held(self, mailbox: str) -> Deferred | None:
        """Return the outcome of what is not even tried, since the server is to be left alone; None where it is not."""
        left = self.pace.left(mailbox)
        if left <= 0:
            return None
        status = Status("4.4.5", "Exchange has asked for less work", cause=f"{left:.1f} s more")
        return Deferred(status, Scope.HOP, left)

    def outcome(self, fault: Fault, mailbox: str, item: Item | None = None) -> Deferred | Failed:
        """Return what a fault means; from then on the server, or the mailbox, is left alone where it says so."""
        made = outcome(fault, self.mode, attempts=0 if item is None else item.attempts)
        if isinstance(made, Deferred) and made.scope is Scope.HOP and made.retry_after_s is not None:
            self.pace.hold(made.retry_after_s, EVERYWHERE if fault.everywhere else mailbox)
        if needs_operator(fault):
            if len(self._trouble) < 100:
                self._trouble[mailbox] = str(made.status)
            self.log.error("exchange does not let us", mailbox=mailbox, code=fault.code, text=fault.text)
        else:
            self.log.warning("exchange did not do it", mailbox=mailbox, code=fault.code, text=fault.text, why=fault.why)
        return made

    def worked(self, mailbox: str) -> None:
        """Note that a mailbox took something."""
        self._trouble.pop(mailbox, None)

    def uncertain(self) -> None:
        """Note that it is not known whether a mail was sent."""
        self.uncertain_at = self.context.clock()

    def trouble(self) -> str | None:
        """Say what an operator has to mend, of a few mailboxes."""
        if not self._trouble:
            return None
        told = [f"{mailbox}: {text}" for mailbox, text in list(self._trouble.items())[:3]]
        more = len(self._trouble) - len(told)
        return "; ".join(told) + (f"; {more} mailboxes more" if more else "")


def unknown_fault(e: Exception) -> Outcome:
    """Return the outcome of a fault of ours: a deferral of this message, never a bounce."""
    return Deferred(Status("4.3.5", "the message cannot be put into a mailbox now", cause=repr(e)), Scope.MESSAGE)


def unreadable(e: OSError) -> Outcome:
    """Return the outcome of a content that cannot be read from disk."""
    return Deferred(Status("4.3.0", "the message cannot be read", cause=e.strerror or str(e)), Scope.MESSAGE)


def sized(contents: Sequence[Content]) -> int:
    """Return the octets of contents together."""
    return sum(content.size for content in contents)
