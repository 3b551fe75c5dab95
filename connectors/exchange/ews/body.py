"""Body: the octets of a request, of which large contents are encoded while they are sent.

Promises: of a content in a file no more than a piece is in memory; the length is known before; it can be sent again
from its beginning, as NTLM's handshake needs it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Final

from gateway.contract import Content

PIECE: Final = 48 * 1024
"""Octets that are encoded at once: whole groups of three."""


class Body:
    """A file for `requests`: parts that are octets as they are, and contents in base64."""

    def __init__(self, parts: Sequence[bytes | Content]) -> None:
        self._parts = parts
        self._length = sum(len(each) if isinstance(each, bytes) else -(-each.size // 3) * 4 for each in parts)
        self._pieces: Iterator[bytes] = self._all()
        self._held = b""

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        return self._all()

    def tell(self) -> int:
        """Return 0: what asks does so before anything is read."""
        return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Begin anew; nothing else is asked for."""
        self._pieces, self._held = self._all(), b""
        return 0

    def read(self, size: int = -1) -> bytes:
        """Return the next octets, b"" at the end; the next call begins anew."""
        held = self._held
        while size < 0 or len(held) < size:
            piece = next(self._pieces, None)
            if piece is None:
                self.seek(0) if not held else None
                break
            held += piece
        cut = len(held) if size < 0 else size
        self._held = held[cut:]
        return held[:cut]

    def _all(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                yield from _encoded(part)


def _encoded(content: Content) -> Iterator[bytes]:
    """Yield a content in base64 (RFC 4648 §4), without line ends. Blocks on a Blob."""
    left = b""
    for chunk in content.chunks(PIECE):
        view = memoryview(left + chunk if left else chunk)
        whole = len(view) - len(view) % 3
        for start in range(0, whole, PIECE):
            yield b64encode(view[start : min(start + PIECE, whole)])
        left = bytes(view[whole:])
    if left:
        yield b64encode(left)
