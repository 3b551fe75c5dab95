"""`gatepost connectors`: which are configured, how they are and what they carry; which types are installed, by whom."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli.options import AsJson, ConfigFile, config_path, fail, load_config, print_json, print_table

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.config import Config
    from gateway.contract import Capabilities

_LACKS: Final = {
    "eight_bit": "8-bit octets",
    "utf8_addresses": "addresses beyond ASCII",
    "nul": "NUL octets",
    "mime": "MIME",
    "tnef": "winmail.dat",
    "html": "HTML",
    "attachments": "attachments",
}
"""Capabilities that are told where they are absent."""


def connectors(
    ctx: typer.Context,
    options: Annotated[
        str | None, typer.Option("--options", metavar="TYPE", help="Explain one type's options.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the configured connectors and how they are, and the connector types that are installed."""
    if options is not None:
        _explain_options(options, as_json=as_json)
        return
    from gateway.cli.reach import ask_running

    types = _types()
    configured: list[dict[str, Any]] = []
    path = config_path(ctx, config)
    if path.exists():
        workers = ask_running(ctx, config, "status", as_json=as_json)
        found = load_config(ctx, config, as_json=as_json)
        configured = _all_configured(found, path, workers)
    for each in types:
        each["configured"] = [c["name"] for c in configured if c["type"] == each["type"]]
    if as_json:
        print_json({"connectors": configured, "types": types})
        return
    if configured:
        columns = ("connector", "type", "at", "health", "restarts", "takes", "carries")
        rows = (
            [c["name"], c["type"], c["at"], c["health"], str(c["restarts"]), c["takes"], c["carries"]]
            for c in configured
        )
        print_table(columns, rows, empty="")
        typer.echo()
    kinds = (
        [t["type"], t["from"], str(t["contract"] or "?"), ", ".join(t["sides"]), t["trouble"] or _told(t)]
        for t in types
    )
    print_table(("installed type", "from", "contract", "sides", ""), kinds, empty="no connector type is installed")


def _told(kind: dict[str, Any]) -> str:
    return f"{len(kind['options'])} options"


def _types() -> list[dict[str, Any]]:
    from gateway.registry import ConnectorUnavailable
    from gateway.registry import connectors as installed

    types: list[dict[str, Any]] = []
    for name, entry in installed().items():
        dist = entry.point.dist
        described: dict[str, Any] = {
            "type": name,
            "from": entry.distribution,
            "distribution": dist.name if dist is not None else None,
            "version": dist.version if dist is not None else None,
            "contract": None,
            "sides": [],
            "options": [],
            "trouble": None,
        }
        try:
            kind = entry.load()
            described["options"] = sorted(kind.Config.model_fields)
            described["contract"] = kind.contract_version
            described["sides"] = _sides(kind)
            described["trouble"] = entry.deprecation()
        except ConnectorUnavailable as e:
            described["trouble"] = str(e)
        types.append(described)
    return types


def _sides(kind: type) -> list[str]:
    from gateway.contract import Destination, MailboxStore, Source

    return [
        word
        for side, word in ((Source, "in"), (Destination, "out"), (MailboxStore, "mailboxes"))
        if issubclass(kind, side)
    ]


def _all_configured(config: Config, path: Path, workers: list[Any]) -> list[dict[str, Any]]:
    from gateway.config_check import unstarted
    from gateway.config_file import Document

    places = Document(path, expands=False)
    found = []
    for section in config.connectors.values():
        described = _configured(section.name, section.type, workers)
        described["at"] = f"{path}:{places.line(('connector', section.name))}"
        made = unstarted(config, section.name)
        able = None if made is None else made.capabilities
        described["takes"] = "" if able is None else ", ".join(able.header_networks)
        described["carries"] = "" if able is None else in_words(able)
        described["capabilities"] = None if able is None else asdict(able)
        found.append(described)
    return found


def _configured(name: str, kind: str, workers: list[Any]) -> dict[str, Any]:
    told = [c for w in workers for c in w["connectors"] if c["name"] == name]
    ill = next((c["text"] for c in told if not c["ok"]), None)
    if not workers:
        health = "the gateway does not run"
    elif not told:
        health = "not in force: reload the gateway"
    else:
        # Of what is well there may be something to say all the same, such as that it was in everybody's way.
        health = ill or next((c["note"] for c in told if c["note"]), "ok")
    return {
        "name": name,
        "type": kind,
        "ok": bool(told) and ill is None,
        "health": health,
        "restarts": sum(c["restarts"] for c in told),
    }


def in_words(able: Capabilities) -> str:
    """Return what is not carried, and which limits there are."""
    lacks = [word for name, word in _LACKS.items() if not getattr(able, name)]
    if able.wants_tnef:
        lacks = [each for each in lacks if each != "winmail.dat"]
    told = [f"no {', '.join(lacks)}"] if lacks else ["all of a message"]
    if able.charset.lower() not in ("utf-8", "utf8"):
        told.append(f"the characters of {able.charset}")
    if able.max_subject_chars is not None:
        told.append(f"subjects of {able.max_subject_chars} characters")
    if able.wrap_columns is not None:
        told.append(f"lines of {able.wrap_columns} columns")
    if able.max_size_bytes is not None:
        told.append(f"up to {_size(able.max_size_bytes)}")
    if able.max_line_octets is not None:
        told.append(f"lines of {able.max_line_octets} octets")
    return "; ".join(told)


def _size(octets: int) -> str:
    for unit in ("octets", "KiB", "MiB"):
        if octets < 1024 or octets % 1024:
            return f"{octets} {unit}"
        octets //= 1024
    return f"{octets} GiB"


def _explain_options(kind: str, *, as_json: bool) -> None:
    from gateway.config_model import option_rows
    from gateway.registry import ConnectorUnavailable
    from gateway.registry import connectors as installed

    entry = installed().get(kind)
    if entry is None:
        fail(f"no connector type {kind!r} is installed; there are: {', '.join(installed())}", as_json=as_json)
    try:
        rows = option_rows(entry.load().Config)
    except ConnectorUnavailable as e:
        fail(str(e), as_json=as_json)
    if as_json:
        print_json([{"option": r.key, "kind": r.kind, "default": r.default, "text": r.text} for r in rows])
        return
    print_table(
        ("option", "kind", "default", "what it does"), ([r.key, r.kind, r.default, r.text] for r in rows), empty=""
    )
