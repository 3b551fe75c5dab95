"""Post: one message on its way into a mailbox, known by the delivery that puts it there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.ids import text as id_text


@dataclass(frozen=True, slots=True)
class Post:
    """`stem` names the delivery, the same at each attempt; `octets` gives what is put, each time it is called.

    `is_fresh` where no earlier attempt can have put it, so that nobody has to look for it.
    """

    stem: str
    octets: Callable[[], Iterable[bytes]]
    is_fresh: bool = False


def stem_of(arrived_at: float, message_id: int, number: int) -> str:
    """Return the name of one delivery: when the message arrived, its id, and the recipient's number. Pure."""
    at = datetime.fromtimestamp(int(arrived_at * 1000) / 1000, UTC)
    return f"{at:%Y%m%dT%H%M%S}{at.microsecond // 1000:03d}Z-{id_text(message_id)}-{number}"
