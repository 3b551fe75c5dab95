"""Line ends and quotations, undone and made in octets that come in pieces of any size.

Each function is a filter: an iterator of pieces in, one out. Promises: the result does not depend on where the pieces
part; a few octets are held back at most; linear.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

Filter = Callable[[Iterator[bytes]], Iterator[bytes]]

_START: Final = re.compile(rb"(>*)(?:F(?:r(?:om?)?)?)?")
"""The beginning of a line that may become a quoted or unquoted `From `."""
_RULE: Final = re.compile(rb"\x01{1,4}\r?")


def to_crlf(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Make each LF a CRLF; those that are in one, and a CR alone, stay."""
    held = b""
    for piece in pieces:
        octets = held + piece
        held = b"\r" if octets.endswith(b"\r") else b""
        if held:
            octets = octets[:-1]
        yield octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if held:
        yield held


def to_lf(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Make each CRLF an LF; a CR alone stays."""
    held = b""
    for piece in pieces:
        octets = held + piece
        held = b"\r" if octets.endswith(b"\r") else b""
        if held:
            octets = octets[:-1]
        yield octets.replace(b"\r\n", b"\n")
    if held:
        yield held


def cr_to_crlf(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Make each CR a CRLF, as in files whose lines end in CR alone."""
    for piece in pieces:
        yield piece.replace(b"\r", b"\r\n")


def ended(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Add an LF where the last line has none; nothing to no octets."""
    last = b"\n"
    for piece in pieces:
        if piece:
            last = piece[-1:]
            yield piece
    if last != b"\n":
        yield b"\n"


def quote_from(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Put a > before each line that begins with `From `: what is quoted so cannot be told from what was so."""
    return _each_line(pieces, rb"From ", rb">From ", runs=False)


def quote_any_from(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Put a > before each line of any number of > and `From `; `unquote_any_from` is its inverse."""
    return _each_line(pieces, rb">*From ", rb">\g<0>", runs=True)


def unquote_any_from(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Take one > off each line that begins with some of them and `From `."""
    return _each_line(pieces, rb">(>*From )", rb"\1", runs=True, keep=1)


def _each_line(pieces: Iterator[bytes], what: bytes, by: bytes, *, runs: bool, keep: int = 0) -> Iterator[bytes]:
    """Replace `what` by `by` at line starts. With `runs`, a line start may be a run of > of any length.

    Of a run that a piece ends in, `keep` signs are held back and the others pass: which of them goes or is added
    makes no difference.
    """
    inside, start = re.compile(rb"(?<=\n)" + what), re.compile(rb"(?:(?<=\n)|\A)" + what)
    held, at_start = b"", True
    for piece in pieces:
        octets = held + piece
        pattern = start if at_start else inside
        line = octets.rfind(b"\n") + 1
        begun = _START.fullmatch(octets, line) if line or at_start else None
        if begun is None or (begun[1] and not runs):
            held, at_start = b"", False
            yield pattern.sub(by, octets)
            continue
        passing = max(0, len(begun[1]) - keep)
        held, at_start = octets[line + passing :], True
        yield pattern.sub(by, octets[:line]) + octets[line : line + passing]
    if held:
        yield held


def escape_rules(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Put a blank behind each line of four ^A alone, which would end a message of an MMDF mailbox."""
    inside = re.compile(rb"(?<=\n)\x01{4}(?=\r?\n)")
    start = re.compile(rb"(?:(?<=\n)|\A)\x01{4}(?=\r?\n)")
    held, at_start = b"", True
    for piece in pieces:
        octets = held + piece
        line = octets.rfind(b"\n") + 1
        pattern = start if at_start else inside
        if line == len(octets) or ((line or at_start) and _RULE.fullmatch(octets, line)):
            held, octets, next_start = octets[line:], octets[:line], True
        else:
            held, next_start = b"", False
        yield pattern.sub(b"\\g<0> ", octets)
        at_start = next_start
    if held:
        yield held + b" " if held == b"\x01" * 4 else held


def chain(*filters: Filter) -> Filter:
    """Return one filter of several, the first to be applied first."""

    def all_of_them(pieces: Iterator[bytes]) -> Iterator[bytes]:
        for one in filters:
            pieces = one(pieces)
        return pieces

    return all_of_them
