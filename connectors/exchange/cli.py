"""`gatepost exchange`: an organisation's directory as a file, and what the connector relies on, checked on a mailbox.

What the commands do is imported where one of them is called: the help text of `gatepost` names this command, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Look into an Exchange organisation: its directory, and whether it does what the connector relies on.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A configured connector of type ews or graph.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text for people.")]
ConfigFile = Annotated[
    Path | None, typer.Option("-c", "--config", metavar="FILE", help="Configuration file; before or after the command.")
]


@app.command()
def directory(
    ctx: typer.Context,
    name: Name,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write here; none: to standard output.")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Write the organisation's directory as CSV, for `gatepost map import --format exchange`."""
    from connectors.exchange import asking

    asking.write_directory(_connector(ctx, name, config), output)


@app.command()
def check(
    ctx: typer.Context,
    name: Name,
    mailbox: Annotated[
        str | None,
        typer.Option("--mailbox", metavar="ADDRESS", help="The mailbox to be used; none: the first configured."),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Check what the connector relies on: in a folder of its own of one mailbox, which is removed afterwards.

    Nothing is sent. Exit status 0 where all is as it should be, 1 where something is not.
    """
    from connectors.exchange import asking

    asking.check(_connector(ctx, name, config), mailbox, as_json=as_json)


def _connector(ctx: typer.Context, name: str, config: Path | None) -> Any:
    from connectors.exchange import asking

    return asking.configured(ctx.obj, name, config)
