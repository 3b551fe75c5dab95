"""What the store keeps: folders, items, people, and what happened to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


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
