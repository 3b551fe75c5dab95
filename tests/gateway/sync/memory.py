"""A mailbox in memory that behaves as IMAP's do: ids change on a move, no key is found again, tokens may be lost.

`cut` counts calls down: the one that is reached fails as a lost connection does, before or after it was done.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from gateway.contract import FLAGS, Appended, Changes, Content, Facts, Folder, Holds, ItemState, Kind, NewItem, Status
from gateway.mailbox import StoreFault
from gateway.outcome import Scope

GONE = Status("4.2.0", "gone")
FULL = Status("4.2.2", "no room")
LOST = Status("4.4.2", "the connection was lost")
NO_FORM = Status("5.6.3", "no such form")
HOLDS = Holds(
    FLAGS, keywords=True, internal_date=True, change_tokens=True, stable_ids=False, exact=True, finds=False, queues=True
)  # fmt: skip


INBOX = Folder("inbox", ("Inbox",), role="inbox")


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Held:
    octets: bytes
    state: ItemState
    folder: str


@dataclass
class Memory:
    """One mailbox."""

    holding: Holds = HOLDS
    list_folders: dict[str, Folder] = field(
        default_factory=lambda: {"inbox": Folder("inbox", ("Inbox",), role="inbox")}
    )
    items: dict[str, Held] = field(default_factory=dict)
    log: list[tuple[int, str, str]] = field(default_factory=list)
    generation: int = 0
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    cut: int | None = None
    cut_after: bool = False
    kills: bool = False
    calls: list[str] = field(default_factory=list)
    refuses: dict[bytes, Status] = field(default_factory=dict)
    """Octets that are refused wherever they are in an item, and by what."""
    refuses_in_names: str = ""
    """Signs that no folder's name may have, which `holds` does not tell."""
    ends_on: bytes | None = None
    """Octets that end the connection."""
    told: Facts = field(default_factory=Facts)
    room: int | None = None
    """Octets that still fit."""

    # -- what a test does and looks at

    def put(
        self,
        octets: bytes,
        folder: str = "inbox",
        *words: str,
        at: float | None = 1.6e9,
        name: str | None = None,
        object: str | None = None,
        kind: Kind = "mail",
    ) -> str:
        id = f"{folder}.{self.generation}.{next(self.numbers)}"
        flags = frozenset(flag for flag in FLAGS if flag in words)
        state = ItemState(id, "", len(octets), flags, frozenset(words) - FLAGS, at, name, kind, object=object)
        self.items[id] = Held(octets, state, folder)
        self._touch(folder, id)
        return id

    def mark(self, id: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> None:
        held = self.items[id]
        words = (frozenset[str](held.state.flags) | held.state.keywords | set(add)) - set(remove)
        flags = frozenset(flag for flag in FLAGS if flag in words)
        held.state = replace(held.state, flags=flags, keywords=words - FLAGS)
        self._touch(held.folder, id)

    def edit(self, id: str, octets: bytes) -> None:
        held = self.items[id]
        held.octets, held.state = octets, replace(held.state, size=len(octets))
        self._touch(held.folder, id)

    def drop(self, id: str) -> None:
        held = self.items.pop(id)
        self._touch(held.folder, id)

    def carry(self, id: str, folder: str) -> str:
        held = self.items.pop(id)
        self._touch(held.folder, id)
        new = f"{folder}.{self.generation}.{next(self.numbers)}"
        self.items[new] = Held(held.octets, replace(held.state, id=new), folder)
        self._touch(folder, new)
        return new

    def forget_tokens(self) -> None:
        self.log.append((next(self.numbers), "", ""))
        self.log = [(next(self.numbers), held.folder, id) for id, held in self.items.items()]
        self.generation += 1

    def renumber(self) -> None:
        """Give every item another id, as a new UIDVALIDITY does."""
        self.forget_tokens()
        old, self.items, self.log = self.items, {}, []
        for held in old.values():
            id = f"{held.folder}.{self.generation}.{next(self.numbers)}"
            self.items[id] = Held(held.octets, replace(held.state, id=id), held.folder)
            self._touch(held.folder, id)

    def shown(self) -> list[tuple[tuple[str, ...], bytes, tuple[str, ...]]]:
        """Return all that is held, in an order of its own."""
        return sorted(
            (
                self.list_folders[held.folder].path,
                held.octets,
                tuple(sorted(frozenset[str](held.state.flags) | held.state.keywords)),
            )
            for held in self.items.values()
        )

    def _was_told(self, id: str, since: int) -> bool:
        """Tell whether an item may have been in an answer up to a token, or need not have been."""
        return self.holding.tells_unseen or next(number for number, _, each in self.log if each == id) <= since

    def _touch(self, folder: str, id: str) -> None:
        self.log.append((next(self.numbers), folder, id))
        if id in self.items:
            self.items[id].state = replace(self.items[id].state, version=str(self.log[-1][0]))

    def _call(self, name: str, *, done: bool = False) -> None:
        """Count a call before and after it is done, and fail where it is time."""
        if not done:
            self.calls.append(name)
        if self.cut is None or self.cut_after is not done:
            return
        self.cut -= 1
        if self.cut < 0:
            self.cut = None
            if self.kills:
                raise Killed
            raise StoreFault(LOST, Scope.HOP, retry_after_s=0.0, unknown=name in ("append", "move"))

    # -- the contract

    def holds(self) -> Holds:
        return self.holding

    async def facts(self) -> Facts:
        return self.told

    async def folders(self) -> list[Folder]:
        self._call("folders")
        counts = dict.fromkeys(self.list_folders, 0)
        for held in self.items.values():
            counts[held.folder] += 1
        last = {id: max((n for n, folder, _ in self.log if folder == id), default=0) for id in self.list_folders}
        found = [
            replace(each, total=counts[each.id], mark=f"{self.generation}.{last[each.id]}")
            for each in self.list_folders.values()
        ]
        return sorted(found, key=lambda folder: folder.path)

    async def create_folder(self, path: tuple[str, ...], kind: Kind = "mail") -> Folder:
        self._call("create_folder")
        if set(self.refuses_in_names) & set("".join(path)):
            raise StoreFault(Status("5.3.3", "no such name"), Scope.MESSAGE)
        for depth in range(1, len(path) + 1):
            if not any(each.path == path[:depth] for each in self.list_folders.values()):
                id = f"f{next(self.numbers)}"
                self.list_folders[id] = Folder(id, path[:depth], kind if depth == len(path) else "mail")
        self._call("create_folder", done=True)
        return next(each for each in self.list_folders.values() if each.path == path)

    async def rename_folder(self, id: str, path: tuple[str, ...]) -> Folder:
        old = self.list_folders[id].path
        for each in list(self.list_folders.values()):
            if each.path[: len(old)] == old:
                self.list_folders[each.id] = replace(each, path=(*path, *each.path[len(old) :]))
        return self.list_folders[id]

    async def remove_folder(self, id: str) -> None:
        self.list_folders.pop(id, None)
        self.items = {at: held for at, held in self.items.items() if held.folder != id}

    async def subscribe(self, id: str, on: bool) -> None:
        self._call("subscribe")
        self.list_folders[id] = replace(self.list_folders[id], subscribed=on)

    async def changes(self, folder: str, token: str | None, limit: int = 500) -> Changes:
        self._call("changes")
        said = [int(each) for each in (token or "-1").split(":")]
        is_reset = said[0] != self.generation
        last_number = max((number for number, _, _ in self.log), default=0)
        since, begun = (0, last_number) if is_reset else said[1:]
        last: dict[str, int] = {}
        for number, where, id in self.log:
            if where == folder and number > since:
                last.pop(id, None)
                last[id] = number
        page = list(last.items())[:limit]
        more = len(last) > limit
        at = page[-1][1] if more else max([since, *last.values()])
        here = {id for id, held in self.items.items() if held.folder == folder}
        items = tuple(self.items[id].state for id, _ in page if id in here)
        removed = tuple(id for id, _ in page if id not in here and last[id] > begun and self._was_told(id, since))
        self._call("changes", done=True)
        return Changes(items, removed, f"{self.generation}:{at}:{begun}", more, is_reset)

    async def fetch(self, ids: Sequence[str], form: str = "mime") -> AsyncIterator[tuple[str, Content | Status]]:
        for id in ids:
            self._call("fetch")
            held = self.items.get(id)
            if held is None:
                yield id, GONE
            elif form == "native" and self.holding.native is not None:
                yield id, Content(b"%d\n%s" % (next(self.numbers), held.octets))  # another one each time
            else:
                yield id, Content(held.octets) if _forms(held.state.kind) == form else NO_FORM

    async def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        self._call("append")
        made: list[Appended | Status] = []
        for new in items:
            octets = new.content.octets()
            if new.form == "native":
                octets = octets.partition(b"\n")[2]
            if self.ends_on is not None and self.ends_on in octets:
                raise StoreFault(LOST, Scope.HOP, retry_after_s=0.0, unknown=True)
            refused = next((status for bad, status in self.refuses.items() if bad in octets), None)
            if refused is not None:
                made.append(refused)
                continue
            if self.room is not None:
                if len(octets) > self.room:
                    made.append(FULL)
                    continue
                self.room -= len(octets)
            name = new.content.get(b"message-id")
            id = self.put(
                octets,
                folder,
                *new.flags,
                *new.keywords,
                at=new.received_at or 0.0,
                name=name.decode() if name and new.kind == "mail" else None,
                kind=new.kind,
            )
            made.append(Appended(id))
        self._call("append", done=True)
        return made

    async def find(self, folder: str, keys: Sequence[str]) -> dict[str, str]:
        return {}

    async def set_flags(self, ids: Sequence[str], add: frozenset[str], remove: frozenset[str]) -> list[str | Status]:
        self._call("set_flags")
        answers: list[str | Status] = []
        for id in ids:
            if id in self.items:
                self.mark(id, sorted(add), sorted(remove))
            answers.append("" if id in self.items else GONE)
        self._call("set_flags", done=True)
        return answers

    async def move(self, ids: Sequence[str], folder: str) -> list[str | Status]:
        self._call("move")
        answers = [self.carry(id, folder) if id in self.items else GONE for id in ids]
        self._call("move", done=True)
        return answers

    async def remove(self, ids: Sequence[str], *, purge: bool = False) -> list[Status | None]:
        self._call("remove")
        for id in ids:
            if id in self.items:
                self.drop(id)
        self._call("remove", done=True)
        return [None for _ in ids]

    async def watch(self, folders: Sequence[str]) -> AsyncIterator[str]:
        for folder in folders:
            yield folder


def _forms(kind: Kind) -> str:
    return {"calendar": "ical", "tasks": "ical", "contacts": "vcard"}.get(kind, "mime")


def event(number: int, text: str = "text", stamp: int = 0) -> bytes:
    """Return an appointment; `stamp` is what says nothing of it."""
    return (
        f"BEGIN:VCALENDAR\r\nPRODID:{stamp}\r\nBEGIN:VEVENT\r\nUID:{number}@example.org\r\n"
        f"DTSTAMP:2026010{stamp}T000000Z\r\nSUMMARY:{text}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()


def mail(number: int, text: str = "text", *, name: bool = True) -> bytes:
    """Return a message."""
    head = f"Message-ID: <{number}@example.org>\r\n" if name else ""
    return f"{head}Subject: {number}\r\n\r\n{text}\r\n".encode()
