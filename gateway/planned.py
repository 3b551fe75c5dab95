"""What is decided of a message: where its recipients' mail goes, and what the spool stores of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.frozen import quickly_made
from gateway.spool.api import LaneKey, Stored, TraceEvent
from gateway.status import Status
from mappings.address import Address
from mappings.resolution import Group

REFUSALS: Final = "!refused"
"""The connector name of the lane of refusals; its next hop is the status, as `5.1.1 text`."""
EXPANDED: Final = "!expanded"
"""The connector name of the lane of groups that were expanded into messages of their own."""
REPORTS: Final = "!reports"
"""The origin's connector name of the gateway's own reports."""

Waits = tuple[float, str]
"""Until when a lane takes nothing, and why, in one line."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where mail for one address goes: the address there, the lane, and why in words.

    `foreign` where it is none of ours, so that only a trusted peer may send to it; `copies` are further mailboxes of
    the same person; `former` is the address that replaces the one asked for; `carried` that it was named by an address
    signed by this gateway.
    """

    address: Address
    lane: LaneKey
    foreign: bool
    why: str
    copies: tuple[Target, ...] = ()
    former: Address | None = None
    carried: bool = False
    cut: bool = False
    """The mailbox is being cut over: what goes there waits until that is done."""
    forwards: tuple[Address, ...] = ()
    """Where the mail goes on to instead; beside it where `keeps`."""
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An address of a shared domain that nobody has here; `systems` are the connectors that may know it, in order."""

    address: Address
    domain: str
    systems: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Members:
    """A group that is expanded here."""

    group: Group
    why: str


Found = Target | Members | Elsewhere | Status


@dataclass(frozen=True, slots=True)
class Moved:
    """Somebody wrote to a former address: who, to which, and the one to use now."""

    sender: Address
    former: Address
    now: Address


@quickly_made
@dataclass(frozen=True, slots=True)
class Planned:
    """What the spool stores for one message: itself, and what goes to groups under their owners' names."""

    message: Stored
    more: tuple[Stored, ...] = ()
    moved: tuple[Moved, ...] = ()
    withdrawn: TraceEvent | None = None
    """The message is a bounce of what `more` sends on: once both are stored it is dropped, and this is recorded."""
