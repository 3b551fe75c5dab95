"""Connectors of blocking libraries: methods that block are overridden, and run in threads of the connector's own.

`ThreadedSource` and `ThreadedDestination` (a connector may be both) keep by themselves what the contract promises:
nothing is acknowledged before the commit, what is not taken now comes again, an exception is a deferral, a stop is
bounded, and no more is under way than there are threads. Imported by way of `gateway.contract`.
Known limit: a thread cannot be ended from outside. One that hangs keeps its place until it returns; where all hang,
mail waits and health says so. None of them keeps the process from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeVar

from gateway.contract import (
    Batch,
    Connector,
    Content,
    ContentWriter,
    Context,
    Deferred,
    Envelope,
    Health,
    Intake,
    Message,
    Outcome,
    Parcel,
    Receipt,
    Rejected,
    Scope,
    Status,
    Unavailable,
    take,
)

T = TypeVar("T")

STUCK_S: Final = 300.0
"""A call that has not returned for so long is told of in `health`."""
RETRY_MIN_S: Final = 0.25
RETRY_MAX_S: Final = 30.0
_INLINE_OCTETS: Final = 256 * 1024
_FAULT: Final = Status("4.3.5", "a fault in the connector; the message stays queued")
_NO_ANSWER: Final = Status("4.4.1", "the next hop does not answer")

ItemId = tuple[int, int]


@dataclass(frozen=True, slots=True)
class HandOver:
    """One message that `ThreadedSource.poll` has read: its envelope, its octets, and in `token` whatever the connector
    itself needs to acknowledge it."""

    envelope: Envelope
    octets: bytes
    token: Any = field(default=None, compare=False)


class Threads:
    """A bounded pool of threads that nobody has to wait for: they are daemons, begun when they are first needed.

    Assumes: used from one event loop. At most `count` calls run at once; further ones wait in `begin`, where they cost
    nothing and can be cancelled.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._begun = 0
        self._free = 0
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._places = asyncio.Semaphore(count)
        self._running: dict[asyncio.Future[Any], tuple[str, float]] = {}

    async def begin(self, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Wait for a place and start `work` in it; the future has what it returns or raises.

        Cancelling whoever waits for the future does not end the work, which keeps its place until it returns.
        """
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._running[future] = (getattr(work, "__name__", "a call"), time.monotonic())

        def run() -> None:
            result: Any = None
            fault: BaseException | None = None
            try:
                result = work(*args)
            except BaseException as e:  # noqa: BLE001  whatever it is, it belongs to whoever waits, and ends no thread
                fault = e
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._done, future, result, fault)

        self._work.put(run)
        if self._free:
            self._free -= 1
        elif self._begun < self._count:
            self._begun += 1
            threading.Thread(target=self._serve, name=f"{self._name}-{self._begun}", daemon=True).start()
        return future

    async def call(self, work: Callable[..., T], *args: Any) -> T:
        """Run `work` in a thread and return what it returns. Raises: what it raises."""
        return await asyncio.shield(await self.begin(work, *args))

    async def quiet(self, within_s: float) -> bool:
        """Wait for the calls that run; tell whether they all ended in time."""
        if self._running:
            await asyncio.wait(list(self._running), timeout=within_s)
        return not self._running

    def stuck(self, for_s: float) -> list[str]:
        """Return in words which calls have been running for so long."""
        now = time.monotonic()
        return [f"{name}() for {now - since:.0f} s" for name, since in self._running.values() if now - since >= for_s]

    def _serve(self) -> None:
        while True:
            self._work.get()()

    def _done(self, future: asyncio.Future[Any], result: Any, fault: BaseException | None) -> None:
        self._running.pop(future, None)
        self._free += 1
        self._places.release()
        if future.done():
            return
        if fault is None:
            future.set_result(result)
        else:
            # A StopIteration cannot be a future's exception, and a library's exit is not the gateway's.
            usual = isinstance(fault, Exception) and not isinstance(fault, StopIteration)
            future.set_exception(fault if usual else RuntimeError(repr(fault)))
            future.exception()  # looked at, though nobody may wait any more


class ThreadedConnector(Connector):
    """The base of both: a connector whose methods may block.

    `connect`, `disconnect` and what the subclasses add are called in threads, several at once unless `threads` is 1.
    A method that waits for long looks at `self.stopping`, a `threading.Event`, and returns when it is set.
    """

    threads: ClassVar[int] = 4
    """The most calls that run at once."""

    def __init__(self, name: str, config: Any, context: Context) -> None:
        super().__init__(name, config, context)
        self.stopping = threading.Event()
        """Set when the connector is to stop."""
        self.pool = Threads(self.threads, name)

    def connect(self) -> None:
        """Make ready; blocks. Raises: OSError or ValueError with a text that names what is wrong and its mend."""
        return

    def disconnect(self) -> None:
        """Let go of everything; blocks. Called once all other calls have returned, or have had their time."""
        return

    async def start(self) -> None:
        self.stopping.clear()
        await self.pool.call(self.connect)

    async def stop(self) -> None:
        if self.stopping.is_set():
            return
        self.stopping.set()
        await self.pool.quiet(self.context.stop_s * 0.5)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.context.stop_s * 0.3):
                try:
                    await self.pool.call(self.disconnect)
                except Exception as fault:  # what cannot be let go of stops nobody
                    self.context.log.error("disconnect_fault", error=repr(fault), exc_info=fault)

    def health(self) -> Health:
        stuck = self.pool.stuck(STUCK_S)
        if stuck:
            return Health(False, f"of {self.threads} threads {len(stuck)} do not return: {', '.join(stuck[:3])}")
        return Health(True)


class ThreadedSource(ThreadedConnector):
    """A source by methods that may block: `poll`, and `done`, `refused` or `later` for each of what it gave."""

    at_once: ClassVar[int] = 8
    """The most messages that are handed over at once."""
    poll_every_s: ClassVar[float] = 1.0
    """The pause after a poll that found nothing."""

    _trouble = ""

    def poll(self) -> Sequence[HandOver]:
        """Return messages that wait at the peer; empty where none does. Blocks.

        What was given and is not `done` or `refused` is given again by a later call, also after a restart; a dedupe key
        in the envelope, which names the hand-over, lets it be known. May wait for messages, for as long as
        `self.stopping` is not set. Raises: anything; it is called again later.
        """
        raise NotImplementedError

    def done(self, hand: HandOver) -> None:
        """Acknowledge to the peer: the message is committed. Blocks."""
        raise NotImplementedError

    def refused(self, hand: HandOver, status: Status) -> None:
        """Tell the peer that the message is refused for good, or keep it where an operator finds it. Blocks."""
        raise NotImplementedError

    def later(self, hand: HandOver, status: Status) -> None:
        """Tell the peer to come back with the message, where it does not by itself. Blocks."""
        return

    async def run(self, intake: Intake) -> None:
        """Poll and hand over until cancelled; what is being accepted then is finished, in the bounds of a stop."""
        delay = RETRY_MIN_S
        tasks: set[asyncio.Task[bool]] = set()
        polling: asyncio.Future[Sequence[HandOver]] | None = None
        try:
            while True:
                polling = await self.pool.begin(self.poll)
                try:
                    hands = await asyncio.shield(polling)
                    self._trouble = ""
                except Exception as fault:  # noqa: BLE001  a library may raise anything
                    self._tell(fault)
                    hands, well = (), False
                else:
                    well = await self._take_all(intake, hands, tasks)
                polling = None
                if not well:
                    await asyncio.sleep(delay)
                    delay = min(RETRY_MAX_S, 2 * delay)
                    continue
                delay = RETRY_MIN_S
                if not hands:
                    await asyncio.sleep(self.poll_every_s)
        finally:
            self.stopping.set()
            left: list[asyncio.Future[Any]] = [*tasks, *([polling] if polling is not None else [])]
            if left:
                await asyncio.wait(left, timeout=self.context.stop_s * 0.7)
            self.stopping.clear()  # `stop` sets it for good; a source that is started again goes on

    async def _take_all(self, intake: Intake, hands: Sequence[HandOver], tasks: set[asyncio.Task[bool]]) -> bool:
        """Hand messages over, some at once; say whether all were taken or refused."""
        well = True
        for start in range(0, len(hands), self.at_once):
            some = [
                asyncio.get_running_loop().create_task(self._take(intake, hand))
                for hand in hands[start : start + self.at_once]
            ]
            tasks.update(some)
            await asyncio.wait(some)
            tasks.difference_update(some)
            well = well and all(task.result() for task in some)
        return well

    async def _take(self, intake: Intake, hand: HandOver) -> bool:
        """Hand one message over and tell the peer; say whether it is dealt with."""
        writer: ContentWriter | None = None
        is_over = False  # nothing has the content any more

        async def acknowledge(receipt: Receipt) -> None:
            nonlocal is_over
            is_over = receipt.duplicate
            await self.pool.call(self.done, hand)

        try:
            content = Content(hand.octets)
            if len(hand.octets) > _INLINE_OCTETS:
                content = await _stored(writer := intake.content(), hand.octets)
            await take(intake, Message(hand.envelope, content), acknowledge, within_s=self.context.stop_s * 0.6)
        except Rejected as e:
            is_over = True
            return await self._say(self.refused, hand, e.status)
        except Unavailable as e:
            is_over = True
            await self._say(self.later, hand, e.status)
            return False
        except Exception as fault:  # noqa: BLE001  an unknown fault is a deferral; it may have come after the commit
            self._tell(fault)
            await self._say(self.later, hand, _FAULT)
            return False
        finally:
            if is_over and writer is not None:
                await writer.abandon()
        return True

    async def _say(self, tell: Callable[[HandOver, Status], None], hand: HandOver, status: Status) -> bool:
        try:
            await self.pool.call(tell, hand, status)
        except Exception as fault:  # noqa: BLE001  the message comes again
            self._tell(fault)
            return False
        return True

    def _tell(self, fault: BaseException) -> None:
        self._trouble = str(fault) or repr(fault)
        known = isinstance(fault, OSError)
        self.context.log.error("source_fault", error=repr(fault), exc_info=None if known else fault)

    def health(self) -> Health:
        health = super().health()
        return Health(False, self._trouble) if health.ok and self._trouble else health


async def _stored(writer: ContentWriter, octets: bytes) -> Content:
    """Write a large content into the spool. Raises: Unavailable."""
    try:
        for start in range(0, len(octets), _INLINE_OCTETS):
            if not writer.write(octets[start : start + _INLINE_OCTETS]):
                await writer.drain()
        return await writer.finish()
    except BaseException:
        await writer.abandon()
        raise


class ThreadedDestination(ThreadedConnector):
    """A destination by a method that may block: `send`. Add `next_hop`, which is pure and does not."""

    def send(self, parcel: Parcel) -> Outcome | Mapping[ItemId, Outcome]:
        """Send one message to those recipients of it that are `parcel.items`. Blocks.

        Returns one outcome for all of them, or each one's by its item's id; who has none is tried again. Raises:
        anything: an OSError is a fault of the whole next hop, everything else one of this message; it is tried again.
        """
        raise NotImplementedError

    async def deliver(self, batch: Batch) -> None:
        """Send what a batch holds, one after the other; several calls run beside each other, in the pool's bounds."""
        parcels = list(batch.parcels)
        while parcels:
            for parcel in parcels:
                sending = await self.pool.begin(self.send, parcel)
                try:
                    await asyncio.wait((sending,))
                except asyncio.CancelledError:
                    # What the peer has got meanwhile is not to be sent a second time.
                    await asyncio.wait((sending,), timeout=self.context.stop_s * 0.7)
                    if sending.done():
                        self._settle(batch, parcel, sending)
                    raise
                if not self._settle(batch, parcel, sending):
                    return
            parcels = list(batch.more())

    def _settle(self, batch: Batch, parcel: Parcel, sent: asyncio.Future[Outcome | Mapping[ItemId, Outcome]]) -> bool:
        """Settle the items of a parcel; say whether the next hop is worth going on."""
        fault = sent.exception()
        found: Outcome | Mapping[ItemId, Outcome]
        if fault is None:
            found = sent.result()
        elif isinstance(fault, OSError):
            found = Deferred(_NO_ANSWER.but(cause=str(fault) or repr(fault)), Scope.HOP)
        else:
            self.context.log.error("send_fault", error=repr(fault), exc_info=fault)
            found = Deferred(_FAULT.but(cause=repr(fault)), Scope.MESSAGE)
        outcomes = found if isinstance(found, Mapping) else {item.id: found for item in parcel.items}
        for item in parcel.items:
            if item.id in outcomes:
                batch.settle(item.id, outcomes[item.id])
        return not any(isinstance(each, Deferred) and each.scope is Scope.HOP for each in outcomes.values())
