"""The peer's database: one SQLite connection, one lock, and the table of changes that sync states are numbers of."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.peers.ews.records import Change

_SCHEMA: Final = """
create table company(domain text primary key, honest integer, generation integer default 0) without rowid;
create table mailbox(address text primary key, domain text, name text, display_name text, legacy_dn text,
  quota integer, disabled integer default 0) without rowid;
create index mailbox_in on mailbox(domain);
create index mailbox_once on mailbox(legacy_dn collate nocase);
create table folder(id integer primary key autoincrement, mailbox text, parent integer, role text, name text,
  class text, gone integer default 0);
create index folder_of on folder(mailbox, role);
create index folder_under on folder(parent);
create table item(id integer primary key autoincrement, mailbox text, folder integer, birth integer, version integer,
  class text, mime blob, shown blob, native blob, received_at real, sent_at real, created_at real, modified_at real,
  is_read integer, is_draft integer, is_submitted integer default 0, uid integer, size integer, header text,
  categories text, bcc text, gone integer default 0);
create index item_in on item(folder, gone, uid);
create index item_born on item(birth);
create table property(item integer, key text, type text, value text, primary key(item, key)) without rowid;
create index property_is on property(key, value collate nocase);
create table change(seq integer primary key autoincrement, mailbox text, folder integer, item integer, kind text);
create index change_in on change(folder, seq);
create table proxy(mailbox text, address text, primary key(mailbox, address)) without rowid;
create index proxy_is on proxy(address collate nocase);
create table grant_as(mailbox text, author text, primary key(mailbox, author)) without rowid;
create table person(domain text, address text, name text, kind text, members text, primary key(domain, address));
"""


class Database:
    """Every method takes the lock; `with database.transaction()` keeps it over several, which are written at once."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        self.lock = threading.RLock()
        self.heard: list[Callable[[Change], None]] = []
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # What it holds is a test's, and lost with it: no wait for a disk.
        self._db.executescript("pragma journal_mode=memory; pragma synchronous=off;" + _SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep the lock, and write what is done meanwhile at once; also of what raises, as far as it came."""
        with self.lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("begin")
            try:
                yield
            finally:
                self._db.execute("commit")

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with self.lock:
            return self._db.execute(statement, values).fetchall()

    def row(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        """Run a statement and return its first row."""
        with self.lock:
            found: tuple[Any, ...] | None = self._db.execute(statement, values).fetchone()
            return found

    # --- changes ---

    def _tell(self, mailbox: str, folder: int, item: int, kind: str, was: tuple[int, int] | None = None) -> None:
        written = {"new": "create", "moved": "create", "left": "delete"}.get(kind, kind)
        made = self._db.execute(
            "insert into change(mailbox, folder, item, kind) values(?, ?, ?, ?)", (mailbox, folder, item, written)
        )
        change = Change(int(made.lastrowid or 0), mailbox, folder, item, kind, was)
        for listener in self.heard:
            listener(change)

    def _tell_folder(self, mailbox: str, folder: int, kind: str) -> None:
        self._db.execute("insert into change(mailbox, folder, item, kind) values(?, 0, ?, ?)", (mailbox, folder, kind))

    def folder_changes(self, mailbox: str, after: int) -> dict[int, bool]:
        """Return the folders of a mailbox that changed after a number, and whether each was made since."""
        found = self.rows(
            "select item, max(kind='made') from change where folder=0 and mailbox=? and seq>?"
            " group by item order by item",
            mailbox,
            after,
        )
        return {each[0]: bool(each[1]) for each in found}

    def changes(self, folder: int, after: int, limit: int) -> list[tuple[int, int, str]]:
        """Return (number, item, kind) of what happened in a folder after a number."""
        found = self.rows(
            "select seq, item, kind from change where folder=? and seq>? order by seq limit ?",
            folder,
            after,
            limit,
        )
        return [(each[0], each[1], each[2]) for each in found]

    def last_change(self) -> int:
        found = self.row("select coalesce(max(seq), 0) from change")
        return int(found[0]) if found else 0
