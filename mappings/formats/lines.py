"""Lines: the text of maps in the style of Postfix and sendmail, taken apart into logical lines, keys and addresses.

Promises: any octets give lines and problems, never a fault; octets that are no text spoil their own row alone; all is
linear in the size of the file, and a logical line has at most MAX_LINE characters.
Source: postmap(1), postalias(1), aliases(5), makemap(8).
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from typing import Final

from mappings.formats import Options
from mappings.formats.people import encoding_of
from mappings.tabular import MAX_OCTETS, Problems, Unreadable

MAX_LINE: Final = 4 * 1024 * 1024
"""A group of a hundred thousand members still fits."""

NO_TEXT: Final = "\ufffd"
"""Stands for octets that are no text."""

_QUOTED_OR_END: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|\\.|[ \t\r\f\v]', re.DOTALL)
_SIGNS: Final = frozenset('"\\()<>')


def text_of(octets: bytes, options: Options) -> str:
    """Return the text of a file: UTF-8, else the option `encoding`, else UTF-8 with NO_TEXT for its faults.

    Raises: Unreadable where there are too many octets; OptionError.
    """
    encoding = encoding_of(options)
    if len(octets) > MAX_OCTETS:
        raise Unreadable(f"the file has {len(octets)} octets, at most {MAX_OCTETS} are read; split it")
    if octets.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return octets.decode("utf-16", "replace")
    octets = octets.removeprefix(BOM_UTF8)
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode(encoding or "utf-8", "replace")


def is_text(line: int, row: str, problems: Problems) -> bool:
    """Tell whether a row is text as a whole; where not, add that as a problem."""
    if NO_TEXT not in row:
        return True
    problems.add(line, "", "the row has octets that are no UTF-8; save the file as UTF-8, or give the option encoding")
    return False


def logical_lines(text: str, problems: Problems) -> Iterator[tuple[int, str]]:
    """Yield (number of its first line, text) of each logical line.

    One that begins with a blank continues the one before; lines that are empty, or begin with # after any blanks, are
    skipped, between the parts of a logical line too.
    """
    start = size = 0
    parts: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.rstrip()
        bare = line.lstrip()
        if not bare or bare[0] == "#":
            continue
        if line[0] not in " \t\r\f\v":
            if parts and is_text(start, row := "".join(parts), problems):
                yield start, row
            start, size, parts = number, 0, []
        elif not parts:
            if not start:
                problems.add(number, "", "the line begins with a blank, and there is no line that it could continue")
            continue
        size += len(line)
        if size > MAX_LINE:
            problems.add(start, "", f"the row is longer than {MAX_LINE} characters; it is not read")
            parts = []
            continue
        parts.append(line)
    if parts and is_text(start, row := "".join(parts), problems):
        yield start, row


def key_and_value(line: str) -> tuple[str, str]:
    """Split a row at its first blank that is not within quotes; the value is empty where there is none."""
    blank = line.find(" ")
    tab = line.find("\t")
    end = min((at for at in (blank, tab) if at >= 0), default=len(line))
    if '"' in line[:end] or "\\" in line[:end]:
        end = next((m.start() for m in _QUOTED_OR_END.finditer(line) if m[0].isspace()), len(line))
    return line[:end], line[end:].strip()


def alias_and_value(line: str) -> tuple[str, str] | None:
    """Split `name: value`, where the name may stand in quotes; None where there is no colon, or nothing before it."""
    if line.startswith('"'):
        quoted = re.match(r'"((?:[^"\\]|\\.)*)"[ \t]*:', line)
        if quoted is None:
            return None
        name, rest = re.sub(r"\\(.)", r"\1", quoted[1]), line[quoted.end() :]
    else:
        name, colon, rest = line.partition(":")
        name = name.strip()
        if not colon:
            return None
    return (name, rest.strip()) if name else None


def parts_of(value: str) -> list[str]:
    """Split a value at the commas outside quotes, comments and angle brackets; comments are left out, which nest."""
    if not _SIGNS & set(value):
        return [part for piece in value.split(",") if (part := piece.strip())]
    parts: list[str] = []
    made: list[str] = []
    quoted = escaped = angle = False
    depth = 0
    for c in value:
        if escaped:
            escaped = False
        elif c == "\\":
            escaped = True
        elif quoted:
            quoted = c != '"'
        elif depth:
            depth += (c == "(") - (c == ")")
            if not depth:
                made.append(" ")
            continue
        elif c == '"':
            quoted = True
        elif c == "(":
            depth = 1
        elif c == "<":
            angle = True
        elif c == ">":
            angle = False
        elif c == "," and not angle:
            parts.append("".join(made).strip())
            made = []
            continue
        if not depth:
            made.append(c)
    parts.append("".join(made).strip())
    return [part for part in parts if part]


def addresses_in(part: str) -> list[str]:
    """Return the address texts of one part of a value: what stands in angle brackets, else its words."""
    if part.endswith(">"):
        before, open_, inner = part[:-1].rpartition("<")
        if open_ and not inner.count('"') % 2 and not before.count('"') % 2:
            return [inner.strip()]
    if '"' not in part and "\\" not in part:
        return part.split()
    words: list[str] = []
    start = 0
    for found in _QUOTED_OR_END.finditer(part):
        if found[0].isspace():
            words.append(part[start : found.start()])
            start = found.end()
    words.append(part[start:])
    return [word for word in words if word]
