"""`gatepost queue`: what waits, for whom and how long, and what to do with it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Final, get_type_hints

import typer

from gateway.cli.options import AsJson, ConfigFile, fail, print_json, print_table

app = typer.Typer(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_OLDER: Final = 'Older than this, such as "4h" or "2d".'
Every = Annotated[bool, typer.Option("--all", help="Every delivery that the other conditions leave.")]


def _conditions(
    which: Annotated[str | None, typer.Argument(metavar="[ID[/N]]", help="A message, or one delivery of it.")] = None,
    connector: Annotated[str | None, typer.Option("--connector", help="Deliveries of this connector.")] = None,
    next_hop: Annotated[str | None, typer.Option("--next-hop", help="Deliveries for this next hop.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="queued, held, parked or moving.")] = None,
    sender: Annotated[str | None, typer.Option("--sender", help="Deliveries from this address.")] = None,
    recipient: Annotated[str | None, typer.Option("--recipient", help="Deliveries to this address.")] = None,
    older: Annotated[str | None, typer.Option("--older", metavar="AGE", help=_OLDER)] = None,
    as_json: AsJson = False,
) -> dict[str, Any]:
    """Return what the options that choose deliveries come to."""
    from gateway.quantity import parse_duration

    where: dict[str, Any] = {
        "id": which, "connector": connector, "next_hop": next_hop, "sender": sender, "recipient": recipient,
        "state": state,
    }  # fmt: skip
    if older is not None:
        try:
            where["older_s"] = parse_duration(older)
        except ValueError as e:
            fail(f"--older {older}: expected {e}", as_json=as_json)
    return {key: value for key, value in where.items() if value is not None}


def _choosing(*, by_state: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a verb the options of `_conditions` beside its own, and what they come to as `where`."""

    def decorate(verb: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(_conditions, include_extras=True) | get_type_hints(verb, include_extras=True)
        own = dict(inspect.signature(verb).parameters)
        own.pop("where")
        chosen = dict(inspect.signature(_conditions).parameters)
        if not by_state:
            chosen.pop("state")
        last = {name: own[name] for name in ("config", "as_json")}
        shown = {name: each for name, each in {**own, **chosen}.items() if name not in last} | last

        @wraps(verb)
        def command(**given: Any) -> None:
            where = _conditions(**{name: given[name] for name in chosen})
            verb(**{name: given[name] for name in own}, where=where)

        command.__annotations__ = {name: hints[name] for name in shown}
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what typer reads
            [each.replace(annotation=hints[name]) for name, each in shown.items()]
        )
        return command

    return decorate


@app.callback()
def by_lane(ctx: typer.Context, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show the queue by destination and age, where no further command is given."""
    from gateway.cli.options import Session, config_path

    if ctx.invoked_subcommand is not None:
        if config is not None:
            ctx.obj = Session(config_path(ctx, config))
        return
    from gateway.cli.reach import perform
    from gateway.telling import lane_columns, lane_row

    answer, _ = perform(ctx, config, "queue.lanes", {}, as_json=as_json)
    if as_json:
        print_json(answer)
        return
    now = time.time()
    lanes = sorted(answer["lanes"], key=lambda lane: -(lane["queued"] + lane["held"] + lane["moving"] + lane["parked"]))
    print_table(lane_columns(answer["ages_s"]), (lane_row(x, now) for x in lanes), empty="the queue is empty")
    if answer["more"]:
        typer.echo("there is more than was counted")


@app.command("list")
@_choosing(by_state=True)
def list_(
    ctx: typer.Context,
    where: dict[str, Any],
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most deliveries listed.")] = 100,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List deliveries, oldest first."""
    from gateway.cli.reach import perform
    from gateway.telling import QUEUE_COLUMNS, queue_row

    answer, _ = perform(ctx, config, "queue.list", {"where": where, "limit": limit}, as_json=as_json)
    if as_json:
        print_json(answer)
        return
    now = time.time()
    print_table(QUEUE_COLUMNS, (queue_row(r, now) for r in answer["rows"]), empty="nothing waits")
    if answer["more"]:
        typer.echo(f"there are more than {len(answer['rows'])}; --limit shows more of them")


@app.command()
@_choosing(by_state=False)
def hold(
    ctx: typer.Context, where: dict[str, Any], every: Every = False, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Keep deliveries in the queue until they are released."""
    _change(ctx, config, "queue.hold", {"where": where, "all": every}, "held", as_json)


@app.command()
@_choosing(by_state=False)
def release(
    ctx: typer.Context, where: dict[str, Any], every: Every = False, config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """Let held deliveries go on at once."""
    _change(ctx, config, "queue.release", {"where": where, "all": every}, "released", as_json)


@app.command()
@_choosing(by_state=True)
def requeue(
    ctx: typer.Context,
    where: dict[str, Any],
    every: Every = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Try queued and parked deliveries again at once."""
    _change(ctx, config, "queue.requeue", {"where": where, "all": every}, "queued anew", as_json)


@app.command()
@_choosing(by_state=True)
def drop(
    ctx: typer.Context,
    where: dict[str, Any],
    every: Every = False,
    why: Annotated[str | None, typer.Option("--why", help="The reason, for the trace.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove deliveries for good; nobody is told."""
    _change(ctx, config, "queue.drop", {"where": where, "all": every, "why": why}, "dropped", as_json)


@app.command()
@_choosing(by_state=True)
def reroute(
    ctx: typer.Context,
    where: dict[str, Any],
    to: Annotated[str | None, typer.Option("--to", metavar="CONNECTOR", help="The connector to send by.")] = None,
    to_next_hop: Annotated[
        str | None, typer.Option("--to-next-hop", metavar="HOP", help="Where to; [host]:port is one host.")
    ] = None,
    every: Every = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send deliveries by another connector or next hop."""
    given = {"where": where, "all": every, "to": to, "to_next_hop": to_next_hop}
    _change(ctx, config, "queue.reroute", given, "rerouted", as_json)


def _change(ctx: typer.Context, config: Any, command: str, given: dict[str, Any], done: str, as_json: bool) -> None:
    from gateway.cli.reach import perform

    answer, _ = perform(ctx, config, command, given, as_json=as_json)
    n = len(answer["changed"])
    if as_json:
        print_json({"ok": n > 0, **answer})
    elif n == 0:
        _nothing()
    else:
        typer.echo(f"{n} {'delivery' if n == 1 else 'deliveries'} {done}")
        for id in answer["changed"][:20]:
            typer.echo(f"  {id}")
        if n > 20:
            typer.echo(f"  and {n - 20} more")
        if answer["in_flight"]:
            typer.echo(f"being sent just now, so that it may have come too late for: {', '.join(answer['in_flight'])}")
    if n == 0:
        raise typer.Exit(1)


def _nothing() -> None:
    typer.echo("no delivery matches", err=True)
