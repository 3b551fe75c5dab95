"""The source side of a mailbox store: mailboxes that are fetched from, one task each.

Promises: a message is removed, moved or marked on the server only once it is in the spool, and that is remembered; the
same message is handed over under the same key, so that one that a crash had left is known again, and another one under
its id is another; at most `AT_ONCE` are handed over at a time; one bad message, or one mailbox that cannot be opened,
stops no other.
Known limits: where the server numbers its messages anew (a new UIDVALIDITY, other UIDLs), what was taken and is still
there comes again; where it gives the id of a removed message to another one while the gateway is down, after a crash
between the two, that one is taken for the first.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.contract import (
    Address,
    Content,
    ContentWriter,
    Context,
    Envelope,
    Intake,
    Message,
    OpenMailbox,
    Origin,
    Receipt,
    Recipient,
    Rejected,
    Scope,
    Status,
    StoreFault,
    Unavailable,
)
from gateway.retrieval import envelope
from gateway.retrieval.config import FetchConfig, address_of
from gateway.retrieval.taken import Taken

AT_ONCE: Final = 16
INLINE: Final = 256 * 1024
PAGE: Final = 500
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0
_MOST_TOLD: Final = 1000
"""Messages that are known to be refused, or not to be had; a start forgets them, and tries them again."""


class Acknowledge(Protocol):
    """What is done on the server with messages that are in the spool; returns a status for each that it was not done
    for. Raises: StoreFault."""

    async def __call__(self, box: OpenMailbox, ids: Sequence[str]) -> Sequence[Status | None]: ...


@dataclass(frozen=True, slots=True)
class Way:
    """One mailbox to fetch from: `path` is its folder's, `acknowledge` None where messages stay as they are.

    `at_end`: messages are acknowledged when all were looked at, and not a few at a time, since that costs a log-in.
    `refused_to` is the folder that takes what is refused, empty where it stays. `stays`: what was acknowledged is there
    still.
    """

    fetch: FetchConfig
    path: tuple[str, ...]
    acknowledge: Acknowledge | None
    at_end: bool = False
    refused_to: tuple[str, ...] = ()
    stays: bool = False


class Retrieval:
    """All mailboxes that one connector fetches from."""

    def __init__(
        self,
        name: str,
        context: Context,
        ways: Sequence[Way],
        open: Callable[[str], AbstractAsyncContextManager[OpenMailbox]],
        *,
        peer: str,
        protocol: str,
    ) -> None:
        self._runs = [_Run(name, context, way, open, peer, protocol) for way in ways]

    async def run(self, intake: Intake) -> None:
        """Fetch until cancelled."""
        if not self._runs:
            await asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            for each in self._runs:
                group.create_task(each.run(intake), name=f"fetch {each.way.fetch.mailbox}")

    def trouble(self) -> str | None:
        """Return what keeps mail from being fetched, None for nothing."""
        told = [f"{run.way.fetch.mailbox}: {run.trouble}" for run in self._runs if run.trouble]
        told += [
            f"{run.way.fetch.mailbox}: {len(run.refused)} messages are refused, and stay on the server"
            for run in self._runs
            if run.refused and not run.way.refused_to
        ]
        told += [
            f"{run.way.fetch.mailbox}: the server does not give out {len(run.unfetched)} messages, such as "
            f"{next(iter(run.unfetched))}: {next(iter(run.unfetched.values()))}"
            for run in self._runs
            if run.unfetched
        ]
        return "; ".join(told) or None


@dataclass(slots=True)
class _Pending:
    """One message that is being accepted; `writer` has written its content, where that is large."""

    id: str
    message: Message
    receipt: asyncio.Future[Receipt]
    writer: ContentWriter | None


class _Run:
    """One mailbox."""

    def __init__(
        self,
        name: str,
        context: Context,
        way: Way,
        open: Callable[[str], AbstractAsyncContextManager[OpenMailbox]],
        peer: str,
        protocol: str,
    ) -> None:
        self.way = way
        self._name = name
        self._context = context
        self._open = open
        # What lies there may be anybody's: it goes to whom the operator names, and is trusted in nothing else.
        self._origin = Origin(name, peer=peer, protocol=protocol, returning=bool(way.fetch.recipients))
        self._log = context.log.bind(mailbox=way.fetch.mailbox)
        place = f"{way.fetch.mailbox}\0{'/'.join(way.path)}"
        self._key = hashlib.blake2b(place.encode(), digest_size=8).hexdigest()
        self._taken = Taken(context.state_dir / f"taken-{self._key}")
        self._waiting: dict[str, None] = {}
        """What is to be tried again, in order."""
        self._unacknowledged: dict[str, None] = {}
        self._stops = False
        self.refused: dict[str, Status] = {}
        self.unfetched: dict[str, Status] = {}
        """What the server will never give out, by its own word; asked for again by the next start."""
        self.trouble: str | None = None

    async def run(self, intake: Intake) -> None:
        """Fetch until cancelled; a fault of the server's, or of ours, is waited out."""
        await asyncio.to_thread(self._taken.read)
        pause = FIRST_PAUSE_S
        while True:
            hint = None
            began = asyncio.get_running_loop().time()
            try:
                async with self._open(self.way.fetch.mailbox) as box:
                    await self._serve(box, intake)
            except StoreFault as fault:
                self.trouble, hint = str(fault.status), fault.retry_after_s
                self._log.warning("fetch", status=str(fault.status), cause=fault.status.cause)
            except OSError as fault:
                self.trouble = str(fault)
                self._log.error("fetch", error=str(fault))
            except Exception as fault:  # noqa: BLE001 - one mailbox's bug must not stop the others
                self.trouble = repr(fault)
                self._log.error("fetch", error=repr(fault), exc_info=fault)
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE_S:
                pause = FIRST_PAUSE_S
            await asyncio.sleep(max(pause, hint or 0.0))
            pause = min(LONGEST_PAUSE_S, pause * 2)

    async def _serve(self, box: OpenMailbox, intake: Intake) -> None:
        folder = await self._folder(box, self.way.path)
        token = ""  # one that is not known: everything is told, and nothing more is looked up than what there is
        hints = box.watch([folder])
        pause = FIRST_PAUSE_S
        async with _closed(hints):
            while True:
                token = await self._look(box, intake, folder, token)
                self.trouble = None
                if self._waiting:
                    await asyncio.sleep(pause)  # what is waited for is ours: the spool, or room for a content
                    pause = min(LONGEST_PAUSE_S, pause * 2)
                else:
                    pause = FIRST_PAUSE_S
                    await anext(hints)

    async def _folder(self, box: OpenMailbox, path: tuple[str, ...]) -> str:
        """Return the id of the folder with this path. Raises: StoreFault."""
        wanted = tuple(part.lower() for part in path)
        for each in await box.folders():
            if each.path == path or (wanted == ("inbox",) and each.role == "inbox"):
                return each.id
        raise StoreFault(Status("4.2.0", f"the mailbox has no folder {'/'.join(path)}"), Scope.RECIPIENT)

    async def _look(self, box: OpenMailbox, intake: Intake, folder: str, token: str) -> str:
        """Take what is there, and return the token of the next look."""
        again = list(self._waiting)
        self._waiting.clear()
        await self._take(box, intake, again)
        there: set[str] | None = None
        while True:
            page = await box.changes(folder, token, PAGE)
            if page.reset:
                there = set()
            shown = [item.id for item in page.items if "deleted" not in item.flags]
            if there is not None:
                there.update(item.id for item in page.items)
            await self._take(box, intake, [id for id in shown if id not in again])
            await asyncio.to_thread(self._taken.forget, page.removed)
            for id in page.removed:
                self.refused.pop(id, None)
                self.unfetched.pop(id, None)
            token = page.token
            if not page.more:
                break
        await self._acknowledge(box)
        if there is not None:
            await asyncio.to_thread(self._taken.forget, self._taken.ids - there)
        return token

    async def _take(self, box: OpenMailbox, intake: Intake, ids: Sequence[str]) -> None:
        """Take items, some at a time; one that was taken before a crash is acknowledged."""
        new = []
        for id in ids:
            if id in self._taken.ids:
                self._unacknowledged[id] = None
            elif id not in self.refused and id not in self.unfetched:
                new.append(id)
        for at in range(0, len(new), AT_ONCE):
            some = new[at : at + AT_ONCE]
            self._stops = False
            await _to_its_end(self._take_some(box, intake, some), self._stop, 0.8 * self._context.stop_s)
        if not self.way.at_end:
            await self._acknowledge(box)

    def _stop(self) -> None:
        self._stops = True

    async def _take_some(self, box: OpenMailbox, intake: Intake, ids: Sequence[str]) -> None:
        """Hand items over, and acknowledge what was accepted."""
        pending: list[_Pending] = []
        contents = box.fetch(ids)
        done = []
        try:
            async with _closed(contents):
                async for id, content in contents:
                    if isinstance(content, Status):
                        self._not_fetched(id, content)
                        continue
                    if self._stops:
                        break
                    try:
                        if (begun := await self._begin(intake, id, content)) is not None:
                            pending.append(begun)
                    except Unavailable as later:
                        self._later(id, later.status)
                    except Exception as fault:  # noqa: BLE001 - one bad message stops no other
                        self._later(id, Status("4.3.0", "the message could not be taken", cause=repr(fault)))
        finally:
            # Also where the connection broke: what was begun is in the spool, or will be.
            for each in pending:
                if await self._is_accepted(intake, each):
                    done.append(each.id)
        if done:
            await asyncio.to_thread(self._taken.add, done)
            self._unacknowledged |= dict.fromkeys(done)
        if not self.way.at_end or self._stops:
            await self._acknowledge(box)
        for id in [each for each in self.refused if each in ids] if self.way.refused_to else ():
            await self._put_aside(box, id)

    async def _begin(self, intake: Intake, id: str, content: Content) -> _Pending | None:
        """Begin to accept one item; None where it is refused before. Raises: Unavailable."""
        fetch = self.way.fetch
        try:
            to = (
                tuple(map(address_of, fetch.recipients))
                if fetch.recipients
                else await asyncio.to_thread(envelope.recipients, content, fetch)
            )
        except envelope.Unclear as unclear:
            if not fetch.otherwise:
                self._refuse(id, content, Status("5.1.0", f"for whom the message is cannot be told: {unclear}"))
                return None
            to = (address_of(fetch.otherwise),)
        path = envelope.reverse_path(content)
        to = self._known(intake, id, path, to)
        kept = envelope.without_traces(content, delivered_to=fetch.drop_delivered_to)
        made = Envelope(
            path,
            tuple(Recipient(each) for each in to),
            self._origin,
            smtputf8=not all(each.value.isascii() for each in (*to, *([path] if path else []))),
            dedupe_key=f"{self._name} {self._key} {envelope.fingerprint(content)} {id}",
        )
        writer = None
        if kept.size > INLINE:
            writer = intake.content()
            kept = await _stored(writer, kept)
        message = Message(made, kept)
        return _Pending(id, message, intake.submit(message), writer)

    def _known(self, intake: Intake, id: str, path: Address | None, to: tuple[Address, ...]) -> tuple[Address, ...]:
        """Return those of several whom somebody has, and who gets what is for the others; all of them where nobody has
        any. Raises: Unavailable where it is not known now."""
        if len(to) < 2:
            return to
        bare = Envelope(path, (), self._origin)
        answers = [(each, intake.check(bare, Recipient(each))) for each in to]
        for _, status in answers:
            if status is not None and not status.is_permanent:
                raise Unavailable(status)
        known = tuple(each for each, status in answers if status is None)
        if not known or len(known) == len(to):
            return to
        for each, status in answers:
            if status is not None:
                self._log.warning("unknown_recipient", item=id, to=str(each), status=str(status))
        otherwise = self.way.fetch.otherwise
        return (*known, address_of(otherwise)) if otherwise else known

    async def _is_accepted(self, intake: Intake, each: _Pending) -> bool:
        is_over = True  # nothing has the content
        try:
            is_over = (await each.receipt).duplicate
            return True
        except Unavailable as later:
            self._later(each.id, later.status)
            return False
        except Rejected as refused:
            if not refused.status.is_permanent:
                self._later(each.id, refused.status)
                return False
            is_over = False  # as below, where this is cut off
            is_over = not await self._is_taken_otherwise(intake, each, refused.status)
            return not is_over
        except Exception as fault:  # noqa: BLE001 - an unknown fault is a deferral
            is_over = False  # it may have come after the commit: the content is in use then
            self._later(each.id, Status("4.3.0", "the message could not be taken", cause=repr(fault)))
            return False
        except BaseException:
            is_over = False
            raise
        finally:
            if is_over and each.writer is not None:
                await each.writer.abandon()

    async def _is_taken_otherwise(self, intake: Intake, each: _Pending, status: Status) -> bool:
        """Hand over to whoever gets what nobody takes; say whether they did."""
        fetch, before = self.way.fetch, each.message.envelope
        if not fetch.otherwise or before.recipients[0].address == address_of(fetch.otherwise):
            self._refuse(each.id, each.message.content, status)
            return False
        made = Envelope(
            before.reverse_path,
            (Recipient(address_of(fetch.otherwise)),),
            before.origin,
            smtputf8=before.smtputf8,
            dedupe_key=before.dedupe_key,
        )
        self._log.warning("goes_otherwise", item=each.id, status=str(status), to=fetch.otherwise)
        try:
            await intake.accept(Message(made, each.message.content))
        except Unavailable as later:
            self._later(each.id, later.status)
            return False
        except Rejected as refused:
            if refused.status.is_permanent:
                self._refuse(each.id, each.message.content, refused.status)
            else:
                self._later(each.id, refused.status)
            return False
        return True

    def _refuse(self, id: str, content: Content, status: Status) -> None:
        named = (content.get(b"message-id") or b"")[:200].decode("utf-8", "replace")
        self._log.error("refused", item=id, message=named, status=str(status), text="it stays where it is")
        self._context.count("refused")
        _keep(self.refused, id, status)

    def _later(self, id: str, status: Status) -> None:
        self._log.warning("later", item=id, status=str(status), cause=status.cause)
        self._waiting[id] = None

    def _not_fetched(self, id: str, status: Status) -> None:
        if status.code in ("4.2.0", "5.1.1"):
            return  # it is gone: somebody else has removed it
        self._log.warning("not_fetched", item=id, status=str(status))
        if status.is_permanent:
            self._context.count("unfetched")
            _keep(self.unfetched, id, status)
        else:
            self._waiting[id] = None

    async def _acknowledge(self, box: OpenMailbox) -> None:
        """Do on the server what is to be done with what was taken. Raises: StoreFault."""
        act, ids = self.way.acknowledge, list(self._unacknowledged)
        if act is None:
            self._unacknowledged.clear()
        if act is None or not ids:
            return
        left, done = [], []
        for id, status in zip(ids, await act(box, ids), strict=True):
            if status is None:
                del self._unacknowledged[id]
                done.append(id)
            else:
                left.append(status)
        if not self.way.stays:
            # A server may give the id of a message that is gone to another one (RFC 1939 §7).
            await asyncio.to_thread(self._taken.forget, done)
        if left:  # they are tried again after the next look
            self._log.warning("not_acknowledged", count=len(left), status=str(left[0]))

    async def _put_aside(self, box: OpenMailbox, id: str) -> None:
        """Move a refused message to where an operator finds it. Raises: StoreFault."""
        folder = await box.create_folder(self.way.refused_to)
        (moved,) = await box.move([id], folder.id)
        del self.refused[id]
        if isinstance(moved, Status) and moved.code != "4.5.0":
            self._log.warning("not_put_aside", item=id, status=str(moved))


def _keep(known: dict[str, Status], id: str, status: Status) -> None:
    if len(known) >= _MOST_TOLD:
        del known[next(iter(known))]
    known[id] = status


async def _stored(writer: ContentWriter, content: Content) -> Content:
    """Write a large content into the spool. Raises: Unavailable."""
    try:
        async for piece in content.stream():
            if not writer.write(piece):
                await writer.drain()
        return await writer.finish()
    except BaseException:
        await writer.abandon()
        raise


async def _to_its_end(work: Awaitable[None], stop: Callable[[], None], within_s: float) -> None:
    """Await work, also where this is cancelled: it is told to stop, and broken off where that takes too long."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        stop()
        await asyncio.wait((task,), timeout=within_s)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


@asynccontextmanager
async def _closed(iterator: AsyncIterator[object]) -> AsyncIterator[None]:
    """Close an iterator in the end, where it has an end to be closed."""
    try:
        yield
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


__all__ = ["AT_ONCE", "Retrieval", "Way"]
