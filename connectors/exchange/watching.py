"""One watched folder: what has changed in it is asked for when something hints at it, and from time to time anyway.

Promises: a notification that never came costs `poll_s` and no mail; a sync token is kept only once every item before
it is finished, so that a token names nothing that was not taken; a token that the server doesn't know any more costs a
full listing, in which what was taken is not there any more, or carries the mark. An item that can't be taken now waits
for its own next try, and holds up no other.
Bounded: a page of references at a time, and `MOST_HELD` that wait.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connectors.exchange.common_config import Watched
from connectors.exchange.organisation import SYNC_STATE_LOST, Fault, Organisation, Page, Seen, where
from connectors.exchange.tokens import Tokens

PAGE: Final = 100
MOST_HELD: Final = 1000
"""Items of one folder that wait for a next try; beyond these the folder itself waits."""
FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0
_SINCE: Final = "\0since"
"""Beside a folder's token: when the newest item was received that was there at first contact and is left."""


def wait_s(failures: int) -> float:
    """Return how long to wait after so many failures in a row: longer each time, and not all at once."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(failures - 1, 20)) * random.uniform(0.75, 1.25)


@dataclass(slots=True)
class Under:
    """An item on its way. `accepted`: its mail is committed, and only the item's end is left."""

    seen: Seen
    pages: list[_Open]
    """Those that show it: several where the folder was listed anew meanwhile."""
    tries: int = 0
    due: float = 0.0
    accepted: bool = False
    why: str = ""


@dataclass(slots=True)
class _Open:
    """A page of which items are on their way."""

    token: str
    left: int = 0


Take = Callable[["Folder", Sequence[Under]], Awaitable[None]]
"""Takes items of a folder: returns once each is being accepted; tells the folder of each what became of it."""


class Folder:
    """A watched folder; `run` owns it."""

    def __init__(
        self,
        rule: Watched,
        organisation: Organisation,
        tokens: Tokens,
        *,
        poll_s: float,
        take: Take,
        prepare: Callable[[Watched], Awaitable[None]],
        opened: Callable[[], None],
        log: Any,
    ) -> None:
        self.rule = rule
        self.id: str | None = None
        self.is_tried = False
        """It was asked for once, found or not."""
        self.trouble: str | None = None
        self._organisation = organisation
        self._tokens = tokens
        self._poll_s = poll_s
        self._take = take
        self._prepare = prepare
        self._tell_opened = opened
        self._log = log.bind(mailbox=rule.mailbox, folder=rule.folder)
        self._wake = asyncio.Event()
        self._is_hinted = False
        self._poll_at = 0.0
        self._failures = 0
        self._token: str | None = None
        self._since: float | None = None
        self._pages: deque[_Open] = deque()
        self._under: dict[str, Under] = {}
        self._held: dict[str, Under] = {}

    # -- told from outside

    def hint(self) -> None:
        """Something may have changed."""
        self._is_hinted = True
        self._wake.set()

    def done(self, item: Under) -> None:
        """An item is over: taken and finished, refused, or gone."""
        id = item.seen.ref.id
        if self._under.pop(id, None) is not None:
            for page in item.pages:
                page.left -= 1
            if not self._pages or not self._pages[0].left:
                self._wake.set()

    def hold(self, item: Under, why: str, *, after_s: float | None = None) -> None:
        """An item has to wait for a next try."""
        item.tries += 1
        item.why = why
        item.due = asyncio.get_running_loop().time() + max(after_s or 0.0, wait_s(item.tries))
        if item.tries == 3:
            self._log.warning("an item waits", message_id=item.seen.message_id, why=why)
        self._held[item.seen.ref.id] = item
        self._wake.set()

    @property
    def waiting(self) -> str | None:
        """Say in words what keeps items from being taken; None where none was tried in vain several times."""
        stuck = [item for item in self._held.values() if item.tries >= 3]
        if not stuck:
            return None
        return f"{len(stuck)} items of {self.rule.mailbox} {self.rule.folder} wait: {stuck[0].why}"

    # -- its life

    async def run(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            try:
                if self._is_hinted or loop.time() >= self._poll_at:
                    self._is_hinted = False
                    await self._catch_up()
                    self._poll_at = loop.time() + self._poll_s * random.uniform(0.9, 1.1)
                await self._try_held()
                await self._keep_token()
            except Fault as e:
                await self._fails(str(e), e.retry_after_s)
                continue
            except Exception as e:  # noqa: BLE001 - an unknown fault must end no folder for good
                self._log.error("a fault while watching a folder", cause=repr(e), exc_info=e)
                await self._fails(repr(e), None)
                continue
            if self._failures:
                self._failures = 0
                self.trouble = None
                self._log.info("the folder is watched again")
            due = min([self._poll_at, *(item.due for item in self._held.values())])
            try:
                async with asyncio.timeout(max(0.0, due - loop.time())):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _fails(self, why: str, retry_after_s: float | None) -> None:
        self._failures += 1
        self.is_tried = True
        self._tell_opened()
        self.trouble = f"{self.rule.mailbox} {self.rule.folder}: {why}"
        if self._failures == 1:
            self._log.warning("the folder can't be watched", why=why)
        self._is_hinted = True  # what was missed is asked for
        await asyncio.sleep(max(retry_after_s or 0.0, wait_s(self._failures)))

    async def _open(self) -> None:
        self.id = await self._organisation.folder(self.rule.mailbox, where(self.rule.folder))
        await self._prepare(self.rule)
        self._token = await self._tokens.get(self.rule.mailbox, self.id)
        if self.rule.existing == "leave":
            since = await self._tokens.get(self.rule.mailbox, self.id + _SINCE)
            self._since = float(since) if since is not None else None
        self.is_tried = True
        self._tell_opened()

    async def _catch_up(self) -> None:
        if self.id is None:
            await self._open()
        if self.rule.existing == "leave" and self._since is None:
            await self._leave_what_is_there()
        while len(self._held) < MOST_HELD:
            page = await self._page()
            self._token = page.token
            opened = _Open(page.token)
            self._pages.append(opened)
            for id in page.gone:
                self._gone(id)
            items = []
            for seen in (*page.seen, *page.changed):
                if not self._is_wanted(seen):
                    continue
                opened.left += 1
                under = self._under.get(seen.ref.id)
                if under is not None:
                    under.pages.append(opened)
                    continue
                item = self._under[seen.ref.id] = Under(seen, [opened])
                items.append(item)
            if items:
                await self._take(self, items)
            await self._keep_token()
            if not page.more:
                return

    async def _page(self) -> Page:
        assert self.id is not None
        mailbox = self.rule.mailbox
        try:
            return await self._organisation.page(mailbox, self.id, self._token, PAGE)
        except Fault as e:
            if e.code == SYNC_STATE_LOST and self._token is not None:
                self._log.info("the server does not know the sync state any more; the folder is listed anew")
                self._token = None
                self._pages.clear()
                await self._tokens.put(mailbox, self.id, None)
                return await self._organisation.page(mailbox, self.id, None, PAGE)
            if e.code == "ErrorFolderNotFound":
                self.id = None  # another one of this name may be there by now
            raise

    def _is_wanted(self, seen: Seen) -> bool:
        if seen.draft or (seen.marked and self.rule.finish == "mark"):
            return False
        return self._since is None or (seen.received_at or 0.0) > self._since

    def _gone(self, id: str) -> None:
        item = self._held.pop(id, None)
        if item is not None:
            self.done(item)

    async def _leave_what_is_there(self) -> None:
        """Go past what is there at first contact, by the server's own clock."""
        assert self.id is not None
        newest, token, more = 0.0, self._token, True
        while more:
            page = await self._organisation.page(self.rule.mailbox, self.id, token, PAGE)
            newest = max([newest, *(seen.received_at or 0.0 for seen in page.seen)])
            token, more = page.token, page.more
        await self._tokens.put(self.rule.mailbox, self.id + _SINCE, repr(newest))
        self._since = newest
        self._token = token

    async def _try_held(self) -> None:
        now = asyncio.get_running_loop().time()
        due = [item for item in self._held.values() if item.due <= now]
        for item in due:
            del self._held[item.seen.ref.id]
        if due:
            await self._take(self, due)

    async def _keep_token(self) -> None:
        """Keep the token of the last page before which nothing is on its way."""
        token = None
        while self._pages and not self._pages[0].left:
            token = self._pages.popleft().token
        if token is not None and self.id is not None:
            await self._tokens.put(self.rule.mailbox, self.id, token)
