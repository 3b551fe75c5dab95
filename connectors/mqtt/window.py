"""Window: what one rule lets pass and gathers between two digests, in memory and as rows of a Store.

A window knows what of it is not yet written: a message that is gathered costs the change of two numbers, and the
window is written once for all that came since its last commit.

Promises: bounded by the rule's topics and lines, whatever comes; what is loaded gives the digest that was kept.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from typing import Any, Final

from connectors.mqtt.digest import LINE_CHARS, TOPIC_CHARS, Digest, Line, shown

KEPT_CHARS: Final = 1000
_HASH_CHARS: Final = 64

TABLES: Final = (
    """
    CREATE TABLE IF NOT EXISTS calm_window (
        rule TEXT NOT NULL, number INTEGER NOT NULL, opened_at REAL NOT NULL, ended INTEGER NOT NULL,
        mails INTEGER NOT NULL, count INTEGER NOT NULL, first_at REAL NOT NULL, last_at REAL NOT NULL,
        others INTEGER NOT NULL, PRIMARY KEY (rule, number)
    ) WITHOUT ROWID""",
    """
    CREATE TABLE IF NOT EXISTS calm_count (
        rule TEXT NOT NULL, number INTEGER NOT NULL, topic TEXT NOT NULL, count INTEGER NOT NULL,
        PRIMARY KEY (rule, number, topic)
    ) WITHOUT ROWID""",
    # The lines that came with one commit in one row, as JSON: a storm fills its digest with the first of them.
    """
    CREATE TABLE IF NOT EXISTS calm_lines (
        rule TEXT NOT NULL, number INTEGER NOT NULL, n INTEGER NOT NULL, lines TEXT NOT NULL,
        PRIMARY KEY (rule, number, n)
    )""",
)
_KEEP_WINDOW: Final = f"""
    INSERT OR REPLACE INTO calm_window (rule, number, opened_at, ended, mails, count, first_at, last_at, others)
    SELECT {", ".join(f"value ->> {n}" for n in range(9))} FROM json_each(?)"""
_KEEP_COUNT: Final = """
    INSERT OR REPLACE INTO calm_count (rule, number, topic, count)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?)"""
_KEEP_LINES: Final = """
    INSERT OR REPLACE INTO calm_lines (rule, number, n, lines)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?)"""
_WINDOWS: Final = """
    SELECT rule, number, opened_at, ended, mails, count, first_at, last_at, others FROM calm_window
    ORDER BY rule, number"""
_COUNTS: Final = "SELECT topic, count FROM calm_count WHERE rule = ? AND number = ?"
_LINES: Final = "SELECT lines FROM calm_lines WHERE rule = ? AND number = ? ORDER BY n"
_REMOVE: Final = tuple(
    f"DELETE FROM {table} WHERE rule = ? AND number = ?" for table in ("calm_window", "calm_count", "calm_lines")
)


@dataclass(slots=True, eq=False)
class Window:
    """One window. `mails` passed and were accepted, `passing` are under way; `count` messages are gathered."""

    rule: str
    number: int
    opened_at: float
    ended: bool = False
    mails: int = 0
    count: int = 0
    first_at: float = 0.0
    last_at: float = 0.0
    others: int = 0
    passing: int = 0
    is_kept: bool = False
    """It may have rows."""
    topics: dict[str, int] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    _new_counts: set[str] = field(default_factory=set)
    _kept_lines: int = 0

    def gather(self, at: float, topic: str, text: str, max_topics: int, max_lines: int) -> None:
        """Take one message into the digest."""
        if not self.count:
            self.first_at = at
        self.count += 1
        self.last_at = max(self.last_at, at)
        key = kept(topic)
        known = self.topics.get(key)
        if known is None and len(self.topics) >= max_topics:
            self.others += 1
        else:
            self.topics[key] = (known or 0) + 1
            self._new_counts.add(key)
        if len(self.lines) < max_lines:
            self.lines.append(Line(at, shown(topic, TOPIC_CHARS), shown(text, LINE_CHARS)))

    def digest(self) -> Digest:
        """Give what is gathered."""
        return Digest(
            self.rule,
            self.number,
            self.count,
            self.first_at,
            self.last_at,
            tuple(sorted(self.topics.items())),
            self.others,
            tuple(self.lines),
        )

    def take(self) -> Rows:
        """Give the rows that were changed since the last call."""
        self.is_kept = True
        head = (
            self.rule,
            self.number,
            self.opened_at,
            int(self.ended),
            self.mails,
            self.count,
            self.first_at,
            self.last_at,
            self.others,
        )
        counts = [(self.rule, self.number, topic, self.topics[topic]) for topic in self._new_counts]
        self._new_counts = set()
        start, self._kept_lines = self._kept_lines, len(self.lines)
        fresh = [(line.at, line.topic, line.text) for line in self.lines[start:]]
        return Rows(head, counts, [(self.rule, self.number, start, json.dumps(fresh))] if fresh else [])


@dataclass(frozen=True, slots=True)
class Rows:
    """What of one window is to be written."""

    head: tuple[Any, ...]
    counts: list[tuple[str, int, str, int]]
    lines: list[tuple[str, int, int, str]]


def write(connection: sqlite3.Connection, rows: Sequence[Rows], gone: Iterable[tuple[str, int]]) -> None:
    """Write what was changed of windows, by one statement a table, and remove those that are gone."""
    for statement, values in (
        (_KEEP_WINDOW, [each.head for each in rows]),
        (_KEEP_COUNT, list(chain.from_iterable(each.counts for each in rows))),
        (_KEEP_LINES, list(chain.from_iterable(each.lines for each in rows))),
    ):
        if values:
            connection.execute(statement, (json.dumps(values),))
    for one in gone:
        for statement in _REMOVE:
            connection.execute(statement, one)


def load(connection: sqlite3.Connection) -> list[Window]:
    """Read all windows, those of a rule in their order."""
    found = []
    for rule, number, opened_at, ended, mails, count, first_at, last_at, others in connection.execute(_WINDOWS):
        window = Window(rule, number, opened_at, bool(ended), mails, count, first_at, last_at, others, is_kept=True)
        window.topics.update(connection.execute(_COUNTS, (rule, number)).fetchall())
        for (lines,) in connection.execute(_LINES, (rule, number)):
            window.lines += [Line(at, topic, text) for at, topic, text in json.loads(lines)]
        window._kept_lines = len(window.lines)
        found.append(window)
    return found


def kept(text: str) -> str:
    """Return a text that stands for this one and no other, of a bounded length."""
    if len(text) <= KEPT_CHARS:
        return text
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{text[: KEPT_CHARS - _HASH_CHARS - 1]}…{digest}"
