"""What whoever works on mailboxes opens first: the state of the syncs, the stores, and a mailbox's lock."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway.process_lock import lock_file

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.contract import Connector
    from gateway.mailbox import MailboxStore
    from gateway.sync.state import State

T = TypeVar("T")

STATE_FILE: Final = "sync.sqlite"
WAIT_S: Final = 30.0
"""How long a command waits for a mailbox at which the gateway or another command is."""
_LOCKS: Final = "sync-locks"
_TRY_S: Final = 0.2


class SyncUnusable(Exception):
    """Nothing can be kept in step at all; the text says why."""


class NotNow(Exception):
    """A mailbox is not to be worked on just now; the text says why."""


def state_place(config: Config) -> Path | str:
    """Return where the state of all syncs is: a file beside the spool's, or the database that nodes share."""
    folder = config.spool_dir
    return config.spool_url if folder is None else folder / STATE_FILE


@contextmanager
def open_state(config: Config) -> Iterator[State]:
    """Open the state of all syncs. Raises: SyncUnusable."""
    # A run that finds nothing to do needs neither, and SQLAlchemy takes longer to import than the rest of it.
    from gateway.sync.database import StateUnusable
    from gateway.sync.state import State

    place = state_place(config)
    try:
        if isinstance(place, Path):
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = State(place)
    except (OSError, StateUnusable) as e:
        raise SyncUnusable(f"the state of the syncs cannot be opened: {e}") from None
    try:
        yield state
    finally:
        state.close()


@asynccontextmanager
async def open_stores(config: Config, names: Iterable[str], log: Any = None) -> AsyncIterator[dict[str, MailboxStore]]:
    """Start the connectors of these names, for their mailboxes alone. Raises: SyncUnusable."""
    from gateway.contract import Context, MailboxStore
    from gateway.log import Silence

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
                    log=Silence({}) if log is None else log.bind(connector=name),
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


@asynccontextmanager
async def opened(*boxes: AbstractAsyncContextManager[T]) -> AsyncIterator[list[T]]:
    """Open mailboxes, all at once: a log-in is mostly waiting. Raises: what opening one of them raises."""
    async with AsyncExitStack() as stack:
        made = await asyncio.gather(*map(stack.enter_async_context, boxes), return_exceptions=True)
        for each in made:
            if isinstance(each, BaseException):
                raise each
        yield [each for each in made if not isinstance(each, BaseException)]


@contextmanager
def locked(state_dir: Path, pairing: str) -> Iterator[None]:
    """Be the one process of this machine that works on a pairing. Raises: NotNow where another one is."""
    folder = state_dir / _LOCKS
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = lock_file(folder / hashlib.blake2b(pairing.encode(), digest_size=12).hexdigest())
    except BlockingIOError:
        raise NotNow("another command, or the gateway, is at this mailbox just now") from None
    try:
        yield
    finally:
        os.close(handle)


@asynccontextmanager
async def alone(config: Config, state: State, pairing: str, *, wait_s: float = 0.0) -> AsyncIterator[None]:
    """Be who works on a pairing, of all processes and machines; another one is waited for, for so long.

    Raises: NotNow where another one is.
    """
    end = time.monotonic() + wait_s
    async with AsyncExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(config.state_dir, pairing))
                break
            except NotNow:
                if time.monotonic() >= end:
                    raise
            await asyncio.sleep(_TRY_S)
        if not await stack.enter_async_context(state.locked(pairing)):
            raise NotNow("another machine is at this mailbox just now")
        yield
