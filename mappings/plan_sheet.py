"""Plan sheet: the rows of a plan as CSV, for review in a spreadsheet, and read back.

    action,name,company,old addresses,new primary,reason,conflict,join with,kind,key
    rename,Ann Lee,acme,smtp:ann@acme.example,ann.lee@merged.example,{first}.{last},,,person,acme smtp:ann@acme.example

Read back are the action (keep, rename, join, drop), the name, the new primary, whom to join with, and the key that
says whose row it is; the rest is for people. Rows may be in any order and may be left out, which leaves their
identities as they are.
Promises: what `write` wrote, `read` reads to rows that decide the same; a row with a mistake is named by line and
column; no cell is taken for a formula by a spreadsheet.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mappings.address import Address, AddressError
from mappings.identity import Held, Kind, Role
from mappings.naming import Company, Policy
from mappings.network import Registry, registry
from mappings.plan import Action, Decision, Row, decide
from mappings.tabular import Problem, Problems, Unreadable, decode, rows

COLUMNS: Final = (
    *("action", "name", "company", "old addresses", "new primary"),
    *("reason", "conflict", "join with", "kind", "key"),
)
_NEEDED: Final = ("action", "new primary", "key")
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_QUOTED: Final = re.compile(r"'+[=+\-@\t\r]")


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rows that were read, and the line of each."""

    rows: Sequence[Row]
    lines: Sequence[int]
    problems: Sequence[Problem]


def write(rows: Iterable[Row]) -> str:
    """Return the rows of a plan as CSV."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = (
            row.action.value, row.name, row.company, "; ".join(map(_shown, row.old)),
            "" if row.new_primary is None else row.new_primary.value, row.reason, row.conflict, row.join_with,
            row.kind.value, row.key,
        )  # fmt: skip
        writer.writerow(_harmless(cell) for cell in cells)
    return out.getvalue()


def read(octets: bytes, networks: Registry | None = None) -> Sheet:
    """Return the rows of a sheet that are right, and what is wrong with the others. Raises nothing."""
    networks = networks if networks is not None else registry()
    problems = Problems()
    found: list[Row] = []
    lines: list[int] = []
    try:
        text = decode(octets)
    except Unreadable as e:
        return Sheet((), (), [Problem(1, "", str(e))])
    columns: list[str] | None = None
    for line, cells in rows(text, problems):
        if columns is None:
            columns = [cell.strip().lower() for cell in cells]
            missing = [name for name in _NEEDED if name not in columns]
            if missing:
                problems.add(line, "", f"there is no column {missing[0]}; the first line of the plan names them")
                break
            continue
        row = _row(
            {name: _plain(cell.strip()) for name, cell in zip(columns, cells, strict=False)}, line, problems, networks
        )
        if row is not None:
            found.append(row)
            lines.append(line)
    if columns is None:
        problems.add(1, "", "the file is empty; its first line names the columns")
    return Sheet(found, lines, problems.in_order())


def apply(octets: bytes, companies: Sequence[Company], policy: Policy) -> tuple[Decision, list[Problem]]:
    """Return what a sheet decides for the directories that it was made of, and every problem.

    Where there is a problem nothing should be stored. Raises: PolicyError.
    """
    sheet = read(octets)
    decision = decide(sheet.rows, companies, policy)
    found = [
        *sheet.problems,
        *(Problem(sheet.lines[t.row] if sheet.lines else 1, t.column, t.message) for t in decision.troubles),
    ]
    return decision, sorted(found, key=lambda problem: problem.line)


def _row(cells: dict[str, str], line: int, problems: Problems, networks: Registry) -> Row | None:
    before = len(problems)
    word = cells.get("action", "").lower()
    action = Action.KEEP
    try:
        action = Action(word)
    except ValueError:
        words = ", ".join(each.value for each in Action)
        problems.add(line, "action", f"{word!r} is no action; there are: {words}")
    primary: Address | None = None
    text = cells.get("new primary", "")
    if text:
        try:
            primary = networks.parse_in("smtp", text.removeprefix("smtp:"))
        except AddressError as e:
            problems.add(line, "new primary", f"{text!r}: {e.message} [{e.rule}]")
    if not cells.get("key"):
        problems.add(line, "key", "there is no key; leave the one that the plan wrote")
    if len(problems) > before:
        return None
    join_with = cells.get("join with", "")
    return Row(
        cells["key"],
        action,
        cells.get("name", ""),
        cells.get("company", ""),
        Kind.PERSON,
        (),
        primary,
        join_with=join_with,
    )


def _shown(held: Held) -> str:
    return f"former {held.address}" if held.role is Role.FORMER else str(held.address)


def _harmless(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return "'" + cell if _FORMULA.match(cell) else cell


def _plain(cell: str) -> str:
    return cell[1:] if _QUOTED.match(cell) else cell
