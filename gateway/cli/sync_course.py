"""`gatepost sync watch, cutover, rollback, close`: the course of a mailbox after its first pass."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import ConfigFile, fail
from gateway.cli.sync_shared import AsJsonLines, Batches, Mailboxes, Name, chosen, perform, runner_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from gateway.config import Config
    from gateway.sync.course import Course, Moved
    from gateway.sync.runner import Outcome, Runner
    from gateway.sync.values import Pairing

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is done.")]


def watch(
    ctx: typer.Context,
    name: Name = None,
    mailbox: Mailboxes = None,
    batch: Batches = None,
    child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
    config: ConfigFile = None,
    as_json: AsJsonLines = False,
) -> None:
    """Keep mailboxes in step until it is stopped: at once where a server tells of something, else by the clock.

    A running gateway does the same for those whose first pass is done, unless `watch = false`.
    """
    from gateway.sync.watch import BY_HAND, BY_ITSELF, Watch

    loaded, some = chosen(ctx, config, name, mailbox, batch, as_json=as_json)
    if child:
        some = [each for each in some if loaded.syncs[each.set].watch]

    async def work() -> None:
        async with runner_of(loaded, some) as runner:
            ended = _logged if child else _written(as_json=as_json)
            watching = Watch(runner, some, stages=BY_ITSELF if child else BY_HAND, ended=ended)
            await _until_told(watching.run(), until_input_ends=child)

    perform(loaded, work(), as_json=as_json, level=loaded.gateway.log_level if child else "warning")


async def _until_told(work: Awaitable[None], *, until_input_ends: bool) -> None:
    """Do it until a signal comes, or standard input ends."""
    task = asyncio.ensure_future(work)
    waiting = [task]
    if until_input_ends:
        waiting.append(asyncio.ensure_future(_input_ends()))
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
    except asyncio.CancelledError:
        return  # to be stopped is how it ends
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _input_ends() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1024):
        continue


def _logged(outcome: Outcome) -> None:
    from gateway.log import get_log
    from gateway.sync.progress import names, told

    log, mailbox = get_log("sync"), names(outcome.pairing)
    if outcome.is_locked:
        return
    if outcome.fault is not None or outcome.result.refused is not None:
        log.warning("sync_not_done", mailbox=mailbox, error=outcome.fault or outcome.refusal())
    elif _did(outcome):
        log.info("synced", mailbox=mailbox, did=told(outcome.report), seconds=round(outcome.seconds, 2))


def _written(*, as_json: bool) -> Callable[[Outcome], None]:
    import json

    def write(outcome: Outcome) -> None:
        if outcome.is_locked or (outcome.is_done and not _did(outcome)):
            return
        typer.echo(json.dumps({"event": "done", **outcome.values()}, ensure_ascii=False) if as_json else outcome.told())

    return write


def _did(outcome: Outcome) -> bool:
    report = outcome.report
    return bool(report.copied or report.flagged or report.moved or report.removed or report.problems)


def cutover(
    ctx: typer.Context,
    name: Name = None,
    mailbox: Mailboxes = None,
    batch: Batches = None,
    despite_problems: Annotated[
        bool, typer.Option("--despite-problems", help="Also mailboxes of which something did not get across.")
    ] = False,
    yes: Yes = False,
    config: ConfigFile = None,
    as_json: AsJsonLines = False,
) -> None:
    """Have mail flow to the new mailboxes: their mail is held, the last changes are copied, and it goes on there."""
    _course(
        ctx,
        config,
        (name, mailbox, batch),
        "cut over",
        lambda course, some: course.cut_over(some, despite_problems=despite_problems),
        yes=yes,
        as_json=as_json,
    )


def rollback(
    ctx: typer.Context,
    name: Name = None,
    mailbox: Mailboxes = None,
    batch: Batches = None,
    yes: Yes = False,
    config: ConfigFile = None,
    as_json: AsJsonLines = False,
) -> None:
    """Take a cut-over back: mail flows to the old mailboxes again, and what came since is brought there."""
    _course(
        ctx,
        config,
        (name, mailbox, batch),
        "rolled back",
        lambda course, some: course.roll_back(some),
        yes=yes,
        as_json=as_json,
    )


def close(
    ctx: typer.Context,
    name: Name = None,
    mailbox: Mailboxes = None,
    batch: Batches = None,
    yes: Yes = False,
    config: ConfigFile = None,
    as_json: AsJsonLines = False,
) -> None:
    """End the course of mailboxes that are cut over: a last look at the old ones, and no pass any more."""
    _course(
        ctx,
        config,
        (name, mailbox, batch),
        "closed",
        lambda course, some: course.close(some),
        yes=yes,
        as_json=as_json,
    )


def _course(
    ctx: typer.Context,
    file: Path | None,
    which: tuple[str | None, list[str] | None, list[str] | None],
    done: str,
    act: Callable[[Course, Sequence[Pairing]], Awaitable[list[Moved]]],
    *,
    yes: bool,
    as_json: bool,
) -> None:
    loaded, some = chosen(ctx, file, *which, as_json=as_json)
    if not yes:
        _ask(loaded, some, done, as_json=as_json)
    moved = perform(loaded, _moved(loaded, some, act, as_json=as_json), as_json=as_json)
    _tell(moved, done, as_json=as_json)
    if any(each.error is not None for each in moved):
        raise typer.Exit(1)


def _ask(config: Config, some: Sequence[Pairing], done: str, *, as_json: bool) -> None:
    """Ask a person; a program says --yes."""
    from gateway.sync.progress import names

    shown = ", ".join(names(each) for each in some[:10]) + (f" and {len(some) - 10} more" if len(some) > 10 else "")
    if as_json or not sys.stdin.isatty():
        fail(f"{len(some)} mailboxes would be {done}: {shown}; say --yes for it to be done", as_json=as_json)
    if not typer.confirm(f"{len(some)} mailboxes are to be {done}: {shown}. Go on?"):
        raise typer.Exit(1)


async def _moved(
    config: Config,
    some: Sequence[Pairing],
    act: Callable[[Course, Sequence[Pairing]], Awaitable[list[Moved]]],
    *,
    as_json: bool,
) -> list[Moved]:
    import json

    from gateway.sync.course import Course
    from gateway.sync.progress import as_named, names

    def say(pairing: Pairing, text: str) -> None:
        event = {"event": "step", **as_named(pairing), "text": text}
        typer.echo(json.dumps(event, ensure_ascii=False) if as_json else f"{names(pairing)}: {text}")

    runner: Runner
    async with runner_of(config, some) as runner:
        course = Course(runner, say=say)
        try:
            return await act(course, some)
        finally:
            course.close_files()


def _tell(moved: Sequence[Moved], done: str, *, as_json: bool) -> None:
    import json

    from gateway.sync.progress import as_named, names

    well = [each for each in moved if each.error is None]
    if as_json:
        told = [
            {
                **as_named(each.pairing),
                "ok": each.error is None,
                "error": each.error,
                "stage": each.stage,
                "copied": each.copied,
                "held_s": each.held_s,
                "lines": list(each.lines),
            }
            for each in moved
        ]
        end = {"event": "end", "ok": len(well) == len(moved), "mailboxes": told}
        typer.echo(json.dumps(end, ensure_ascii=False))
        return
    for each in moved:
        held = f", its mail was held for {each.held_s:.1f} s" if each.held_s is not None else ""
        copied = f", {each.copied} items copied" if each.copied else ""
        typer.echo(f"{names(each.pairing)}: {each.error or done}{held}{copied}; its stage is: {each.stage}")
        for line in each.lines:
            typer.echo(f"  {line}")
    typer.echo(f"{len(well)} of {len(moved)} mailboxes are {done}")
