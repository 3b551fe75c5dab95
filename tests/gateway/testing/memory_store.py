"""A mailbox store in memory: what the suite is proved on, and wrong in one way or another where a test asks for it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from gateway.contract import (
    FLAGS,
    Appended,
    Changes,
    Connector,
    ConnectorConfig,
    Content,
    Facts,
    Fate,
    Flag,
    Folder,
    Holds,
    ItemState,
    Kind,
    NewItem,
    Note,
    Scope,
    Status,
    StoreFault,
)
from gateway.testing import Bench, MailboxDriver

GONE = Status("4.2.0", "there is no such item")
AWAY = Status("4.4.1", "the store is away")
HELD: frozenset[Flag] = frozenset(["seen", "flagged", "answered", "draft"])


@dataclass
class Held:
    octets: bytes
    state: ItemState
    key: str
    folder: str


@dataclass
class Box:
    folders: dict[str, Folder] = field(default_factory=lambda: {"inbox": Folder("inbox", ("Inbox",), role="inbox")})
    items: dict[str, Held] = field(default_factory=dict)
    log: list[tuple[int, str, str]] = field(default_factory=list)
    """(number, folder, item) of each change."""


class Server:
    """All mailboxes, and what stands for the way to them."""

    def __init__(self) -> None:
        self.boxes: dict[str, Box] = {}
        self.numbers = itertools.count(1)
        self.generation = 0
        self.is_away = False

    def box(self, name: str) -> Box:
        if self.is_away:
            raise StoreFault(AWAY, Scope.HOP)
        return self.boxes.setdefault(name, Box())


class MemoryStore(Connector):
    """The connector. `lie` names what it does wrong."""

    lie: ClassVar[str] = ""
    server: ClassVar[Server] = Server()

    @staticmethod
    def held(lie: str) -> Holds:
        flags = FLAGS if lie == "flags" else HELD
        return Holds(
            flags, keywords=True, internal_date=True, change_tokens=True, stable_ids=lie == "ids", exact=True,
            native="memory", subscriptions=True, forbidden_in_names="" if lie == "names" else "\\",
        )  # fmt: skip

    def holds(self) -> Holds:
        return self.held(self.lie)

    @asynccontextmanager
    async def open(self, mailbox: str) -> AsyncIterator[OpenMemory]:
        yield OpenMemory(self.server, mailbox, self.lie)


class OpenMemory:
    def __init__(self, server: Server, name: str, lie: str) -> None:
        self._server = server
        self._name = name
        self._lie = lie

    @property
    def _box(self) -> Box:
        return self._server.box(self._name)

    def _touch(self, folder: str, id: str) -> str:
        number = next(self._server.numbers)
        if not (self._lie == "tokens" and id in self._box.items):
            self._box.log.append((number, folder, id))
        return str(number)

    def holds(self) -> Holds:
        return MemoryStore.held(self._lie)

    async def facts(self) -> Facts:
        return Facts(sum(len(item.octets) for item in self._box.items.values()), 10**9, ("owner: all",))

    async def subscribe(self, id: str, on: bool) -> None:
        if self._lie != "subscriptions":
            self._box.folders[id] = replace(self._box.folders[id], subscribed=on)

    async def folders(self) -> list[Folder]:
        found = sorted(self._box.folders.values(), key=lambda folder: folder.path)
        return found[::-1] if self._lie == "order" else found

    async def create_folder(self, path: tuple[str, ...], kind: Kind = "mail") -> Folder:
        found: Folder | None = None
        for depth in range(1, len(path) + 1):
            part = path[:depth]
            found = next((folder for folder in self._box.folders.values() if folder.path == part), None)
            if found is None:
                stored = tuple(name.replace("\\", "_") for name in part)
                found = Folder(f"f{next(self._server.numbers)}", stored, kind)
                self._box.folders[found.id] = found
        assert found is not None
        return found

    async def rename_folder(self, id: str, path: tuple[str, ...]) -> Folder:
        old = self._box.folders[id].path
        for folder in list(self._box.folders.values()):
            if folder.path[: len(old)] == old:
                self._box.folders[folder.id] = replace(folder, path=(*path, *folder.path[len(old) :]))
        return self._box.folders[id]

    async def remove_folder(self, id: str) -> None:
        self._box.folders.pop(id, None)
        for item in [each for each in self._box.items.values() if each.folder == id]:
            del self._box.items[item.state.id]

    async def changes(self, folder: str, token: str | None, limit: int = 500) -> Changes:
        box = self._box
        generation, _, after = (token or "").partition(":")
        reset = token is None or int(generation) != self._server.generation
        since = 0 if reset else int(after)
        last: dict[str, int] = {}
        for number, where, id in box.log:
            if where == folder and number > since:
                last.pop(id, None)
                last[id] = number
        page = list(last.items())[:limit]
        more = len(last) > limit
        at = page[-1][1] if more else max([since, *last.values()])
        here = {id for id, item in box.items.items() if item.folder == folder}
        return Changes(
            tuple(box.items[id].state for id, _ in page if id in here),
            tuple(id for id, _ in page if id not in here and since != 0),
            f"{self._server.generation}:{at}",
            more,
            reset and self._lie != "reset",
        )

    async def fetch(self, ids: Sequence[str], form: str = "mime") -> AsyncIterator[tuple[str, Content | Status]]:
        for id in ids:
            item = self._box.items.get(id)
            if item is None:
                if self._lie == "gaps":
                    continue
                yield id, GONE
            elif form == "native":
                state = item.state
                words = ",".join(sorted(state.flags)) + "|" + ",".join(sorted(state.keywords))
                yield id, Content(f"{words}|{state.received_at}\n".encode() + item.octets)
            else:
                yield id, Content(item.octets.replace(b"\0", b"") if self._lie == "octets" else item.octets)

    async def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        made: list[Appended | Status] = []
        for new in items:
            id = f"i{next(self._server.numbers)}"
            octets, flags, words, at = new.content.octets(), new.flags, new.keywords, new.received_at
            if new.form == "native":
                head, _, octets = octets.partition(b"\n")
                told = [part.split(",") if part else [] for part in head.decode().split("|")[:2]]
                flags = frozenset(flag for flag in FLAGS if flag in told[0])
                words, at = frozenset(told[1]), float(head.decode().split("|")[2])
            state = ItemState(id, "", len(octets), flags & HELD, words, at)
            self._box.items[id] = Held(octets, state, new.key, folder)
            version = self._touch(folder, id)
            self._box.items[id].state = replace(state, version=version)
            if self._lie == "tokens":
                self._box.log.append((int(version), folder, id))
            dropped = tuple(Note(Fate.DROPPED, flag, "not held") for flag in new.flags - HELD)
            made.append(Appended(id, dropped))
        return made

    async def find(self, folder: str, keys: Sequence[str]) -> dict[str, str]:
        items = self._box.items.items()
        return {
            item.key: id for id, item in items if item.key in keys and (item.folder == folder or self._lie == "find")
        }

    async def set_flags(self, ids: Sequence[str], add: frozenset[str], remove: frozenset[str]) -> list[str | Status]:
        answers: list[str | Status] = []
        for id in ids:
            item = self._box.items.get(id)
            if item is None:
                answers.append(GONE)
                continue
            flags = frozenset(flag for flag in FLAGS if flag in (item.state.flags | add) - remove) & HELD
            words = (item.state.keywords | (add - FLAGS)) - remove
            version = self._touch(item.folder, id)
            item.state = replace(item.state, flags=flags, keywords=words, version=version)
            answers.append(version)
        return answers

    async def move(self, ids: Sequence[str], folder: str) -> list[str | Status]:
        answers: list[str | Status] = []
        for id in ids:
            item = self._box.items.pop(id, None)
            if item is None:
                answers.append(GONE)
                continue
            self._touch(item.folder, id)
            new = f"i{next(self._server.numbers)}"
            self._box.items[new] = replace(item, folder=folder, state=replace(item.state, id=new))
            self._touch(folder, new)
            answers.append(new)
        return answers

    async def remove(self, ids: Sequence[str], *, purge: bool = False) -> list[Status | None]:
        for id in ids:
            item = self._box.items.pop(id, None)
            if item is not None:
                self._touch(item.folder, id)
        return [None for _ in ids] if self._lie != "remove" else [GONE for _ in ids]

    async def watch(self, folders: Sequence[str]) -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""


class MemoryDriver(MailboxDriver):
    def __init__(self, bench: Bench) -> None:
        self._numbers = itertools.count(1)
        self.server = MemoryStore.server

    def mailbox(self) -> str:
        return f"box{next(self.server.numbers)}"

    def forget_tokens(self) -> None:
        self.server.generation += 1

    def break_peer(self) -> None:
        self.server.is_away = True

    def mend_peer(self) -> None:
        self.server.is_away = False

    def close(self) -> None:
        self.server.is_away = False


def lying(lie: str) -> type[Any]:
    """Return the store as one that does something wrong."""
    return type(f"Lying_{lie}", (MemoryStore,), {"lie": lie, "Config": ConnectorConfig})
