"""The characters of a file of records, also those of EBCDIC pages, and the octets that end its lines.

`cp1047` (Latin-1 on open systems of z/OS) is none of Python's: it is cp037 with three pairs of places exchanged.
Sources: IBM's code page definitions CP00037 and CP01047; Unicode's CP037 table, in which 0x15 is NEL and 0x25 LF.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

LineEnd = Literal["any", "crlf", "lf", "cr", "nel", "none", "rdw"]

_PAIRS: Final = ((0x5F, 0xB0), (0xAD, 0xBA), (0xBD, 0xBB))
_REFUSED: Final = frozenset(
    ("utf-7", "utf_7", "punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "hz")
)
"""Codecs in which a line's end, or a character, cannot be found by its octets alone."""


def _cp1047() -> tuple[str, dict[int, int]]:
    table = list(bytes(range(256)).decode("cp037"))
    for one, other in _PAIRS:
        table[one], table[other] = table[other], table[one]
    return "".join(table), {ord(sign): octet for octet, sign in enumerate(table)}


_CP1047_DECODE, _CP1047_ENCODE = _cp1047()


@dataclass(frozen=True)
class Charset:
    """One charset: `name` is Python's, or cp1047."""

    name: str
    unit: int = field(default=1)
    """Octets of the shortest character; lines end at a multiple of it."""

    def decode(self, octets: bytes, errors: str = "strict") -> str:
        """Raises: UnicodeDecodeError."""
        if self.name == "cp1047":
            return codecs.charmap_decode(octets, errors, _CP1047_DECODE)[0]
        return octets.decode(self.name, errors)

    def encode(self, text: str, errors: str = "strict") -> bytes:
        """Raises: UnicodeEncodeError."""
        if self.name == "cp1047":
            return codecs.charmap_encode(text, errors, _CP1047_ENCODE)[0]
        return text.encode(self.name, errors)

    @property
    def core_name(self) -> str:
        """Return a codec of Python's with the same characters."""
        return "cp037" if self.name == "cp1047" else self.name

    @cached_property
    def is_ebcdic(self) -> bool:
        return self.encode(" ") == b"\x40"

    def line_end(self, kind: LineEnd) -> bytes:
        """Return the octets that end a written line."""
        text = {"crlf": "\r\n", "lf": "\n", "cr": "\r", "nel": "\x85", "none": "", "rdw": ""}
        default = "\x85" if self.is_ebcdic else "\r\n"
        return self.encode(text.get(kind, default))

    def line_ends(self, kind: LineEnd) -> re.Pattern[bytes]:
        """Return what finds the end of a line that is read. `any` in EBCDIC takes NEL as well as LF."""
        if kind != "any":
            return re.compile(re.escape(self.line_end(kind)))
        # In ASCII's successors 0x85 is a letter or a sign of its own, so NEL ends lines in EBCDIC alone.
        ends = ["\r\n", "\r\x85", "\n", "\x85", "\r"] if self.is_ebcdic else ["\r\n", "\n", "\r"]
        return re.compile(b"|".join(re.escape(self.encode(end)) for end in ends))


def charset(name: str) -> Charset:
    """Return a charset by its name. Raises: ValueError that says what is wrong with it."""
    if name.lower().replace("-", "").replace("_", "") in ("cp1047", "ibm1047", "1047"):
        return Charset("cp1047")
    try:
        found = codecs.lookup(name)
    except (LookupError, ValueError):
        known = "cp037, cp273, cp500, cp1047, cp850, latin-1 and utf-8 are some"
        raise ValueError(f"no charset is called {name!r}; {known}") from None
    if not found._is_text_encoding or found.name in _REFUSED:
        raise ValueError(f"{name!r} is not a charset in which records can be told apart")
    canonical = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(found.name, found.name)
    try:
        unit = len("\n".encode(canonical))
        ascii_is_there = "\r\n0Aa @".encode(canonical).decode(canonical) == "\r\n0Aa @"
    except UnicodeError:
        ascii_is_there, unit = False, 1
    if not ascii_is_there:
        raise ValueError(f"{name!r} has no letters and digits to write an address with")
    return Charset(canonical, unit)
