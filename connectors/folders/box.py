"""One mailbox file, read: its messages as places in it, each with an id that its octets make.

An id is a digest of what the message is without the mailbox's own fields, so that it stays when programs write the
file anew for a flag or another order; real duplicates are told apart by their order.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from connectors.folders import notes
from connectors.folders.backend import shown_version
from connectors.folders.reading import HEAD_LIMIT, pieces
from gateway.contract import Blob, Flag
from gateway.formats import mbox, mmdf
from gateway.formats.from_line import FromLine
from gateway.formats.lines import Filter, to_crlf

_NO_DATE: Final = FromLine()


@dataclass(frozen=True, slots=True)
class Span:
    """A message's place: [start, next) with all that parts it from others, [head, end) without; `body` is where its
    body starts, behind the empty line."""

    start: int
    head: int
    body: int
    end: int
    next: int
    from_line: FromLine
    through: Filter


class Kind(Protocol):
    """A format of mailbox files."""

    def scan(self, blob: Blob) -> Iterator[Span]: ...


@dataclass(frozen=True, slots=True)
class Held:
    """A message of a file. `hidden`: one that programs do not show."""

    name: str
    span: Span
    size: int
    flags: frozenset[Flag]
    keywords: frozenset[str]
    message_id: str | None
    hidden: bool = False

    @property
    def words(self) -> frozenset[str]:
        return frozenset[str](self.flags) | self.keywords

    @property
    def version(self) -> str:
        return shown_version(self.words)


class _Part:
    """A file from some place on, as a Blob."""

    def __init__(self, handle: int, start: int, end: int) -> None:
        self._handle = handle
        self._start = start
        self.size = end - start

    def read(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self.size - offset))
        return b"".join(pieces(self._handle, self._start + offset, self._start + offset + length))


@dataclass(slots=True)
class Box:
    """What a file held when it was as `stamp` says."""

    stamp: tuple[int, int, int, int]
    held: dict[str, Held]
    end: int


def stamp(handle: int) -> tuple[int, int, int, int]:
    """Return what an open file is known by while nobody writes to it."""
    there = os.fstat(handle)
    return there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns


def read(handle: int, kind: Kind, before: Box | None = None) -> Box:
    """Read a file, from the end of what is known `before` on. Raises: OSError."""
    size = os.fstat(handle).st_size
    box = Box(stamp(handle), {} if before is None else before.held, size)
    at = 0 if before is None else before.end
    for span in kind.scan(_Part(handle, at, size)):
        placed = Span(
            span.start + at,
            span.head + at,
            span.body + at,
            span.end + at,
            span.next + at,
            span.from_line,
            span.through,
        )
        held = _held(handle, placed, box.held)
        box.held[held.name] = held
    return box


def header_of(handle: int, span: Span) -> tuple[bytes, bytes]:
    """Return a message's header as the file has it, with the line that ends it, and what ends its lines.

    Lines that end in CR end in LF here. None where it is too long to be one.
    """
    if span.body - span.head > HEAD_LIMIT:
        return b"", b"\n"
    octets = b"".join(pieces(handle, span.head, span.body))
    if b"\n" in octets or b"\r" not in octets:
        return octets, b"\r\n" if octets.endswith(b"\r\n") else b"\n"
    return octets.replace(b"\r", b"\n"), b"\r"


def _held(handle: int, span: Span, known: dict[str, Held]) -> Held:
    header, _ = header_of(handle, span)
    note, own = notes.read(header) if header else (notes.Note(frozenset(), frozenset(), None), b"")
    digest = hashlib.blake2b(own, digest_size=12)
    size, lines, crlf = len(own), own.count(b"\n"), own.count(b"\r\n")
    last = own[-1:]
    for piece in pieces(handle, span.body if header else span.head, span.end):
        digest.update(piece)
        size += len(piece)
        lines += piece.count(b"\n")
        crlf += piece.count(b"\r\n") + (last == b"\r" and piece.startswith(b"\n"))
        last = piece[-1:]
    name = base = digest.hexdigest()
    number = 1
    while name in known:
        number += 1
        name = f"{base}-{number}"
    hidden = note.is_gone or note.is_internal
    return Held(name, span, size + lines - crlf, note.flags, note.keywords, note.message_id, hidden)


class Mbox:
    """mbox, in a dialect."""

    def __init__(self, dialect: mbox.Dialect) -> None:
        self.dialect = dialect

    def scan(self, blob: Blob) -> Iterator[Span]:
        for entry in mbox.scan(blob, self.dialect):
            if isinstance(entry, mbox.Entry):
                yield Span(entry.start, entry.head, entry.body, entry.end, entry.next, entry.from_line, entry.filter)


class Mmdf:
    """MMDF."""

    def scan(self, blob: Blob) -> Iterator[Span]:
        for frame in mmdf.scan(blob):
            if isinstance(frame, mmdf.Frame):
                body = _body(blob, frame.head, frame.end)
                line = frame.from_line or _NO_DATE
                yield Span(frame.start, frame.head, body, frame.end, frame.next, line, to_crlf)


def _body(blob: Blob, head: int, end: int) -> int:
    """Return where the body starts, behind the first empty line."""
    octets = b""
    at = head
    while at < min(end, head + HEAD_LIMIT):
        octets += blob.read(at, min(64 * 1024, end - at))
        at = head + len(octets)
        if octets.startswith((b"\n", b"\r\n")):
            return head + octets.index(b"\n") + 1
        found = [place + len(sign) for sign in (b"\n\n", b"\n\r\n") if (place := octets.find(sign)) >= 0]
        if found:
            return head + min(found)
    return end
