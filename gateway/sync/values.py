"""The values of keeping two mailboxes in step: what is paired, what both held last, and what is to be done.

The left mailbox is the one that is copied from, the right one that is copied to; two-way they are alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from gateway.frozen import quickly_made
from gateway.mailbox import FLAGS, Holds, ItemState, Kind

Side = Literal["left", "right"]
SIDES: Final[tuple[Side, Side]] = ("left", "right")
Mode = Literal["copy", "mirror", "two-way"]
NOTHING: Final[frozenset[str]] = frozenset()
MAIL: Final[frozenset[Kind]] = frozenset(("mail",))
OLDEST_S: Final = 86400.0
"""No mail is older than its networks: stores say 1899 or 1970 where they do not know."""


def other(side: Side) -> Side:
    """Return the side across."""
    return "right" if side == "left" else "left"


@dataclass(frozen=True, slots=True)
class Place:
    """A mailbox: the connector that has it, and its name there."""

    connector: str
    mailbox: str


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two mailboxes that are kept in step. `set` names the configuration it is of, `batch` those that go together."""

    id: str
    set: str
    left: Place
    right: Place
    identity: str | None = None
    batch: str = ""
    mode: Mode = "copy"
    address: str | None = None
    """The address that the identity is shown under from its cut-over on, with its network; None keeps what it has."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How two mailboxes are kept in step."""

    mode: Mode = "copy"
    delete: Literal["keep", "remove", "trash"] = "trash"
    """What a removal on one side does on the other, in mirror and two-way."""
    conflict: Literal["both", "left", "right"] = "both"
    """An item changed on one side and gone on the other: `both` keeps it, else that side's will is done."""
    max_removed: float = 0.2
    """The share of a mailbox's items that one pass may remove; more stop all removals."""
    min_removed: int = 10
    """That many are removed whatever share they are."""
    allow_removal: bool = False
    """Remove however many, and take however many for removed by their owner."""
    strict: bool = False
    """In mirror, what only the right one holds is removed, too."""
    max_size: int | None = None
    """Octets of the largest item that is copied."""
    max_age_s: float | None = None
    """Items received longer ago are not copied."""
    folders: tuple[str, ...] = ()
    """Shell patterns of the folders' paths, joined by `/`; with `!` in front, of those that are left out."""
    search: tuple[str, ...] = ()
    """Terms of `search.Search`, which all hold for what is copied."""
    dedupe: bool = False
    """Of items that are the same octet by octet in one folder, copy one."""
    labels: Literal["keywords", "folders"] = "keywords"
    """A message that is in several folders under one object id, as Gmail's labels show it: once, with the other
    folders' names as keywords, or once in each."""
    mend: bool = True
    """What the destination refuses is changed as little as it takes, and noted; else it is a problem."""
    wait_when_full_s: float = 0.0
    """How long a pass waits for room at a destination that is full, before it ends."""
    bytes_per_day: int | None = None
    """Octets that are copied into a mailbox in a day, for servers that take no more."""
    batch_items: int = 50
    batch_bytes: int = 4 * 1024 * 1024
    """An append takes no more than this at once; an item that alone is more goes alone."""
    ahead_bytes: int = 8 * 1024 * 1024
    """What is read ahead while appending."""
    connections: int = 2
    """Folders that are worked on at once."""
    page_items: int = 1000

    def removals_of(self, total: int) -> int:
        """Return how many of so many items one pass may remove."""
        return int(max(self.min_removed, self.max_removed * total))

    @property
    def limits(self) -> str:
        """Return what is left out, as one text: where it is another, folders are listed anew."""
        return repr((self.max_size, self.max_age_s, self.search))


@quickly_made
@dataclass(frozen=True, slots=True)
class Print:
    """What an item is known again by. `digest` is that of `fingerprint.digest_of`; None is what is not known (yet)."""

    size: int | None = None
    message_id: str | None = None
    digest: bytes | None = None
    received_at: float | None = None
    object: str | None = None
    """The store's own word for the message, whichever folder it is in; it says nothing at another store."""
    kind: Kind = "mail"
    """Of other kinds, `message_id` is the UID and `digest` that of `objects.stamp_of`."""
    version: str | None = None
    """The store's own word for what it is like now, of what is edited where it is; mail is not."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Item:
    """An item as a listing shows it. `folder` is the number of its pair of folders; `words` are flags and keywords."""

    id: str
    folder: int
    words: frozenset[str]
    print: Print

    @staticmethod
    def of(state: ItemState, folder: int, kinds: frozenset[Kind] = MAIL) -> Item:
        """Return a listed item of a folder; of a kind that is none of `kinds`, it goes along as mail."""
        words = frozenset[str](state.flags) | state.keywords
        at = state.received_at if state.received_at is None or state.received_at >= OLDEST_S else None
        if state.kind != "mail" and state.kind in kinds:
            known = Print(state.size or None, None, None, at, state.object, state.kind, state.version)
            return Item(state.id, folder, words, known)
        # A size of 0 is what servers say that do not know it.
        return Item(state.id, folder, words, Print(state.size or None, state.message_id, None, at, state.object))


@dataclass(frozen=True, slots=True)
class FolderPair:
    """Two folders that are kept in step, by their ids; None where there is none (any more). `path` is the left's."""

    id: int
    left: str | None
    right: str | None
    path: tuple[str, ...]
    left_token: str | None = None
    right_token: str | None = None
    left_mark: str | None = None
    right_mark: str | None = None
    is_known: bool = False
    """Both sides have been listed to the end once."""
    limits: str | None = None
    """The policy's limits when they were: what was left out then may be wanted by others."""
    kind: Kind = "mail"


@quickly_made
@dataclass(frozen=True, slots=True)
class Pair:
    """An item as both sides held it last: the base that changes are told by.

    A side's id is None where it is gone from there and is to stay so. The words are each side's own, for a store that
    can't hold one of them has not cleared it. `id` is 0 for one that is not in the state yet.
    """

    id: int
    left: str | None
    right: str | None
    left_folder: int
    right_folder: int
    left_words: frozenset[str] = NOTHING
    right_words: frozenset[str] = NOTHING
    print: Print = field(default_factory=Print)
    """As on the left."""
    right_digest: bytes | None = None
    """Of the right's octets, where they are not the left's; of other kinds than mail always, once it is known."""
    left_object: str | None = None
    right_object: str | None = None
    right_version: str | None = None
    """The left's is that of `print`."""

    def print_on(self, side: Side) -> Print:
        """Return what it is known again by on a side."""
        if side == "left":
            return replace(self.print, object=self.left_object)
        digest = self.right_digest or self.print.digest
        return replace(self.print, digest=digest, object=self.right_object, version=self.right_version)

    def on(self, side: Side) -> str | None:
        """Return its id on a side."""
        return self.left if side == "left" else self.right

    def folder_on(self, side: Side) -> int:
        """Return the number of the pair of folders that it is in on a side."""
        return self.left_folder if side == "left" else self.right_folder

    def words_on(self, side: Side) -> frozenset[str]:
        """Return the flags and keywords that it had on a side."""
        return self.left_words if side == "left" else self.right_words

    def with_side(
        self, side: Side, id: str | None, folder: int, words: frozenset[str], object: str | None = None
    ) -> Pair:
        """Return it with one side as it is now; None as `object` leaves what is known of it."""
        if side == "left":
            known = object or self.left_object
            return replace(self, left=id, left_folder=folder, left_words=words, left_object=known)
        known = object or self.right_object
        return replace(self, right=id, right_folder=folder, right_words=words, right_object=known)

    def with_octets(self, source: Side, print: Print, appended: bytes | None) -> Pair:
        """Return it with what it is known again by: `print` is the source's, and `appended` the digest of what was made
        of it for the other side, None where that is the same."""
        if print.kind != "mail":
            if source == "left":
                return replace(self, print=print, right_digest=appended, right_version=None)
            known = replace(print, digest=appended, version=None)
            return replace(self, print=known, right_digest=print.digest, right_version=print.version)
        if source == "left":
            return replace(self, print=print, right_digest=appended)
        known = print if appended is None else replace(print, digest=appended)
        return replace(self, print=known, right_digest=print.digest if appended is not None else None)

    def stamp_on(self, side: Side) -> tuple[str | None, bytes | None]:
        """Return the version and the digest at which it was in step on a side, as far as they are known."""
        if side == "left":
            return self.print.version, self.print.digest
        return self.right_version, self.right_digest

    def with_stamp(self, side: Side, print: Print) -> Pair:
        """Return it in step as a side's item is now."""
        name = self.print.message_id or print.message_id
        if side == "left":
            known = replace(
                self.print, message_id=name, version=print.version, digest=print.digest or self.print.digest
            )
            return replace(self, print=known)
        known = replace(self.print, message_id=name)
        digest = print.digest or self.right_digest
        return replace(self, print=known, right_version=print.version, right_digest=digest)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one side's listings told: items that are new or have changed, ids that are gone, and which folders were
    listed as a whole, so that what is not in `items` is not there."""

    items: Mapping[str, Item] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    whole: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Copy:
    """Put `item` into `folder` on `side`. `pair` is the row whose side it fills again, None for a new one; `replaces`
    what was there before and goes once this is there."""

    side: Side
    item: Item
    folder: int
    pair: Pair | None = None
    replaces: str | None = None


@dataclass(frozen=True, slots=True)
class SetFlags:
    """Add and remove flags and keywords of a pair's item on `side`."""

    pair: Pair
    side: Side
    add: frozenset[str]
    remove: frozenset[str]


@dataclass(frozen=True, slots=True)
class Move:
    """Move a pair's item on `side` to `folder`."""

    pair: Pair
    side: Side
    folder: int


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove a pair's item on `side`; one without a row is `stranger`, and the row is made up for it."""

    pair: Pair
    side: Side
    stranger: bool = False


Action = Copy | SetFlags | Move | Remove


@dataclass(frozen=True, slots=True)
class Conflict:
    """Both sides did something to an item that does not go together; `what` says what was made of it."""

    pair: Pair
    what: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """More would have been removed than is allowed; nothing was. `is_lost`: they are gone from the right already, more
    than people remove at once, and were not noted as removed there, after which nobody would copy them again."""

    removals: int
    allowed: int
    total: int
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, and what the base is once it is: `rows` to be written (with their `id` 0 where they are
    new: adopted), `forget` to be dropped. A row of a pair with actions is what it will be after them."""

    actions: list[Action] = field(default_factory=list)
    rows: list[Pair] = field(default_factory=list)
    forget: list[int] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    skipped: list[Item] = field(default_factory=list)
    """Too large or too old for the policy."""
    refused: Refusal | None = None
    adopted: int = 0
    again: set[int] = field(default_factory=set)
    """Folders in which more is to be done once this is: a pass over them does it."""


@dataclass(frozen=True, slots=True)
class Intent:
    """An append that may have been done: `source` on the side across was to go into `folder` on `side`."""

    key: str
    folder: int
    side: Side
    source: str
    words: frozenset[str]
    print: Print
    pair: int = 0
    """The row whose side it was to fill; 0 for a new one."""
    appended: bytes | None = None
    """The digest of what was to be appended, where it is not the source's octets."""
    replaces: str | None = None
    """What is to be removed once it is there."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An item that did not get across, or a folder or mailbox (then `item` is empty), and why."""

    folder: int
    side: Side
    """That it comes from."""
    item: str
    code: str
    text: str
    tries: int = 1
    at: float = 0.0
    words: frozenset[str] = NOTHING
    print: Print = field(default_factory=Print)

    @property
    def is_permanent(self) -> bool:
        return self.code.startswith("5")


@quickly_made
@dataclass(frozen=True, slots=True)
class Placed:
    """An item that was put into a folder on a side, and that no listing has told yet; or one that something was made
    of, and whose listing is not noted yet."""

    side: Side
    folder: int
    item: str


@dataclass(frozen=True, slots=True)
class Noted:
    """An item that got across, but not as it was, and what was done to it."""

    folder: int
    side: Side
    """That it comes from."""
    item: str
    text: str
    at: float = 0.0


def carried(word: str, holds: Holds) -> str | None:
    """Return how a store holds a flag or keyword: as it is, a keyword with `_` for what it can't hold; None where it
    holds no such thing."""
    if word in FLAGS:
        return word if word in holds.flags else None
    if not holds.keywords:
        return None
    for bad in holds.forbidden_in_keywords:
        word = word.replace(bad, "_")
    return word


def all_carried(words: frozenset[str], holds: Holds) -> frozenset[str]:
    """Return how a store holds flags and keywords, without those that it does not."""
    return frozenset(made for word in words if (made := carried(word, holds)) is not None)
