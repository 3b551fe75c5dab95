"""How hard a server is asked: less at once and later where it says that it is too much, slowly more again.

Additive increase, multiplicative decrease (RFC 5681 §3.1 for the idea): the items of a batch are the window. A server's
own hint is kept to the second. What does not get better within `patience_s` is given up for this pass.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gateway.mailbox import StoreFault
from gateway.outcome import Scope

T = TypeVar("T")
FIRST_WAIT_S: Final = 0.5
MOST_WAIT_S: Final = 300.0
DAY_S: Final = 86400.0
_CUT: Final = "4.4.2"
"""A connection that ended says nothing of the others."""
MOST_TRIES: Final = 4
"""How often one call is tried that fails for a reason of its own, while the server is well."""


class Server:
    """What the mailboxes of one server have in common: where it says of itself that it is busy, all leave it alone."""

    def __init__(self) -> None:
        self.until = 0.0
        self.why = ""


class Pace:
    """The pace of one mailbox at its server. `place` is what faults that it raises tell as where they came from."""

    def __init__(
        self,
        most_items: int = 50,
        patience_s: float = 3600.0,
        bytes_per_day: int | None = None,
        *,
        server: Server | None = None,
        place: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._most = most_items
        self._window = float(most_items)
        self._patience_s = patience_s
        self._s_a_byte = DAY_S / bytes_per_day if bytes_per_day else 0.0
        self._server = server or Server()
        self._place = place
        self._clock = clock
        self._sleep = sleep
        self._wait_s = FIRST_WAIT_S
        self._until = 0.0
        self._bad_since: float | None = None
        self._tries = 0
        self.faults = 0
        """How many calls were not done."""
        self.waited_s = 0.0
        """In all."""
        self.why = ""
        """What the server said when it did not do what was asked; empty once it does."""
        self.is_waiting = False
        self.watchers: list[Callable[[], None]] = []
        """Called before it is waited, and after."""

    @property
    def items(self) -> int:
        """Return how many items may be put into one call now."""
        return max(1, int(self._window))

    @property
    def is_well(self) -> bool:
        """Tell whether the server takes all that it is given: another call may be under way beside one."""
        return self._bad_since is None and self._window >= self._most and not self._s_a_byte

    def good(self) -> None:
        """A call was answered."""
        self._window = min(self._most, self._window + 1)
        self._wait_s = FIRST_WAIT_S
        self._bad_since = None
        self._tries = 0
        self.why = ""

    def spent(self, octets: int) -> None:
        """So many octets were sent: where a day has an allowance, the next call waits for their share of it."""
        if self._s_a_byte:
            self._until = max(self._until, self._clock()) + octets * self._s_a_byte
            self.why = self.why or "no more is sent than the day's share"

    def bad(self, fault: StoreFault) -> None:
        """A call was not done. Raises: the fault, with its place, where it is for good, or has been for too long."""
        fault.place = fault.place or self._place
        self.faults += 1
        if fault.status.is_permanent:
            raise fault
        self._tries += 1
        self.why = str(fault.status)
        if fault.scope is Scope.MESSAGE and not fault.unknown and self._tries >= MOST_TRIES:
            self._tries = 0
            raise fault
        now = self._clock()
        if self._bad_since is None:
            self._bad_since = now
        wait_s = fault.retry_after_s if fault.retry_after_s is not None else self._wait_s
        if now + wait_s - self._bad_since > self._patience_s:
            raise fault
        self._window = max(1.0, self._window / 2)
        self._wait_s = min(MOST_WAIT_S, self._wait_s * 2)
        self._until = max(self._until, now + wait_s)
        if fault.scope is Scope.HOP and fault.status.code != _CUT:
            self._server.until = max(self._server.until, self._until)
            self._server.why = self.why

    async def ready(self) -> None:
        """Wait until the server may be asked again."""
        while (rest := max(self._until, self._server.until) - self._clock()) > 0:
            self.waited_s += rest
            self.why = self.why or self._server.why
            self.is_waiting = True
            self._tell()
            try:
                await self._sleep(rest)
            finally:
                self.is_waiting = False
            self._tell()

    def _tell(self) -> None:
        for watcher in list(self.watchers):
            watcher()

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Do what can be done twice, until it is done. Raises: StoreFault as `bad` does."""
        while True:
            await self.ready()
            try:
                answer = await call()
            except StoreFault as fault:
                self.bad(fault)
            else:
                self.good()
                return answer
