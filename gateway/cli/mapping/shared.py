"""What the commands of `gatepost map` share: the desk they ask, and how its refusals are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import fail, print_json

if TYPE_CHECKING:
    from gateway.mapping_desk.desk import Desk
    from gateway.mapping_desk.edit import Author
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
    found: dict[str, str] = {}
    for text in pairs or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            fail(f"--option {text}: write NAME=VALUE, such as encoding=cp1252", as_json=as_json)
        found[name.strip()] = value.strip()
    return found


def tell_refused(refused: Iterable[tuple[str, Problem]]) -> None:
    """Print which rows of which files were not taken, and why."""
    for file, problem in refused:
        typer.echo(f"refused: {file}, {problem}", err=True)
