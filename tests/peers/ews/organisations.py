"""The organisations of the peer: their mailboxes, their directory, and the mailboxes' folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from tests.peers.ews.database import Database
from tests.peers.ews.records import Folder, Person

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


class Organisations(Database):
    """What there is beside items."""

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
        with self.transaction():
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
        with self.transaction():
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
        with self.transaction():
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
        with self.transaction():
            for column, value in (("name", name), ("parent", parent), ("class", kind)):
                if value is not None:
                    self._db.execute(f"update folder set {column}=? where id=?", (value, id))
            found = self.folder(id)
            if found is not None:
                self._tell_folder(found.mailbox, id, "altered")

    def remove_folder(self, id: int) -> None:
        """Take a folder away with all in it."""
        with self.transaction():
            for each in (*self.children(id, True), self.folder(id)):
                if each is not None:
                    self._db.execute("update item set gone=1 where folder=?", (each.id,))
                    self._db.execute("update folder set gone=1 where id=?", (each.id,))
                    self._tell_folder(each.mailbox, each.id, "removed")
