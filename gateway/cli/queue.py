"""`gatepost queue`: what waits, for whom and how long, and what to do with it."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from gateway.cli.options import AsJson, ConfigFile, fail, print_json, print_table

app = typer.Typer(
    help="Show what waits by destination and age; list, hold, release, requeue, drop and reroute deliveries.",
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Which = Annotated[str | None, typer.Argument(metavar="[ID[/N]]", help="A message, or one delivery of it.")]
Connector = Annotated[str | None, typer.Option("--connector", help="Deliveries of this connector.")]
NextHop = Annotated[str | None, typer.Option("--next-hop", help="Deliveries for this next hop.")]
Sender = Annotated[str | None, typer.Option("--sender", help="Deliveries from this address.")]
Recipient = Annotated[str | None, typer.Option("--recipient", help="Deliveries to this address.")]
Older = Annotated[str | None, typer.Option("--older", metavar="AGE", help='Older than this, such as "4h" or "2d".')]
StateOption = Annotated[str | None, typer.Option("--state", help="queued, held or parked.")]
Every = Annotated[bool, typer.Option("--all", help="Every delivery that the other conditions leave.")]


def _where(
    which: str | None,
    connector: str | None,
    next_hop: str | None,
    sender: str | None,
    recipient: str | None,
    older: str | None,
    state: str | None = None,
    *,
    as_json: bool,
) -> dict[str, Any]:
    from gateway.quantity import parse_duration

    given: dict[str, Any] = {
        "id": which, "connector": connector, "next_hop": next_hop, "sender": sender, "recipient": recipient,
        "state": state,
    }  # fmt: skip
    if older is not None:
        try:
            given["older_s"] = parse_duration(older)
        except ValueError as e:
            fail(f"--older {older}: expected {e}", as_json=as_json)
    return {key: value for key, value in given.items() if value is not None}


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
    lanes = sorted(answer["lanes"], key=lambda lane: -(lane["queued"] + lane["held"] + lane["parked"]))
    print_table(lane_columns(answer["ages_s"]), (lane_row(x, now) for x in lanes), empty="the queue is empty")
    if answer["more"]:
        typer.echo("there is more than was counted")


@app.command("list")
def list_(
    ctx: typer.Context,
    which: Which = None,
    connector: Connector = None,
    next_hop: NextHop = None,
    state: StateOption = None,
    sender: Sender = None,
    recipient: Recipient = None,
    older: Older = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Most deliveries listed.")] = 100,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List deliveries, oldest first."""
    from gateway.cli.reach import perform
    from gateway.telling import QUEUE_COLUMNS, queue_row

    where = _where(which, connector, next_hop, sender, recipient, older, state, as_json=as_json)
    answer, _ = perform(ctx, config, "queue.list", {"where": where, "limit": limit}, as_json=as_json)
    if as_json:
        print_json(answer)
        return
    now = time.time()
    print_table(QUEUE_COLUMNS, (queue_row(r, now) for r in answer["rows"]), empty="nothing waits")
    if answer["more"]:
        typer.echo(f"there are more than {len(answer['rows'])}; --limit shows more of them")


@app.command()
def hold(
    ctx: typer.Context,
    which: Which = None,
    connector: Connector = None,
    next_hop: NextHop = None,
    sender: Sender = None,
    recipient: Recipient = None,
    older: Older = None,
    every: Every = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Keep deliveries in the queue until they are released."""
    where = _where(which, connector, next_hop, sender, recipient, older, as_json=as_json)
    _change(ctx, config, "queue.hold", {"where": where, "all": every}, "held", as_json)


@app.command()
def release(
    ctx: typer.Context,
    which: Which = None,
    connector: Connector = None,
    next_hop: NextHop = None,
    sender: Sender = None,
    recipient: Recipient = None,
    older: Older = None,
    every: Every = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Let held deliveries go on at once."""
    where = _where(which, connector, next_hop, sender, recipient, older, as_json=as_json)
    _change(ctx, config, "queue.release", {"where": where, "all": every}, "released", as_json)


@app.command()
def requeue(
    ctx: typer.Context,
    which: Which = None,
    connector: Connector = None,
    next_hop: NextHop = None,
    state: StateOption = None,
    sender: Sender = None,
    recipient: Recipient = None,
    older: Older = None,
    every: Every = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Try queued and parked deliveries again at once."""
    where = _where(which, connector, next_hop, sender, recipient, older, state, as_json=as_json)
    _change(ctx, config, "queue.requeue", {"where": where, "all": every}, "queued anew", as_json)


@app.command()
def drop(
    ctx: typer.Context,
    which: Which = None,
    connector: Connector = None,
    next_hop: NextHop = None,
    state: StateOption = None,
    sender: Sender = None,
    recipient: Recipient = None,
    older: Older = None,
    every: Every = False,
    why: Annotated[str | None, typer.Option("--why", help="The reason, for the trace.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove deliveries for good; nobody is told."""
    where = _where(which, connector, next_hop, sender, recipient, older, state, as_json=as_json)
    _change(ctx, config, "queue.drop", {"where": where, "all": every, "why": why}, "dropped", as_json)


@app.command()
def reroute(
    ctx: typer.Context,
    to: Annotated[str | None, typer.Option("--to", metavar="CONNECTOR", help="The connector to send by.")] = None,
    to_next_hop: Annotated[str | None, typer.Option("--to-next-hop", metavar="HOP", help="Where to.")] = None,
    which: Which = None,
    connector: Connector = None,
    next_hop: NextHop = None,
    state: StateOption = None,
    sender: Sender = None,
    recipient: Recipient = None,
    older: Older = None,
    every: Every = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Send deliveries by another connector or next hop."""
    where = _where(which, connector, next_hop, sender, recipient, older, state, as_json=as_json)
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
