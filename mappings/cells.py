"""Cells: what stands in one field of the CSV of identities: marked addresses, and attributes.

Promises: each part is written so that it is read back as it was, or the writer can tell that it is not.
The forms are described in `mappings.interchange`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import Final

from mappings.address import Address
from mappings.identity import Held, Role
from mappings.network import Registry

FIXED: Final = (
    "name",
    "home",
    "kind",
    "stage",
    "copy_home",
    "members",
    "owner",
    "expand",
    "other",
    "attributes",
)
"""The columns that are not those of networks."""

_PARTS: Final = re.compile(r"(?:\\;|[^;])+")
_PAIRS: Final = re.compile(r"(?:\\.|[^;])+", re.DOTALL)
_PAIR: Final = re.compile(r"((?:\\.|[^=\\])*)=(.*)", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\([\\;= ])")
_TIME: Final = r"([0-9TZE:.+@-]{1,40})"
_MARK: Final = re.compile(rf"(?: (primary|alias|former))?(?: since {_TIME})?(?: until {_TIME})?:[ \t]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mark:
    """What stands before an address: its role, None where its place tells it, and the time it is held."""

    role: Role | None = None
    since: float | None = None
    until: float | None = None


_UNMARKED: Final = Mark()


def read_mark(text: str) -> tuple[Mark, str]:
    """Return the mark before an address, and the rest. Raises: ValueError where a time is none."""
    found = _MARK.match(f" {text}") if ":" in text else None
    if found is None or found.lastindex is None:
        return _UNMARKED, text
    role, since, until = found.groups()
    mark = Mark(
        None if role is None else Role(role.lower()),
        None if since is None else _moment(since),
        None if until is None else _moment(until),
    )
    return mark, text[found.end() - 1 :]


def _moment(text: str) -> float:
    """Return the time of `2026-07-01`, `2026-07-01T12:30:00Z` or, exact to the last digit, `@1782864000.1`."""
    try:
        if text.startswith("@"):
            found = float(text[1:])
        else:
            moment = datetime.fromisoformat(text)
            found = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        found = float("nan")
    if not isfinite(found):
        raise ValueError(f"{text!r} is no time; write 2026-07-01 or 2026-07-01T12:30:00Z")
    return found


def parse_cell(text: str, network: str | None, networks: Registry) -> Address:
    """Read an address of a network's column, which may repeat the network in front; None stands for `other`.

    Raises: AddressError.
    """
    if network is None:
        return networks.parse(text)
    prefix, colon, value = text.partition(":")
    if colon and prefix.isalnum() and networks.canonical_name(prefix.strip()) == network:
        text = value
    return networks.parse_in(network, text)


def parts_of(cell: str) -> list[str]:
    """Return the parts of a cell, without the blanks around them."""
    if "\\" not in cell:
        return [part for text in cell.split(";") if (part := text.strip())]
    return [part for text in _PARTS.findall(cell) if (part := text.replace("\\;", ";").strip())]


def pairs_of(cell: str) -> Iterator[tuple[str, tuple[str, str] | None]]:
    """Yield (text, attribute) of each part of a cell; None for one that is no attribute."""
    for text in _PAIRS.findall(cell):
        if not text.strip():
            continue
        pair = _PAIR.fullmatch(text)
        name = _unescaped(pair[1]) if pair is not None else ""
        yield text.strip(), None if pair is None or not name else (name, _unescaped(pair[2]))


def _unescaped(text: str) -> str:
    text = text.lstrip(" ")
    bare = text.rstrip(" ")
    if len(bare) < len(text) and (len(bare) - len(bare.rstrip("\\"))) % 2:
        bare += " "
    return _ESCAPED.sub(r"\1", bare)


def mark_of(held: Held, expected: Role) -> str:
    """Return what is written before an address, empty where its place tells all. Raises: ValueError for no time."""
    words = [held.role.value] if held.role is not expected else []
    words += [
        f"{word} {_shown(time)}" for word, time in (("since", held.since), ("until", held.until)) if time is not None
    ]
    if not words:
        return ""
    return " ".join(words) + (":" if words == [Role.FORMER.value] else ": ")


def _shown(time: float) -> str:
    if not isfinite(time):
        raise ValueError(f"{time} is no time")
    try:
        moment = datetime.fromtimestamp(time, UTC)
    except (ValueError, OverflowError, OSError):
        return f"@{time!r}"
    text = moment.isoformat().replace("+00:00", "Z").removesuffix("T00:00:00Z")
    return text if _moment(text) == time else f"@{time!r}"


def escaped(text: str, also: str = "") -> str:
    """Return a name or value of an attribute as it is written; `also` are further signs that end it."""
    for sign in ("\\", ";", *also):
        text = text.replace(sign, f"\\{sign}")
    if len(text) > 1 and text.endswith(" "):
        text = f"{text[:-1]}\\ "
    return f"\\{text}" if text.startswith(" ") else text


def is_split(text: str) -> bool:
    """Tell whether a text holds what would end a line of CSV, or cannot be written as UTF-8."""
    return "\r" in text or any("\ud800" <= c <= "\udfff" for c in text)
