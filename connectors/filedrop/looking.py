"""What the commands of `cli` do: a file is read as a format reads it, and what is understood of it is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, cast, get_args

import typer
from pydantic import ValidationError

from connectors.filedrop.config import OWN_NETWORKS
from connectors.filedrop.formats import FORMATS, Codec, FormatName, Options, codec_class
from connectors.filedrop.names import shown
from connectors.filedrop.trial import Trial, carried, tell_lines, try_file
from gateway.contract import ConfigErrors
from mappings.network import registry

HOSTNAME: Final = "gatepost.invalid"
"""Stands for the gateway's name where no configuration tells it (RFC 6761 §6.4)."""


class Session(Protocol):
    """What the gateway's command line lends this one."""

    def connector(self, name: str, after: Path | None = None) -> Any: ...


def fail(text: str, *, as_json: bool = False) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"ok": False, "error": text}, ensure_ascii=False, indent=2))
    else:
        typer.echo(text, err=True)
    raise typer.Exit(1)


def show(
    session: Session | None,
    format: str,
    file: Path,
    *,
    describe: Path | None,
    network: str | None,
    lines: int,
    limit: int,
    config: Path | None,
    as_json: bool,
) -> None:
    """Print what a format understands of a file, `lines` of each text of at most `limit` messages."""
    codec = _codec(session, format, describe, network, config, as_json)
    try:
        trial = try_file(codec, file, limit)
    except OSError as e:
        named = file if e.filename is None else e.filename
        fail(f"{shown(str(named))} cannot be read: {e.strerror or e}", as_json=as_json)
    if as_json:
        typer.echo(json.dumps(trial.plain(), ensure_ascii=False, indent=2))
    else:
        _print(trial, lines)
    if trial.bad:
        raise typer.Exit(1)


def _print(trial: Trial, lines: int) -> None:
    for style, line in tell_lines(trial, lines):
        typer.secho(line, bold=style == "head", fg="red" if style == "bad" else None)


def _codec(
    session: Session | None, format: str, describe: Path | None, network: str | None, config: Path | None, as_json: bool
) -> Codec:
    """Return the codec of a format, or that of a configured connector with all its options."""
    if network is None:
        network = OWN_NETWORKS.get(format)
    if format in FORMATS and config is None:
        options = Options(network=_network(network, as_json), hostname=HOSTNAME, base_dir=Path.cwd())
        name = cast(FormatName, format)
    else:
        made = session.connector(format, config) if session is not None else None
        codec: Codec | None = getattr(made, "codec", None)
        if codec is None and format not in FORMATS:
            known = ", ".join(get_args(FormatName))
            fail(f"{format!r} is neither a format ({known}) nor a configured file drop", as_json=as_json)
        if codec is not None and describe is None:
            return codec
        name = cast(FormatName, getattr(codec, "name", format))
        options = Options(network=_network(network, as_json), hostname=HOSTNAME, base_dir=Path.cwd())
        if codec is not None:
            options = replace(getattr(codec, "options", options), base_dir=Path.cwd())
    return _made(name, options, {} if describe is None else {"describe": str(describe)}, as_json)


def _made(name: FormatName, options: Options, settings: dict[str, Any], as_json: bool) -> Codec:
    try:
        found = codec_class(name)
        return found(name, options, found.Settings.model_validate(settings))
    except ValidationError as e:
        keys = ", ".join(str(error["loc"][0]) for error in e.errors() if error["loc"])
        mend = "give --describe DESCRIPTION.toml" if name == "records" else "name a configured connector in its place"
        fail(f"format {name} cannot be used with this alone ({keys}); {mend}", as_json=as_json)
    except ConfigErrors as e:
        fail(str(e), as_json=as_json)
    except (ImportError, AttributeError) as e:
        fail(f"format {name} cannot be used: {e}", as_json=as_json)


def _network(name: str | None, as_json: bool) -> str:
    if name is None:
        return "smtp"
    if not registry().is_installed(name):
        fail(f"no network {name!r} is installed; there are {', '.join(registry().names)}", as_json=as_json)
    return registry().canonical_name(name)


def list_formats(*, as_json: bool) -> None:
    """Print the formats with what their files carry."""
    rows = list(_formats())
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    heads = ("format", "text", "attachments", "charset", "subject", "messages a file")
    table = [heads, *(tuple(str(row[head]) for head in heads) for row in rows)]
    widths = [max(len(line[n]) for line in table) for n in range(len(heads))]
    for line in table:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _formats() -> Iterator[dict[str, Any]]:
    for name in get_args(FormatName):
        yield {"format": name, **carried(name)}
