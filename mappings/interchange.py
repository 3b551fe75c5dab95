"""Interchange: identities as CSV, in and out.

The columns are `name`, `home`, `kind` (person, group, room, device; empty is person), then one per network with its
addresses, parted by `;` (one inside an address is written `\\;`). The first not marked `former:` is the primary there.

    name,home,kind,smtp,mhs
    Ann Lee,oldmhs,person,ann.lee@merged.example;ann@acme.example;former:al@acme.example,ann@sales

Promises: a row with a mistake is not applied, and every mistake is named by line and column; where rows claim one
address none of them is applied; what `write_csv` wrote, `read_csv` reads back to equal identities.
Source: RFC 4180; the separator may also be `;` or a tab, the text UTF-8 or UTF-16 by its byte order mark.
"""

from __future__ import annotations

import csv
import io
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from mappings.address import Address, AddressError
from mappings.identity import Held, Identity, Kind, Role, addresses
from mappings.network import Registry, registry

FIXED: Final = ("name", "home", "kind")
MAX_PROBLEMS: Final = 1000
MAX_COLUMNS: Final = 64
MAX_CELL: Final = 16384

_FORMER: Final = "former:"
_PARTS: Final = re.compile(r"(?:\\;|[^;])+")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where: `line` is counted from 1, `column` is the header's name, empty for the whole row."""

    line: int
    column: str
    message: str

    def __str__(self) -> str:
        return f"line {self.line}{f', column {self.column}' if self.column else ''}: {self.message}"


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    identity: Identity


def read_csv(source: str | bytes, *, networks: Registry | None = None) -> tuple[list[Identity], list[Problem]]:
    """Return the identities of the rows that are right, and the problems of the others, in the order of lines.

    At most MAX_PROBLEMS are listed; the last one then says that there are more.
    """
    networks = networks if networks is not None else registry()
    problems: list[Problem] = []
    try:
        text = source if isinstance(source, str) else _decode(source)
    except UnicodeDecodeError as e:
        return [], [Problem(1, "", f"the file is neither UTF-8 nor UTF-16 (octet {e.start}); save it as UTF-8")]
    text = text.removeprefix("\ufeff")
    skipped = 0
    if text.startswith("#TYPE"):  # PowerShell's Export-Csv
        text, skipped = text.partition("\n")[2], 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
    rows: list[_Row] = []
    columns: list[str] | None = None
    while True:
        line = reader.line_num + 1 + skipped
        try:
            cells = next(reader, None)
        except csv.Error as e:
            problems.append(Problem(line, "", f"not CSV from here on: {e}"))
            break
        if cells is None:
            break
        if not any(cell.strip() for cell in cells):
            continue
        if columns is None:
            columns = _header(cells, line, networks, problems)
            if columns is None:
                return [], problems
            continue
        before = len(problems)
        identity = _identity(dict(zip(columns, cells, strict=False)), line, networks, problems)
        if len(cells) > len(columns):
            problems.append(Problem(line, "", f"the row has {len(cells)} fields, the header {len(columns)}"))
        if identity is not None and len(problems) == before:
            rows.append(_Row(line, identity))
    if columns is None:
        problems.append(Problem(1, "", "the file is empty; its first line names the columns: name,home,kind,smtp"))
    applied = _without_conflicts(rows, problems)
    problems.sort(key=lambda p: p.line)
    if len(problems) > MAX_PROBLEMS:
        more = len(problems) - MAX_PROBLEMS + 1
        last = problems[MAX_PROBLEMS - 1]
        problems[MAX_PROBLEMS - 1 :] = [Problem(last.line, "", f"and {more} more problems from here on")]
    return applied, problems


def write_csv(identities: Iterable[Identity]) -> str:
    """Return identities as CSV, with a column for each network that any of them has an address on, smtp first.

    Raises: ValueError where an address ends in a backslash or begins or ends in a blank, and could not be read back.
    """
    identities = list(identities)
    networks = sorted({h.address.network for i in identities for h in i.addresses}, key=lambda n: (n != "smtp", n))
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*FIXED, *networks))
    for identity in identities:
        cells = (_cell(list(identity.of(network))) for network in networks)
        writer.writerow((identity.name, identity.home or "", identity.kind.value, *cells))
    return out.getvalue()


def _cell(held: Sequence[Held]) -> str:
    order = {Role.PRIMARY: 0, Role.ALIAS: 1, Role.FORMER: 2}
    texts = [
        (_FORMER if h.role is Role.FORMER else "") + h.address.value for h in sorted(held, key=lambda h: order[h.role])
    ]
    cell = ";".join(text.replace(";", "\\;") for text in texts)
    if list(_parts(cell)) != texts:
        raise ValueError(f"these addresses cannot be written to CSV: {cell}")
    return cell


def _decode(octets: bytes) -> str:
    if octets.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return octets.decode("utf-16")
    return octets.removeprefix(BOM_UTF8).decode()


def _separator(text: str) -> str:
    """Return the separator of the header line: the most frequent of comma, semicolon and tab."""
    header = text.lstrip("\r\n").partition("\n")[0]
    return max(",;\t", key=header.count)


def _header(cells: list[str], line: int, networks: Registry, problems: list[Problem]) -> list[str] | None:
    """Return the columns' names, those of networks in canonical form; None where no row can be read."""
    columns = []
    known = (*FIXED, *networks.names)
    if len(cells) > MAX_COLUMNS:
        problems.append(Problem(line, "", f"there are {len(cells)} columns, at most {MAX_COLUMNS} are read"))
        return None
    for cell in cells:
        name = cell.strip().lower()
        name = name if name in FIXED else networks.canonical_name(name)
        if name not in known:
            near = get_close_matches(name, known, 1)
            mend = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            problems.append(Problem(line, cell.strip(), f"no such column, and no such network is installed; {mend}"))
        elif name in columns:
            problems.append(Problem(line, cell.strip(), "the column stands twice"))
            return None
        columns.append(name)
    if "name" not in columns:
        problems.append(Problem(line, "", "there is no column name; the first line names the columns"))
        return None
    return columns


def _identity(cells: dict[str, str], line: int, networks: Registry, problems: list[Problem]) -> Identity | None:
    name = cells.get("name", "").strip()
    if not name or not name.isprintable():
        problems.append(Problem(line, "name", "a name is needed" if not name else "a name has no control characters"))
    kind = Kind.PERSON
    word = cells.get("kind", "").strip().lower()
    if word:
        try:
            kind = Kind(word)
        except ValueError:
            kinds = ", ".join(k.value for k in Kind)
            problems.append(Problem(line, "kind", f"{word!r} is no kind; there are: {kinds}"))
    current: list[Address] = []
    former: list[Address] = []
    seen: set[Address] = set()
    for column, cell in cells.items():
        if column in FIXED or not networks.is_installed(column):
            continue
        if len(cell) > MAX_CELL:
            problems.append(Problem(line, column, f"{len(cell)} characters; at most {MAX_CELL} are read"))
            continue
        for text in _parts(cell):
            is_former = text.lower().startswith(_FORMER)
            bare = text[len(_FORMER) :].strip() if is_former else text
            try:
                address = networks.parse_in(column, _without_prefix(bare, column, networks))
            except AddressError as e:
                problems.append(Problem(line, column, f"{bare!r}: {e.message} [{e.rule}]"))
                continue
            if address in seen:
                problems.append(Problem(line, column, f"{address} stands twice in this row"))
            seen.add(address)
            (former if is_former else current).append(address)
    if not any(cells.get(network, "").strip() for network in networks.names):
        problems.append(Problem(line, "", "the row has no address"))
    elif former and not current:
        problems.append(Problem(line, "", "the row has former addresses only, so mail to them could go nowhere"))
    if not name or not current:
        return None
    home = cells.get("home", "").strip() or None
    return Identity(name, addresses(*current, former=tuple(former)), kind, home)


def _parts(cell: str) -> Iterator[str]:
    return (part for text in _PARTS.findall(cell) if (part := text.replace("\\;", ";").strip()))


def _without_prefix(text: str, column: str, networks: Registry) -> str:
    """Return the text without its network's prefix, which may stand there though the column says it already."""
    prefix, colon, value = text.partition(":")
    return value if colon and prefix.isalnum() and networks.canonical_name(prefix.strip()) == column else text


def _without_conflicts(rows: Sequence[_Row], problems: list[Problem]) -> list[Identity]:
    """Return the identities of rows whose addresses no other row claims; add a problem for each that does."""
    claims: dict[Address, list[_Row]] = {}
    for row in rows:
        for held in row.identity.addresses:
            claims.setdefault(held.address, []).append(row)
    refused: set[int] = set()
    for address, claimants in claims.items():
        if len(claimants) < 2:
            continue
        for row in claimants:
            others = [f"line {r.line} ({r.identity.name})" for r in claimants if r is not row]
            shown = ", ".join(others[:5]) + (" and others" if len(others) > 5 else "")
            message = f"{address} is claimed by {shown} too; none of these rows is applied"
            problems.append(Problem(row.line, address.network, message))
            refused.add(row.line)
    return [row.identity for row in rows if row.line not in refused]
