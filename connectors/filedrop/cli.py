"""`gatepost filedrop`: what a file holds, as its format reads it, shown before anything is sent.

Nothing is claimed, moved or accepted. Exit status 0 where all of the file was understood, 1 where something was not.
What the commands do is in `looking`, which loads every format, and so is imported where one of them is called: the
help text of `gatepost` names this command, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Look at files of a file drop: what a format understands of them.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text for people.")]
ConfigFile = Annotated[
    Path | None, typer.Option("-c", "--config", metavar="FILE", help="Configuration file; before or after the command.")
]


@app.command("try")
def try_(
    ctx: typer.Context,
    format: Annotated[str, typer.Argument(metavar="FORMAT", help="A format, or the name of a configured connector.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to be read.")],
    describe: Annotated[
        Path | None,
        typer.Option("--describe", metavar="DESCRIPTION", help="The file that describes the records (format records)."),
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", help="The network whose addresses the file uses; none: the format's own.")
    ] = None,
    lines: Annotated[int, typer.Option("--lines", min=0, help="So many lines of each text are shown.")] = 8,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many messages are shown.")] = 100,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what a format understands of a file: each message, field by field, and what is bad, where, with its mend."""
    from connectors.filedrop import looking

    looking.show(
        ctx.obj, format, file, describe=describe, network=network, lines=lines, limit=limit, config=config,
        as_json=as_json,
    )  # fmt: skip


@app.command()
def formats(as_json: AsJson = False) -> None:
    """List the formats with what their files carry."""
    from connectors.filedrop import looking

    looking.list_formats(as_json=as_json)
