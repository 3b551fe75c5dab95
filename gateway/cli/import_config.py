"""gatepost import-config: the configuration of another mail server as one of this gateway."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.cli.options import AsJson, count, fail, print_json

if TYPE_CHECKING:
    from gateway.import_config.writer import Made

System = Literal["sendmail", "postfix", "exim"]
_SHOWN = 20


def import_config(
    system: Annotated[System, typer.Argument(help="Whose configuration it is.")],
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="Where it lies. Absent: /etc/mail, /etc/postfix or /etc/exim4."),
    ] = None,
    root: Annotated[
        Path, typer.Option(help="Where the other machine's files are: a copy of its /etc is ROOT/etc.")
    ] = Path("/"),
    hostname: Annotated[str | None, typer.Option(help="The other machine's name. Absent: this machine's.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where files are written.")] = Path("."),
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a gatepost.toml and people.csv of what sendmail, Postfix or Exim was told, and list what was not taken."""
    from gateway.import_config import read
    from gateway.import_config.files import FilesError
    from gateway.import_config.writer import make
    from mappings.network import registry

    try:
        outline = read(system, root, folder, hostname or socket.getfqdn())
    except FilesError as e:
        fail(str(e), as_json=as_json)
    made = make(outline, registry())
    there = [name for name in made.files if (out / name).exists()]
    if there and not force:
        fail(f"{out / there[0]} is there already; give another folder with --out, or --force", as_json=as_json)
    try:
        _write(out, made)
    except OSError as e:
        fail(f"{e.filename}: {e.strerror}", as_json=as_json)
    _tell(out, made, as_json=as_json)


def _write(out: Path, made: Made) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, octets in made.files.items():
        path = out / name
        path.unlink(missing_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if name in made.secret else 0o644)
        with os.fdopen(file, "wb") as to:
            to.write(octets)


def _tell(out: Path, made: Made, *, as_json: bool) -> None:
    from gateway.config import load
    from gateway.config_file import ConfigErrors

    warnings: list[str] = []
    mistakes: list[str] = []
    try:
        warnings = list(load(out / "gatepost.toml", mapping=True, dry=True).warnings)
    except ConfigErrors as e:
        mistakes = [str(mistake) for mistake in e.mistakes]
    outline, people = made.outline, made.people
    if as_json:
        left = [{"place": each.place, "what": each.what, "why": each.why} for each in outline.left]
        print_json(
            {
                "files": {name: str(out / name) for name in made.files},
                "identities": len(people.identities),
                "rules": len(people.rules),
                "routes": len(people.routes),
                "not_taken": left,
                "mistakes": mistakes,
                "warnings": warnings,
            }
        )
        return
    counts = (
        count(len(people.identities), "identity", "identities"),
        count(len(people.rules), "rule"),
        count(len(outline.ours), "domain"),
    )
    typer.echo(f"{outline.system}: {', '.join(counts)} of ours")
    typer.echo(f"written: {', '.join(str(out / name) for name in made.files)}")
    for text in (*mistakes, *(f"warning: {each}" for each in warnings)):
        typer.echo(text)
    if outline.left:
        typer.echo(f"not taken ({len(outline.left)}, all in {out / 'not-taken.txt'}):")
        for each in outline.left[:_SHOWN]:
            typer.echo(f"  {each}")
        if len(outline.left) > _SHOWN:
            typer.echo(f"  and {len(outline.left) - _SHOWN} more")
    typer.echo("look through the files; then `gatepost check`, and `gatepost map explain ADDRESS` for some addresses")
