"""What an operator can set for a file drop; each description is the documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Final, Literal, Self, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from connectors.filedrop.formats import FormatName, FormatSettings, codec_class
from connectors.filedrop.formats.addresses import read_one
from connectors.filedrop.formats.bsmtp.settings import BsmtpSettings
from connectors.filedrop.formats.ftn.settings import FtnSettings
from connectors.filedrop.formats.maildir import MaildirSettings
from connectors.filedrop.formats.mbox import MboxSettings
from connectors.filedrop.formats.mh import MhSettings
from connectors.filedrop.formats.mmdf import MmdfSettings
from connectors.filedrop.formats.pickup import PickupSettings
from connectors.filedrop.formats.records.settings import RecordsSettings
from connectors.filedrop.formats.replay import ReplaySettings
from connectors.filedrop.formats.smf.settings import SmfSettings
from connectors.filedrop.formats.uucp import UucpSettings
from gateway.contract import Address, AddressError, ConnectorConfig
from mappings.network import registry

MIB: Final = 1024 * 1024

SHARED_TABLES: Final = {"foreign": "replay", "smf70": "smf", "smf71": "smf"}
"""Formats whose options are in another's table; all others have one of their own name."""

FOLDERS: Final = ("inbox", "outbox", "errors", "archive", "status", "inbox_attachments", "outbox_attachments")
_SIGNAL: Final = re.compile(r"[^/\\{}\x00]*\{(?:name|stem)\}[^/\\{}\x00]+")
_DATE: Final = re.compile(r"\{(?:yyyy|mm|dd)\}")

StatusWhen = Literal["delivered", "relayed", "delayed", "failed"]


def table_name(format: FormatName) -> str:
    """Return the name of the table that holds a format's own options."""
    return SHARED_TABLES.get(format, format)


OWN_NETWORKS: Final[Mapping[str, str]] = {"smf70": "mhs", "smf71": "mhs", "uucp": "uucp", "ftn": "ftn"}
"""The network of a format's own addresses, where it is not internet mail."""


class FileDropConfig(ConnectorConfig):
    """A pair of folders by which another system hands over messages as files."""

    format: FormatName = Field("pickup", description="The files' format; each has a page of its own.")
    network: str = Field(
        "",
        description="The network whose addresses the other system uses, e.g. mhs; an address in a file is read as "
        "one of it first, and as internet mail else. None: the format's own, which is mhs for smf70 and smf71, uucp "
        "for uucp, ftn for ftn, and internet mail for all others.",
    )
    recipients: list[str] = Field(
        [],
        description="Who gets the messages of a format that names no envelope, such as mbox; none: those in To, Cc "
        "and Bcc.",
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
        description="Create the folders where they are missing. Leave it off for a mounted share: a folder "
        "made while it is not mounted would hide it.",
    )
    ready: Literal["suffix", "rename", "trigger", "stable", "lock"] = Field(
        "suffix",
        description="When a file in the inbox is complete. suffix: when its name ends in `extension`; its writer uses "
        "another name and renames. rename: always, unless its name begins with a dot or ends as `temporary` says. "
        "trigger: when the file named by `trigger` is there. stable: when size and time stayed the same over "
        "`stable_polls` looks. lock: unless the file named by `lock` is there.",
    )
    extension: str | None = Field(
        None,
        description="The end of a complete file's name, and of the names we give; none: the format's own, e.g. .eml. "
        "An empty one takes files of any name.",
    )
    temporary: list[str] = Field(
        [".tmp", ".part", "~"],
        description="Ends of names of files that are still written; never taken. Nor is a name that begins with a dot.",
    )
    trigger: str = Field(
        "{name}.done",
        description="The trigger's name: `{name}` is the file's, `{stem}` that without its extension. Made after the "
        "file, and removed by us last of all.",
    )
    trigger_check: Literal["none", "size", "sha256"] = Field(
        "none",
        description="What a trigger holds, and is checked against: nothing; the file's size in octets; the size, a "
        "blank and the file's SHA-256 in hexadecimal.",
    )
    trigger_grace_s: float = Field(
        60.0, ge=0, description="Seconds that a file which differs from what its trigger says is waited for."
    )
    lock: str = Field("{name}.lck", description="The lock's name, as for `trigger`; made with O_EXCL.")
    lock_stale_s: float | None = Field(
        None, gt=0, description="Seconds after which an unchanged lock of somebody else's is removed; none: never."
    )
    stable_polls: int = Field(
        3, ge=1, le=1000, description="Looks, `poll_s` apart, over which a file must not have changed."
    )
    order: Literal["none", "name", "time"] = Field(
        "none",
        description="name, time: messages are accepted one after the other, in the order of the files' names or "
        "times of change, and one that must wait holds up the others; none: many at once, as they are found.",
    )
    errors: str | None = Field(
        None,
        description="Folder for files that cannot be taken, with a NAME.reason.txt beside each that says why; on the "
        "inbox's file system. None: they stay in the inbox as NAME.bad.",
    )
    archive: str | None = Field(
        None,
        description="Folder that accepted files are moved to, on the inbox's file system; `{yyyy}`, `{mm}` and `{dd}` "
        "stand for the day (UTC). None: they are deleted.",
    )
    inbox_attachments: str | None = Field(
        None,
        description="Folder of the files that messages in the inbox name, on the inbox's file system; none: the inbox.",
    )
    attachment_grace_s: float = Field(
        60.0, ge=0, description="Seconds that a message waits for a file which it names and which is not there yet."
    )
    trusted: bool = Field(
        True, description="Whoever can write into the inbox may send to recipients beyond our own domains."
    )
    poll_s: float = Field(5.0, gt=0, le=3600, description="Seconds between looks into the inbox, where no event came.")
    isolate: bool = Field(
        True,
        description="Read the inbox in a process of its own: faster, and a file that breaks its decoder, or a share "
        "that hangs, stops nothing else. Off: in threads of the gateway, which takes less memory.",
    )
    batch: int = Field(
        500, ge=1, le=10_000, description="Files claimed in one go; each is ours, and off the inbox, from then on."
    )
    max_in_flight: int = Field(
        1_000, ge=1, le=10_000, description="Messages handed over and not yet accepted, at most."
    )
    max_file_bytes: int = Field(64 * MIB, ge=1024, description="A larger file is not taken, nor a larger message put.")
    max_header_bytes: int = Field(2 * MIB, ge=1024, le=4 * MIB, description="A longer header makes a file a bad one.")
    max_recipients: int = Field(1000, ge=1, description="A file with more recipients is a bad one.")
    envelope_headers: bool = Field(
        True,
        description="pickup: write the envelope into X-Sender and X-Receiver lines on top of each file, one file a "
        "recipient. Off: plain messages, one file each, for a reader that needs no envelope.",
    )
    put_as: Literal["rename", "trigger", "lock"] = Field(
        "rename",
        description="How a reader of the outbox knows that a file is complete. Each file is written under a hidden "
        "name, synced and renamed. trigger: then a trigger is made, named and filled as `trigger` and "
        "`trigger_check` say. lock: a lock is there while it is put, named as `lock` says.",
    )
    name_style: Literal["long", "dos83"] = Field(
        "long",
        description="Names of the files we put. long: time, message id and recipient's number. dos83: eight "
        "characters and an extension of at most three.",
    )
    max_messages_per_file: int = Field(
        1,
        ge=1,
        le=10_000,
        description="Messages that we put into one file, where the format allows several. With 1, a retry after a "
        "crash finds the file it had put; with more, some messages may be put twice then.",
    )
    outbox_attachments: str | None = Field(
        None,
        description="Folder for the files that messages in the outbox name; none: the outbox. In a format without "
        "attachments they are put here and named at the end of the text; without this option they are left out.",
    )
    outbox_attachments_shown: str | None = Field(
        None,
        description="What readers call the folder `outbox_attachments`, e.g. F:\\MAIL\\ATT; none: as it is configured.",
    )
    unpack_tnef: bool = Field(
        False,
        description="Take apart what Outlook packs for itself (winmail.dat) to text, files, messages and meetings that "
        "every mail program reads. Formats without MIME always do.",
    )
    max_files_in_outbox: int = Field(
        10_000, ge=1, description="With this many files in the outbox, messages wait here until some are fetched."
    )
    min_free_bytes: int = Field(
        16 * MIB, ge=0, description="With less room on the outbox's file system, messages wait here."
    )
    status: str | None = Field(
        None,
        description="Folder for status files: what became of each message that came in, under its file's name; may be "
        "the outbox. None: the sender gets reports as mail.",
    )
    status_when: list[StatusWhen] = Field(
        ["delivered", "relayed", "delayed", "failed"],
        description="What a status file is written about, for messages that do not say themselves what they want.",
    )
    status_extension: str | None = Field(
        None, description="The end of a status file's name; none: the format's own, or .sts."
    )
    pickup: PickupSettings | None = Field(None, description="Options of format pickup.")
    replay: ReplaySettings | None = Field(None, description="Options of formats replay and foreign.")
    smf: SmfSettings | None = Field(None, description="Options of formats smf70 and smf71.")
    bsmtp: BsmtpSettings | None = Field(None, description="Options of format bsmtp.")
    uucp: UucpSettings | None = Field(None, description="Options of format uucp.")
    mbox: MboxSettings | None = Field(None, description="Options of format mbox.")
    mmdf: MmdfSettings | None = Field(None, description="Options of format mmdf.")
    maildir: MaildirSettings | None = Field(None, description="Options of format maildir.")
    mh: MhSettings | None = Field(None, description="Options of format mh.")
    records: RecordsSettings | None = Field(
        None, description="Options of format records; it needs the file that describes them, `describe`."
    )
    ftn: FtnSettings | None = Field(None, description="Options of format ftn; it needs our node's address, `aka`.")

    @model_validator(mode="before")
    @classmethod
    def _has_network(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("network"):
            return {**values, "network": OWN_NETWORKS.get(str(values.get("format")), "smtp")}
        return values

    @field_validator("network")
    @classmethod
    def _is_installed(cls, value: str) -> str:
        if not registry().is_installed(value):
            raise ValueError(f"no network {value!r} is installed; there are {', '.join(registry().names)}")
        return registry().canonical_name(value)

    @field_validator("extension", "status_extension")
    @classmethod
    def _is_extension(cls, value: str | None) -> str | None:
        if value and (len(value) < 2 or value[0] != "." or not value[1:].isalnum() or value.lower() in _OURS):
            raise ValueError("an extension is a dot and letters or digits, such as .eml, and not .bad, .tmp or .part")
        return value

    @field_validator("trigger", "lock")
    @classmethod
    def _is_signal(cls, value: str) -> str:
        if not _SIGNAL.fullmatch(value):
            raise ValueError("write {name} or {stem} and what comes after it, such as {name}.done; no folder")
        return value

    @model_validator(mode="after")
    def _has_folders(self) -> Self:
        if self.inbox is None and self.outbox is None:
            raise ValueError("a file drop needs an inbox, an outbox, or both")
        named = [(name, PurePath(folder)) for name in FOLDERS if (folder := getattr(self, name)) is not None]
        for i, (name, folder) in enumerate(named):
            for other, its in named[:i]:
                if folder == its and not may_be_one(name, other):
                    raise ValueError(f"{other} and {name} are one folder; what is put there would be taken again")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for format in get_args(FormatName):
            table = table_name(format)
            if table != table_name(self.format) and getattr(self, table, None) is not None:
                raise ValueError(
                    f'the table {table} is for another format than "{self.format}"; set format = "{format}", or take '
                    "the table away"
                )
        try:
            self.addresses()
        except AddressError as e:
            raise ValueError(f"recipients: {e}") from None
        for name in ("trigger", "lock"):
            end = getattr(self, name).rpartition("}")[2]
            if self.extension and end.lower().endswith(self.extension.lower()):
                raise ValueError(f"a name by {name} must not end in the extension of messages, {self.extension}")
        if self.name_style == "dos83":
            for text in (self.extension, self.status_extension):
                if text is not None and len(text) > 4:
                    raise ValueError(f'with name_style = "dos83" an extension has at most three characters, not {text}')
        self.format_settings()
        return self

    def addresses(self) -> tuple[Address, ...]:
        """Return `recipients`, parsed. Raises: AddressError."""
        return tuple(read_one(text, self.network) for text in self.recipients)

    def format_settings(self) -> FormatSettings:
        """Return the chosen format's own options. Raises: ValueError where some are needed and none given."""
        table = table_name(self.format)
        given: FormatSettings | None = getattr(self, table, None)
        if given is not None:
            return given
        try:
            return codec_class(self.format).Settings()
        except ValidationError as e:
            needed = ", ".join(str(error["loc"][0]) for error in e.errors() if error["loc"])
            raise ValueError(f'format = "{self.format}" needs a table {table} with {needed}') from None

    def archive_base(self) -> str | None:
        """Return the archive's folder up to where the day comes into its name."""
        if self.archive is None or not _DATE.search(self.archive):
            return self.archive
        parts = PurePath(self.archive).parts
        first = next(n for n, part in enumerate(parts) if _DATE.search(part))
        return str(PurePath(*parts[:first]))


_OURS: Final = (".bad", ".tmp", ".part")


def may_be_one(one: str, other: str) -> bool:
    """Tell whether two of the folders may be the same."""
    return {one, other} in (
        {"status", "outbox"},
        {"inbox", "inbox_attachments"},
        {"outbox", "outbox_attachments"},
        {"status", "outbox_attachments"},
        {"inbox_attachments", "outbox_attachments"},
    )
