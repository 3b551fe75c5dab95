"""Letters: texts compared as people see them, and written with those letters that every mail system takes.

Promises: pure; `plain`, `without_accents` and `skeleton` are coarser one after another, and each gives the same for
what it gives; `in_ascii` gives ASCII, or an empty text where nothing of it can be written so.
Source: Unicode `confusables.txt` (UTS #39, "Unicode Security Mechanisms", section 4), its rows for lower-case letters
of the Latin, Greek, Cyrillic and Armenian scripts that look like other letters without any mark, as packaged in
confusable-homoglyphs 3.3.1; letters with strokes and ligatures by their plain letters, as in Unicode's own names.
Greek and Cyrillic in Latin letters: ISO 843 type 2 and ICAO Doc 9303 part 3, without their marks.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# What Unicode does not take apart into a letter and a mark.
_STROKES: Final = {
    **dict.fromkeys("ƀƃɓ", "b"), **dict.fromkeys("ȼ", "c"), **dict.fromkeys("đƌɖɗð", "d"), "ɇ": "e", "ƒ": "f",
    **dict.fromkeys("ǥɠ", "g"), **dict.fromkeys("ħɦ", "h"), **dict.fromkeys("ıɨ", "i"), "ɉ": "j", "ƙ": "k",
    **dict.fromkeys("łƚɫɭ", "l"), **dict.fromkeys("ƞɲɳ", "n"), **dict.fromkeys("øɵ", "o"), "ƥ": "p", "ʠ": "q",
    **dict.fromkeys("ɍɼɽ", "r"), "ʂ": "s", **dict.fromkeys("ŧƫƭ", "t"), **dict.fromkeys("ƴɏ", "y"),
    **dict.fromkeys("ƶȥʐ", "z"), "æ": "ae", "œ": "oe", "ĳ": "ij", "ŋ": "ng", "þ": "th", "ĸ": "k", "ʼ": "'",
}  # fmt: skip
_LOOK_ALIKE: Final = {
    letter: plain
    for plain, letters in {
        "a": "ɑαа", "ae": "ӕ", "c": "с", "d": "ԁ", "dz": "ʣ", "e": "еҽ", "f": "ք", "g": "ƍɡց", "h": "һհ",
        "i": "ɩɪιіӏ", "j": "ϳј", "l": "1|ǀ", "ll": "ǁ", "ls": "ʪ", "lz": "ʫ", "n": "ոռ", "o": "0οσоօ", "p": "ρр",
        "q": "ԛգզ", "r": "г", "rn": "m", "s": "ƽѕ", "ts": "ʦ", "u": "ʋυս", "v": "νѵ", "w": "ɯѡԝա", "x": "х",
        "y": "ɣʏγуү",
    }.items()
    for letter in letters
}  # fmt: skip
_GREEK: Final = {
    "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i", "κ": "k", "λ": "l",
    "μ": "m", "ν": "n", "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s", "ς": "s", "τ": "t", "υ": "y", "φ": "f",
    "χ": "ch", "ψ": "ps", "ω": "o",
}  # fmt: skip
_CYRILLIC: Final = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ж": "zh", "з": "z", "и": "i", "й": "i", "к": "k",
    "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f", "х": "kh",
    "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "ie", "ы": "y", "э": "e", "ю": "iu", "я": "ia", "ё": "e",
    "ђ": "d", "ѓ": "g", "є": "ie", "ѕ": "dz", "і": "i", "ї": "i", "ј": "j", "љ": "lj", "њ": "nj", "ћ": "c", "ќ": "k",
    "ў": "u", "џ": "dz", "ґ": "g", "ь": "",
}  # fmt: skip
_GERMAN: Final = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "å": "aa"}
_STROKE_TABLE: Final = str.maketrans(_STROKES)
_LOOK_ALIKE_TABLE: Final = str.maketrans(_LOOK_ALIKE)
_LATIN_TABLE: Final = str.maketrans(_STROKES | _GREEK | _CYRILLIC | {"ß": "ss"})
_GERMAN_TABLE: Final = str.maketrans(_GERMAN)
_NOT_ASCII: Final = re.compile(r"[^\x20-\x7e]+")


def plain(text: str) -> str:
    """Return a text as it compares without case."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text.casefold()).casefold()


def without_accents(text: str) -> str:
    """Return a text without case, and without the marks and strokes of its letters."""
    if text.isascii():
        return text.lower()
    taken_apart = unicodedata.normalize("NFKD", plain(text))
    return "".join(c for c in taken_apart if not unicodedata.combining(c)).translate(_STROKE_TABLE)


def skeleton(text: str) -> str:
    """Return what a text looks like: texts that can be taken for each other have the same."""
    if text.isascii():
        return text.lower().replace("m", "rn").replace("1", "l").replace("0", "o").replace("|", "l")
    return without_accents(text).translate(_LOOK_ALIKE_TABLE)


def in_ascii(text: str, *, german: bool = False) -> str:
    """Return a text in ASCII, in lower case: its letters without marks, Greek and Cyrillic by a usual romanisation.

    `german` writes ä, ö and ü as ae, oe and ue, and å as aa. What has no letter of its own is left out.
    """
    if text.isascii():
        return text.lower()
    lower = unicodedata.normalize("NFC", text.lower())
    if german:
        lower = lower.translate(_GERMAN_TABLE)
    # й is a letter of its own, and Unicode takes it apart; its plain letter is romanised alike.
    apart = unicodedata.normalize("NFKD", lower.translate(_LATIN_TABLE))
    bare = "".join(c for c in apart if not unicodedata.combining(c)).translate(_LATIN_TABLE)
    return _NOT_ASCII.sub("", bare)


def scripts(text: str) -> frozenset[str]:
    """Return which of the scripts that look alike have letters in a text: LATIN, GREEK, CYRILLIC, ARMENIAN."""
    if text.isascii():
        return _LATIN_ALONE if any(map(str.isalpha, text)) else frozenset()
    first = (unicodedata.name(c, "").partition(" ")[0] for c in text if c.isalpha())
    return frozenset(first) & _SCRIPTS


_LATIN_ALONE: Final = frozenset({"LATIN"})
_SCRIPTS: Final = frozenset({"LATIN", "GREEK", "CYRILLIC", "ARMENIAN"})
