"""Durations and sizes as people write them, read and shown: "5d", "1h30m", "64MiB"."""

from __future__ import annotations

import re
from typing import Final

_UNIT_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_UNIT_BYTES: Final = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    f"{letter}IB": 1 << 10 * i for i, letter in enumerate("KMGT", 1)
}


def parse_duration(value: object) -> float:
    """Return seconds for "90s", "4h", "1d12h" or a number of seconds.

    Raises: ValueError that names the right form.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    if isinstance(value, str):
        text = value.strip()
        if text == "0":
            return 0.0
        if _DURATION.fullmatch(text):
            return sum(float(number) * _UNIT_S[unit] for number, unit in _PART.findall(text))
    raise ValueError('a duration such as "30s", "4h", "1d12h"')


def show_duration(seconds: float) -> str:
    """Return the shortest text that `parse_duration` reads back to the same number of whole seconds.

    Under a second the fraction is kept.
    """
    if seconds < 1:
        return f"{seconds:g}s"
    rest = round(seconds)
    parts = []
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        number, rest = divmod(rest, length)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts)


def parse_size(value: object) -> int:
    """Return octets for "64MiB", "1.5 GB" or a number of octets.

    Raises: ValueError that names the right form.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit():
            return int(text)
        if (found := _SIZE.fullmatch(text)) is not None:
            return round(float(found[1]) * _UNIT_BYTES[found[2].upper()])
    raise ValueError('a size such as "64MiB", "1GB" or a number of octets')


def show_size(octets: float) -> str:
    """Return a size for people, exact where it is a whole number of a binary unit."""
    size, unit = float(octets), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if size == round(size) else f"{size:.1f} {unit}"
