"""The organisations, mailboxes, folders and items of the peer: one SQLite database, one lock.

An item is parsed once, when it is stored; the header stands beside it. A moved item is a new one: Exchange gives it
another ItemId, unless the client asks for immutable ones; `birth` is then what stays. Every change is written to the
table `change`, which sync states are numbers of.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.peers.ews import mime

_SCHEMA: Final = """
create table company(domain text primary key, honest integer, generation integer default 0) without rowid;
create table mailbox(address text primary key, domain text, name text, display_name text, legacy_dn text,
  quota integer, disabled integer default 0) without rowid;
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
ROLES: Final = {
    "inbox": ("Inbox", "IPF.Note"),
    "sentitems": ("Sent Items", "IPF.Note"),
    "deleteditems": ("Deleted Items", "IPF.Note"),
    "drafts": ("Drafts", "IPF.Note"),
    "junkemail": ("Junk Email", "IPF.Note"),
    "outbox": ("Outbox", "IPF.Note"),
    "calendar": ("Calendar", "IPF.Appointment"),
    "contacts": ("Contacts", "IPF.Contact"),
    "tasks": ("Tasks", "IPF.Task"),
    "notes": ("Notes", "IPF.StickyNote"),
    "journal": ("Journal", "IPF.Journal"),
}
"""The well-known folders under the top, by the names of DistinguishedFolderIdNameType."""

_ITEM: Final = (
    "id, mailbox, folder, birth, version, class, received_at, sent_at, created_at, modified_at, is_read, is_draft,"
    " is_submitted, uid, size, header, categories, bcc"
)


@dataclass(slots=True)
class Folder:
    """A folder of one mailbox; `role` is the well-known name of those that have one."""

    id: int
    mailbox: str
    parent: int
    role: str
    name: str
    class_: str


@dataclass(slots=True)
class Item:
    """An item without its octets, which `Store.mime` has."""

    id: int
    mailbox: str
    folder: int
    birth: int
    version: int
    class_: str
    received_at: float
    sent_at: float
    created_at: float
    modified_at: float
    is_read: bool
    is_draft: bool
    is_submitted: bool
    uid: int
    size: int
    header: dict[str, list[str]]
    categories: list[str]
    bcc: list[str]


@dataclass(frozen=True, slots=True)
class Person:
    """An entry of the directory: kind is a MailboxTypeType; `proxies` as `SMTP:…`, `smtp:…`, `X500:…`."""

    address: str
    name: str
    kind: str
    legacy_dn: str
    proxies: tuple[str, ...]
    members: tuple[str, ...] = ()


@dataclass(slots=True)
class NewItem:
    """What an item is made of; what is None comes from the MIME, or is now."""

    octets: bytes
    class_: str | None = None
    received_at: float | None = None
    is_read: bool = False
    is_draft: bool = False
    categories: Sequence[str] = ()
    bcc: Sequence[str] = ()
    properties: dict[str, tuple[str, Any]] = field(default_factory=dict)
    native: bytes | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What happened: `new` (delivered), `create`, `update`, `read`, `delete`, `moved` (from another folder), `left`.

    A row of the table `change` knows of creations, updates, read marks and deletions alone. `was`: of what was moved,
    the item it was, and its folder then.
    """

    seq: int
    mailbox: str
    folder: int
    item: int
    kind: str
    was: tuple[int, int] | None = None


class Full(Exception):
    """The mailbox has no room for it."""


class Store:
    """All organisations; every method takes the lock, and `with store.lock` keeps it over several."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        self.lock = threading.RLock()
        self.heard: list[Callable[[Change], None]] = []
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        # What it holds is a test's, and lost with it: no wait for a disk.
        self._db.executescript("pragma journal_mode=memory; pragma synchronous=off;" + _SCHEMA)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        with self.lock:
            return self._db.execute(statement, values).fetchall()

    def row(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        """Run a statement and return its first row."""
        with self.lock:
            found: tuple[Any, ...] | None = self._db.execute(statement, values).fetchone()
            return found

    # --- organisations and mailboxes ---

    def add_company(self, domain: str, honest: bool) -> None:
        self.rows("insert into company(domain, honest) values(?, ?)", domain, int(honest))

    def is_honest(self, domain: str) -> bool:
        found = self.row("select honest from company where domain=?", domain)
        return bool(found and found[0])

    def generation(self, domain: str) -> int:
        """Return how often sync states were let expire; one of an earlier generation is not known any more."""
        found = self.row("select generation from company where domain=?", domain)
        return int(found[0]) if found else 0

    def expire_sync(self, domain: str) -> None:
        self.rows("update company set generation=generation+1 where domain=?", domain)

    def add_mailbox(self, domain: str, name: str) -> str:
        """Make a mailbox with its well-known folders; return its address."""
        address = f"{name}@{domain}".lower()
        dn = f"/o={domain}/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn={name.lower()}"
        with self.lock:
            self._db.execute("begin")
            self._db.execute(
                "insert into mailbox(address, domain, name, display_name, legacy_dn) values(?, ?, ?, ?, ?)",
                (address, domain, name.lower(), name.replace(".", " ").title(), dn),
            )
            root = self._add_folder(address, 0, "root", "Root", "")
            top = self._add_folder(address, root, "msgfolderroot", "Top of Information Store", "IPF.Note")
            for role, (shown, kind) in ROLES.items():
                self._add_folder(address, top, role, shown, kind)
            kept = self._add_folder(address, root, "recoverableitemsroot", "Recoverable Items", "")
            self._add_folder(address, kept, "recoverableitemsdeletions", "Deletions", "")
            self._add_folder(address, kept, "recoverableitemspurges", "Purges", "")
            self._db.execute("commit")
        return address

    def mailbox(self, address: str) -> dict[str, Any] | None:
        """Return a mailbox by its address, by another of its addresses, or by its X.500 name."""
        keys = ("address", "domain", "name", "display_name", "legacy_dn", "quota", "disabled")
        columns = "address, domain, name, display_name, legacy_dn, quota, disabled"
        found = self.row(f"select {columns} from mailbox where address=?", address.lower())
        if found is None and address.startswith("/"):
            found = self.row(f"select {columns} from mailbox where legacy_dn=? collate nocase", address)
        if found is None:
            said = f"{'x500' if address.startswith('/') else 'smtp'}:{address}"
            found = self.row(
                f"select {columns} from mailbox where address="
                "(select mailbox from proxy where address=? collate nocase)",
                said,
            )
        return dict(zip(keys, found, strict=True)) if found else None

    def add_proxy(self, mailbox: str, address: str) -> None:
        """Give a mailbox another address: `smtp:…` or `X500:…`."""
        self.rows("insert or ignore into proxy values(?, ?)", mailbox, address)

    def people(self, domain: str) -> list[Person]:
        """Return the directory of an organisation, by display name: mailboxes, lists and contacts."""
        with self.lock:
            proxies: dict[str, list[str]] = {}
            for box, address in self.rows("select mailbox, proxy.address from proxy order by proxy.address"):
                proxies.setdefault(box, []).append(address)
            found = [
                Person(address, shown, "Mailbox", dn, (f"SMTP:{address}", *proxies.get(address, ())))
                for address, shown, dn, name in self.rows(
                    "select address, display_name, legacy_dn, name from mailbox where domain=?", domain
                )
                if name != "outside"
            ]
            found += [
                Person(address, shown, kind, "", (f"SMTP:{address}",), tuple(json.loads(members)))
                for address, shown, kind, members in self.rows(
                    "select address, name, kind, members from person where domain=?", domain
                )
            ]
        return sorted(found, key=lambda each: (each.name.lower(), each.address))

    def person(self, domain: str, address: str) -> dict[str, Any] | None:
        """Return a list or a contact of the directory by its address."""
        found = self.row(
            "select address, name, kind, members from person where domain=? and address=?", domain, address.lower()
        )
        return (
            {"address": found[0], "name": found[1], "kind": found[2], "members": json.loads(found[3])}
            if found
            else None
        )

    def add_person(self, domain: str, address: str, name: str, kind: str, members: Sequence[str] = ()) -> None:
        self.rows(
            "insert or replace into person values(?, ?, ?, ?, ?)",
            domain,
            address.lower(),
            name,
            kind,
            json.dumps(members),
        )

    def used(self, address: str) -> int:
        """Return the octets that a mailbox holds."""
        found = self.row("select coalesce(sum(size), 0) from item where mailbox=? and gone=0", address)
        return int(found[0]) if found else 0

    # --- folders ---

    def _add_folder(self, mailbox: str, parent: int, role: str, name: str, kind: str) -> int:
        made = self._db.execute(
            "insert into folder(mailbox, parent, role, name, class) values(?, ?, ?, ?, ?)",
            (mailbox, parent, role, name, kind),
        )
        return int(made.lastrowid or 0)

    def add_folder(self, mailbox: str, parent: int, name: str, kind: str = "IPF.Note") -> int:
        with self.lock:
            made = self._add_folder(mailbox, parent, "", name, kind)
            self._tell_folder(mailbox, made, "made")
            return made

    def folder(self, id: int) -> Folder | None:
        found = self.row("select id, mailbox, parent, role, name, class from folder where id=? and gone=0", id)
        return Folder(*found) if found else None

    def well_known(self, mailbox: str, role: str) -> Folder | None:
        found = self.row(
            "select id, mailbox, parent, role, name, class from folder where mailbox=? and role=? and gone=0",
            mailbox,
            role,
        )
        return Folder(*found) if found else None

    def children(self, parent: int, deep: bool = False) -> list[Folder]:
        """Return the folders in a folder, or all below it, each after the one it is in."""
        found = [
            Folder(*each)
            for each in self.rows(
                "select id, mailbox, parent, role, name, class from folder where parent=? and gone=0 order by id",
                parent,
            )
        ]
        if not deep:
            return found
        return [below for each in found for below in (each, *self.children(each.id, True))]

    def counts(self, folder: int) -> tuple[int, int, int]:
        """Return how many items a folder has, how many of them are not read, and how many folders are in it."""
        items = self.row("select count(*), coalesce(sum(1-is_read), 0) from item where folder=? and gone=0", folder)
        below = self.row("select count(*) from folder where parent=? and gone=0", folder)
        return (*(items or (0, 0)), (below or (0,))[0])

    def path(self, folder: int) -> str:
        """Return a folder as the tests name it: its role, or its path from the top."""
        found = self.folder(folder)
        if found is None:
            return ""
        if found.role:
            return found.role
        above = self.folder(found.parent)
        if above is None or above.role in ("msgfolderroot", "root"):
            return found.name
        return f"{self.path(above.id)}/{found.name}"

    def at(self, mailbox: str, path: str, create: bool = False) -> Folder | None:
        """Return the folder that a role or a path names; make what is not there where asked to."""
        known = self.well_known(mailbox, path)
        if known is not None:
            return known
        here = self.well_known(mailbox, "msgfolderroot")
        for name in path.split("/"):
            if here is None:
                return None
            inside = [each for each in self.children(here.id) if name.lower() in (each.name.lower(), each.role)]
            here = inside[0] if inside else self.folder(self.add_folder(mailbox, here.id, name)) if create else None
        return here

    def alter_folder(
        self, id: int, *, name: str | None = None, parent: int | None = None, kind: str | None = None
    ) -> None:
        with self.lock:
            for column, value in (("name", name), ("parent", parent), ("class", kind)):
                if value is not None:
                    self._db.execute(f"update folder set {column}=? where id=?", (value, id))
            found = self.folder(id)
            if found is not None:
                self._tell_folder(found.mailbox, id, "altered")

    def remove_folder(self, id: int) -> None:
        """Take a folder away with all in it."""
        with self.lock:
            for each in (*self.children(id, True), self.folder(id)):
                if each is not None:
                    self._db.execute("update item set gone=1 where folder=?", (each.id,))
                    self._db.execute("update folder set gone=1 where id=?", (each.id,))
                    self._tell_folder(each.mailbox, each.id, "removed")

    # --- items ---

    def add(
        self,
        mailbox: str,
        folder: int,
        new: NewItem,
        birth: int | None = None,
        kind: str = "create",
        was: tuple[int, int] | None = None,
    ) -> int:
        """Store an item and return its number; `birth`, `kind` and `was`: for what was moved. Raises: Full."""
        header = mime.header_of(new.octets)
        now = time.time()
        sent = mime.date_of(header)
        with self.lock:
            quota = self.row("select quota from mailbox where address=?", mailbox)
            if quota and quota[0] is not None and self.used(mailbox) + len(new.octets) > quota[0]:
                raise Full(mailbox)
            self._db.execute("begin")
            made = self._db.execute(
                "insert into item(mailbox, folder, birth, version, class, mime, native, received_at, sent_at,"
                " created_at, modified_at, is_read, is_draft, size, header, categories, bcc)"
                " values(?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    mailbox,
                    folder,
                    birth,
                    new.class_ or mime.item_class(new.octets, header),
                    new.octets,
                    new.native,
                    new.received_at if new.received_at is not None else now,
                    sent if sent is not None else now,
                    now,
                    now,
                    int(new.is_read),
                    int(new.is_draft),
                    len(new.octets),
                    json.dumps(header),
                    json.dumps(list(new.categories)),
                    json.dumps(list(new.bcc)),
                ),
            ).lastrowid
            assert made is not None
            self._db.execute("update item set uid=id, birth=coalesce(birth, id) where id=?", (made,))
            self._db.executemany(
                "insert into property values(?, ?, ?, ?)",
                [(made, key, type_, _flat(value)) for key, (type_, value) in new.properties.items()],
            )
            self._db.execute("commit")
            self._tell(mailbox, folder, made, kind, was)
        return made

    def item(self, id: int) -> Item | None:
        found = self.items((id,))
        return found[0] if found else None

    def items(self, ids: Iterable[int]) -> list[Item]:
        """Return those of the items that are there, in the order asked."""
        wanted = list(ids)
        found: dict[int, Item] = {}
        for start in range(0, len(wanted), 500):
            some = wanted[start : start + 500]
            marks = ",".join("?" * len(some))
            for each in self.rows(f"select {_ITEM} from item where gone=0 and id in ({marks})", *some):
                found[each[0]] = Item(
                    *each[:10],
                    bool(each[10]),
                    bool(each[11]),
                    bool(each[12]),
                    *each[13:15],
                    *map(json.loads, each[15:18]),
                )
        return [found[each] for each in wanted if each in found]

    def ids_in(self, folder: int) -> list[int]:
        """Return the items of a folder in the order they came into it."""
        return [each[0] for each in self.rows("select id from item where folder=? and gone=0 order by uid", folder)]

    def mime(self, id: int) -> bytes:
        """Return an item's octets as they were received."""
        found = self.row("select mime from item where id=?", id)
        return bytes(found[0]) if found else b""

    def shown(self, id: int) -> bytes | None:
        """Return what `keep_shown` kept."""
        found = self.row("select shown from item where id=?", id)
        return bytes(found[0]) if found and found[0] is not None else None

    def keep_shown(self, id: int, octets: bytes) -> None:
        self.rows("update item set shown=? where id=?", octets, id)

    def native(self, id: int) -> bytes | None:
        """Return what an item of another kind was uploaded with."""
        found = self.row("select native from item where id=?", id)
        return bytes(found[0]) if found and found[0] is not None else None

    def properties(self, id: int) -> dict[str, tuple[str, Any]]:
        """Return an item's extended properties: key -> (type, text or list of texts)."""
        return {
            key: (type_, _full(type_, value))
            for key, type_, value in self.rows("select key, type, value from property where item=?", id)
        }

    def having(self, folder: int, key: str, values: Sequence[str]) -> list[int]:
        """Return the items of a folder whose property has one of these values."""
        marks = ",".join("?" * len(values))
        found = self.rows(
            "select item.id from property join item on item.id=property.item where key=?"
            f" and value collate nocase in ({marks}) and folder=? and gone=0 order by uid",
            key,
            *values,
            folder,
        )
        return [each[0] for each in found]

    def alter(
        self,
        id: int,
        *,
        is_read: bool | None = None,
        categories: Sequence[str] | None = None,
        properties: dict[str, tuple[str, Any] | None] | None = None,
        octets: bytes | None = None,
        columns: dict[str, object] | None = None,
    ) -> None:
        """Change an item; a change of the read mark alone is told as such. A property that is None goes."""
        with self.lock:
            if is_read is not None:
                self._db.execute("update item set is_read=? where id=?", (int(is_read), id))
            if categories is not None:
                self._db.execute("update item set categories=? where id=?", (json.dumps(list(categories)), id))
            for key, value in (properties or {}).items():
                self._db.execute("delete from property where item=? and key=?", (id, key))
                if value is not None:
                    self._db.execute("insert into property values(?, ?, ?, ?)", (id, key, value[0], _flat(value[1])))
            if octets is not None:
                self._db.execute(
                    "update item set mime=?, shown=null, header=?, size=? where id=?",
                    (octets, json.dumps(mime.header_of(octets)), len(octets), id),
                )
            for column, plain in (columns or {}).items():
                self._db.execute(f"update item set {column}=? where id=?", (plain, id))
            self._db.execute("update item set version=version+1, modified_at=? where id=?", (time.time(), id))
            found = self.row("select mailbox, folder from item where id=?", id)
            only_read = is_read is not None and categories is None and not properties and octets is None and not columns
            if found:
                self._tell(found[0], found[1], id, "read" if only_read else "update")

    def copy(self, id: int, folder: int, *, move: bool = False, keep_id: bool = False) -> int:
        """Copy or move an item into a folder; return its number there. Raises: Full."""
        with self.lock:
            item = self.item(id)
            target = self.folder(folder)
            assert item is not None
            assert target is not None
            if move and keep_id:
                self._db.execute("update item set folder=?, version=version+1 where id=?", (folder, id))
                self._tell(item.mailbox, item.folder, id, "left")
                self._tell(item.mailbox, folder, id, "moved", (id, item.folder))
                return id
            if move:
                # First, so that moving needs no room for both.
                self._db.execute("update item set gone=1 where id=?", (id,))
            made = self.add(
                target.mailbox,
                folder,
                NewItem(
                    self.mime(id),
                    item.class_,
                    item.received_at,
                    item.is_read,
                    item.is_draft,
                    item.categories,
                    item.bcc,
                    self.properties(id),
                    self.native(id),
                ),
                item.birth if move else None,
                "moved" if move else "create",
                (id, item.folder) if move else None,
            )
            self._db.execute(
                "update item set created_at=?, sent_at=? where id=?", (item.created_at, item.sent_at, made)
            )
            if move:
                self._tell(item.mailbox, item.folder, id, "left")
            return made

    def remove(self, id: int) -> None:
        """Take an item away for good."""
        with self.lock:
            found = self.row("select mailbox, folder from item where id=? and gone=0", id)
            if found:
                self._db.execute("update item set gone=1, mime=x'', shown=null where id=?", (id,))
                self._tell(found[0], found[1], id, "delete")

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


def _flat(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list) else str(value)


def _full(type_: str, value: str) -> Any:
    return json.loads(value) if type_.endswith("Array") else value
