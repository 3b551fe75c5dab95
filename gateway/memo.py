"""Memo: a message as formats without MIME have it, and back: named fields, one text, files.

`memo` takes a Content apart that the adapter has fitted to Capabilities with `mime=False`: there the text is one part
of text/plain, and everything else a file behind it. It takes any other content too, as well as that can be had.
`compose` makes RFC 5322 octets of fields, a text and files. Both are pure, but for reading a Blob.

Promises: no CR, LF or other control character of a value leaves its field; a file's octets are decoded and encoded
piece by piece, so that one of any size is never whole in memory.
Sources: RFC 5322 §2.2, §3.4; RFC 2045, 2046, 2047, 2183, 2231.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gateway.message import Content
from mappings.address import Address

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One address of a header field with the name that stands beside it, empty where none does."""

    name: str
    address: Address


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a message carries. `name` is as the sender gave it, on one line, and is no path to trust.

    `octets` yields what is in it, decoded; called anew for each use. Blocks on a Blob.
    """

    name: str
    type: str
    octets: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Memo:
    """`subject` and `text` are decoded; the text's lines end in LF. `date` is in seconds since 1970."""

    content: Content
    subject: str
    text: str
    attachments: tuple[Attachment, ...]
    date: float | None

    def get(self, name: bytes) -> str:
        """Return the first field of this (lower-case) name, decoded and on one line; empty where there is none."""
        raise NotImplementedError

    def mailboxes(self, name: bytes, networks: Sequence[str]) -> tuple[Mailbox, ...]:
        """Return the addresses of all fields of this name: each of the first of these networks that knows it."""
        raise NotImplementedError


def memo(content: Content) -> Memo:
    """Take a content apart. Raises: OSError where a Blob cannot be read."""
    raise NotImplementedError


def compose(
    fields: Iterable[tuple[str, str | Sequence[Mailbox]]],
    text: str,
    attachments: Sequence[tuple[str, str, T]] = (),
    *,
    hostname: str,
) -> list[bytes | T]:
    """Return the octets of a message, in pieces.

    `fields` are names and decoded values, addresses as Mailboxes; an empty value leaves its field out. `text` has LF
    line ends. Each attachment is (name, type, what stands in its place in the pieces): lines of base64 that whoever
    has the octets is to fill in, with a CRLF at the end. `hostname` is the gateway's own name: the domain under which
    an address without an addr-spec of its own is written.
    """
    raise NotImplementedError
