"""A mailbox of a POP3 server, open: one folder, the inbox, of messages that are read and removed, and nothing else.

A message is known by its UIDL. Where the server has none, or gives one to several messages, it is known by a digest of
its header and its size, too: none is left out, and none comes twice since its number changed. The server shows a
session what was there at its beginning, so each look for changes is a session of its own. Nothing is removed but what
`remove` is told, and that is gone when the server has said goodbye to it.
Source: RFC 1939 §5, §7 (UIDL, TOP).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from connectors.pop.faults import Closed, Refused, fault_of
from connectors.pop.session import Session
from connectors.pop.wire import WireError
from gateway.contract import (
    Appended,
    Changes,
    Content,
    Facts,
    Folder,
    Form,
    Holds,
    ItemState,
    Kind,
    NewItem,
    Scope,
    Status,
    StoreFault,
)

HOLDS: Final = Holds(
    flags=frozenset(),
    keywords=False,
    internal_date=False,
    change_tokens=False,
    stable_ids=True,
    exact=True,
    finds=False,
    max_depth=1,
    writable=False,
)
INBOX: Final = "inbox"
_PATH: Final = ("INBOX",)
_DONE: Final = "done"
_GONE: Final = Status("4.2.0", "the message is not there any more")
_NO_FORM: Final = Status("5.6.3", "a POP3 server has messages alone")
_READ_ONLY: Final = Status("5.7.1", "a POP3 mailbox is read, and messages are removed from it, and nothing else")
_MESSAGE_ID: Final = re.compile(rb"(?:^|\n)message-id[ \t]{0,64}:\s{0,2000}(<[^<>\r\n]{1,990}>)", re.IGNORECASE)
_FAULTS: Final = (Refused, Closed, WireError, OSError, TimeoutError)


class PopMailbox:
    """An open mailbox; `folder` is ours, for large messages."""

    def __init__(self, connect: Callable[[], Awaitable[Session]], folder: Path, poll_s: float) -> None:
        self._connect = connect
        self._folder = folder
        self._poll_s = poll_s
        self._turn = asyncio.Lock()
        self._session: Session | None = None
        self._listed: list[ItemState] = []

    def holds(self) -> Holds:
        return HOLDS

    async def start(self) -> None:
        """Log in. Raises: StoreFault."""
        async with self._asking():
            pass

    async def close(self) -> None:
        """Let go of the server."""
        session, self._session = self._session, None
        if session is not None:
            with suppress(*_FAULTS):
                async with asyncio.timeout(5):
                    await session.quit()

    @asynccontextmanager
    async def _asking(self, *, anew: bool = False) -> AsyncIterator[Session]:
        """Give a session, a new one where that is asked for or the last is over."""
        async with self._turn:
            try:
                if self._session is not None and (anew or not self._session.is_open):
                    session, self._session = self._session, None
                    with suppress(*_FAULTS):
                        await session.quit()
                if self._session is None:
                    self._session = await self._connect()
                yield self._session
            except _FAULTS as fault:
                if not isinstance(fault, Refused) and self._session is not None:
                    self._session.close()
                raise fault_of(fault) from None

    async def facts(self) -> Facts:
        async with self._asking() as session:
            reply = await session.ask("STAT")
        words = reply.text.split()
        return Facts(int(words[1]) if len(words) > 1 and words[1].isdigit() else None)

    # -- the one folder

    async def folders(self) -> list[Folder]:
        async with self._asking() as session:
            reply = await session.ask("STAT")
        count = reply.text.split(" ")[0]
        return [Folder(INBOX, _PATH, "mail", "inbox", int(count) if count.isdigit() else None)]

    async def create_folder(self, path: tuple[str, ...], kind: Kind = "mail") -> Folder:
        if path == _PATH and kind == "mail":
            return (await self.folders())[0]
        raise StoreFault(_READ_ONLY, Scope.MESSAGE)

    async def rename_folder(self, id: str, path: tuple[str, ...]) -> Folder:
        raise StoreFault(_READ_ONLY, Scope.MESSAGE)

    async def remove_folder(self, id: str) -> None:
        raise StoreFault(_READ_ONLY, Scope.MESSAGE)

    async def subscribe(self, id: str, on: bool) -> None:
        """POP3 has no subscriptions."""

    # -- what is there

    async def changes(self, folder: str, token: str | None, limit: int = 500) -> Changes:
        if folder != INBOX:
            raise StoreFault(Status("4.2.0", "a POP3 mailbox has its inbox alone"), Scope.MESSAGE)
        start = 0
        if token is not None and token != _DONE:
            start = next((at + 1 for at, state in enumerate(self._listed) if state.id == token), 0)
        if start == 0:
            anew = self._session is not None and self._session.is_listed
            async with self._asking(anew=anew) as session:
                await self._list(session)
                # Who asks for the first time may have to know again what another tool has brought over.
                named = await _message_ids(session) if token is None else {}
            self._listed = [
                ItemState(id, "-", session.sizes.get(id), message_id=named.get(id)) for id in session.numbers
            ]
        end = start + max(1, limit)
        some = tuple(self._listed[start:end])
        more = end < len(self._listed)
        return Changes(some, (), some[-1].id if more else _DONE, more, reset=start == 0)

    async def _list(self, session: Session) -> None:
        """Learn the session's messages. Raises: the session's faults."""
        if session.is_listed:
            return
        sizes, uids = await session.told("LIST"), await session.told("UIDL")
        often = Counter(uid for number, uid in uids.items() if number in sizes)
        vague = [number for number in sizes if not uids.get(number) or often[uids[number]] > 1]
        heads: dict[int, bytes] = dict(zip(vague, await session.headers(vague), strict=True)) if vague else {}
        for number, size in sorted(sizes.items()):
            uid = uids.get(number, "")
            if number in heads:
                digest = hashlib.blake2b(heads[number] + b"\0" + size.encode(), digest_size=12).hexdigest()
                uid = f"{uid} {digest}".strip()
                base, again = uid, 1
                while uid in session.numbers:
                    again += 1
                    uid = f"{base} {again}"
            session.numbers[uid] = number
            if size.isdigit():
                session.sizes[uid] = int(size)
        session.is_listed = True

    async def fetch(self, ids: Sequence[str], form: Form = "mime") -> AsyncIterator[tuple[str, Content | Status]]:
        if form != "mime":
            for id in ids:
                yield id, _NO_FORM
            return
        async with self._asking() as session:
            await self._list(session)
            there = [id for id in ids if id in session.numbers]
            contents = session.retrieve([session.numbers[id] for id in there], self._folder)
            async with aclosing(contents):
                for id in ids:
                    if id not in session.numbers:
                        yield id, _GONE
                        continue
                    content = await anext(contents)
                    if isinstance(content, Content):
                        yield id, content
                    else:
                        code = "4.3.0" if content.code != "SYS/PERM" else "5.3.0"
                        yield id, Status(code, content.text[:300])
                await anext(contents, None)  # or it is taken for one that is given up

    async def find(self, folder: str, keys: Sequence[str]) -> dict[str, str]:
        return {}

    # -- what is put in and altered

    async def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        return [_READ_ONLY for _ in items]

    async def set_flags(self, ids: Sequence[str], add: frozenset[str], remove: frozenset[str]) -> list[str | Status]:
        return [_READ_ONLY for _ in ids]

    async def move(self, ids: Sequence[str], folder: str) -> list[str | Status]:
        return [_READ_ONLY for _ in ids]

    async def remove(self, ids: Sequence[str], *, purge: bool = False) -> list[Status | None]:
        """Removed when the server has answered QUIT; where it does not answer, it is not known."""
        async with self._asking() as session:
            await self._list(session)
            there = [id for id in dict.fromkeys(ids) if id in session.numbers]
            replies = await session.ask_all([(f"DELE {session.numbers[id]}", None) for id in there])
            refused = {id: reply for id, reply in zip(there, replies, strict=True) if not reply.ok}
            await session.quit()
        return [Status("4.3.0", refused[id].text[:300]) if id in refused else None for id in ids]

    async def watch(self, folders: Sequence[str]) -> AsyncIterator[str]:
        while True:
            await asyncio.sleep(self._poll_s)
            if INBOX in folders:
                yield INBOX


async def _message_ids(session: Session) -> dict[str, str]:
    """Return the Message-IDs of what has one; nothing where the server has no TOP."""
    if "TOP" not in session.offers:
        return {}
    heads = await session.headers(list(session.numbers.values()))
    found: dict[str, str] = {}
    for id, head in zip(session.numbers, heads, strict=True):
        match = _MESSAGE_ID.search(head)
        if match is not None:
            found[id] = match[1].decode("utf-8", "replace")
    return found
