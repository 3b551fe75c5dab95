"""Transfer encodings undone piece by piece, so that a part of any size is never whole in memory.

Promises: any octets are taken, and what is broken is read as far as it goes; linear. Sources: RFC 2045 §6.7, §6.8.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.mime import Octets

_CHUNK: Final = 256 * 1024
_LONGEST: Final = 64 * 1024
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_NOT_BASE64: Final = bytes(octet for octet in range(256) if octet not in _ALPHABET)
_PAD: Final = re.compile(rb"=+")
_UU_BEGIN: Final = re.compile(rb"begin [0-7]{3,4} ")


def pieces(source: Octets, start: int, end: int) -> Iterator[bytes]:
    """Yield a range as it is. Raises: OSError where the source ends before it."""
    while start < end:
        piece = source.read(start, min(_CHUNK, end - start))
        if not piece:
            raise OSError(f"content ends at {start}, before {end}")
        yield piece
        start += len(piece)


def decoded_pieces(source: Octets, start: int, end: int, encoding: str) -> Iterator[bytes]:
    """Yield what a part's body holds, by its transfer encoding in lower case; as it is where that is unknown."""
    raw = pieces(source, start, end)
    if encoding == "base64":
        return from_base64(raw)
    if encoding == "quoted-printable":
        return from_quoted_printable(raw)
    if encoding in ("x-uuencode", "uuencode", "x-uue"):
        return from_uuencode(raw)
    return raw


def from_base64(raw: Iterable[bytes]) -> Iterator[bytes]:
    """Yield octets out of base64; what is not of its alphabet is passed over, and padding may stand in between."""
    held = b""
    for piece in raw:
        *ended, text = _PAD.split(held + piece.translate(None, _NOT_BASE64))
        for whole in ended:
            if octets := _last_of_base64(whole):
                yield octets
        cut = len(text) // 4 * 4
        held = text[cut:]
        if cut:
            yield binascii.a2b_base64(text[:cut])
    if octets := _last_of_base64(held):
        yield octets


def _last_of_base64(text: bytes) -> bytes:
    if len(text) % 4 == 1:
        text = text[:-1]  # six bits make no octet
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


def from_quoted_printable(raw: Iterable[bytes]) -> Iterator[bytes]:
    """Yield octets out of quoted-printable text, line by line; line ends stay as they are."""
    held = b""
    for piece in raw:
        held += piece
        cut = held.rfind(b"\n") + 1
        if not cut and len(held) > _LONGEST:
            # Not within an escape, nor within a line end.
            cut = len(held) - 3 + (held[-3:].find(b"=") if b"=" in held[-3:] else 3 - held.endswith(b"\r"))
        if cut:
            yield binascii.a2b_qp(held[:cut], header=False)
            held = held[cut:]
    if held:
        yield binascii.a2b_qp(held, header=False)


def from_uuencode(raw: Iterable[bytes]) -> Iterator[bytes]:
    """Yield octets out of uuencoded lines; what is none is passed over."""
    held = b""
    for piece in raw:
        *lines, held = (held + piece).split(b"\n")
        held = held[:_LONGEST]
        yield b"".join(map(_uu_line, lines))
    yield _uu_line(held)


def _uu_line(line: bytes) -> bytes:
    if not line.strip() or _UU_BEGIN.match(line) or line.rstrip() == b"end":
        return b""
    try:
        return binascii.a2b_uu(line.rstrip(b"\r"))
    except binascii.Error:
        return b""
