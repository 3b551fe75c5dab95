"""What the commands of `gatepost map` share: the desk they ask, and how its refusals are told."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import fail, print_json

if TYPE_CHECKING:
    from gateway.mapping_desk.desk import Desk
    from gateway.mapping_desk.edit import Author
    from gateway.mapping_desk.history import Made
    from mappings.tabular import Problem

Who = Annotated[str | None, typer.Option("--who", help="Who changes it, for the log. Absent: your user name.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the log.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--map", metavar="COLUMN=FIELD", help="What a column of the file is, such as E-mail=smtp; may be repeated."
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="An option of the form; may be repeated."),
]


@contextmanager
def desk_of(ctx: typer.Context, config: Path | None, *, as_json: bool) -> Iterator[Desk]:
    """Lend the desk of the configuration; where it refuses, tell every reason and exit with 1."""
    from gateway.cli.options import load_config
    from gateway.mapping_desk.desk import Desk, DeskError

    try:
        yield Desk(load_config(ctx, config, as_json=as_json, mapping=True, identities=False))
    except DeskError as e:
        if as_json:
            print_json({"ok": False, "error": str(e), "reasons": list(e.reasons)})
        else:
            for reason in e.reasons:
                typer.echo(reason, err=True)
        raise typer.Exit(1) from None


def author(who: str | None, why: str) -> Author:
    from gateway.mapping_desk.desk import whoami
    from gateway.mapping_desk.edit import Author

    return Author(who or whoami(), why)


def columns_given(pairs: list[str] | None, as_json: bool) -> dict[str, str]:
    """Return the options that name columns: several columns of one field are parted by |."""
    found: dict[str, str] = {}
    for text in pairs or ():
        column, equals, field = text.rpartition("=")
        if not equals or not column.strip() or not field.strip():
            fail(f"--map {text}: write COLUMN=FIELD, such as E-mail=smtp", as_json=as_json)
        name = field.strip()
        found[name] = f"{found[name]}|{column.strip()}" if name in found else column.strip()
    return found


def options_given(pairs: list[str] | None, as_json: bool) -> dict[str, str]:
    return pairs_given("--option", pairs, as_json)


def pairs_given(option: str, pairs: list[str] | None, as_json: bool) -> dict[str, str]:
    """Return what stands as NAME=VALUE on the command line."""
    found: dict[str, str] = {}
    for text in pairs or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            fail(f"{option} {text}: write it with a = between the two", as_json=as_json)
        found[name.strip()] = value.strip()
    return found


def write_file(path: Path, octets: bytes, as_json: bool) -> None:
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as e:
        part.unlink(missing_ok=True)
        fail(f"{path} cannot be written: {e.strerror}", as_json=as_json)


def tell_refused(refused: Iterable[tuple[str, Problem]]) -> None:
    """Print which rows of which files were not taken, and why."""
    for file, problem in refused:
        typer.echo(f"refused: {file}, {problem}", err=True)


def tell_made(made: Made, as_json: bool) -> None:
    """Print a revision that was made, and what it changed."""
    from gateway.mapping_desk import words

    if as_json:
        changes = [words.change_as_json(*pair) for pair in made.changes]
        revision = words.revision_as_json(made.revision)
        print_json({"ok": True, "changed": made.is_new, "revision": revision, "changes": changes})
        return
    for pair in made.changes:
        for line in words.change_lines(*pair):
            typer.echo(line)
    if made.is_new:
        typer.echo(words.made_line(made.revision))
    else:
        typer.echo(f"nothing had to be changed; the newest is revision {made.revision.number}")
