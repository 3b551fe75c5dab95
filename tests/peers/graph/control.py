"""What tests order and ask, as JSON over HTTP: `tests.peers.graph.process` speaks it."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from typing import Any

from tests.peers.graph import ids, messages
from tests.peers.graph.call import Call
from tests.peers.graph.faults import Fault
from tests.peers.graph.login import Application
from tests.peers.graph.sending import lay
from tests.peers.graph.service import Service
from tests.peers.graph.store import Item, Mailbox


class Control:
    """One method a verb; all take and give what JSON holds, octets in base64."""

    def __init__(self, service: Service, refuse: Callable[[bool], None]) -> None:
        self._service, self._store, self._refuse = service, service.store, refuse

    def do(self, verb: str, said: dict[str, Any]) -> Any:
        """Do what is ordered. Raises: whatever goes wrong."""
        return getattr(self, f"do_{verb}")(**said)

    def do_organisation(self, names: list[str], domain: str, honest: bool) -> dict[str, Any]:
        company = self._store.company(domain, honest)
        application = Application(company, f"tenant-{domain}", str(uuid.uuid4()), uuid.uuid4().hex)
        self._service.login.register(application)
        for name in names:
            self._enter(company, domain, name, f"{name}@{domain}", "mailbox")
        return {
            "company": company, "tenant": application.tenant, "client_id": application.client_id,
            "client_secret": application.secret,
        }  # fmt: skip

    def do_put(self, company: int, name: str, octets: str, folder: str, properties: dict[str, Any]) -> str:
        owner = self._owner(company, name)
        return self._id(lay(self._service, company, owner, folder, base64.b64decode(octets), **properties))

    def do_items(self, company: int, name: str, folder: str | None, whole: bool) -> list[dict[str, Any]]:
        owner = self._owner(company, name)
        found = self._store.folders(owner.id)
        wanted = [
            (each, path) for each in found if (path := self._store.path(each)) and folder in (None, path, each.known)
        ]
        return [
            self._stored(company, owner, each, path, whole) for at, path in wanted for each in self._store.items(at.id)
        ]

    def do_folders(self, company: int, name: str) -> list[str]:
        found = self._store.folders(self._owner(company, name).id)
        return [path for each in found if (path := self._store.path(each))]

    def do_alter(self, company: int, name: str, id: str, changes: dict[str, Any]) -> str:
        owner, parsed = self._owner(company, name), ids.parse_item(id)
        item = self._store.item(owner.id, parsed.number) if parsed else None
        assert item is not None
        if changes.get("delete"):
            self._store.remove(item)
            return id
        item.is_read = changes.get("is_read", item.is_read)
        if "categories" in changes:
            item.resource["categories"] = list(changes["categories"])
        if {"is_read", "categories"} & set(changes):
            self._store.update(item)
        if "move" in changes:
            self._store.move(item, self._store.place(owner.id, changes["move"]))
        return self._id(item)

    def do_log(self, company: int, after: int, whole: bool) -> list[dict[str, Any]]:
        octets = "body, answer" if whole else "x'', x''"
        rows = self._store.all(
            f"select operation, user, mailbox, {octets}, answered, codes, at, headers, id from request"
            " where company=? and id>? order by id", company, after,
        )  # fmt: skip
        return [
            {
                "operation": row[0], "user": row[1], "mailbox": row[2], "body": _text(row[3]), "answer": _text(row[4]),
                "answered": row[5], "codes": [each for each in json.loads(row[6]) if each], "at": row[7],
                "headers": json.loads(row[8]), "id": row[9],
            } for row in rows
        ]  # fmt: skip

    def do_fault(self, company: int, operation: str, kind: str, how: dict[str, Any], **when: Any) -> None:
        mailbox = how.pop("mailbox", "").lower()
        self._service.faults.add(company, Fault(operation, kind, mailbox=mailbox, how=how, **when))

    def do_calm(self, company: int) -> None:
        self._service.faults.calm(company)

    def do_expire_sync(self, company: int) -> None:
        generation = self._service.generation
        generation[company] = generation.get(company, 0) + 1

    def do_quota(self, company: int, name: str, octets: int | None) -> None:
        self._store.do("update mailbox set quota=? where id=?", octets, self._owner(company, name).id)

    def do_disable(self, company: int, name: str, on: bool) -> None:
        self._store.do("update mailbox set disabled=? where id=?", on, self._owner(company, name).id)

    def do_group(self, company: int, domain: str, name: str, members: list[str]) -> str:
        return self._listed(company, domain, name, f"{name}@{domain}", "group", members)

    def do_contact(self, company: int, domain: str, name: str, address: str) -> str:
        return self._listed(company, domain, name, address, "contact", [address])

    def do_outside(self, company: int) -> list[dict[str, Any]]:
        rows = self._store.all("select id, address, octets, at from outside where company=? order by id", company)
        return [{"id": str(row[0]), "mailbox": row[1], "octets": _text(row[2]), "at": row[3]} for row in rows]

    def do_add(self, company: int, domain: str, name: str) -> str:
        self._enter(company, domain, name, f"{name}@{domain}", "mailbox")
        return f"{name}@{domain}"

    def do_grant(self, company: int, name: str, author: str) -> None:
        self._service.granted.setdefault(self._owner(company, name).id, set()).add(author.lower())

    def do_certify(self, client_id: str, pem: str) -> None:
        self._service.login.certify(client_id, pem.encode())

    def do_revoke(self, company: int) -> None:
        self._service.login.revoke(company)

    def do_set(self, company: int, **options: Any) -> None:
        """`sent_after_s`: how long what was sent stays in the outbox; `token_lasts_s`."""
        if "sent_after_s" in options:
            self._service.sent_after_s[company] = float(options["sent_after_s"])
        if "token_lasts_s" in options:
            self._service.login.lifetime_s[company] = int(options["token_lasts_s"])

    def do_violations(self) -> list[str]:
        return self._service.violations()

    def do_most_at_once(self, mailbox: str) -> int:
        return self._service.running.most[mailbox.lower()]

    def do_refuse(self, on: bool) -> None:
        self._refuse(on)

    def _owner(self, company: int, name: str) -> Mailbox:
        domain = (self._store.one("select domain from company where id=?", company) or ("",))[0]
        found = self._store.mailbox(company, name if "@" in name else f"{name}@{domain}")
        assert found is not None, f"no mailbox {name}"
        return found

    def _enter(self, company: int, domain: str, name: str, address: str, kind: str) -> int:
        dn = f"/o={domain}/ou=Exchange Administrative Group (FYDIBOHF23SPDLT)/cn=Recipients/cn={name}"
        proxies = [f"SMTP:{address}", f"X500:{dn}"]
        return self._store.enter(company, address, name.capitalize(), proxies, kind, str(uuid.uuid4()))

    def _listed(self, company: int, domain: str, name: str, address: str, kind: str, members: list[str]) -> str:
        number = self._enter(company, domain, name, address, kind)
        self._store.do("update mailbox set members=? where id=?", json.dumps(members), number)
        return address

    def _id(self, item: Item) -> str:
        return ids.item(item.id, item.moves, "immutable")

    def _stored(self, company: int, owner: Mailbox, item: Item, folder: str, whole: bool) -> dict[str, Any]:
        call = Call(self._service, company, "", "", "", {}, {}, b"", "")
        shown = messages.mime(call, item) if whole else b""
        extended = {key: value for key, (_, value) in messages.properties(call, item).items()}
        again = (self._store.item(owner.id, item.id) if whole else None) or item
        return {
            "id": self._id(item), "folder": folder,
            "octets": _text(again.received or shown) if whole else "", "shown": _text(shown),
            "is_read": item.is_read, "is_draft": item.is_draft, "received_at": item.received_at,
            "categories": item.resource.get("categories") or [], "properties": extended,
            "item_class": item.item_class, "subject": item.resource.get("subject") or "", "mailbox": owner.address,
        }  # fmt: skip


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
