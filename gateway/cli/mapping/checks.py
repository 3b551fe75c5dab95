"""`gatepost map check`, `conflicts` and `plan`: what an operator should know before others notice."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from gateway.cli.mapping.shared import desk_of
from gateway.cli.options import AsJson, ConfigFile, print_json


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
