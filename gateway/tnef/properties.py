"""Properties of MAPI as a TNEF stream lists them: octets to values and back. Pure.

Promises: any octets are taken, and read as far as they go; the count is bounded; what was written is read back equal.
Sources: MS-OXTNEF §2.1.3.4 (lists and names of properties), MS-OXCDATA §2.11.1 (types), MS-DTYP §2.3.3 (FILETIME).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from gateway.charsets import decoded

MAX_PROPERTIES: Final = 20_000
_MAX_NAME: Final = 1024

SHORT, LONG, BOOLEAN, OBJECT, LONGLONG = 0x2, 0x3, 0xB, 0xD, 0x14
TEXT8, TEXT16, TIME, GUID, BINARY = 0x1E, 0x1F, 0x40, 0x48, 0x102
MULTIPLE: Final = 0x1000
# On the wire what has two octets has two more behind them, so that all is aligned to four.
_FIXED: Final = {SHORT: 4, LONG: 4, 0x4: 4, 0x5: 8, 0x6: 8, 0x7: 8, 0xA: 4, BOOLEAN: 4, LONGLONG: 8, TIME: 8, GUID: 16}
_VARIABLE: Final = (OBJECT, TEXT8, TEXT16, BINARY)
_FIRST_NAMED: Final = 0x8000
_TICKS: Final = 10_000_000
_EPOCH_S: Final = 11_644_473_600  # from 1601 to 1970
_LATEST_S: Final = 253_370_764_799  # the end of the year 9998: a zone's offset may be added


@dataclass(frozen=True, slots=True)
class Name:
    """A named property's name: a number or a text within a set."""

    set: UUID
    key: int | str


Key = int | Name
"""A property's number below 0x8000, or its name."""


@dataclass(frozen=True, slots=True)
class Property:
    """A property's type, without the bit that says that it has several values, and its values' octets."""

    type: int
    values: tuple[bytes, ...]
    multiple: bool = False

    @property
    def octets(self) -> bytes:
        return self.values[0] if self.values else b""


Properties = Mapping[Key, Property]


def read_list(octets: bytes, at: int = 0) -> tuple[dict[Key, Property], int]:
    """Return the properties of a list, as far as it can be read, and where it ends (-1 where it is cut off)."""
    found: dict[Key, Property] = {}
    try:
        count = struct.unpack_from("<I", octets, at)[0]
        at += 4
        for _ in range(min(count, MAX_PROPERTIES)):
            kind, number = struct.unpack_from("<HH", octets, at)
            at += 4
            key: Key = number
            if number >= _FIRST_NAMED:
                key, at = _name(octets, at)
            value, at = _property(octets, at, kind)
            found.setdefault(key, value)
    except (struct.error, KeyError):
        return found, -1  # cut off, or of a type that nobody has defined: what follows can't be told apart
    return found, at


def write_list(properties: Properties) -> bytes:
    """Return a list of properties. Raises: KeyError for a type that has no form."""
    pieces = [struct.pack("<I", len(properties))]
    named = _FIRST_NAMED
    for key, value in properties.items():
        kind = value.type | (MULTIPLE if value.multiple else 0)
        if isinstance(key, Name):
            pieces.append(struct.pack("<HH", kind, named) + _written_name(key))
            named += 1
        else:
            pieces.append(struct.pack("<HH", kind, key))
        variable = value.type in _VARIABLE
        if value.multiple or variable:
            pieces.append(struct.pack("<I", len(value.values)))
        for octets in value.values:
            if variable:
                pieces.append(struct.pack("<I", len(octets)))
                pieces.append(octets.ljust(_padded(len(octets)), b"\0"))
            else:
                pieces.append(octets[: _FIXED[value.type]].ljust(_FIXED[value.type], b"\0"))
    return b"".join(pieces)


def _name(octets: bytes, at: int) -> tuple[Name, int]:
    if at + 24 > len(octets):
        raise struct.error("cut off")
    name_set = UUID(bytes_le=octets[at : at + 16])
    by_text, number = struct.unpack_from("<II", octets, at + 16)
    at += 24
    if not by_text:
        return Name(name_set, number), at
    text = octets[at : at + min(number, _MAX_NAME)]
    return Name(name_set, decoded(text, "utf-16-le").partition("\0")[0]), at + _padded(number)


def _written_name(name: Name) -> bytes:
    if isinstance(name.key, int):
        return name.set.bytes_le + struct.pack("<II", 0, name.key)
    text = name.key.encode("utf-16-le", "replace") + b"\0\0"
    return name.set.bytes_le + struct.pack("<II", 1, len(text)) + text.ljust(_padded(len(text)), b"\0")


def _property(octets: bytes, at: int, kind: int) -> tuple[Property, int]:
    base, multiple = kind & ~MULTIPLE, bool(kind & MULTIPLE)
    variable = base in _VARIABLE
    size = 0 if variable else _FIXED[base]
    count = 1
    if multiple or variable:
        count = struct.unpack_from("<I", octets, at)[0]
        at += 4
    if count > MAX_PROPERTIES:
        raise struct.error("too many")
    values = []
    for _ in range(count):
        if variable:
            size = struct.unpack_from("<I", octets, at)[0]
            at += 4
        if at + size > len(octets):
            raise struct.error("cut off")
        values.append(octets[at : at + size])
        at += _padded(size)
    return Property(base, tuple(values), multiple), at


def _padded(size: int) -> int:
    return (size + 3) & ~3


def text_of(properties: Properties, key: Key, code_page: str = "cp1252") -> str:
    """Return a text; empty where there is none."""
    value = properties.get(key)
    if value is None:
        return ""
    if value.type == TEXT16:
        return decoded(value.octets, "utf-16-le").partition("\0")[0]
    return decoded(value.octets.partition(b"\0")[0], code_page) if value.type == TEXT8 else ""


def number_of(properties: Properties, key: Key) -> int | None:
    """Return an integer, or a truth value as 0 or 1; None where there is none."""
    value = properties.get(key)
    if value is None or value.type not in (SHORT, LONG, BOOLEAN, LONGLONG):
        return None
    if value.type == BOOLEAN:
        return int(any(value.octets[:2]))
    return int.from_bytes(value.octets[: 2 if value.type == SHORT else 8], "little", signed=True)


def octets_of(properties: Properties, key: Key) -> bytes:
    """Return the octets of a binary value or an object; empty where there is none."""
    value = properties.get(key)
    return value.octets if value is not None and value.type in (BINARY, OBJECT) else b""


def time_of(properties: Properties, key: Key) -> int | None:
    """Return a time in whole seconds since 1970; None where there is none, or one after 9998."""
    value = properties.get(key)
    if value is None or value.type != TIME or len(value.octets) != 8:
        return None
    seconds = int.from_bytes(value.octets, "little") // _TICKS - _EPOCH_S
    return seconds if seconds <= _LATEST_S else None


def text(value: str) -> Property:
    """Return a text as a property."""
    return Property(TEXT16, (value.encode("utf-16-le", "replace") + b"\0\0",))


def binary(value: bytes) -> Property:
    """Return octets as a property."""
    return Property(BINARY, (value,))


def number(value: int) -> Property:
    """Return a number of 32 bits as a property."""
    return Property(LONG, ((value & 0xFFFFFFFF).to_bytes(4, "little"),))


def boolean(value: bool) -> Property:
    """Return a truth value as a property."""
    return Property(BOOLEAN, (int(value).to_bytes(4, "little"),))


def time(seconds: float) -> Property:
    """Return seconds since 1970 as a property."""
    return Property(TIME, ((max(0, int(seconds) + _EPOCH_S) * _TICKS).to_bytes(8, "little"),))
