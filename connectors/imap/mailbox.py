"""A mailbox of an IMAP server, open: its folders and items by the contract's words.

Ids: a folder's is its name as the server lists it, an item's `FOLDER.UIDVALIDITY.UID`, where FOLDER is a hash of that
name, so that it is another item after a folder was made anew. Nothing is repeated here: a call whose connection broke
is a StoreFault, `unknown` where it may have been done.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from connectors.imap import flags as marks
from connectors.imap.appending import Appender
from connectors.imap.connection import Closed, Refused
from connectors.imap.faults import fault_of, status_of
from connectors.imap.folders import Listed, Namespace, listed, name_of, namespace, path_of
from connectors.imap.listing import Listing, version_of
from connectors.imap.pool import Pool
from connectors.imap.session import Session
from connectors.imap.wire.commands import command, flag_list, joined, numbers, read_numbers
from connectors.imap.wire.dialogue import Untagged
from connectors.imap.wire.responses import Data, Fetched, Said, as_number, as_text, body
from connectors.imap.wire.tokens import Spilled, WireError
from gateway.contract import (
    FLAGS,
    Appended,
    Changes,
    Content,
    Facts,
    Folder,
    Form,
    Holds,
    Kind,
    NewItem,
    Scope,
    Status,
    StoreFault,
)

FETCH_ITEMS: Final = 50
HOLDS: Final = Holds(
    flags=FLAGS,
    keywords=True,
    internal_date=True,
    change_tokens=True,
    stable_ids=False,
    exact=True,
    finds=False,
    subscriptions=True,
)
_ID: Final = re.compile(r"([0-9a-f]{8})\.([0-9]{1,10})\.([0-9]{1,10})")
_GONE: Final = Status("4.2.0", "the item is not there any more")
_NO_FORM: Final = Status("5.6.3", "an IMAP server has messages alone")
_NO_FOLDER: Final = StoreFault(Status("4.2.0", "the folder is not there any more"), Scope.MESSAGE)


class ImapMailbox:
    """An open mailbox. `poll_s` is how often `watch` hints folders that the server does not tell of."""

    def __init__(
        self, pool: Pool, content_of: Callable[[bytes | Spilled], Content], *, poll_s: float, several: bool
    ) -> None:
        self._pool = pool
        self._content_of = content_of
        self._poll_s = poll_s
        self._several = several
        self._own: Namespace | None = None
        self._listed: dict[bytes, Listed] = {}
        self._names: dict[str, bytes] = {}
        """By the hash that items' ids have."""
        self._holds = HOLDS

    def holds(self) -> Holds:
        return self._holds

    @asynccontextmanager
    async def _asking(self, folder: bytes | None = None, *, unknown: bool = False) -> AsyncIterator[Session]:
        try:
            async with self._pool.session(folder) as session:
                yield session
        except (Refused, Closed, WireError, OSError, TimeoutError) as fault:
            raise fault_of(fault, unknown=unknown) from None

    # -- folders

    async def _list(self, session: Session) -> dict[bytes, Listed]:
        if self._own is None:
            self._own = await namespace(session)
        self._listed = await listed(session)
        self._names = {_hash(name): name for name in self._listed}
        if self._own.separator == "" and self._listed:
            self._own = replace(self._own, separator=next(iter(self._listed.values())).separator)
        limit = re.search(r"APPENDLIMIT=([0-9]+)", " ".join(session.connection.capabilities))
        separator = self._own.separator
        self._holds = replace(HOLDS, max_item_bytes=int(limit[1]) if limit else None, forbidden_in_names=separator)
        return self._listed

    async def folders(self) -> list[Folder]:
        async with self._asking() as session:
            found = await self._list(session)
            made = [self._folder(each, session) for each in found.values() if each.can_hold]
        return sorted(made, key=lambda folder: (len(folder.path), folder.path))

    def _folder(self, each: Listed, session: Session) -> Folder:
        own = self._own or Namespace()
        path = path_of(each.name, each.separator, own, utf8=session.utf8)
        total, unread = each.status.get("MESSAGES"), each.status.get("UNSEEN")
        return Folder(_text(each.name), path, "mail", each.role, total, unread, each.is_subscribed)

    async def create_folder(self, path: tuple[str, ...], kind: Kind = "mail") -> Folder:
        if kind != "mail":
            raise StoreFault(Status("5.6.0", f"an IMAP server has no folders of {kind}"), Scope.MESSAGE)
        async with self._asking() as session:
            if self._own is None or not self._listed:
                await self._list(session)
            name = self._name(path, session)
            there = self._listed.get(name)
            if there is None or not there.can_hold:  # listed for its children alone, it is no mailbox yet
                for depth in range(1, len(path) + 1):
                    part = self._name(path[:depth], session)
                    if part not in self._listed or depth == len(path):
                        await self._create(session, part)
                await self._list(session)
            found = self._listed.get(name) or next((e for e in self._listed.values() if e.name == name), None)
            if found is None:
                raise StoreFault(Status("4.2.0", "the folder was made, and the server does not list it"), Scope.MESSAGE)
            return self._folder(found, session)

    async def _create(self, session: Session, name: bytes) -> None:
        try:
            await session.connection.ask(joined(b"CREATE ", session.name(name)))
        except Refused as refused:
            is_there = refused.said.code is not None and refused.said.code.name == "ALREADYEXISTS"
            if not is_there and "exist" not in refused.said.text:
                raise
        await session.connection.ask(joined(b"SUBSCRIBE ", session.name(name)))

    def _name(self, path: tuple[str, ...], session: Session) -> bytes:
        try:
            return name_of(path, self._own or Namespace(), utf8=session.utf8)
        except ValueError as fault:
            raise StoreFault(Status("5.6.0", str(fault)), Scope.MESSAGE) from None

    async def rename_folder(self, id: str, path: tuple[str, ...]) -> Folder:
        async with self._asking(unknown=True) as session:
            if not self._listed:
                await self._list(session)
            name = self._name(path, session)
            if path[:-1]:
                await self._create(session, self._name(path[:-1], session))
            await session.connection.ask(joined(b"RENAME ", session.name(_octets(id)), b" ", session.name(name)))
            session.selected = None
            found = (await self._list(session)).get(name)
            if found is None:
                raise _NO_FOLDER
            return self._folder(found, session)

    async def remove_folder(self, id: str) -> None:
        async with self._asking() as session:
            if _octets(id) not in await self._list(session):
                return
            if session.selected is not None and session.selected.name == _octets(id):
                await session.connection.ask(command(b"UNSELECT" if session.has("UNSELECT") else b"CLOSE"), alone=True)
                session.selected = None
            await session.connection.ask(joined(b"UNSUBSCRIBE ", session.name(_octets(id))))
            await session.connection.ask(joined(b"DELETE ", session.name(_octets(id))))

    async def subscribe(self, id: str, on: bool) -> None:
        async with self._asking() as session:
            verb = b"SUBSCRIBE " if on else b"UNSUBSCRIBE "
            await session.connection.ask(joined(verb, session.name(_octets(id))))

    async def facts(self) -> Facts:
        used: list[int] = []
        limits: list[int] = []

        def takes(what: Untagged) -> bool:
            if not isinstance(what, Data) or what.name not in ("QUOTA", "QUOTAROOT"):
                return False
            if what.name == "QUOTA" and len(what.values) > 1 and isinstance(what.values[1], list):
                told = what.values[1]
                for at in range(0, len(told) - 2, 3):
                    now, most = as_number(told[at + 1]), as_number(told[at + 2])
                    if as_text(told[at]).upper() == b"STORAGE" and now is not None and most is not None:
                        used.append(now * 1024)
                        limits.append(most * 1024)
            return True

        async with self._asking() as session:
            if session.has("QUOTA"):
                await session.connection.ask(command(b"GETQUOTAROOT", b"INBOX"), takes)
        return Facts(used[0] if used else None, limits[0] if limits else None)

    # -- what is there

    async def changes(self, folder: str, token: str | None, limit: int = 500) -> Changes:
        name = _octets(folder)
        async with self._asking(name) as session:
            return await Listing(session, name, _ids(name)).changes(token, limit)

    async def fetch(self, ids: Sequence[str], form: Form = "mime") -> AsyncIterator[tuple[str, Content | Status]]:
        if form != "mime":
            for id in ids:
                yield id, _NO_FORM
            return
        for start in range(0, len(ids), FETCH_ITEMS):
            some = ids[start : start + FETCH_ITEMS]
            found: dict[str, Content] = {}
            for name, uidvalidity, uids in await self._by_folder(some):
                async with self._asking(name) as session:
                    found |= await self._bodies(session, name, uidvalidity, uids)
            for id in some:
                yield id, found.pop(id, _GONE)

    async def _bodies(self, session: Session, name: bytes, uidvalidity: int, uids: Iterable[int]) -> dict[str, Content]:
        folder = await session.select(name, readonly=True)
        if folder.uidvalidity != uidvalidity:
            return {}
        id_of = _ids(name)
        found: dict[str, Content] = {}

        def takes(what: Untagged) -> bool:
            if not isinstance(what, Fetched):
                return False
            octets = body(what)
            if what.uid is not None and octets is not None:
                found[id_of(uidvalidity, what.uid)] = self._content_of(octets)
            return True

        await session.connection.ask(joined(b"UID FETCH ", numbers(uids), b" (UID BODY.PEEK[])"), takes)
        return found

    async def _by_folder(self, ids: Sequence[str]) -> list[tuple[bytes, int, list[int]]]:
        """Return ids as folders, UIDVALIDITY and UIDs, in runs; what is no id of ours is left out."""
        runs: list[tuple[bytes, int, list[int]]] = []
        for id in ids:
            found = _ID.fullmatch(id)
            if found is None:
                continue
            name = self._names.get(found[1])
            if name is None:
                async with self._asking() as session:
                    await self._list(session)
                name = self._names.get(found[1])
                if name is None:
                    continue
            if runs and runs[-1][:2] == (name, int(found[2])):
                runs[-1][2].append(int(found[3]))
            else:
                runs.append((name, int(found[2]), [int(found[3])]))
        return runs

    async def find(self, folder: str, keys: Sequence[str]) -> dict[str, str]:
        return {}

    # -- what is put in and changed

    async def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        name = _octets(folder)
        async with self._asking(name, unknown=True) as session:
            return await Appender(session, name, _ids(name), several=self._several).append(items)

    async def _each(
        self,
        ids: Sequence[str],
        act: Callable[[Session, list[int]], Awaitable[dict[int, str]]],
        *,
        readonly: bool = False,
    ) -> list[str | Status]:
        """Do something with items, a folder's at a time; an answer for each."""
        answers: dict[str, str | Status] = {}
        for name, uidvalidity, uids in await self._by_folder(ids):
            id_of = _ids(name)
            async with self._asking(name, unknown=True) as session:
                try:
                    if (await session.select(name, readonly=readonly)).uidvalidity != uidvalidity:
                        continue
                    done = await act(session, uids)
                except Refused as refused:
                    fault = fault_of(refused, unknown=False)
                    if fault.scope is not Scope.MESSAGE:
                        raise fault from None
                    answers |= {id_of(uidvalidity, uid): status_of(refused.said) for uid in uids}
                    continue
            answers |= {id_of(uidvalidity, uid): answer for uid, answer in done.items()}
        return [answers.get(id, _GONE) for id in ids]

    async def set_flags(self, ids: Sequence[str], add: frozenset[str], remove: frozenset[str]) -> list[str | Status]:
        async def act(session: Session, uids: list[int]) -> dict[int, str]:
            folder = session.selected
            versions: dict[int, str] = {}

            def takes(what: Untagged) -> bool:
                if not isinstance(what, Fetched):
                    return False
                if what.uid is not None and what.flags is not None:
                    versions[what.uid] = version_of(what.modseq if folder and folder.modseq else None, what.flags)
                return True

            for verb, words in ((b"+FLAGS.SILENT ", add), (b"-FLAGS.SILENT ", remove)):
                wanted, _ = marks.write(words & FLAGS, words - FLAGS, folder)
                if wanted:
                    stored = joined(b"UID STORE ", numbers(uids), b" ", verb, flag_list(wanted))
                    await session.connection.ask(stored, lambda what: isinstance(what, Fetched))
            items = b"(UID FLAGS MODSEQ)" if folder and folder.modseq else b"(UID FLAGS)"
            await session.connection.ask(joined(b"UID FETCH ", numbers(uids), b" ", items), takes)
            return {uid: versions[uid] for uid in uids if uid in versions}

        return await self._each(ids, act)

    async def move(self, ids: Sequence[str], folder: str) -> list[str | Status]:
        target = _octets(folder)

        async def act(session: Session, uids: list[int]) -> dict[int, str]:
            moved: dict[int, str] = {}

            def takes(what: Untagged) -> bool:
                if isinstance(what, Said) and what.code is not None and what.code.name == "COPYUID":
                    moved.update(_copied(what, target))
                    return True
                return isinstance(what, Data) and what.name in ("EXPUNGE", "VANISHED")

            verb = b"UID MOVE " if session.has("MOVE") or session.has("IMAP4REV2") else b"UID COPY "
            said = await session.connection.ask(
                joined(verb, numbers(uids), b" ", session.name(target)), takes, alone=True
            )
            takes(said)
            if verb == b"UID COPY ":
                await self._expunge(session, [uid for uid in uids if uid in moved or not session.has("UIDPLUS")])
            return moved

        return await self._each(ids, act)

    async def remove(self, ids: Sequence[str], *, purge: bool = False) -> list[Status | None]:
        trash = None if purge else next((each.name for each in self._listed.values() if each.role == "trash"), None)
        answers: list[str | Status] = []
        if trash is not None:
            outside = [id for id in ids if not id.startswith(_hash(trash) + ".")]
            answers = await self.move(outside, _text(trash))
            ids = [id for id in ids if id.startswith(_hash(trash) + ".")]

        async def act(session: Session, uids: list[int]) -> dict[int, str]:
            await self._expunge(session, uids)
            return dict.fromkeys(uids, "")

        answers += await self._each(ids, act)
        return [each if isinstance(each, Status) and each != _GONE else None for each in answers]

    async def _expunge(self, session: Session, uids: Sequence[int]) -> None:
        """Remove these for good, and nothing that others have marked as deleted."""
        if not uids:
            return
        told = numbers(uids)

        def takes(what: Untagged) -> bool:
            return isinstance(what, Fetched) or (isinstance(what, Data) and what.name in ("EXPUNGE", "VANISHED"))

        await session.connection.ask(joined(b"UID STORE ", told, b" +FLAGS.SILENT (\\Deleted)"), takes)
        if session.has("UIDPLUS") or session.has("IMAP4REV2"):
            await session.connection.ask(joined(b"UID EXPUNGE ", told), takes, alone=True)

    # -- what happens

    async def watch(self, folders: Sequence[str]) -> AsyncIterator[str]:
        """Hint all folders every `poll_s`; the first of them as soon as the server tells of it, by IDLE."""
        names = [_octets(folder) for folder in folders]
        while names:
            async with self._asking(names[0]) as session:
                heard = await self._idle(session, names[0])
            if heard:
                yield _text(names[0])
            else:
                for name in names:
                    yield _text(name)

    async def _idle(self, session: Session, name: bytes) -> bool:
        """Wait until something happens in a folder, or for `poll_s`; say whether it did."""
        if not session.has("IDLE"):
            await asyncio.sleep(self._poll_s)
            return False
        await session.select(name, readonly=True, anew=True)
        happened = asyncio.Event()

        def takes(what: Untagged) -> bool:
            if isinstance(what, Fetched) or (isinstance(what, Data) and what.name in ("EXISTS", "EXPUNGE", "VANISHED")):
                happened.set()
            return False

        asked = session.connection.ask(command(b"IDLE"), takes, goes=lambda text: None, alone=True)
        idling = asyncio.ensure_future(asked)
        waiting = asyncio.ensure_future(happened.wait())
        try:
            await asyncio.wait((idling, waiting), timeout=self._poll_s, return_when=asyncio.FIRST_COMPLETED)
            if not idling.done():
                session.connection.interject(b"DONE\r\n")
            await idling
        finally:
            waiting.cancel()
            idling.cancel()
        return happened.is_set()


def _copied(said: Said, target: bytes) -> dict[int, str]:
    code = said.code
    if code is None or len(code.values) < 3:
        return {}
    _, old, new = code.values[:3]
    id_of, uidvalidity = _ids(target), code.number() or 0
    try:
        pairs = zip(read_numbers(as_text(old)), read_numbers(as_text(new)), strict=True)
        return {one: id_of(uidvalidity, other) for one, other in pairs}
    except ValueError:
        return {}


def _hash(name: bytes) -> str:
    return f"{zlib.crc32(name):08x}"


def _ids(name: bytes) -> Callable[[int, int], str]:
    prefix = _hash(name)
    return lambda uidvalidity, uid: f"{prefix}.{uidvalidity}.{uid}"


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _octets(id: str) -> bytes:
    return id.encode("utf-8", "surrogateescape")
