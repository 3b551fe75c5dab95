"""Resolution and Translation: what the table answers, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

from mappings.address import Address


@unique
class Direction(Enum):
    """OUTWARD: for people beyond us, so one of ours is shown under its primary address. INWARD: for our own."""

    OUTWARD = "outward"
    INWARD = "inward"


@unique
class Verdict(Enum):
    """KNOWN: ours, anyone may write to it. FOREIGN: for those only who may relay. UNKNOWN, REFUSED: not taken."""

    KNOWN = "known"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Resolution:
    """Where a recipient goes.

    `address` is in the home's network; `home` is a connector's configured name, None where the routes decide.
    `code` (RFC 3463) and `text` are for the peer, empty unless UNKNOWN or REFUSED; `steps` say why, for operators.
    """

    verdict: Verdict
    address: Address
    home: str | None = None
    identity: str | None = None
    code: str = ""
    text: str = ""
    steps: tuple[str, ...] = ()
    copies: tuple[tuple[str, Address], ...] = ()
    """(connector, address there) of further mailboxes that get a copy."""
    group: Group | None = None
    """The members to send to instead, where the address is a group's that this gateway expands."""
    former: Address | None = None
    """The address that the person has now, where the one asked for is a former one of theirs."""
    shared: str | None = None
    """The domain, where nobody of ours has the address and another system that shares the domain may."""
    is_timed: bool = False
    """The answer holds for this moment only."""
    is_carried: bool = False
    """It was named by an address that this gateway signed, and is nobody's that is known here."""
    forwards: tuple[Address, ...] = ()
    """Where the mail goes on to, instead of the person's own mailbox; beside it where `keeps`."""
    keeps: bool = False
    is_cut: bool = False
    """The mailbox is being cut over: what comes for it waits until that is done."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group as it is expanded: all members, those of groups within it too, each once.

    `owner` gets the reports about them; None leaves them to the sender.
    """

    name: str
    members: tuple[Address, ...]
    owner: Address | None


@dataclass(frozen=True, slots=True)
class Translation:
    """How an address is shown. `how` is same, identity, rule or encapsulated; `detail` is for operators.

    The address is in another network than the one asked for where that one has no form for it.
    """

    address: Address
    how: str
    detail: str = ""
