"""Journal: what one session has to know after a kill, in a Store: packet identifiers under way, both ways.

Promises: those of `Journal` in `wire/values.py`. All that is asked for while a group is committed is written by a few
statements with the next one, in its net effect: an identifier that was opened and closed meanwhile costs nothing.
Where a commit fails, memory is again what the file holds, and every future since then fails with it.

Generations rise for ever: they are taken from a range that the file says is used up before the first of it is given,
so that even one whose row was not committed is not given again; and a journal made anew begins at the clock, in
microseconds, which no session's count overtakes.

Rows in DONE are there for the outcome that the gateway has not committed yet. They stay for `DONE_S` of this
process's time, and at most `DONE_MOST` of them, far more than outcomes can wait for their commit.

Source: OASIS MQTT 5.0 §4.1 (session state), §4.3.3 (QoS 2), §4.4.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeVar

from connectors.mqtt.store import Change, Restore, Store, StoreFault, create
from connectors.mqtt.wire.values import Journal, Phase

T = TypeVar("T")
U = TypeVar("U")

RANGE: Final = 65536
"""Generations that are taken from the file at once."""
DONE_S: Final = 900.0
DONE_MOST: Final = 50_000

_TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS session (
        name TEXT PRIMARY KEY, generation INTEGER NOT NULL, broker TEXT NOT NULL, subscribed TEXT NOT NULL
    ) WITHOUT ROWID""",
    """
    CREATE TABLE IF NOT EXISTS inward (
        session TEXT NOT NULL, packet INTEGER NOT NULL, generation INTEGER NOT NULL, settled INTEGER NOT NULL,
        PRIMARY KEY (session, packet)
    ) WITHOUT ROWID""",
    # With a rowid: it tells the order in which keys were sent, so that the oldest in DONE go first.
    """
    CREATE TABLE IF NOT EXISTS outward (
        session TEXT NOT NULL, key TEXT NOT NULL, packet INTEGER NOT NULL, phase TEXT NOT NULL,
        PRIMARY KEY (session, key)
    )""",
)
_SESSION: Final = "SELECT generation, broker, subscribed FROM session WHERE name = ?"
_INWARD: Final = "SELECT packet, generation, settled FROM inward WHERE session = ?"
_OUTWARD: Final = "SELECT key, packet, phase FROM outward WHERE session = ? ORDER BY rowid"
_KEEP_SESSION: Final = "INSERT OR REPLACE INTO session (name, generation, broker, subscribed) VALUES (?, ?, ?, ?)"
# One statement for any number of rows: the thread waits for the interpreter once, and not once a row.
_CLOSE: Final = "DELETE FROM inward WHERE session = ? AND packet IN (SELECT value FROM json_each(?))"
_OPEN: Final = """
    INSERT OR REPLACE INTO inward (session, packet, generation, settled)
    SELECT ?, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)"""
_DROP: Final = "DELETE FROM outward WHERE session = ? AND key IN (SELECT value FROM json_each(?))"
_SET: Final = """
    INSERT INTO outward (session, key, packet, phase)
    SELECT ?, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?) WHERE true
    ON CONFLICT (session, key) DO UPDATE SET packet = excluded.packet, phase = excluded.phase"""


class SqliteJournal(Journal):
    """The journal of one session. Several may be in one Store, under names of their own."""

    def __init__(self, store: Store, session: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._session = session
        self._clock = clock
        self._generation = self._range_end = 0
        self._broker = ""
        self._subscribed: tuple[str, ...] = ()
        self._inward: dict[int, int] = {}
        self._settled: set[int] = set()
        self._outward: dict[str, tuple[int, Phase]] = {}
        self._done: OrderedDict[str, float] = OrderedDict()
        """Keys in DONE, the oldest first, to when that became known here."""
        self._changed_in: set[int] = set()
        self._changed_out: set[str] = set()
        self._changed_session = False

    @classmethod
    async def open(cls, store: Store, session: str, clock: Callable[[], float] = time.time) -> SqliteJournal:
        """Read the session's state, none for a new one. Raises: StoreFault."""
        journal = cls(store, session, clock)
        await store.write(create(_TABLES))
        (await store.write(journal.load))()
        await journal._take_range()
        return journal

    # -- inward

    def inward(self) -> Mapping[int, int]:
        return MappingProxyType(self._inward)

    def open_inward(self, packet_id: int) -> tuple[int, asyncio.Future[None]]:
        generation = self._inward.get(packet_id)
        if generation is None:
            generation = self._inward[packet_id] = self._generation
            self._generation += 1
            self._changed_in.add(packet_id)
            if self._range_end - self._generation < RANGE // 2:
                self._take_range()  # long before the first of it is given
        return generation, self._store.touch(self)

    def close_inward(self, packet_id: int) -> asyncio.Future[None]:
        if self._inward.pop(packet_id, None) is not None:
            self._settled.discard(packet_id)
            self._changed_in.add(packet_id)
        return self._store.touch(self)

    def settler(self, packet_id: int) -> Callable[[], None]:
        """Give what notes of the message now open under this identifier that all is done but the acknowledgement.

        Called together with a change of another Stage of the same Store, both are committed at once: whatever became
        of the message has become of it exactly once, over any kill.
        """
        generation = self._inward.get(packet_id)

        def settle() -> None:
            # The identifier may have been closed, and be another message's by now.
            if generation is not None and self._inward.get(packet_id) == generation:
                self._settled.add(packet_id)
                self._changed_in.add(packet_id)
                self._store.touch(self)

        return settle

    async def is_settled(self, packet_id: int) -> bool:
        """Say whether what is open under this identifier wants no more than an acknowledgement.

        Durable when this returns True. Raises: StoreFault.
        """
        if packet_id not in self._settled:
            return False
        await self._store.touch(self)
        return packet_id in self._settled

    # -- outward

    def outward(self) -> Mapping[str, tuple[int, Phase]]:
        return MappingProxyType(self._outward)

    def sent(self, key: str, packet_id: int) -> asyncio.Future[None]:
        self._done.pop(key, None)
        return self._set(key, packet_id, Phase.SENT)

    def released(self, key: str) -> asyncio.Future[None]:
        known = self._outward.get(key)
        if known is None:
            return self._unknown(key)
        return self._set(key, known[0], Phase.RELEASED)

    def done(self, key: str) -> asyncio.Future[None]:
        known = self._outward.get(key)
        if known is None:
            return self._unknown(key)
        self._done[key] = time.monotonic()
        self._done.move_to_end(key)
        self._age()
        return self._set(key, known[0], Phase.DONE)

    def refused(self, key: str) -> asyncio.Future[None]:
        self._drop(key)
        return self._store.touch(self)

    # -- the session itself

    def broker(self) -> str:
        return self._broker

    def forget(self, broker: str = "") -> asyncio.Future[None]:
        self._changed_in.update(self._inward)
        self._inward.clear()
        self._settled.clear()
        for key in [key for key, (_, phase) in self._outward.items() if phase is not Phase.DONE]:
            self._drop(key)
        self._broker, self._subscribed = broker, ()
        self._changed_session = True
        return self._store.touch(self)

    def subscribed(self) -> Sequence[str]:
        return self._subscribed

    def subscribe(self, lines: Sequence[str]) -> asyncio.Future[None]:
        self._subscribed = tuple(lines)
        self._changed_session = True
        return self._store.touch(self)

    # -- how it is kept

    def take(self) -> Change:
        inward, outward = self._inward, self._outward
        closed = [packet for packet in self._changed_in if packet not in inward]
        opened = [(packet, inward[packet], packet in self._settled) for packet in self._changed_in if packet in inward]
        dropped = [key for key in self._changed_out if key not in outward]
        changed = [
            (key, packet, phase.value)
            for key in self._changed_out
            if key in outward
            for packet, phase in (outward[key],)
        ]
        head = (self._session, self._range_end, self._broker, json.dumps(self._subscribed))
        head_changed = self._changed_session
        self._changed_in, self._changed_out, self._changed_session = set(), set(), False

        def write(connection: sqlite3.Connection) -> None:
            if head_changed:
                connection.execute(_KEEP_SESSION, head)
            for statement, rows in ((_CLOSE, closed), (_OPEN, opened), (_DROP, dropped), (_SET, changed)):
                if rows:
                    connection.execute(statement, (self._session, json.dumps(rows)))

        return write

    def load(self, connection: sqlite3.Connection) -> Restore:
        head = connection.execute(_SESSION, (self._session,)).fetchone()
        generation, broker, subscribed = head or (int(self._clock() * 1_000_000), "", "[]")
        inward = connection.execute(_INWARD, (self._session,)).fetchall()
        outward = {key: (packet, Phase(phase)) for key, packet, phase in connection.execute(_OUTWARD, (self._session,))}

        def restore() -> None:
            self._generation = max(self._generation, generation)
            self._range_end = generation
            self._broker, self._subscribed = broker, tuple(json.loads(subscribed))
            _replace(self._inward, {packet: generation for packet, generation, _ in inward})
            self._settled = {packet for packet, _, settled in inward if settled}
            _replace(self._outward, outward)
            now = time.monotonic()
            done = [key for key, (_, phase) in outward.items() if phase is Phase.DONE]
            self._done = OrderedDict((key, self._done.get(key, now)) for key in done)
            self._changed_in, self._changed_out, self._changed_session = set(), set(), False

        return restore

    def _take_range(self) -> asyncio.Future[None]:
        self._range_end = self._generation + RANGE
        self._changed_session = True
        return self._store.touch(self)

    def _set(self, key: str, packet_id: int, phase: Phase) -> asyncio.Future[None]:
        self._outward[key] = (packet_id, phase)
        self._changed_out.add(key)
        return self._store.touch(self)

    def _drop(self, key: str) -> None:
        if self._outward.pop(key, None) is not None:
            self._done.pop(key, None)
            self._changed_out.add(key)

    def _age(self) -> None:
        before = time.monotonic() - DONE_S
        while self._done:
            oldest, since = next(iter(self._done.items()))
            if since >= before and len(self._done) <= DONE_MOST:
                return
            self._drop(oldest)

    def _unknown(self, key: str) -> asyncio.Future[None]:
        """A step of something that was never sent, or whose sending could not be kept."""
        future = self._store.touch(self)
        if not future.done():
            future.set_exception(StoreFault(f"{self._store.path} knows nothing of {key} as sent"))
            future.exception()
        return future


def _replace(into: dict[T, U], by: dict[T, U]) -> None:
    """Put other entries into a dict of which views are about."""
    into.clear()
    into.update(by)
