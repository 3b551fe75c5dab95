"""LineBuffer: octets that came in and are not worked off yet, as command lines or as they are.

Promises: a command line ends with CRLF and nothing else, unless LF alone is allowed; no line is kept beyond
the limit; the cost is linear in the octets.
Source: RFC 5321 §2.3.8, §4.5.3.1.4.
"""

from __future__ import annotations

from enum import Enum, unique
from typing import Final

LINE_LIMIT: Final = 4096
"""Octets of a command line: RFC 5321 §4.5.3.1.4 has 512, and each extension adds to it (ORCPT alone 500)."""

AUTH_LINE_LIMIT: Final = 12_288
"""The same where AUTH is offered: its tokens are long (RFC 4954 §4)."""


@unique
class LineFault(Enum):
    """What is wrong with a line; it has been read to its end."""

    TOO_LONG = "over the limit"
    BARE_LF = "it ends with LF alone"
    BARE_CR = "there is a CR within it"


class LineBuffer:
    """Not yet read octets. `allows_bare_lf` lets a line end with LF alone; no line is longer than `limit`."""

    __slots__ = ("_allows_bare_lf", "_limit", "_octets", "_pos", "_skips")

    def __init__(self, *, allows_bare_lf: bool = False, limit: int = LINE_LIMIT) -> None:
        self._allows_bare_lf = allows_bare_lf
        self._limit = limit
        self._octets = b""
        self._pos = 0
        self._skips = False

    def __len__(self) -> int:
        return len(self._octets) - self._pos

    def append(self, octets: bytes) -> None:
        self._octets = octets if self._pos == len(self._octets) else self._octets[self._pos :] + octets
        self._pos = 0

    def clear(self) -> None:
        self._octets = b""
        self._pos = 0
        self._skips = False

    def line(self) -> bytes | LineFault | None:
        """Return the next line without its line end, what is wrong with it, or None where it is not complete."""
        octets, start = self._octets, self._pos
        feed = octets.find(b"\n", start)
        if feed < 0:
            if self._skips or len(octets) - start > self._limit:
                # The rest of the line is thrown away as it comes, and the fault told at its end.
                self._skips = True
                self._octets = b""
                self._pos = 0
            return None
        self._pos = feed + 1
        if self._skips or feed - start > self._limit:
            self._skips = False
            return LineFault.TOO_LONG
        if feed > start and octets[feed - 1] == 13:
            line = octets[start : feed - 1]
        elif self._allows_bare_lf:
            line = octets[start:feed]
        else:
            return LineFault.BARE_LF
        return LineFault.BARE_CR if b"\r" in line else line

    def take(self) -> bytes:
        """Return everything, and hold nothing."""
        octets = self._octets[self._pos :] if self._pos else self._octets
        self._octets = b""
        self._pos = 0
        return octets
