"""Mutate: others of known inputs, made of the words and signs that stand in them.

All chance comes from the generator that is handed in, so a seed tells a whole run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Final

from tests.fuzz.target import octets_of

MAX_TEXT: Final = 3000
"""Over the bound of any address, so that the bound is met."""
MAX_OCTETS: Final = 40_000
_RUNS: Final = 0.1
_RAW: Final = 0.2
_WORDS: Final = re.compile(rb"[A-Za-z0-9]+|[^A-Za-z0-9]")

Mutation = Callable[[bytes, bytes, Random], bytes]

SIGNS: Final = tuple("""@.,;:<>()[]{}"'\\+%!/_-=*$#|?&~^` """)
ODD: Final = (
    *"\t\r\n\0\x1b\x7f\x85\xa0\xad\u2028\u2029\ufeff\u200b\u200c\u200d\u202e\u3000\u3002\uff0e\uff20\uff0f\uff1a",
    *"aAzZ09éÉüßẞſKÅﬁǅİıΣςσ\u0300\u0301\u0307\u0345\u05d0\u0627\u0660\u0e33\u1100\uac00日ｗＷﾜ😀",
    *"\u1e9b\u0323\u2126\u212a\u0390\u1f80\u1fb3\u0958\u0f43\ufb1d\ufb4f\u115f\U000e0001\U0001d400\U0010ffff",
    *"\udc80\udcff\udcc3",
    "xn--",
    "xn--bcher-kva",
    "IPv6:",
    "::",
    "%40",
    "\\40",
    "\\C3\\A9",
    "+C3+A9",
    "{195}",
    "(a)",
    "=3D",
    "  ",
    "0" * 70,
)
"""What parsers have stumbled over: kinds of blanks and controls, letters whose case or normal form is odd, escapes."""

_TOKEN: Final = re.compile(r"[A-Za-z]+|[0-9]+|[^A-Za-z0-9]")
_HIDDEN: Final[tuple[Callable[[str], str], ...]] = (
    lambda c: f"%{ord(c) & 0xFF:02X}",
    lambda c: f"%{ord(c) & 0xFF:02x}",
    lambda c: f"\\{c}",
    lambda c: f"\\{ord(c) & 0xFF:02x}",
    lambda c: f"${c}",
    lambda c: f"+{ord(c) & 0xFF:02X}",
    lambda c: f"({ord(c) % 1000:03})",
    lambda c: f"{{{ord(c) & 0xFF:03}}}",
    lambda c: f"={ord(c) & 0xFF:02X}",
    lambda c: f'"{c}"',
    lambda c: f"({c})",
    str.upper,
    str.lower,
    str.casefold,
)
"""Other spellings of one character, of one network or another."""


class Texts:
    """Makes texts of others; `seeds` also give the words and signs that are put in."""

    def __init__(self, seeds: Iterable[str]) -> None:
        words: set[str] = {token for seed in seeds for token in _TOKEN.findall(seed)}
        self._tokens: tuple[str, ...] = (*sorted(words), *SIGNS, *SIGNS, *ODD)

    def __call__(self, text: str, other: str, chance: Random) -> str:
        r = chance.random
        if r() < 0.04:
            return self._arbitrary(chance)
        for _ in range((1, 1, 1, 2, 2, 3, 6)[int(r() * 7)]):
            at = int(r() * (len(text) + 1))
            match int(r() * 11):
                case 0 | 1:
                    text = text[:at] + self._token(r()) + text[at:]
                case 2:
                    text = text[:at] + text[at + (1, 1, 2, 5, 20)[int(r() * 5)] :]
                case 3:
                    text = text[:at] + self._token(r()) + text[at + 1 :]
                case 4:
                    text = text[:at] + other[int(r() * (len(other) + 1)) :]
                case 5:
                    piece = text[at : at + (1, 2, 8, 40)[int(r() * 4)]]
                    text = text[:at] + piece * (1, 1, 1, 2, 4, 80)[int(r() * 6)] + text[at:]
                case 6 | 7:
                    text = self._reordered(text, chance)
                case 8:
                    end = at + (1, 5, 50)[int(r() * 3)]
                    text = text[:at] + text[at:end].swapcase() + text[end:]
                case 9:
                    if at < len(text):
                        text = text[:at] + _HIDDEN[int(r() * len(_HIDDEN))](text[at]) + text[at + 1 :]
                case 10:
                    text = text[:at] + chr(_some_code(r)) + text[at:]
        return text[:MAX_TEXT]

    def _token(self, r: float) -> str:
        return self._tokens[int(r * len(self._tokens))]

    def _reordered(self, text: str, chance: Random) -> str:
        """Change one word or sign: left out, doubled, exchanged with another, or replaced."""
        tokens: list[str] = _TOKEN.findall(text)
        if not tokens:
            return text
        r = chance.random
        one, other = int(r() * len(tokens)), int(r() * len(tokens))
        match int(r() * 4):
            case 0:
                del tokens[one]
            case 1:
                tokens.insert(other, tokens[one])
            case 2:
                tokens[one], tokens[other] = tokens[other], tokens[one]
            case 3:
                tokens[one] = self._token(r())
        return "".join(tokens)

    def _arbitrary(self, chance: Random) -> str:
        r = chance.random
        made = []
        for _ in range(int(r() * r() * 60)):
            kind = r()
            made.append(
                self._token(r()) if kind < 0.5 else ODD[int(r() * len(ODD))] if kind < 0.8 else chr(_some_code(r))
            )
        return "".join(made)


def _some_code(r: Callable[[], float]) -> int:
    """Return a code point, the low ones more often; of the surrogates, those alone that stand for octets."""
    code = int(r() * (0x80, 0x250, 0x3000, 0x10000, 0x110000)[int(r() * 5)])
    return code if not 0xD800 <= code < 0xE000 else 0xDC80 + code % 0x80


class Octets:
    """Makes octets of others: signs and stretches, lines and words of them changed, and runs of one token."""

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self._tokens = tokens

    def __call__(self, octets: bytes, other: bytes, chance: Random) -> bytes:
        made = bytearray(octets)
        for _ in range(chance.choice((1, 1, 2, 2, 3, 5, 8))):
            at = chance.randint(0, len(made))
            match chance.randint(0, 8):
                case 0:
                    made[at:at] = chance.choice(self._tokens)
                case 1:
                    del made[at : at + chance.choice((1, 2, 10, 200))]
                case 2:
                    made[at : at + 1] = bytes([chance.randrange(256)])
                case 3:
                    start = chance.randint(0, len(other))
                    made[at:at] = other[start : start + chance.choice((5, 50, 500))]
                case 4:
                    end = at + chance.choice((1, 4, 60))
                    made[at:at] = made[at:end] * chance.choice((1, 3, 50))
                case 5:
                    token = chance.choice(self._tokens)
                    made[at : at + len(token)] = token
                case 6:
                    made = bytearray(b"\n".join(moved(bytes(made).split(b"\n"), other.split(b"\n"), chance)))
                case 7:
                    made = bytearray(b"".join(moved(_WORDS.findall(bytes(made)), self._tokens, chance)))
                case 8:
                    if chance.random() < _RUNS:
                        token = chance.choice(self._tokens)
                        made[at:at] = token * min(chance.choice((100, 1000, 10_000)), MAX_OCTETS // len(token))
        return bytes(made[:MAX_OCTETS])


def moved(pieces: list[bytes], others: Sequence[bytes], chance: Random) -> list[bytes]:
    """Change one piece: left out, doubled, moved, exchanged with another, or replaced by a foreign one."""
    if not pieces:
        return list(others[:1])
    one, another = chance.randrange(len(pieces)), chance.randrange(len(pieces))
    match chance.randint(0, 4):
        case 0:
            del pieces[one]
        case 1:
            pieces.insert(another, pieces[one])
        case 2:
            pieces[one], pieces[another] = pieces[another], pieces[one]
        case 3:
            pieces[one] = chance.choice(others)
        case 4:
            pieces.insert(one, chance.choice(others))
    return pieces


class Through:
    """Makes octets of others in the form that they have behind a coding; now and then in their own."""

    def __init__(self, inner: Mutation, read: Callable[[bytes], bytes], write: Callable[[bytes], bytes]) -> None:
        self._inner, self._read, self._write = inner, read, write

    def __call__(self, octets: bytes, other: bytes, chance: Random) -> bytes:
        if chance.random() < _RAW:
            return self._inner(octets, other, chance)
        return self._write(self._inner(self._read(octets), self._read(other), chance))[:MAX_OCTETS]


class Blocks:
    """Makes octets of others that are records of one length: whole records are changed, or octets in their place."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __call__(self, octets: bytes, other: bytes, chance: Random) -> bytes:
        records, others = (
            [each[at : at + self._length] for at in range(0, len(each), self._length)] for each in (octets, other)
        )
        for _ in range(chance.randint(1, 4)):
            if records and chance.random() < 0.6:
                n = chance.randrange(len(records))
                record = bytearray(records[n])
                size = chance.choice((1, 2, 8, 24))
                at = chance.randrange(max(len(record) - size, 1))
                record[at : at + size] = chance.choice(others or [b"?"])[at : at + size] or bytes(size)
                if chance.random() < 0.5 and at < len(record):
                    record[at] = chance.randrange(256)
                records[n] = bytes(record)
            else:
                records = moved(records, others or [b"?"], chance)
        return b"".join(records)[:MAX_OCTETS]


def examples_in(path: Path, at_most: int = 4000) -> tuple[list[str], list[bytes]]:
    """Return the constants in the tests of a module: the texts and the octets that they were written to show."""
    texts: dict[str, None] = {}
    octets: dict[bytes, None] = {}
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and 0 < len(node.value) <= at_most:
            texts[node.value] = None
            octets[octets_of(node.value)] = None
        elif isinstance(node, ast.Constant) and isinstance(node.value, bytes) and 0 < len(node.value) <= at_most:
            octets[node.value] = None
    return list(texts), list(octets)
