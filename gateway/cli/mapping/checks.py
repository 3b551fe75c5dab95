"""`gatepost map check`, `conflicts` and `plan`: what an operator should know before others notice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.mapping.shared import (
    Columns,
    Options,
    Who,
    Why,
    author,
    columns_given,
    desk_of,
    options_given,
    pairs_given,
    tell_made,
    tell_refused,
    write_file,
)
from gateway.cli.options import AsJson, ConfigFile, fail, print_json

if TYPE_CHECKING:
    from gateway.mapping_desk.planning import Proposal
    from mappings.conflicts import Conflict


def check(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most findings shown.")] = 1000,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Look for whom and what mail does not reach, for rules that loop or never match or do not lead back."""
    from gateway.mapping_desk.check import Severity, counts_of
    from gateway.mapping_desk.check import check as look

    counts: Counter[Severity] = Counter()
    shown = []
    with desk_of(ctx, config, as_json=as_json) as desk:
        for finding in look(desk):
            counts[finding.severity] += 1
            if counts.total() > limit:
                continue
            if as_json:
                shown.append(finding.as_json())
            else:
                typer.echo(str(finding))
    is_well = not counts[Severity.ERROR]
    if as_json:
        print_json({"ok": is_well, "findings": shown, "more": max(0, counts.total() - limit)})
    else:
        if counts.total() > limit:
            typer.echo(f"and {counts.total() - limit} more")
        typer.echo(counts_of(counts))
    if not is_well:
        raise typer.Exit(1)


def conflicts(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="Look at what these hold, not at what is stored."),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", metavar="FORM", help="The form of the files. Absent: it is guessed.")
    ] = None,
    columns: Columns = None,
    options: Options = None,
    notes: Annotated[bool, typer.Option("--notes/--no-notes", help="Show what is only worth a look too.")] = True,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most conflicts of a kind shown.")] = 1000,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List addresses claimed twice, and those that people or systems take for each other's."""
    from gateway.mapping_desk.clashes import clashes
    from gateway.mapping_desk.words import refused_as_json
    from mappings.conflicts import Severity

    chosen = columns_given(columns, as_json) | options_given(options, as_json)
    with desk_of(ctx, config, as_json=as_json) as desk:
        found = clashes(desk, files or (), format, chosen, at_most=limit)
    shown = list(found.of(frozenset(Severity) - (frozenset() if notes else {Severity.NOTE})))
    more = found.conflicts.left_out.total()
    is_well = not any(one.severity is Severity.ERROR for one in shown)
    if as_json:
        told = {"conflicts": [_as_json(one) for one in shown], "more": more}
        print_json({"ok": is_well, **told, "refused": refused_as_json(found.refused)})
    else:
        tell_refused(found.refused)
        for one in shown:
            typer.echo(f"{one.severity.value}: {one.text}")
            typer.echo(f"  {one.mend}")
        if more:
            typer.echo(f"and {more} more")
        counts = Counter(one.severity for one in shown)
        typer.echo(", ".join(f"{counts[s]} {s.value}{'' if counts[s] == 1 else 's'}" for s in Severity))
    if not is_well:
        raise typer.Exit(1)


def plan(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE...]", help="The companies' directories, in place of what was imported of them."),
    ] = None,
    domain: Annotated[str, typer.Option("--domain", help="The domain of the new addresses.")] = "",
    patterns: Annotated[
        list[str] | None,
        typer.Option(
            "--pattern",
            help="How people are named, such as {first}.{last}; may be repeated, for those whose first one is taken. "
            "The last one has a number, as {first}.{last}{n}.",
        ),
    ] = None,
    others: Annotated[
        list[str] | None, typer.Option("--other-pattern", help="The same for groups, rooms and devices.")
    ] = None,
    german: Annotated[bool, typer.Option("--german", help="Write ä, ö and ü as ae, oe and ue.")] = False,
    former: Annotated[
        bool,
        typer.Option("--former", help="Old primary addresses become former ones, not aliases; with --apply too."),
    ] = False,
    order: Annotated[
        list[str] | None,
        typer.Option("--company", metavar="NAME", help="A company that chooses before the others; may be repeated."),
    ] = None,
    first: Annotated[
        list[str] | None,
        typer.Option("--first", metavar="ADDRESS", help="Somebody who chooses before all; may be repeated."),
    ] = None,
    homes: Annotated[
        list[str] | None,
        typer.Option("--home", metavar="COMPANY=CONNECTOR", help="Of files: where a company's mailboxes are."),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", metavar="FORM", help="The form of the files. Absent: it is guessed.")
    ] = None,
    columns: Columns = None,
    options: Options = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to write the plan, as CSV.")] = None,
    sheet: Annotated[
        Path | None, typer.Option("--apply", metavar="FILE", help="Take over a plan that was looked at.")
    ] = None,
    who: Who = None,
    why: Why = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Propose the merged table of several companies, write it as CSV for review, and take it over when told to."""
    from gateway.mapping_desk import planning
    from mappings.identity import Role
    from mappings.plan import Policy

    chosen = columns_given(columns, as_json) | options_given(options, as_json)
    companies = planning.Companies(files or (), format, chosen, order or (), pairs_given("--home", homes, as_json))
    with desk_of(ctx, config, as_json=as_json) as desk:
        policy = Policy(
            domain,
            german=german,
            first=tuple(desk.address(text) for text in first or ()),
            old=Role.FORMER if former else Role.ALIAS,
        )
        if patterns:
            policy = replace(policy, patterns=tuple(patterns))
        if others:
            policy = replace(policy, others=tuple(others))
        if sheet is not None:
            made = planning.apply(desk, author(who, why), sheet, companies, policy)
            tell_made(made, as_json)
            return
        if not domain:
            fail("name the domain of the new addresses by --domain", as_json=as_json)
        found = planning.plan(desk, companies, policy)
    if out is not None:
        write_file(out, found.sheet(), as_json)
    if as_json:
        print_json({"ok": True, **found.as_json()})
    else:
        _tell_plan(found, out)


def _tell_plan(found: Proposal, out: Path | None) -> None:
    from mappings.conflicts import Severity

    tell_refused(found.refused)
    for one in found.plan.collisions:
        typer.echo(f"collision: {one}")
    for row in found.plan.rows:
        if row.conflict:
            typer.echo(f"{row.name} of {row.company}: {row.conflict}")
    for conflict in found.conflicts:
        if conflict.severity is not Severity.NOTE:  # the rows say who may be the same
            typer.echo(str(conflict))
    for gap in found.gaps:
        typer.echo(f"unreachable: {gap}")
    counts = ", ".join(f"{count} {action.value}" for action, count in found.counts.items())
    typer.echo(f"{len(found.plan.rows)} rows: {counts}; nothing was changed")
    if out is not None:
        typer.echo(
            f"look at {out}, change what is to be otherwise, and take it over by `gatepost map plan --apply {out}`"
        )


def _as_json(one: Conflict) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "severity": one.severity.value,
        "text": one.text,
        "mend": one.mend,
        "subject": one.subject,
        "ids": list(one.ids),
    }
