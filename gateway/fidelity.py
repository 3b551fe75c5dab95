"""Fidelity: what was kept, mapped or dropped of a message on its way into another form, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from gateway.frozen import quickly_made


@unique
class Fate(Enum):
    """What became of a thing: carried on as it was though something may depend on it, carried in another form, or not
    carried."""

    KEPT = "kept"
    MAPPED = "mapped"
    DROPPED = "dropped"


@quickly_made
@dataclass(frozen=True, slots=True)
class Note:
    """One entry: `what` happened to which part, and `why`."""

    fate: Fate
    what: str
    why: str


@quickly_made
@dataclass(frozen=True, slots=True)
class Fidelity:
    """The list of notes of one delivery; empty where the octets go out as they came."""

    notes: tuple[Note, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.notes)

    def __add__(self, notes: tuple[Note, ...]) -> Fidelity:
        if not notes:
            return self
        return Fidelity(self.notes + notes if self.notes else notes)

    def plain(self) -> list[dict[str, str]]:
        """Return it as plain JSON values."""
        return plain(self.notes)


def plain(notes: Sequence[Note]) -> list[dict[str, str]]:
    """Return notes as plain JSON values for the trace."""
    # `value` is looked up by a function of Python's own, each time.
    return [{"fate": n.fate._value_, "what": n.what, "why": n.why} for n in notes]


INTACT: Final = Fidelity()
