"""imap: the mailboxes of an IMAP server, as a store, and as a source that mail is fetched from."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, ClassVar, cast

from connectors.imap.config import ImapConfig, ImapFetch
from connectors.imap.looking import HOLDS
from connectors.imap.mailbox import ImapMailbox
from connectors.imap.sessions import Sessions
from connectors.imap.wire.tokens import Spilled
from gateway.contract import (
    Connector,
    ConnectorConfig,
    Content,
    Context,
    Health,
    Holds,
    Intake,
    OpenMailbox,
    Scope,
    Status,
    StoreFault,
    unreadable,
)
from gateway.mailbox import QuickStore
from gateway.retrieval.source import Acknowledge, Retrieval, Way


class Spool:
    """A large message, taken in pieces while it is fetched: a file without a name, which is gone with this."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as the content
        self.size = 0

    def write(self, octets: bytes) -> None:
        self._file.write(octets)
        self.size += len(octets)

    def close(self) -> None:
        self._file.flush()

    def read(self, offset: int, length: int) -> bytes:
        """Return octets of it. Raises: OSError."""
        return os.pread(self._file.fileno(), length, offset)


class Imap(Connector, QuickStore):
    """An IMAP server's mailboxes."""

    Config: ClassVar[type[ConnectorConfig]] = ImapConfig
    looking: ClassVar[str] = "connectors.imap.looking:Looking"

    def __init__(self, name: str, config: ImapConfig, context: Context) -> None:
        super().__init__(name, config, context)
        self._sessions = Sessions(config, context.base_dir, lambda before, size: Spool(context.state_dir))
        self._trouble: str | None = None
        # Two that fetch from one mailbox would be in each other's way.
        self.singleton = bool(config.fetch)
        ways = [
            Way(
                each,
                _path(each.folder),
                _acknowledge(each),
                refused_to=_path(each.refused_to),
                stays=each.after == "mark",
            )
            for each in config.fetch
        ]
        self._retrieval = Retrieval(name, context, ways, self.open, peer=config.host, protocol="IMAP")

    def health(self) -> Health:
        trouble = self._trouble or self._retrieval.trouble()
        return Health(trouble is None, trouble or "ok")

    def missing(self) -> Sequence[str]:
        file = cast(ImapConfig, self.config).passwords
        return () if file is None else unreadable("passwords", self.context.base_dir / file)

    async def start(self) -> None:
        """Read the authorities and the passwords. Raises: OSError or ValueError that names what is wrong."""
        await self._sessions.start()

    async def stop(self) -> None:
        return

    async def run(self, intake: Intake) -> None:
        """Fetch from the mailboxes that are configured, until cancelled."""
        await self._retrieval.run(intake)

    def holds(self) -> Holds:
        return HOLDS

    @asynccontextmanager
    async def open(self, mailbox: str) -> AsyncIterator[ImapMailbox]:
        config = cast(ImapConfig, self.config)
        pool = await self._sessions.pool(mailbox, self._works)
        try:
            opened = ImapMailbox(pool, _content, poll_s=config.poll_s, several=config.multiappend)
            try:
                await opened.prepare()
            except StoreFault as fault:
                if fault.scope is Scope.HOP:
                    self._trouble = str(fault.status)
                raise
            yield opened
        finally:
            await pool.close()

    def _works(self) -> None:
        self._trouble = None


def _path(folder: str) -> tuple[str, ...]:
    return tuple(part for part in folder.split("/") if part)


def _acknowledge(fetch: ImapFetch) -> Acknowledge | None:
    """Return what is done with messages that are in the spool."""

    async def delete(box: OpenMailbox, ids: Sequence[str]) -> Sequence[Status | None]:
        return await box.remove(ids, purge=True)

    async def mark(box: OpenMailbox, ids: Sequence[str]) -> Sequence[Status | None]:
        return [_unless_gone(each) for each in await box.set_flags(ids, frozenset(("seen",)), frozenset())]

    async def move(box: OpenMailbox, ids: Sequence[str]) -> Sequence[Status | None]:
        folder = await box.create_folder(_path(fetch.move_to))
        return [_unless_gone(each) for each in await box.move(ids, folder.id)]

    return {"delete": delete, "mark": mark, "move": move, "keep": None}[fetch.after]


def _unless_gone(answer: str | Status) -> Status | None:
    """Return a fault; that the item is gone, or that the server does not say where to, is none."""
    return answer if isinstance(answer, Status) and answer.code not in ("4.2.0", "4.5.0") else None


def _content(octets: bytes | Spilled) -> Content:
    if isinstance(octets, bytes):
        return Content(octets)
    assert isinstance(octets.to, Spool)
    return Content(octets.to)


__all__ = ["Imap"]
