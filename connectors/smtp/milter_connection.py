"""One connection to a filter that speaks the milter protocol: connect, agree, one command and its replies at a time.

Promises: never more in memory than a packet in each direction and the changes of a header, which are bounded; what goes
wrong, the filter's silence beyond the caller's time included, leaves as MilterError, OSError or
TimeoutError, and the connection is of no use after it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from connectors.smtp import milter_wire as wire
from connectors.smtp.milter_wire import Answer, MilterError, Options, Progress, Replies, Reply, ReplyCode, Stage, Wishes

_READ: Final = 64 * 1024
MOST_CHANGES: Final = 1000
"""Of one message's header and envelope."""

Ending = Answer | ReplyCode

DEFAULT_MACROS: Final[dict[Stage, tuple[str, ...]]] = {
    Stage.CONNECT: ("j", "_", "{daemon_name}", "{daemon_addr}", "{daemon_port}", "{client_name}", "{client_addr}",
                    "{client_port}", "v"),
    Stage.HELO: ("{tls_version}", "{cipher}", "{cipher_bits}"),
    Stage.MAIL: ("i", "{auth_type}", "{auth_authen}", "{mail_addr}", "{mail_host}", "{mail_mailer}"),
    Stage.RCPT: ("{rcpt_addr}", "{rcpt_host}", "{rcpt_mailer}"),
    Stage.DATA: ("i",),
    Stage.END_OF_HEADER: ("i",),
    Stage.END: ("i",),
}  # fmt: skip
"""What a filter gets that asked for nothing else: the macros that sendmail sends by itself, as far as they are ours."""


class MilterConnection:
    """An open connection, after the agreement. Made by `open_milter`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._replies = Replies()
        self._come: deque[Reply] = deque()
        self.options = Options(0, wire.Actions(0), Wishes(0), {})
        self.is_reused = False
        """It has served another client before, so that the filter may have closed it meanwhile."""

    def wants(self, without: Wishes) -> bool:
        """Whether the filter wants a step; `without` is the flag by which it does not."""
        return not self.options.wishes & without

    def macros(self, stage: Stage, known: dict[str, str]) -> bytes:
        """Return the packet of those macros that the filter wants at this stage and that are known."""
        names = self.options.macros.get(stage, DEFAULT_MACROS[stage])
        return wire.macros(stage, [(name, known[name]) for name in names if known.get(name)])

    async def negotiate(self) -> None:
        """Raises: MilterError where the two do not come together."""
        self._writer.write(wire.negotiate())
        said = await self._next()
        if not isinstance(said, Options):
            raise MilterError(f"{said} in answer to the negotiation")
        if not wire.OLDEST_VERSION <= said.version <= wire.VERSION:
            raise MilterError(f"version {said.version} of the protocol")
        self.options = said

    async def step(self, packets: bytes, silent: Wishes = Wishes(0)) -> Ending:  # noqa: B008  a constant
        """Say a command, and return the filter's answer: CONTINUE where it was agreed that there is none."""
        self._writer.write(packets)
        if self.options.wishes & silent:
            await self._writer.drain()
            return Answer.CONTINUE
        while True:
            said = await self._next()
            if isinstance(said, (Answer, ReplyCode)):
                return said
            if not isinstance(said, Progress):
                raise MilterError(f"{type(said).__name__} before the end of the message")

    async def end(
        self, packets: bytes, on_body: Callable[[bytes], Awaitable[None]]
    ) -> tuple[Sequence[wire.Change], Ending]:
        """Say that the message is whole; return the changes that the filter wants, and its answer.

        The pieces of a new body are given to `on_body` as they come. Raises: MilterError where the filter wants what it
        has not agreed to.
        """
        self._writer.write(packets)
        changes: list[wire.Change] = []
        while True:
            said = await self._next()
            if isinstance(said, (Answer, ReplyCode)):
                return changes, said
            if isinstance(said, Progress):
                continue
            if isinstance(said, Options):
                raise MilterError("a negotiation at the end of the message")
            if not self.options.actions & wire.NEEDS[type(said)]:
                raise MilterError(f"{type(said).__name__}, which it has not agreed to")
            if isinstance(said, wire.ReplaceBody):
                await on_body(said.octets)
                continue
            changes.append(said)
            if len(changes) > MOST_CHANGES:
                raise MilterError(f"over {MOST_CHANGES} changes")

    async def _next(self) -> Reply:
        while not self._come:
            octets = await self._reader.read(_READ)
            if not octets:
                raise MilterError("the filter closed the connection")
            self._come.extend(self._replies.receive(octets))
        return self._come.popleft()

    @property
    def may_go_on(self) -> bool:
        """Whether another client can follow on this connection."""
        return (
            self.options.version >= wire.VERSION
            and not self._come
            and self._replies.is_between
            and not self._reader.at_eof()
            and not self._writer.is_closing()
        )

    def say(self, packets: bytes) -> None:
        """Say what has no answer."""
        self._writer.write(packets)

    def close(self) -> None:
        """Say goodbye, and close; nothing is waited for."""
        if not self._writer.is_closing():
            self._writer.write(wire.QUIT)
            self._writer.close()

    def abort(self) -> None:
        """Close in the middle of something."""
        self._writer.transport.abort()


async def open_milter(place: str, timeout_s: float) -> MilterConnection:
    """Connect to a filter, and agree. Raises: OSError, TimeoutError, MilterError."""
    async with asyncio.timeout(timeout_s):
        if place.startswith("unix:"):
            streams = await asyncio.open_unix_connection(place.removeprefix("unix:"))
        else:
            host, _, port = place.rpartition(":")
            streams = await asyncio.open_connection(host.strip("[]"), int(port))
        connection = MilterConnection(*streams)
        try:
            await connection.negotiate()
        except BaseException:
            connection.abort()
            raise
        return connection
