"""`gatepost sync run [NAME] [-c FILE]` where nothing has changed: the command that a clock starts every few minutes.

It takes a third of the time by what the last run kept of its configuration (`gateway.sync.checked`), and without typer.
Promises: it prints and ends as the whole command does; or it does neither, and leaves it to the whole command, which
gets what was seen so far. Whatever is not the everyday form, and everything that is wrong, is left to it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.mailbox import Looking
    from gateway.sync.checked import Checked
    from gateway.sync.outcome import Outcome

seen: dict[str, Outcome] | None = None
"""The mailboxes in which nothing has changed, by their ids; None where nobody has looked."""


def run(args: Sequence[str]) -> None:
    """Do a command, and exit, where it is this one and nothing is to be done; else return."""
    meant = _meant(args)
    if meant is None or sys.stdout is None or sys.stdout.isatty() or sys.stdout.encoding.lower() != "utf-8":
        return
    try:
        lines = _lines(*meant)
    except Exception:  # noqa: BLE001  whatever is wrong, the whole command finds it, too, and has the words for it
        return
    if lines:
        _print(lines)
        sys.exit(0)


def _meant(args: Sequence[str]) -> tuple[str | None, Path | None] | None:
    """Return the sync and the file that are meant; None where it is another command."""
    words = list(args)
    file = None
    at = next((at for at, word in enumerate(words[:-1]) if word in ("-c", "--config")), None)
    if at == 1:
        return None  # a group takes none
    if at is not None:
        file = words[at + 1]
        del words[at : at + 2]
    if words[:2] != ["sync", "run"] or len(words) > 3:
        return None
    if any(word.startswith("-") or not word for word in (*words, file or "/")):
        return None
    return words[2] if len(words) == 3 else None, None if file is None else Path(file)


def _lines(name: str | None, file: Path | None) -> list[str]:
    """Return what is printed where nothing is to be done in any mailbox; nothing where there is something.

    Exits where it is stopped. Raises: anything.
    """
    global seen
    from gateway.places import default_file
    from gateway.sync import checked

    known = checked.read(default_file() if file is None else file)
    from gateway.cli.performing import Stopped, performed  # not where nothing was kept
    from gateway.sync.glance import Ground, glanced
    from gateway.sync.opening import STATE_FILE
    from gateway.sync.outcome import end_lines
    from gateway.sync.pairing import pairings
    from gateway.sync.progress import Lines, tell

    names = known.syncs if name is None else [name]
    some = [pairing for each in names for pairing in pairings(each, known.syncs[each], known.base_dir)]
    ground = Ground(
        known.spool_dir / STATE_FILE,
        known.state_dir,
        known.policies,
        {each: section.mailboxes_at_once for each, section in known.syncs.items()},
        lambda names: _started(known, names),
    )
    look = glanced(ground, some)
    try:
        seen = performed(look, log_format=known.log_format, secrets=known.secrets, is_brief=True)
    except Stopped as e:
        print(e, file=sys.stderr)
        sys.exit(e.code)
    outcomes = [seen[each.id] for each in some if each.id in seen]
    if not some or len(outcomes) != len(some):
        return []
    lines: list[str] = []
    tell(Lines(lines.append), outcomes, len(outcomes))
    return [*lines, *end_lines(outcomes, {}, "")]


@asynccontextmanager
async def _started(known: Checked, names: Iterable[str]) -> AsyncIterator[dict[str, Looking]]:
    stores = {name: known.looking(name) for name in dict.fromkeys(names)}
    for store in stores.values():
        await store.start()
    yield stores


def _print(lines: Iterable[str]) -> None:
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # as the whole command ends where nobody reads
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
