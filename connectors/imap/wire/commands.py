"""Commands: what is said to an IMAP server, in pieces between which a server may have to be waited for. Pure.

Source: RFC 9051 §6 and §9, RFC 7888 (LITERAL+, LITERAL-), RFC 3502 (MULTIAPPEND), RFC 3516 (literal8), RFC 6855.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, TypeAlias

from connectors.imap.wire.dates import date_time
from connectors.imap.wire.names import to_wire
from gateway.frozen import quickly_made
from gateway.mailbox import Content

_ATOM: Final = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z^_`a-z|}~\[]+")
_QUOTABLE: Final = re.compile(rb"[^\r\n\0\x80-\xff]*")
_FLAG: Final = re.compile(rb"\\?[!#$&'+,\-./0-9:;<=>?@A-Z^_`a-z|}~\[]+")


@quickly_made
@dataclass(frozen=True, slots=True)
class Literal:
    """A text that goes as a literal; `content` is not kept in memory where it is large."""

    content: Content
    binary: bool = False
    """As literal8, which may hold NUL (RFC 3516)."""

    @property
    def size(self) -> int:
        return self.content.size


Piece: TypeAlias = bytes | Literal


@quickly_made
@dataclass(frozen=True, slots=True)
class Command:
    """A command without its tag: octets, and literals between them."""

    pieces: Sequence[Piece] = field(repr=False)
    """In no log: a password may be in them."""

    @property
    def name(self) -> str:
        """Return its name, for logs: `UID FETCH`."""
        first = self.pieces[0]
        words = (first if isinstance(first, bytes) else b"").split(b" ", 2)
        return b" ".join(words[: 2 if words[0].upper() == b"UID" else 1]).decode("ascii", "replace")


def command(*pieces: bytes) -> Command:
    """Return a command without literals, its words parted by blanks."""
    return Command((b" ".join(pieces),))


def string(octets: bytes) -> bytes | Literal:
    """Return a text as a quoted string, or as a literal where it cannot be quoted."""
    if _QUOTABLE.fullmatch(octets) and len(octets) <= 1000:
        return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return Literal(Content(octets))


def astring(octets: bytes) -> bytes | Literal:
    """Return a text as an atom where it is one, else as `string` does. NIL is quoted, or it were nothing."""
    if _ATOM.fullmatch(octets) and octets.upper() != b"NIL":
        return octets
    return string(octets)


def joined(*pieces: Piece) -> Command:
    """Return a command of pieces that stand one behind the other, octets put together."""
    made: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, bytes) and made and isinstance(made[-1], bytes):
            made[-1] += piece
        else:
            made.append(piece)
    return Command(tuple(made))


def folder(name: bytes | str, *, utf8: bool = False) -> Piece:
    """Return a folder's name for a command: its octets as they were listed, or a name that is to be encoded."""
    octets = name if isinstance(name, bytes) else to_wire(name, utf8=utf8)
    if utf8 and not octets.isascii() and b"\r" not in octets and b"\n" not in octets and b"\0" not in octets:
        return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'  # RFC 6855: quoted UTF-8
    return astring(octets)


def numbers(wanted: Iterable[int]) -> bytes:
    """Return numbers as the shortest sequence set: 1,3:5. They need not be in order. Raises: ValueError for none."""
    ordered = sorted(set(wanted))
    if not ordered:
        raise ValueError("a sequence set has a number at least")
    breaks = [at + 1 for at, (one, other) in enumerate(pairwise(ordered)) if other != one + 1]
    bounds = zip([0, *breaks], [*breaks, len(ordered)], strict=True)
    return b",".join(
        b"%d" % ordered[at] if end == at + 1 else b"%d:%d" % (ordered[at], ordered[end - 1]) for at, end in bounds
    )


def read_numbers(text: bytes, limit: int = 10_000_000) -> list[int]:
    """Return what a sequence set names, in its order. Raises: ValueError for none, `*`, or more than `limit`."""
    found: list[int] = []
    for each in text.split(b","):
        first, colon, last = each.partition(b":")
        begin, end = int(first), int(last) if colon else int(first)
        begin, end = min(begin, end), max(begin, end)
        if len(found) + end - begin >= limit:
            raise ValueError(f"a set of more than {limit} numbers")
        found.extend(range(begin, end + 1))
    return found


def flag_list(flags: Iterable[bytes]) -> bytes:
    """Return flags as a list. Raises: ValueError for one that is no atom."""
    ordered = sorted(flags)
    for each in ordered:
        if not _FLAG.fullmatch(each):
            raise ValueError(f"{each!r} is no flag")
    return b"(" + b" ".join(ordered) + b")"


@quickly_made
@dataclass(frozen=True, slots=True)
class Appending:
    """One message to be appended."""

    content: Content
    flags: frozenset[bytes] = frozenset()
    received_at: float | None = None
    binary: bool = False
    """As literal8."""
    utf8: bool = False
    """Its header has UTF-8 in it, which RFC 6855 has said where it is enabled."""


def append(to: Piece, messages: Sequence[Appending]) -> Command:
    """Return APPEND of one message, or of several where the server has MULTIAPPEND: all of them, or none."""
    pieces: list[Piece] = [b"APPEND ", to]
    for each in messages:
        pieces.append(b" " + flag_list(each.flags) + b" " if each.flags else b" ")
        if each.received_at is not None:
            pieces.append(date_time(each.received_at) + b" ")
        literal = Literal(each.content, each.binary)
        pieces.extend((b"UTF8 (", literal, b")") if each.utf8 else (literal,))
    return joined(*pieces)
