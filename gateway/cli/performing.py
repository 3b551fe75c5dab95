"""Work that a command does in an event loop, until it is done or a signal stops it; without typer."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any, Final, Literal, TypeVar

from gateway.log import configure

T = TypeVar("T")
LogLevel = Literal["debug", "info", "warning", "error"]
_MOST_FILES: Final = 65_536
STOPPED: Final = "stopped; run it again, and it goes on from here"


class Stopped(Exception):
    """SIGTERM or Ctrl-C has stopped it; `code` is the exit status for that."""

    def __init__(self, number: int) -> None:
        self.code = 128 + number
        super().__init__(STOPPED)


def performed(
    work: Coroutine[Any, Any, T],
    *,
    log_format: Literal["console", "json"],
    secrets: Iterable[str],
    level: LogLevel = "warning",
    is_brief: bool = False,
) -> T:
    """Do it, with warnings of its connectors on standard error; SIGTERM and Ctrl-C stop it where it is. What is brief
    is done in asyncio's own loop, which is there already.

    Raises: Stopped, and what the work raises.
    """
    stopped: list[int] = []

    async def whole() -> T:
        task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()

        def stop(number: int) -> None:
            stopped.append(number)
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
        return await task

    _allow_many_files()
    sink = configure(format=log_format, level=level, secrets=secrets)
    try:
        if is_brief:
            return asyncio.run(whole())
        import uvloop

        return uvloop.run(whole())
    except asyncio.CancelledError:
        if not stopped:
            raise
        raise Stopped(stopped[0]) from None
    finally:
        sink.close()


def _allow_many_files() -> None:
    """Have as many connections as the system lets this user have: each mailbox takes some."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else hard
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
