"""SASLprep: how names and passwords are brought to one form before they are compared (RFC 4013). Pure."""

from __future__ import annotations

import stringprep
import unicodedata
from typing import Final

LONGEST: Final = 1024
"""Characters of a name or a password; longer ones are nobody's."""

_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str | None:
    """Return a text prepared as a query string; None where it holds what is prohibited, or nothing."""
    if len(text) > LONGEST:
        return None
    if text.isascii():
        return text if text and text.isprintable() else None
    # RFC 4013 §2.1: blanks beyond ASCII become one, what is commonly mapped to nothing goes
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    made = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not made or any(check(c) for c in made for check in _PROHIBITED):
        return None
    if any(stringprep.in_table_d1(c) for c in made):  # RFC 3454 §6: written from right to left
        if any(stringprep.in_table_d2(c) for c in made):
            return None
        if not (stringprep.in_table_d1(made[0]) and stringprep.in_table_d1(made[-1])):
            return None
    return made
