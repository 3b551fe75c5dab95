"""The commands that concern the whole gateway: run, check, connectors, version; the others are added here."""

from __future__ import annotations

from typing import Any

import typer

from gateway.cli.options import (
    AsJson,
    ConfigFile,
    Session,
    config_path,
    fail,
    load_config,
    print_json,
    print_table,
    tell_mistakes,
)

app = typer.Typer(
    name="gatepost",
    help="A mail gateway between messaging systems that do not speak to each other.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _before(ctx: typer.Context, config: ConfigFile = None) -> None:
    ctx.obj = Session(config)


@app.command()
def run(ctx: typer.Context, config: ConfigFile = None) -> None:
    """Run the gateway until it is told to stop (SIGTERM or Ctrl-C); SIGHUP reads the configuration anew."""
    from gateway.config import ConfigErrors
    from gateway.node import main as run_node

    try:
        run_node(config_path(ctx, config))
    except ConfigErrors as e:
        tell_mistakes(e, as_json=False)
        raise typer.Exit(1) from None


@app.command()
def check(ctx: typer.Context, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check the configuration and everything it names; tell every mistake at once."""
    checked = load_config(ctx, config, as_json=as_json, mapping=True)
    if as_json:
        print_json({"ok": True, "mistakes": [], "warnings": list(checked.warnings)})
        return
    for warning in checked.warnings:
        typer.echo(f"warning: {warning}", err=True)
    counts = (
        _count(len(checked.connectors), "connector"),
        _count(len(checked.routes.routes), "route"),
        _count(len(checked.rules), "mapping rule"),
        _count(len(checked.identities), "identity", "identities"),
    )
    typer.echo(f"{checked.path}: ok ({', '.join(counts)})")


@app.command()
def connectors(ctx: typer.Context, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the installed connector types and their options' names; with a configuration, those configured."""
    from gateway.registry import ConnectorUnavailable
    from gateway.registry import connectors as installed

    types: list[dict[str, Any]] = []
    for name, entry in installed().items():
        try:
            cls = entry.load()
        except ConnectorUnavailable as e:
            types.append({"type": name, "from": entry.distribution, "options": [], "trouble": str(e)})
        else:
            options = sorted(cls.Config.model_fields)
            types.append({"type": name, "from": entry.distribution, "options": options, "trouble": None})
    if as_json:
        print_json({"types": types})
        return
    print_table(
        ("type", "from", "options"),
        ([t["type"], t["from"], t["trouble"] or ", ".join(t["options"])] for t in types),
        empty="no connector type is installed",
    )


@app.command()
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


def _count(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"
