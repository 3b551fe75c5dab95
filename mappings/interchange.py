"""Interchange: identities as CSV, in and out; the form in which nothing of them is lost.

The columns are `name`, `home`, `kind` (person, group, room, device, contact; empty is person), then one per network
with its addresses, parted by `;` (one inside an address is written `\\;`). The first not marked `former:` is the
primary there.

    name,home,kind,smtp,mhs
    Ann Lee,oldmhs,person,ann.lee@merged.example;ann@acme.example;former:al@acme.example,ann@sales

The mark before an address may also be `primary:` or `alias:`, and say from when until when it is held, in UTC:
`until 2026-07-01: ann@acme.example` or `former since 2026-07-01T12:30:00Z until 2027-01-01: ann@acme.example`.

Columns that stand only where they are needed:
- `stage` (before, coexisting, cutting, moved, external) and `copy_home`, a second connector that gets copies;
- `members` of a group, each with its network in front (`smtp:bob@far.example;mhs:ann@sales`), `owner`, the address
  that its reports go to, and `expand`, `no` where its home expands it;
- `other`, addresses on networks that are not installed, each with its network in front;
- `attributes`, as `name=value` parted by `;`. In a name and a value `\\`, `;`, in a name `=`, and a blank at either end
  are written with `\\` before them.

Promises: a row with a mistake is not applied, and every mistake is named by line and column; where rows claim one
address at one time none of them is applied; what `write_csv` wrote, `read_csv` reads back to equal identities.
Source: RFC 4180; the separator may also be `;` or a tab, the text UTF-8 or UTF-16 by its byte order mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from typing import Final, TypeVar

from mappings.address import Address, AddressError
from mappings.cells import FIXED, pairs_of, parse_cell, parts_of, read_mark
from mappings.checks import overlap
from mappings.identity import Held, Identity, Kind, Role, Stage
from mappings.interchange_writer import write_csv, write_table
from mappings.network import Registry, registry
from mappings.tabular import MAX_FIELD, MAX_PROBLEMS, Problem, Problems, Unreadable, decode, rows

__all__ = [
    "FIXED",
    "MAX_PROBLEMS",
    "Entry",
    "Problem",
    "Table",
    "read_csv",
    "read_table",
    "without_conflicts",
    "write_csv",
    "write_table",
]

ATTRIBUTE: Final = "attribute."
"""Begins the name under which `read_table` takes a file's column for one attribute."""
MAX_COLUMNS: Final = 64
MAX_CELL: Final = 16384

_LONG: Final = frozenset({"members", "attributes", "other"})
_Choice = TypeVar("_Choice", bound=Enum)
_YES: Final = {"": True, "yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Entry:
    """An identity, and the line of the file that it begins on."""

    line: int
    identity: Identity


@dataclass(frozen=True, slots=True)
class Table:
    """What a file of identities holds: `columns` are those that it has, by the names of this form."""

    entries: list[Entry]
    problems: list[Problem]
    columns: frozenset[str]
    ignored: tuple[str, ...] = ()
    """The headers of columns that were not asked for."""


def read_csv(source: str | bytes, *, networks: Registry | None = None) -> tuple[list[Identity], list[Problem]]:
    """Return the identities of the rows that are right, and the problems of the others, in the order of lines.

    At most MAX_PROBLEMS are listed; the last one then says that there are more.
    """
    networks = networks if networks is not None else registry()
    try:
        text = source if isinstance(source, str) else decode(source)
    except Unreadable as e:
        return [], [Problem(1, "", str(e))]
    table = read_table(text, networks)
    return [entry.identity for entry in table.entries], table.problems


def read_table(text: str, networks: Registry, wanted: Mapping[str, Sequence[str]] | None = None) -> Table:
    """Read a text of CSV.

    `wanted` names the file's own headers for each column of this form, where they differ from it; an attribute's is
    `attribute.NAME`. Of several headers the values are joined, the addresses by `;`, other texts by a blank. Where it
    is given the file's other columns are ignored.
    """
    problems = Problems()
    entries: list[Entry] = []
    header: _Header | None = None
    width = 0
    for line, cells in rows(text, problems):
        if header is None:
            header = (
                _header(cells, line, networks, problems) if wanted is None else _chosen(cells, line, wanted, problems)
            )
            if header is None:
                return Table([], problems.in_order(), frozenset())
            width = len(cells)
            continue
        before = len(problems)
        identity = _Row(header, cells, line, networks, problems).identity()
        if len(cells) > width:
            problems.add(line, "", f"the row has {len(cells)} fields, the header {width}")
        if identity is not None and len(problems) == before:
            entries.append(Entry(line, identity))
    if header is None and not problems:
        problems.add(1, "", "the file is empty; its first line names the columns: name,home,kind,smtp")
    applied = without_conflicts(entries, problems)
    columns = frozenset(header.places) if header is not None else frozenset()
    return Table(applied, problems.in_order(), columns, header.ignored if header is not None else ())


def without_conflicts(entries: Sequence[Entry], problems: Problems) -> list[Entry]:
    """Return the entries whose addresses no other one claims at the same time; add a problem for each that does."""
    claims: dict[Address, list[tuple[Entry, Held]]] = {}
    for entry in entries:
        for held in entry.identity.addresses:
            claims.setdefault(held.address, []).append((entry, held))
    refused: set[int] = set()
    for address, claimants in claims.items():
        if len(claimants) < 2:
            continue
        if len(claimants) > _MAX_CLAIMANTS:
            refused |= {id(entry) for entry, _ in claimants}
            message = f"{address} is claimed by {len(claimants)} rows; none of them is applied"
            for entry, _ in claimants:
                problems.add(entry.line, address.network, message)
            continue
        for entry, held in claimants:
            others = [other for other, theirs in claimants if other is not entry and overlap(held, theirs)]
            if not others:
                continue
            refused.add(id(entry))
            named = ", ".join(f"line {other.line} ({other.identity.name})" for other in others[:5])
            more = " and others" if len(others) > 5 else ""
            message = f"{address} is claimed by {named}{more} too; none of these rows is applied"
            problems.add(entry.line, address.network, message)
    return [entry for entry in entries if id(entry) not in refused]


_MAX_CLAIMANTS: Final = 200
"""Of one address, each of whom is compared with each; where more claim it they do not do so one after the other."""


# -- reading


@dataclass(frozen=True, slots=True)
class _Header:
    """Where the columns stand: `places` of each by its name in this form, `shown` is how the file calls it."""

    places: dict[str, tuple[int, ...]]
    shown: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


def _header(cells: list[str], line: int, networks: Registry, problems: Problems) -> _Header | None:
    """Return the columns of a file in this form; None where no row can be read."""
    places: dict[str, tuple[int, ...]] = {}
    known = (*FIXED, *networks.names)
    if len(cells) > MAX_COLUMNS:
        problems.add(line, "", f"there are {len(cells)} columns, at most {MAX_COLUMNS} are read")
        return None
    for place, cell in enumerate(cells):
        name = cell.strip().lower()
        name = name if name in FIXED else networks.canonical_name(name)
        if name not in known:
            near = get_close_matches(name, known, 1)
            mend = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            problems.add(line, cell.strip(), f"no such column, and no such network is installed; {mend}")
        elif name in places:
            problems.add(line, cell.strip(), "the column stands twice")
            return None
        places[name] = (place,)
    if "name" not in places:
        problems.add(line, "", "there is no column name; the first line names the columns")
        return None
    return _Header(places)


def _chosen(cells: list[str], line: int, wanted: Mapping[str, Sequence[str]], problems: Problems) -> _Header | None:
    """Return the columns that were asked for by a file's own headers; None where one is missing."""
    found: dict[str, int] = {}
    for place, cell in enumerate(cells):
        found.setdefault(cell.strip().casefold(), place)
    places: dict[str, tuple[int, ...]] = {}
    shown: dict[str, str] = {}
    missing = False
    for name, headers in wanted.items():
        for header in headers:
            if header.casefold() not in found:
                there = ", ".join(cell.strip() for cell in cells[:MAX_COLUMNS])
                problems.add(line, header, f"there is no such column for {name}; there are: {there}")
                missing = True
        places[name] = tuple(found[header.casefold()] for header in headers if header.casefold() in found)
        shown[name] = headers[0]
    if missing:
        return None
    used = {place for several in places.values() for place in several}
    ignored = tuple(cell.strip() for place, cell in enumerate(cells) if place not in used and cell.strip())
    return _Header(places, shown, ignored[:MAX_COLUMNS])


class _Row:
    """One row on its way to an identity."""

    __slots__ = ("_cells", "_header", "_line", "_networks", "_problems")

    def __init__(self, header: _Header, cells: list[str], line: int, networks: Registry, problems: Problems) -> None:
        self._header = header
        self._cells = cells
        self._line = line
        self._networks = networks
        self._problems = problems

    def identity(self) -> Identity | None:
        """Return the identity, or None; where a problem was added it is not to be used."""
        name = self._text("name")
        if not name or not name.isprintable():
            self._mistake("name", "a name is needed" if not name else "a name has no control characters")
        kind = self._one_of(Kind, "kind") or Kind.PERSON
        stage = self._one_of(Stage, "stage")
        held = self._held()
        current = any(h.role is not Role.FORMER for h in held)
        if not held and not self._has_addresses():
            self._mistake("", "the row has no address")
        elif held and not current:
            self._mistake("", "the row has former addresses only, so mail to them could go nowhere")
        members = self._addresses("members")
        owners = self._addresses("owner")
        if len(owners) > 1:
            self._mistake("owner", "a group has one owner")
        if kind is not Kind.GROUP and (members or owners):
            self._mistake(
                "members" if members else "owner", "a group alone has members and an owner; write group as kind"
            )
        expand = _YES.get(self._text("expand").lower())
        if expand is None:
            self._mistake("expand", "write yes or no")
        attributes = self._attributes()
        if not name or not current:
            return None
        return Identity(
            name,
            tuple(held),
            kind,
            self._text("home") or None,
            stage,
            self._text("copy_home") or None,
            tuple(sorted(attributes)),
            tuple(members),
            owners[0] if owners else None,
            expand is not False,
        )

    def _held(self) -> list[Held]:
        """Return the current addresses in order, then the former ones."""
        current: list[Held] = []
        former: list[Held] = []
        seen: dict[Address, list[Held]] = {}
        started: set[str] = set()
        for column in self._header.places:
            if not self._has_network(column):
                continue
            network = None if column == "other" else column
            for text in self._parts(column):
                try:
                    mark, bare = read_mark(text)
                    address = parse_cell(bare, network, self._networks)
                except AddressError as e:
                    self._mistake(column, f"{bare!r}: {e.message} [{e.rule}]")
                    continue
                except ValueError as e:
                    self._mistake(column, f"{text!r}: {e}")
                    continue
                role = mark.role
                if role is None:
                    role = Role.ALIAS if address.network in started else Role.PRIMARY
                if role is not Role.FORMER:
                    started.add(address.network)
                held = Held(address, role, mark.since, mark.until)
                others = seen.setdefault(address, [])
                if any(overlap(held, other) for other in others):
                    self._mistake(column, f"{address} stands twice in this row")
                others.append(held)
                (former if role is Role.FORMER else current).append(held)
        return current + former

    def _has_addresses(self) -> bool:
        return any(
            place < len(self._cells) and self._cells[place].strip()
            for column, places in self._header.places.items()
            if self._has_network(column)
            for place in places
        )

    def _has_network(self, column: str) -> bool:
        return column == "other" or (
            column not in FIXED and not column.startswith(ATTRIBUTE) and self._networks.is_installed(column)
        )

    def _addresses(self, column: str) -> list[Address]:
        found = []
        for text in self._parts(column):
            try:
                found.append(self._networks.parse(text))
            except AddressError as e:
                self._mistake(column, f"{text!r}: {e.message} [{e.rule}]")
            except ValueError as e:
                self._mistake(column, f"{text!r}: {e}")
        return found

    def _attributes(self) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for text, pair in pairs_of(self._text("attributes")):
            if pair is None:
                self._mistake("attributes", f"{text!r} is no attribute; write name=value")
            else:
                found.add(pair)
        for column in self._header.places:
            if column.startswith(ATTRIBUTE) and (value := self._text(column)):
                found.add((column[len(ATTRIBUTE) :], value))
        return found

    def _one_of(self, choices: type[_Choice], column: str) -> _Choice | None:
        word = self._text(column).lower()
        if not word:
            return None
        try:
            return choices(word)
        except ValueError:
            known = ", ".join(choice.value for choice in choices)
            self._mistake(column, f"{word!r} is no {column}; there are: {known}")
            return None

    def _parts(self, column: str) -> list[str]:
        return parts_of(self._text(column, ";"))

    def _text(self, column: str, joint: str = " ") -> str:
        """Return the text of a column; that of several of the file's is joined."""
        places = self._header.places.get(column, ())
        cells = self._cells
        text = joint.join(cells[place].strip() for place in places if place < len(cells) and cells[place].strip())
        limit = MAX_FIELD if column in _LONG else MAX_CELL
        if len(text) > limit:
            self._mistake(column, f"{len(text)} characters; at most {limit} are read")
            return ""
        return text

    def _mistake(self, column: str, message: str) -> None:
        self._problems.add(self._line, self._header.shown.get(column, column), message)
