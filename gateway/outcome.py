"""Outcome: what one attempt did for one recipient.

Three values, matched exhaustively; an unknown fault is Deferred, never Failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

from gateway.fidelity import Note
from gateway.frozen import quickly_made
from gateway.status import DELIVERED, Status


@unique
class Scope(Enum):
    """How far a deferral reaches: only HOP makes the whole lane back off."""

    RECIPIENT = "recipient"
    MESSAGE = "message"
    HOP = "hop"


@quickly_made
@dataclass(frozen=True, slots=True)
class Delivered:
    """The next hop has taken responsibility.

    `relayed` is true where the next hop can give no delivery reports of its own (RFC 3461 §5.2.2),
    so that a success report asked for says `relayed`, not `delivered`. `notes` are what the connector itself kept,
    mapped or dropped of the message, beyond what was adapted before.
    """

    status: Status = DELIVERED
    relayed: bool = False
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now; `retry_after_s` is the peer's own hint in seconds, honoured where it is longer than ours."""

    status: Status
    scope: Scope = Scope.RECIPIENT
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Never; a Report is due to the originator."""

    status: Status


Outcome = Delivered | Deferred | Failed
"""What one attempt did for one recipient: one of the three."""
