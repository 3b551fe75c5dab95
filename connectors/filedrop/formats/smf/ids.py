"""Message identifiers of SMF, which are any word, and those of RFC 5322: each comes back as it was. Pure.

A word without a domain gets one of ours, `smf.` and the gateway's own name, by which it is known again.
"""

from __future__ import annotations

import re
from typing import Final

_ATEXT: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]"
_INTERNET: Final = re.compile(rf"{_ATEXT}+@(?:{_ATEXT}+|\[[!-Z^-~]*\])")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_ESCAPED: Final = re.compile(r"=([0-9A-F]{2})")
_BRACKETED: Final = re.compile(r"<([^<> ]+)>")


def to_internet(word: str, hostname: str) -> str:
    """Return the Message-ID of a word as an SMF file has it."""
    word = _bare(word)
    if _INTERNET.fullmatch(word) and not word.endswith(f"@smf.{hostname}"):
        return f"<{word}>"
    if not _PLAIN.fullmatch(word):
        octets = word.encode("utf-8", "replace")
        word = "".join(chr(o) if chr(o).isalnum() and o < 0x80 else f"={o:02X}" for o in octets)
    return f"<{word}@smf.{hostname}>"


def to_smf(message_id: str, hostname: str) -> str:
    """Return what an SMF file has for a Message-ID."""
    word = _bare(message_id)
    own = word.removesuffix(f"@smf.{hostname}")
    if own == word:
        return word
    octets = _ESCAPED.sub(lambda m: chr(int(m[1], 16)), own).encode("latin-1", "replace")
    return octets.decode("utf-8", "replace")


def _bare(word: str) -> str:
    word = word.strip()
    return word[1:-1] if len(word) > 2 and word[0] == "<" and word[-1] == ">" else word


def references(value: str) -> list[str]:
    """Return the identifiers in a field's value; none where it is prose."""
    found = _BRACKETED.findall(value)
    if found:
        return [f"<{word}>" for word in found]
    return [value.strip()] if value.strip() and " " not in value.strip() else []
