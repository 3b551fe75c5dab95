"""Columns: a foreign CSV, row by row, its cells by the names in its header."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mappings.tabular import Problems, rows

# `[Required]`, `[READ ONLY]` and such after a name in Google's header; `version:v1.0` over Microsoft's.
_REMARK: Final = re.compile(r" *\[[^\[\]]*\]\Z")
_VERSION: Final = "version:"


class Row:
    """One row. Names are in lower case, as `header_name` makes them."""

    __slots__ = ("_cells", "_places", "line")

    def __init__(self, line: int, cells: Sequence[str], places: Mapping[str, int]) -> None:
        self.line = line
        self._cells = cells
        self._places = places

    def text(self, *names: str) -> str:
        """Return the first of several columns that says something, without the blanks around it."""
        for name in names:
            place = self._places.get(name)
            if place is not None and place < len(self._cells) and (text := self._cells[place].strip()):
                return text
        return ""

    def has(self, *names: str) -> bool:
        """Tell whether the file has one of several columns."""
        return any(name in self._places for name in names)


def header_name(text: str) -> str:
    """Return the name of a column as rows know it."""
    return _REMARK.sub("", text.strip()).lower()


def columns(text: str, problems: Problems, needed: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a CSV.

    Where the header has none of the `needed` columns that is a problem, and there are no rows.
    """
    places: dict[str, int] = {}
    for line, cells in rows(text, problems):
        if places:
            if len(cells) > len(places) and any(cell.strip() for cell in cells[len(places) :]):
                problems.add(line, "", f"the row has {len(cells)} fields, the header {len(places)}; it is left out")
                continue
            yield Row(line, cells, places)
        elif not cells[0].lower().startswith(_VERSION):
            for place, cell in enumerate(cells):
                # A name that stands twice keeps its first place, and the second a place of its own.
                name = header_name(cell)
                places[name if name not in places else f"{name}#{place}"] = place
            if not any(header_name(name) in places for name in needed):
                problems.add(line, "", f"none of these columns is there: {', '.join(needed)}; is it another format?")
                return
    if not places and not problems:
        problems.add(1, "", "the file is empty; its first line names the columns")
