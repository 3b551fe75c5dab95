"""`gatepost map check`, `conflicts` and `plan`: what an operator should know before others notice."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.mapping.shared import (
    Columns,
    Options,
    columns_given,
    desk_of,
    options_given,
    tell_refused,
)
from gateway.cli.options import AsJson, ConfigFile, print_json

if TYPE_CHECKING:
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


def _as_json(one: Conflict) -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "severity": one.severity.value,
        "text": one.text,
        "mend": one.mend,
        "subject": one.subject,
        "ids": list(one.ids),
    }
