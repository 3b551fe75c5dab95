"""The mailbox side of a connector: folders, their items, what changed in them, and how to put more in.

A store says what it can hold (`Holds`) and opens mailboxes one by one. Whoever keeps two stores in step plans by what
both hold; a store decides nothing of that and remembers nothing between two calls but its connections. Per-item
trouble is a Status in the list that is returned, in the order asked; what concerns the whole call is a StoreFault, and
nothing else is raised.

It is a part of `gateway.contract`, and may be imported by itself: what reads and writes mailboxes needs no more, and
that takes a tenth of the time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal, Protocol, get_args, runtime_checkable

from gateway.fidelity import Fate, Note
from gateway.frozen import quickly_made
from gateway.message import Content
from gateway.outcome import Scope
from gateway.status import Status

Flag = Literal["seen", "answered", "flagged", "draft", "deleted", "forwarded", "mdn_sent", "junk"]
"""What an item may be marked with: IMAP's flags (RFC 9051 §2.3.2) and the keywords registered for all (`$Forwarded`,
`$MDNSent`, `$Junk`)."""
FLAGS: Final[frozenset[Flag]] = frozenset(get_args(Flag))
"""All flags."""

FolderRole = Literal[
    "inbox", "sent", "drafts", "trash", "junk", "archive", "outbox", "view", "calendar", "contacts", "tasks", "notes"
]  # fmt: skip
"""A `view` shows messages that are in other folders: all of them, the flagged ones (RFC 6154 §2). The last four are the
first folders of their kinds, whatever they are called."""
ROLES: Final[frozenset[FolderRole]] = frozenset(get_args(FolderRole))
"""All roles."""

Kind = Literal["mail", "calendar", "contacts", "tasks", "notes"]
"""What a folder's items are."""
KINDS: Final[frozenset[Kind]] = frozenset(get_args(Kind))
"""All kinds."""

Form = Literal["mime", "native", "ical", "vcard"]
"""How an item's content is written: an RFC 5322 message, the store's own lossless export (`Holds.native`), an
iCalendar object (RFC 5545: appointments and tasks), a vCard (RFC 6350)."""


@dataclass(frozen=True, slots=True)
class Holds:
    """What a store can hold.

    Declared and tested as Capabilities are: what is declared absent is absent. A flag that is not in `flags` is
    dropped by `append` with a Note, never an error.
    """

    flags: frozenset[Flag]
    keywords: bool
    """Words of the users' own on an item; Exchange calls them categories."""
    internal_date: bool
    """`received_at` is kept as it is given."""
    change_tokens: bool
    """`changes` with a token answers by what changed; without, every answer is everything."""
    stable_ids: bool
    """An item keeps its id when it is moved to another folder of the mailbox, or its folder gets another name."""
    exact: bool
    """Octets come back as they went in."""
    kinds: frozenset[Kind] = frozenset(("mail",))
    native: str | None = None
    """The name of a lossless form; between two stores that name the same one, items are copied in it."""
    finds: bool = True
    """What an append made is found again by its key; where not, whoever appends keeps a journal of its own."""
    tells_unseen: bool = False
    """`changes` tells also the removal of what came and went since the token, and so was in no answer."""
    subscriptions: bool = False
    """A folder's being subscribed is kept; where not, every folder is."""
    max_item_bytes: int | None = None
    max_depth: int | None = None
    forbidden_in_names: str = ""
    """Characters that no folder's name can hold."""
    forbidden_in_keywords: str = ""
    """Characters that no keyword can hold; where one has any, `_` stands for each of them."""
    nearly_exact: bool = False
    """Not `exact`, but nothing is written another way than line ends and NULs."""
    labels: bool = False
    """A folder is a label: a message that is in several of them is one, and has one `object`."""
    queues: bool = False
    """What is appended to a folder while an earlier call for it is not answered is put in behind that one's items: to
    give the store two at a time spares it the wait for the next, and changes no order."""
    writable: bool = True
    """Items are put in and altered, and folders made; where not, a mailbox is read, and items are removed from it."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Folder:
    """A folder. `path` is its way from the top, one name an entry, without any separator."""

    id: str
    path: tuple[str, ...]
    kind: Kind = "mail"
    role: FolderRole | None = None
    total: int | None = None
    unread: int | None = None
    subscribed: bool = True
    mark: str | None = None
    """Another word whenever `changes` would tell something, where that is known without asking for it. It saves the
    asking: a pass over a hundred folders in which nothing happened is one call."""


@quickly_made
@dataclass(frozen=True, slots=True)
class ItemState:
    """An item as a listing shows it. `version` changes with anything that `changes` would tell."""

    id: str
    version: str
    size: int | None = None
    flags: frozenset[Flag] = frozenset()
    keywords: frozenset[str] = frozenset()
    received_at: float | None = None
    """Seconds since 1970."""
    message_id: str | None = None
    """The Message-ID field's value with its brackets."""
    kind: Kind = "mail"
    item_class: str = ""
    """The store's own word for what it is, e.g. IPM.Schedule.Meeting.Request."""
    object: str | None = None
    """What each copy of one message has in common, in whichever folder of the mailbox it is (RFC 8474's EMAILID)."""
    labels: frozenset[str] = frozenset()
    """Names that the item is under besides its folder, where one item can be in several: Gmail's labels, with `/`
    between a label and the one above it."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed in a folder since a token: items new or altered, and ids that are no longer there.

    `more`: ask again at once with `token`. `reset`: the token asked with was not known any more (or there was none),
    so this and what follows by `more` is everything, and what is not in it is gone.
    """

    items: tuple[ItemState, ...]
    removed: tuple[str, ...]
    token: str
    more: bool
    reset: bool = False


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to be appended. `key` names this one append (letters, digits, `.`, `-`), by which `find` finds it."""

    key: str
    content: Content = field(repr=False)
    flags: frozenset[Flag] = frozenset()
    keywords: frozenset[str] = frozenset()
    received_at: float | None = None
    kind: Kind = "mail"
    form: Form = "mime"


@dataclass(frozen=True, slots=True)
class Appended:
    """An item that is there now; `notes` are what the store could not take of it as it was."""

    id: str
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What is worth knowing of a mailbox for a report; None and empty where the store does not tell."""

    used_bytes: int | None = None
    limit_bytes: int | None = None
    rights: tuple[str, ...] = ()
    """Who may do what with which folder, a line each, in the store's own words."""


class StoreFault(Exception):
    """A whole call failed.

    `scope` says how far it reaches: RECIPIENT this mailbox, MESSAGE this call, HOP the whole store. `retry_after_s` is
    the store's own hint. `unknown`: it may have been done all the same, so that appends are looked up by `find` before
    they are repeated. `place` is written by who asks several stores.
    """

    def __init__(
        self,
        status: Status,
        scope: Scope = Scope.RECIPIENT,
        retry_after_s: float | None = None,
        unknown: bool = False,
    ) -> None:
        self.status = status
        self.scope = scope
        self.retry_after_s = retry_after_s
        self.unknown = unknown
        self.place = ""
        super().__init__(str(status))


class OpenMailbox(Protocol):
    """One mailbox, open.

    Assumes: one user; calls may overlap where the store's own limits allow it. All raise StoreFault alone, and
    cancellation leaves nothing half done but what a StoreFault with `unknown` would.
    """

    def holds(self) -> Holds:
        """Return what this mailbox can hold: the store's own `holds`, or less where its server says so once open."""
        ...

    async def facts(self) -> Facts:
        """Return what the store tells of the mailbox itself."""
        ...

    async def folders(self) -> list[Folder]:
        """Return all folders of the kinds the store holds, each parent before its children."""
        ...

    async def create_folder(self, path: tuple[str, ...], kind: Kind = "mail") -> Folder:
        """Return the folder at `path`, made with its parents where it is not there.

        A folder of another kind that is there already is a StoreFault (5.6.0), and so is a name that the store can't
        have (5.3.3), in the scope MESSAGE."""
        ...

    async def rename_folder(self, id: str, path: tuple[str, ...]) -> Folder:
        """Give a folder another name, another parent, or both; its items stay, and their ids where these are stable."""
        ...

    async def remove_folder(self, id: str) -> None:
        """Remove a folder with all in it. One that is gone already is done."""
        ...

    async def subscribe(self, id: str, on: bool) -> None:
        """Let a folder be subscribed or not; done already where the store holds no subscriptions."""
        ...

    async def changes(self, folder: str, token: str | None, limit: int = 500) -> Changes:
        """Return what changed since `token`, at most about `limit` items; None asks for everything.

        A token that is not known any more is answered with everything and `reset`.
        Promises: a change that is in no answer up to a token is in one after it; one may be told twice.
        """
        ...

    def fetch(self, ids: Sequence[str], form: Form = "mime") -> AsyncIterator[tuple[str, Content | Status]]:
        """Yield each item's content, in the order asked; 4.2.0 or 5.1.1 where it is gone, 5.6.3 where there is no such
        form of it. What was yielded is let go before the next is fetched: memory is bounded by the largest."""
        ...

    async def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        """Put items into a folder, in this order. Durable at the store for each Appended when this returns.

        An item whose key `find` would find is appended again all the same: looking first is the caller's.
        """
        ...

    async def find(self, folder: str, keys: Sequence[str]) -> dict[str, str]:
        """Return the ids that earlier appends into this folder made, by key; a key that is not there is left out.
        Nothing where `Holds.finds` is False."""
        ...

    async def set_flags(self, ids: Sequence[str], add: frozenset[str], remove: frozenset[str]) -> list[str | Status]:
        """Add and remove flags, by their names in `Flag`, and keywords, which are all other words.

        Returns each item's new version.
        """
        ...

    async def move(self, ids: Sequence[str], folder: str) -> list[str | Status]:
        """Move items to another folder of this mailbox; returns each one's id there (the same with stable ids)."""
        ...

    async def remove(self, ids: Sequence[str], *, purge: bool = False) -> list[Status | None]:
        """Remove items: to the trash where the store has one, for good with `purge`. One gone already is done."""
        ...

    def watch(self, folders: Sequence[str]) -> AsyncIterator[str]:
        """Yield ids of folders that may have changed, until closed. A hint: `changes` is the truth."""
        ...


@runtime_checkable
class MailboxStore(Protocol):
    """The side of a connector on which mailboxes are read and written."""

    def holds(self) -> Holds:
        """Return what this store can hold; pure."""
        ...

    def open(self, mailbox: str) -> AbstractAsyncContextManager[OpenMailbox]:
        """Open a mailbox by its name in the store. Assumes: the connector is started. Raises: StoreFault."""
        ...


class OpenFolders(Protocol):
    """As much of an OpenMailbox as tells whether anything in it has changed."""

    def holds(self) -> Holds: ...

    async def folders(self) -> Sequence[Folder]: ...


class Looking(Protocol):
    """What opens mailboxes to have their folders looked at, and no more than that; made of a connector's options as its
    Config has them, and of the folder that relative paths start from."""

    async def start(self) -> None:
        """Make ready. Raises: OSError or ValueError that names what is wrong."""
        ...

    def open(self, mailbox: str) -> AbstractAsyncContextManager[OpenFolders]:
        """Open a mailbox by its name in the store. Assumes: it is started. Raises: StoreFault."""
        ...


class QuickStore:
    """A connector whose mailboxes can be looked at without the connector: `looking` is the `module:class` of its
    Looking, which is made of nothing but texts and numbers. The module imports neither `gateway.contract` nor pydantic:
    to do so takes longer than a look."""

    looking: ClassVar[str]


__all__ = [
    "FLAGS",
    "KINDS",
    "ROLES",
    "Appended",
    "Changes",
    "Content",
    "Facts",
    "Fate",
    "Flag",
    "Folder",
    "FolderRole",
    "Form",
    "Holds",
    "ItemState",
    "Kind",
    "Looking",
    "MailboxStore",
    "NewItem",
    "Note",
    "OpenFolders",
    "OpenMailbox",
    "QuickStore",
    "Scope",
    "Status",
    "StoreFault",
]
