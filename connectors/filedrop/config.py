"""What an operator can set for a file drop; each description is the documentation."""

from __future__ import annotations

from pathlib import PurePath
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from connectors.filedrop.formats import FormatName
from gateway.contract import ConnectorConfig
from mappings.network import registry

MIB = 1024 * 1024


class FileDropConfig(ConnectorConfig):
    """A pair of folders by which another system hands over messages as files."""

    format: FormatName = Field("pickup", description="The files' format: pickup (one RFC 5322 message a file).")
    network: str = Field(
        "smtp",
        description="The network whose addresses the other system uses, e.g. mhs; an address in a file is read as "
        "one of it first, and as internet mail else.",
    )
    inbox: str | None = Field(
        None,
        description="Folder that files are taken from, relative to the configuration file; none: nothing comes in.",
    )
    outbox: str | None = Field(
        None,
        description="Folder that files are put into, relative to the configuration file; none: nothing goes out.",
    )
    create_folders: bool = Field(
        False,
        description="Create inbox and outbox where they are missing. Leave it off for a mounted share: a folder "
        "made while it is not mounted would hide it.",
    )
    ready: Literal["suffix", "rename"] = Field(
        "suffix",
        description="When a file in the inbox is complete. suffix: when its name ends in `extension`. rename: always, "
        "unless its name begins with a dot or ends in .tmp, .part or ~. In both, a writer writes under another name "
        "and renames.",
    )
    extension: str = Field(".eml", description="The end of a complete file's name, and of the names we give.")
    errors: str | None = Field(
        None,
        description="Folder for files that cannot be taken, with a .bad.txt beside each that says why; on the inbox's "
        "file system. None: they stay in the inbox as NAME.bad.",
    )
    archive: str | None = Field(
        None, description="Folder that accepted files are moved to, on the inbox's file system; none: they are deleted."
    )
    trusted: bool = Field(
        True, description="Whoever can write into the inbox may send to recipients beyond our own domains."
    )
    envelope_headers: bool = Field(
        True,
        description="Write the envelope into X-Sender and X-Receiver lines on top of each file, one file a recipient. "
        "Off: plain messages, one file each, for a reader that needs no envelope.",
    )
    poll_s: float = Field(5.0, gt=0, le=3600, description="Seconds between looks into the inbox, where no event came.")
    batch: int = Field(
        500, ge=1, le=10_000, description="Files claimed in one go; each is ours, and off the inbox, from then on."
    )
    max_in_flight: int = Field(200, ge=1, le=10_000, description="Messages handed over and not yet accepted, at most.")
    order: Literal["none", "name"] = Field(
        "none", description="name: files are handed over in the order of their names; none: as they are found."
    )
    max_file_bytes: int = Field(64 * MIB, ge=1024, description="A larger file is not taken, nor a larger message put.")
    max_header_bytes: int = Field(2 * MIB, ge=1024, le=4 * MIB, description="A longer header makes a file a bad one.")
    max_recipients: int = Field(1000, ge=1, description="A file with more recipients is a bad one.")
    max_files_in_outbox: int = Field(
        10_000, ge=1, description="With this many files in the outbox, messages wait here until some are fetched."
    )
    min_free_bytes: int = Field(
        16 * MIB, ge=0, description="With less room on the outbox's file system, messages wait here."
    )

    @field_validator("network")
    @classmethod
    def _is_installed(cls, value: str) -> str:
        if not registry().is_installed(value):
            raise ValueError(f"no network {value!r} is installed; there are {', '.join(registry().names)}")
        return registry().canonical_name(value)

    @field_validator("extension")
    @classmethod
    def _is_extension(cls, value: str) -> str:
        if len(value) < 2 or value[0] != "." or not value[1:].isalnum() or value.lower() in (".bad", ".tmp", ".part"):
            raise ValueError("an extension is a dot and letters or digits, such as .eml, and not .bad, .tmp or .part")
        return value

    @model_validator(mode="after")
    def _has_folders(self) -> Self:
        if self.inbox is None and self.outbox is None:
            raise ValueError("a file drop needs an inbox, an outbox, or both")
        named = [
            (name, PurePath(folder))
            for name in ("inbox", "outbox", "errors", "archive")
            if (folder := getattr(self, name)) is not None
        ]
        for i, (name, folder) in enumerate(named):
            for other, its in named[:i]:
                if folder == its:
                    raise ValueError(f"{other} and {name} are one folder; what is put there would be taken again")
        return self
