"""Organisation: what the connector needs of an Exchange organisation, whether it is asked by EWS or by Graph.

Source and destination, and with them all that makes mail exact (look-ups, order, outcomes), are written once over
this protocol. Times are seconds since 1970; Exchange gets whole seconds. Every method raises `Fault` alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, get_args

from gateway.contract import Content, Note, Scope

Why = Literal["refused", "busy", "unknown", "unreachable", "denied"]
"""What a fault says of the request: refused by a code; put off; perhaps done; certainly not sent; not permitted."""

Role = Literal["inbox", "sent", "drafts", "outbox", "trash", "junk"]
Where = Role | tuple[str, ...]
"""A folder of a mailbox: by its role, or by its path under the top."""

ROLES: Final[frozenset[str]] = frozenset(get_args(Role))
SYNC_STATE_LOST: Final = "SyncStateLost"
"""The code of the fault of `page` where the token isn't known any more: begin anew without one."""


class Fault(Exception):
    """What Exchange, or the way to it, said instead of doing what was asked.

    `code` is its own word (a ResponseCode, Graph's error code, or `HTTP 503`); `text` is short, printable and free of
    secrets and of content. `retry_after_s` is its own hint. `scope` says how far it reaches: this item, this mailbox
    (HOP), or with `everywhere` the whole organisation.
    """

    def __init__(
        self,
        code: str,
        text: str = "",
        why: Why = "refused",
        *,
        retry_after_s: float | None = None,
        scope: Scope = Scope.RECIPIENT,
        everywhere: bool = False,
    ) -> None:
        self.code = code
        self.text = text
        self.why: Why = why
        self.retry_after_s = retry_after_s
        self.scope = scope
        self.everywhere = everywhere
        super().__init__(f"{code}: {text}" if text else code)


@dataclass(frozen=True, slots=True)
class Ref:
    """An item of a mailbox; `version` changes with each change of it, "" where it isn't known."""

    mailbox: str
    id: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """An item as a folder's list shows it. `marked`: it carries the category that says it was taken; `draft`: it was
    never sent."""

    ref: Ref
    size: int
    item_class: str
    message_id: str | None
    received_at: float | None
    marked: bool = False
    draft: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A part of what has changed in a folder since a token; `more`: ask again with the new one at once."""

    seen: tuple[Seen, ...]
    gone: tuple[str, ...]
    changed: tuple[Seen, ...]
    token: str
    more: bool


@dataclass(frozen=True, slots=True)
class Party:
    """A sender or recipient as Exchange shows it; `routing` says what `address` is: "SMTP", "EX" or another."""

    name: str
    address: str
    routing: str = "SMTP"


@dataclass(frozen=True, slots=True)
class Addressed:
    """Whom an item is from and to, by its properties."""

    sender: Party | None
    to: tuple[Party, ...] = ()
    cc: tuple[Party, ...] = ()
    bcc: tuple[Party, ...] = ()
    received_by: Party | None = None
    in_reply_to: str | None = None


@dataclass(frozen=True, slots=True)
class New:
    """An item to create. `key` is written into the property by which it is found again."""

    key: str
    mime: Content
    received_at: float | None = None
    is_read: bool = False
    flagged: bool = False
    categories: tuple[str, ...] = ()
    draft: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """A created item; `notes` tell what this way of creating changed."""

    ref: Ref | None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """An entry of the directory. `addresses` are "SMTP:…", "X500:…" and so on; `kind` is "mailbox", "contact",
    "group", "room" or "other"."""

    name: str
    smtp: str
    addresses: tuple[str, ...] = ()
    legacy_dn: str | None = None
    kind: str = "mailbox"


@dataclass(frozen=True, slots=True)
class Move:
    """Put a taken item into a folder."""

    folder: str


@dataclass(frozen=True, slots=True)
class Mark:
    """Leave a taken item, with a category."""

    category: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a taken item; `purge`: past the deleted items."""

    purge: bool = False


Finish = Move | Mark | Delete


class Organisation(Protocol):
    """An Exchange organisation. One object a connector; its methods may be called at once, for any mailboxes."""

    async def start(self) -> None:
        """Make ready, without asking the server for anything it may be too busy to give. Raises: ValueError, OSError
        that name a mistake in the configuration, Fault."""
        ...

    async def stop(self) -> None:
        """End every request and stream; returns soon, whatever the server does. Safe to call twice."""
        ...

    def trouble(self) -> str | None:
        """Say in words for an operator what does not work, None where all does."""
        ...

    async def folder(self, mailbox: str, where: Where, *, create: bool = False) -> str:
        """Return a folder's id, made with its parents where it is not there and `create` is set."""
        ...

    async def page(self, mailbox: str, folder: str, token: str | None, limit: int = 100) -> Page:
        """Return what has changed in a folder since `token`; None: all there is. Raises SYNC_STATE_LOST."""
        ...

    def mime(self, refs: Sequence[Seen]) -> AsyncIterator[tuple[Ref, Content | Fault]]:
        """Yield the octets of each item of one mailbox as soon as they are there, in any order, each once."""
        ...

    async def addressed(self, refs: Sequence[Ref]) -> dict[Ref, Addressed | Fault]:
        """Return whom items of one mailbox are from and to."""
        ...

    async def create(self, mailbox: str, folder: str, items: Sequence[New]) -> list[Made | Fault]:
        """Create items by one request, at most `chunk_items`; results in the order asked.

        Raises a Fault where nothing is known of any of them singly: `unknown` where they may have been created.
        """
        ...

    async def find(self, mailbox: str, folders: Sequence[Where], keys: Sequence[str]) -> dict[str, tuple[Ref, str]]:
        """Return those of `keys` that items in these folders carry, with the item and its folder's id.

        Asks at most 20 keys a request. A folder that is not there holds nothing.
        """
        ...

    async def send(self, ref: Ref, *, copy_to: Where) -> None:
        """Send a draft, whose sent copy goes into a folder of the mailbox. An unknown result is a Fault `unknown`."""
        ...

    async def left_over(self, mailbox: str, before: float) -> list[Ref]:
        """Return drafts that carry a key and were made before a moment; a few hundred of many are enough."""
        ...

    async def finish(self, ref: Ref, how: Finish) -> None:
        """Do with a taken item what is to be done; one that is gone already is done."""
        ...

    def watch(self, watched: Sequence[tuple[str, str]]) -> AsyncIterator[tuple[str, str]]:
        """Yield (mailbox, folder id) of what may have changed; each once after every new subscription.

        Never ends and never raises but by cancellation; heals itself. Where nothing can be subscribed it yields
        nothing.
        """
        ...

    async def resolve(self, names: Sequence[str]) -> dict[str, Person | None]:
        """Look up addresses (legacy DNs among them) in the directory."""
        ...

    def people(self) -> AsyncIterator[Person]:
        """Yield the directory's entries."""
        ...


def where(text: str) -> Where:
    """Return the folder that an option names: a role, or a path with slashes."""
    role = text.strip().lower()
    for each in get_args(Role):
        if role == each:
            found: Role = each
            return found
    return tuple(part for part in (each.strip() for each in text.split("/")) if part)
