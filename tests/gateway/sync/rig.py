"""Two stores in memory under a runner, as a configuration puts them together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from gateway.config_sync import SyncSection
from gateway.contract import Holds, Status, StoreFault
from gateway.sync.opening import open_state
from gateway.sync.pairing import pairings
from gateway.sync.runner import Listener, Runner
from gateway.sync.state import State
from gateway.sync.values import Pairing
from tests.gateway.sync.memory import HOLDS, Memory


class Store:
    """A store whose mailboxes are in memory; `opens` counts how often each was opened."""

    def __init__(self, **boxes: Memory) -> None:
        self.boxes = boxes
        self.opens: dict[str, int] = {}

    def holds(self) -> Holds:
        return HOLDS

    @asynccontextmanager
    async def open(self, mailbox: str) -> AsyncIterator[Memory]:
        self.opens[mailbox] = self.opens.get(mailbox, 0) + 1
        if mailbox not in self.boxes:
            raise StoreFault(Status("5.1.1", f"there is no mailbox {mailbox}"))
        yield self.boxes[mailbox]


class Rig:
    """A configuration of one sync, `merger`, from `old` to `new`."""

    def __init__(
        self,
        folder: Path,
        old: Store,
        new: Store,
        state: State,
        listen: Listener | None,
        url: str | None,
        **options: Any,
    ) -> None:
        pairs = [{"from": name} for name in options.pop("mailboxes", sorted(old.boxes))]
        section = SyncSection.model_validate({"from": "old", "to": "new", "pair": pairs, **options})
        self.config = config_of(folder, section, url)
        self.old, self.new, self.state = old, new, state
        self.pairings: list[Pairing] = pairings("merger", section, folder)
        self.runner = Runner(self.config, state, {"old": old, "new": new}, listen=listen)


def config_of(folder: Path, section: SyncSection, url: str | None = None) -> Any:
    """Return what a runner reads of a configuration; `url` is that of a database that several machines share."""
    return SimpleNamespace(
        syncs={"merger": section},
        state_dir=folder,
        spool_dir=folder if url is None else None,
        spool_url=url or "",
        base_dir=folder,
    )


@contextmanager
def rig(
    folder: Path, old: Store, new: Store, *, listen: Listener | None = None, url: str | None = None, **options: Any
) -> Iterator[Rig]:
    """Open a state and lend the rig."""
    config = config_of(folder, cast(Any, None), url)
    with open_state(config) as state:
        yield Rig(folder, old, new, state, listen, url, **options)


def message(number: int, text: str = "text") -> bytes:
    """Return a message with a Message-ID."""
    return f"Message-ID: <{number}@example.org>\r\nSubject: {number}\r\n\r\n{text}\r\n".encode()


def mailbox(count: int) -> Memory:
    """Return a mailbox with so many messages."""
    made = Memory()
    for number in range(count):
        made.put(message(number), "inbox", at=1.5e9 + number, name=f"<{number}@example.org>")
    return made
