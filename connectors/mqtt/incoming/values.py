"""What a payload becomes: values alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.contract import Address, Content, Recipient, quickly_made


@quickly_made
@dataclass(frozen=True, slots=True)
class Incoming:
    """A mail that was made of a message: its envelope, and its content piece by piece, as RFC 5322 octets.

    `message_id` is the content's own, in brackets. `trusted`: author and recipients are the operator's, or whoever may
    publish is trusted to name them; `returning`: the recipients alone are the operator's. `header`, of a content in one
    piece: where the fields end in it, and where the body starts; None where that is not known.
    """

    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    content: tuple[bytes, ...]
    message_id: str
    trusted: bool
    expires_at: float | None = None
    priority: int = 0
    ret: Literal["full", "hdrs"] | None = None
    envid: str | None = None
    header: tuple[int, int] | None = None
    returning: bool = False

    def whole(self) -> Content:
        """Return the content, in memory."""
        pieces = self.content
        if self.header is None:
            return Content(b"".join(pieces))
        return Content(pieces[0], header=self.header, message_id=self.message_id)


@dataclass(frozen=True, slots=True)
class Glance:
    """What a message says at first sight: its value, by which a change is told, and a line for a digest."""

    value: str
    line: str
