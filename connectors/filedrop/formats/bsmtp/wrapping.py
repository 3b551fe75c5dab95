"""How a batch lies in its file: as it is, behind a transfer encoding, behind a sign on each line, in EBCDIC, on cards.

Promises: a file of any size is read and decoded a unit at a time. Decoding can begin anew at each unit, so that a
stretch of the batch is a stretch of the file, a filter, and a few octets to leave out: nothing of a message is held.
Sources: RFC 2045 §6.7, §6.8 (transfer encodings); RFC 976 §4 (the sign `#`).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from typing import Final, Protocol

from connectors.filedrop.formats.values import Filter
from gateway.contract import Blob

UNIT: Final = 64 * 1024
"""The most octets of the file that are decoded at once, whatever they hold."""

_NOT_BASE64: Final = bytes(
    set(range(256)).difference(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
)
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=]")


class Wrapping(Protocol):
    """One way. `decode` of two units joined is that of the one and that of the other."""

    def cut(self, octets: bytes) -> int:
        """Return how many of these octets are a unit; 0 where they hold no end of one."""
        ...

    def decode(self, unit: bytes) -> bytes: ...

    def encode(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Give stretches of the batch a form that the same settings read; a transfer encoding is not made anew."""
        ...


class Base64:
    """Lines of base64; other signs are no part of it."""

    def cut(self, octets: bytes) -> int:
        surplus = len(octets.translate(None, _NOT_BASE64)) % 4
        end = len(octets)
        while surplus:
            end -= 1
            surplus -= _BASE64.match(octets, end) is not None
        return end

    def decode(self, unit: bytes) -> bytes:
        signs = unit.translate(None, _NOT_BASE64)
        whole = signs[: len(signs) // 4 * 4]
        try:
            return binascii.a2b_base64(whole)
        except binascii.Error:  # a = out of its place
            return b""

    def encode(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        return pieces


class QuotedPrintable:
    """Lines of quoted-printable."""

    def cut(self, octets: bytes) -> int:
        return octets.rfind(b"\n") + 1

    def decode(self, unit: bytes) -> bytes:
        return binascii.a2b_qp(unit)

    def encode(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        return pieces


class Signed:
    """Lines that begin with a sign; the others are somebody else's."""

    def __init__(self, sign: str) -> None:
        self._sign = sign.encode()
        self._line = re.compile(b"(?m)^" + re.escape(self._sign) + rb"([^\n]*\n?)")

    def cut(self, octets: bytes) -> int:
        return octets.rfind(b"\n") + 1

    def decode(self, unit: bytes) -> bytes:
        return b"".join(self._line.findall(unit))

    def encode(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        begins = True
        for piece in pieces:
            if piece:
                lead, begins = self._sign if begins else b"", piece.endswith(b"\n")
                yield lead + piece[:-1].replace(b"\n", b"\n" + self._sign) + piece[-1:]


class Coded:
    """EBCDIC, as ISO 8859-1; both of its line ends, NL and LF, are LF."""

    def __init__(self, charset: str) -> None:
        self._table = to_latin(charset)
        self._back = from_latin(charset)

    def cut(self, octets: bytes) -> int:
        return len(octets)

    def decode(self, unit: bytes) -> bytes:
        return unit.translate(self._table)

    def encode(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        return (piece.translate(self._back) for piece in pieces)


class Cards:
    """Records of one length, without line ends: what would end a line inside one is a blank."""

    def __init__(self, length: int, charset: str) -> None:
        self._length = length
        self._table = to_latin(charset).translate(bytes.maketrans(b"\r\n", b"  "))
        self._back = from_latin(charset)

    def cut(self, octets: bytes) -> int:
        return len(octets) // self._length * self._length

    def decode(self, unit: bytes) -> bytes:
        text = unit.translate(self._table)
        records = (text[at : at + self._length] for at in range(0, len(text), self._length))
        return b"".join(record.rstrip(b" \0") + b"\n" for record in records)

    def encode(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        held = b""
        for piece in pieces:
            *lines, held = (held + piece).split(b"\n")
            yield b"".join(line.ljust(self._length) for line in lines).translate(self._back)
        if held:
            yield held.ljust(self._length).translate(self._back)


def to_latin(charset: str) -> bytes:
    """Return the table that brings a charset's octets to ISO 8859-1; nothing changes for ascii."""
    return _latin(charset) if charset == "ascii" else _latin(charset).replace(b"\x85", b"\n")


def from_latin(charset: str) -> bytes:
    """Return the table that brings ISO 8859-1 to a charset; LF becomes NL, which mainframes end their lines with."""
    table = bytearray(256)
    for octet, latin in enumerate(_latin(charset)):
        table[latin] = octet
    if charset != "ascii":
        table[0x0A], table[0x85] = table[0x85], table[0x0A]
    return bytes(table)


def _latin(charset: str) -> bytes:
    if charset == "ascii":
        return bytes(range(256))
    # Python's table of cp273 has the overline where IBM's has the macron.
    return bytes(range(256)).decode(charset).replace("\u203e", "\xaf").encode("latin-1")


def units(file: Blob, start: int, wrapping: Wrapping) -> Iterator[tuple[int, int, bytes]]:
    """Yield each unit's stretch of the file, and its octets decoded. Raises: OSError."""
    at = start
    while at < file.size:
        raw = file.read(at, min(UNIT, file.size - at))
        if not raw:
            raise OSError(f"the file ends at {at} of {file.size} octets")
        size = _size(raw, wrapping, last=at + len(raw) >= file.size)
        yield at, at + size, wrapping.decode(raw[:size])
        at += size


def decoding(wrapping: Wrapping, skip: int, length: int) -> Filter:
    """Return the filter that decodes whole units and lets `length` octets through, after `skip`."""

    def decoded(pieces: Iterator[bytes]) -> Iterator[bytes]:
        left_out, left = skip, length
        for octets in _decoded(pieces, wrapping):
            if left_out >= len(octets):
                left_out -= len(octets)
                continue
            wanted = octets[left_out : left_out + left]
            left_out = 0
            left -= len(wanted)
            if wanted:
                yield wanted
            if not left:
                return

    return decoded


def _decoded(pieces: Iterator[bytes], wrapping: Wrapping) -> Iterator[bytes]:
    """Decode pieces of any size in the very units that `units` found."""
    held = bytearray()
    for piece in pieces:
        held += piece
        start = 0
        while len(held) - start > UNIT:  # what is over tells that this unit is not the last
            raw = bytes(held[start : start + UNIT])
            size = _size(raw, wrapping, last=False)
            yield wrapping.decode(raw[:size])
            start += size
        del held[:start]
    while held:
        raw = bytes(held[:UNIT])
        size = _size(raw, wrapping, last=len(held) <= UNIT)
        yield wrapping.decode(raw[:size])
        del held[:size]


def _size(raw: bytes, wrapping: Wrapping, *, last: bool) -> int:
    return len(raw) if last else wrapping.cut(raw) or len(raw)
