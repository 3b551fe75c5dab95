"""A Blob read forward through one window: searched, looked at and counted in lines, never whole in memory."""

from __future__ import annotations

import re
from typing import Final

from gateway.message import CHUNK, Blob

OVERLAP: Final = 16
"""The most octets that a pattern given to `find` may take."""


class Window:
    """Each octet of the Blob is read about once, where places are asked for in ascending order."""

    def __init__(self, blob: Blob, size: int = CHUNK) -> None:
        self._blob = blob
        self.size = blob.size
        self._length = max(size, 4 * OVERLAP)
        self._base = 0
        self._octets = b""
        self._newline = b"\n"
        self._counted = 0
        self._lines = 1

    def use_newline(self, newline: bytes) -> None:
        """Say what ends a line, before the first is counted."""
        self._newline = newline

    def at(self, offset: int, length: int) -> bytes:
        """Return the octets there, fewer only at the end, and leave the window where it is. Raises: OSError."""
        end = min(offset + length, self.size)
        if self._base <= offset and end <= self._base + len(self._octets):
            return self._octets[offset - self._base : end - self._base]
        return self._blob.read(offset, end - offset) if end > offset else b""

    def find(self, pattern: re.Pattern[bytes], offset: int, end: int | None = None) -> tuple[int, int] | None:
        """Return where the pattern is found next, start and end; it may look one octet back. Raises: OSError."""
        limit = self.size if end is None else end
        while offset < limit:
            if not self._base <= offset < self._base + len(self._octets):
                self._move(offset)
            match = pattern.search(self._octets, offset - self._base, min(len(self._octets), limit - self._base))
            there = self._base + len(self._octets)
            if match is not None:
                return self._base + match.start(), self._base + match.end()
            if there >= limit:
                return None
            offset = max(offset, there - OVERLAP)
            self._move(offset)
        return None

    def find_octets(self, octets: bytes, offset: int) -> int | None:
        """Return where these few octets stand next. Raises: OSError."""
        while offset < self.size:
            if not self._base <= offset < self._base + len(self._octets):
                self._move(offset)
            found = self._octets.find(octets, offset - self._base)
            if found >= 0:
                return self._base + found
            there = self._base + len(self._octets)
            if there >= self.size:
                return None
            offset = max(offset, there - OVERLAP)
            self._move(offset)
        return None

    def line(self, offset: int) -> int:
        """Return the number of the line that the octet is in, from 1. Raises: OSError."""
        if not self._base <= offset <= self._base + len(self._octets):
            self._move(offset)
        if offset > self._counted:
            self._count(offset)
        return self._lines

    def _count(self, end: int) -> None:
        self._lines += self._octets.count(self._newline, self._counted - self._base, end - self._base)
        self._counted = end

    def _move(self, offset: int) -> None:
        """Let the window begin one octet before `offset`; what lies between is counted, not skipped."""
        start = max(0, offset - 1)
        while True:
            there = self._base + len(self._octets)
            step = min(start, there)
            if step > self._counted:
                self._count(step)
            self._base = step
            wanted = min(self._length, self.size - step)
            self._octets = self._blob.read(step, wanted)
            if len(self._octets) < wanted:
                raise OSError(f"the file ends at {step + len(self._octets)} of {self.size} octets")
            if step == start:
                return
