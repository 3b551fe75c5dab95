"""Passes over the mailboxes of a configuration: several at once, each under its lock, one bad one stopping no other."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from gateway.contract import MailboxStore, OpenMailbox, StoreFault
from gateway.log import Silence
from gateway.sync.ends import Report, Result
from gateway.sync.engine import retry_pass, run_pass
from gateway.sync.opening import NotNow, alone
from gateway.sync.outcome import Outcome as Outcome
from gateway.sync.pace import Pace, Server
from gateway.sync.passes import BEAT_S, Passes
from gateway.sync.preview import Preview, plan_pass
from gateway.sync.progress import Event
from gateway.sync.stages import CLOSED, CUTTING, PLANNED, ROLLING_BACK, begun, done, policy_for
from gateway.sync.state import State
from gateway.sync.values import Pairing, Place, Policy
from gateway.sync.verify import Checked, verify

if TYPE_CHECKING:
    from gateway.config import Config

T = TypeVar("T")


Listener = Callable[[Pairing, Event], None]


class Runner:
    """Passes over mailboxes of one configuration. `listen` is told how they go on.

    `address_of` gives an X.500 originator's internet address, where the mapping knows one.
    """

    def __init__(
        self,
        config: Config,
        state: State,
        stores: Mapping[str, MailboxStore],
        *,
        listen: Listener | None = None,
        address_of: Callable[[str], str | None] | None = None,
        log: Any = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.state = state
        self._stores = stores
        self._listen = listen or (lambda pairing, what: None)
        self._address_of = address_of
        self.log = log or Silence({})
        self._clock = clock
        self._passes = Passes(state, clock)
        self._servers: dict[str, Server] = defaultdict(Server)
        self._noted: dict[str, Pairing] = {}
        self._into: dict[Place, asyncio.Lock] = {}

    def policy(self, pairing: Pairing, *, allow_removal: bool = False) -> Policy:
        """Return how a mailbox is kept in step by its configuration."""
        return self.config.syncs[pairing.set].policy(allow_removal=allow_removal)

    @asynccontextmanager
    async def opened(self, pairing: Pairing) -> AsyncIterator[tuple[OpenMailbox, OpenMailbox]]:
        """Open both sides. Raises: StoreFault, which says where a mailbox cannot be opened."""
        async with AsyncExitStack() as stack:
            boxes: list[OpenMailbox] = []
            for place in (pairing.left, pairing.right):
                try:
                    boxes.append(await stack.enter_async_context(self._stores[place.connector].open(place.mailbox)))
                except StoreFault as fault:
                    raise _placed(fault, place.connector) from fault
            yield boxes[0], boxes[1]

    async def preview(self, pairing: Pairing) -> Preview:
        """Return what a pass would do; nothing is written. Raises: StoreFault."""
        async with self.opened(pairing) as (one, two):
            policy = policy_for(await self._passes.stage(pairing.id) or PLANNED, self.policy(pairing))
            return await plan_pass(pairing.id, one, two, self.state, policy, clock=self._clock)

    async def check(
        self, pairing: Pairing, *, sample: int | None = None, seed: int = 0, wait_s: float = 0.0
    ) -> Checked:
        """Compare both sides, with no pass at this mailbox meanwhile; what went wrong is in the answer."""
        self._listen(pairing, None)
        checked = Checked(pairing, sample=sample, seed=seed, began_at=self._clock())
        began = time.monotonic()
        patience_s = self.config.syncs[pairing.set].patience
        try:
            mine = alone(self.config, self.state, pairing.id, wait_s=wait_s)
            async with mine, self.opened(pairing) as (one, two):
                policy = policy_for(await self._passes.stage(pairing.id) or PLANNED, self.policy(pairing))
                await verify(
                    checked,
                    one,
                    two,
                    self.state,
                    policy,
                    patience_s=patience_s,
                    progress=lambda report: self._listen(pairing, report),
                    clock=self._clock,
                )
        except StoreFault as fault:
            checked.fault = str(_placed(fault, fault.place).status)
        except (NotNow, OSError) as e:
            checked.fault = str(e)
        except Exception as e:  # noqa: BLE001  a bug that one mailbox brings out must not stop the others
            checked.fault = self._bug(pairing, e)
        checked.seconds = time.monotonic() - began
        self._listen(pairing, checked)
        return checked

    def _bug(self, pairing: Pairing, fault: Exception) -> str:
        self.log.exception("sync_fault", pairing=pairing.id)
        return f"a fault of this program: {type(fault).__name__}: {fault}"

    async def one(
        self,
        pairing: Pairing,
        *,
        retry: bool = False,
        allow_removal: bool = False,
        boxes: tuple[OpenMailbox, OpenMailbox] | None = None,
        wait_s: float = 0.0,
    ) -> Outcome:
        """Bring a mailbox in step once, or `retry` what did not get across alone; `boxes` where it is open already.
        Another process at the mailbox is waited for, for `wait_s`; another pass of this one into the same mailbox, to
        its end, since of two at once neither would find what the other one brings.

        What went wrong is in the outcome; nothing but a fault of the state is raised.
        """
        outcome = Outcome(pairing, began_at=self._clock())
        began = time.monotonic()
        self._listen(pairing, None)
        try:
            async with (
                self._into.setdefault(pairing.right, asyncio.Lock()),
                alone(self.config, self.state, pairing.id, wait_s=wait_s),
            ):
                await self._whole(outcome, self.policy(pairing, allow_removal=allow_removal), retry, boxes)
        except NotNow as reason:
            outcome.fault, outcome.is_locked = str(reason), True
        outcome.seconds = time.monotonic() - began
        self._listen(pairing, outcome)
        return outcome

    async def unopened(self, pairing: Pairing, fault: Exception) -> Outcome:
        """Note that a mailbox could not be opened; returns it as the outcome of a pass."""
        told_fault = str(fault.status) if isinstance(fault, StoreFault) else self._bug(pairing, fault)
        outcome = Outcome(pairing, fault=told_fault, began_at=self._clock())
        await self.state.add_pairing(pairing)
        at, why = outcome.began_at, outcome.fault or ""
        await self._passes.end(pairing.id, outcome.report, is_done=False, fault=why, began_at=at)
        return outcome

    async def _whole(
        self, outcome: Outcome, policy: Policy, retry: bool, boxes: tuple[OpenMailbox, OpenMailbox] | None
    ) -> None:
        """Do a pass with all that is noted around it. Raises: NotNow."""
        pairing = outcome.pairing
        if self._noted.get(pairing.id) != pairing:
            await self.state.add_pairing(pairing)
            self._noted[pairing.id] = pairing
        stage = await self._passes.stage(pairing.id) or PLANNED
        if stage in (CUTTING, ROLLING_BACK, CLOSED):
            raise NotNow(f"its stage is: {stage}")
        if begun(stage) != stage:
            await self.state.set_stage(pairing.id, begun(stage))
        try:
            outcome.result = await self._told(outcome, policy_for(stage, policy), retry, boxes)
            outcome.not_done = await self._passes.not_done(pairing.id)
        except StoreFault as fault:
            outcome.fault = str(fault.status)
        except OSError as e:
            outcome.fault = str(e)
        except SQLAlchemyError as e:  # a disk that is full is no fault of this program
            outcome.fault = f"the state of the syncs cannot be read or written: {getattr(e, 'orig', None) or e}"
        except _TakenOver:
            outcome.fault = "another process has taken this mailbox over, this one having lost its lock"
        except asyncio.CancelledError:
            outcome.fault = "stopped"
            raise
        except Exception as e:  # noqa: BLE001  a bug that one mailbox brings out must not stop the others
            outcome.fault = self._bug(pairing, e)
        finally:
            fault_told = outcome.fault or ""
            if outcome.fault is None and (refused := outcome.result.refused) is not None:
                fault_told = "too much is gone from the right" if refused.is_lost else "too much would be removed"
            report = outcome.result.report
            at = outcome.began_at
            await self._passes.end(pairing.id, report, is_done=outcome.is_done, fault=fault_told, began_at=at)
        if (
            outcome.fault is None
            and outcome.result.refused is None
            and not retry
            and done(begun(stage)) != begun(stage)
        ):
            await self.state.set_stage(pairing.id, done(begun(stage)))

    async def _told(
        self, outcome: Outcome, policy: Policy, retry: bool, boxes: tuple[OpenMailbox, OpenMailbox] | None
    ) -> Result:
        """Do a pass while it is told how it goes on. Raises: StoreFault, _TakenOver."""
        pairing = outcome.pairing

        def goes_on(report: Report) -> None:
            outcome.result.report = report
            self._listen(pairing, report)

        async def beat() -> None:
            await asyncio.sleep(BEAT_S)
            await self._passes.begin(pairing.id, outcome.began_at)
            while await self._passes.going(pairing.id, outcome.result.report):  # noqa: ASYNC110  of another process
                await asyncio.sleep(BEAT_S)

        async def work() -> Result:
            if boxes is not None:
                return await self.engine(pairing, *boxes, policy, retry=retry, progress=goes_on)
            async with self.opened(pairing) as (one, two):
                return await self.engine(pairing, one, two, policy, retry=retry, progress=goes_on)

        working, beating = asyncio.ensure_future(work()), asyncio.ensure_future(beat())
        try:
            await asyncio.wait((working, beating), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await beating  # a fault of the state
                raise _TakenOver
            return await working
        finally:
            for task in (working, beating):
                task.cancel()
            await asyncio.gather(working, beating, return_exceptions=True)

    async def engine(
        self,
        pairing: Pairing,
        left: OpenMailbox,
        right: OpenMailbox,
        policy: Policy,
        *,
        retry: bool = False,
        progress: Callable[[Report], None] | None = None,
    ) -> Result:
        """Have the engine do a pass, or `retry` what did not get across. Raises: StoreFault, which says where.

        Each mailbox has paces of its own: what one is refused says nothing of how patient to be with another. What a
        server says of itself, all its mailboxes heed.
        """
        patience_s = self.config.syncs[pairing.set].patience
        one, two = (
            Pace(
                policy.batch_items,
                patience_s,
                policy.bytes_per_day,
                server=self._servers[place.connector],
                place=place.connector,
            )
            for place in (pairing.left, pairing.right)
        )
        act = retry_pass if retry else run_pass
        try:
            return await act(
                pairing.id,
                left,
                right,
                self.state,
                policy,
                progress=progress,
                paces=(one, two),
                address_of=self._address_of,
                clock=self._clock,
            )
        except StoreFault as fault:
            raise _placed(fault, fault.place) from fault

    async def course_pass(self, pairing: Pairing, policy: Policy | None = None) -> Result:
        """Do a pass for whoever holds the mailbox's lock already. Raises: StoreFault."""
        async with self.opened(pairing) as (one, two):
            return await self.engine(pairing, one, two, policy or self.policy(pairing))

    async def all(
        self, pairings: Sequence[Pairing], *, retry: bool = False, allow_removal: bool = False, wait_s: float = 0.0
    ) -> list[Outcome]:
        """Bring mailboxes in step, several at once; returns what became of each, in their order."""

        def one(pairing: Pairing) -> Awaitable[Outcome]:
            return self.one(pairing, retry=retry, allow_removal=allow_removal, wait_s=wait_s)

        return await self.each(pairings, one)

    async def each(self, pairings: Sequence[Pairing], work: Callable[[Pairing], Awaitable[T]]) -> list[T]:
        """Do something with several mailboxes at once, as many as the configuration has it; returns the answers."""
        most = {name: asyncio.Semaphore(section.mailboxes_at_once) for name, section in self.config.syncs.items()}

        async def one(pairing: Pairing) -> T:
            async with most[pairing.set]:
                return await work(pairing)

        tasks = [asyncio.ensure_future(one(pairing)) for pairing in pairings]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)


def _placed(fault: StoreFault, place: str) -> StoreFault:
    """Return a fault that says in its text where it came from, as far as that is known."""
    status = fault.status.but(text=f"at {place}: {fault.status.text}") if place else fault.status
    return StoreFault(status, fault.scope, fault.retry_after_s, fault.unknown)


class _TakenOver(Exception):
    """Another process works on the mailbox now."""
