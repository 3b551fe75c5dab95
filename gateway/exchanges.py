"""Exchanges: what the gateway's small servers share, one request and one answer per connection.

Promises: so many connections at once and no more; an answer that nobody reads ends with its time; `stop` waits for
nobody. What a request is, and how long it may take, is the server's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

MAX_CONNECTIONS: Final = 32

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Listen = Callable[[Serve], Awaitable[asyncio.Server]]
"""Begin to listen, with this for each connection."""


class Exchanges:
    """The connections of one server.

    `answer` reads a request and returns what is written for it; it raises nothing but OSError and TimeoutError, with
    which the connection ends. `refusal` is written where there are too many at once.
    """

    def __init__(
        self, answer: Callable[[asyncio.StreamReader], Awaitable[bytes]], refusal: bytes, *, write_timeout_s: float
    ) -> None:
        self._answer = answer
        self._refusal = refusal
        self._write_timeout_s = write_timeout_s
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[Any]] = set()

    async def start(self, listen: Listen) -> asyncio.Server:
        """Listen, and serve from now on. Raises: what `listen` raises."""
        self._server = server = await listen(self._serve)
        return server

    async def stop(self) -> bool:
        """Stop at once; what is being answered is cancelled. Returns whether it ran: safe to call twice."""
        if self._server is None:
            return False
        self._server.close()
        self._server = None
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._open.add(task)
        try:
            writer.write(self._refusal if len(self._open) > MAX_CONNECTIONS else await self._answer(reader))
            await asyncio.wait_for(writer.drain(), self._write_timeout_s)
        except (OSError, TimeoutError):
            pass  # the asking side is gone, or does not read
        except asyncio.CancelledError:
            # stop() waits for this task; a task of the streams module that ends cancelled would only be logged.
            pass
        finally:
            self._open.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
