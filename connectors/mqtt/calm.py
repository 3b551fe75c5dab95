"""Calm: how a storm of messages becomes a handful of mails, decided here and kept in a Store.

A rule's window begins with the first message that would be a mail. So many of them pass; what comes more until the
window's end is gathered, and becomes one digest. With `on_change`, what repeats the last value of its topic is neither
mailed nor gathered, and mails from the first value that is not normal to the return to normal are one thread.

Promises:
- A message that is Held is on the disk when `decide` returns, as a part of its digest, and may be acknowledged.
- What passes changes nothing on the disk before `passed` says that its mail was accepted. A kill before that loses
  nothing: the message was not acknowledged, comes again and passes again (as the same hand-over, at QoS 2).
- A digest is the same, with the same key, each time `due` gives it, until `sent`; and after a kill.
- A message costs no statement of its own: what was changed by all that a group is committed for is written at once.
  Memory and rows are bounded by topics and lines, never by messages.

Known limits: after a kill a window may let pass once more what had passed and was not yet written down as such, or
have it in its digest too; no more than was under way at once. A repeat that is held while the mail of its value is
under way is acknowledged on that mail's word.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from connectors.mqtt import rules, window
from connectors.mqtt.digest import Digest
from connectors.mqtt.store import Change, Restore, Store, create
from connectors.mqtt.window import Window, kept

MOST_SEEN: Final = 100_000
"""Topics of a rule whose last value is known; the one that changed longest ago is forgotten for a new one."""
MOST_DUE: Final = 4
"""Digests of a rule that wait to be handed over; while there are so many, its window goes on."""
_LOOK_S: Final = 30.0
"""The clock is looked at this often, for it may be set."""

_SEEN: Final = """
    CREATE TABLE IF NOT EXISTS calm_seen (
        rule TEXT NOT NULL, topic TEXT NOT NULL, value TEXT NOT NULL, thread TEXT NOT NULL, n INTEGER NOT NULL,
        PRIMARY KEY (rule, topic)
    ) WITHOUT ROWID"""
_PURGE_SEEN: Final = "DELETE FROM calm_seen WHERE rule NOT IN (SELECT value FROM json_each(?))"
_LOAD_SEEN: Final = "SELECT rule, topic, value, thread, n FROM calm_seen ORDER BY n"
_KEEP_SEEN: Final = """
    INSERT OR REPLACE INTO calm_seen (rule, topic, value, thread, n)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4 FROM json_each(?)"""
_DROP_SEEN: Final = """
    DELETE FROM calm_seen WHERE (rule, topic) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))"""


@dataclass(frozen=True, slots=True)
class _Seen:
    """A value of a topic. `thread` is the Message-ID of the first mail since it was normal, empty where it is; `n`
    rises with every decision, also over restarts."""

    value: str
    thread: str
    n: int


@dataclass(frozen=True, slots=True)
class Pass:
    """The message becomes a mail; `thread` is the Message-ID of the mail that it answers to.

    To be ended by `Calm.passed` or `Calm.failed`.
    """

    thread: str | None
    rule: str
    topic: str
    number: int
    seen: _Seen | None
    settle: Callable[[], None] | None


@dataclass(frozen=True, slots=True)
class Held:
    """The message becomes no mail of its own, and may be acknowledged. `repeat`: it told nothing new, and is in no
    digest either."""

    repeat: bool = False


@dataclass(slots=True)
class _Topic:
    newest: _Seen
    """What the next message is compared with, be its mail accepted or under way."""
    kept: _Seen | None
    """What is on the disk, or on its way there."""


@dataclass(slots=True)
class _Rule:
    label: str
    calm: rules.Calm
    normal: frozenset[str]
    window: Window | None = None
    due: int = 0
    seen: OrderedDict[str, _Topic] = field(default_factory=OrderedDict)


class Calm:
    """The calm of all rules of one source. All methods are called in the event loop."""

    def __init__(self, store: Store, calms: Mapping[str, rules.Calm], clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._rules = {label: _Rule(label, calm, frozenset(map(kept, calm.normal))) for label, calm in calms.items()}
        self._due: dict[tuple[str, int], Window] = {}
        self._n = 0
        self._number = 0
        self._wake = asyncio.Event()
        self._changed: dict[Window, None] = {}
        self._gone: set[tuple[str, int]] = set()
        self._changed_seen: dict[tuple[str, str], _Seen | None] = {}

    @classmethod
    async def open(cls, store: Store, calms: Mapping[str, rules.Calm], clock: Callable[[], float]) -> Calm:
        """Read what is kept. What was gathered by a rule that is no more is due at once. Raises: StoreFault."""
        calm = cls(store, calms, clock)
        await store.write(create((*window.TABLES, _SEEN)))
        known = json.dumps([label for label, each in calms.items() if each.on_change])
        await store.write(lambda connection: connection.execute(_PURGE_SEEN, (known,)).rowcount)
        (await store.write(calm.load))()
        return calm

    async def decide(
        self,
        rule: str,
        topic: str,
        value: str,
        line: str,
        message_id: str = "",
        settle: Callable[[], None] | None = None,
    ) -> Pass | Held:
        """Say what becomes of a message; `line` is what a digest shows of it.

        `message_id` is that of the mail it would be: others of its thread answer to it. What comes again after a kill
        should have the same. `settle` is called in the commit by which it is in the digest, or passed: so a journal in
        the same Store knows that it wants no more than its acknowledgement.
        Durable when this returns Held. Raises: StoreFault (not to be acknowledged); KeyError for an unknown rule.
        """
        its = self._rules[rule]
        now = self._clock()
        seen = thread = None
        topic_key = kept(topic)
        if its.calm.on_change:
            seen, thread = self._compare(its, topic_key, kept(value), message_id)
            if seen is None:
                return Held(repeat=True)
        current = self._window(its, now)
        if current.mails + current.passing < its.calm.max_mails:
            current.passing += 1
            return Pass(thread, rule, topic_key, current.number, seen, settle)
        if not current.count:
            self._wake.set()
        current.gather(now, topic, line, its.calm.max_topics, its.calm.digest_lines)
        self._changed[current] = None
        if seen is not None:
            self._keep(its, topic_key, self._unsent(its, topic_key, seen, thread))
        if settle is not None:
            settle()
        await self._store.touch(self)
        return Held()

    def passed(self, one: Pass) -> asyncio.Future[None]:
        """Say that the mail was accepted; the future is done once that is durable, and need not be waited for."""
        its = self._rules[one.rule]
        current = its.window
        if current is not None and current.number == one.number:
            current.passing = max(0, current.passing - 1)
            current.mails += 1
            self._changed[current] = None
        if one.seen is not None:
            self._keep(its, one.topic, one.seen)
        if one.settle is not None:
            one.settle()
        return self._store.touch(self)

    def failed(self, one: Pass) -> None:
        """Say that no mail was made of it: the next one of its topic is compared with what was before."""
        its = self._rules[one.rule]
        current = its.window
        if current is not None and current.number == one.number:
            current.passing = max(0, current.passing - 1)
        topic = its.seen.get(one.topic)
        if topic is not None and topic.newest is one.seen:
            if topic.kept is None:
                del its.seen[one.topic]
            else:
                topic.newest = topic.kept

    async def due(self) -> list[Digest]:
        """Give the digests of all windows that have ended, the same ones until `sent`. Raises: StoreFault."""
        now = self._clock()
        for its in self._rules.values():
            if its.window is not None:
                self._end(its, now)
        digests = [each.digest() for each in self._due.values()]
        if digests:
            await self._store.touch(self)  # from now on nothing is added to them, whatever happens
        return digests

    async def sent(self, digest: Digest) -> None:
        """Say that a digest was accepted; it is forgotten when this returns. Raises: StoreFault."""
        found = self._due.pop((digest.rule, digest.number), None)
        if found is not None:
            if digest.rule in self._rules:
                self._rules[digest.rule].due -= 1
            self._remove(found)
        await self._store.touch(self)

    def next_at(self) -> float | None:
        """Return when the next digest is due by the clock, or was; None where nothing is gathered."""
        if self._due:
            return min(each.last_at for each in self._due.values())
        ends = [
            its.window.opened_at + its.calm.window_s
            for its in self._rules.values()
            if its.window is not None and its.window.count
        ]
        return min(ends, default=None)

    async def wait(self) -> None:
        """Return once a digest is due; at once while one is that was not sent."""
        while True:
            at = self.next_at()
            left = _LOOK_S if at is None else at - self._clock()
            if left <= 0:
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(min(left, _LOOK_S)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    # -- windows

    def _window(self, its: _Rule, now: float) -> Window:
        """Return the window that a message of now belongs to."""
        if its.window is not None:
            self._end(its, now)
        if its.window is None:
            # By the clock, so that no number comes again where the file was removed.
            self._number = max(self._number + 1, int(now * 1_000_000))
            its.window = Window(its.label, self._number, now)
        return its.window

    def _end(self, its: _Rule, now: float) -> None:
        """End a window whose time is over."""
        current = its.window
        assert current is not None
        if now < current.opened_at:
            current.opened_at = now  # the clock was set back: no window lasts longer than it should
        if now < current.opened_at + its.calm.window_s or its.due >= MOST_DUE:
            return
        its.window = None
        if current.count:
            current.ended = True
            self._changed[current] = None
            self._due[current.rule, current.number] = current
            its.due += 1
        else:
            self._remove(current)

    def _remove(self, ended: Window) -> None:
        self._changed.pop(ended, None)
        if ended.is_kept:
            self._gone.add((ended.rule, ended.number))

    # -- values

    def _compare(self, its: _Rule, topic: str, value: str, message_id: str) -> tuple[_Seen | None, str | None]:
        """Return what is new of a topic and the thread it belongs to; None where it tells nothing new."""
        known = its.seen.get(topic)
        is_normal = value in its.normal
        was_normal = known is None or known.newest.value in its.normal
        if known is not None and known.newest.value == value:
            return None, None
        if is_normal and was_normal:
            # Not on top of what is under way: the mail of the return to normal may yet have to be made again.
            if known is None or known.newest is known.kept:
                self._keep(its, topic, self._next_seen(value, ""))  # written when something else is
            return None, None
        thread = "" if known is None else known.newest.thread
        # Without a normal value there is no end to a thread, so none is begun.
        begun = thread or (message_id if its.normal else "")
        seen = self._next_seen(value, "" if is_normal else begun)
        if known is None:
            self._know(its, topic, _Topic(seen, None))
        else:
            known.newest = seen
        return seen, thread or None

    def _unsent(self, its: _Rule, topic: str, seen: _Seen, thread: str | None) -> _Seen:
        """Return a value whose message is in a digest: there is no mail of it that others could answer to."""
        if thread is None and seen.thread:
            seen = its.seen[topic].newest = replace(seen, thread="")
        return seen

    def _next_seen(self, value: str, thread: str) -> _Seen:
        self._n += 1
        return _Seen(value, thread, self._n)

    def _keep(self, its: _Rule, topic: str, seen: _Seen) -> None:
        """Write a value down, unless a later one of the topic is."""
        known = its.seen.get(topic)
        if known is None:
            known = self._know(its, topic, _Topic(seen, None))
        if known.kept is not None and known.kept.n > seen.n:
            return
        known.kept = seen
        if known.newest.n < seen.n:
            known.newest = seen
        its.seen.move_to_end(topic)
        self._changed_seen[its.label, topic] = seen

    def _know(self, its: _Rule, topic: str, known: _Topic) -> _Topic:
        its.seen[topic] = known
        if len(its.seen) > MOST_SEEN:
            oldest, _ = its.seen.popitem(last=False)
            self._changed_seen[its.label, oldest] = None
        return known

    # -- how it is kept

    def take(self) -> Change:
        rows = [each.take() for each in self._changed]
        gone = list(self._gone)
        values = [(*key, seen.value, seen.thread, seen.n) for key, seen in self._changed_seen.items() if seen]
        dropped = [key for key, seen in self._changed_seen.items() if seen is None]
        self._forget_changes()

        def write(connection: sqlite3.Connection) -> None:
            window.write(connection, rows, gone)
            for statement, each in ((_KEEP_SEEN, values), (_DROP_SEEN, dropped)):
                if each:
                    connection.execute(statement, (json.dumps(each),))

        return write

    def load(self, connection: sqlite3.Connection) -> Restore:
        windows = window.load(connection)
        values = connection.execute(_LOAD_SEEN).fetchall()

        def restore() -> None:
            self._forget_changes()
            self._due.clear()
            for its in self._rules.values():
                its.window, its.due = None, 0
                its.seen.clear()
            for each in windows:
                self._put_back(each)
            for rule, topic, value, thread, n in values:
                self._n = max(self._n, n)
                if rule in self._rules:
                    seen = _Seen(value, thread, n)
                    self._rules[rule].seen[topic] = _Topic(seen, seen)
            self._wake.set()

        return restore

    def _put_back(self, each: Window) -> None:
        its = self._rules.get(each.rule)
        self._number = max(self._number, each.number)
        if its is not None and not each.ended:
            its.window = each
        elif each.count:
            self._due[each.rule, each.number] = each
            if its is not None:
                its.due += 1
        else:
            self._gone.add((each.rule, each.number))

    def _forget_changes(self) -> None:
        self._changed, self._gone, self._changed_seen = {}, set(), {}
