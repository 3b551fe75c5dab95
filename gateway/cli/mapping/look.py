"""`gatepost map explain`, `find`, `log` and `diff`: what looks and changes nothing."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from gateway.cli.mapping.shared import desk_of
from gateway.cli.options import AsJson, ConfigFile, print_json, print_table


class Side(Enum):
    """Which half of an explanation."""

    INWARD = "inward"
    OUTWARD = "outward"


def explain(
    ctx: typer.Context,
    address: Annotated[str, typer.Argument(help="An address with its network, such as smtp:ann@acme.example.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="NETWORK", help="Only how it is shown on this network.")
    ] = None,
    by: Annotated[
        str | None, typer.Option("--from", metavar="CONNECTOR", help="For mail that comes by this connector.")
    ] = None,
    direction: Annotated[
        Side | None,
        typer.Option("--direction", help="Only where mail to it goes (inward), or how people see it (outward)."),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say where mail for an address goes and how it is shown, with the rule or identity that decides each step."""
    from gateway.mapping_desk.explain import explain as ask
    from gateway.mapping_desk.explain import lines

    if direction is None and to is not None:
        direction = Side.OUTWARD
    with desk_of(ctx, config, as_json=as_json) as desk:
        inward, outward = direction is not Side.OUTWARD, direction is not Side.INWARD
        told = ask(desk, address, network=to, connector=by, inward=inward, outward=outward).as_json()
    if as_json:
        print_json(told)
        return
    for line in lines(told):
        typer.echo(line)


def find(
    ctx: typer.Context,
    text: Annotated[str, typer.Argument(help="A number, an address, or a part of a name, an address or an attribute.")],
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most identities shown.")] = 20,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Find identities; a single one is shown whole."""
    from gateway.mapping_desk import history, words

    with desk_of(ctx, config, as_json=as_json) as desk:
        found = history.find(desk, text, limit + 1)
    more, found = len(found) > limit, found[:limit]
    if as_json:
        print_json({"identities": [words.identity_as_json(who) for who in found], "more": more})
    elif len(found) == 1 and not more:
        for line in words.identity_lines(found[0]):
            typer.echo(line)
    elif found:
        rows = ([str(who.id), who.name, who.kind.value, who.home or "", words.short(who)] for who in found)
        print_table(("id", "name", "kind", "home", "primary addresses"), rows, empty="")
        if more:
            typer.echo(f"there are more than {limit}; --limit shows more of them")
    else:
        typer.echo(f"nobody matches {text}", err=True)
    if not found:
        raise typer.Exit(1)


def log(
    ctx: typer.Context,
    which: Annotated[
        str | None, typer.Argument(metavar="[ID or ADDRESS]", help="Only what changed this identity.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most revisions shown.")] = 20,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the changes of the mapping, the newest first: who made them, when and why."""
    from gateway.mapping_desk import history, words
    from gateway.telling import clock_time

    with desk_of(ctx, config, as_json=as_json) as desk:
        found = history.log(desk, limit=limit, which=which)
    if as_json:
        print_json({"revisions": [words.revision_as_json(one) for one in found]})
        return
    columns = ("revision", "when", "who", "added", "changed", "removed", "why")
    rows = (
        [str(r.number), clock_time(r.at), r.who, str(r.added), str(r.changed), str(r.removed), r.why] for r in found
    )
    print_table(columns, rows, empty="nothing was changed yet")


def diff(
    ctx: typer.Context,
    older: Annotated[int, typer.Argument(metavar="REVISION", min=0, help="The older revision; 0 is before the first.")],
    newer: Annotated[
        int | None, typer.Argument(metavar="[NEWER]", min=0, help="The newer one. Absent: the newest of all.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what changed between two revisions."""
    from gateway.mapping_desk import history, words

    with desk_of(ctx, config, as_json=as_json) as desk:
        pairs = history.diff(desk, older, newer)
    if as_json:
        print_json({"changes": [words.change_as_json(*pair) for pair in pairs]})
        return
    for pair in pairs:
        for line in words.change_lines(*pair):
            typer.echo(line)
    if not pairs:
        typer.echo("the two are equal")
