"""`gatepost sync verify`: both sides compared, and a report of it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import ConfigFile, fail
from gateway.cli.sync_shared import AsJsonLines, Batches, Mailboxes, Name, chosen, perform, runner_of, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.sync.verify import Checked


def verify(
    ctx: typer.Context,
    name: Name = None,
    mailbox: Mailboxes = None,
    batch: Batches = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", min=0, metavar="N", help="Read N items of each folder, and count the rest; 0 counts."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Choose the same items as a report that names it.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report as a page.")] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the report as a table, item by item.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJsonLines = False,
) -> None:
    """Compare both sides by count, size and octets, folder by folder; nothing is changed."""
    import json
    import secrets

    from gateway.sync.opening import WAIT_S

    loaded, some = chosen(ctx, config, name, mailbox, batch, as_json=as_json)
    for each in (html, csv):  # rather now than after hours
        if each is not None and (each.is_dir() or not os.access(each if each.exists() else each.parent, os.W_OK)):
            fail(f"the report cannot be written to {each}: no such folder, or no right to write there", as_json=as_json)
    number = secrets.randbelow(1 << 31) if seed is None else seed

    async def work() -> list[Checked]:
        progress = shown(as_json=as_json)
        progress.expects(len(some))
        async with runner_of(loaded, some, listen=progress.heard) as runner:
            with progress:
                return await runner.each(some, partial(runner.check, sample=sample, seed=number, wait_s=WAIT_S))

    found = perform(loaded, work(), as_json=as_json)
    is_done = all(each.is_done for each in found)
    _write(found, html, csv, as_json=as_json)
    if as_json:
        end = {"event": "end", "ok": is_done, "mailboxes": [each.values() for each in found]}
        typer.echo(json.dumps(end, ensure_ascii=False))
    else:
        bad = sum(not each.is_done for each in found)
        typer.echo(f"{len(found) - bad} of {len(found)} mailboxes are complete")
    if not is_done:
        raise typer.Exit(1)


def _write(found: Sequence[Checked], html: Path | None, csv: Path | None, *, as_json: bool) -> None:
    from gateway.sync.report import Table, as_csv, as_html

    table = as_csv(found) if csv is not None or html is not None else b""
    place = csv
    try:
        if csv is not None:
            csv.write_bytes(table)
        place = html
        if html is not None:
            html.write_bytes(as_html(found, table=None if csv is None else Table.of(csv.name, table)))
    except OSError as e:
        fail(f"the report cannot be written to {place}: {e.strerror or e}", as_json=as_json)
