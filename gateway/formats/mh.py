"""MH folders: the numbers that are messages, and the sequences that name some of them.

Sources: mh-sequence(5), mh-mail(5) and mh-draft(5) of nmh.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

SEQUENCES: Final = ".mh_sequences"
UNSEEN: Final = "unseen"
MOST: Final = 999_999_999
"""Higher numbers are taken for no message's."""

_NUMBER: Final = re.compile(r"[1-9]\d{0,8}")
_SEQUENCE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")
_RANGE: Final = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_DASHES: Final = re.compile(rb"(?:^|(?<=\n))-+[ \t]*\r?\n")
_EMPTY: Final = re.compile(rb"(?:^|(?<=\n))\r?\n")

Range = tuple[int, int]


def number(name: str) -> int | None:
    """Return the number that a file's name is; None for every other file: `,3` and `#3` are messages removed."""
    return int(name) if _NUMBER.fullmatch(name) else None


def next_number(names: Iterable[str]) -> int:
    """Return the number of a new message, one above the highest."""
    return max((found for name in names if (found := number(name)) is not None), default=0) + 1


def read_sequences(text: str) -> dict[str, list[Range]]:
    """Read a `.mh_sequences` file: each sequence as ranges, both ends in it. Lines that are none are left out."""
    found: dict[str, list[Range]] = {}
    for line in re.sub(r"\n[ \t]+", " ", text).split("\n"):
        name, colon, rest = line.partition(":")
        if not colon or _SEQUENCE_NAME.fullmatch(name.strip()) is None:
            continue
        ranges = [_range(match) for word in rest.split() if (match := _RANGE.fullmatch(word)) is not None]
        found[name.strip()] = merged(pair for pair in ranges if pair[0] <= pair[1])
    return found


def _range(match: re.Match[str]) -> Range:
    return int(match[1]), int(match[2] or match[1])


def merged(ranges: Iterable[Range]) -> list[Range]:
    """Return ranges in order, with those that touch made one."""
    result: list[Range] = []
    for start, end in sorted(ranges):
        if result and start <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


def write_sequences(sequences: Mapping[str, Iterable[Range]]) -> str:
    """Return the text of a `.mh_sequences` file; an empty sequence has no line."""
    lines = []
    for name, ranges in sequences.items():
        words = [str(start) if start == end else f"{start}-{end}" for start, end in merged(ranges)]
        if words:
            lines.append(f"{name}: {' '.join(words)}\n")
    return "".join(lines)


def dash_line(octets: bytes) -> tuple[int, int] | None:
    """Return where a line of dashes stands that ends the header of a draft, [start, end); None where none does."""
    dashes = _DASHES.search(octets)
    if dashes is None:
        return None
    empty = _EMPTY.search(octets, 0, dashes.start())
    return None if empty is not None else dashes.span()
