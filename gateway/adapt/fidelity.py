"""Fidelity: what an adaptation kept, mapped or dropped, and why; and what comes out of an adaptation as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, unique

from gateway.message import Content, Envelope
from gateway.outcome import Failed
from gateway.spool.api import DeliveryId
from mappings.address import Address


@unique
class Fate(Enum):
    """What became of a thing: carried on as it was though something may depend on it, carried in another form, or not
    carried."""

    KEPT = "kept"
    MAPPED = "mapped"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Note:
    """One entry: `what` happened to which part, and `why`."""

    fate: Fate
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The list of notes of one adaptation; empty where the octets go out as they came."""

    notes: tuple[Note, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.notes)

    def plain(self) -> list[dict[str, str]]:
        """Return it as plain JSON values for the trace."""
        return [{"fate": n.fate.value, "what": n.what, "why": n.why} for n in self.notes]


INTACT = Fidelity()


@dataclass(frozen=True, slots=True)
class Fitted:
    """A message made to fit a destination. `refused` are deliveries that no form of it fits; with all of them refused,
    `content` is not to be sent."""

    content: Content
    envelope: Envelope
    fidelity: Fidelity = INTACT
    refused: tuple[tuple[DeliveryId, Failed], ...] = ()
    addresses: Mapping[DeliveryId, Address] = field(default_factory=dict)
    """Where a recipient's address had to be written in another way for this destination."""
