"""Shelf: what a mailbox store asks of an organisation beyond what carries mail: hierarchy, states, changes of items.

One per way of asking (EWS, Graph). Every method raises `Fault` alone; an item's trouble is a Fault in the list, in the
order asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from connectors.exchange.organisation import Fault
from gateway.contract import Content, FolderRole, Form, Holds, ItemState, Kind

Verb = Literal["answered", "forwarded", ""]
"""What was last done with an item: Exchange remembers one thing (PidTagLastVerbExecuted)."""
VERBS: Final[dict[int, Verb]] = {102: "answered", 103: "answered", 104: "forwarded"}
"""MS-OXOMSG §2.2.1.57: replied to the sender, to all, forwarded."""

CLASSES: Final[dict[Kind, str]] = {
    "mail": "IPF.Note",
    "calendar": "IPF.Appointment",
    "contacts": "IPF.Contact",
    "tasks": "IPF.Task",
    "notes": "IPF.StickyNote",
}
"""PidTagContainerClass (MS-OXOSFLD §2.2.5)."""


@dataclass(frozen=True, slots=True)
class Row:
    """A folder as its mailbox lists it; `parent` is "" at the top."""

    id: str
    name: str
    parent: str = ""
    folder_class: str = ""
    role: FolderRole | None = None
    total: int | None = None
    unread: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What changed in a folder since a token."""

    items: tuple[ItemState, ...]
    gone: tuple[str, ...]
    token: str
    more: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be changed of an item; None leaves a thing as it is."""

    seen: bool | None = None
    flagged: bool | None = None
    verb: Verb | None = None
    keywords: tuple[str, ...] | None = None

    @property
    def is_nothing(self) -> bool:
        return self == Change()


@dataclass(frozen=True, slots=True)
class Lossless:
    """An item to be created from what a store exported, or from an iCalendar object or a vCard."""

    key: str
    content: Content
    form: Form
    kind: Kind


class Shelf(Protocol):
    """The hierarchy and the items of an organisation's mailboxes."""

    holds: Holds
    dates_drafts: bool
    """A draft can be given the time at which it came."""

    async def folders(self, mailbox: str) -> list[Row]:
        """Return all folders below the top, in any order."""
        ...

    async def make_folder(self, mailbox: str, parent: str, name: str, kind: Kind) -> str:
        """Make a folder under another ("": the top); return its id."""
        ...

    async def change_folder(self, mailbox: str, id: str, *, name: str | None, parent: str | None) -> None:
        """Give a folder another name, another parent ("": the top), or both."""
        ...

    async def drop_folder(self, mailbox: str, id: str) -> None:
        """Remove a folder with all in it, for good; one that is gone is done."""
        ...

    async def listing(self, mailbox: str, folder: str, token: str | None, limit: int) -> Listing:
        """Return what changed; raises SYNC_STATE_LOST."""
        ...

    async def states(self, mailbox: str, ids: Sequence[str]) -> list[ItemState | Fault]:
        """Return items as a listing shows them."""
        ...

    async def change(self, mailbox: str, changes: Sequence[tuple[ItemState, Change]]) -> list[str | Fault]:
        """Change items that are as these states say; return their new versions."""
        ...

    async def found(self, mailbox: str, folder: str, keys: Sequence[str]) -> dict[str, str]:
        """Return the ids of a folder's items that carry these keys."""
        ...

    async def move(self, mailbox: str, ids: Sequence[str], folder: str) -> list[str | Fault]:
        """Move items; return their ids there."""
        ...

    async def remove(self, mailbox: str, ids: Sequence[str], *, purge: bool) -> list[Fault | None]:
        """Remove items, to the deleted items or for good."""
        ...

    async def lossless(self, mailbox: str, ids: Sequence[str], form: Form) -> list[Content | Fault]:
        """Return items as an export, an iCalendar object or a vCard."""
        ...

    async def put(self, mailbox: str, folder: str, items: Sequence[Lossless]) -> list[str | Fault]:
        """Create items from such; return their ids."""
        ...
