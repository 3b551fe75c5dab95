"""Text brought to the characters of a charset: what it lacks is written otherwise; what cannot be, as a question mark.

Promises: what comes out can be encoded; a text that can be as it is comes back as the same object; each character that
was written otherwise or lost is counted. Pure; linear in the text.
Source: Unicode's compatibility decompositions (UAX 15); for letters and signs beyond them the usual spellings of
typewriters: ä as ae, ß as ss, a typographic quote as a plain one.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

_LETTERS: Final = {
    "ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ẞ": "SS", "å": "aa", "Å": "Aa",
    "æ": "ae", "Æ": "Ae", "ø": "oe", "Ø": "Oe", "œ": "oe", "Œ": "Oe", "þ": "th", "Þ": "Th", "ð": "d", "Ð": "D",
    "đ": "d", "Đ": "D", "ł": "l", "Ł": "L", "ħ": "h", "Ħ": "H", "ı": "i", "ŋ": "ng", "Ŋ": "Ng", "ĸ": "k", "ƒ": "f",
}  # fmt: skip
_SIGNS: Final = {
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "′": "'", "‹": "'", "›": "'", "´": "'", "ʼ": "'", "ˈ": "'",
    "“": '"', "”": '"', "„": '"', "‟": '"', "″": '"', "«": '"', "»": '"',
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "--", "―": "--", "−": "-", "…": "...", "•": "*", "·": "*", "‣": "*",
    "▪": "*", "●": "*", "◦": "o", "⁄": "/", "∕": "/", "×": "x", "÷": "/", "±": "+/-", "≤": "<=", "≥": ">=",
    "≠": "!=", "≈": "~", "→": "->", "←": "<-", "↔": "<->", "⇒": "=>", "⇐": "<=", "✓": "[x]", "✔": "[x]", "☐": "[ ]",
    "☑": "[x]", "€": "EUR", "£": "GBP", "¥": "JPY", "¢": "c", "₽": "RUB", "₹": "INR", "©": "(c)", "®": "(R)",
    "™": "(TM)", "℠": "(SM)", "°": "o", "§": "S.", "¶": "P.", "µ": "u", "μ": "u", "¡": "!", "¿": "?", "¬": "not ",
    "¦": "|", "†": "+", "‡": "++", "‰": "o/oo", "ª": "a", "º": "o", "№": "No.", "─": "-", "━": "-", "│": "|",
    "┃": "|", "═": "=", "║": "|", "█": "#", "░": ".", "▒": ":", "▓": "#", "🙂": ":-)", "😀": ":-)", "😃": ":-)",
    "😄": ":-)", "😊": ":-)", "☺": ":-)", "😉": ";-)", "😂": ":-D", "😁": ":-D", "🙁": ":-(", "☹": ":-(", "😞": ":-(",
    "😢": ":'-(", "❤": "<3", "♥": "<3", "👍": "(+1)", "👎": "(-1)",
}  # fmt: skip
_OTHERWISE: Final = _LETTERS | _SIGNS
LOST: Final = "?"


@dataclass(frozen=True, slots=True)
class Transliterated:
    """The text, and how many characters of the old one were written otherwise, and how many are lost."""

    text: str
    otherwise: int = 0
    lost: int = 0


def transliterate(text: str, charset: str) -> Transliterated:
    """Return a text with the characters of a charset alone. Raises: LookupError where no such charset is known."""
    if _fits(text, charset):
        return Transliterated(text)
    composed = unicodedata.normalize("NFC", text)  # a letter and its accent, one by one, are no loss
    table: dict[int, str] = {}
    otherwise = lost = 0
    for character, count in Counter(composed).items():
        if _fits(character, charset):
            continue
        written = _otherwise(character, charset)
        if written is None:
            lost += count
        else:
            otherwise += count
        table[ord(character)] = LOST if written is None else written
    return Transliterated(composed.translate(table), otherwise, lost)


def check(charset: str) -> None:
    """Raise LookupError where a name is no charset's."""
    if not codecs.lookup(charset)._is_text_encoding:
        raise LookupError(f"{charset!r} is no charset")
    "?\n".encode(charset)


def _fits(text: str, charset: str) -> bool:
    try:
        text.encode(charset)
    except UnicodeError:
        return False
    return True


@lru_cache(maxsize=8192)
def _otherwise(character: str, charset: str) -> str | None:
    """Return what stands for a character in a charset, perhaps nothing; None where nothing can."""
    usual = _OTHERWISE.get(character)
    if usual is not None and _fits(usual, charset):
        return usual
    category = unicodedata.category(character)
    if character == "\n" or category in ("Cf", "Mn", "Me"):
        return ""  # they have no shape of their own
    if category in ("Zl", "Zp"):
        return "\n"
    if category == "Zs":
        return " "
    if category == "Pd":
        return "-"
    apart = unicodedata.normalize("NFKD", character)
    pieces = []
    for c in apart:
        if unicodedata.combining(c):
            continue
        piece = c if _fits(c, charset) else _OTHERWISE.get(c, "\ufffd")
        if not _fits(piece, charset):
            return None
        pieces.append(piece)
    return "".join(pieces) if apart != character else None
