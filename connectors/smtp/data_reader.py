"""Content as it comes over SMTP: the end of DATA, dot-stuffing, BDAT chunks, what the octets need of a transport.

Promises: content ends at CRLF.CRLF and nowhere else, so that no two hops can disagree about where a message ends;
whatever the size of the pieces that the network makes, the octets that come out are the same; the cost is linear,
and a piece that needs no change is handed on without a copy.
Source: RFC 5321 §2.3.8, §4.1.1.4, §4.5.2; RFC 3030 §2.
"""

from __future__ import annotations

import io
from enum import Enum, unique
from typing import Final

from gateway.contract import Traits

INLINE_LIMIT: Final = 256 * 1024
"""Octets up to which a content stays one bytes object."""

_CRLF: Final = b"\r\n"
_END: Final = b"\r\n.\r\n"
_DOT: Final = b"\r\n."


def _held(octets: bytes) -> int:
    """Return how many octets at the end may belong to an end of data, a stuffed dot or a CRLF still to come."""
    if octets.endswith((b"\n", b"\r", b".")):
        for size in (4, 3, 2, 1):
            if octets.endswith(_END[:size]):
                return size
    return 0


def _first_end(octets: bytes) -> int:
    # Searched from the back: the end is mostly there, and CPython's rfind is two to four times faster on lines of
    # text than its find, whose tables find every CRLF promising.
    last = octets.rfind(_END)
    if last > 0 and octets.rfind(_END, 0, last + len(_END) - 1) >= 0:
        return octets.find(_END)
    return last


class DotReader:
    """Finds the end of DATA and undoes dot-stuffing.

    `read` returns the next octets of the content and, once the end is reached, how many octets of its argument
    were not part of the content; -1 before that. What it returns never ends in a lone CR, so that line ends are
    never cut in two.
    """

    __slots__ = ("_before", "_skip", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._skip = 0
        self._before = True
        """Nothing of the content has come yet."""

    def read(self, data: bytes) -> tuple[bytes, int]:
        if self._before and data:
            self._before = False
            if data[:1] == b".":
                # The first line follows a line end, that of the DATA command: its dot is stuffed, or is the end.
                # The line end is put in front for the search and taken off what comes out.
                self._tail = _CRLF
                self._skip = len(_CRLF)
        octets = self._tail + data if self._tail else data
        end = _first_end(octets)
        if end >= 0:
            self._tail = b""
            return self._unstuffed(octets[: end + len(_CRLF)]), len(octets) - end - len(_END)
        held = _held(octets)
        self._tail = octets[len(octets) - held :] if held else b""
        return self._unstuffed(octets[: len(octets) - held] if held else octets), -1

    def _unstuffed(self, octets: bytes) -> bytes:
        # RFC 5321 §4.5.2: of a line that begins with a dot and goes on, the dot is removed. A line that is a dot
        # alone cannot be here, so that every `CRLF .` begins such a line.
        if octets.rfind(_DOT) >= 0:
            octets = octets.replace(_DOT, _CRLF)
        if self._skip and octets:
            octets = octets[self._skip :]
            self._skip = 0
        return octets


class ChunkReader:
    """Counts the octets of one BDAT chunk (RFC 3030 §2): no end mark, no dot-stuffing, any octet allowed."""

    __slots__ = ("_left",)

    def __init__(self, size: int) -> None:
        self._left = size

    @property
    def is_done(self) -> bool:
        return self._left == 0

    def read(self, data: bytes) -> tuple[bytes, int]:
        """Return the octets of the chunk in `data`, and how many after them are not of it; -1 while it goes on."""
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            return data, -1
        self._left = 0
        return (data if len(data) == left else data[:left]), len(data) - left


class TraitScan:
    """Notes while octets go by what they need of a transport; the same answer as one look at the whole."""

    __slots__ = ("_newlines", "eight_bit", "nul")

    def __init__(self) -> None:
        # The standard library's own state machine for the three kinds of line end, in C: a third of the cost of
        # counting LF, CR and CRLF. It waits with a CR at the end of a piece for what follows.
        self._newlines = io.IncrementalNewlineDecoder(None, translate=False)
        self.eight_bit = False
        self.nul = False

    def add(self, octets: bytes) -> None:
        self._newlines.decode(octets.decode("latin-1"))
        if not octets.isascii():
            self.eight_bit = True
        if b"\0" in octets:
            self.nul = True

    def end(self) -> None:
        """Say that nothing follows: a CR that waits for its LF waits in vain."""
        self._newlines.decode("", final=True)

    @property
    def line_ends(self) -> tuple[str, ...]:
        """The kinds of line end seen."""
        seen = self._newlines.newlines
        return seen if isinstance(seen, tuple) else () if seen is None else (seen,)

    @property
    def crlf_only(self) -> bool:
        """Every CR and LF stands in a CRLF pair, but for a CR that is the last octet so far."""
        return self._newlines.newlines in (None, "\r\n")


@unique
class Problem(Enum):
    """Why a content is not taken although it is read to its end."""

    SIZE = "it is over the size limit"
    BARE = "a CR or LF stands outside of a CRLF pair"


class Gatherer:
    """Brings one content together: up to the inline limit as one bytes object, beyond it handed on at once.

    `strict` refuses a bare CR or LF, as DATA must be lines (RFC 5321 §2.3.8) while BDAT may hold anything; `fix`
    makes a bare LF a CRLF. Once there is a `problem` nothing is kept. Memory: the inline limit and one piece.
    """

    __slots__ = ("_fix", "_held", "_inline_limit", "_max_bytes", "_scan", "_strict", "problem", "size", "spilled")

    def __init__(self, max_bytes: int, inline_limit: int, *, strict: bool, fix: bool) -> None:
        self._max_bytes = max_bytes
        self._inline_limit = inline_limit
        self._strict = strict
        self._fix = fix
        self._scan = TraitScan()
        self._held: bytes | bytearray = b""
        self.size = 0
        self.spilled = False
        self.problem: Problem | None = None

    def add(self, octets: bytes) -> bytes:
        """Take octets; return those that are to be handed on now, mostly none."""
        if not octets or self.problem is not None:
            return b""
        if self._fix and octets.count(b"\n") != octets.count(_CRLF):
            octets = octets.replace(_CRLF, b"\n").replace(b"\n", _CRLF)
        scan = self._scan
        scan.add(octets)
        self.size += len(octets)
        if self.size > self._max_bytes:
            self.problem = Problem.SIZE
        elif self._strict and not scan.crlf_only and ("\n" in scan.line_ends or not self._fix):
            self.problem = Problem.BARE
        if self.problem is not None:
            self._held = b""
            return b""
        if self.spilled:
            return octets
        held = self._held
        if not held:
            self._held = held = octets
        elif isinstance(held, bytes):
            self._held = held = bytearray(held)
            held += octets
        else:
            held += octets
        if len(held) <= self._inline_limit:
            return b""
        self.spilled = True
        self._held = b""
        return bytes(held)

    def rest(self) -> bytes:
        """Return what is held: the whole content unless some was handed on."""
        held, self._held = self._held, b""
        return bytes(held)

    @property
    def traits(self) -> Traits:
        """What all octets together need of a transport; to be asked at the end."""
        scan = self._scan
        scan.end()
        return Traits(crlf_only=scan.crlf_only, eight_bit=scan.eight_bit, nul=scan.nul)
