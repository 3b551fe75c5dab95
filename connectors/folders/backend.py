"""What a format of folders and files has to do; all of it blocks, and is called by one thread at a time.

Items go by their names in a folder here; the ids that others see are made of both. Raises, everywhere: OSError, which
is told as a fault of the whole call, and StoreFault.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final

from gateway.contract import (
    Appended,
    Content,
    Facts,
    Folder,
    Holds,
    ItemState,
    NewItem,
    Scope,
    Status,
    StoreFault,
)

GONE: Final = Status("4.2.0", "the item is not there any more")
NO_FOLDER: Final = Status("4.2.0", "the folder is not there any more")
READ_ONLY: Final = Status("5.7.1", "mailboxes of this format are read and not written")
FRESH_S: Final = 3.0
"""What changed so lately may change again under the same time: clocks of file systems are coarse."""

_SEP: Final = "."


def folder_hash(folder: str) -> str:
    """Return what stands for a folder in its items' ids."""
    return hashlib.blake2b(folder.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()


def item_id(hash: str, name: str) -> str:
    """Return the id of an item."""
    return f"{hash}{_SEP}{name}"


def split_id(id: str) -> tuple[str, str]:
    """Return the folder's hash and the name that an id was made of."""
    hash, _, name = id.partition(_SEP)
    return hash, name


def no_folder() -> StoreFault:
    """Return the fault of a folder that is not there."""
    return StoreFault(NO_FOLDER, Scope.MESSAGE)


def bad_name(text: str) -> StoreFault:
    """Return the fault of a folder's name that can't be one here."""
    return StoreFault(Status("5.3.3", text), Scope.MESSAGE)


def unreadable(fault: OSError) -> Status:
    """Return what is said of one message that can't be read, which stops no other."""
    return Status("4.3.0", f"the message can't be read: {fault.strerror or fault}", str(fault))


def shown_version(words: frozenset[str]) -> str:
    """Return an item's version, where only flags and keywords can change of it."""
    return ",".join(sorted(words)) or "-"


class Backend(ABC):
    """One mailbox of a format."""

    @property
    @abstractmethod
    def holds(self) -> Holds: ...

    @abstractmethod
    def folders(self) -> list[Folder]:
        """Return all folders, parents first, each with its mark."""

    @abstractmethod
    def listing(self, folder: str) -> list[ItemState]:
        """Return all items of a folder, with their ids, in an order that stays while they do."""

    @abstractmethod
    def contents(self, folder: str, names: Sequence[str]) -> Iterator[tuple[str, Content | Status]]:
        """Yield the contents of items, in this order."""

    def facts(self) -> Facts:
        return Facts()

    def close(self) -> None:
        """Let go of everything."""
        return

    def make(self, path: tuple[str, ...]) -> Folder:
        raise StoreFault(READ_ONLY, Scope.MESSAGE)

    def rename(self, folder: str, path: tuple[str, ...]) -> Folder:
        raise StoreFault(READ_ONLY, Scope.MESSAGE)

    def drop(self, folder: str) -> None:
        raise StoreFault(READ_ONLY, Scope.MESSAGE)

    def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        return [READ_ONLY for _ in items]

    def find(self, folder: str, keys: Sequence[str]) -> dict[str, str]:
        return {}

    def set_flags(
        self, folder: str, names: Sequence[str], add: frozenset[str], remove: frozenset[str]
    ) -> list[str | Status]:
        return [READ_ONLY for _ in names]

    def move(self, folder: str, names: Sequence[str], target: str) -> list[str | Status]:
        """Move items; return their names in `target`."""
        return [READ_ONLY for _ in names]

    def remove(self, folder: str, names: Sequence[str]) -> list[Status | None]:
        return [READ_ONLY for _ in names]
