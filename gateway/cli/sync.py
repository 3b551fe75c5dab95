"""`gatepost sync`: mailboxes copied to another system and kept in step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import AsJson, ConfigFile, fail, load_unmapped_config

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.sync.runner import Outcome
    from gateway.sync.values import Pairing

app = typer.Typer(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="A sync of the configuration; absent: all of them.")]
Mailboxes = Annotated[
    list[str] | None,
    typer.Option("--mailbox", "-m", metavar="M", help="This mailbox alone, by its name on either side; or a pattern."),
]
Batches = Annotated[list[str] | None, typer.Option("--batch", "-b", metavar="B", help="Those of this batch alone.")]
AllowRemoval = Annotated[
    bool, typer.Option("--allow-removal", help="Remove however many items, where that was refused.")
]


@app.callback()
def _group() -> None:
    """Copy mailboxes to another system, keep them in step, compare them, cut them over."""


@app.command()
def run(
    ctx: typer.Context,
    name: Name = None,
    mailbox: Mailboxes = None,
    batch: Batches = None,
    allow_removal: AllowRemoval = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring mailboxes in step once; run again, it goes on where it was stopped, and does nothing twice."""
    _passes(ctx, config, name, mailbox, batch, retry=False, allow_removal=allow_removal, as_json=as_json)


def _passes(
    ctx: typer.Context,
    file: Path | None,
    name: str | None,
    mailbox: list[str] | None,
    batch: list[str] | None,
    *,
    retry: bool,
    allow_removal: bool,
    as_json: bool,
) -> None:
    import uvloop

    from gateway.sync.runner import Runner, SyncUnusable, open_state, open_stores

    config = load_unmapped_config(ctx, file, as_json=as_json)
    some = selected(config, name, mailbox, batch, as_json=as_json)

    async def work() -> list[Outcome]:
        names = [place.connector for each in some for place in (each.left, each.right)]
        with open_state(config) as state:
            async with open_stores(config, names) as stores:
                return await Runner(config, state, stores).all(some, retry=retry, allow_removal=allow_removal)

    try:
        outcomes = uvloop.run(work())
    except SyncUnusable as e:
        fail(str(e), as_json=as_json)
    for outcome in outcomes:
        report = outcome.result.report
        typer.echo(f"{outcome.pairing.id}: {outcome.fault or report}")
    if not all(outcome.is_done for outcome in outcomes):
        raise typer.Exit(1)


def selected(
    config: Config, name: str | None, mailboxes: list[str] | None, batches: list[str] | None, *, as_json: bool
) -> list[Pairing]:
    """Return the pairings that a command is for, or say why there are none, and exit."""
    from gateway.sync.pairing import PairingErrors, chosen, pairings

    if not config.syncs:
        fail(f"{config.path} has no [sync.NAME]: no mailboxes to keep in step are configured", as_json=as_json)
    if name is not None and name not in config.syncs:
        fail(f"there is no [sync.{name}]; there are: {', '.join(config.syncs)}", as_json=as_json, code=2)
    names = list(config.syncs) if name is None else [name]
    mistakes: list[str] = []
    found: list[Pairing] = []
    for each in names:
        try:
            found += pairings(each, config.syncs[each], config.base_dir)
        except PairingErrors as e:
            mistakes += e.mistakes
    if mistakes:
        fail("\n".join(mistakes), as_json=as_json)
    some, unmet = chosen(found, mailboxes=mailboxes or (), batches=batches or ())
    if unmet:
        fail(f"no mailbox is meant by: {', '.join(unmet)}", as_json=as_json, code=2)
    return some
