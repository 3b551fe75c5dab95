"""Tabular: text and rows out of the files that other programs write, with every mistake in its place.

Promises: any octets give rows and problems, never a fault; one row that is not CSV is reported and the next is read;
time and memory are bounded by the size of the file, and the list of problems by MAX_PROBLEMS.
Source: RFC 4180; the separator may also be `;` or a tab, the text UTF-8 or UTF-16 by its byte order mark.
"""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

MAX_PROBLEMS: Final = 1000
MAX_OCTETS: Final = 512 * 1024 * 1024
MAX_ROWS: Final = 4_000_000
MAX_FIELD: Final = 4 * 1024 * 1024
"""Characters of one field: a group of a hundred thousand members still fits."""

_MAX_KEPT: Final = 10 * MAX_PROBLEMS
_MAX_FAULTS: Final = 200
_SAYS_SEPARATOR: Final = "sep="

# The limit is the module's own and the same for all readers of the process; it is only ever raised.
csv.field_size_limit(max(MAX_FIELD, csv.field_size_limit()))


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where: `line` is counted from 1, `column` is the header's name, empty for the whole row."""

    line: int
    column: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}{f', column {self.column}' if self.column else ''}: {self.message}"


class Problems:
    """Gathers problems; `len` is how many there were, of which some thousands are kept."""

    def __init__(self) -> None:
        self._kept: list[Problem] = []
        self._lost = 0

    def __len__(self) -> int:
        return len(self._kept) + self._lost

    def add(self, line: int, column: str, message: str) -> None:
        if len(self._kept) < _MAX_KEPT:
            self._kept.append(Problem(line, column, message))
        else:
            self._lost += 1

    def in_order(self) -> list[Problem]:
        """Return the problems by line, at most MAX_PROBLEMS; the last one then says that there are more."""
        found = sorted(self._kept, key=attrgetter("line"))
        if len(self) > MAX_PROBLEMS:
            last = found[MAX_PROBLEMS - 1]
            more = len(self) - MAX_PROBLEMS + 1
            found[MAX_PROBLEMS - 1 :] = [Problem(last.line, "", f"and {more} more problems from here on")]
        return found


class Unreadable(ValueError):
    """Octets that are no text, or are too many; the message names the mend."""


def decode(octets: bytes, encoding: str | None = None) -> str:
    """Return the text of a file: by its byte order mark, else UTF-8, else `encoding` where one is given.

    Raises: Unreadable; LookupError where there is no such encoding.
    """
    if len(octets) > MAX_OCTETS:
        raise Unreadable(f"the file has {len(octets)} octets, at most {MAX_OCTETS} are read; split it")
    if octets.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        try:
            return octets.decode("utf-16")
        except UnicodeDecodeError as e:
            raise Unreadable(f"the file says it is UTF-16 and is not (octet {e.start}); save it as UTF-8") from None
    try:
        return octets.removeprefix(BOM_UTF8).decode()
    except UnicodeDecodeError as e:
        at = e.start
    if encoding is None:
        raise Unreadable(f"the file is neither UTF-8 nor UTF-16 (octet {at}); save it as UTF-8")
    try:
        return octets.decode(encoding)
    except UnicodeError:  # some encodings say no more than this
        raise Unreadable(f"the file is neither UTF-8 (octet {at}) nor {encoding}") from None


def quoted(octets: bytes, at_most: int = 40) -> str:
    """Return the beginning of some octets as a message shows it."""
    return repr(octets[:at_most].decode("utf-8", "backslashreplace"))


def rows(text: str, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of each row that is not blank; add a problem for each that is not CSV, and go on."""
    text = text.removeprefix("\ufeff")
    line, separator = 1, None
    head = text[:200].lower()
    if head.startswith(("#type", _SAYS_SEPARATOR)):  # PowerShell's Export-Csv; a spreadsheet's hint to itself
        first, _, text = text.partition("\n")
        line = 2
        hint = first.strip()[len(_SAYS_SEPARATOR) :]
        separator = hint if head.startswith(_SAYS_SEPARATOR) and hint in (",", ";", "\t") else None
    separator = separator or _separator(text)
    source = io.StringIO(text, newline="")
    reader = csv.reader(source, delimiter=separator, strict=True)
    found = faults = 0
    while True:
        at = source.tell()
        here = line + reader.line_num
        try:
            cells = next(reader, None)
        except csv.Error as e:
            problems.add(here, "", f"not CSV: {_in_words(e)}")
            faults += 1
            if faults == _MAX_FAULTS:
                problems.add(here, "", f"{faults} rows are not CSV; nothing is read from here on")
                return
            # What an open quote swallowed is read again from the next line on, so that one row is lost and no more.
            source.seek(at)
            source.readline()
            line = here + 1
            reader = csv.reader(source, delimiter=separator, strict=True)
            continue
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        found += 1
        if found > MAX_ROWS:
            problems.add(here, "", f"more than {MAX_ROWS} rows; split the file")
            return
        yield here, cells


def _in_words(e: csv.Error) -> str:
    text = str(e)
    if "unexpected end" in text or "field limit" in text:
        return "a quote is opened and not closed"
    if "expected after" in text:
        return "a quote ends inside a value; a quote that belongs to the value is written twice"
    return text


def _separator(text: str) -> str:
    """Return the separator of the header line: the most frequent of comma, semicolon and tab."""
    start = next((i for i, c in enumerate(text) if c not in "\r\n"), len(text))
    ends = [at for at in (text.find("\n", start), text.find("\r", start)) if at >= 0]
    header = text[start : min(ends, default=len(text))]
    return max(",;\t", key=header.count)
