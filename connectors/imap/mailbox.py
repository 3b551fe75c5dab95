"""A mailbox of an IMAP server, open: its folders and items by the contract's words.

Nothing is repeated here: a call whose connection broke is a StoreFault, `unknown` where it may have been done. Folders
of other users and shared ones are none of a mailbox's.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from connectors.imap import altering
from connectors.imap.appending import Appender, Window
from connectors.imap.connection import Refused
from connectors.imap.facts import facts
from connectors.imap.faults import fault_of, status_of
from connectors.imap.fetching import contents
from connectors.imap.folders import Listed, name_of, path_of
from connectors.imap.idle import idle
from connectors.imap.ids import hash_of, ids_of, octets_of, read_id, text_of
from connectors.imap.listing import Listing, Marks
from connectors.imap.looking import FAULTS, Folders
from connectors.imap.pool import Lane, Pool, Turn
from connectors.imap.session import Session
from connectors.imap.wire.commands import joined
from connectors.imap.wire.tokens import Spilled
from gateway.contract import (
    Appended,
    Changes,
    Content,
    Facts,
    Folder,
    Form,
    Kind,
    NewItem,
    Scope,
    Status,
    StoreFault,
)

FETCH_ITEMS: Final = 50
FETCH_BYTES: Final = 4 * 1024 * 1024
"""What is fetched by one command, about: as many as these are, by the size of those before."""
_GONE: Final = Status("4.2.0", "the item is not there any more")
_NO_FORM: Final = Status("5.6.3", "an IMAP server has messages alone")
_NO_FOLDER: Final = StoreFault(Status("4.2.0", "the folder is not there any more"), Scope.MESSAGE)
_NO_NEW_ID: Final = Status("4.5.0", "it is moved, and the server does not say under which number")


class ImapMailbox(Folders):
    """An open mailbox. `poll_s` is how often `watch` hints folders that the server does not tell of."""

    def __init__(
        self, pool: Pool, content_of: Callable[[bytes | Spilled], Content], *, poll_s: float, several: bool
    ) -> None:
        super().__init__(pool)
        self._content_of = content_of
        self._poll_s = poll_s
        self._several = several
        self._marks = Marks()
        self._at_once = FETCH_ITEMS
        self._window = Window()
        self._lanes: dict[bytes, Lane] = {}

    async def create_folder(self, path: tuple[str, ...], kind: Kind = "mail") -> Folder:
        if kind != "mail":
            raise StoreFault(Status("5.6.0", f"an IMAP server has no folders of {kind}"), Scope.MESSAGE)
        async with self._asking() as session:
            name = self._name(path, session)
            if not self._listed:
                await self._list(session)
            there = self._listed.get(name)
            if there is None or not there.can_hold:  # listed for its children alone, it is no mailbox yet
                for depth in range(1, len(path) + 1):
                    part = self._name(path[:depth], session)
                    if part not in self._listed or depth == len(path):
                        await self._create(session, part)
                await self._list(session)
            found = self._listed.get(name)
            if found is None:
                raise StoreFault(Status("5.3.3", "the folder was made, and the server does not list it"), Scope.MESSAGE)
            return self._folder(found, session)

    async def _create(self, session: Session, name: bytes) -> None:
        try:
            await session.connection.ask(joined(b"CREATE ", session.name(name)))
        except Refused as refused:
            is_there = refused.said.code is not None and refused.said.code.name == "ALREADYEXISTS"
            if not is_there and "exist" not in refused.said.text:
                raise _of_a_name(refused) from None
        with suppress(Refused):  # whoever wants it to be subscribed looks, and says so
            await session.connection.ask(joined(b"SUBSCRIBE ", session.name(name)))

    def _name(self, path: tuple[str, ...], session: Session) -> bytes:
        try:
            return name_of(path, self._own, utf8=session.utf8)
        except ValueError as fault:
            raise StoreFault(Status("5.3.3", str(fault)), Scope.MESSAGE) from None

    async def rename_folder(self, id: str, path: tuple[str, ...]) -> Folder:
        async with self._asking(unknown=True) as session:
            before, name = octets_of(id), self._name(path, session)
            if not self._listed:
                await self._list(session)
            if path[:-1] and self._name(path[:-1], session) not in self._listed:
                await self._create(session, self._name(path[:-1], session))
            await self._let_go(session, before)
            try:
                await session.connection.ask(joined(b"RENAME ", session.name(before), b" ", session.name(name)))
            except Refused as refused:
                raise _of_a_name(refused) from None
            found = (await self._list(session)).get(name)
            if found is None:
                raise _NO_FOLDER
            if not found.is_subscribed:  # a subscription is to a name, and stays with the old one
                await session.connection.ask(joined(b"UNSUBSCRIBE ", session.name(before)))
                await session.connection.ask(joined(b"SUBSCRIBE ", session.name(name)))
                found.is_subscribed = True
            return self._folder(found, session)

    async def _let_go(self, session: Session, name: bytes) -> None:
        """Let no session have a folder selected that gets another name, or goes, or one below it."""
        there = self._listed.get(name)
        inferiors = name + there.separator.encode() if there is not None and there.separator else b""
        self._pool.forget(name, inferiors)
        selected = session.selected
        if selected is not None and (selected.name == name or (inferiors and selected.name.startswith(inferiors))):
            await session.unselect()

    async def remove_folder(self, id: str) -> None:
        name = octets_of(id)
        async with self._asking() as session:
            if name not in await self._list(session):
                return
            await self._let_go(session, name)
            await session.connection.ask(joined(b"UNSUBSCRIBE ", session.name(name)))
            await session.connection.ask(joined(b"DELETE ", session.name(name)))

    async def subscribe(self, id: str, on: bool) -> None:
        async with self._asking() as session:
            verb = b"SUBSCRIBE " if on else b"UNSUBSCRIBE "
            await session.connection.ask(joined(verb, session.name(octets_of(id))))

    async def facts(self) -> Facts:
        async with self._asking() as session:
            if not self._listed:
                await self._list(session)
            shown = [
                (each.name, "/".join(path_of(each.name, each.separator, self._own, utf8=session.utf8)))
                for each in self._listed.values()
                if each.can_hold
            ]
            return await facts(session, shown)

    # -- what is there

    async def changes(self, folder: str, token: str | None, limit: int = 500) -> Changes:
        name = octets_of(folder)
        async with self._asking(name) as session:
            return await Listing(session, name, ids_of(name), self._marks).changes(token, limit)

    async def fetch(self, ids: Sequence[str], form: Form = "mime") -> AsyncIterator[tuple[str, Content | Status]]:
        if form != "mime":
            for id in ids:
                yield id, _NO_FORM
            return
        at = 0
        while at < len(ids):
            some = ids[at : at + self._at_once]
            at += len(some)
            found: dict[str, Content | Status] = {}
            for name, uidvalidity, uids in await self._by_folder(some):
                id_of = ids_of(name)
                async with self._asking(name) as session:
                    if (await session.select(name, readonly=True)).uidvalidity == uidvalidity:
                        given = await contents(session, uids, self._content_of)
                        found |= {id_of(uidvalidity, uid): content for uid, content in given.items()}
            octets = sum(each.size for each in found.values() if isinstance(each, Content))
            fits = FETCH_BYTES * len(some) // max(1, octets)
            self._at_once = max(1, min(FETCH_ITEMS, fits, 2 * self._at_once))
            for id in some:
                yield id, found.pop(id, _GONE)

    async def _by_folder(self, ids: Sequence[str]) -> list[tuple[bytes, int, list[int]]]:
        """Return ids as folders, UIDVALIDITY and UIDs, in runs; what is no id of ours is left out."""
        runs: list[tuple[bytes, int, list[int]]] = []
        is_listed = False
        for id in ids:
            found = read_id(id)
            if found is None:
                continue
            folder, uidvalidity, uid = found
            if folder not in self._names and not is_listed:
                async with self._asking() as session:
                    await self._list(session)
                is_listed = True
            name = self._names.get(folder)
            if name is None:
                continue
            if runs and runs[-1][:2] == (name, uidvalidity):
                runs[-1][2].append(uid)
            else:
                runs.append((name, uidvalidity, [uid]))
        return runs

    async def find(self, folder: str, keys: Sequence[str]) -> dict[str, str]:
        return {}

    # -- what is put in and changed

    async def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        name = octets_of(folder)
        async with self._lane(name) as (session, turn):
            appender = Appender(session, name, ids_of(name), several=self._several, window=self._window, turn=turn)
            return await appender.append(items)

    @asynccontextmanager
    async def _lane(self, name: bytes) -> AsyncIterator[tuple[Session, Turn]]:
        """Lend the session by which is appended to a folder: whoever appends meanwhile gets the same, so that what is
        put into the pipe first is there first. Raises: StoreFault."""
        lane = self._lanes.get(name)
        if lane is None or not lane.is_open:
            self._lanes = {at: each for at, each in self._lanes.items() if each.is_open}
            lane = self._lanes[name] = Lane(self._pool, name)
        try:
            async with lane.lent() as session:
                yield session, lane.turn
        except FAULTS as fault:
            raise fault_of(fault, unknown=True) from None

    async def _each(
        self, ids: Sequence[str], act: Callable[[Session, list[int]], Awaitable[dict[int, str]]]
    ) -> list[str | Status]:
        """Do something with items, a folder's at a time; an answer for each."""
        answers: dict[str, str | Status] = {}
        for name, uidvalidity, uids in await self._by_folder(ids):
            id_of = ids_of(name)
            async with self._asking(name, unknown=True) as session:
                try:
                    if (await session.select(name)).uidvalidity != uidvalidity:
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
        return await self._each(ids, lambda session, uids: altering.set_flags(session, uids, add, remove))

    async def move(self, ids: Sequence[str], folder: str) -> list[str | Status]:
        target = octets_of(folder)
        answers = await self._each(ids, lambda session, uids: altering.move(session, uids, target))
        return [_NO_NEW_ID if each == "" else each for each in answers]

    async def remove(self, ids: Sequence[str], *, purge: bool = False) -> list[Status | None]:
        trash: Listed | None = None
        if not purge:
            if not self._listed:
                await self.folders()
            trash = next((each for each in self._listed.values() if each.role == "trash"), None)
        inside = [id for id in ids if trash is None or id.startswith(hash_of(trash.name) + ".")]
        moved = [id for id in ids if id not in set(inside)]
        answers: dict[str, str | Status] = {}
        if trash is not None and moved:
            answers |= zip(moved, await self.move(moved, text_of(trash.name)), strict=True)

        async def act(session: Session, uids: list[int]) -> dict[int, str]:
            await altering.expunge(session, uids)
            return dict.fromkeys(uids, "")

        answers |= zip(inside, await self._each(inside, act), strict=True)
        done = (_GONE, _NO_NEW_ID)
        return [each if isinstance(each := answers[id], Status) and each not in done else None for id in ids]

    # -- what happens

    async def watch(self, folders: Sequence[str]) -> AsyncGenerator[str, None]:
        """Hint all folders every `poll_s`; the first of them as soon as the server tells of it, by IDLE."""
        names = [octets_of(folder) for folder in folders]
        while names:
            async with self._asking(names[0]) as session:
                heard = await idle(session, names[0], self._poll_s)
            if heard:
                yield text_of(names[0])
            else:
                for name in names:
                    yield text_of(name)


def _of_a_name(refused: Refused) -> StoreFault:
    """Return the fault of a name that the server won't have; of anything else that it tells, that one's."""
    fault = fault_of(refused, unknown=False)
    if fault.scope is Scope.MESSAGE and fault.status.code in ("4.3.0", "5.5.1"):
        return StoreFault(Status("5.3.3", str(refused.said)[:300]), Scope.MESSAGE)
    return fault
