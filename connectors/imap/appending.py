"""Appending: items into a folder, many by one command where the server can, else many in the pipe at once.

Promises: what is answered Appended is there; an item that the server refuses is named, and stops no other: a command of
several that is refused is taken apart until the one is found. Where the server refuses the folder or the mailbox (its
quota, its pace), the call is a fault only if nothing of it was appended. The folder is selected on the connection that
appends: servers open a folder for each append that is into another one than the selected.
Source: RFC 9051 §6.3.12, RFC 3502 (MULTIAPPEND), RFC 4315 (APPENDUID), RFC 7889 (APPENDLIMIT), RFC 3516 §4.4 (literal8
for what has NUL in it), RFC 6855 §4 (UTF8).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from connectors.imap import flags
from connectors.imap.connection import Refused
from connectors.imap.faults import fault_of, status_of
from connectors.imap.session import Selected, Session
from connectors.imap.wire.commands import Appending, append, command, read_numbers
from connectors.imap.wire.dialogue import Untagged
from connectors.imap.wire.responses import Fetched, Said
from gateway.contract import Appended, Content, Fate, NewItem, Note, Scope, Status, StoreFault

MOST_ITEMS: Final = 50
MOST_OCTETS: Final = 4 * 1024 * 1024
"""Of one command."""
NO_ID: Final = Status("4.5.0", "it is appended, and the server does not say under which number")
_COUNTED: Final = 16
"""By so many appends it is known how long each takes."""
_LULL_S: Final = 0.02
_LEAST_LULL_S: Final = 0.003
_LEAST_LEFT: Final = 8
"""Commands that are under way while answers lie."""
_OF_FLAGS: Final = re.compile(r"flag|keyword", re.I)


class Window:
    """How many appends of one message are in the pipe at once: more with each that is done, one after a mailbox that is
    full or a server that has enough. What is in the pipe can't be taken back, and a server that says stop is to be left
    alone: whoever began to append before it said so puts nothing more into the pipe."""

    def __init__(self) -> None:
        self.size = 4
        self.stops = 0
        """How often the server said stop."""
        self.stop: StoreFault | None = None
        """What it said last."""
        self._under_way = 0
        self._counted = 0
        self._counted_from = 0.0
        """When those that are counted began."""
        self._each_s = 0.0
        """How long the server takes for each, as far as that is known."""
        self._less: asyncio.Future[None] | None = None

    async def begin(self) -> None:
        """Wait for room for one more, which is under way then until `end`. A window that is full has room again once
        half of it is done: to send many at once takes the server and us less time than one after the other."""
        while self._under_way >= self.size:
            if self._less is None or self._less.done():
                self._less = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._less)
        self._under_way += 1

    @property
    def is_first(self) -> bool:
        """Tell whether there is one alone in the pipe."""
        return self._under_way == 1

    def end(self) -> None:
        self._under_way -= 1
        self._count()
        if self._less is not None and not self._less.done() and self._under_way <= self.size // 2:
            self._less.set_result(None)

    def _count(self) -> None:
        self._counted += 1
        if not self._under_way:
            self._counted, self._counted_from = 0, 0.0  # it has nothing to do, for whatever time
        elif self._counted >= _COUNTED:
            now = asyncio.get_running_loop().time()
            if self._counted_from:
                self._each_s = (now - self._counted_from) / self._counted
            self._counted, self._counted_from = 0, now

    def lull_s(self, under_way: int) -> float:
        """Return how long answers may lie while so many commands are under way on a connection, for the server not to
        come to the end of what it has to do: less than a third of that."""
        seconds = min(_LULL_S, self._each_s * under_way / 4)
        return seconds if under_way >= _LEAST_LEFT and seconds >= _LEAST_LULL_S else 0.0

    def done(self) -> None:
        self.size = min(MOST_ITEMS, self.size + 1)

    def refused(self, fault: StoreFault) -> None:
        self.size = 1
        self.stops += 1
        self.stop = fault


@dataclass(frozen=True, slots=True)
class _Ready:
    at: int
    one: Appending
    notes: tuple[Note, ...]


class Appender:
    """Appends to one folder. `id_of` makes an item's id of UIDVALIDITY and UID. `turn` is held until all is in the
    pipe, where the server tells numbers, else until all is done: others append behind it meanwhile, on one session."""

    def __init__(
        self,
        session: Session,
        name: bytes,
        id_of: Callable[[int, int], str],
        *,
        several: bool,
        window: Window,
        turn: asyncio.Lock | None = None,
    ) -> None:
        self._session = session
        self._name = name
        self._id_of = id_of
        self._window = window
        self._stops = window.stops
        self._turn = turn or asyncio.Lock()
        self._several = several and session.has("MULTIAPPEND")
        self._answers: dict[int, Appended | Status] = {}
        self._nameless: list[_Ready] = []
        """Appended, under a number that the server did not tell."""
        self._fault: StoreFault | None = None
        """Why nothing more is appended."""
        self._unanswered = 0
        """Appends of one message in the pipe."""
        self._all_answered: asyncio.Future[None] | None = None
        self._is_over = False
        """Nobody waits for answers any more."""

    async def append(self, items: Sequence[NewItem]) -> list[Appended | Status]:
        """Append in this order; an answer for each. Raises: Refused (of the folder), Closed, StoreFault."""
        wanted: list[tuple[int, NewItem]] = []
        under_way: list[asyncio.Task[None]] = []
        try:
            async with self._turn:
                # Where numbers have to be looked up, what others have put in until now must be known.
                folder = await self._session.select(self._name, anew=not self._session.has("UIDPLUS"))
                exists, before = folder.exists, folder.uidnext
                for at, item in enumerate(items):
                    if item.form != "mime":
                        self._answers[at] = Status("5.6.3", "an IMAP server holds messages alone")
                        continue
                    wanted.append((at, item))
                if self._several:
                    await self._at_once([await self._prepared(at, item, folder) for at, item in wanted], under_way)
                else:
                    await self._in_the_pipe(wanted, folder, under_way)
                if not self._session.has("UIDPLUS"):
                    await self._through(under_way)
                    if self._nameless:
                        await self._look_up(exists, before)
            await self._through(under_way)
            if self._nameless:  # of a server that tells numbers, if not of each
                async with self._turn:
                    await self._look_up(exists, before)
        finally:
            self._is_over = True
            for task in under_way:
                task.cancel()
        if self._fault is not None:
            if not any(isinstance(each, Appended) or each is NO_ID for each in self._answers.values()):
                raise self._fault
            for at, _ in wanted:
                self._answers.setdefault(at, self._fault.status)
        return [self._answers[at] for at in range(len(items))]

    async def _at_once(self, ready: Sequence[_Ready], under_way: list[asyncio.Task[None]]) -> None:
        """Append by commands of several, each when the one before it is done; the last is left under way."""
        for chunk in _chunks(ready):
            await asyncio.gather(*under_way)
            if self._is_stopped():
                return
            under_way[:] = [self._begun(chunk)]

    async def _in_the_pipe(
        self, wanted: Sequence[tuple[int, NewItem]], folder: Selected, under_way: list[asyncio.Task[None]]
    ) -> None:
        """Append one by one, in this order, without waiting for each."""
        for at, item in wanted:
            one = await self._prepared(at, item, folder)
            await self._window.begin()
            if self._is_stopped():
                self._window.end()
                return
            self._put(one, under_way)
            if self._window.is_first:
                await asyncio.sleep(0)  # it is sent now, and the server does it while the next ones are made ready

    def _put(self, one: _Ready, under_way: list[asyncio.Task[None]]) -> None:
        """Put an append of one into the pipe. That it is done is noted without a task of its own, of which there would
        be as many as there are messages."""
        self._unanswered += 1

        def done(said: Said) -> None:
            self._unanswered -= 1
            if said.word == "OK":
                self._session.connection.learn(said)
                self._note([one], said)
                self._window.end()
                connection = self._session.connection
                if lull_s := self._window.lull_s(connection.under_way):
                    connection.lull(lull_s)
            elif self._is_over:
                self._window.end()
            else:
                asked: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
                asked.set_result(said)
                task = asyncio.ensure_future(self._answered([one], asked))
                task.add_done_callback(lambda task: self._window.end())
                under_way.append(task)
            if not self._unanswered and self._all_answered is not None and not self._all_answered.done():
                self._all_answered.set_result(None)

        self._session.connection.put(append(self._session.name(self._name), [one.one]), done)

    async def _through(self, under_way: Sequence[asyncio.Task[None]]) -> None:
        """See all through that is in the pipe."""
        if self._unanswered:
            self._all_answered = asyncio.get_running_loop().create_future()
            await self._all_answered
        await asyncio.gather(*under_way)

    def _is_stopped(self) -> bool:
        """Tell whether the server has said stop since this was begun."""
        if self._fault is None and self._window.stops != self._stops:
            self._fault = self._window.stop
        return self._fault is not None

    async def _prepared(self, at: int, item: NewItem, folder: Selected) -> _Ready:
        wanted, notes = flags.write(item.flags, item.keywords, folder)
        content, binary = item.content, False
        if self._session.has("BINARY"):
            binary = _has_nul(content) if content.is_inline else await asyncio.to_thread(_has_nul, content)
        return _Ready(at, Appending(content, wanted, item.received_at, binary), notes)

    def _begun(self, chunk: Sequence[_Ready]) -> asyncio.Task[None]:
        """Put one command into the pipe; its answers are noted by the task."""
        return asyncio.ensure_future(self._answered(chunk, self._said(chunk)))

    async def _append(self, chunk: Sequence[_Ready]) -> None:
        """Append by one command; the answers are noted."""
        await self._answered(chunk, self._said(chunk))

    def _said(self, chunk: Sequence[_Ready]) -> asyncio.Future[Said]:
        return self._session.connection.say(append(self._session.name(self._name), [each.one for each in chunk]))

    async def _answered(self, chunk: Sequence[_Ready], asked: asyncio.Future[Said]) -> None:
        try:
            said = await self._session.connection.answer(asked)
        except Refused as refused:
            await self._refused(chunk, refused)
            return
        self._note(chunk, said)

    def _note(self, chunk: Sequence[_Ready], said: Said) -> None:
        self._window.done()
        uidvalidity, uids = _appended(said)
        if len(uids) != len(chunk):
            self._nameless += chunk
            return
        for each, uid in zip(chunk, uids, strict=True):
            self._answers[each.at] = Appended(self._id_of(uidvalidity, uid), each.notes)

    async def _refused(self, chunk: Sequence[_Ready], refused: Refused) -> None:
        fault = fault_of(refused, unknown=False)
        if fault.scope is not Scope.MESSAGE:
            self._fault = self._fault or fault
            self._window.refused(fault)
        elif len(chunk) > 1:
            middle = len(chunk) // 2
            for half in (chunk[:middle], chunk[middle:]):
                if self._fault is None:
                    await self._append(half)
        elif self._session.utf8 and not chunk[0].one.utf8 and not chunk[0].one.content.head.isascii():
            await self._append([replace(chunk[0], one=replace(chunk[0].one, binary=True, utf8=True))])
        elif (kept := _fewer(chunk[0].one.flags, refused.said.text)) != chunk[0].one.flags:
            lost = sorted(chunk[0].one.flags - kept)
            notes = [Note(Fate.DROPPED, f"flag {flags.told(each)}", str(refused.said)[:200]) for each in lost]
            one = replace(chunk[0].one, flags=kept)
            await self._append([replace(chunk[0], one=one, notes=(*chunk[0].notes, *notes))])
        else:
            self._answers[chunk[0].at] = status_of(refused.said, "5.6.0")

    async def _look_up(self, exists: int, before: int | None) -> None:
        """Find the UIDs of what was just appended, at a server without UIDPLUS.

        If as many are new as were appended, they are these, in their order; if others have put something in meanwhile,
        those whose size is that of one alone.
        """
        found: dict[int, int | None] = {}

        def takes(what: Untagged) -> bool:
            if isinstance(what, Fetched) and what.uid is not None:
                found[what.uid] = what.size if what.size is not None else found.get(what.uid)
                return True
            return False

        folder = self._session.selected
        assert folder is not None
        connection = self._session.connection
        await connection.ask(command(b"NOOP"))
        if before is not None:
            await connection.ask(command(b"UID FETCH %d:* (UID RFC822.SIZE)" % before), takes)
        else:
            await connection.ask(command(b"FETCH %d:* (UID RFC822.SIZE)" % (exists + 1)), takes)
        new = [uid for uid in sorted(found) if uid >= (before or 1)]
        nameless = sorted(self._nameless, key=lambda each: each.at)
        if len(new) == len(nameless):
            uids: list[int | None] = [*new]
        else:
            uids = [_alone([uid for uid in new if found[uid] == each.one.content.size]) for each in nameless]
            uids = [uid if uids.count(uid) == 1 else None for uid in uids]
        for each, uid in zip(nameless, uids, strict=True):
            id = None if uid is None else self._id_of(folder.uidvalidity, uid)
            self._answers[each.at] = NO_ID if id is None else Appended(id, each.notes)


def _has_nul(content: Content) -> bool:
    return any(b"\0" in chunk for chunk in content.chunks())


def _fewer(wanted: frozenset[bytes], text: str) -> frozenset[bytes]:
    """Return the flags to try again with: some servers tell of `\\*`, and refuse words all the same."""
    kept = wanted & flags.SYSTEM
    return frozenset() if kept == wanted and _OF_FLAGS.search(text) else kept


def _alone(uids: Sequence[int]) -> int | None:
    return uids[0] if len(uids) == 1 else None


def _chunks(ready: Sequence[_Ready]) -> list[list[_Ready]]:
    chunks: list[list[_Ready]] = []
    octets = 0
    for each in ready:
        size = each.one.content.size
        if not chunks or len(chunks[-1]) >= MOST_ITEMS or octets + size > MOST_OCTETS:
            chunks.append([])
            octets = 0
        chunks[-1].append(each)
        octets += size
    return chunks


def _appended(said: Said) -> tuple[int, list[int]]:
    code = said.code
    if code is None or code.name != "APPENDUID" or len(code.values) < 2:
        return 0, []
    uids = code.values[1]
    try:
        return code.number() or 0, read_numbers(uids) if isinstance(uids, bytes) else []
    except ValueError:
        return 0, []
