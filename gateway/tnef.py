"""TNEF: what Outlook packs into `winmail.dat`, taken apart: the files, and the text where it has one.

Promises: any octets are taken; what is cut off or broken is read as far as it goes; bounded in the number of things it
holds and, for packed RTF, in what is unpacked. Checksums are not judged: they are wrong in much that is sound besides.
Written here, since the libraries found have not been kept up for years.
Sources: MS-OXTNEF (the stream and its attributes), MS-OXCDATA §2.11.1 (types of properties), MS-OXRTFCP (packed RTF).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.charsets import decoded
from gateway.octets import no_controls
from gateway.parameters import media_type

TYPES: Final = ("application/ms-tnef", "application/vnd.ms-tnef")
_SIGNATURE: Final = 0x223E9F78
_MAX_ATTRIBUTES: Final = 20_000
_MAX_FILES: Final = 1000
_MAX_RTF: Final = 16 * 1024 * 1024

_NEW_FILE: Final = 0x00069002
_TITLE: Final = 0x00018010
_DATA: Final = 0x0006800F
_FILE_PROPERTIES: Final = 0x00069005
_BODY: Final = 0x0002800C
_PROPERTIES: Final = 0x00069003
_CODE_PAGE: Final = 0x00069007

_FIXED: Final = {0x2: 4, 0x3: 4, 0x4: 4, 0x5: 8, 0x6: 8, 0x7: 8, 0xA: 4, 0xB: 4, 0x14: 8, 0x40: 8, 0x48: 16}
_VARIABLE: Final = (0xD, 0x1E, 0x1F, 0x102)
_TEXT8, _TEXT16, _OBJECT = 0x1E, 0x1F, 0xD
_MULTIPLE: Final = 0x1000
_NAMED: Final = 0x8000
_PLAIN_BODY, _PACKED_RTF, _HTML_BODY = 0x1000, 0x1009, 0x1013
_DISPLAY_NAME, _FILE_DATA, _SHORT_NAME, _LONG_NAME, _MIME_TAG = 0x3001, 0x3701, 0x3704, 0x3707, 0x370E

_RTF_START: Final = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans Serif"
    rb"SymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0" + b"\r\n" + rb"\par "
    rb"\pard\plain\f0\fs20\b\i\u\tab\tx"
)

Properties = Mapping[int, tuple[int, bytes]]
"""By property's number: its type and its (first) value."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One file that was packed. `name` may be empty, and is no path to trust."""

    name: str
    type: str
    octets: bytes


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What a stream held. `rtf` is the text as Outlook formatted it."""

    text: str = ""
    html: str = ""
    rtf: bytes = b""
    files: tuple[Packed, ...] = ()


@dataclass(slots=True)
class _File:
    title: str = ""
    data: bytes = b""
    properties: Properties | None = None

    def packed(self, code_page: str) -> Packed | None:
        properties = self.properties or {}
        kind, octets = properties.get(_FILE_DATA, (0, b""))
        if kind == _OBJECT:
            octets = octets[16:]  # behind the id of the object's interface
        data = self.data or octets
        name = next(
            (
                text
                for number in (_LONG_NAME, _SHORT_NAME, _DISPLAY_NAME)
                if (text := _text(properties.get(number), code_page))
            ),
            "",
        )
        name = no_controls(name or self.title)
        if not data and not name:
            return None
        return Packed(name, media_type(_text(properties.get(_MIME_TAG), code_page)), data)


def unpack(octets: bytes) -> Unpacked | None:
    """Return what a TNEF stream holds; None where it is none."""
    if len(octets) < 6 or int.from_bytes(octets[:4], "little") != _SIGNATURE:
        return None
    code_page = "cp1252"
    body = b""
    message: Properties = {}
    files: list[_File] = []
    for attribute, data in _attributes(octets):
        if attribute == _CODE_PAGE and len(data) >= 4:
            code_page = f"cp{int.from_bytes(data[:4], 'little')}"
        elif attribute == _NEW_FILE and len(files) < _MAX_FILES:
            files.append(_File())
        elif attribute == _BODY:
            body = data
        elif attribute == _PROPERTIES:
            message = _properties(data)
        elif files and attribute == _TITLE:
            files[-1].title = decoded(data.partition(b"\0")[0], code_page)
        elif files and attribute == _DATA:
            files[-1].data = data
        elif files and attribute == _FILE_PROPERTIES:
            files[-1].properties = _properties(data)
    text = _text(message.get(_PLAIN_BODY), code_page) or decoded(body.partition(b"\0")[0], code_page)
    html = decoded(message.get(_HTML_BODY, (0, b""))[1].partition(b"\0")[0], code_page)
    return Unpacked(
        text.replace("\r\n", "\n"),
        html,
        unpacked_rtf(message.get(_PACKED_RTF, (0, b""))[1]),
        tuple(packed for file in files if (packed := file.packed(code_page)) is not None),
    )


def _attributes(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (id, data) of each attribute of the stream; each is a level, an id, a length, data and a checksum."""
    at = 6
    for _ in range(_MAX_ATTRIBUTES):
        if at + 9 > len(octets) or octets[at] not in (1, 2):
            return
        attribute, length = struct.unpack_from("<II", octets, at + 1)
        yield attribute, octets[at + 9 : at + 9 + length]
        at += 9 + length + 2


def _properties(octets: bytes) -> Properties:
    """Return the properties of a list of them, as far as it can be read."""
    found: dict[int, tuple[int, bytes]] = {}
    try:
        count, at = struct.unpack_from("<I", octets, 0)[0], 4
        for _ in range(min(count, _MAX_ATTRIBUTES)):
            kind, number = struct.unpack_from("<HH", octets, at)
            at += 4
            if number >= _NAMED:
                at = _behind_name(octets, at)
            value, at = _value(octets, at, kind)
            found.setdefault(number, (kind & ~_MULTIPLE, value))
    except (struct.error, KeyError):
        pass  # cut off, or of a type that nobody has defined: what follows can't be told apart
    return found


def _behind_name(octets: bytes, at: int) -> int:
    """Return where a named property's name ends: a set's id, and a number or a text."""
    by_text, size = struct.unpack_from("<II", octets, at + 16)
    return at + 24 + (_padded(size) if by_text else 0)


def _value(octets: bytes, at: int, kind: int) -> tuple[bytes, int]:
    """Return a property's (first) value and where the next property begins."""
    base = kind & ~_MULTIPLE
    count = 1
    if kind & _MULTIPLE or base in _VARIABLE:
        count = struct.unpack_from("<I", octets, at)[0]
        at += 4
    first = b""
    for i in range(count):
        size = _FIXED[base] if base not in _VARIABLE else struct.unpack_from("<I", octets, at)[0]
        if base in _VARIABLE:
            at += 4
        if at + size > len(octets):
            raise struct.error("cut off")
        if not i:
            first = octets[at : at + size]
        at += _padded(size)
    return first, at


def _padded(size: int) -> int:
    return (size + 3) & ~3


def _text(value: tuple[int, bytes] | None, code_page: str) -> str:
    if value is None:
        return ""
    kind, octets = value
    if kind == _TEXT16:
        return decoded(octets, "utf-16-le").partition("\0")[0]
    return decoded(octets.partition(b"\0")[0], code_page) if kind == _TEXT8 else ""


def unpacked_rtf(octets: bytes) -> bytes:
    """Return RTF that was packed, as far as it can be read; b"" where it is none (MS-OXRTFCP §2.2)."""
    if len(octets) < 16:
        return b""
    _, size, kind = octets[:4], int.from_bytes(octets[4:8], "little"), octets[8:12]
    size = min(size, _MAX_RTF)
    if kind == b"MELA":  # not packed at all
        return octets[16 : 16 + size]
    if kind != b"LZFu":
        return b""
    window = bytearray(_RTF_START.ljust(4096, b"\0"))
    write = len(_RTF_START)
    made = bytearray()
    at = 16
    while at < len(octets) and len(made) < size:
        control = octets[at]
        at += 1
        for bit in range(8):
            if control >> bit & 1:
                if at + 2 > len(octets):
                    return bytes(made)
                reference = octets[at] << 8 | octets[at + 1]
                at += 2
                read, length = reference >> 4, (reference & 15) + 2
                if read == write:
                    return bytes(made[:size])
                for _ in range(length):
                    octet = window[read]
                    read = (read + 1) & 4095
                    made.append(octet)
                    window[write] = octet
                    write = (write + 1) & 4095
            else:
                if at >= len(octets):
                    return bytes(made)
                made.append(octets[at])
                window[write] = octets[at]
                write = (write + 1) & 4095
                at += 1
    return bytes(made[:size])
