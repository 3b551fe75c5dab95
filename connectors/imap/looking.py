"""The folders of an open mailbox, and what can be held in them: all that is asked of one in which nothing has changed.

It imports no more than that takes.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from connectors.imap.connection import Closed, Refused
from connectors.imap.faults import fault_of
from connectors.imap.flags import FORBIDDEN
from connectors.imap.folders import Listed, Namespace, listed, namespace, path_of
from connectors.imap.ids import hash_of, text_of
from connectors.imap.pool import Pool
from connectors.imap.session import Session
from connectors.imap.sessions import Options, Sessions
from connectors.imap.wire.tokens import WireError
from gateway.mailbox import FLAGS, Folder, Holds

FAULTS: Final = (Refused, Closed, WireError, OSError, TimeoutError)
CONTROLS: Final = "".join(map(chr, (*range(0x20), 0x7F)))
HOLDS: Final = Holds(
    flags=FLAGS,
    keywords=True,
    internal_date=True,
    change_tokens=True,
    stable_ids=False,
    exact=False,
    nearly_exact=True,
    finds=False,
    tells_unseen=True,
    queues=True,
    subscriptions=True,
    forbidden_in_names=CONTROLS,
    forbidden_in_keywords=FORBIDDEN,
)
"""Not exact: servers mend line ends and NULs as they like, or refuse them."""


class Folders:
    """The folders of a mailbox that is open."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._own = Namespace()
        self._listed: dict[bytes, Listed] = {}
        self._names: dict[str, bytes] = {}
        """By the hash that items' ids have."""
        self._holds = HOLDS

    async def prepare(self) -> None:
        """Ask what is to be known before anything else. Raises: StoreFault."""
        async with self._asking() as session:
            self._own = await namespace(session)
            labels = session.has("X-GM-EXT-1")
            limit = re.search(r"APPENDLIMIT=([0-9]{1,18})", " ".join(session.connection.capabilities))
        most = int(limit[1]) if limit else None
        self._holds = replace(
            HOLDS, max_item_bytes=most, forbidden_in_names=CONTROLS + self._own.separator, labels=labels
        )

    def holds(self) -> Holds:
        return self._holds

    @asynccontextmanager
    async def _asking(self, folder: bytes | None = None, *, unknown: bool = False) -> AsyncIterator[Session]:
        try:
            async with self._pool.session(folder) as session:
                yield session
        except FAULTS as fault:
            raise fault_of(fault, unknown=unknown) from None

    async def _list(self, session: Session) -> dict[bytes, Listed]:
        self._listed = await listed(session, self._own)
        self._names = {hash_of(name): name for name in self._listed}
        return self._listed

    async def folders(self) -> list[Folder]:
        async with self._asking() as session:
            found = await self._list(session)
            made = [self._folder(each, session) for each in found.values() if each.can_hold]
        return sorted(made, key=lambda folder: (len(folder.path), folder.path))

    def _folder(self, each: Listed, session: Session) -> Folder:
        path = path_of(each.name, each.separator, self._own, utf8=session.utf8)
        total, unread = each.status.get("MESSAGES"), each.status.get("UNSEEN")
        return Folder(text_of(each.name), path, "mail", each.role, total, unread, each.is_subscribed, each.mark)


class Looking:
    """The store as far as the folders of its mailboxes go, made of the connector's options as they were checked."""

    def __init__(self, options: Options, base: Path) -> None:
        self._sessions = Sessions(options, base)

    async def start(self) -> None:
        """Make ready. Raises: OSError or ValueError that names what is wrong."""
        await self._sessions.start()

    @asynccontextmanager
    async def open(self, mailbox: str) -> AsyncIterator[Folders]:
        """Open a mailbox. Raises: StoreFault."""
        pool = await self._sessions.pool(mailbox)
        try:
            opened = Folders(pool)
            await opened.prepare()
            yield opened
        finally:
            await pool.close()
