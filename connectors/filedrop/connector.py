"""The connector class: one pair of folders, its life and its two sides."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from connectors.filedrop import status
from connectors.filedrop.apart.spec import Spec
from connectors.filedrop.config import FileDropConfig, may_be_one
from connectors.filedrop.counter import Counter
from connectors.filedrop.destination import WRITERS, Letter, Outbox, OutboxDestination
from connectors.filedrop.extras import extras_of
from connectors.filedrop.formats import Codec, Encoded, Options, codec_class
from connectors.filedrop.inbox import Inbox
from connectors.filedrop.layouts import FilesLayout, Layout, Put
from connectors.filedrop.names import dos_stem
from connectors.filedrop.source import InboxSource
from connectors.filedrop.unpacked import Unpacked
from gateway.contract import (
    Address,
    Batch,
    Capabilities,
    Connector,
    ConnectorConfig,
    Context,
    Health,
    Intake,
    Parcel,
)
from gateway.mailbox_files import REAL

READERS: Final = 2


class FileDrop(Connector):
    """Messages as files in folders."""

    Config: ClassVar[type[ConnectorConfig]] = FileDropConfig
    singleton = True

    def __init__(self, name: str, config: FileDropConfig, context: Context) -> None:
        super().__init__(name, config, context)
        self.takes_reports = config.status is not None
        self._codec = self._made_codec()
        self._extension = self._codec.extension if config.extension is None else config.extension
        named = {
            "inbox": config.inbox,
            "outbox": config.outbox,
            "errors": config.errors,
            "archive": config.archive_base(),
            "status": config.status,
            "inbox_attachments": config.inbox_attachments,
            "outbox_attachments": config.outbox_attachments,
        }
        self._folders = {name: context.base_dir / folder for name, folder in named.items() if folder is not None}
        self._in_trouble: str | None = None
        self._out_trouble: str | None = None
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix=f"{name}-in")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix=f"{name}-out")
        self._destination = self._made_destination()

    @property
    def codec(self) -> Codec:
        """Return the codec of its files, with the options that are set."""
        return self._codec

    def _made_codec(self) -> Codec:
        config: FileDropConfig = self.config
        context = self.context
        options = Options(
            network=config.network,
            hostname=context.hostname,
            envelope_headers=config.envelope_headers,
            recipients=config.addresses(),
            max_recipients=config.max_recipients,
            max_header_bytes=config.max_header_bytes,
            base_dir=context.base_dir,
            counter=Counter(context.state_dir / "filedrop" / self.name).next,
        )
        codec = codec_class(config.format)(config.format, options, config.format_settings())
        if config.outbox_attachments is not None and not codec.capabilities.attachments:
            return Unpacked(codec, config.outbox_attachments_shown or config.outbox_attachments, context.hostname)
        return codec

    def _made_destination(self) -> OutboxDestination:
        config: FileDropConfig = self.config
        codec = self._codec
        outbox = to_status = None
        if "outbox" in self._folders:
            folder = self._folders["outbox"]
            outbox = Outbox(folder, config, self._layout(folder), self._encode, codec.capabilities)
        if "status" in self._folders:
            folder = self._folders["status"]
            to_status = Outbox(
                folder, config, status.status_layout(folder, codec, config, self._put()), self._encode_status
            )
        extras = extras_of(codec)
        return OutboxDestination(
            config,
            outbox,
            to_status,
            most=1 if codec.one_a_recipient else extras.max_recipients_a_file,
            own=extras.file_stem,
            status_letter=self._status_letter,
            executor=self._writers,
            log=self.context.log,
            tell=self._tell_out,
        )

    def _put(self) -> Put:
        config: FileDropConfig = self.config
        pattern = config.lock if config.put_as == "lock" else config.trigger
        return Put(config.put_as, pattern, config.trigger_check)

    def _layout(self, folder: Path) -> Layout:
        config: FileDropConfig = self.config
        make = extras_of(self._codec).layout
        own: Layout | None = None if make is None else make(folder, REAL)
        return own or FilesLayout(
            folder,
            self._codec,
            self._extension,
            enclosures=self._folders.get("outbox_attachments"),
            most=config.max_messages_per_file,
            style=config.name_style,
            put=self._put(),
        )

    def _encode(self, letter: Letter) -> Encoded:
        return self._codec.encode(letter.parcel, letter.items, letter.stem)

    def _status_letter(self, parcel: Parcel) -> Letter:
        assert parcel.report is not None
        stem = status.stem_for(parcel.report)
        return Letter(dos_stem(stem) if self.config.name_style == "dos83" else stem, parcel, parcel.items)

    def _encode_status(self, letter: Letter) -> Encoded:
        assert letter.parcel.report is not None
        return status.encode_status(self._codec, letter.parcel.report, letter.stem, self.config.network)

    @property
    def capabilities(self) -> Capabilities:
        config: FileDropConfig = self.config
        return replace(self._codec.capabilities, max_size_bytes=config.max_file_bytes, tnef=not config.unpack_tnef)

    async def start(self) -> None:
        """Check the folders. One that is missing is told by `health`, for a share may be mounted later.

        Raises: ValueError where two folders are one, or one cannot be reached by a rename; OSError.
        """
        config: FileDropConfig = self.config
        for name, folder in self._folders.items():
            if config.create_folders:
                folder.mkdir(parents=True, exist_ok=True)
            if not folder.is_dir():
                trouble = f"the {name} {folder} does not exist; create it, mount it, or set create_folders"
                self.context.log.warning("a folder is missing", folder=name, path=str(folder), mend=trouble)
                if name in ("outbox", "status", "outbox_attachments"):
                    self._out_trouble = trouble
                else:
                    self._in_trouble = trouble
        there = {name: folder.resolve() for name, folder in self._folders.items() if folder.is_dir()}
        for name, folder in there.items():
            for other, its in there.items():
                if name < other and folder == its and not may_be_one(name, other):
                    raise ValueError(
                        f"{name} and {other} are one folder, {folder}: files put there would be taken again"
                    )
            if (
                name in ("errors", "archive", "inbox_attachments")
                and "inbox" in there
                and _device(folder) != _device(there["inbox"])
            ):
                raise ValueError(f"{name} {folder} is on another file system than the inbox; choose one beside it")

    async def stop(self) -> None:
        """Give the threads back; calls that hang on a dead share are left to themselves."""
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._writers.shutdown(wait=False, cancel_futures=True)

    def health(self) -> Health:
        trouble = [text for text in (self._in_trouble, self._out_trouble) if text is not None]
        return Health(False, "; ".join(trouble)) if trouble else Health(True)

    async def run(self, intake: Intake) -> None:
        if "inbox" not in self._folders:
            await asyncio.Event().wait()  # nothing comes in here; to be cancelled like any source
            return
        if self.config.isolate:
            from connectors.filedrop.apart.parent import ReadingProcess

            await ReadingProcess(self.spec(), self.context, self._tell_in).run(intake)
            return
        source = InboxSource(self.name, self.config, self.context, self.inbox(), self.readers(), self._tell_in)
        await source.run(intake)

    def spec(self) -> Spec:
        """Return what a process that reads the inbox is told."""
        context = self.context
        return Spec(
            self.name,
            self.config,
            context.hostname,
            context.state_dir,
            context.base_dir,
            context.stop_s,
            context.worker,
            context.workers,
        )

    def inbox(self, kind: type[Inbox] = Inbox) -> Inbox:
        """Return what the source reads; `kind` is its class."""
        config: FileDropConfig = self.config
        folders = self._folders
        return kind(
            folders["inbox"],
            config,
            self._codec,
            extension=self._extension,
            errors=folders.get("errors"),
            archive=None if config.archive is None else self.context.base_dir / config.archive,
            attachments=folders.get("inbox_attachments"),
            worker=self.context.worker,
            clock=self.context.clock,
        )

    def readers(self) -> Executor:
        """Return what runs the calls that read and move files."""
        return self._readers

    def next_hop(self, address: Address) -> str:
        return str(self.config.outbox or self.config.status or "none")

    async def deliver(self, batch: Batch) -> None:
        await self._destination.deliver(batch)

    def _tell_in(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self._in_trouble:
            self.context.log.error("the inbox cannot be used", trouble=trouble)
        self._in_trouble = trouble

    def _tell_out(self, trouble: str | None) -> None:
        self._out_trouble = trouble


def _device(folder: Path) -> int:
    return os.stat(folder).st_dev
