"""`gatepost trace` and `gatepost why`: the way of one message, and where it is now, in plain words."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from gateway.cli.options import AsJson, ConfigFile, fail, print_json


def trace(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(help="A message's id, a Message-ID, or an address.")],
    last: Annotated[
        str | None, typer.Option("--last", metavar="SPAN", help='Only events of the last "2h", "7d" and so on.')
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most events shown.")] = 1000,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the whole way of a message: who, whom, when, by which rule, and what each next hop answered."""
    from gateway.cli.reach import perform
    from gateway.quantity import parse_duration
    from gateway.telling import trace_lines

    since = None
    if last is not None:
        try:
            since = time.time() - parse_duration(last)
        except ValueError as e:
            fail(f"--last {last}: expected {e}", as_json=as_json)
    answer, _ = perform(ctx, config, "trace", {"what": what, "since": since, "limit": limit}, as_json=as_json)
    if as_json:
        print_json(answer)
    for message in () if as_json else answer["messages"]:
        typer.echo(f"{message['id']}")
        for line in trace_lines(message):
            typer.echo(f"  {line}")
    if not answer["messages"]:
        if not as_json:
            typer.echo(f"no trace of {what}: it was never here, or its trace is past trace_days", err=True)
        raise typer.Exit(1)
    if answer["more"] and not as_json:
        typer.echo("there are more events; --limit shows more of them")


def why(
    ctx: typer.Context,
    message: Annotated[str, typer.Argument(metavar="ID[/N]", help="A message's id, or one delivery of it.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say where a message is, which rule sent it there, what the next hop said, and when it is tried next."""
    from gateway.cli.reach import perform
    from gateway.telling import why_lines

    answer, _ = perform(ctx, config, "why", {"id": message}, as_json=as_json)
    if answer is None:
        if as_json:
            print_json(None)
        else:
            typer.echo(f"no message {message}: it was never here, or its trace is past trace_days", err=True)
        raise typer.Exit(1)
    if as_json:
        print_json(answer)
        return
    for line in why_lines(answer):
        typer.echo(line)
