"""folders: mailboxes in folders and files of this machine, as a store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar, Final, cast

from connectors.folders.backend import Backend
from connectors.folders.config import FoldersConfig
from connectors.folders.eudora import HOLDS as EUDORA
from connectors.folders.eudora import Eudora
from connectors.folders.files import HOLDS as FILES
from connectors.folders.files import MailFiles, looks_like
from connectors.folders.maildir import HOLDS as MAILDIR
from connectors.folders.maildir import Maildir
from connectors.folders.mh import HOLDS as MH
from connectors.folders.mh import Mh
from connectors.folders.opened import FolderMailbox, fault_of
from connectors.folders.pst import HOLDS as PST
from connectors.folders.pst import Pst
from connectors.folders.tree import INBOX, Tree
from connectors.folders.unmade import Unmade
from gateway.contract import Connector, ConnectorConfig, Context, Health, Holds, Status, StoreFault

_HOLDS: Final = {"maildir": MAILDIR, "mbox": FILES, "mmdf": FILES, "mh": MH, "eudora": EUDORA, "pst": PST}


class Folders(Connector):
    """Mailboxes in folders and files."""

    Config: ClassVar[type[ConnectorConfig]] = FoldersConfig

    def __init__(self, name: str, config: FoldersConfig, context: Context) -> None:
        super().__init__(name, config, context)

    def health(self) -> Health:
        return Health(True)

    async def start(self) -> None:
        return

    async def stop(self) -> None:
        return

    def holds(self) -> Holds:
        return _HOLDS[cast(FoldersConfig, self.config).format]

    @asynccontextmanager
    async def open(self, mailbox: str) -> AsyncIterator[FolderMailbox]:
        config = cast(FoldersConfig, self.config)
        try:
            backend = await asyncio.to_thread(self._backend, mailbox)
        except OSError as fault:
            raise fault_of(fault) from None
        try:
            yield FolderMailbox(backend, config.poll_s)
        finally:
            backend.close()

    def _backend(self, mailbox: str) -> Backend:
        config = cast(FoldersConfig, self.config)
        path = self._path(config.path, mailbox)
        try:
            return self._made(mailbox, path, create=False)
        except StoreFault:
            if not config.create or (path.exists() and not path.is_dir()):
                raise
            # The ids that the formats give the inbox they make.
            inbox = {"maildir": "", "mh": config.inbox or "inbox"}.get(config.format, "" if config.inbox else INBOX)
            return Unmade(_HOLDS[config.format], lambda: self._made(mailbox, path, create=True), inbox)

    def _made(self, mailbox: str, path: Path, *, create: bool) -> Backend:
        """Return the mailbox of a format. Raises: StoreFault, OSError."""
        config = cast(FoldersConfig, self.config)
        scratch = self.context.state_dir
        if config.format in ("mbox", "mmdf"):
            dialect = config.dialect if config.format == "mbox" else None
            inbox = self._path(config.inbox, mailbox) if config.inbox else None
            tree = Tree(path, inbox, looks_like(dialect), create=create)
            return MailFiles(tree, dialect, scratch=scratch, locks=config.locks, wait_s=config.lock_wait_s)
        if config.format == "pst":
            return Pst(path, scratch=scratch)
        if config.format == "eudora":
            attachments = self._path(config.attachments, mailbox) if config.attachments else path / "attach"
            return Eudora(path, attachments, scratch=scratch)
        if config.format == "mh":
            return Mh(
                path,
                inbox=config.inbox or "inbox",
                scratch=scratch,
                locks=config.locks,
                wait_s=config.lock_wait_s,
                create=create,
            )
        return Maildir(
            path,
            host=self.context.hostname,
            scratch=scratch,
            nested=config.layout == "nested",
            utf7=config.names == "utf-7",
            mark=config.info_mark,
            create=create,
        )

    def _path(self, template: str, mailbox: str) -> Path:
        """Return a path with a mailbox's name filled in. Raises: StoreFault where that can lead elsewhere."""
        user, _, domain = mailbox.rpartition("@") if "@" in mailbox else (mailbox, "", "")
        for part in (mailbox, user, domain):
            if part.startswith(".") or os.sep in part or "\0" in part:
                raise StoreFault(Status("5.1.3", f"{mailbox!r} can be no name of a mailbox here"))
        if not mailbox or ("{domain}" in template and not domain):
            raise StoreFault(Status("5.1.3", f"{mailbox!r} is no name of a mailbox for {template}"))
        filled = template.replace("{mailbox}", mailbox).replace("{user}", user).replace("{domain}", domain)
        return self.context.base_dir / filled


__all__ = ["Folders"]
