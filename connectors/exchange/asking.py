"""What the commands of `cli` do: an organisation is asked outside of a running gateway, and what it says is printed."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import typer

from connectors.exchange import directory
from connectors.exchange.common_config import ExchangeConfig
from connectors.exchange.organisation import Fault
from connectors.exchange.probe import Finding, Probe
from connectors.exchange.store_side import ExchangeStore

T = TypeVar("T")

_MARKS = {True: "ok", False: "NO", None: "--"}


class Session(Protocol):
    """What the gateway's command line lends this one."""

    def connector(self, name: str, after: Path | None = None) -> Any: ...


def fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(1)


def configured(session: Session | None, name: str, config: Path | None) -> ExchangeStore:
    """Return the configured connector of this name, not started."""
    made = session.connector(name, config) if session is not None else None
    if not isinstance(made, ExchangeStore):
        fail(f"{name!r} is no configured connector of type ews or graph")
    return made


def write_directory(made: ExchangeStore, output: Path | None) -> None:
    """Write the directory as CSV to a file or to standard output."""

    async def ask() -> int:
        with nullcontext(sys.stdout) if output is None else output.open("w", encoding="utf-8", newline="") as to:
            return await directory.write(made.organisation_in_use.people(), to)

    count = _run(made, ask)
    if output is not None:
        typer.echo(f"{count} recipients written to {output}")


def check(made: ExchangeStore, mailbox: str | None, *, as_json: bool) -> None:
    """Run the probes and print what each found, as it is found."""
    mailbox = mailbox or _mailbox(made.config)
    if mailbox is None:
        fail("no mailbox is configured; name one by --mailbox")
    findings: list[Finding] = []

    async def ask() -> None:
        async for each in Probe(made, mailbox).findings():
            findings.append(each)
            if not as_json:
                tail = f": {each.text}" if each.text else ""
                typer.secho(f"{_MARKS[each.ok]}  {each.what}{tail}", fg="red" if each.ok is False else None)

    if not as_json:
        typer.echo(f"{mailbox}, folder Gatepost/Check")
    _run(made, ask)
    bad = sum(each.ok is False for each in findings)
    if as_json:
        found = {"ok": not bad, "mailbox": mailbox, "findings": [each.plain() for each in findings]}
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
    if bad:
        raise typer.Exit(1)


def _mailbox(config: ExchangeConfig) -> str | None:
    return next((each for each in (config.send_as, *(one.mailbox for one in config.watch)) if each is not None), None)


def _run(made: ExchangeStore, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    async def whole() -> T:
        await made.start()
        try:
            return await ask()
        finally:
            await made.stop()

    try:
        return asyncio.run(whole())
    except Fault as e:
        fail(f"{made.name}: {e}")
    except (OSError, ValueError) as e:
        fail(f"{made.name} cannot be used: {e}")
