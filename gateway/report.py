"""Report: what became of recipients of one message, in the gateway's own form.

Each connector maps it to its network's form; `gateway.dsn` is the RFC 3464 one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

from gateway.status import Status
from mappings.address import Address


@unique
class Action(Enum):
    """What happened (RFC 3464 §2.3.3; DISPLAYED is RFC 8098)."""

    DELIVERED = "delivered"
    RELAYED = "relayed"
    DELAYED = "delayed"
    FAILED = "failed"
    DISPLAYED = "displayed"


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """One recipient's part. `original` is the address as the sender wrote it, `final` where it was sent."""

    action: Action
    original: Address
    final: Address
    status: Status
    orcpt: str | None = None
    last_attempt_at: float | None = None
    retry_until: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What became of some recipients of one message; goes to the message's reverse-path.

    `message_id` is our id of the message reported on, `arrived_at` seconds since 1970.
    """

    message_id: int
    reverse_path: Address
    arrived_at: float
    recipients: tuple[RecipientReport, ...]
    envid: str | None = None
    ret_full: bool = False
    peer: str = ""
    """What the message's origin says of its peer, e.g. the name of the file it came in."""
    hand_over: str | None = None
    """The message's dedupe key: which hand-over it came by."""
