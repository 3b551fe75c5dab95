"""Answered: who was told that somebody is away, and when; in a file that outlives the gateway.

Used by threads, and by several workers at once. Durable when a call returns.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 10.0
_KEPT_S: Final = 370 * 86_400.0
_PRUNED: Final = 1000

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS answered (
    mailbox TEXT NOT NULL, sender TEXT NOT NULL, at REAL NOT NULL, delivery TEXT NOT NULL,
    PRIMARY KEY (mailbox, sender)
) WITHOUT ROWID
"""
_INDEX: Final = "CREATE INDEX IF NOT EXISTS answered_by_time ON answered (at)"
_TAKE: Final = """
INSERT INTO answered (mailbox, sender, at, delivery) VALUES (:mailbox, :sender, :now, :delivery)
ON CONFLICT (mailbox, sender) DO UPDATE SET at = :now, delivery = :delivery
WHERE at <= :before OR at > :now OR delivery = :delivery
"""
_GIVE_BACK: Final = "DELETE FROM answered WHERE mailbox = :mailbox AND sender = :sender AND delivery = :delivery"
_PRUNE: Final = """
DELETE FROM answered WHERE (mailbox, sender) IN (
    SELECT mailbox, sender FROM answered WHERE at < :before LIMIT :most
)
"""


class Answered:
    """The file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, mailbox: str, sender: str, delivery: str, now: float, days: int) -> bool:
        """Take it on to answer a sender; False where they were answered in the last days.

        True again for the delivery that took it before: whether its answer was sent is for the answer's own key to say.
        Raises: sqlite3.Error.
        """
        values = {"mailbox": mailbox, "sender": sender, "delivery": delivery, "now": now, "before": now - days * 86_400}
        with self._open() as database:
            taken = database.execute(_TAKE, values).rowcount > 0
            if taken:
                database.execute(_PRUNE, {"before": now - _KEPT_S, "most": _PRUNED})
        return taken

    def give_back(self, mailbox: str, sender: str, delivery: str) -> None:
        """Undo a `take` whose answer could not be sent. Raises: sqlite3.Error."""
        with self._open() as database:
            database.execute(_GIVE_BACK, {"mailbox": mailbox, "sender": sender, "delivery": delivery})

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # A connection a call, and no WAL: several workers write it, each seldom.
        with closing(sqlite3.connect(self._path, timeout=_TIMEOUT_S, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN IMMEDIATE")
            try:
                database.execute(_TABLE)
                database.execute(_INDEX)
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
