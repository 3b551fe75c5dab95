"""Adapted octets that are not in memory: views over a Blob that are made anew, block by block, whenever they are read.

Promises: any range can be read at any time, in memory of a few blocks; building a view reads its source once.
All reads block as the source's do.
"""

from __future__ import annotations

import binascii
import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, Protocol

from gateway.message import Blob, Content
from gateway.mime import InMemory, Octets

BLOCK: Final = 57 * 4096
"""Octets of the source in a block; whole lines of base64."""

_NEWLINE: Final = re.compile(rb"\r\n|\r|\n")


class Transform(Protocol):
    """A change that can be made block by block; `state` is what one block leaves for the next, 0 before the first."""

    def __call__(self, octets: bytes, state: int, last: bool) -> tuple[bytes, int]: ...


def clean(*, newlines: bool, nul: bool) -> Transform:
    """Return the transform that makes every CR and LF a CRLF and takes NUL out, as asked for."""

    def transform(octets: bytes, state: int, last: bool) -> tuple[bytes, int]:
        if nul:
            octets = octets.replace(b"\0", b"")
        if not newlines:
            return octets, 0
        if state:
            octets = b"\r" + octets
        state = 0
        if octets.endswith(b"\r") and not last:
            octets, state = octets[:-1], 1  # its LF may come with the next block
        return _NEWLINE.sub(b"\r\n", octets), state

    return transform


def to_base64(octets: bytes, state: int, last: bool) -> tuple[bytes, int]:
    """Encode in lines of 76 (RFC 2045 §6.8); blocks are whole lines. The last line has no line end."""
    if not octets:
        return b"", 0
    lines = [binascii.b2a_base64(octets[i : i + 57], newline=False) for i in range(0, len(octets), 57)]
    return b"\r\n".join(lines) + (b"" if last else b"\r\n"), 0


_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/=]+")


def rewrap_base64(octets: bytes, state: int, last: bool) -> tuple[bytes, int]:
    """Put what is base64 already on lines of 76; `state` is the column."""
    text = _NOT_BASE64.sub(b"", octets)
    lines: list[bytes] = []
    at = 0
    while at < len(text):
        piece = text[at : at + 76 - state]
        lines.append((b"\r\n" if state == 0 and at else b"") + piece)
        at += len(piece)
        state = (state + len(piece)) % 76
    joined = b"".join(lines)
    if state == 0 and joined and not last:
        joined += b"\r\n"
    return joined, state


class Filtered:
    """A range of a Blob, transformed."""

    def __init__(self, source: Blob, start: int, end: int, transform: Transform) -> None:
        self._source = source
        self._start = start
        self._end = end
        self._transform = transform
        self._offsets = [0]
        self._states = [0]
        self._cached = (-1, b"")
        state = 0
        for at in range(start, end, BLOCK):
            octets, state = self._make(at, state)
            self._offsets.append(self._offsets[-1] + len(octets))
            self._states.append(state)
        self.size = self._offsets[-1]

    def read(self, offset: int, length: int) -> bytes:
        pieces: list[bytes] = []
        end = min(offset + length, self.size)
        while offset < end:
            i = bisect_right(self._offsets, offset) - 1
            at = offset - self._offsets[i]
            piece = self._block(i)[at : at + end - offset]
            pieces.append(piece)
            offset += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _block(self, i: int) -> bytes:
        known, octets = self._cached  # one tuple, so that two threads that read never see half of a change
        if known != i:
            octets, _ = self._make(self._start + i * BLOCK, self._states[i])
            self._cached = (i, octets)
        return octets

    def _make(self, at: int, state: int) -> tuple[bytes, int]:
        length = min(BLOCK, self._end - at)
        octets = self._source.read(at, length)
        if len(octets) != length:
            raise OSError(f"content ends at {at + len(octets)}, before {self._end}")
        return self._transform(octets, state, at + length >= self._end)


class Slice:
    """A range of a Blob, as it is."""

    def __init__(self, source: Blob, start: int, end: int) -> None:
        self._source = source
        self._start = start
        self.size = end - start

    def read(self, offset: int, length: int) -> bytes:
        return self._source.read(self._start + offset, max(0, min(length, self.size - offset)))


class Spliced:
    """Pieces one after the other."""

    def __init__(self, pieces: Sequence[bytes | Blob]) -> None:
        self._pieces: list[Blob] = [InMemory(p) if isinstance(p, bytes) else p for p in pieces]
        self._offsets = [0]
        for piece in self._pieces:
            self._offsets.append(self._offsets[-1] + piece.size)
        self.size = self._offsets[-1]

    def read(self, offset: int, length: int) -> bytes:
        parts: list[bytes] = []
        end = min(offset + length, self.size)
        while offset < end:
            i = bisect_right(self._offsets, offset) - 1
            part = self._pieces[i].read(offset - self._offsets[i], end - offset)
            if not part:
                raise OSError(f"content ends at {offset} of {self.size} octets")
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def readable(content: Content) -> Octets:
    """Return a content as octets that can be read anywhere; nothing of a Blob is read for it."""
    source = content.source
    if isinstance(source, bytes):
        return InMemory(content.octets())
    if content.front or content.offset:
        return Spliced([content.front, Slice(source, content.offset, source.size)])
    return source
