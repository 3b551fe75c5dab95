"""How a command reaches the gateway: by the control sockets while it runs, else by opening the spool itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from gateway.cli.options import fail, load_gateway
from gateway.config import spool_dir, spool_url, state_dir
from gateway.control import ControlError, NotRunning, ask_all

if TYPE_CHECKING:
    from gateway.config import GatewaySection

_SHORT_S: Final = 60.0
_LONG_S: Final = 6 * 3600.0


def perform(
    ctx: typer.Context,
    config: Path | None,
    command: str,
    given: Mapping[str, Any],
    *,
    as_json: bool,
    in_turn: bool = False,
) -> tuple[Any, bool]:
    """Do an operator's command; returns (its answer, whether a running gateway gave it).

    `in_turn` asks worker after worker and waits long, as for a change of the queue, and one alone where they share the
    spool. Exits with the reason where it cannot be done.
    """
    gateway, base = load_gateway(ctx, config, as_json=as_json)
    try:
        return asyncio.run(_perform(gateway, base, command, given, in_turn))
    except ControlError as e:
        fail(str(e), as_json=as_json)


def ask_running(ctx: typer.Context, config: Path | None, command: str, *, as_json: bool) -> list[Any]:
    """Ask every worker of a running gateway; empty where none runs. Exits with the reason where that fails."""
    gateway, base = load_gateway(ctx, config, as_json=as_json)
    try:
        return asyncio.run(ask_all(state_dir(gateway, base), command, {}))
    except NotRunning:
        return []
    except ControlError as e:
        fail(str(e), as_json=as_json)


async def _perform(
    gateway: GatewaySection, base: Path, command: str, given: Mapping[str, Any], in_turn: bool
) -> tuple[Any, bool]:
    from gateway.answers import CHANGES, merge

    folder = state_dir(gateway, base)
    is_shared = spool_dir(gateway, base) is None
    # A change of a hundred thousand deliveries takes minutes beside the mail that flows; it must not be told as failed.
    timeout_s = _LONG_S if in_turn or command in CHANGES else _SHORT_S
    only_first = is_shared and (in_turn or command in CHANGES)
    try:
        answers = await ask_all(folder, command, given, timeout_s, in_turn=in_turn, only_first=only_first)
    except NotRunning:
        return merge(command, await _outside(gateway, base, command, given)), False
    return merge(command, answers), True


async def _outside(gateway: GatewaySection, base: Path, command: str, given: Mapping[str, Any]) -> list[Any]:
    """Open the spool of a gateway that does not run, worker by worker, and do the command there."""
    from gateway import operate, upkeep
    from gateway.mapping import MappingDatabase
    from gateway.spool.api import SpoolError, SpoolUnusable
    from gateway.spool.nodes import OUTSIDE_WORKER
    from gateway.spool.open import open_spool, spool_workers

    url = spool_url(gateway, base)
    folder = spool_dir(gateway, base)
    answers = []
    try:
        if folder is None:
            workers = [OUTSIDE_WORKER]
        elif not any(folder.glob("worker-*.db")):
            raise ControlError(f"there is no spool yet in {folder}: nothing has been accepted")
        else:
            workers = spool_workers(url, base)
        for worker in workers:
            async with await open_spool(url, base, worker) as spool:
                desk = operate.Desk(
                    spool,
                    time.time,
                    expire_after_s=gateway.expire_after,
                    shared=folder is None,
                    state_dir=state_dir(gateway, base),
                    mapping=MappingDatabase(url, base),
                )
                answers.append(await {**operate.COMMANDS, **upkeep.COMMANDS}[command](desk, given))
    except (SpoolError, SpoolUnusable) as e:
        raise ControlError(f"the gateway does not run, and its spool cannot be opened: {e}") from None
    return answers
