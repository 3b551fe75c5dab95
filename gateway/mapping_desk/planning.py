"""Planning: the merged table of several companies proposed for review, and taken over when it was looked at.

The companies are the sources that the stored identities were imported from, or files that were not imported yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gateway.mapping_desk.desk import Desk, DeskError
from gateway.mapping_desk.edit import Author
from gateway.mapping_desk.history import Made, made_since
from gateway.mapping_desk.transfer import Request, read_people
from gateway.mapping_desk.words import refused_as_json
from mappings import plan_sheet, store
from mappings.address import Address
from mappings.conflicts import Conflicts
from mappings.directory import MemoryDirectory
from mappings.merged import GIVEN, SOURCE, marks_of
from mappings.plan import Action, Company, Plan, Policy, PolicyError, companies_of, propose
from mappings.reach import Gap
from mappings.resolution import Direction
from mappings.tabular import Problem


@dataclass(frozen=True, slots=True)
class Companies:
    """Where the companies' directories come from: from `files`, or else from what is stored.

    `order` names companies that choose before the others; `homes` gives connectors by company, for files.
    """

    files: Sequence[str] = ()
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    order: Sequence[str] = ()
    homes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Proposal:
    """A plan with all that an operator should see before taking it over."""

    plan: Plan
    conflicts: Conflicts
    gaps: list[Gap]
    refused: list[tuple[str, Problem]]

    @property
    def counts(self) -> dict[Action, int]:
        return {action: sum(row.action is action for row in self.plan.rows) for action in Action}

    def sheet(self) -> bytes:
        """Return the rows as CSV, with a byte order mark, without which spreadsheets take it for a code page."""
        return plan_sheet.write(self.plan.rows).encode("utf-8-sig")

    def as_json(self) -> dict[str, Any]:
        return {
            "actions": {action.value: count for action, count in self.counts.items()},
            "rows": [
                {
                    "action": row.action.value,
                    "name": row.name,
                    "company": row.company,
                    "new_primary": None if row.new_primary is None else str(row.new_primary),
                    "reason": row.reason,
                    "conflict": row.conflict,
                    "join_with": row.join_with,
                    "key": row.key,
                }
                for row in self.plan.rows
            ],
            "collisions": [str(one) for one in self.plan.collisions],
            "conflicts": [str(one) for one in self.conflicts],
            "unreachable": [str(gap) for gap in self.gaps],
            "refused": refused_as_json(self.refused),
        }


def plan(desk: Desk, companies: Companies, policy: Policy) -> Proposal:
    """Propose the merged table of some companies."""
    found, refused, _ = _directories(desk, companies)
    try:
        made = propose(found, policy, desk.networks)
    except PolicyError as e:
        raise DeskError(str(e)) from None
    table = desk.table(MemoryDirectory(made.outcome))

    def shown(address: Address, network: str) -> Address:
        return table.translate(address, network, Direction.OUTWARD).address

    networks = sorted(set(desk.config.homes.values()))
    return Proposal(made, made.conflicts(), made.unreachable(networks, shown), refused)


def apply(desk: Desk, author: Author, sheet: Path, companies: Companies, policy: Policy) -> Made:
    """Take a reviewed plan over, as one revision."""
    try:
        octets = sheet.read_bytes()
    except OSError as e:
        raise DeskError(f"{sheet} cannot be read: {e.strerror}") from None
    desk.begin()
    found, _, revision = _directories(desk, companies)
    try:
        decision, problems = plan_sheet.apply(octets, found, policy)
    except PolicyError as e:
        raise DeskError(str(e)) from None
    if problems:
        raise DeskError(*(f"{sheet}, {problem}" for problem in problems))
    with desk.changing() as connection:
        why = author.why or f"the plan {sheet.name}"
        store.apply(connection, decision.changes(), who=author.who, why=why, at=desk.clock(), expected=revision)
        return made_since(connection, revision)


def _directories(desk: Desk, companies: Companies) -> tuple[list[Company], list[tuple[str, Problem]], int]:
    """Return the companies, what of their files cannot be used, and the revision that the stored ones are of."""
    directory, revision = desk.snapshot()
    refused: list[tuple[str, Problem]] = []
    if companies.files:
        found = []
        for name in companies.files:
            company, problems = _from_file(desk, name, companies)
            found.append(company)
            refused += [(name, problem) for problem in problems]
    else:
        found = companies_of(directory.identities())
        if not found:
            raise DeskError("nobody is stored yet; import the companies' directories first, or name their files")
    labels = [company.label for company in found]
    for label in (*companies.order, *companies.homes):
        if label not in labels:
            raise DeskError(f"there is no company {label!r}; there are: {', '.join(labels)}")
    ranks = {label: n for n, label in enumerate(companies.order)}
    return sorted(found, key=lambda company: ranks.get(company.label, len(ranks))), refused, revision


def _from_file(desk: Desk, name: str, companies: Companies) -> tuple[Company, Sequence[Problem]]:
    label = Path(name).name.partition(".")[0]
    request = Request([name], companies.format, companies.options, home=companies.homes.get(label))
    reading = read_people(desk, name, request)
    people = []
    for entry in reading.entries:
        who = entry.identity
        # What an import of the file would note, so that a later one knows everybody again.
        notes = {(SOURCE, label), (GIVEN + label, marks_of(who))}
        people.append(replace(who, attributes=tuple(sorted({*who.attributes, *notes}))))
    return Company(label, people), reading.problems
