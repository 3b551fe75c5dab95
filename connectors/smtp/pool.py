"""Connections by next hop: opened over the hop's targets in order, kept while idle, bounded in number and age."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from connectors.smtp.connection import Connection
from connectors.smtp.faults import HopFault
from connectors.smtp.mx import Target
from gateway.contract import Deferred, Failed, Scope, Status

Open = Callable[[Target, Callable[[Connection], None]], Awaitable[Connection]]
"""Open a connection to a target; the callback is to be called when it ends. Raises HopFault."""


class Finds(Protocol):
    """What a Pool asks of a Finder."""

    async def find(self, next_hop: str) -> list[Target]: ...

    def shun(self, target: Target) -> None: ...

    def praise(self, target: Target) -> None: ...


_STOPPED: Final = Status("4.3.2", "the gateway is being stopped")


class _Hop:
    """One next hop's connections: `count` are all that are open or being opened."""

    __slots__ = ("count", "idle", "waiters")

    def __init__(self) -> None:
        self.count = 0
        self.idle: list[tuple[float, Connection]] = []
        """Unused ones with the loop time at which they are closed; the last is the freshest."""
        self.waiters: deque[asyncio.Future[None]] = deque()


class Pool:
    """Lends connections.

    Promises: at most `max_per_hop` connections to one next hop; one that ended, or is full, is never lent; an idle
    one is closed in good order after `idle_timeout_s`; after `close` none is left.
    """

    def __init__(self, finder: Finds, open_: Open, *, max_per_hop: int, idle_timeout_s: float) -> None:
        self._finder = finder
        self._open = open_
        self._max = max_per_hop
        self._idle_timeout_s = idle_timeout_s
        self._hops: dict[str, _Hop] = {}
        self._hop_of: dict[Connection, str] = {}
        """All that are open, and counted at their next hop."""
        self._leaving: set[Connection] = set()
        """Said QUIT; not counted any more."""
        self._all_left = asyncio.Event()
        self._all_left.set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def size(self) -> int:
        """Connections open now, idle ones included."""
        return len(self._hop_of)

    @property
    def idle(self) -> int:
        return sum(len(hop.idle) for hop in self._hops.values())

    async def acquire(self, next_hop: str) -> Connection:
        """Return a connection for the caller alone, until `release`. Waits where the hop's are all lent.

        Raises: HopFault where no target of the next hop can be talked to.
        """
        hop = self._hops.setdefault(next_hop, _Hop())
        while True:
            if self._is_closed:
                self._forget(next_hop, hop)
                raise HopFault(Deferred(_STOPPED, Scope.MESSAGE))
            while hop.idle:
                _, connection = hop.idle.pop()
                if connection.is_fit:
                    connection.is_reused = True
                    return connection
                self._leave(connection)
            if hop.count < self._max:
                break
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            hop.waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake(hop)  # the place that was ours goes to the next
                raise
            finally:
                if waiter in hop.waiters:
                    hop.waiters.remove(waiter)
        hop.count += 1
        try:
            connection = await self._connect(next_hop)
        except BaseException:
            hop.count -= 1
            self._wake(hop)
            self._forget(next_hop, hop)
            raise
        if connection.ended is None and not self._is_closed:
            self._hop_of[connection] = next_hop
        else:
            hop.count -= 1
            self._wake(hop)
        return connection

    def release(self, connection: Connection) -> None:
        """Take a connection back: keep it where it is fit for more, end it otherwise."""
        next_hop = self._hop_of.get(connection)
        if next_hop is None:
            connection.abort("closed")
            return
        hop = self._hops[next_hop]
        if not connection.is_fit or self._idle_timeout_s <= 0 or self._is_closed:
            self._leave(connection)
            return
        loop = asyncio.get_running_loop()
        hop.idle.append((loop.time() + self._idle_timeout_s, connection))
        self._wake(hop)
        if self._timer is None:
            self._timer = loop.call_later(self._idle_timeout_s, self._sweep)

    async def close(self, within_s: float) -> None:
        """End all: idle ones by QUIT, lent ones at once. Returns within about `within_s`."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for hop in self._hops.values():
            while hop.waiters:
                self._wake(hop)
        idle = {connection for hop in self._hops.values() for _, connection in hop.idle}
        for connection in list(self._hop_of):
            if connection in idle:
                self._leave(connection)
            else:
                connection.abort("stopped")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._all_left.wait()
        for connection in list(self._leaving):
            connection.abort("stopped")

    async def _connect(self, next_hop: str) -> Connection:
        """Try the targets in order until one can be talked to (RFC 5321 §5.1)."""
        faults: list[HopFault] = []
        for target in await self._finder.find(next_hop):
            try:
                connection = await self._open(target, self._ended)
            except HopFault as fault:
                self._finder.shun(target)
                faults.append(fault)
                continue
            self._finder.praise(target)
            return connection
        # Final only where every host said so: one that could not be asked may still take the mail.
        raise next((f for f in faults if not isinstance(f.outcome, Failed)), faults[-1])

    def _ended(self, connection: Connection) -> None:
        self._leaving.discard(connection)
        if not self._leaving:
            self._all_left.set()
        next_hop = self._hop_of.pop(connection, None)
        if next_hop is None:
            return
        hop = self._hops[next_hop]
        hop.count -= 1
        hop.idle = [entry for entry in hop.idle if entry[1] is not connection]
        self._wake(hop)
        self._forget(next_hop, hop)

    def _leave(self, connection: Connection) -> None:
        """End a connection in good order; its place is free at once."""
        if connection.ended is None:
            self._leaving.add(connection)
            self._all_left.clear()
            next_hop = self._hop_of.pop(connection, None)
            if next_hop is not None:
                hop = self._hops[next_hop]
                hop.count -= 1
                self._wake(hop)
                self._forget(next_hop, hop)
            connection.quit()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        next_at: float | None = None
        for hop in list(self._hops.values()):
            over = [connection for close_at, connection in hop.idle if close_at <= now]
            hop.idle = [entry for entry in hop.idle if entry[0] > now]
            for connection in over:
                self._leave(connection)
            if hop.idle:
                next_at = min(hop.idle[0][0], next_at or hop.idle[0][0])
        if next_at is not None:
            self._timer = loop.call_at(next_at, self._sweep)

    @staticmethod
    def _wake(hop: _Hop) -> None:
        while hop.waiters:
            waiter = hop.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _forget(self, next_hop: str, hop: _Hop) -> None:
        if not hop.count and not hop.waiters and self._hops.get(next_hop) is hop:
            del self._hops[next_hop]
