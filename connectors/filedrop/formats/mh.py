"""mh: an MH folder as a queue: each message a file named by a number.

In: files whose names are numbers are taken; `,3` and `#3`, which are messages removed, are not. The header may end in a
line of dashes, as a draft's does: it comes out as the empty line it stands for. Lines that end in LF come out with
CRLF, and every other octet stays, but for fields that tell the envelope (see `mailbox`).
Out: the message with LF line ends, with Return-Path and Delivered-To on top unless `envelope_headers` is off.
Source: mh-mail(5), mh-draft(5) and mh-sequence(5) of nmh.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from connectors.filedrop.formats.mailbox import MailboxSettings
from connectors.filedrop.formats.single import decoded, encoded
from connectors.filedrop.formats.values import Bad, Bare, Encoded, Options, Part, Stamp
from connectors.filedrop.mh_layout import MhLayout
from gateway.contract import Blob, Capabilities, Item, Parcel
from gateway.formats.mh import UNSEEN, number
from gateway.mailbox_files import REAL, Operations
from gateway.mailbox_lock import Locking


class MhSettings(MailboxSettings):
    """The options of mh alone."""

    unseen: str = Field(
        UNSEEN,
        pattern=r"^(?:[A-Za-z][A-Za-z0-9_.-]{0,127})?$",
        description="The sequence that new messages are added to; the Unseen-Sequence of the reader's profile. "
        "Empty: none.",
    )
    locks: tuple[Locking, ...] = Field(
        ("fcntl",), description="How .mh_sequences is locked: fcntl, flock, dotlock; what the reader's profile says."
    )
    lock_wait_s: float = Field(30.0, ge=0, le=3600, description="How long to wait for the lock before the next retry.")


@dataclass(frozen=True, slots=True)
class MhFile(Bare):
    """The codec of an MH folder's files."""

    name: str
    options: Options
    settings: MhSettings
    Settings: ClassVar[type[MhSettings]] = MhSettings
    extension: ClassVar[str] = ""
    many_a_file: ClassVar[bool] = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(header_networks=(self.options.network,))

    @property
    def one_a_recipient(self) -> bool:
        return self.options.envelope_headers

    @staticmethod
    def is_message(name: str) -> bool:
        """Tell whether a file's name is a number."""
        return number(name) is not None

    def layout(self, folder: Path, ops: Operations = REAL) -> MhLayout:
        """Return the layout of the outbox: an MH folder."""
        return MhLayout(folder, self.settings.unseen, self.settings.locks, self.settings.lock_wait_s, ops)

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        """Yield the one message of a file, or what is wrong with it. Raises: OSError alone."""
        yield decoded(file, stamp, self.name, self.options, self.settings, dashes=True)

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return the file for these recipients."""
        return encoded(parcel, items, self.options)
