"""Numbers in fixed positions as mainframe programs keep them: zoned, packed and binary.

Zoned: a digit an octet, the sign in the high half of the last one (C, F, A and E mean plus, D and B minus); in files
brought to ASCII the last octet is then a letter or brace: `{ABCDEFGHI` for +0 to +9, `}JKLMNOPQR` for -0 to -9, and
`p` to `y` for -0 to -9 as some compilers write. Packed: two digits an octet, the last half octet the sign.
Source: z/Architecture Principles of Operation, "Decimal-number formats".
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

from connectors.filedrop.formats.records.charset import Charset
from connectors.filedrop.formats.records.description import FieldTable

_MINUS: Final = frozenset((0xB, 0xD))
_PLUS: Final = frozenset((0xA, 0xC, 0xE, 0xF))
_OVERPUNCHED: Final = {
    sign: (digit, minus)
    for signs, minus in (("{ABCDEFGHI", False), ("}JKLMNOPQR", True), ("pqrstuvwxy", True), ("0123456789", False))
    for digit, sign in enumerate(signs)
}


class NumberError(ValueError):
    """Octets that are no number of their type, or a number with no room in its field."""


def read_number(octets: bytes, field: FieldTable, charset: Charset) -> str:
    """Return a number as decimal text, empty where the field holds blanks alone. Raises: NumberError."""
    if not octets.strip(charset.encode(" ")):
        return ""
    match field.type:
        case "zoned":
            digits, minus = _zoned(octets, charset)
        case "packed":
            digits, minus = _packed(octets)
        case _:
            value = int.from_bytes(octets, "big" if field.type == "binary" else "little", signed=True)
            digits, minus = str(abs(value)), value < 0
    return _with_point(digits, minus, field.scale)


def _zoned(octets: bytes, charset: Charset) -> tuple[str, bool]:
    if charset.is_ebcdic:
        sign = octets[-1] >> 4
        digits = [octet & 15 for octet in octets]
        if any(digit > 9 for digit in digits) or sign not in _MINUS | _PLUS or any(o >> 4 != 15 for o in octets[:-1]):
            raise NumberError("is no zoned number: expected the octets F0 to F9, the last one from A0 to F9")
        return "".join(map(str, digits)), sign in _MINUS
    text = octets.decode("latin-1")
    last = _OVERPUNCHED.get(text[-1])
    before = text[:-1].lstrip(" ")
    if last is None or (before and not (before.isascii() and before.isdigit())):
        raise NumberError("is no zoned number: expected digits, the last one perhaps with its sign as a letter")
    return f"{before}{last[0]}", last[1]


def _packed(octets: bytes) -> tuple[str, bool]:
    halves = octets.hex()
    sign = int(halves[-1], 16)
    if not halves[:-1].isdigit() or sign < 10:
        raise NumberError("is no packed number: expected digits in half octets and a sign of A to F in the last")
    return halves[:-1], sign in _MINUS


def _with_point(digits: str, minus: bool, scale: int) -> str:
    digits = digits.lstrip("0").rjust(scale + 1, "0")
    text = f"{digits[:-scale]}.{digits[-scale:]}" if scale else digits
    return f"-{text}" if minus and digits.strip("0") else text


def write_number(text: str, field: FieldTable, charset: Charset) -> bytes:
    """Return the octets of a number, the inverse of `read_number`. Raises: NumberError."""
    if not text.strip():
        return charset.encode(" ") * field.length
    try:
        number = Decimal(text.strip())
        if not number.is_finite() or abs(number.adjusted()) > 100:
            raise NumberError(f"{text!r} is no number with room in a field")
        scaled = number.scaleb(field.scale)
        value = int(scaled)
    except (InvalidOperation, OverflowError, ValueError):
        raise NumberError(f"{text!r} is no number") from None
    if value != scaled:
        raise NumberError(f"{text!r} has more than {field.scale} digits behind the point")
    if field.type.startswith("binary"):
        try:
            return value.to_bytes(field.length, "big" if field.type == "binary" else "little", signed=True)
        except OverflowError:
            raise NumberError(f"{text!r} has no room in {field.length} octets") from None
    return _decimal(value, text, field, charset)


def _decimal(value: int, text: str, field: FieldTable, charset: Charset) -> bytes:
    packed = field.type == "packed"
    room = field.length * 2 - 1 if packed else field.length
    digits = str(abs(value)).rjust(room, "0")
    if len(digits) > room:
        raise NumberError(f"{text!r} has no room in {room} digits")
    if packed:
        return bytes.fromhex(digits + ("d" if value < 0 else "c"))
    if charset.is_ebcdic:
        octets = bytearray(0xF0 | int(digit) for digit in digits)
        octets[-1] = (0xD0 if value < 0 else 0xC0) | int(digits[-1])
        return bytes(octets)
    signed = "}JKLMNOPQR"[int(digits[-1])] if value < 0 else digits[-1]
    return (digits[:-1] + signed).encode("ascii")
