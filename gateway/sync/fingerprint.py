"""What an item is known again by after its id is lost: its size, its Message-ID, and a digest of its octets.

The digest does not tell apart what stores make of the same octets: line ends are written as CRLF or LF, a last one is
added, a CR alone is dropped (Courier), and Dovecot answers 0x80 for NUL, which IMAP cannot carry (RFC 9051 §4.3.1).
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from gateway.message import Content

DIGEST_BYTES: Final = 16
_PIECE: Final = 64 * 1024
"""What is worked on at once: it stays in the processor's cache, where a large message as a whole would not."""


class Digest:
    """A digest that is made piece by piece."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()  # which processors have instructions for
        self._ends = 0
        """Line ends that are the last of what came so far."""

    def update(self, octets: bytes) -> None:
        """Take the next octets."""
        for at in range(0, len(octets), _PIECE):
            self._piece(octets[at : at + _PIECE])

    def _piece(self, octets: bytes) -> None:
        lines = octets.replace(b"\r", b"").replace(b"\0", b"\x80")
        rest = lines.rstrip(b"\n")
        if rest:
            self._hash.update(b"\n" * self._ends)
            self._hash.update(rest)
            self._ends = 0
        self._ends += len(lines) - len(rest)

    def value(self) -> bytes:
        """Return the digest of all that came."""
        return self._hash.digest()[:DIGEST_BYTES]


def digest_of_octets(octets: bytes) -> bytes:
    """Return the digest of octets."""
    digest = Digest()
    digest.update(octets)
    return digest.value()


def digest_of_content(content: Content) -> bytes:
    """Return the digest of a content. Blocks on a Blob."""
    digest = Digest()
    for piece in content.chunks():
        digest.update(piece)
    return digest.value()


async def digest_of(content: Content) -> bytes:
    """Return the digest of a content; one in a file is read in a thread."""
    if content.is_inline:
        return digest_of_content(content)
    return await asyncio.to_thread(digest_of_content, content)
