"""`gatepost sync`: mailboxes copied to another system, kept in step, and looked at."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import quick, sync_course, sync_verify
from gateway.cli.options import AsJson, ConfigFile, print_json, print_table
from gateway.cli.sync_shared import AsJsonLines, Batches, Mailboxes, Name, chosen, perform, runner_of, shown

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.sync.outcome import Outcome
    from gateway.sync.progress import Progress
    from gateway.sync.values import Pairing

app = typer.Typer(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})

AllowRemoval = Annotated[
    bool, typer.Option("--allow-removal", help="Remove however many items, where that was refused.")
]


_NOTHING = {True: "nothing is left to be tried again", False: "all of them are closed"}


@app.callback()
def _group() -> None:
    """Copy mailboxes to another system, keep them in step, compare them, cut them over."""


@app.command()
def plan(
    ctx: typer.Context,
    name: Name = None,
    mailbox: Mailboxes = None,
    batch: Batches = None,
    folders: Annotated[bool, typer.Option("--folders", help="Tell it folder by folder.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run would do, what cannot be carried and about how long it takes; nothing is written."""
    from gateway.contract import StoreFault
    from gateway.log import get_log
    from gateway.sync import apart, telling
    from gateway.sync.preview import Preview

    loaded, some = chosen(ctx, config, name, mailbox, batch, as_json=as_json)

    async def work() -> list[Preview | str]:
        async with runner_of(loaded, some) as runner:

            async def one(pairing: Pairing) -> Preview | str:
                try:
                    return await runner.preview(pairing)
                except StoreFault as fault:
                    return str(fault.status)
                except OSError as e:
                    return str(e)
                except Exception as e:  # noqa: BLE001  a bug that one mailbox brings out must not stop the others
                    get_log("sync").exception("sync_fault", pairing=pairing.id)
                    return f"a fault of this program: {type(e).__name__}: {e}"

            return await runner.each(some, one)

    found = list(zip(some, perform(loaded, work(), as_json=as_json), strict=True))
    rights = {pairing.id: each.facts[0].rights for pairing, each in found if not isinstance(each, str)}
    before = apart.before(loaded, some, rights)
    if as_json:
        print_json({"mailboxes": [telling.preview_as_json(*each, before.get(each[0].id, ())) for each in found]})
    else:
        for line in telling.preview_lines(found, before, folders=folders):
            typer.echo(line)
    if any(isinstance(each, str) for _, each in found):
        raise typer.Exit(1)


@app.command()
def run(
    ctx: typer.Context,
    name: Name = None,
    mailbox: Mailboxes = None,
    batch: Batches = None,
    allow_removal: AllowRemoval = False,
    config: ConfigFile = None,
    as_json: AsJsonLines = False,
) -> None:
    """Bring mailboxes in step once; run again, it goes on where it was stopped, and does nothing twice."""
    _passes(ctx, config, (name, mailbox, batch), retry=False, allow_removal=allow_removal, as_json=as_json)


@app.command()
def retry(
    ctx: typer.Context,
    name: Name = None,
    mailbox: Mailboxes = None,
    batch: Batches = None,
    config: ConfigFile = None,
    as_json: AsJsonLines = False,
) -> None:
    """Try again what did not get across, that alone."""
    _passes(ctx, config, (name, mailbox, batch), retry=True, allow_removal=False, as_json=as_json)


def _passes(
    ctx: typer.Context,
    file: Path | None,
    which: tuple[str | None, list[str] | None, list[str] | None],
    *,
    retry: bool,
    allow_removal: bool,
    as_json: bool,
) -> None:
    import json

    from gateway.log import get_log
    from gateway.sync import checked
    from gateway.sync.glance import in_step
    from gateway.sync.outcome import end_lines
    from gateway.sync.progress import tell

    loaded, some = chosen(ctx, file, *which, as_json=as_json)
    checked.keep(loaded)
    progress = shown(as_json=as_json)
    found: dict[str, Outcome] = {}
    if not retry and not allow_removal:
        seen = quick.seen
        if seen is None:
            seen = perform(loaded, in_step(loaded, some, get_log("sync")), as_json=as_json, is_brief=True)
        found |= seen
    rest = [each for each in some if each.id not in found]
    problems: dict[str, list[str]] = {}
    if rest:
        work = _whole_passes(loaded, rest, progress, tuple(found.values()), retry=retry, allow_removal=allow_removal)
        outcomes, problems = perform(loaded, work, as_json=as_json)
        found |= {each.pairing.id: each for each in outcomes}
    else:
        with progress:
            tell(progress, found.values(), len(found))
    outcomes = [found[each.id] for each in some if each.id in found]
    is_done = all(outcome.is_done for outcome in outcomes)
    if as_json:
        end = {"event": "end", "ok": is_done, "mailboxes": [each.values() for each in outcomes]}
        typer.echo(json.dumps(end, ensure_ascii=False))
    else:
        for line in end_lines(outcomes, problems, _NOTHING[retry]):
            typer.echo(line)
    if not is_done:
        raise typer.Exit(1)


async def _whole_passes(
    loaded: Config,
    some: Sequence[Pairing],
    progress: Progress,
    in_step: Collection[Outcome],
    *,
    retry: bool,
    allow_removal: bool,
) -> tuple[list[Outcome], dict[str, list[str]]]:
    """Do passes, those `in_step` being done already; returns what became of them, and by pairing the problems."""
    from gateway.sync import telling
    from gateway.sync.opening import WAIT_S
    from gateway.sync.passes import Passes
    from gateway.sync.progress import tell
    from gateway.sync.stages import CLOSED

    async with runner_of(loaded, some, listen=progress.heard) as runner:
        passes = Passes(runner.state)
        stages = await passes.stages()
        todo = [each for each in some if stages.get(each.id) != CLOSED]
        if retry:
            counts = await passes.counts()
            todo = [each for each in todo if each.id in counts and counts[each.id].problems]
        with progress:
            tell(progress, in_step, len(in_step) + len(todo))
            outcomes = await runner.all(todo, retry=retry, allow_removal=allow_removal, wait_s=WAIT_S)
        bad = [each for each in outcomes if each.not_done]
        return outcomes, {each.pairing.id: await telling.problems(runner.state, each.pairing) for each in bad}


@app.command()
def status(
    ctx: typer.Context,
    name: Name = None,
    mailbox: Mailboxes = None,
    batch: Batches = None,
    problems: Annotated[
        bool, typer.Option("--problems", "-p", help="List each item that did not get across, and why.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show at which stage each mailbox is, how its last pass went, and what did not get across."""
    from gateway.sync import telling
    from gateway.sync.opening import open_state

    loaded, some = chosen(ctx, config, name, mailbox, batch, as_json=as_json)

    async def work() -> list[telling.Standing]:
        with open_state(loaded) as state:
            return await telling.standings(state, some, details=problems)

    found = perform(loaded, work(), as_json=as_json)
    if as_json:
        print_json({"mailboxes": [telling.standing_as_json(each) for each in found]})
        return
    now = time.time()
    print_table(telling.COLUMNS, (telling.standing_row(each, now) for each in found), empty="there is no mailbox")
    for line in telling.problem_lines(found) if problems else ():
        typer.echo(line)


app.command()(sync_verify.verify)
app.command()(sync_course.watch)
app.command()(sync_course.cutover)
app.command()(sync_course.rollback)
app.command()(sync_course.close)
