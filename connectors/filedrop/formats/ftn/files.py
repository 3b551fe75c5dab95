"""Names of the files that go along with netmail: what the subject of a message can list."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from connectors.filedrop.formats.ftn.packets import SUBJECT_OCTETS
from connectors.filedrop.names import safe_name

_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_STEM: Final = 8
_EXTENSION: Final = 3
_ODD: Final = re.compile(r"[^A-Za-z0-9._()+=-]+")
"""Blanks and commas part names in a subject; other signs are not in every system's set."""


def attached_name(name: str, stem: str, number: int, *, dos: bool) -> str:
    """Return the name under which a file travels: the same at each attempt, another for each file.

    For DOS it has eight signs, made of the message's `stem` and the file's number, and the extension's first three.
    """
    own = _ODD.sub("_", safe_name(name).encode("ascii", "replace").decode("ascii").replace("?", "_"))
    if not dos:
        room = SUBJECT_OCTETS - len(stem) - len(str(number)) - 2
        kept = safe_name(own, room) if room > _STEM else ""
        return f"{stem}-{number}-{kept}"[:SUBJECT_OCTETS].rstrip(".-")
    front, dot, extension = own.rpartition(".")
    kept = re.sub("[^A-Z0-9]", "", extension.upper())[:_EXTENSION] if dot and front else ""
    value = int.from_bytes(hashlib.sha256(f"{stem}/{number}".encode("utf-8", "surrogateescape")).digest()[:8], "big")
    signs = []
    for _ in range(_STEM):
        value, digit = divmod(value, len(_DIGITS))
        signs.append(_DIGITS[digit])
    return "".join(signs) + (f".{kept}" if kept else "")
