"""Status: an enhanced status code (RFC 3463) with the text that goes out and the cause that stays in.

The named constants are those that the core itself gives; connectors make their own from what a peer said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from gateway.frozen import quickly_made

_CODE: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


@quickly_made
@dataclass(frozen=True, slots=True)
class Status:
    """What became of a recipient, in the field's own numbers.

    `code` is `class.subject.detail` (RFC 3463 §2); `text` may be shown to peers and senders; `cause` is for
    logs and the trace alone; `reply` is the peer's answer verbatim (e.g. `550 5.1.1 no such user`), and
    `remote` names the peer that gave it, for the DSN's Diagnostic-Code and Remote-MTA (RFC 3464 §2.3).

    Raises: ValueError where `code` is not an enhanced status code.
    """

    code: str
    text: str = ""
    cause: str = ""
    reply: str = ""
    remote: str = ""

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code):
            raise ValueError(f"{self.code!r} is not an enhanced status code such as 5.1.1")

    @property
    def is_permanent(self) -> bool:
        """Whether it is of class 5: never."""
        return self.code[0] == "5"

    @property
    def is_success(self) -> bool:
        """Whether it is of class 2: done."""
        return self.code[0] == "2"

    def but(self, *, text: str | None = None, cause: str | None = None) -> Status:
        """Return this status with another text or cause."""
        return replace(self, text=self.text if text is None else text, cause=self.cause if cause is None else cause)

    def as_permanent(self) -> Status:
        """Return the same subject and detail in class 5, for a deferral that has run out of time."""
        return replace(self, code="5" + self.code[1:])

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()


# RFC 3463 §3, in its order
OK: Final = Status("2.0.0", "ok")
DELIVERED: Final = Status("2.1.5", "delivered")
UNKNOWN_MAILBOX: Final = Status("5.1.1", "no such mailbox here")
BAD_ADDRESS: Final = Status("5.1.3", "the address is ill-formed")
NOT_ISSUED: Final = Status("5.7.1", "address was not issued by this gateway")
MAILBOX_FULL: Final = Status("4.2.2", "the mailbox is full")
TOO_BIG: Final = Status("5.3.4", "the message is larger than this system takes")
SPOOL_FULL: Final = Status("4.3.1", "not enough spool space, try again later")
SPOOL_DOWN: Final = Status("4.3.0", "the spool is not available, try again later")
LOOP: Final = Status("5.4.6", "mail loop: the message has passed here before or too many hops")
NO_ROUTE: Final = Status("5.4.4", "no route to this address")
NO_ANSWER: Final = Status("4.4.1", "the next hop does not answer")
CONNECTION_LOST: Final = Status("4.4.2", "the connection to the next hop was lost")
EXPIRED: Final = Status("4.4.7", "the message could not be delivered in time")
FAULT: Final = Status("4.3.5", "a fault in the connector; the message stays queued")
TOO_MANY_RECIPIENTS: Final = Status("4.5.3", "too many recipients in one message")
CANNOT_CONVERT: Final = Status("5.6.3", "the destination cannot carry this content")
TOO_MANY_MESSAGES: Final = Status("4.7.1", "too many messages to this address for now, try again later")
NO_RELAY: Final = Status("5.7.1", "relaying denied")
