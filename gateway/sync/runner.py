"""Passes over the mailboxes of a configuration: several at once, each under its lock, one bad one stopping no other."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.contract import Connector, Context, MailboxStore, StoreFault
from gateway.log import Silence
from gateway.spool.folder import lock_file
from gateway.sync.engine import Result, run_pass
from gateway.sync.pace import Pace
from gateway.sync.state import State
from gateway.sync.transfer import Report
from gateway.sync.values import Pairing

if TYPE_CHECKING:
    from gateway.config import Config

STATE_FILE: Final = "sync.sqlite"
_LOCKS: Final = "sync-locks"


class SyncUnusable(Exception):
    """Nothing can be kept in step at all; the text says why."""


@dataclass(slots=True)
class Outcome:
    """What became of a mailbox's pass. `fault`: why it was not done, or not to the end."""

    pairing: Pairing
    result: Result = field(default_factory=Result)
    fault: str | None = None
    is_locked: bool = False
    """Another process is at it."""
    began_at: float = 0.0
    seconds: float = 0.0

    @property
    def is_done(self) -> bool:
        """Tell whether both sides are in step now, all items that could be."""
        return self.fault is None and self.result.refused is None and not self.result.report.problems


Listener = Callable[[Pairing, Report | Outcome | None], None]
"""Told of each mailbox: None as its pass begins, the Report as it goes on, the Outcome at its end."""


def state_path(config: Config) -> Path:
    """Return where the state of all syncs is."""
    return (config.spool_dir or config.state_dir) / STATE_FILE


@contextmanager
def open_state(config: Config) -> Iterator[State]:
    """Open the state of all syncs. Raises: SyncUnusable."""
    path = state_path(config)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = State(path)
    except (OSError, ValueError) as e:
        raise SyncUnusable(f"the state of the syncs cannot be opened: {e}") from None
    try:
        yield state
    finally:
        state.close()


@asynccontextmanager
async def open_stores(config: Config, names: Iterable[str], log: Any = None) -> AsyncIterator[dict[str, MailboxStore]]:
    """Start the connectors of these names, for their mailboxes alone. Raises: SyncUnusable."""
    async with AsyncExitStack() as stack:
        stores: dict[str, MailboxStore] = {}
        for name in dict.fromkeys(names):
            section = config.connectors[name]
            folder = config.state_dir / name
            made: Connector
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                context = Context(
                    hostname=config.gateway.name,
                    state_dir=folder,
                    base_dir=config.base_dir,
                    log=log or Silence({}),
                    clock=time.time,
                    stop_s=config.gateway.stop_after,
                )
                made = section.cls(name, section.config, context)
                await made.start()
            except (OSError, ValueError) as e:
                raise SyncUnusable(f"connector {name} cannot start: {e}") from None
            stack.push_async_callback(made.stop)
            assert isinstance(made, MailboxStore), "checked with the configuration"
            stores[name] = made
        yield stores


@contextmanager
def locked(config: Config, pairing: str) -> Iterator[None]:
    """Be the one process that works on a pairing. Raises: BlockingIOError where another one is."""
    folder = config.state_dir / _LOCKS
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = lock_file(folder / hashlib.blake2b(pairing.encode(), digest_size=12).hexdigest())
    try:
        yield
    finally:
        os.close(handle)


class Runner:
    """Passes over mailboxes of one configuration. `listen` is told how they go on."""

    def __init__(
        self,
        config: Config,
        state: State,
        stores: Mapping[str, MailboxStore],
        listen: Listener | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._state = state
        self._stores = stores
        self._listen = listen or (lambda pairing, what: None)
        self._clock = clock

    async def one(self, pairing: Pairing, *, retry: bool = False, allow_removal: bool = False) -> Outcome:
        """Bring a mailbox in step once; what went wrong is in the outcome, never raised."""
        outcome = Outcome(pairing, began_at=self._clock())
        began = time.monotonic()
        self._listen(pairing, None)
        try:
            with locked(self._config, pairing.id):
                await self._pass(outcome, retry, allow_removal)
        except BlockingIOError:
            outcome.fault, outcome.is_locked = "another process is at this mailbox", True
        except StoreFault as fault:
            outcome.fault = str(fault.status)
        except OSError as e:
            outcome.fault = str(e)
        outcome.seconds = time.monotonic() - began
        self._listen(pairing, outcome)
        return outcome

    async def _pass(self, outcome: Outcome, retry: bool, allow_removal: bool) -> None:
        pairing = outcome.pairing
        section = self._config.syncs[pairing.set]
        policy = section.policy(allow_removal=allow_removal)
        await self._state.add_pairing(pairing)
        paces = Pace(policy.batch_items, section.patience), Pace(policy.batch_items, section.patience)

        def told(report: Report) -> None:
            outcome.result.report = report
            self._listen(pairing, report)

        left, right = self._stores[pairing.left.connector], self._stores[pairing.right.connector]
        async with left.open(pairing.left.mailbox) as one, right.open(pairing.right.mailbox) as two:
            outcome.result = await run_pass(
                pairing.id, one, two, self._state, policy, progress=told, paces=paces, retry=retry, clock=self._clock
            )

    async def all(
        self, pairings: Sequence[Pairing], *, retry: bool = False, allow_removal: bool = False
    ) -> list[Outcome]:
        """Bring mailboxes in step, several at once; returns what became of each, in their order."""
        most = {name: asyncio.Semaphore(section.mailboxes_at_once) for name, section in self._config.syncs.items()}
        made: dict[str, Outcome] = {}

        async def work(pairing: Pairing) -> None:
            async with most[pairing.set]:
                made[pairing.id] = await self.one(pairing, retry=retry, allow_removal=allow_removal)

        tasks = [asyncio.ensure_future(work(pairing)) for pairing in pairings]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
        return [made[pairing.id] for pairing in pairings]
