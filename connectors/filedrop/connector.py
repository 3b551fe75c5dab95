"""The connector class: one pair of folders, its life and its two sides."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from connectors.filedrop.config import FileDropConfig
from connectors.filedrop.destination import Outbox, OutboxDestination
from connectors.filedrop.formats import Options
from connectors.filedrop.inbox import Inbox
from connectors.filedrop.source import InboxSource
from gateway.contract import (
    Address,
    Batch,
    Capabilities,
    Connector,
    ConnectorConfig,
    Context,
    Deferred,
    Health,
    Intake,
    Scope,
    Status,
)

READERS = 2
WRITERS = 8
"""Threads that write files: a disk syncs many files at once faster than one after the other."""

_NO_OUTBOX = Deferred(Status("4.3.5", "this file drop has no outbox; set one, or route elsewhere"), Scope.HOP)


class FileDrop(Connector):
    """Messages as files in folders."""

    Config: ClassVar[type[ConnectorConfig]] = FileDropConfig
    singleton: ClassVar[bool] = True

    def __init__(self, name: str, config: FileDropConfig, context: Context) -> None:
        super().__init__(name, config, context)
        self._options = Options(
            network=config.network,
            hostname=context.hostname,
            envelope_headers=config.envelope_headers,
            max_recipients=config.max_recipients,
            max_header_bytes=config.max_header_bytes,
        )
        self._inbox, self._outbox, self._errors, self._archive = (
            None if folder is None else context.base_dir / folder
            for folder in (config.inbox, config.outbox, config.errors, config.archive)
        )
        self._in_trouble: str | None = None
        self._out_trouble: str | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix=f"{name}-in")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix=f"{name}-out")
        self._destination: OutboxDestination | None = None
        if self._outbox is not None:
            outbox = Outbox(self._outbox, config, self._options)
            self._destination = OutboxDestination(config, outbox, self._writers, context.log, self._tell_out)

    @property
    def capabilities(self) -> Capabilities:
        config: FileDropConfig = self.config
        return Capabilities(header_networks=(config.network,), bare_newlines=True, max_size_bytes=config.max_file_bytes)

    async def start(self) -> None:
        """Check the folders. One that is missing is told by `health`, for a share may be mounted later.

        Raises: ValueError where two folders are one, or errors or archive cannot be reached by a rename; OSError.
        """
        config: FileDropConfig = self.config
        named = {"inbox": self._inbox, "outbox": self._outbox, "errors": self._errors, "archive": self._archive}
        folders = {name: folder for name, folder in named.items() if folder is not None}
        for name, folder in folders.items():
            if config.create_folders:
                folder.mkdir(parents=True, exist_ok=True)
            if not folder.is_dir():
                trouble = f"the {name} {folder} does not exist; create it, mount it, or set create_folders"
                self.context.log.warning("a folder is missing", folder=name, path=str(folder), mend=trouble)
                if name == "outbox":
                    self._out_trouble = trouble
                else:
                    self._in_trouble = trouble
        there = {name: folder.resolve() for name, folder in folders.items() if folder.is_dir()}
        for name, folder in there.items():
            for other, its in there.items():
                if name < other and folder == its:
                    raise ValueError(
                        f"{name} and {other} are one folder, {folder}: files put there would be taken again"
                    )
            if name in ("errors", "archive") and "inbox" in there and _device(folder) != _device(there["inbox"]):
                raise ValueError(f"{name} {folder} is on another file system than the inbox; choose one beside it")

    async def stop(self) -> None:
        """Give the threads back; calls that hang on a dead share are left to themselves."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._writers.shutdown(wait=False, cancel_futures=True)

    def health(self) -> Health:
        trouble = [text for text in (self._in_trouble, self._out_trouble) if text is not None]
        return Health(False, "; ".join(trouble)) if trouble else Health(True)

    async def run(self, intake: Intake) -> None:
        if self._inbox is None:
            await asyncio.Event().wait()  # nothing comes in here; to be cancelled like any source
            return
        config: FileDropConfig = self.config
        inbox = Inbox(
            self._inbox,
            config,
            self._options,
            errors=self._errors,
            archive=self._archive,
            worker=self.context.worker,
        )
        await InboxSource(self.name, config, self.context, inbox, self._readers, self._tell_in).run(intake)

    def next_hop(self, address: Address) -> str:
        return str(self.config.outbox or "none")

    async def deliver(self, batch: Batch) -> None:
        if self._destination is None:
            for parcel in batch.parcels:
                for item in parcel.items:
                    batch.settle(item.id, _NO_OUTBOX)
            return
        await self._destination.deliver(batch)

    def _tell_in(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self._in_trouble:
            self.context.log.error("the inbox cannot be used", trouble=trouble)
        self._in_trouble = trouble

    def _tell_out(self, trouble: str | None) -> None:
        self._out_trouble = trouble


def _device(folder: Path) -> int:
    return os.stat(folder).st_dev
