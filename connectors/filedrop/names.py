"""Names of files: which may be used as they came, and how others are made safe and shown.

A name that comes out of a message or a file is somebody else's input: it must not leave its folder, nor be a device,
nor be hidden, on any system that mounts the folder. Pure. Source: Microsoft's "Naming Files, Paths, and Namespaces".
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from typing import Final

NAME_OCTETS: Final = 255

_BASE36: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_UNSAFE: Final = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_FORBIDDEN: Final = re.compile(r"[/\\:\x00-\x1f\x7f]")
_DEVICE: Final = re.compile(r"(?:con|prn|aux|nul|clock\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)", re.IGNORECASE)


def is_safe(name: str) -> bool:
    """Tell whether a name that a message gives may be looked up, or made, in a folder as it stands."""
    return (
        name not in ("", ".", "..")
        and not name.startswith(".")
        and not name.endswith((" ", "."))
        and _FORBIDDEN.search(name) is None
        and _DEVICE.match(name) is None
        and _octets(name) <= NAME_OCTETS
    )


def _octets(name: str) -> int:
    """Return how long a name is on disk; longer than any where it can be no file's."""
    try:
        return len(os.fsencode(name))
    except UnicodeEncodeError:
        return NAME_OCTETS + 1


def safe_name(text: str, limit: int = 100) -> str:
    """Return a file name made of what a message says: safe as `is_safe` has it, of at most `limit` characters.

    The last folder's separator ends what is dropped; the extension is kept where there is room. Never empty.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode()))[-1]
    name = _UNSAFE.sub("_", last).strip(" .") or "file"
    if _DEVICE.match(name):
        name = "_" + name
    stem, dot, extension = name.rpartition(".")
    if not (dot and stem) or len(extension) >= min(limit - 1, 16):
        stem, dot, extension = name, "", ""
    return (_cut(stem, limit - len(dot + extension), NAME_OCTETS - len(os.fsencode(dot + extension))) or "f") + (
        dot + extension
    )


def _cut(text: str, characters: int, octets: int) -> str:
    """Return the start of a text that takes no more room than this, without blanks and dots at its end."""
    kept = text[:characters].encode()[:octets].decode("utf-8", "ignore")
    return kept.rstrip(" .") if kept != text else kept


def shown(name: str) -> str:
    """Return a file's name as text for logs, traces and reports: octets that are no UTF-8, and controls, escaped."""
    if name.isascii() and name.isprintable():
        return name
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def stem_of(name: str) -> str:
    """Return a name without its extension."""
    stem, dot, _ = name.rpartition(".")
    return stem if dot and stem else name


def dos_stem(text: str) -> str:
    """Return eight characters of a DOS name for a longer one: always the same, and by chance alone another's too.

    No device has a name of eight characters, so that none can come out.
    """
    value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return "".join(_BASE36[value // 36**n % 36] for n in range(8))
