"""`gatepost map import` and `export`: identities from the files of other systems, and for them."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli.mapping.shared import (
    Columns,
    Options,
    Who,
    Why,
    author,
    columns_given,
    desk_of,
    options_given,
    tell_refused,
    write_file,
)
from gateway.cli.options import AsJson, ConfigFile, fail, print_json

if TYPE_CHECKING:
    from gateway.mapping_desk.transfer import Imported

_SHOWN: Final = 50


def import_(
    ctx: typer.Context,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Files, or the URL of a directory: ldaps://host/dc=acme,dc=example."),
    ],
    format: Annotated[
        str | None, typer.Option("--format", metavar="FORM", help="The form of the files. Absent: it is guessed.")
    ] = None,
    columns: Columns = None,
    options: Options = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source", help="A name for the directory, the same at every import of it. Absent: the file's name."
        ),
    ] = None,
    home: Annotated[
        str | None, typer.Option("--home", metavar="CONNECTOR", help="The home of those for whom the file has none.")
    ] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", help="Where they stand: before, coexisting, cutting, moved or external.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and write nothing.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Do nothing where any row is refused.")] = False,
    remove_missing: Annotated[
        bool, typer.Option("--remove-missing", help="Remove whom the source no longer names.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=0, max=1000, help="Most changes shown.")] = _SHOWN,
    who: Who = None,
    why: Why = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Take identities over from other systems' files; the same import again changes nothing."""
    from gateway.mapping_desk import edit, transfer

    chosen = columns_given(columns, as_json) | options_given(options, as_json)
    with _no_rings(), desk_of(ctx, config, as_json=as_json) as desk:
        request = transfer.Request(
            files, format, chosen, source, home, edit.stage_of(stage), remove_missing, strict, dry_run
        )
        done = transfer.import_(desk, author(who, why), request)
    is_done = done.is_change or not done.refused
    if as_json:
        print_json({"ok": is_done, **done.as_json()})
    else:
        _tell(done, dry_run, limit)
    if not is_done:
        raise typer.Exit(1)


def export(
    ctx: typer.Context,
    format: Annotated[str, typer.Option("--format", metavar="FORM", help="The form of the file.")] = "csv",
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where to. Absent: printed.")] = None,
    options: Options = None,
    homes: Annotated[
        list[str] | None,
        typer.Option("--home", metavar="CONNECTOR", help="Only those at home there; may be repeated."),
    ] = None,
    not_homes: Annotated[
        list[str] | None,
        typer.Option("--not-home", metavar="CONNECTOR", help="Only those not at home there; may be repeated."),
    ] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", help="Only persons, groups and so on; may be repeated.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write identities in the form that another system takes; what the form cannot carry is told."""
    from gateway.mapping_desk import edit, transfer

    if out is None and as_json:
        fail("--json tells of a file; name one by --out", as_json=as_json)
    with desk_of(ctx, config, as_json=as_json) as desk:
        choice = transfer.Choice(
            frozenset(homes or ()), frozenset(not_homes or ()), frozenset(edit.kind_of(kind) for kind in kinds or ())
        )
        written = transfer.export(desk, format, options_given(options, as_json), choice)
    if out is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(written.octets)
        sys.stdout.buffer.flush()
    else:
        write_file(out, written.octets, as_json)
    if as_json:
        lost = [{"line": p.line, "column": p.column, "reason": p.message} for p in written.problems]
        print_json({"ok": True, "file": str(out), "octets": len(written.octets), "lost": lost})
        return
    for problem in written.problems:
        typer.echo(f"not carried: {problem}", err=True)
    if out is not None:
        typer.echo(f"{out} is written")


@contextmanager
def _no_rings() -> Iterator[None]:
    """Hold many objects without a ring among them: looking for rings would take a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _tell(done: Imported, dry_run: bool, limit: int) -> None:
    from gateway.mapping_desk import words

    for pair in done.changes[:limit]:
        for line in words.change_lines(*pair):
            typer.echo(line)
    total = done.added + done.changed + done.removed
    if total > min(limit, len(done.changes)):
        typer.echo(f"and {total - min(limit, len(done.changes))} more")
    tell_refused(done.refused)
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    if done.rules:
        typer.echo("these rules are for the configuration, where they are to be in force:")
        for rule in done.rules:
            typer.echo("\n" + words.rule_as_toml(rule))
        typer.echo()
    counts = (
        f"{done.added} added, {done.changed} changed, {done.removed} removed, {done.unchanged} unchanged, "
        f"{len(done.refused)} refused"
    )
    if dry_run:
        typer.echo(f"{counts}; nothing was written")
    elif done.is_change:
        typer.echo(f"revision {done.revision}: {counts}")
    else:
        typer.echo(f"nothing was changed: {counts}")
