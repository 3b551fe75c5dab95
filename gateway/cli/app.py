"""The commands that concern the whole gateway: run, check, connectors, version; the others are added here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import message
from gateway.cli.commands import Commands, LightCommand
from gateway.cli.connectors import connectors
from gateway.cli.import_config import import_config
from gateway.cli.new_connector import new_connector
from gateway.cli.options import (
    AsJson,
    ConfigFile,
    Session,
    config_path,
    count,
    fail,
    load_config,
    print_json,
    tell_mistakes,
)

if TYPE_CHECKING:
    from gateway.config import Config

app = typer.Typer(
    name="gatepost",
    cls=Commands,
    help="A mail gateway between messaging systems that do not speak to each other.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


UNUSABLE = 78
"""EX_CONFIG of sysexits.h: starting again does not help before an operator has acted."""

app.command()(message.trace)
app.command()(message.why)
app.command()(connectors)
app.command("import-config")(import_config)
app.command(cls=LightCommand)(new_connector)


@app.callback()
def _before(ctx: typer.Context, config: ConfigFile = None) -> None:
    ctx.obj = Session(config)


@app.command()
def run(
    ctx: typer.Context,
    config: ConfigFile = None,
    worker: Annotated[int | None, typer.Option("--worker", hidden=True)] = None,
    workers: Annotated[int | None, typer.Option("--workers", hidden=True)] = None,
) -> None:
    """Run the gateway until it is told to stop (SIGTERM or Ctrl-C); SIGHUP reads the configuration anew."""
    from gateway.config import ConfigErrors
    from gateway.control import ControlError
    from gateway.node import main as run_node
    from gateway.spool.api import SpoolError, SpoolUnusable

    try:
        run_node(config_path(ctx, config), worker=worker, workers=workers)
    except ConfigErrors as e:
        tell_mistakes(e, as_json=False)
        raise typer.Exit(UNUSABLE) from None
    except (SpoolUnusable, ControlError) as e:
        fail(f"the gateway cannot start: {e}", code=UNUSABLE)
    except SpoolError as e:
        cause = f" ({e.status.cause})" if e.status.cause else ""
        fail(f"the gateway cannot start: {e.status.text}{cause}")
    except (OSError, ValueError, RuntimeError) as e:
        fail(f"the gateway cannot start: {e}")
    except ExceptionGroup as group:
        known, bugs = group.split((SpoolUnusable, ControlError, SpoolError, OSError, ValueError, RuntimeError))
        if bugs is not None or known is None:
            raise
        fail(f"the gateway cannot start: {_leaf(known)}")


def _leaf(fault: BaseException) -> BaseException:
    return _leaf(fault.exceptions[0]) if isinstance(fault, BaseExceptionGroup) else fault


@app.command()
def check(ctx: typer.Context, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check the configuration and everything it names; tell every mistake at once."""
    checked = load_config(ctx, config, as_json=as_json, mapping=True, isolate=False)
    _check_files(checked, as_json=as_json)
    if checked.syncs:
        _check_people(checked, as_json=as_json)
    if as_json:
        print_json({"ok": True, "mistakes": [], "warnings": list(checked.warnings)})
        return
    for warning in checked.warnings:
        typer.echo(f"warning: {warning}", err=True)
    counts = (
        count(len(checked.connectors), "connector"),
        count(len(checked.routes.routes), "route"),
        count(len(checked.rules), "mapping rule"),
        count(len(checked.identities), "identity", "identities"),
    )
    typer.echo(f"{checked.path}: ok ({', '.join(counts)})")


def _check_files(checked: Config, *, as_json: bool) -> None:
    """Ask the connectors which files a start would miss; tell every one and exit where there are any."""
    from gateway.config_check import unstarted
    from gateway.config_file import ConfigErrors, Document, Mistake

    mistakes: list[Mistake] = []
    for name in checked.connectors:
        made = unstarted(checked, name)
        for text in () if made is None else made.missing():
            line = Document(checked.path).line(("connector", name))
            mistakes.append(Mistake(str(checked.path), line, f"connector.{name}", "a table", "", rule=text))
    if mistakes:
        tell_mistakes(ConfigErrors(mistakes), as_json=as_json)
        raise typer.Exit(1)


def _check_people(checked: Config, *, as_json: bool) -> None:
    """Read the tables of people that syncs name, or tell every mistake in them and exit."""
    from gateway.config_file import ConfigErrors, Mistake
    from gateway.sync.pairing import PairingErrors, pairings

    mistakes: list[Mistake] = []
    for name, section in checked.syncs.items():
        try:
            pairings(name, section, checked.base_dir)
        except PairingErrors as e:
            place = f"sync.{name}.mailboxes"
            mistakes += [Mistake(str(checked.path), None, place, "a table", "", rule=text) for text in e.mistakes]
    if mistakes:
        tell_mistakes(ConfigErrors(mistakes), as_json=as_json)
        raise typer.Exit(1)


@app.command(cls=LightCommand)
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        number = installed("gatepost")
    except PackageNotFoundError:
        fail("gatepost is not installed as a distribution; install it with pip", as_json=as_json)
    if as_json:
        print_json({"version": number})
    else:
        typer.echo(f"gatepost {number}")
