"""maildir: a Maildir as a queue: each message a file in `new` or `cur`.

In: files of both are taken, those that are flagged as trashed or as drafts aside. Lines that end in LF come out with
CRLF, and every other octet stays, but for fields that tell the envelope (see `mailbox`).
Out: the message with LF line ends, with Return-Path and Delivered-To on top unless `envelope_headers` is off.
Source: https://cr.yp.to/proto/maildir.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from connectors.filedrop.formats.mailbox import MailboxSettings
from connectors.filedrop.formats.single import decoded, encoded
from connectors.filedrop.formats.values import Bad, Bare, Encoded, Options, Part, Stamp
from connectors.filedrop.maildir_layout import MaildirLayout
from gateway.contract import Blob, Capabilities, Item, Parcel
from gateway.formats.flags import Mark
from gateway.formats.maildir import MARK, folder_name, read_name
from gateway.mailbox_files import REAL, Operations


class MaildirSettings(MailboxSettings):
    """The options of maildir alone."""

    folder: str = Field(
        "",
        description="A folder of the Maildir that messages are put into, levels parted by /, such as Archive/2026; "
        "made where it is missing. Empty: the Maildir's own new.",
    )
    sizes: bool = Field(
        True, description="Tell each file's sizes in its name (,S= and ,W=), as Courier and Dovecot do."
    )
    info_mark: Literal[":", ";", "!"] = Field(
        MARK, description="What stands before the flags in a name; another than : where the file system forbids that."
    )

    @field_validator("folder")
    @classmethod
    def _is_path(cls, value: str) -> str:
        folder_name(value.split("/") if value else ())
        return value


@dataclass(frozen=True, slots=True)
class MaildirFile(Bare):
    """The codec of a Maildir's files."""

    name: str
    options: Options
    settings: MaildirSettings
    Settings: ClassVar[type[MaildirSettings]] = MaildirSettings
    extension: ClassVar[str] = ""
    many_a_file: ClassVar[bool] = False
    folders: ClassVar[tuple[str, ...]] = ("new", "cur")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(header_networks=(self.options.network,))

    @property
    def one_a_recipient(self) -> bool:
        return self.options.envelope_headers

    def is_message(self, name: str) -> bool:
        """Tell whether a file is to be taken: neither trashed nor a draft."""
        return not read_name(name, self.settings.info_mark).marks & (Mark.DELETED | Mark.DRAFT)

    def layout(self, folder: Path, ops: Operations = REAL) -> MaildirLayout:
        """Return the layout of the outbox: a Maildir."""
        inner = folder_name(self.settings.folder.split("/") if self.settings.folder else ())
        settings = self.settings
        return MaildirLayout(
            folder,
            folder / inner if inner else folder,
            self.options.hostname,
            sizes=settings.sizes,
            mark=settings.info_mark,
            ops=ops,
        )

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        """Yield the one message of a file, or what is wrong with it. Raises: OSError alone."""
        yield decoded(file, stamp, self.name, self.options, self.settings)

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return the file for these recipients."""
        return encoded(parcel, items, self.options)
