"""What the commands of `gatepost sync` share: which mailboxes are meant, and how they are worked on."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gateway.cli.options import fail, load_config

if TYPE_CHECKING:
    from gateway.cli.performing import LogLevel
    from gateway.config import Config
    from gateway.sync.progress import Progress
    from gateway.sync.runner import Listener, Runner
    from gateway.sync.values import Pairing

T = TypeVar("T")

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="A sync of the configuration; absent: all of them.")]
Mailboxes = Annotated[
    list[str] | None,
    typer.Option(
        "--mailbox", "-m", metavar="M", help="This mailbox, by its name on either side; or a pattern of some."
    ),
]
Batches = Annotated[list[str] | None, typer.Option("--batch", "-b", metavar="B", help="Those of this batch alone.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Print a line of JSON for each event instead of text.")]


def chosen(
    ctx: typer.Context,
    file: Path | None,
    name: str | None,
    mailboxes: list[str] | None,
    batches: list[str] | None,
    *,
    as_json: bool,
) -> tuple[Config, list[Pairing]]:
    """Return the configuration and the pairings that a command is for, or say why there are none, and exit."""
    from gateway.sync import pairing

    config = load_config(ctx, file, as_json=as_json)
    if not config.syncs:
        fail(f"{config.path} has no [sync.NAME]: no mailboxes to keep in step are configured", as_json=as_json)
    if name is not None and name not in config.syncs:
        fail(f"there is no [sync.{name}]; there are: {', '.join(config.syncs)}", as_json=as_json, code=2)
    mistakes: list[str] = []
    found: list[Pairing] = []
    for each in config.syncs if name is None else [name]:
        try:
            found += pairing.pairings(each, config.syncs[each], config.base_dir)
        except pairing.PairingErrors as e:
            mistakes += e.mistakes
    if mistakes:
        fail("\n".join(mistakes), as_json=as_json)
    if not found:
        names = ", ".join(f"[sync.{each}]" for each in (config.syncs if name is None else [name]))
        fail(f"no mailbox stands in the tables of {names}", as_json=as_json)
    some, unmet = pairing.chosen(found, mailboxes=mailboxes or (), batches=batches or ())
    if unmet:
        fail(f"no mailbox is meant by: {', '.join(unmet)}", as_json=as_json, code=2)
    if not some:
        fail("no mailbox is meant by both --mailbox and --batch", as_json=as_json, code=2)
    return config, some


@asynccontextmanager
async def runner_of(
    config: Config, some: Sequence[Pairing], *, listen: Listener | None = None
) -> AsyncIterator[Runner]:
    """Open the state and start the connectors of these pairings. Raises: SyncUnusable."""
    from gateway.log import get_log
    from gateway.sync.opening import open_state, open_stores
    from gateway.sync.originators import Originators
    from gateway.sync.runner import Runner

    names = [place.connector for each in some for place in (each.left, each.right)]
    log = get_log("sync")
    with open_state(config) as state:
        async with open_stores(config, names, log) as stores:
            yield Runner(config, state, stores, listen=listen, address_of=Originators(config, log).address, log=log)


def perform(
    config: Config, work: Coroutine[Any, Any, T], *, as_json: bool, level: LogLevel = "warning", is_brief: bool = False
) -> T:
    """Do it, with warnings of its connectors on standard error; SIGTERM and Ctrl-C stop it where it is. What is brief
    is done in asyncio's own loop, which is there already.

    Exits with the reason where nothing can be done at all, with 130 or 143 where it was stopped.
    """
    from gateway.cli.performing import Stopped, performed
    from gateway.sync.opening import SyncUnusable

    log_format = config.gateway.log_format
    try:
        return performed(work, log_format=log_format, secrets=config.secrets, level=level, is_brief=is_brief)
    except SyncUnusable as e:
        fail(str(e), as_json=as_json)
    except Stopped as e:
        fail(str(e), as_json=as_json, code=e.code)
    except Exception as e:
        from sqlalchemy.exc import SQLAlchemyError  # not imported where nothing is to be done

        if not isinstance(e, SQLAlchemyError):
            raise
        fail(f"the state of the syncs cannot be read or written: {getattr(e, 'orig', None) or e}", as_json=as_json)


def shown(*, as_json: bool) -> Progress:
    """Return what shows how passes go on: JSON, a live table on a terminal, or lines."""
    from gateway.sync.progress import JsonLines, Lines, LiveTable

    if as_json:
        return JsonLines(typer.echo)
    if sys.stdout.isatty():
        from rich.console import Console

        return LiveTable(Console())
    return Lines(typer.echo)
