"""The organisations, mailboxes, folders and items of the peer: one SQLite database, one lock.

An item is parsed once, when it is stored; the header stands beside it. A moved item is a new one: Exchange gives it
another ItemId, unless the client asks for immutable ones; `birth` is then what stays.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal

from tests.peers.ews import mime
from tests.peers.ews.organisations import Organisations
from tests.peers.ews.records import Change, Folder, Full, Item, NewItem, Person

_ITEM: Final = (
    "id, mailbox, folder, birth, version, class, received_at, sent_at, created_at, modified_at, is_read, is_draft,"
    " is_submitted, uid, size, header, categories, bcc"
)


class Store(Organisations):
    """All organisations and what is in them."""

    # --- items ---

    def add(
        self,
        mailbox: str,
        folder: int,
        new: NewItem,
        kind: str = "create",
    ) -> int:
        """Store an item and return its number; `kind`: `new` of what was delivered. Raises: Full."""
        header = mime.header_of(new.octets)
        now = time.time()
        sent = mime.date_of(header)
        with self.transaction():
            self._check_room(mailbox, len(new.octets))
            made = self._db.execute(
                "insert into item(mailbox, folder, version, class, mime, native, received_at, sent_at,"
                " created_at, modified_at, is_read, is_draft, size, header, categories, bcc)"
                " values(?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    mailbox,
                    folder,
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
            self._db.execute("update item set uid=id, birth=id where id=?", (made,))
            self._db.executemany(
                "insert into property values(?, ?, ?, ?)",
                [(made, key, type_, _flat(value)) for key, (type_, value) in new.properties.items()],
            )
            self._tell(mailbox, folder, made, kind)
        return made

    def _check_room(self, mailbox: str, octets: int) -> None:
        quota = self.row("select quota from mailbox where address=?", mailbox)
        if quota and quota[0] is not None and self.used(mailbox) + octets > quota[0]:
            raise Full(mailbox)

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

    def ids_in(self, folder: int, order: Literal["came", "came last", "newest"] = "came") -> list[int]:
        """Return the items of a folder, in the order they came into it or by when they were received."""
        by = {"came": "uid", "came last": "uid desc", "newest": "received_at desc, uid desc"}[order]
        return [each[0] for each in self.rows(f"select id from item where folder=? and gone=0 order by {by}", folder)]

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
        with self.transaction():
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
        with self.transaction():
            item = self.item(id)
            target = self.folder(folder)
            assert item is not None
            assert target is not None
            if move and keep_id:
                self._db.execute("update item set folder=?, version=version+1 where id=?", (folder, id))
                self._tell(item.mailbox, item.folder, id, "left")
                self._tell(item.mailbox, folder, id, "moved", (id, item.folder))
                return id
            if not move or target.mailbox != item.mailbox:
                self._check_room(target.mailbox, item.size)
            made = self._db.execute(
                "insert into item(mailbox, folder, birth, version, class, mime, native, received_at, sent_at,"
                " created_at, modified_at, is_read, is_draft, is_submitted, size, header, categories, bcc)"
                " select ?, ?, ?, 1, class, mime, native, received_at, sent_at,"
                " created_at, ?, is_read, is_draft, is_submitted, size, header, categories, bcc from item where id=?",
                (target.mailbox, folder, item.birth if move else None, time.time(), id),
            ).lastrowid
            assert made is not None
            self._db.execute("update item set uid=id, birth=coalesce(birth, id) where id=?", (made,))
            self._db.execute("insert into property select ?, key, type, value from property where item=?", (made, id))
            if move:
                self._db.execute("update item set gone=1, mime=x'', shown=null where id=?", (id,))
            was = (id, item.folder) if move else None
            self._tell(target.mailbox, folder, made, "moved" if move else "create", was)
            if move:
                self._tell(item.mailbox, item.folder, id, "left")
            return made

    def remove(self, id: int) -> None:
        """Take an item away for good."""
        with self.transaction():
            found = self.row("select mailbox, folder from item where id=? and gone=0", id)
            if found:
                self._db.execute("update item set gone=1, mime=x'', shown=null where id=?", (id,))
                self._tell(found[0], found[1], id, "delete")


def _flat(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list) else str(value)


def _full(type_: str, value: str) -> Any:
    return json.loads(value) if type_.endswith("Array") else value


__all__ = ["Change", "Folder", "Full", "Item", "NewItem", "Person", "Store"]
