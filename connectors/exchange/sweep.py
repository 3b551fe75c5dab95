"""Sweep: copies of sent mail that served their purpose, and drafts that nobody sends any more.

A copy is what an unknown result is settled by, so each is kept for an hour, and none that was sent after something
became unknown: what waits for its next try then may be in one of them. A draft proves nothing: one that its mail's next
try does not find is made anew. So drafts of ours go after a day, whatever became of their mails.
"""

from __future__ import annotations

from typing import Final

from connectors.exchange.desk import Desk
from connectors.exchange.lookup import SENT
from connectors.exchange.organisation import Delete, Fault

KEPT_S: Final = 3600.0
EVERY_S: Final = 600.0
DRAFTS_KEPT_S: Final = 86400.0
UNKNOWN_FOR_S: Final = 86400.0
"""By then a mail of unknown result was tried again, many times over."""


def before(now: float, uncertain_at: float) -> float:
    """Return the moment, in seconds since 1970, up to which copies may go. Pure."""
    since = uncertain_at if now - uncertain_at < UNKNOWN_FOR_S else now
    return min(now, since) - KEPT_S


async def sweep(desk: Desk, mailbox: str) -> int:
    """Delete the copies of a mailbox that may go; return how many went. Raises: Fault."""
    organisation = desk.organisation
    folder = await organisation.folder(mailbox, SENT, create=True)
    limit = before(desk.context.clock(), desk.uncertain_at)
    token: str | None = None
    gone = 0
    while True:
        page = await organisation.page(mailbox, folder, token)
        for seen in page.seen:
            if seen.received_at is not None and seen.received_at < limit and desk.held(mailbox) is None:
                await organisation.finish(seen.ref, Delete(purge=True))
                gone += 1
        if not page.more:
            return gone
        token = page.token


async def sweep_drafts(desk: Desk, mailbox: str) -> int:
    """Delete drafts of a day ago and before; return how many went. Raises: Fault."""
    gone = 0
    for ref in await desk.organisation.left_over(mailbox, desk.context.clock() - DRAFTS_KEPT_S):
        if desk.held(mailbox) is None:
            await desk.organisation.finish(ref, Delete(purge=True))
            gone += 1
    return gone


class Sweeper:
    """When to sweep: now and then, where mail is sent. `keep_sent`: copies stay."""

    def __init__(self, desk: Desk, mailbox: str, *, keep_sent: bool) -> None:
        self._desk = desk
        self._mailbox = mailbox
        self._keep_sent = keep_sent
        self._next = desk.context.clock() + EVERY_S

    @property
    def is_due(self) -> bool:
        """Whether it is time; asking sets the next one."""
        now = self._desk.context.clock()
        if now < self._next:
            return False
        self._next = now + EVERY_S
        return True

    async def run(self) -> None:
        """Sweep once; what fails is tried at the next time."""
        try:
            drafts = await sweep_drafts(self._desk, self._mailbox)
            copies = 0 if self._keep_sent else await sweep(self._desk, self._mailbox)
        except Fault as e:
            self._desk.log.info("copies of sent mail stay for now", mailbox=self._mailbox, cause=str(e))
        else:
            self._desk.log.debug(
                "copies of sent mail are deleted", mailbox=self._mailbox, copies=copies, drafts_left_over=drafts
            )
