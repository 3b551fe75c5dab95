"""Reading a claimed file: its messages one after the other, each with its content or the pieces to stream it in.

Bounded: a small file is read at once; of a larger one the codec reads what the next message needs, and of that only
small contents come into memory. Files that a message names are opened beside it (`enclosed.py`).
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from connectors.filedrop.enclosed import Enclosed, NotSafe, NotThere
from connectors.filedrop.files import Claimed, InMemory, OpenFile
from connectors.filedrop.formats import Bad, Beside, Codec, Part, Span, Stamp
from connectors.filedrop.reasons import no_attachment, not_safe
from gateway.mailbox_files import CHUNK

INLINE_OCTETS: Final = 256 * 1024
"""A larger file, or content, is streamed into the spool."""

_LINE: Final = 57
"""Octets that make one line of base64 (RFC 2045 §6.8)."""


class Found(NamedTuple):
    """One message of a file; `number` counts them from 0. `content` is None where it is to be streamed."""

    number: int
    part: Part
    content: bytes | None


class Reading:
    """A claimed file that is being decoded; used by one thread at a time, but for `pieces`.

    `waited` tells whether a file that is not there yet, by this name, was waited for long enough; `looking_at` is told
    before octets are decoded. `close` in the end.
    """

    def __init__(
        self,
        claimed: Claimed,
        blob: OpenFile | InMemory,
        mtime: float,
        codec: Codec,
        enclosed: Enclosed,
        waited: Callable[[Claimed, str], bool],
        looking_at: Callable[[Claimed], None] = lambda claimed: None,
    ) -> None:
        self.claimed = claimed
        self.enclosed = enclosed
        self._waited = waited
        self._looking_at = looking_at
        self._blob = blob
        self._number = 0
        stamp = Stamp(claimed.token, mtime, claimed.name, enclosed.open)
        looking_at(claimed)
        self._found = iter(codec.decode(blob, stamp))

    def all(self) -> list[Found | Bad]:
        """Return everything in the file."""
        return list(self._iterate())

    def some(self, messages: int, octets: int) -> list[Found | Bad]:
        """Return the next messages, at most so many, or until their contents reach so many octets; at the end none.

        Raises: OSError, NotThere for a file beside it that is not there yet.
        """
        self._looking_at(self.claimed)
        found: list[Found | Bad] = []
        for one in self._iterate():
            found.append(one)
            if isinstance(one, Found):
                octets -= len(one.content or b"")
            if len(found) >= messages or octets <= 0:
                break
        return found

    def _iterate(self) -> Iterator[Found | Bad]:
        try:
            for one in self._found:
                if isinstance(one, Bad):
                    yield one
                    continue
                number = self._number
                self._number += 1
                bad, content = self._content_or_bad(one)
                yield Found(number, one, content) if bad is None else replace(bad, item=one.item)
        except NotThere as e:
            yield self._missing(e)
        except NotSafe as e:
            yield not_safe(str(e))

    def _content_or_bad(self, part: Part) -> tuple[Bad | None, bytes | None]:
        try:
            return None, self._content(part)
        except NotThere as e:
            return self._missing(e), None
        except NotSafe as e:
            return not_safe(str(e)), None

    def _missing(self, e: NotThere) -> Bad:
        name = str(e.filename)
        if not self._waited(self.claimed, name):
            raise e
        return no_attachment(name)

    def _content(self, part: Part) -> bytes | None:
        pieces = part.content
        blob = self._blob
        if len(pieces) == 1 and isinstance(pieces[0], Span):
            span = pieces[0]
            if (
                isinstance(blob, InMemory)
                and span.start == 0
                and span.end == blob.size
                and not (span.filter or span.file)
            ):
                return blob.octets
        size = 0
        for piece in pieces:
            match piece:
                case bytes():
                    size += len(piece)
                case Span():
                    size += piece.end - piece.start
                case Beside():
                    size += self.enclosed.size(piece) * 4 // 3
        if size > INLINE_OCTETS:
            return None
        return b"".join(self.pieces(part))

    def pieces(self, part: Part) -> Iterator[bytes]:
        """Yield a message's content in pieces of at most a few times `CHUNK`. Raises: OSError."""
        for piece in part.content:
            self._looking_at(self.claimed)
            match piece:
                case bytes():
                    yield piece
                case Span():
                    octets = self._span(piece)
                    yield from octets if piece.filter is None else piece.filter(octets)
                case Beside():
                    yield from self._beside(piece)

    def _span(self, span: Span) -> Iterator[bytes]:
        blob = self.enclosed.open(span.file) if span.file else self._blob
        at = span.start
        while at < span.end:
            octets = blob.read(at, min(CHUNK, span.end - at))
            if not octets:
                raise EOFError(f"the file ends at {at} of {span.end} octets")
            self._looking_at(self.claimed)
            yield octets
            at += len(octets)

    def _beside(self, beside: Beside) -> Iterator[bytes]:
        with self.enclosed.opened(beside) as file:
            at = 0
            rest = b""
            while octets := file.read(at, CHUNK):
                at += len(octets)
                octets = rest + octets
                whole = len(octets) // _LINE * _LINE
                rest = octets[whole:]
                yield _base64(octets[:whole])
            if rest:
                yield _base64(rest)
            file.check_unchanged()

    def chunks(self, part: Part) -> Iterator[bytes]:
        """Yield as `pieces` does, with short pieces joined."""
        held: list[bytes] = []
        size = 0
        for piece in self.pieces(part):
            held.append(piece)
            size += len(piece)
            if size >= CHUNK:
                yield b"".join(held)
                held, size = [], 0
        if held:
            yield b"".join(held)

    def piece_of(self, item: tuple[bytes | Span, ...]) -> Iterator[bytes]:
        """Yield the octets of a file that holds one message of this one alone."""
        for piece in item:
            if isinstance(piece, bytes):
                yield piece
            else:
                octets = self._span(piece)
                yield from octets if piece.filter is None else piece.filter(octets)

    @property
    def is_small(self) -> bool:
        """Tell whether the file is in memory."""
        return isinstance(self._blob, InMemory)

    @property
    def size(self) -> int:
        """The file's size in octets."""
        return self._blob.size

    def check_unchanged(self) -> None:
        """Raises: Changed where the file, or one beside it that is open, is not what it was."""
        if isinstance(self._blob, OpenFile):
            self._blob.check_unchanged()
        self.enclosed.check_unchanged()

    def close(self) -> None:
        self.enclosed.close()
        self._blob.close()


def _base64(octets: bytes) -> bytes:
    lines = (binascii.b2a_base64(octets[n : n + _LINE], newline=False) for n in range(0, len(octets), _LINE))
    return b"\r\n".join(lines) + b"\r\n" if octets else b""
