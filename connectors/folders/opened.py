"""An open mailbox of folders and files: what its format does, in a thread, told by the contract's words.

Every listing is whole: what changed is for whoever compares it with the last one, and a folder's mark tells where there
is nothing to compare. A listing that is read in pages is kept until the last page; where it is lost, the next page
goes on behind the last item all the same.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final, TypeVar

from connectors.folders.backend import GONE, Backend, folder_hash, item_id, no_folder, split_id
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

T = TypeVar("T")

_NO_FORM: Final = Status("5.6.3", "there are messages alone in these folders")
_DONE: Final = "done"
_AT_ONCE: Final = 256 * 1024
_MOST_AT_ONCE: Final = 20
_NO_RIGHT: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Waiting changes nothing about these, and no message is to blame for them."""


def fault_of(fault: OSError) -> StoreFault:
    """Return what a fault of the file system is to whoever asked."""
    text = f"{fault.strerror or fault}"
    if fault.errno == errno.EDQUOT:
        return StoreFault(Status("4.2.2", "the mailbox is full", text))
    if fault.errno == errno.ENOSPC:
        return StoreFault(Status("4.3.1", "the disk is full", text), Scope.HOP)
    if fault.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
        return StoreFault(Status("4.2.1", "another program holds the mailbox's lock", text), retry_after_s=5.0)
    if fault.errno in _NO_RIGHT:
        where = f": {os.fsdecode(fault.filename)}" if isinstance(fault.filename, str | bytes) else ""
        text = f"the gateway has no right to read or write this: {text}{where}"
        return StoreFault(Status("5.7.1", text), Scope.MESSAGE)
    return StoreFault(Status("4.2.1", f"the mailbox can't be read or written: {text}", str(fault)))


class FolderMailbox:
    """One mailbox. `poll_s`: how often `watch` looks."""

    def __init__(self, backend: Backend, poll_s: float) -> None:
        self._backend = backend
        self._poll_s = poll_s
        self._guard = threading.Lock()
        self._hashes: dict[str, str] = {}
        self._pages: dict[str, tuple[str, int, list[ItemState]]] = {}
        """By folder: the token that asks for the next page, where that begins, and the listing."""

    async def _asked(self, work: Callable[[], T], *, unknown: bool = False) -> T:
        def guarded() -> T:
            with self._guard:
                return work()

        try:
            return await asyncio.to_thread(guarded)
        except OSError as fault:
            found = fault_of(fault)
            # Some of it may be done, or is finished from a journal with the next look.
            found.unknown = unknown and not found.status.is_permanent
            raise found from None

    def holds(self) -> Holds:
        return self._backend.holds

    async def facts(self) -> Facts:
        return await self._asked(self._backend.facts)

    # -- folders

    def _folders(self) -> list[Folder]:
        found = self._backend.folders()
        self._hashes = {folder_hash(folder.id): folder.id for folder in found}
        return found

    async def folders(self) -> list[Folder]:
        return await self._asked(self._folders)

    async def create_folder(self, path: tuple[str, ...], kind: Kind = "mail") -> Folder:
        if kind != "mail" or not path or not all(path):
            text = "a folder has a name" if kind == "mail" else f"there are no folders of {kind} here"
            raise StoreFault(Status("5.6.0", text), Scope.MESSAGE)

        def make() -> Folder:
            known = {folder.path: folder for folder in self._folders()}
            for depth in range(1, len(path) + 1):
                part = path[:depth]
                if part in known:
                    continue
                try:
                    known[part] = self._backend.make(part)
                except StoreFault:
                    if depth == len(path):  # a folder on the way may be one that holds no messages
                        raise
            return known[path]

        return await self._asked(make)

    async def rename_folder(self, id: str, path: tuple[str, ...]) -> Folder:
        if path[:-1]:
            await self.create_folder(path[:-1])

        def rename() -> Folder:
            made = self._backend.rename(id, path)
            self._folders()
            return made

        return await self._asked(rename)

    async def remove_folder(self, id: str) -> None:
        def drop() -> None:
            if any(folder.id == id for folder in self._folders()):
                self._backend.drop(id)

        await self._asked(drop)

    async def subscribe(self, id: str, on: bool) -> None:
        """Subscriptions are not held: every folder is."""

    # -- what is there

    async def changes(self, folder: str, token: str | None, limit: int = 500) -> Changes:
        after = token if token is not None and token != _DONE else None

        def page() -> Changes:
            kept = self._pages.pop(folder, None)
            if kept is not None and kept[0] == after:
                _, start, states = kept
            else:
                states, start = self._backend.listing(folder), 0
                if after is not None:
                    # Where the item is gone that a page ended with, everything is told once more.
                    start = next((place + 1 for place, state in enumerate(states) if state.id == after), 0)
            end = start + max(1, limit)
            some = tuple(states[start:end])
            more = end < len(states)
            next_token = some[-1].id if more else _DONE
            if more:
                self._pages[folder] = next_token, end, states
            return Changes(some, (), next_token, more, reset=start == 0)

        return await self._asked(page)

    async def fetch(self, ids: Sequence[str], form: Form = "mime") -> AsyncIterator[tuple[str, Content | Status]]:
        for folder, some in self._runs(ids):
            hash = split_id(some[0])[0]
            if form != "mime":
                for id in some:
                    yield id, _NO_FORM
                continue
            if folder is None:
                folder = await self._folder_of(hash)
            if folder is None:
                for id in some:
                    yield id, GONE
                continue
            found = self._backend.contents(folder, [split_id(id)[1] for id in some])
            ids_left = iter(some)
            while part := await self._asked(lambda found=found: _some(found)):  # type: ignore[misc]  # mypy takes no default of a lambda
                for content in part:
                    yield next(ids_left), content

    def _runs(self, ids: Sequence[str]) -> Iterator[tuple[str | None, list[str]]]:
        """Yield ids of one folder each that stand together."""
        run: list[str] = []
        for id in ids:
            if run and split_id(run[0])[0] != split_id(id)[0]:
                yield self._hashes.get(split_id(run[0])[0]), run
                run = []
            run.append(id)
        if run:
            yield self._hashes.get(split_id(run[0])[0]), run

    async def _folder_of(self, hash: str) -> str | None:
        if hash not in self._hashes:
            await self._asked(self._folders)
        return self._hashes.get(hash)

    async def find(self, folder: str, keys: Sequence[str]) -> dict[str, str]:
        hash = folder_hash(folder)
        found = await self._asked(lambda: self._backend.find(folder, keys))
        return {key: item_id(hash, name) for key, name in found.items()}

    async def watch(self, folders: Sequence[str]) -> AsyncIterator[str]:
        marks = {folder.id: folder.mark for folder in await self.folders()}
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                now = {folder.id: folder.mark for folder in await self.folders()}
            except StoreFault:
                continue
            for folder in folders:
                if now.get(folder) is None or now.get(folder) != marks.get(folder):
                    yield folder
            marks = now

    # -- what is put in and altered

    async def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        hash = folder_hash(folder)

        def append() -> list[Appended | Status]:
            sound = [item for item in items if item.form == "mime" and item.kind == "mail"]
            made = iter(self._backend.append(folder, sound) if sound else [])
            answers = [next(made) if item.form == "mime" and item.kind == "mail" else _NO_FORM for item in items]
            return [
                Appended(item_id(hash, answer.id), answer.notes) if isinstance(answer, Appended) else answer
                for answer in answers
            ]

        return await self._asked(append, unknown=True)

    async def _each(self, ids: Sequence[str], work: Callable[[str, list[str]], Sequence[T]], gone: T) -> list[T]:
        """Do something to items, folder by folder; answers in the order of ids."""
        groups: dict[str, list[str]] = {}
        for id in dict.fromkeys(ids):
            groups.setdefault(split_id(id)[0], []).append(id)
        answers: dict[str, T] = {}
        for hash, some in groups.items():
            folder = await self._folder_of(hash)
            if folder is None:
                answers |= dict.fromkeys(some, gone)
                continue
            names = [split_id(id)[1] for id in some]
            found = await self._asked(lambda folder=folder, names=names: work(folder, names))  # type: ignore[misc]  # as above
            answers |= dict(zip(some, found, strict=True))
        return [answers[id] for id in ids]

    async def set_flags(self, ids: Sequence[str], add: frozenset[str], remove: frozenset[str]) -> list[str | Status]:
        return await self._each(ids, lambda folder, names: self._backend.set_flags(folder, names, add, remove), GONE)

    async def move(self, ids: Sequence[str], folder: str) -> list[str | Status]:
        hash = folder_hash(folder)

        def move(source: str, names: list[str]) -> list[str | Status]:
            if source == folder:
                return [item_id(hash, name) for name in names]
            answers = self._backend.move(source, names, folder)
            return [answer if isinstance(answer, Status) else item_id(hash, answer) for answer in answers]

        if await self._folder_of(hash) is None:
            raise no_folder()
        return await self._each(ids, move, GONE)

    async def remove(self, ids: Sequence[str], *, purge: bool = False) -> list[Status | None]:
        trash = None
        if not purge:
            trash = next((folder.id for folder in await self.folders() if folder.role == "trash"), None)

        def remove(folder: str, names: list[str]) -> list[Status | None]:
            if trash is None or trash == folder:
                return self._backend.remove(folder, names)
            answers = self._backend.move(folder, names, trash)
            return [answer if isinstance(answer, Status) and answer != GONE else None for answer in answers]

        return await self._each(ids, remove, None)


def _some(found: Iterator[tuple[str, Content | Status]]) -> list[Content | Status]:
    """Return the next contents, as many as are small: a turn in a thread costs as much as reading one."""
    part: list[Content | Status] = []
    octets = 0
    for _, content in found:
        part.append(content)
        octets += content.size if isinstance(content, Content) else 0
        if octets >= _AT_ONCE or len(part) == _MOST_AT_ONCE:
            break
    return part


__all__ = ["FolderMailbox", "fault_of"]
