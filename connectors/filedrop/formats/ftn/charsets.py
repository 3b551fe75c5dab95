"""Character sets by the names that FidoNet's CHRS line gives them.

Level 1 are the seven-bit sets of one nation each, in which some signs of ASCII give way to letters (ISO 646); level 2
the code pages of eight bits; level 4 UTF-8. The seven-bit sets are read, not written.
Sources: FSC-0054, FTS-5003; the national sets as in ISO 646's registrations. Only CP437, CP866, UTF-8 and LATIN-1 were
tried with files of others.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_CODECS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ASCII": "ascii",
        "US-ASCII": "ascii",
        "IBMPC": "cp437",
        "PC-8": "cp437",
        "CP437": "cp437",
        "LATIN-1": "latin-1",
        "ISO-8859-1": "latin-1",
        "LATIN-2": "iso8859-2",
        "LATIN-5": "iso8859-9",
        "LATIN-9": "iso8859-15",
        "MAC": "mac_roman",
        "MACINTOSH": "mac_roman",
        "FIDO": "cp866",
        "FIDO7": "cp866",
        "+7_FIDO": "cp866",
        "+7": "cp866",
        "ALT": "cp866",
        "KOI8-R": "koi8_r",
        "KOI8-U": "koi8_u",
        "UTF-8": "utf-8",
        "UTF8": "utf-8",
    }
)
_PAGES: Final = frozenset((
    437, 720, 737, 775, 850, 852, 855, 857, 858, 860, 861, 862, 863, 864, 865, 866, 869, 874, 1125,
    1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258,
))  # fmt: skip
_NAMES: Final[Mapping[str, tuple[str, int]]] = MappingProxyType(
    {
        "ascii": ("ASCII", 1),
        "latin-1": ("LATIN-1", 2),
        "iso8859-2": ("LATIN-2", 2),
        "iso8859-9": ("LATIN-5", 2),
        "iso8859-15": ("LATIN-9", 2),
        "mac_roman": ("MAC", 2),
        "koi8_r": ("KOI8-R", 2),
        "koi8_u": ("KOI8-U", 2),
        "utf-8": ("UTF-8", 4),
        **{f"cp{page}": (f"CP{page}", 2) for page in _PAGES},
    }
)
"""What is written for a codec: the name, and the level behind it."""

_GIVEN_UP: Final = "#@[\\]^_`{|}~"
_NATIONAL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "CANADIAN": "#àâçêî_ôéùèû",
        "FINNISH": "#@ÄÖÅÜ_éäöåü",
        "FRENCH": "£à°ç§^_`éùè¨",
        "GERMAN": "#§ÄÖÜ^_`äöüß",
        "ITALIAN": "£§°çé^_ùàòèì",
        "NORWEG": "#@ÆØÅ^_`æøå~",
        "PORTU": "#@ÃÇÕ^_`ãçõ~",
        "SPANISH": "£§¡Ñ¿^_`°ñç~",
        "SWEDISH": "#ÉÄÖÅÜ_éäöåü",
        "SWISS": "ùàéçêîèôäöüû",
        "UK": "£@[\\]^_`{|}~",
    }
)
_SOFT_CR: Final = frozenset(("cp437", "cp850"))
"""Code pages in which 0x8D ends a line softly; in others it may be a letter of everyday use, as in CP866."""


def codec_of(name: str) -> str | None:
    """Return the Python codec of a set's name, in any case; None for a national set and for an unknown one."""
    upper = name.upper()
    known = _CODECS.get(upper)
    if known is not None:
        return known
    page = upper.removeprefix("CP").removeprefix("IBM")
    return f"cp{page}" if page.isascii() and page.isdigit() and len(page) <= 4 and int(page) in _PAGES else None


def chrs_of(codec: str) -> str:
    """Return what the CHRS line says of a codec, `CP437 2`."""
    name, level = _NAMES[codec]
    return f"{name} {level}"


def decode(octets: bytes, charset: str, default: str) -> str:
    """Return octets as text. `charset` is the name a message gives, `default` the codec where it gives none we know.

    What is no character of the set becomes U+FFFD.
    """
    national = _NATIONAL.get(charset.upper())
    if national is not None:
        text = octets.decode("ascii", "replace")
        return text.translate({ord(sign): letter for sign, letter in zip(_GIVEN_UP, national, strict=True)})
    return octets.decode(codec_of(charset) or default, "replace")


def has_soft_cr(charset: str, default: str) -> bool:
    """Say whether 0x8D is no letter in a message that names this set."""
    return (codec_of(charset) or default) in _SOFT_CR


def encode(text: str, codec: str) -> tuple[bytes, int]:
    """Return text in a codec, and how many of its characters others had to stand for.

    A letter whose octet would be read as a soft line end is written without its accent.
    """
    lost = 0
    if codec in _SOFT_CR:
        soft = b"\x8d".decode(codec)
        lost = text.count(soft)
        text = text.replace(soft, "i")
    octets = text.encode(codec, "replace")
    if len(octets) == len(text) and codecs.lookup(codec).name != "utf-8":
        lost += octets.count(b"?") - text.count("?")
    return octets, lost
