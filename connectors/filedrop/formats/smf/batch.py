"""Files of several messages, each ended by a line that is the separator. Linear; reads a file once, in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.contract import Blob

CHUNK: Final = 256 * 1024
_BEHIND: Final = 80
"""Blanks after a separator that still leave it one."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A message in a file: [start, end), and where what follows begins. `line` is its first line, from 1."""

    start: int
    end: int
    after: int
    line: int


def stretches(file: Blob, separator: bytes) -> Iterator[Stretch]:
    """Yield the stretches of a file; the one of a whole file where there is no separator. Raises: OSError."""
    if not separator:
        yield Stretch(0, file.size, file.size, 1)
        return
    start = base = 0  # where the stretch begins, and the window
    window = b""
    at = counted = 0  # in the window: nothing before `at` is a separator; newlines before `counted` are counted
    line = first_line = 1
    while True:
        piece = file.read(base + len(window), CHUNK)
        window += piece
        while (hit := window.find(separator, at)) >= 0:
            after = _after(window, hit + len(separator), is_end=not piece)
            if after == 0:
                break  # what follows is not read yet
            if after < 0 or not (base + hit == start or window[hit - 1 : hit] == b"\n"):
                at = hit + 1
                continue
            yield Stretch(start, base + hit, base + after, first_line)
            line += window.count(b"\n", counted, after)
            start, first_line = base + after, line
            at = counted = after
        if not piece:
            break
        # The last octets may be the beginning of a separator, and the one before it tells whether a line begins.
        at = hit if hit >= 0 else max(at, len(window) - len(separator) + 1)
        drop = max(0, at - 1)
        line += window.count(b"\n", counted, drop)
        window, base, at, counted = window[drop:], base + drop, at - drop, max(counted - drop, 0)
    if start < file.size:
        yield Stretch(start, file.size, file.size, first_line)


def _after(window: bytes, at: int, *, is_end: bool) -> int:
    """Return where the line goes on after a separator; -1 where more than blanks stand behind it, 0 where that is not
    known yet."""
    behind = window[at : at + _BEHIND]
    rest = behind.lstrip(b" \t")
    at += len(behind) - len(rest)
    for end in (b"\r\n", b"\n", b"\x1a"):
        if rest.startswith(end):
            return at + len(end)
    if rest in (b"", b"\r"):
        return at + len(rest) if is_end else 0
    return -1
