"""Lines of text: flowed ones joined, long ones broken. Pure; linear in the text.

Source: RFC 3676 (format=flowed, DelSp).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_QUOTES: Final = re.compile(r"(?:> ?)+")
_ITEM: Final = re.compile(r"[ \t]*(?:[*+-] |[0-9]{1,3}[.)] )?[ \t]*")
_SIGNATURE: Final = "-- "
_LEAST: Final = 20


def unflowed(text: str, *, delsp: bool) -> str:
    """Return flowed text with each paragraph on one line; its quotes are written `> `."""
    made: list[str] = []
    paragraph: list[str] = []
    depth = 0

    def end() -> None:
        if paragraph:
            made.append(("> " * depth + "".join(paragraph)).rstrip(" ") if depth else "".join(paragraph))
            paragraph.clear()

    *lines, last = text.split("\n")
    for line in lines if not last else (*lines, last):
        content = line.lstrip(">")
        level = len(line) - len(content)
        content = content.removeprefix(" ")  # §4.4: space-stuffing
        if level != depth or content == _SIGNATURE:
            end()
            depth = level
        if content == _SIGNATURE or not content.endswith(" "):
            paragraph.append(content)
            end()
        else:
            paragraph.append(content[:-1] if delsp else content)
    end()
    return "\n".join(made) + ("" if last else "\n" if made else "")


def wrapped(text: str, columns: int) -> tuple[str, int]:
    """Return the text with no line over so many characters, and how many lines were broken.

    They are broken at blanks, and a word that is longer than a line where the line ends. What begins a line stands
    before each of its pieces, where it is a quotation's sign; under a list's item they are indented.
    """
    lines = text.split("\n")
    if max(map(len, lines)) <= columns:
        return text, 0
    made: list[str] = []
    broken = 0
    for line in lines:
        if len(line) <= columns:
            made.append(line)
        else:
            broken += 1
            made += _pieces(line, columns)
    return "\n".join(made), broken


def _pieces(line: str, columns: int) -> Iterator[str]:
    quotes = _QUOTES.match(line)
    first = quotes[0] if quotes is not None else ""
    item = _ITEM.match(line, len(first))
    following = first
    if item is not None:
        following += " " * (item.end() - len(first))
        first = line[: item.end()]
    if len(following) > columns - _LEAST:  # no room is left beside it
        following = ""
    at, lead = len(first), first
    if len(lead) >= columns:
        at, lead = 0, ""
    size = len(line)
    while size - at > columns - len(lead):
        room = columns - len(lead)
        cut = max(line.rfind(" ", at + 1, at + room + 1), line.rfind("\t", at + 1, at + room + 1))
        if cut < 0:
            yield lead + line[at : at + room]
            at += room
        else:
            yield (lead + line[at:cut]).rstrip(" \t")
            at = cut + 1
            while at < size and line[at] == " ":
                at += 1
        lead = following
    if at < size:
        yield lead + line[at:]
