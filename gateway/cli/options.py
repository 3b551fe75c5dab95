"""What every command shares: the configuration's place, `--json`, and how a command fails."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from gateway.places import default_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.config import Config, GatewaySection
    from gateway.config_file import ConfigErrors
    from gateway.contract import Connector

T = TypeVar("T")

ConfigFile = Annotated[
    Path | None,
    typer.Option("-c", "--config", metavar="FILE", help="Configuration file; before or after the command."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text for people.")]


@dataclass(slots=True)
class Session:
    """What stands before the command on its line; a connector's own commands get it as their context's object."""

    config_file: Path | None = None

    def connector(self, name: str, after: Path | None = None) -> Connector | None:
        """Return the configured connector of this name, not started; None where there is none, or no configuration.

        `after` is the file that -c behind the command names. Tells every mistake of the configuration and exits.
        """
        from gateway.config_check import unstarted

        path = after or self.config_file or default_file()
        if not path.exists():
            return None
        return unstarted(_or_exit(lambda: load_unmapped(path), as_json=False), name)


def config_path(ctx: typer.Context, after: Path | None) -> Path:
    """Return the configuration's path: -c after the command, -c before it, or the default."""
    session = ctx.find_object(Session)
    before = session.config_file if session is not None else None
    return after or before or default_file()


def load_config(
    ctx: typer.Context,
    after: Path | None,
    *,
    as_json: bool = False,
    mapping: bool = False,
    identities: bool = True,
    isolate: bool = True,
) -> Config:
    """Load the whole configuration, or tell every mistake and exit. See `gateway.config.load`."""
    from gateway.config import load

    path = config_path(ctx, after)
    return _or_exit(lambda: load(path, mapping=mapping, identities=identities, dry=True, isolate=isolate), as_json)


def load_gateway(ctx: typer.Context, after: Path | None, *, as_json: bool = False) -> tuple[GatewaySection, Path]:
    """Load [gateway] and its folder, or tell every mistake and exit."""
    from gateway.config import load_gateway as load

    return _or_exit(lambda: load(config_path(ctx, after)), as_json)


def load_unmapped_config(ctx: typer.Context, after: Path | None, *, as_json: bool = False) -> Config:
    """Load the configuration without its mapping, or tell every mistake and exit."""
    return _or_exit(lambda: load_unmapped(config_path(ctx, after)), as_json)


def load_unmapped(path: Path) -> Config:
    """Load a configuration without its mapping. Raises: ConfigErrors."""
    from gateway.config import load

    return load(path, mapping=False, dry=True, isolate=True)


def _or_exit(read: Callable[[], T], as_json: bool) -> T:
    from gateway.config_file import ConfigErrors

    try:
        return read()
    except ConfigErrors as e:
        tell_mistakes(e, as_json=as_json)
        raise typer.Exit(1) from None


def tell_mistakes(errors: ConfigErrors, *, as_json: bool) -> None:
    """Print every mistake: to standard error for people, to standard output as JSON."""
    if as_json:
        print_json({"ok": False, "mistakes": [m.as_json() for m in errors.mistakes], "warnings": []})
        return
    for mistake in errors.mistakes:
        typer.echo(str(mistake), err=True)
    n = len(errors.mistakes)
    typer.echo(f"{n} mistake{'s' if n != 1 else ''} in the configuration", err=True)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]], *, empty: str) -> None:
    """Print a table: with a frame on a terminal, else as plain aligned text that other tools can read."""
    heads = list(columns)
    lines = [list(row) for row in rows]
    if not lines:
        typer.echo(empty)
    elif sys.stdout.isatty():
        _print_rich(heads, lines)
    else:
        widths = [max(len(cell) for cell in column) for column in zip(heads, *lines, strict=True)]
        for line in (heads, *lines):
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_rich(heads: list[str], lines: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))  # Text: an address in square brackets is no markup
    Console().print(table)


def count(n: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def fail(reason: str, *, as_json: bool = False, code: int = 1) -> NoReturn:
    """Say why a command could not be done, and exit."""
    if as_json:
        print_json({"ok": False, "error": reason})
    else:
        typer.echo(reason, err=True)
    raise typer.Exit(code)
