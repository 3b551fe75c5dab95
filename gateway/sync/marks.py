"""What the state says of a mailbox that was in step after its last pass, read and noted by sqlite3 itself.

Most passes find that nothing has changed, which the servers tell by a mark of each folder. SQLAlchemy takes several
times as long to import as such a pass takes, so what one needs of the tables in `schema.py` stands here as text; a test
holds the two together. Whatever else there is to do is `state.py`'s.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from gateway.sync.ends import Report, written
from gateway.sync.stages import CLOSED, CUTTING, ROLLING_BACK, begun, done
from gateway.sync.values import FolderPair, Pairing

VERSION: Final = "s0001"
"""The one revision of the tables that this reads."""
_TIMEOUT_S: Final = 30.0
_VERSION: Final = "SELECT version_num FROM sync_version"
_PAIRING: Final = (
    "SELECT stage, id, config, left_connector, left_mailbox, right_connector, right_mailbox, identity, batch, mode "
    "FROM sync_pairing WHERE id = ?"
)
_OPEN: Final = (
    "SELECT EXISTS (SELECT 1 FROM sync_intent WHERE pairing = :id)"
    " OR EXISTS (SELECT 1 FROM sync_problem WHERE pairing = :id)"
    " OR EXISTS (SELECT 1 FROM sync_placed WHERE pairing = :id)"
    " OR EXISTS (SELECT 1 FROM sync_owed WHERE pairing = :id)"
    " OR NOT EXISTS (SELECT 1 FROM sync_pass WHERE pairing = :id AND ended_at IS NOT NULL AND is_done)"
)
_FOLDERS: Final = (
    'SELECT id, "left", "right", path, left_token, right_token, left_mark, right_mark, is_known, limits '
    "FROM sync_folder WHERE pairing = ? ORDER BY id"
)
_ENDED: Final = (
    "UPDATE sync_pass SET who = ?, began_at = ?, updated_at = ?, ended_at = ?, is_done = 1, fault = '', report = ?, "
    "passes = passes + 1 WHERE pairing = ? AND ended_at IS NOT NULL"
)


class Marks:
    """The state of syncs in a SQLite file. Raises: sqlite3.Error where it is not there, or can't be read."""

    def __init__(self, file: Path) -> None:
        self._raw = sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", _TIMEOUT_S, isolation_level=None, uri=True)
        try:
            self._raw.execute("PRAGMA synchronous=FULL")
            found = self._raw.execute(_VERSION).fetchone()
            if found != (VERSION,):
                raise sqlite3.DatabaseError("it is of another release")
        except BaseException:
            self._raw.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._raw.close()

    def folders(self, pairing: Pairing) -> list[FolderPair] | None:
        """Return a mailbox's pairs of folders, each as its last pass noted it; None where that pass left something to
        be done, or something is to be noted that is not: what is configured, or its stage."""
        self._raw.execute("BEGIN")
        try:
            row = self._raw.execute(_PAIRING, (pairing.id,)).fetchone()
            left, right = pairing.left, pairing.right
            told = (pairing.id, pairing.set, left.connector, left.mailbox, right.connector, right.mailbox)
            if row is None or row[1:] != (*told, pairing.identity, pairing.batch, pairing.mode):
                return None
            stage = row[0]
            if stage in (CUTTING, ROLLING_BACK, CLOSED) or done(begun(stage)) != stage:
                return None
            if self._raw.execute(_OPEN, {"id": pairing.id}).fetchone()[0]:
                return None
            rows = self._raw.execute(_FOLDERS, (pairing.id,)).fetchall()
            return [_folder(*row) for row in rows]
        finally:
            self._raw.execute("COMMIT")

    def stage(self, pairing: Pairing) -> str:
        """Return the stage of a mailbox that is known."""
        return str(self._raw.execute("SELECT stage FROM sync_pairing WHERE id = ?", (pairing.id,)).fetchone()[0])

    def ended(self, passes: Iterable[tuple[str, float, float]]) -> None:
        """Note passes that found nothing to do, each by its pairing's id and the times of its begin and end."""
        who = f"{socket.gethostname()}:{os.getpid()}"
        report = written(Report())
        self._raw.execute("BEGIN IMMEDIATE")
        self._raw.executemany(_ENDED, [(who, began, ended, ended, report, id) for id, began, ended in passes])
        self._raw.execute("COMMIT")


def _folder(
    id: int,
    left: str | None,
    right: str | None,
    path: str,
    left_token: str | None,
    right_token: str | None,
    left_mark: str | None,
    right_mark: str | None,
    is_known: int,
    limits: str | None,
) -> FolderPair:
    names = tuple(json.loads(path))
    return FolderPair(id, left, right, names, left_token, right_token, left_mark, right_mark, bool(is_known), limits)
