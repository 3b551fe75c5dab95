"""What an IMAP server sends, cut into responses, and those into values. No input or output.

A value is an octet string (atoms, numbers, quoted strings and literals alike), None for NIL, a list, or a `Spilled` for
a literal that is too large to be kept in memory. Servers are taken as they are: a bare LF ends a line, blanks may be
doubled, a list may end without its bracket.
Promises: bounded, by `Limits`; octets that are no IMAP raise WireError and nothing else; a literal is copied once.
Source: RFC 9051 §4 and §9 (RFC 3501 likewise), RFC 3516 (literal8), RFC 7888 (non-synchronising literals).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

MAX_DEPTH: Final = 64
_EACH: Final = 64
"""Octets of memory that a literal takes besides its own: there may be very many that are empty."""
_LITERAL: Final = re.compile(rb"~?\{([0-9]{1,12})\+?\}\Z")
_TOKEN: Final = re.compile(
    rb"""
    [ \t]* (?:
      ([()])
    | "((?:[^"\\]|\\.)*)"
    | ( (?=[^ \t()"]) [^ \t()"\[]* (?: \[ [^\]]* \]? (?:<[0-9.]+>)? )? [^ \t()"]* )
    )""",
    re.DOTALL | re.VERBOSE,
)
"""A bracket, a quoted string, or an atom, which may hold blanks within [ ], as `BODY[HEADER.FIELDS (FROM)]<0>` does."""
_NIL: Final = frozenset((b"NIL", b"nil", b"Nil"))
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)


class WireError(Exception):
    """The server does not speak IMAP; the text says what was found."""


class Spill(Protocol):
    """Takes a large literal in pieces, elsewhere than in memory."""

    def write(self, octets: bytes) -> None: ...

    def close(self) -> None:
        """All pieces were written."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds, in octets."""

    line: int = 64 * 1024 * 1024
    """Of a line without its literals: the numbers of a million messages in one answer are some 8 MiB."""
    literal: int = 1 << 31
    kept: int = 1024 * 1024
    """A literal of more is spilled, where there is where to."""
    response: int = 256 * 1024 * 1024
    """Of all that is kept of one response."""


@dataclass(frozen=True, slots=True)
class Spilled:
    """A literal that went to a Spill."""

    size: int
    to: Spill


Value: TypeAlias = "bytes | Spilled | list[Value] | None"
Part: TypeAlias = "bytes | Spilled"


class Cutter:
    """Cuts octets into responses: a line, or several with literals between them.

    `spill` is asked for each literal over `Limits.kept`, with what of the response came before it and its size; None
    keeps it in memory.
    """

    def __init__(self, limits: Limits | None = None, spill: Callable[[bytes, int], Spill | None] | None = None) -> None:
        self._limits = limits or Limits()
        self._spill = spill or (lambda before, size: None)
        self._line = bytearray()
        """The beginning of a line whose end is still to come."""
        self._parts: list[Part] = []
        self._kept = 0
        self._missing = 0
        """Octets of a literal that are still to come; what it goes to is `_to`."""
        self._size = 0
        self._to: Spill | None = None
        self._in_literal = False
        self._pieces: list[bytes] = []

    def feed(self, octets: bytes) -> Iterator[list[Part]]:
        """Yield the parts of each response that is whole now: lines, with the literals between them.

        Raises: WireError; nothing can be fed then any more.
        """
        if self._line:
            self._line += octets
            if b"\n" not in octets:
                self._check_line()
                return
            octets = bytes(self._line)
            self._line.clear()
        at = 0
        while True:
            if self._in_literal:
                at += self._taken(octets, at)
                if self._in_literal:
                    return
            end = octets.find(b"\n", at)
            if end < 0:
                self._line += octets[at:]
                self._check_line()
                return
            line = octets[at : end - 1 if end > at and octets[end - 1] == 0x0D else end]
            at = end + 1
            if line.endswith(b"}") and (found := _LITERAL.search(line)) is not None:
                self._begin(line[: found.start()], int(found[1]))
                continue
            self._parts.append(line)
            parts, self._parts, self._kept = self._parts, [], 0
            yield parts

    def _begin(self, before: bytes, size: int) -> None:
        if size > self._limits.literal:
            raise WireError(f"a literal of {size} octets")
        self._parts.append(before)
        self._to = (
            self._spill(self._parts[0] if isinstance(self._parts[0], bytes) else b"", size)
            if (size > self._limits.kept)
            else None
        )
        self._kept += len(before) + _EACH + (0 if self._to else size)
        if self._kept > self._limits.response:
            raise WireError(f"a response of more than {self._limits.response} octets")
        self._size = self._missing = size
        self._in_literal = True

    def _check_line(self) -> None:
        if len(self._line) > self._limits.line:
            raise WireError(f"a line of more than {self._limits.line} octets")

    def _taken(self, octets: bytes, at: int) -> int:
        """Take what belongs to the literal from a place on, and return how much that is. What is there of it is put
        together at its end."""
        piece = octets[at : at + self._missing]
        if self._to is not None:
            self._to.write(piece)
        else:
            self._pieces.append(piece)
        self._missing -= len(piece)
        if self._missing:
            return len(piece)
        if self._to is not None:
            self._to.close()
            self._parts.append(Spilled(self._size, self._to))
            self._to = None
        else:
            self._parts.append(b"".join(self._pieces))
            self._pieces = []
        self._in_literal = False
        return len(piece)


def values(parts: Sequence[Part], at: int = 0) -> list[Value]:
    """Return the values of a response: every other part is a line, those between are literals.

    `at` is where in the first line to begin. Raises: WireError.
    """
    top: list[Value] = []
    stack = [top]
    for number, part in enumerate(parts):
        if number % 2 or isinstance(part, Spilled):
            stack[-1].append(part)
        else:
            _scan(part, 0 if number else at, stack)
    return top


def _scan(line: bytes, at: int, stack: list[list[Value]]) -> None:
    match, into = _TOKEN.match, stack[-1]
    end = len(line)
    while at < end:
        found = match(line, at)
        if found is None:
            if line[at:].strip(b" \t"):
                raise WireError(f"{_shown(line[at:])} is no value")
            return
        at = found.end()
        group = found.lastindex
        text = found[group or 0]
        if group == 3:
            into.append(None if text in _NIL else text)
        elif group == 2:
            into.append(_ESCAPED.sub(rb"\1", text) if b"\\" in text else text)
        elif text == b"(":
            if len(stack) > MAX_DEPTH:
                raise WireError(f"lists in lists, more than {MAX_DEPTH}")
            inner: list[Value] = []
            into.append(inner)
            stack.append(inner)
            into = inner
        elif len(stack) == 1:
            raise WireError(f"a list ends that has not begun, before {_shown(line[at:])}")
        else:
            stack.pop()
            into = stack[-1]


def _shown(octets: bytes) -> str:
    return repr(octets[:60])[1:]


def shown(parts: Sequence[Part]) -> str:
    """Return the beginning of a response for a log, printable and short."""
    first = parts[0] if parts else b""
    return _shown(first if isinstance(first, bytes) else b"")
