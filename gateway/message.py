"""Message: Envelope and Content, the one form that every network's mail is brought to. Immutable.

Content keeps the octets as they came. A header edit replaces the header block and shares the body; a body is
never re-serialised here. Content over the inline limit stays in a Blob (a content file, chunk rows) and is
read piece by piece.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Final, Literal, Protocol

from gateway.frozen import quickly_made
from gateway.once import once
from mappings.address import Address
from mappings.fields import Field, header_end, named, scan, starts_with_header, unfold

HEAD_LIMIT: Final = 4 * 1024 * 1024
"""The most octets that are searched for the end of a header."""

CHUNK: Final = 256 * 1024


class Notify(IntFlag):
    """When a recipient's DSN is wanted (RFC 3461 §4.1); UNSET where the parameter was absent."""

    UNSET = 0
    NEVER = 1
    SUCCESS = 2
    FAILURE = 4
    DELAY = 8


@quickly_made
@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient as the source named it; `orcpt` is `addr-type;address`, decoded (RFC 3461 §4.2)."""

    address: Address
    notify: Notify = Notify.UNSET
    orcpt: str | None = None


@quickly_made
@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message came in: the connector's configured name, and what is known of its peer.

    `peer` is an IP address, a file name, a topic; `protocol` is a transmission type of the Received field
    (`ESMTPS`, `LMTP`; RFC 3848) or the connector's own word. `trusted` peers may send to foreign recipients
    (relay); from all others only recipients of ours are taken.
    """

    connector: str
    peer: str = ""
    helo: str = ""
    protocol: str = ""
    user: str = ""
    tls: str = ""
    trusted: bool = False
    returning: bool = False
    """The recipients are foreign since the source has read them from addresses that it had made itself, as of SRS: they
    may be sent to, and nothing else about the peer is trusted. Not kept once the message is accepted."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Envelope:
    """What the transport says of a message; never written into a header.

    `reverse_path` is None for the null reverse-path `<>`. `priority` is -9..9 (RFC 6710). `expires_at` is in
    seconds since 1970. `dedupe_key` names one hand-over (a claimed file, session and packet id), never a content.
    """

    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    origin: Origin
    priority: int = 0
    expires_at: float | None = None
    ret: Literal["full", "hdrs"] | None = None
    envid: str | None = None
    smtputf8: bool = False
    dedupe_key: str | None = None
    to_members: bool = False
    """A group's members get it in its owner's name, who gets the reports too, and not where it came from."""
    hold: str = ""
    """Why it waits for an operator from the start, so that nothing of it is sent before it is released; not stored."""

    @property
    def may_recur(self) -> bool:
        """Whether its source may bring further messages in this very object, so that it is worth remembering what was
        made of it: False where it names one hand-over, or the host that greeted."""
        return self.dedupe_key is None and not self.origin.helo and len(self.recipients) == 1


class Blob(Protocol):
    """Octets that are not in memory."""

    @property
    def size(self) -> int:
        """How many octets there are."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` octets from `offset`, fewer only at the end. Blocks; raises OSError."""
        ...


@quickly_made
@dataclass(frozen=True, slots=True)
class Traits:
    """What the octets need of a transport: found by one pass, or told by the source that saw them go by."""

    crlf_only: bool
    """Every CR and LF stands in a CRLF pair."""
    eight_bit: bool
    nul: bool = False


_CRLF: Final = b"\r\n"
_MESSAGE_ID: Final = re.compile(rb"^message-id[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)


def _has_bare(octets: bytes) -> bool:
    # A copy without the pairs, and two searches in it, cost half of two expressions that stop at each line's end.
    rest = octets.replace(_CRLF, b"")
    return b"\n" in rest or b"\r" in rest


def _traits(octets: bytes) -> Traits:
    return Traits(not _has_bare(octets), not octets.isascii(), b"\0" in octets)


class Content:
    """The octets of one message: `front`, then `source` from `offset` on.

    An untouched Content has an empty front. Where `edited`, the front is the whole header with its empty line
    and `offset` is where the body starts. `attributes` are what MIME cannot carry, by name. `text` is the body as text,
    its lines ended by LF, where it is one text and whoever made this Content has read it; None says nothing. Nor need
    be looked for what whoever wrote the octets tells: `header` is where the fields end and where the body starts in
    them, of an inline content without a front; `message_id` is as below.
    """

    __slots__ = ("__dict__", "attributes", "edited", "front", "is_inline", "offset", "source", "text")

    is_inline: bool
    """Whether the octets are in memory."""

    def __init__(
        self,
        source: bytes | Blob,
        *,
        front: bytes = b"",
        offset: int = 0,
        edited: bool = False,
        traits: Traits | None = None,
        attributes: Mapping[str, str] | None = None,
        text: str | None = None,
        header: tuple[int, int] | None = None,
        message_id: str | None = None,
    ) -> None:
        self.source = source
        self.is_inline = isinstance(source, bytes)
        self.front = front
        self.offset = offset
        self.edited = edited
        self.attributes: Mapping[str, str] = attributes if attributes is not None else {}
        self.text = text
        if traits is not None:
            self.__dict__["traits"] = traits
        if header is not None:
            assert isinstance(source, bytes)
            assert not front
            end, body = header
            self.__dict__["_bounds"] = source[:body], end, body
            self.__dict__["size"] = len(source)
        if message_id is not None:
            self.__dict__["message_id"] = message_id

    @once
    def size(self) -> int:
        """Return the length in octets."""
        source = self.source
        return len(self.front) + (len(source) if isinstance(source, bytes) else source.size) - self.offset

    @once
    def _bounds(self) -> tuple[bytes, int, int]:
        """(octets that hold the header and its empty line, end of the fields in them, body's start in `source`)"""
        if self.edited:
            return self.front, header_end(self.front)[0], self.offset
        source = self.source
        start = source if isinstance(source, bytes) else source.read(0, min(source.size, HEAD_LIMIT))
        octets = self.front + start if self.front else start
        end, body = header_end(octets, HEAD_LIMIT)
        return octets[:body], end, body - len(self.front)

    @once
    def head(self) -> bytes:
        """Return the header fields' octets, without the empty line that ends them."""
        octets, end, _ = self._bounds
        return octets[:end]

    @once
    def fields(self) -> tuple[Field, ...]:
        """Return the header fields in order, as places in `head`."""
        return tuple(scan(self.head))

    @once
    def named(self) -> list[tuple[bytes, bytes]]:
        """Return name and value of each header field in order, as they are written; not to be changed."""
        return named(self.head)

    @once
    def message_id(self) -> str | None:
        """Return the first Message-ID, None where there is none: found without a walk through all fields, for this is
        asked of every message."""
        head = self.head
        at = head.lower().find(b"message-id")
        if at < 0:
            return None
        found = _MESSAGE_ID.search(head, at)
        return None if found is None else unfold(found[1])[:998].decode(errors="replace")

    def get(self, name: bytes) -> bytes | None:
        """Return the unfolded value of the first field of this (lower-case) name, None where there is none."""
        return next(self.get_all(name), None)

    def get_all(self, name: bytes) -> Iterator[bytes]:
        """Yield the unfolded values of all fields of this (lower-case) name, in order."""
        head = self.head
        for f in self.fields:
            if f.name == name:
                yield unfold(head[f.value_start : f.end])

    def with_prefix(self, fields: bytes) -> Content:
        """Return this content with whole field lines, none of MIME, in front of everything else.

        A content without any header gets the empty line too, or its first paragraph would become header.
        """
        if not (self.edited or self.front):
            source = self.source
            start = source if isinstance(source, bytes) else source.read(0, 1024)
            if not starts_with_header(start):
                return self._over(fields + _CRLF, 0, edited=True)
        made = self._over(fields + self.front, self.offset, edited=self.edited, text=self.text)
        if "_bounds" in self.__dict__:
            octets, end, body = self._bounds
            if end:  # what is known of the header is not looked for again
                made.__dict__["_bounds"] = fields + octets, len(fields) + end, body
        return made

    def with_head(
        self,
        head: bytes,
        *,
        text: str | None = None,
        attributes: Mapping[str, str] | None = None,
        is_fields: bool = False,
    ) -> Content:
        """Return this content with another header block (whole lines, no empty line) over the same body, which is this
        `text` where it is known; and with other `attributes` where they are given. `is_fields`: it is known that the
        block is whole fields, at least one, so that its end need not be looked for again."""
        octets, end, body = self._bounds
        return self._over(
            head + (octets[end:] or _CRLF), body, edited=True, text=text, attributes=attributes,
            end=len(head) if is_fields else None,
        )  # fmt: skip

    def _over(
        self,
        front: bytes,
        offset: int,
        *,
        edited: bool,
        text: str | None = None,
        attributes: Mapping[str, str] | None = None,
        end: int | None = None,
    ) -> Content:
        made = Content(
            self.source,
            front=front,
            offset=offset,
            edited=edited,
            traits=self.__dict__.get("traits"),
            attributes=self.attributes if attributes is None else attributes,
            text=text,
        )
        if end is not None:
            made.__dict__["_bounds"] = front, end, offset
        return made

    @once
    def traits(self) -> Traits:
        """Return what the octets need of a transport. Reads a Blob through once, blocking."""
        if self.is_inline:
            return _traits(self.octets())
        bare = eight = nul = False
        held = b""
        for chunk in self.chunks():
            octets = held + chunk
            held = octets[-1:] if octets.endswith(b"\r") else b""
            octets = octets[: len(octets) - len(held)]
            bare = bare or _has_bare(octets)
            eight = eight or not octets.isascii()
            nul = nul or b"\0" in octets
        return Traits(crlf_only=not (bare or held), eight_bit=eight, nul=nul)

    def octets(self) -> bytes:
        """Return everything as one bytes object; for an inline content only.

        Raises: TypeError where the content is in a Blob, which must not be brought into memory whole.
        """
        if not isinstance(self.source, bytes):
            raise TypeError("a content over the inline limit is read in chunks")
        if self.offset:
            return self.front + self.source[self.offset :]
        return self.front + self.source if self.front else self.source

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the octets in pieces of about `size`; an inline content comes as one. Blocks on a Blob."""
        source = self.source
        if isinstance(source, bytes):
            yield self.octets()
            return
        if self.front:
            yield self.front
        offset = self.offset
        while offset < source.size:
            piece = source.read(offset, min(size, source.size - offset))
            if not piece:
                raise OSError(f"content ends at {offset} of {source.size} octets")
            yield piece
            offset += len(piece)

    def body(self) -> bytes:
        """Return the octets after the header's empty line; for an inline content only. Raises: TypeError."""
        source = self.source
        if not isinstance(source, bytes):
            raise TypeError("a content over the inline limit is read in chunks")
        return source[self._bounds[2] :]

    def body_chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """Yield the octets after the header's empty line, in pieces of about `size`."""
        _, _, body = self._bounds
        yield from Content(self.source, offset=body).chunks(size)

    async def stream(self, size: int = CHUNK) -> AsyncIterator[bytes]:
        """Yield as `chunks` does, with a Blob read in a thread so that the event loop never waits for a disk."""
        pieces = self.chunks(size)
        if self.is_inline:
            for piece in pieces:
                yield piece
            return
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:  # type: ignore[arg-type]  # typeshed: to_thread keeps one overload of next
            yield piece


@dataclass(frozen=True, slots=True)
class Message:
    """One message on its way: Envelope and Content."""

    envelope: Envelope
    content: Content = field(repr=False)
