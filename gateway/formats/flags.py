"""What a mailbox says of a message beside its octets: seen, answered, and so on, in each format's letters.

Sources: the Status and X-Status fields as mutt's mbox(5) and c-client have them; the info letters of
https://cr.yp.to/proto/maildir.html.
"""

from __future__ import annotations

from enum import Flag, auto
from typing import Final


class Mark(Flag):
    """A message's marks. OLD: it was there at an earlier look, read or not. PASSED: forwarded or bounced on."""

    NONE = 0
    SEEN = auto()
    OLD = auto()
    ANSWERED = auto()
    FLAGGED = auto()
    DELETED = auto()
    DRAFT = auto()
    PASSED = auto()


_STATUS: Final = {"R": Mark.SEEN, "O": Mark.OLD}
_X_STATUS: Final = {"A": Mark.ANSWERED, "F": Mark.FLAGGED, "D": Mark.DELETED, "T": Mark.DRAFT}
_INFO: Final = {
    "D": Mark.DRAFT,
    "F": Mark.FLAGGED,
    "P": Mark.PASSED,
    "R": Mark.ANSWERED,
    "S": Mark.SEEN,
    "T": Mark.DELETED,
}
STATUS_FIELDS: Final = frozenset(
    (b"status", b"x-status", b"x-keywords", b"x-uid", b"x-imap", b"x-imapbase", b"content-length")
)
"""Fields, in lower case, that belong to an mbox or MMDF file and not to the message in it."""


def from_status(status: str, x_status: str = "") -> Mark:
    """Read the values of Status and X-Status; letters that are unknown say nothing."""
    return _read(status, _STATUS) | _read(x_status, _X_STATUS)


def to_status(marks: Mark) -> tuple[str, str]:
    """Return the values of Status and X-Status; an empty one's field is left out."""
    return _write(marks, _STATUS), _write(marks, _X_STATUS)


def from_info(letters: str) -> Mark:
    """Read the letters of a Maildir name; those that are unknown, keywords among them, say nothing."""
    return _read(letters, _INFO)


def to_info(marks: Mark) -> str:
    """Return the letters for a Maildir name, in the order of ASCII."""
    return _write(marks, _INFO)


def _read(letters: str, table: dict[str, Mark]) -> Mark:
    marks = Mark.NONE
    for letter in letters:
        marks |= table.get(letter, Mark.NONE)
    return marks


def _write(marks: Mark, table: dict[str, Mark]) -> str:
    return "".join(letter for letter, mark in table.items() if mark in marks)
