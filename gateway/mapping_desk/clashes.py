"""Clashes: addresses claimed twice and look-alikes, of the stored identities or of files before they are imported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gateway.mapping_desk.desk import Desk
from gateway.mapping_desk.transfer import read_file
from mappings.conflicts import AT_MOST, Conflict, Conflicts, Severity, find_conflicts
from mappings.identity import Identity
from mappings.tabular import Problem

_NUMBER: Final = re.compile(r"\(number (\d{1,9})\)")


@dataclass(slots=True)
class Clashes:
    """What was found, and which rows of the files could not be read."""

    conflicts: Conflicts
    refused: list[tuple[str, Problem]] = field(default_factory=list)

    def of(self, severities: frozenset[Severity]) -> Iterator[Conflict]:
        """Yield the conflicts of some severities, the gravest first."""
        for severity in Severity:
            if severity in severities:
                yield from (one for one in self.conflicts if one.severity is severity)


def clashes(
    desk: Desk,
    files: Sequence[str] = (),
    format: str | None = None,
    options: Mapping[str, str] | None = None,
    *,
    at_most: int = AT_MOST,
) -> Clashes:
    """Look for conflicts among the stored identities; where files are named, among what these hold instead."""
    if not files:
        directory = desk.directory()
        return Clashes(find_conflicts(directory.identities, at_most=at_most))
    people: list[Identity] = []
    places: list[str] = []
    refused: list[tuple[str, Problem]] = []
    for name in files:
        reading = read_file(desk, name, format, options or {})
        for entry in reading.entries:
            places.append(f"{name}, line {entry.line}")
            people.append(replace(entry.identity, id=len(places)))
        refused += [(name, problem) for problem in reading.problems]
    found = find_conflicts(lambda: people, at_most=at_most)
    found.listed = [_placed(one, places) for one in found.listed]
    return Clashes(found, refused)


def _placed(conflict: Conflict, places: Sequence[str]) -> Conflict:
    """Tell people of files by their places, since they have no numbers yet."""

    def place(number: re.Match[str]) -> str:
        return f"({places[int(number[1]) - 1]})" if 0 < int(number[1]) <= len(places) else number[0]

    text, mend = (_NUMBER.sub(place, words) for words in (conflict.text, conflict.mend))
    return replace(conflict, text=text, mend=mend, ids=())
