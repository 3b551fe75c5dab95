"""Journal reports: the mail by which Exchange tells a journal mailbox of a message and of its whole envelope. Pure.

A report is a text of lines and the message itself as message/rfc822. The lines name the sender and each recipient,
hidden ones and members of expanded groups too. The Subject may hold anything, so no line is ever continued, and only a
line feed ends one.
Source: MS-XJRNL §2.2 (journal report); "Understanding journal reports" in Microsoft's documentation of Exchange.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from gateway.contract import Content, memo

FIELD: Final = b"x-ms-journal-report"
"""The header field that marks a report; its value is empty."""
MOST_RECIPIENTS: Final = 10_000
_LINE: Final = re.compile(r"([A-Za-z-]{1,40})[ \t]*:[ \t]*(.*)")
_EXTRA: Final = re.compile(r"(.*?),[ \t]*(Expanded|Forwarded)[ \t]*:[ \t]*(.*)", re.IGNORECASE)
_BRACKETS: Final = re.compile(r"(?:\"[^\"]*\"|[^<]*)<([^<>]*)>")
_KINDS: Final = frozenset({"to", "cc", "bcc", "recipient"})


@dataclass(frozen=True, slots=True)
class Journaled:
    """A recipient as a report names it; `group` is the list that it was expanded from, `original` the one whose mail
    was forwarded to it."""

    address: str
    kind: str
    group: str | None = None
    original: str | None = None


@dataclass(frozen=True, slots=True)
class JournalReport:
    """What a report tells. `octets` yields the message within, as it is written there."""

    sender: str
    recipients: tuple[Journaled, ...]
    message_id: str | None
    octets: Callable[[], Iterator[bytes]]


def read(content: Content) -> JournalReport | None:
    """Return the report that a content is, None where it is none. Reads a Blob: call it in a thread then."""
    taken = memo(content)
    inner = next((each for each in taken.attachments if each.type == "message/rfc822"), None)
    if inner is None:
        return None
    lines = read_lines(taken.text)
    if lines is None:
        return None
    sender, message_id, recipients = lines
    return JournalReport(sender, recipients, message_id, inner.octets)


def is_marked(content: Content) -> bool:
    """Say whether a header claims that this is a report. Anybody can write that."""
    return content.get(FIELD) is not None


def read_lines(text: str) -> tuple[str, str | None, tuple[Journaled, ...]] | None:
    """Return sender, Message-ID and recipients of a report's text; None where it names no sender or recipient."""
    sender: str | None = None
    message_id: str | None = None
    found: dict[str, Journaled] = {}
    for line in text.split("\n"):
        parsed = _LINE.fullmatch(line.rstrip("\r"))
        if parsed is None:
            continue
        name, value = parsed[1].lower(), parsed[2].strip()
        if name == "sender" and sender is None:
            sender = bare(value)
        elif name == "message-id" and message_id is None:
            message_id = value
        elif name in _KINDS and value and len(found) < MOST_RECIPIENTS:
            recipient = _recipient(name, value)
            found.setdefault(recipient.address.lower(), recipient)
    if sender is None or not found:
        return None
    return sender, message_id, tuple(found.values())


def _recipient(kind: str, value: str) -> Journaled:
    extra = _EXTRA.fullmatch(value)
    if extra is None:
        return Journaled(bare(value), kind)
    address, other = bare(extra[1]), bare(extra[3])
    if extra[2].lower() == "expanded":
        return Journaled(address, kind, group=other)
    return Journaled(address, kind, original=other)


def bare(text: str) -> str:
    """Return an address without the name and the brackets that may stand around it."""
    text = text.strip()
    within = _BRACKETS.fullmatch(text)
    return (within[1] if within is not None else text).strip()
