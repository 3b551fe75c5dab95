"""uuencode: a file inside a text, as FidoNet users send them to each other.

Only a block that is right to its last line is taken for a file; everything else stays text. Linear in the text.
Source: POSIX, "uuencode".
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_BEGIN: Final = re.compile(r"begin [0-7]{3,4} ([^\r\n]{1,200})")
_LINE_OCTETS: Final = 45


@dataclass(frozen=True, slots=True)
class Block:
    """One file found in a text: the lines [start, end) hold it."""

    name: str
    octets: bytes
    start: int
    end: int


def find_blocks(lines: Sequence[str]) -> list[Block]:
    """Return the files in a text's lines, in order."""
    found: list[Block] = []
    at = 0
    while at < len(lines):
        begin = _BEGIN.fullmatch(lines[at].rstrip())
        if begin is None:
            at += 1
            continue
        block = _block(lines, at, begin[1].strip())
        if isinstance(block, Block):
            found.append(block)
            at = block.end
        else:
            at = max(block, at + 1)
    return found


def _block(lines: Sequence[str], start: int, name: str) -> Block | int:
    """Return the file that begins here, or the line that belongs to none."""
    pieces: list[bytes] = []
    for at in range(start + 1, len(lines)):
        line = lines[at].rstrip("\r")
        if line.strip() in ("`", "") and at + 1 < len(lines) and lines[at + 1].strip() == "end":
            return Block(name, b"".join(pieces), start, at + 2)
        try:
            piece = binascii.a2b_uu(line.encode("ascii"))
        except (binascii.Error, UnicodeEncodeError):
            return at
        if not piece:
            return at
        pieces.append(piece)
    return len(lines)


def uuencode(name: str, pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a file's block."""
    yield f"begin 644 {name}"
    held = b""
    for piece in pieces:
        held += piece
        whole = len(held) - len(held) % _LINE_OCTETS
        for at in range(0, whole, _LINE_OCTETS):
            yield _line(held[at : at + _LINE_OCTETS])
        held = held[whole:]
    if held:
        yield _line(held)
    yield "`"
    yield "end"


def _line(octets: bytes) -> str:
    # A blank at a line's end does not outlive every program on the way.
    return binascii.b2a_uu(octets, backtick=True).decode("ascii").rstrip("\n")
