"""The peer's other side, for tests alone: JSON to /peer/NAME on a port of its own, on loopback."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import orjson

from tests.peers.ews import honest, outbox
from tests.peers.ews.auth import SERVICE
from tests.peers.ews.faults import Plan
from tests.peers.ews.http import Asked, Connection, Server
from tests.peers.ews.ids import identifier, number_of
from tests.peers.ews.server import Ews
from tests.peers.ews.store import Item, NewItem


class Control:
    """What a test may do to the organisations; each public method is one path, its arguments the JSON."""

    def __init__(self, ews: Ews, *servers: Server) -> None:
        self._ews = ews
        self._store = ews.store
        self._servers = servers

    def serve(self, connection: Connection, asked: Asked) -> None:
        method: Callable[..., Any] | None = getattr(self, asked.path.removeprefix("/peer/"), None)
        if not asked.path.startswith("/peer/") or asked.path.startswith("/peer/_") or method is None:
            connection.answer(404)
            return
        try:
            answer = method(**orjson.loads(asked.body or b"{}"))
            connection.answer(200, orjson.dumps(answer), "application/json")
        except Exception as error:  # noqa: BLE001 - the test shall read what went wrong
            connection.answer(500, orjson.dumps(f"{type(error).__name__}: {error}"), "application/json")

    def organisation(self, domain: str, names: list[str], honest: bool = True) -> str:
        with self._store.transaction():
            self._store.add_company(domain, honest)
            self._ews.door.add(domain, SERVICE)
            for name in (*names, outbox.OUTSIDE):
                self.add_mailbox(domain, name)
        return domain

    def add_mailbox(self, domain: str, name: str) -> str:
        self._ews.door.add(domain, name)
        return self._store.add_mailbox(domain, name)

    def mailbox(self, address: str) -> dict[str, Any] | None:
        return self._store.mailbox(address)

    def put(self, address: str, octets: str, folder: str = "inbox", **how: Any) -> str:
        with self._store.transaction():
            at = self._store.at(address, folder, create=True)
            assert at is not None
            new = NewItem(
                base64.b64decode(octets),
                how.get("item_class"),
                how.get("received_at"),
                bool(how.get("is_read", False)),
                bool(how.get("is_draft", False)),
                how.get("categories", ()),
                how.get("bcc", ()),
                {key: _typed(value) for key, value in (how.get("extended") or {}).items()},
            )
            return identifier("item", self._store.add(address, at.id, new, kind="new"))

    def fill(self, address: str, count: int, folder: str = "inbox", size: int = 0) -> None:
        """Lay many small messages into a folder."""
        for number in range(count):
            self.put(address, _text(f"Subject: {number}\r\n\r\n{'x' * size}\r\n".encode()), folder)

    def items(self, address: str, folder: str = "inbox", whole: bool = True) -> list[dict[str, Any]]:
        with self._store.transaction():
            at = self._store.at(address, folder)
            if at is None:
                return []
            return [self._stored(each, whole) for each in self._store.items(self._store.ids_in(at.id))]

    def outside(self, domain: str) -> list[dict[str, Any]]:
        return self.items(f"{outbox.OUTSIDE}@{domain}")

    def folders(self, address: str) -> list[str]:
        top = self._store.well_known(address, "msgfolderroot")
        return [self._store.path(each.id) for each in self._store.children(top.id, deep=True)] if top else []

    def alter(self, address: str, id: str, **changes: Any) -> str:
        number, _ = number_of("item", id)
        with self._store.transaction():
            if changes.get("delete"):
                self._store.remove(number)
                return id
            if "octets" in changes:
                self._store.alter(number, octets=base64.b64decode(changes["octets"]))
            if "is_read" in changes or "categories" in changes:
                self._store.alter(number, is_read=changes.get("is_read"), categories=changes.get("categories"))
            if changes.get("move"):
                at = self._store.at(address, changes["move"], create=True)
                assert at is not None
                return identifier("item", self._store.copy(number, at.id, move=True))
        return id

    def log(self, domain: str, operation: str | None = None, whole: bool = True) -> list[dict[str, Any]]:
        found = [each for each in self._ews.log[domain] if operation in (None, each["operation"])]
        octets = ("body", "answer")
        return [each | {name: _text(each[name]) if whole else "" for name in octets} for each in found]

    def fault(self, domain: str, operation: str, kind: str, **how: Any) -> None:
        if kind == "drop_stream" and not any(how.get(key) for key in ("nth", "every", "chance")):
            self._ews.subscriptions.drop(domain)
            return
        known = {key: how.pop(key) for key in ("nth", "every", "chance", "mailbox") if key in how}
        self._ews.faults[domain].add(Plan(operation, kind, **known, how=how))

    def calm(self, domain: str) -> None:
        self._ews.faults[domain].calm()

    def expire_sync(self, domain: str) -> None:
        self._store.expire_sync(domain)

    def forget_subscriptions(self, domain: str) -> None:
        self._ews.subscriptions.forget(domain)

    def streams(self, domain: str) -> int:
        return self._ews.subscriptions.streams(domain)

    def quota(self, address: str, octets: int | None) -> None:
        self._store.rows("update mailbox set quota=? where address=?", octets, address)

    def disable(self, address: str, on: bool) -> None:
        self._store.rows("update mailbox set disabled=? where address=?", int(on), address)

    def grant(self, address: str, author: str) -> None:
        self._store.rows("insert or ignore into grant_as values(?, ?)", address, author.lower())

    def proxy(self, address: str, proxy: str) -> None:
        self._store.add_proxy(address, proxy)

    def person(self, domain: str, address: str, name: str, kind: str, members: list[str]) -> None:
        self._store.add_person(domain, address, name, kind, members)

    def violations(self) -> list[str]:
        found, self._ews.violations = self._ews.violations, []
        return found

    def refuse(self, on: bool) -> None:
        for each in self._servers:
            each.refuse(on)

    def cut(self) -> None:
        for each in self._servers:
            each.cut_all()

    def revoke(self) -> None:
        self._ews.door.revoke()

    def ready(self) -> dict[str, Any]:
        return {"validates": self._ews.validator.is_on, "port": self._servers[0].port}

    def _stored(self, item: Item, whole: bool) -> dict[str, Any]:
        return {
            "id": identifier("item", item.id),
            "folder": self._store.path(item.folder),
            "octets": _text(self._store.mime(item.id)) if whole else "",
            "shown": _text(honest.shown(self._store, item)) if whole else "",
            "is_read": item.is_read,
            "is_draft": item.is_draft,
            "received_at": item.received_at,
            "categories": item.categories,
            "properties": {key: value for key, (_, value) in self._store.properties(item.id).items()},
            "item_class": item.class_,
            "subject": (item.header.get("subject") or [""])[0],
            "mailbox": item.mailbox,
        }


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _typed(value: Any) -> tuple[str, Any]:
    if isinstance(value, list):
        return "StringArray", value
    return (
        ("Boolean", str(value).lower())
        if isinstance(value, bool)
        else ("Integer" if isinstance(value, int) else "String", value)
    )
