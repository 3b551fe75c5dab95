"""A mailbox that is to be made when something is put into it: until then it is an empty one, and nothing is written.

So a plan of what would be copied leaves no trace where it would go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from connectors.folders.backend import GONE, Backend, no_folder
from gateway.contract import Appended, Content, Facts, Folder, Holds, ItemState, NewItem, Status


class Unmade(Backend):
    """`made` makes the mailbox; `inbox` is the id that its inbox will have."""

    def __init__(self, holds: Holds, made: Callable[[], Backend], inbox: str) -> None:
        self._holds = holds
        self._made = made
        self._inbox = inbox
        self._real: Backend | None = None

    def _now(self) -> Backend:
        if self._real is None:
            self._real = self._made()
        return self._real

    @property
    def holds(self) -> Holds:
        return self._holds if self._real is None else self._real.holds

    def facts(self) -> Facts:
        return Facts() if self._real is None else self._real.facts()

    def close(self) -> None:
        if self._real is not None:
            self._real.close()

    def folders(self) -> list[Folder]:
        if self._real is None:
            return [Folder(self._inbox, ("INBOX",), "mail", "inbox", 0, 0)]
        return self._real.folders()

    def listing(self, folder: str) -> list[ItemState]:
        if self._real is not None:
            return self._real.listing(folder)
        if folder != self._inbox:
            raise no_folder()
        return []

    def contents(self, folder: str, names: Sequence[str]) -> Iterator[tuple[str, Content | Status]]:
        if self._real is None:
            return iter([(name, GONE) for name in names])
        return self._real.contents(folder, names)

    def find(self, folder: str, keys: Sequence[str]) -> dict[str, str]:
        return {} if self._real is None else self._real.find(folder, keys)

    def make(self, path: tuple[str, ...]) -> Folder:
        return self._now().make(path)

    def rename(self, folder: str, path: tuple[str, ...]) -> Folder:
        return self._now().rename(folder, path)

    def drop(self, folder: str) -> None:
        self._now().drop(folder)

    def append(self, folder: str, items: Sequence[NewItem]) -> list[Appended | Status]:
        return self._now().append(folder, items)

    def set_flags(
        self, folder: str, names: Sequence[str], add: frozenset[str], remove: frozenset[str]
    ) -> list[str | Status]:
        return self._now().set_flags(folder, names, add, remove)

    def move(self, folder: str, names: Sequence[str], target: str) -> list[str | Status]:
        return self._now().move(folder, names, target)

    def remove(self, folder: str, names: Sequence[str]) -> list[Status | None]:
        return self._now().remove(folder, names)
