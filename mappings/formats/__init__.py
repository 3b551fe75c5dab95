"""Formats: what other systems' directories and maps are written in, one module a format.

Promises: a format reads any octets without a fault: what it cannot take is a problem with its line, and the rest is
read; what it writes, the system whose format it is takes, and what the form cannot carry is a problem, never lost
in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from mappings.identity import Identity
from mappings.interchange import Problem
from mappings.network import Registry
from mappings.rule import Rule


@dataclass(frozen=True, slots=True)
class Entry:
    """An identity, and the line of the file that it begins on. Its attribute `ref` is its key in the foreign system."""

    line: int
    identity: Identity


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file holds. `notes` say, in words, what belongs elsewhere: routes, and domains that are ours."""

    entries: list[Entry] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Written:
    """A file's octets, and what could not be written into it; `line` counts the identities from 1."""

    octets: bytes
    problems: list[Problem] = field(default_factory=list)


class Format(Protocol):
    """One format. `suffixes` are the ends of file names that it is known by. A format that is only read has no `write`.

    `options` are by name, as the module says; one that it does not know is none of its business.
    """

    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    def read(self, octets: bytes, options: Mapping[str, str], networks: Registry) -> Reading:
        """Return what the octets hold. Raises nothing, whatever they are."""
        ...

    def write(
        self, identities: Iterable[Identity], options: Mapping[str, str], networks: Registry, rules: Sequence[Rule] = ()
    ) -> Written:
        """Return identities, and rules where the form has a place for them, in this format. Raises nothing."""
        ...


FORMATS: Final[dict[str, Format]] = {}


def by_name(name: str) -> Format:
    """Return a format by its name. Raises: LookupError, with the names that there are."""
    try:
        return FORMATS[name]
    except KeyError:
        raise LookupError(f"there is no format {name!r}; there are: {', '.join(sorted(FORMATS))}") from None
