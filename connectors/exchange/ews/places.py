"""Places: a mailbox's folders by role or path, asked for once and then remembered.

Promises: at most so many are remembered; what the server does not know any more is forgotten with all of that mailbox;
a folder that two make at once is made once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from connectors.exchange.ews.answer import Answer, refusal
from connectors.exchange.ews.calls.folders import CreateFolder, FindFolder, GetFolder, read_folders
from connectors.exchange.ews.calls.paths import ROLES, TOP, Place
from connectors.exchange.organisation import Fault, Where

_MOST: Final = 50_000
_THERE_ALREADY: Final = "ErrorFolderExists"
NOT_THERE: Final = "ErrorFolderNotFound"
GONE: Final = frozenset(
    {
        NOT_THERE,
        "ErrorSavedItemFolderNotFound",
        "ErrorToFolderNotFound",
        "ErrorParentFolderNotFound",
        "ErrorInvalidFolderId",
    }
)
"""Codes that say of a folder's id that it is none."""

Ask = Callable[..., Awaitable[list[Answer]]]


class Places:
    """Folder ids of an organisation's mailboxes; `ask(mailbox, service, …)` is how the server is asked."""

    def __init__(self, ask: Ask, *, delegate: bool) -> None:
        self._ask = ask
        self._delegate = delegate
        self._known: OrderedDict[tuple[str, Where], str] = OrderedDict()
        self._making: dict[str, asyncio.Lock] = {}

    def named(self, mailbox: str, name: str) -> Place:
        """Return a folder that every mailbox has. A delegate says whose it is."""
        return Place(name=name, mailbox=mailbox if self._delegate else None)

    async def id(self, mailbox: str, where: Where, *, create: bool) -> str:
        """Return a folder's id. Raises: Fault, NOT_THERE where it is not there and not to be made."""
        known = self._known.get((mailbox, where))
        if known is not None:
            self._known.move_to_end((mailbox, where))
            return known
        if isinstance(where, str):
            found = await self._first(mailbox, GetFolder, [self.named(mailbox, ROLES[where])])
        else:
            found = await self._path(mailbox, where, create=create)
        self._known[mailbox, where] = found
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return found

    def forget(self, mailbox: str) -> None:
        """Ask anew for this mailbox's folders, when they are next needed."""
        for key in [each for each in self._known if each[0] == mailbox]:
            del self._known[key]

    async def _path(self, mailbox: str, path: tuple[str, ...], *, create: bool) -> str:
        parent = self.named(mailbox, TOP)
        for depth, name in enumerate(path, start=1):
            known = self._known.get((mailbox, path[:depth]))
            found = known or await self._child(mailbox, parent, name)
            if found is None and not create:
                raise Fault(NOT_THERE, f"there is no folder {'/'.join(path[:depth])}")
            if found is None:
                found = await self._make(mailbox, parent, name)
            self._known[mailbox, path[:depth]] = found
            parent = Place(id=found)
        return parent.id

    async def _child(self, mailbox: str, parent: Place, name: str) -> str | None:
        answer = (await self._ask(mailbox, FindFolder, parent, name))[0]
        if not answer.ok:
            raise refusal(answer)
        rows = read_folders(answer.element)
        # The server compares without regard to case; of two the one that is written alike.
        rows.sort(key=lambda row: row.name != name)
        return next((row.id for row in rows if row.name.casefold() == name.casefold()), None)

    async def _make(self, mailbox: str, parent: Place, name: str) -> str:
        lock = self._making.setdefault(mailbox, asyncio.Lock())
        try:
            async with lock:
                found = await self._child(mailbox, parent, name)
                if found is not None:
                    return found
                try:
                    return await self._first(mailbox, CreateFolder, parent, name)
                except Fault as e:
                    if e.code != _THERE_ALREADY:
                        raise
                found = await self._child(mailbox, parent, name)
                if found is None:
                    raise Fault(NOT_THERE, f"the folder {name} can neither be made nor found")
                return found
        finally:
            if not lock.locked():
                self._making.pop(mailbox, None)

    async def _first(self, mailbox: str, service: Any, *args: Any) -> str:
        answer = (await self._ask(mailbox, service, *args))[0]
        if not answer.ok:
            raise refusal(answer)
        rows = read_folders(answer.element)
        if not rows:
            raise Fault(NOT_THERE, "the server tells no folder")
        return rows[0].id
