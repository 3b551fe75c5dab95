"""Values of the reader: what a record is, and what is wrong with one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with a record: the rule's name without the format's, where, what was found, and the mend."""

    rule: str
    offset: int
    line: int
    text: str
    mend: str
    found: bytes = b""


class BadRecord(Exception):
    """Carries a Mistake up to whoever yields it."""

    def __init__(self, mistake: Mistake) -> None:
        self.mistake = mistake
        super().__init__(mistake.text)


@dataclass(frozen=True, slots=True)
class Cell:
    """One value in a record: where it stands in the file (-1 where it has no place), its octets there, its value."""

    name: str
    value: str
    offset: int
    raw: bytes


@dataclass(frozen=True)
class Record:
    """One record: the octets [start, end) of the file, and what was read of them.

    `mistake` where it cannot be used; the cells are then those that could be read. `kind` is its type's name.
    """

    start: int
    end: int
    line: int
    number: int
    cells: tuple[Cell, ...] = ()
    kind: str = ""
    mistake: Mistake | None = None

    @cached_property
    def values(self) -> Mapping[str, list[str]]:
        """Return the values by name, without the empty ones."""
        found: dict[str, list[str]] = {}
        for cell in self.cells:
            if cell.value:
                found.setdefault(cell.name, []).append(cell.value)
        return found
