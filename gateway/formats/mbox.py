"""mbox: many messages in one file, each behind a From_ line, in the five dialects that are in use.

`scan` finds the messages of a file of any size as places in it; `unquoted` is the filter that brings their octets
back; `written` gives what is to be appended for one. A From_ line counts at the file's start or behind an empty line,
where its date can be read; another line of that kind is content, and counted as loose. Content-Length is believed
only where it ends at the end of the file or before a From_ line. Lines may end in LF, CRLF or CR alone.
Linear in the file's size. Sources: mbox(5) of mutt; RFC 4155; for mboxcl2 the tradition of the qmail package's mbox(5),
which is not at hand in every system.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.formats.from_line import LINE_OCTETS, FromLine, read
from gateway.formats.lines import (
    Filter,
    chain,
    cr_to_crlf,
    ended,
    quote_any_from,
    quote_from,
    to_crlf,
    to_lf,
    unquote_any_from,
)
from gateway.formats.window import Window
from gateway.message import Blob, Content

HEADER_LIMIT: Final = 256 * 1024
"""How far into a header Content-Length is looked for."""


class Dialect(StrEnum):
    """How a line of content that looks like a From_ line is kept apart from one."""

    MBOXO = "mboxo"
    """`From ` becomes `>From `; what was `>From ` before looks the same, so that nothing is undone in reading."""
    MBOXRD = "mboxrd"
    """Each line of any number of > and `From ` gets one more, and loses it again: the one that loses nothing."""
    MBOXCL = "mboxcl"
    """As mboxo, with the body's length in Content-Length."""
    MBOXCL2 = "mboxcl2"
    """Nothing is quoted: Content-Length alone."""
    RFC4155 = "rfc4155"
    """The default form of application/mbox: a strict From_ line, and no quoting in reading."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message: [start, next) with its From_ line and the empty line behind it, [head, end) without.

    `body` is where its body starts, `end` where it has none; `line` is the number of its first line. `loose` counts
    the lines in it that begin as From_ lines do behind an empty line, and are none. `newline` is LF, in files of CRLF
    too, or CR.
    """

    start: int
    head: int
    body: int
    end: int
    next: int
    line: int
    from_line: FromLine
    filter: Filter
    loose: int = 0
    newline: bytes = b"\n"


@dataclass(frozen=True, slots=True)
class Junk:
    """Octets before the first From_ line, which belong to no message."""

    start: int
    end: int
    line: int


_LENGTH: Final = re.compile(rb"^content-length[ \t]*:[ \t]*(\d{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


class _Signs:
    """What is looked for in files whose lines end in LF (or CRLF), or in CR."""

    def __init__(self, newline: bytes) -> None:
        empty = rb"\r?\n" if newline == b"\n" else rb"\r"
        self.newline = newline
        self.from_ = newline + b"From "
        self.line_end = re.compile(newline)
        self.empty_line = re.compile(newline + empty)
        self.before = re.compile(newline + rb"(" + empty + rb")\Z")
        self.text = re.compile(rb"[^\r\n]")


_LF: Final = _Signs(b"\n")
_CR: Final = _Signs(b"\r")


def scan(file: Blob, dialect: Dialect = Dialect.MBOXRD) -> Iterator[Entry | Junk]:
    """Yield the messages of a mailbox in order. Raises: OSError where it cannot be read."""
    window = Window(file)
    start = window.at(0, 4096)
    signs = _CR if b"\r" in start and b"\n" not in start else _LF
    window.use_newline(signs.newline)
    scanner = _Scanner(window, signs, dialect)
    first = window.find(signs.text, 0)
    at = first[0] if first is not None else file.size
    if at < file.size and window.at(at, 5) != b"From ":
        line = window.line(at)
        following = scanner.separator(at)
        yield Junk(at, following.next, line)
        at = following.next
    while at < file.size:
        entry = scanner.entry(at)
        yield entry
        at = entry.next


@dataclass(frozen=True, slots=True)
class _Separator:
    """Where content ends before a From_ line, and where that line starts."""

    end: int
    next: int
    loose: int


class _Scanner:
    def __init__(self, window: Window, signs: _Signs, dialect: Dialect) -> None:
        self._window = window
        self._signs = signs
        self._dialect = dialect
        self._filter = reading(dialect, signs.newline)

    def entry(self, start: int) -> Entry:
        """Return the message whose From_ line starts there."""
        window, size = self._window, self._window.size
        line = window.line(start)
        end = window.find(self._signs.line_end, start)
        head = size if end is None else end[1]
        empty = window.find(self._signs.empty_line, head - 1)
        body = size if empty is None else empty[1]
        # The empty line that ends the header may be the one before the next From_ line.
        found = self._by_length(head, body) or self.separator(head if empty is None else empty[0] + 1)
        read_line = self._from_line(start) or FromLine()
        return Entry(
            start,
            head,
            min(body, found.end),
            found.end,
            found.next,
            line,
            read_line,
            self._filter,
            found.loose,
            self._signs.newline,
        )

    def separator(self, at: int) -> _Separator:
        """Return the next place from `at` on where a From_ line follows an empty line; the file's end is one."""
        loose, head, size = 0, at, self._window.size
        strict = self._dialect is Dialect.RFC4155
        while (found := self._window.find_octets(self._signs.from_, at)) is not None:
            at = found + 1
            end = self._before_empty_line(head, at)
            if end is not None:
                if self._from_line(at, strict=strict) is not None:
                    return _Separator(end, at, loose)
                loose += 1
        end = self._before_empty_line(head, size)
        return _Separator(size if end is None else end, size, loose)

    def _before_empty_line(self, head: int, at: int) -> int | None:
        """Return where the empty line starts that ends at `at`; None where none does, not before `head`."""
        start = max(head - 1, at - 3, 0)
        empty = self._signs.before.search(self._window.at(start, at - start))
        return None if empty is None or start + empty.start(1) < head else start + empty.start(1)

    def _from_line(self, start: int, *, strict: bool = False) -> FromLine | None:
        octets = self._window.at(start, LINE_OCTETS + 2)
        end = octets.find(self._signs.newline)
        return read((octets if end < 0 else octets[:end]).rstrip(b"\r"), strict=strict)

    def _by_length(self, head: int, body: int) -> _Separator | None:
        """Return where Content-Length says that the message ends; None where it does not say, or lies."""
        if self._dialect not in (Dialect.MBOXCL, Dialect.MBOXCL2):
            return None
        octets = self._window.at(head, min(body - head, HEADER_LIMIT))
        match = _LENGTH.search(octets)
        if match is None:
            return None
        end, size = body + int(match[1]), self._window.size
        if end > size:
            return None
        behind = self._window.at(end, 7)
        empty = re.match(rb"\r?\n|", behind)
        following = end + (empty.end() if empty is not None else 0)
        if following == size:
            return _Separator(end, size, 0)
        if self._window.at(end - 1, 1) != b"\n" or self._window.at(following, 5) != b"From ":
            return None
        return None if self._from_line(following) is None else _Separator(end, following, 0)


def reading(dialect: Dialect, newline: bytes = b"\n") -> Filter:
    """Return the filter that a message's octets go through on their way out of the file, line ends made CRLF."""
    lines = cr_to_crlf if newline == b"\r" else to_crlf
    return chain(lines, unquote_any_from) if dialect is Dialect.MBOXRD else lines


def quoting(dialect: Dialect) -> Filter:
    """Return the filter that a message's octets go through on their way into the file, line ends made LF."""
    if dialect is Dialect.MBOXRD:
        return chain(to_lf, quote_any_from)
    return to_lf if dialect is Dialect.MBOXCL2 else chain(to_lf, quote_from)


def written(content: Content, from_line: bytes, dialect: Dialect) -> Callable[[], Iterator[bytes]]:
    """Return what gives the octets to append for one message, each time it is called.

    They end in an empty line. A last line without its end gets one. A content without a header has no place for
    Content-Length, and its lines are then quoted as in mboxo. Raises, when called: OSError.
    """
    counted = dialect in (Dialect.MBOXCL, Dialect.MBOXCL2)
    head = content.head if counted else b""
    if counted and not head:
        dialect, counted = Dialect.MBOXO, False
    quote = quoting(dialect)

    def octets() -> Iterator[bytes]:
        yield from_line
        if not counted:
            yield from ended(quote(content.chunks()))
        else:
            yield from ended(quote(iter((head,))))
            length = sum(len(piece) for piece in ended(quote(content.body_chunks())))
            yield b"Content-Length: %d\n\n" % length
            yield from ended(quote(content.body_chunks()))
        yield b"\n"

    return octets


def joint(tail: bytes) -> bytes:
    """Return what has to stand between a file that ends in `tail`, its last octets, and the next From_ line."""
    if not tail or tail.endswith((b"\n\n", b"\n\r\n")) or tail in (b"\n", b"\r\n"):
        return b""
    return b"\n" if tail.endswith(b"\n") else b"\n\n"
