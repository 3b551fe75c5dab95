"""Streams: what the server tells of watched folders, as hints. The folder's own list is the truth.

Promises: never more streams than `max_streams`, none larger than `stream_group` mailboxes; a subscription that is lost
is made anew, and all its folders are hinted then, since nobody knows what happened meanwhile; what can't be subscribed
is left to polling, and told. No thread but those of `Workers`.
Sources: learn.microsoft.com "How to: Maintain affinity between a group of subscriptions and the Mailbox server" (200
mailboxes a group) and "EWS throttling in Exchange" (HangingConnectionLimit: 3 connections an account).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.exchange.ews.answer import fault, refusal
from connectors.exchange.ews.calls.notify import Events, GetStreamingEvents, Subscribe, read_subscription
from connectors.exchange.ews.config import EwsConfig
from connectors.exchange.ews.reach import Reach
from connectors.exchange.ews.session import Line
from connectors.exchange.ews.workers import Stopped, Workers
from connectors.exchange.organisation import Fault
from gateway.contract import Context

RETRY_MIN_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
_LONG_S: Final = 300.0
"""How long a stream lasts in addition to its own time, at most."""
_STOP_S: Final = 3.0

Hint = tuple[str, str]


@dataclass(slots=True)
class Group:
    """Mailboxes of one stream; `folders` of each, and its subscription where there is one."""

    folders: dict[str, tuple[str, ...]]
    subscriptions: dict[str, str] = field(default_factory=dict)
    failures: int = 0
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def anchor(self) -> str:
        return min(self.folders)

    def mailbox_of(self, subscription: str) -> str | None:
        return next((box for box, id in self.subscriptions.items() if id == subscription), None)


def groups(watched: Sequence[Hint], size: int, most: int) -> tuple[list[Group], int]:
    """Return the streams for watched folders, mailboxes by name, and how many mailboxes have no room in any. Pure."""
    folders: dict[str, list[str]] = {}
    for mailbox, folder in watched:
        of = folders.setdefault(mailbox, [])
        if folder not in of:
            of.append(folder)
    names = sorted(folders)
    room = size * most
    # Streams of about one size: one that breaks takes as few mailboxes with it as possible.
    count = min(most, -(-len(names[:room]) // size)) if names and most else 0
    made = [Group({name: tuple(folders[name]) for name in names[:room][n::count]}) for n in range(count)]
    return made, max(0, len(names) - room)


class Hints:
    """Folders that may have changed, each once until it is taken."""

    def __init__(self) -> None:
        self._waiting: dict[Hint, None] = {}
        self._wake = asyncio.Event()

    def add(self, hint: Hint) -> None:
        self._waiting[hint] = None
        self._wake.set()

    async def take(self) -> Hint:
        """Return the hint that waits longest."""
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        hint = next(iter(self._waiting))
        del self._waiting[hint]
        return hint


class Streams:
    """The streams of one connector."""

    def __init__(self, config: EwsConfig, context: Context, reach: Reach) -> None:
        self._config = config
        self._log = context.log
        self._reach = reach
        self._workers: Workers | None = None
        self._lines: dict[str, Line] = {}
        self._groups: list[Group] = []
        self._polled = 0
        self._paced = asyncio.Lock()

    def trouble(self) -> str | None:
        """Say which folders nobody tells of; they are polled."""
        broken = sum(len(each.folders) for each in self._groups if each.failures > 2)
        refused = sum(len(each.refused) for each in self._groups)
        if broken or refused:
            return f"{broken + refused} mailboxes are polled, since notifications of them do not come"
        return None

    async def stop(self) -> None:
        """End every stream; returns within some seconds. Safe to call twice."""
        for each in self._lines.values():
            each.cut_all()
        workers, self._workers = self._workers, None
        if workers is not None and not await workers.stop(_STOP_S):
            self._log.warning("a stream of notifications did not end in time")
        for each in self._lines.values():
            each.close()
        self._lines.clear()

    async def hints(self, watched: Sequence[Hint]) -> AsyncIterator[Hint]:
        """Yield what may have changed, for ever."""
        made, self._polled = groups(watched, self._config.stream_group, self._config.max_streams)
        self._groups = made
        if self._polled:
            self._log.warning("mailboxes are polled, streams have no room for them", mailboxes=self._polled)
        hints = Hints()
        # One thread more than streams: it subscribes.
        limit = self._config.max_streams + 1
        longest = self._config.stream_minutes * 60 + _LONG_S
        workers = self._workers = Workers(limit, longest, self._cut, "ews-stream")
        # No TaskGroup: a generator may be closed by another task than the one that began it.
        running = [asyncio.ensure_future(self._serve(each, hints, workers, limit)) for each in made]
        try:
            while True:
                yield await hints.take()
        finally:
            for task in running:
                task.cancel()
            await self.stop()
            await asyncio.gather(*running, return_exceptions=True)

    def _cut(self, thread: int) -> None:
        for each in list(self._lines.values()):
            each.cut(thread)

    async def _serve(self, group: Group, hints: Hints, workers: Workers, limit: int) -> None:
        """Keep one group's stream, whatever happens to it."""
        while True:
            try:
                line = await self._line(limit)
                await self._subscribe(group, hints, workers, line)
                wait = await self._follow(group, hints, workers, line) if group.subscriptions else RETRY_MAX_S
            except Stopped:
                return
            except Fault as e:
                group.failures += 1
                wait = e.retry_after_s or pause(group.failures)
                self._log.warning(
                    "stream of notifications ended", cause=str(e), mailboxes=len(group.folders), again_s=round(wait, 1)
                )
            except Exception as e:  # noqa: BLE001 - a fault of ours must end no stream for good
                group.failures += 1
                group.subscriptions.clear()
                wait = RETRY_MAX_S
                self._log.error("a fault in a stream of notifications", cause=repr(e), exc_info=e)
            await asyncio.sleep(wait)

    async def _line(self, limit: int) -> Line:
        """Return the connections to where the server is now. Raises: Fault."""
        url = await self._reach.url()
        found = self._lines.get(url)
        if found is None:
            found = self._lines[url] = self._reach.new_line(url, limit)
        return found

    async def _subscribe(self, group: Group, hints: Hints, workers: Workers, line: Line) -> None:
        """Subscribe what is not subscribed; each folder is hinted then. Raises: Fault of the whole server, Stopped."""
        anchor = line.account(group.anchor)
        for mailbox, folders in group.folders.items():
            if mailbox in group.subscriptions:
                continue
            async with self._paced:
                await asyncio.sleep(1.0 / self._config.requests_per_s)
            try:
                answer = (await _call(workers, _subscribe, line, mailbox, anchor, folders))[0]
                found = read_subscription(answer.element) if answer.ok else None
                if found is None:
                    raise refusal(answer)
            except Fault as e:
                if e.everywhere or e.why in {"unreachable", "unknown", "busy"}:
                    raise
                if group.refused.get(mailbox) != e.code:
                    self._log.warning("mailbox is polled, it cannot be subscribed", mailbox=mailbox, cause=str(e))
                group.refused[mailbox] = e.code
                continue
            group.refused.pop(mailbox, None)
            group.subscriptions[mailbox] = found
            for folder in folders:
                hints.add((mailbox, folder))

    async def _follow(self, group: Group, hints: Hints, workers: Workers, line: Line) -> float:
        """Hint what a stream tells; return how long to wait after its end. Raises: Fault where it was cut; Stopped.

        Subscriptions that the server does not know any more are dropped, and are made anew next.
        """
        loop = asyncio.get_running_loop()

        def told(events: Events) -> None:  # in the loop
            for subscription, folder in events.happened:
                mailbox = group.mailbox_of(subscription)
                if mailbox is None:
                    continue
                known = group.folders[mailbox]
                for each in (folder,) if folder in known else known:
                    hints.add((mailbox, each))

        def tell(events: Events) -> None:  # in a thread
            loop.call_soon_threadsafe(told, events)

        anchor = line.account(group.anchor)
        ids = list(group.subscriptions.values())
        begun = loop.time()
        try:
            last: Events = await _call(workers, _stream, anchor, ids, self._config.stream_minutes, tell)
            if last.code == "NoError" and not last.closed:
                raise Fault("CutOff", "the stream ended without a word", "unknown")
        except Fault:
            # What happened meanwhile nobody knows: subscribed anew, every folder is hinted.
            group.subscriptions.clear()
            raise
        if last.closed or loop.time() - begun > RETRY_MAX_S:
            group.failures = 0
        if last.code == "NoError":
            return 0.0
        lost = [box for box in (group.mailbox_of(each) for each in last.refused) if box is not None]
        for mailbox in lost or list(group.subscriptions):
            del group.subscriptions[mailbox]
        self._log.info("subscriptions are made anew", code=last.code, mailboxes=len(lost) or len(group.folders))
        group.failures += 1
        return 0.0 if group.failures == 1 else pause(group.failures)


def pause(failures: int) -> float:
    """Return how long to wait after so many failures in a row, not all at once."""
    return min(RETRY_MAX_S, RETRY_MIN_S * 2.0 ** min(failures - 1, 10)) * random.uniform(0.75, 1.25)


async def _call(workers: Workers, fn: Any, *args: Any) -> Any:
    try:
        return await workers.call(fn, *args)
    except (Stopped, asyncio.CancelledError):
        raise
    except Exception as e:  # noqa: BLE001 - a stream of which nothing is known begins anew
        raise fault(e) from None


def _subscribe(line: Line, mailbox: str, anchor: Any, folders: Sequence[str]) -> Any:
    return Subscribe(line.account(mailbox), anchor).ask(folders)


def _stream(anchor: Any, ids: Sequence[str], minutes: int, tell: Any) -> Events:
    return GetStreamingEvents(anchor, anchor).ask(ids, minutes, tell)
