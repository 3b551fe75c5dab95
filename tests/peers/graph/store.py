"""The peer's store: companies, mailboxes, folders, items and what changed, in SQLite behind one lock.

Knows nothing of HTTP or JSON but that an item keeps its resource (what a client may read of it) beside its octets,
both made once when it is stored.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROLES: Final[dict[str, tuple[str, str]]] = {
    "inbox": ("inbox", "Inbox"),
    "drafts": ("drafts", "Drafts"),
    "sentitems": ("sent", "Sent Items"),
    "deleteditems": ("trash", "Deleted Items"),
    "junkemail": ("junk", "Junk Email"),
    "outbox": ("outbox", "Outbox"),
    "archive": ("archive", "Archive"),
    "recoverableitemsdeletions": ("dumpster", "Deletions"),
}
"""Well-known name -> (role in the tests' face, display name)."""
TOP: Final = "msgfolderroot"
_SCHEMA: Final = """
create table company(id integer primary key, domain text unique, honest int);
create table mailbox(id integer primary key, company int, address text, name text, quota int,
                     disabled int default 0, proxies text, kind text, members text default '[]', guid text);
create unique index mailbox_address on mailbox(company, address);
create index mailbox_guid on mailbox(company, guid);
create table folder(id integer primary key, mailbox int, parent int, known text, name text);
create index folder_parent on folder(parent);
create index folder_known on folder(mailbox, known);
create table item(id integer primary key, mailbox int, folder int, moves int default 0, version int default 1,
                  received blob, shown blob, resource text, class text, is_read int, is_draft int, received_at real,
                  created_at real, size int, due real, sender text);
create index item_folder on item(folder);
create index item_mailbox on item(mailbox);
create index item_due on item(due) where due is not null;
create table property(item int, key text, kind text, value text, primary key(item, key)) without rowid;
create index property_value on property(key, value);
create table attachment(id integer primary key, item int, meta text, content blob);
create index attachment_item on attachment(item);
create table change(seq integer primary key autoincrement, folder int, item int, moves int, kind text);
create index change_folder on change(folder, seq);
create table outside(id integer primary key, company int, address text, octets blob, at real);
create table request(id integer primary key, company int, operation text, user text, mailbox text, body blob,
                     answer blob, answered text, codes text, at real, headers text);
"""


@dataclass(slots=True)
class Mailbox:
    """A mailbox, or another entry of the directory: `kind` is mailbox, group or contact."""

    id: int
    company: int
    address: str
    name: str
    quota: int | None
    disabled: bool
    proxies: list[str]
    kind: str
    members: list[str]
    guid: str


@dataclass(slots=True)
class Folder:
    """A folder of a mailbox; `known` is its well-known name or empty."""

    id: int
    mailbox: int
    parent: int | None
    known: str
    name: str


@dataclass(slots=True)
class Item:
    """An item as stored. `octets`: as received; `shown`: as clients get them, None until made from the resource."""

    id: int
    mailbox: int
    folder: int
    moves: int
    version: int
    received: bytes | None
    shown: bytes | None
    resource: dict[str, Any]
    item_class: str
    is_read: bool
    is_draft: bool
    received_at: float
    created_at: float
    size: int
    due: float | None
    sender: str


_MAILBOX: Final = "id, company, address, name, quota, disabled, proxies, kind, members, guid"
_FOLDER: Final = "id, mailbox, parent, known, name"
_ITEM: Final = (
    "id, mailbox, folder, moves, version, received, shown, resource, class, is_read, is_draft, received_at,"
    " created_at, size, due, sender"
)


class Store:
    """All there is; every method may be called from any thread."""

    def __init__(self, folder: Path | None = None) -> None:
        self.db = sqlite3.connect(
            str(folder / "graph.sqlite") if folder else ":memory:", check_same_thread=False, isolation_level=None
        )
        self.db.executescript("pragma synchronous=off; pragma journal_mode=memory;" + _SCHEMA)
        self.lock = threading.RLock()
        self.noticed: list[Callable[[int, int, str], None]] = []
        """Called with (folder, item, kind) after each change, under the lock."""

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Do several things as one."""
        with self.lock:
            self.db.execute("savepoint whole")
            try:
                yield
            except BaseException:
                self.db.execute("rollback to whole")
                raise
            finally:
                self.db.execute("release whole")

    def one(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        """Return the first row."""
        with self.lock:
            return self.db.execute(sql, values).fetchone()  # type: ignore[no-any-return]

    def all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows."""
        with self.lock:
            return self.db.execute(sql, values).fetchall()

    def do(self, sql: str, *values: Any) -> int:
        """Execute; return the new row's number."""
        with self.lock:
            return self.db.execute(sql, values).lastrowid or 0

    # -- companies and their directory

    def company(self, domain: str, honest: bool) -> int:
        """Make an organisation."""
        return self.do("insert into company(domain, honest) values(?,?)", domain, honest)

    def enter(self, company: int, address: str, name: str, proxies: list[str], kind: str, guid: str) -> int:
        """Enter a mailbox (with its folders), a group or a contact."""
        with self.whole():
            number = self.do(
                "insert into mailbox(company, address, name, proxies, kind, guid) values(?,?,?,?,?,?)",
                company, address.lower(), name, json.dumps(proxies), kind, guid,
            )  # fmt: skip
            if kind == "mailbox":
                top = self.do(
                    "insert into folder(mailbox, known, name) values(?,?,?)", number, TOP, "Top of Information Store"
                )
                for known, (_, shown) in ROLES.items():
                    self.do(
                        "insert into folder(mailbox, parent, known, name) values(?,?,?,?)", number, top, known, shown
                    )
            return number

    def directory(self, company: int) -> list[Mailbox]:
        """Return all entries of an organisation in the order they came."""
        return [
            _mailbox(row) for row in self.all(f"select {_MAILBOX} from mailbox where company=? order by id", company)
        ]

    def mailbox(self, company: int, name: str) -> Mailbox | None:
        """Find an entry by address or GUID."""
        row = self.one(
            f"select {_MAILBOX} from mailbox where company=? and (address=? or guid=?)", company, name.lower(), name
        )
        return _mailbox(row) if row else None

    # -- folders

    def folders(self, mailbox: int) -> list[Folder]:
        """Return all folders of a mailbox."""
        return [Folder(*row) for row in self.all(f"select {_FOLDER} from folder where mailbox=? order by id", mailbox)]

    def folder(self, mailbox: int, number: int | None = None, known: str = "") -> Folder | None:
        """Find a folder by number or well-known name."""
        where, value = ("id", number) if number is not None else ("known", known.lower())
        row = self.one(f"select {_FOLDER} from folder where mailbox=? and {where}=?", mailbox, value)
        return Folder(*row) if row else None

    def child(self, parent: Folder, name: str) -> Folder | None:
        """Find a folder by its name, in which letter case does not count."""
        rows = self.all(f"select {_FOLDER} from folder where parent=?", parent.id)
        return next((Folder(*row) for row in rows if row[4].lower() == name.lower()), None)

    def add_folder(self, parent: Folder, name: str) -> Folder:
        """Make a folder."""
        number = self.do(
            "insert into folder(mailbox, parent, known, name) values(?,?,'',?)", parent.mailbox, parent.id, name
        )
        return Folder(number, parent.mailbox, parent.id, "", name)

    def place(self, mailbox: int, path: str) -> Folder:
        """Return a folder by the tests' name of it: a role, or a path from the top, which is made."""
        known = next((known for known, (role, _) in ROLES.items() if path in (role, known)), None)
        at = self.folder(mailbox, known=known or TOP)
        assert at is not None
        for name in () if known else path.split("/"):
            at = self.child(at, name) or self.add_folder(at, name)
        return at

    def path(self, folder: Folder) -> str:
        """Return the tests' name of a folder."""
        if folder.known:
            return ROLES[folder.known][0] if folder.known in ROLES else ""
        parent = self.folder(folder.mailbox, folder.parent)
        above = self.path(parent) if parent else ""
        return f"{above}/{folder.name}" if above else folder.name

    # -- items

    def add(self, folder: Folder, item: Item, properties: dict[str, tuple[str, str]], *, kind: str = "created") -> Item:
        """Store an item; its number is given here."""
        with self.whole():
            item.id = self.do(
                "insert into item(mailbox, folder, received, shown, resource, class, is_read, is_draft, received_at,"
                " created_at, size, due, sender) values(?,?,?,?,?,?,?,?,?,?,?,?,?)",
                folder.mailbox, folder.id, item.received, item.shown, json.dumps(item.resource), item.item_class,
                item.is_read, item.is_draft, item.received_at, item.created_at, item.size, item.due, item.sender,
            )  # fmt: skip
            item.mailbox, item.folder, item.moves, item.version = folder.mailbox, folder.id, 0, 1
            self.set_properties(item.id, properties)
            self.note(folder.id, item, kind)
            return item

    def item(self, mailbox: int, number: int) -> Item | None:
        """Find an item that is not deleted."""
        row = self.one(f"select {_ITEM} from item where mailbox=? and id=?", mailbox, number)
        return _item(row) if row else None

    def items(self, folder: int) -> list[Item]:
        """Return the items of a folder in the order they came."""
        return [_item(row) for row in self.all(f"select {_ITEM} from item where folder=? order by id", folder)]

    def items_of(self, mailbox: int) -> list[Item]:
        """Return the items of a whole mailbox, what was deleted for good left out."""
        rows = self.all(
            f"select {_ITEM} from item where mailbox=? and folder not in"
            " (select id from folder where mailbox=? and known='recoverableitemsdeletions') order by id",
            mailbox,
            mailbox,
        )
        return [_item(row) for row in rows]

    def update(self, item: Item) -> None:
        """Write an item back, as a change of its folder."""
        with self.whole():
            item.version += 1
            self.do(
                "update item set version=?, shown=?, resource=?, is_read=?, is_draft=?, received_at=?, size=?, due=?"
                " where id=?",
                item.version, item.shown, json.dumps(item.resource), item.is_read, item.is_draft, item.received_at,
                item.size, item.due, item.id,
            )  # fmt: skip
            self.note(item.folder, item, "updated")

    def move(self, item: Item, folder: Folder) -> None:
        """Move an item: its default id is another afterwards, and its immutable one is not."""
        with self.whole():
            self.note(item.folder, item, "deleted")
            item.folder, item.moves, item.version = folder.id, item.moves + 1, item.version + 1
            self.do(
                "update item set folder=?, moves=?, version=?, due=? where id=?",
                folder.id, item.moves, item.version, item.due, item.id,
            )  # fmt: skip
            self.note(folder.id, item, "created")

    def remove(self, item: Item) -> None:
        """Delete an item for good."""
        with self.whole():
            self.note(item.folder, item, "deleted")
            for table, column in (("item", "id"), ("property", "item"), ("attachment", "item")):
                self.do(f"delete from {table} where {column}=?", item.id)

    def note(self, folder: int, item: Item, kind: str) -> None:
        """Enter a change, and tell who wants to know."""
        self.do("insert into change(folder, item, moves, kind) values(?,?,?,?)", folder, item.id, item.moves, kind)
        for each in self.noticed:
            each(folder, item.id, kind)

    def last_change(self) -> int:
        """Return the number of the newest change."""
        return (self.one("select coalesce(max(seq), 0) from change") or (0,))[0]  # type: ignore[no-any-return]

    def changes(self, folder: int, after: int) -> list[tuple[int, int, int, str]]:
        """Return (seq, item, moves at that time, kind) of a folder's changes."""
        return self.all(
            "select seq, item, moves, kind from change where folder=? and seq>? order by seq", folder, after
        )

    def used(self, mailbox: int) -> int:
        """Return the octets that a mailbox holds."""
        return (self.one("select coalesce(sum(size), 0) from item where mailbox=?", mailbox) or (0,))[0]  # type: ignore[no-any-return]

    def send_out(self, company: int, address: str, octets: bytes) -> None:
        """Give a message to the world outside."""
        self.do("insert into outside(company, address, octets, at) values(?,?,?,?)", company, address, octets, now())

    # -- properties and attachments of an item

    def properties(self, item: int) -> dict[str, tuple[str, str]]:
        """Return key -> (the id by which it was set, value)."""
        return {
            key: (kind, value)
            for key, kind, value in self.all("select key, kind, value from property where item=?", item)
        }

    def set_properties(self, item: int, properties: dict[str, tuple[str, str]]) -> None:
        """Set some of an item's extended properties."""
        for key, (kind, value) in properties.items():
            self.do("insert or replace into property values(?,?,?,?)", item, key, kind, value)

    def attachments(self, item: int) -> list[tuple[int, dict[str, Any], bytes]]:
        """Return (number, what is known of it, octets)."""
        rows = self.all("select id, meta, content from attachment where item=? order by id", item)
        return [(number, json.loads(meta), content) for number, meta, content in rows]

    def attach(self, item: int, meta: dict[str, Any], content: bytes) -> int:
        """Add an attachment."""
        return self.do("insert into attachment(item, meta, content) values(?,?,?)", item, json.dumps(meta), content)


def now() -> float:
    """Return the time in whole seconds, which is all that clients get of it."""
    return float(int(time.time()))


def _mailbox(row: tuple[Any, ...]) -> Mailbox:
    id, company, address, name, quota, disabled, proxies, kind, members, guid = row
    return Mailbox(
        id, company, address, name, quota, bool(disabled), json.loads(proxies), kind, json.loads(members), guid
    )


def _item(row: tuple[Any, ...]) -> Item:
    (id, mailbox, folder, moves, version, received, shown, resource, item_class, is_read, is_draft, received_at,
     created_at, size, due, sender) = row  # fmt: skip
    return Item(
        id, mailbox, folder, moves, version, received, shown, json.loads(resource), item_class, bool(is_read),
        bool(is_draft), received_at, created_at, size, due, sender,
    )  # fmt: skip
