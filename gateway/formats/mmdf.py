"""MMDF mailboxes: each message between two lines of four ^A, and nothing quoted.

A line of four ^A in a message would end it: it gets a blank behind, and the reader cannot tell. Some programs write a
From_ line first in each frame; it is read as such, and not written.
Linear in the file's size. Source: mmdf(5) of mutt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from gateway.formats.from_line import LINE_OCTETS, FromLine, read
from gateway.formats.lines import chain, ended, escape_rules, to_lf
from gateway.formats.window import Window
from gateway.message import Blob, Content

RULE: Final = b"\x01\x01\x01\x01\n"
_RULE: Final = re.compile(rb"(?<![^\n])\x01{4}\r?\n")
_LAST: Final = re.compile(rb"(?<![^\n])\x01{4}\Z")
_TEXT: Final = re.compile(rb"[^\r\n]")


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: [start, next) with its two rules, [head, end) without, nor with a From_ line.

    `is_whole` is False where the file ends before the second rule.
    """

    start: int
    head: int
    end: int
    next: int
    line: int
    from_line: FromLine | None
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Junk:
    """Octets that stand in no frame."""

    start: int
    end: int
    line: int


def scan(file: Blob) -> Iterator[Frame | Junk]:
    """Yield the messages of a mailbox in order. Raises: OSError where it cannot be read."""
    window = Window(file)
    at = 0
    while (text := window.find(_TEXT, at)) is not None:
        start, line = text[0], window.line(text[0])
        opening = _rule(window, start)
        if opening is None or opening[0] != start:
            at = file.size if opening is None else opening[0]
            yield Junk(start, at, line)
            continue
        from_line, head = _from_line(window, opening[1])
        closing = _rule(window, opening[1])
        if closing is None:
            yield Frame(start, head, file.size, file.size, line, from_line, is_whole=False)
            return
        at = closing[1]
        yield Frame(start, min(head, closing[0]), closing[0], at, line, from_line)


def _rule(window: Window, at: int) -> tuple[int, int] | None:
    found = window.find(_RULE, at)
    if found is not None or window.size - 4 < at:
        return found
    tail = window.at(max(0, window.size - 5), 5)  # the file's last line may have no end
    return None if _LAST.search(tail) is None else (window.size - 4, window.size)


def _from_line(window: Window, at: int) -> tuple[FromLine | None, int]:
    """Return the From_ line that begins a frame, if any, and where the message begins."""
    octets = window.at(at, LINE_OCTETS + 2)
    end = octets.find(b"\n")
    if not octets.startswith(b"From ") or end < 0:
        return None, at
    found = read(octets[:end])
    return found, at if found is None else at + end + 1


def written(content: Content) -> Callable[[], Iterator[bytes]]:
    """Return what gives the octets to append for one message, each time it is called; raises OSError then."""
    escape = chain(to_lf, escape_rules)

    def octets() -> Iterator[bytes]:
        yield RULE
        yield from ended(escape(content.chunks()))
        yield RULE

    return octets


def joint(tail: bytes) -> bytes:
    """Return what has to stand between a file that ends in `tail` and the next rule."""
    return b"" if not tail or tail.endswith(b"\n") else b"\n"
