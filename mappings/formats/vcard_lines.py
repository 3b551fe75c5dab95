"""vCard lines: the octets of vCards taken apart into cards and properties, and put together again.

Promises: any octets give cards and problems; all is linear in the size of the file. Folded lines, quoted-printable
with its soft line ends, and charsets named by a property are read; a card inside another is skipped.
Source: RFC 6350 §3 (vCard 4.0), RFC 2426 (3.0), vCard 2.1 of the versit consortium, RFC 2045 §6.7.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from dataclasses import dataclass
from quopri import decodestring
from typing import Final

from mappings.tabular import MAX_FIELD, MAX_OCTETS, MAX_ROWS, Problems, Unreadable, quoted

_HEAD: Final = re.compile(rb'(?:[A-Za-z0-9-]+\.)?([A-Za-z0-9-]+)((?:;(?:[^":;]|"[^"]*")*)*):')
_PARAMETER: Final = re.compile(r';((?:[^";]|"[^"]*")*)')
_VALUE: Final = re.compile(r'(?:[^",]|"[^"]*")+')
_ESCAPE: Final = re.compile(r"\\([\\;,:nN])")
_PART: Final = re.compile(r"(?:\\.|[^;\\]|\\\Z)*", re.DOTALL)
_QUOTED_PRINTABLE: Final = re.compile(rb"ENCODING=QUOTED-PRINTABLE|;QUOTED-PRINTABLE", re.IGNORECASE)
_OLD_DEFAULT: Final = "latin-1"
_WIDTH: Final = 75


@dataclass(frozen=True, slots=True)
class Property:
    """One property: its name in capitals, its types in small letters, its value without any escape undone."""

    line: int
    name: str
    parameters: dict[str, list[str]]
    value: str

    def types(self) -> set[str]:
        return {each.lower() for each in self.parameters.get("TYPE", ())}

    def preference(self) -> int:
        """Return how much it is preferred: 1 is most, 101 is what is not said to be."""
        if "pref" in self.types():
            return 1
        word = (self.parameters.get("PREF") or [""])[0]
        return int(word) if word.isascii() and word.isdigit() and len(word) < 4 else 101

    def text(self) -> str:
        return unescaped(self.value)

    def parts(self) -> list[str]:
        """Return the parts of a structured value."""
        found, at = [], 0
        while True:
            part = _PART.match(self.value, at)
            assert part is not None
            found.append(unescaped(part[0]))
            at = part.end() + 1
            if at > len(self.value):
                return found


@dataclass(frozen=True, slots=True)
class Card:
    """One card, and the line that it begins on."""

    line: int
    properties: list[Property]


def cards(octets: bytes, problems: Problems, encoding: str | None = None) -> Iterator[Card]:
    """Yield the cards of a file; `encoding` is that of values which are not UTF-8. Raises: Unreadable."""
    if len(octets) > MAX_OCTETS:
        raise Unreadable(f"the file has {len(octets)} octets, at most {MAX_OCTETS} are read; split it")
    if octets.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        try:
            octets = octets.decode("utf-16").encode("utf-8", "replace")
        except UnicodeDecodeError as e:
            raise Unreadable(f"the file says it is UTF-16 and is not (octet {e.start}); save it as UTF-8") from None
    octets = octets.removeprefix(BOM_UTF8)
    block: list[tuple[int, bytes]] = []
    depth = found = 0
    start = 0
    for number, raw in _lines(octets):
        word = raw.strip().upper()
        if word == b"BEGIN:VCARD":
            depth += 1
            if depth == 1:
                block, start = [], number
        elif word == b"END:VCARD" and depth:
            depth -= 1
            if depth == 0:
                found += 1
                if found > MAX_ROWS:
                    problems.add(start, "", f"more than {MAX_ROWS} cards; split the file")
                    return
                yield _card(start, block, problems, encoding)
        elif depth == 1:
            block.append((number, raw))
        elif depth == 0 and word:
            problems.add(number, "", f"{quoted(raw)} stands outside of a card, which begins with BEGIN:VCARD")
    if depth:
        problems.add(start, "", "the card has no END:VCARD, and is left out")


def _lines(octets: bytes) -> Iterator[tuple[int, bytes]]:
    at, number = 0, 0
    while at < len(octets):
        end = octets.find(b"\n", at)
        end = len(octets) if end < 0 else end
        number += 1
        yield number, octets[at:end].removesuffix(b"\r")
        at = end + 1


def _card(start: int, block: list[tuple[int, bytes]], problems: Problems, encoding: str | None) -> Card:
    version = next((raw[8:].strip() for _, raw in block if raw[:8].upper() == b"VERSION:"), b"").decode(
        "ascii", "replace"
    )
    old = version.startswith("2")
    properties = []
    for number, line in _unfolded(block, old):
        head = _HEAD.match(line) if len(line) <= MAX_FIELD else None
        if head is None:
            problems.add(number, "", f"{quoted(line)} is no property; write NAME:value")
            continue
        parameters = _parameters(head[2].decode("utf-8", "replace"))
        name = head[1].decode("ascii").upper()
        try:
            value = _value(line[head.end() :], parameters, old, encoding)
        except (UnicodeError, LookupError, Base64Error, ValueError):
            problems.add(
                number, name, "the value is not in the charset or encoding that it should be in; it is left out"
            )
            continue
        properties.append(Property(number, name, parameters, value))
    return Card(start, properties)


def _unfolded(block: list[tuple[int, bytes]], old: bool) -> Iterator[tuple[int, bytes]]:
    """Yield whole lines. In version 2.1 the blank that a line was folded at belongs to the value."""
    parts: list[bytes] = []
    start = 0
    soft = False
    for number, raw in block:
        if soft:
            parts[-1] = parts[-1][:-1]
            parts.append(raw)
        elif raw[:1] in (b" ", b"\t") and parts:
            parts.append(raw if old else raw[1:])
        else:
            if parts:
                yield start, b"".join(parts)
            parts, start = ([raw], number) if raw.strip() else ([], 0)
        soft = bool(parts) and raw.endswith(b"=") and _QUOTED_PRINTABLE.search(parts[0][:200]) is not None
    if parts:
        yield start, b"".join(parts)


def _parameters(text: str) -> dict[str, list[str]]:
    """Return the parameters by name in capitals; a bare word, as in 2.1, is a type or an encoding."""
    found: dict[str, list[str]] = {}
    for one in _PARAMETER.findall(text):
        name, sign, value = one.partition("=")
        if not sign:
            word = name.strip()
            name, value = ("ENCODING" if word.upper() in ("QUOTED-PRINTABLE", "BASE64", "8BIT") else "TYPE"), word
        values = found.setdefault(name.strip().upper(), [])
        for each in _VALUE.findall(value):
            # TYPE="voice,home" is one quoted value that means two.
            values += [word for word in each.strip().strip('"').split(",") if word]
    return found


def _value(octets: bytes, parameters: dict[str, list[str]], old: bool, encoding: str | None) -> str:
    """Return the text of a value. Raises: UnicodeError, LookupError, ValueError."""
    form = (parameters.get("ENCODING") or [""])[0].upper()
    if form == "QUOTED-PRINTABLE":
        octets = decodestring(octets)
    elif form in ("B", "BASE64"):
        octets = b64decode(octets.replace(b" ", b""), validate=True) if len(octets) < MAX_FIELD else b""
        return octets.decode("utf-8", "replace")
    charset = (parameters.get("CHARSET") or [""])[0]
    if charset:
        return octets.decode(charset)
    try:
        return octets.decode()
    except UnicodeDecodeError:
        if encoding is None and not old:
            raise
        return octets.decode(encoding or _OLD_DEFAULT)


def unescaped(text: str) -> str:
    """Return a value with its escapes undone (RFC 6350 §3.4)."""
    return _ESCAPE.sub(lambda found: "\n" if found[1] in "nN" else found[1], text) if "\\" in text else text


def escaped(text: str) -> str:
    """Return a text as a value, or as one part of a structured one."""
    for sign in ("\\", ";", ","):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\r\n", "\n").replace("\n", "\\n")


def folded(line: str) -> tuple[bytes, int]:
    """Return a line as it is written, and how many lines it takes; a character is never cut in two."""
    octets = line.encode("utf-8", "replace")
    parts: list[bytes] = []
    at = 0
    while at < len(octets) or not parts:
        end = min(at + _WIDTH - (1 if parts else 0), len(octets))
        while end < len(octets) and octets[end] & 0xC0 == 0x80:
            end -= 1
        parts.append(octets[at:end])
        at = end
    return b"\r\n ".join(parts) + b"\r\n", len(parts)
