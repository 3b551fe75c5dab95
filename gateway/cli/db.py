"""`gatepost db`: upkeep of the spool."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.options import AsJson, ConfigFile, fail, load_gateway, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Coroutine

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def upgrade(ctx: typer.Context, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Bring the spool's and the mapping's tables to this release. Stop the gateway and make a backup first."""
    from gateway.config import spool_url
    from gateway.upkeep import upgrade as do

    gateway, base = load_gateway(ctx, config, as_json=as_json)
    _refuse_running(ctx, config, as_json)
    answer = _run(do(spool_url(gateway, base), base), as_json)
    if as_json:
        print_json({"ok": True, **answer})
        return
    for line in answer["upgraded"]:
        typer.echo(line)
    if not answer["upgraded"]:
        typer.echo("nothing to upgrade")


@app.command()
def backup(
    ctx: typer.Context,
    to: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the backup is to go; made where it is missing.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write a consistent copy of the spool with its contents and key, while the gateway runs or not."""
    from gateway.cli.reach import perform

    answer, _ = perform(ctx, config, "db.backup", {"to": str(to.absolute())}, as_json=as_json, in_turn=True)
    if as_json:
        print_json({"ok": True, **answer})
    else:
        typer.echo(f"the spool is backed up in {answer['to']}")


@app.command()
def restore(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder that `gatepost db backup` has made.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make the spool of a backup. Everything in it is held: look at it, then `gatepost queue release --all`."""
    from gateway.config import spool_url, state_dir
    from gateway.upkeep import restore as do

    gateway, base = load_gateway(ctx, config, as_json=as_json)
    _refuse_running(ctx, config, as_json)
    answer = _run(do(spool_url(gateway, base), base, state_dir(gateway, base), source.absolute()), as_json)
    if as_json:
        print_json({"ok": True, **answer})
        return
    typer.echo(f"the spool is restored from {answer['from']}, and everything in it is held")
    typer.echo("look at it with `gatepost queue list`; `gatepost queue release --all` lets it go")


@app.command()
def fsck(
    ctx: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended without losing mail.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Check the spool's rows against each other and against the contents. Exits with 1 where something is left."""
    from gateway.cli.reach import perform

    answer, _ = perform(ctx, config, "db.fsck", {"repair": repair}, as_json=as_json, in_turn=True)
    findings = answer["findings"]
    left = [f for f in findings if not f["repaired"]]
    if as_json:
        print_json({"ok": not left, **answer})
    else:
        rows = ([f["kind"], f["what"], f["text"], "mended" if f["repaired"] else ""] for f in findings)
        print_table(("kind", "what", "found", ""), rows, empty="the spool is sound")
        if left and not repair:
            typer.echo("--repair mends what can be mended without losing mail")
    if left:
        raise typer.Exit(1)


def _refuse_running(ctx: typer.Context, config: Path | None, as_json: bool) -> None:
    from gateway.cli.reach import ask_running

    if ask_running(ctx, config, "status", as_json=as_json):
        fail("the gateway is running; stop it first", as_json=as_json)


def _run(doing: Coroutine[Any, Any, dict[str, Any]], as_json: bool) -> dict[str, Any]:
    from gateway.control import ControlError

    try:
        return asyncio.run(doing)
    except ControlError as e:
        fail(str(e), as_json=as_json)
