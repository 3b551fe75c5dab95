"""What goes in and out of a format's codec: values alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from gateway.contract import Address, Blob, Note, Recipient, Report, Status, quickly_made


class FormatSettings(BaseModel):
    """The base of each format's own options: unknown keys are errors, every field has a description."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Options:
    """What every codec is told. `network` is the one whose addresses the folder's other side uses."""

    network: str = "smtp"
    hostname: str = "localhost"
    """Our own name: the domain of a Message-ID that we add, and the name in our trace fields."""
    envelope_headers: bool = True
    recipients: tuple[Address, ...] = ()
    """Who gets a message whose file names no envelope; none: those of its To, Cc and Bcc."""
    max_recipients: int = 1000
    max_header_bytes: int = 2 * 1024 * 1024
    max_text_bytes: int = 16 * 1024 * 1024
    """The most octets of one text that is made anew, in memory; contents that travel as they are have no such limit."""
    base_dir: Path = Path()
    """Where relative paths in a format's own settings begin: the configuration file's folder."""
    counter: Callable[[str], int] | None = None
    """Gives the next number of a row that has this name: durable, never one twice, from 1 on, perhaps with gaps."""


class Refused(Exception):
    """A format cannot carry a message to these recipients, now and ever: why, as what they are settled with."""

    def __init__(self, status: Status) -> None:
        self.status = status
        super().__init__(str(status))


@quickly_made
@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file's reader knows beside its octets; used for fields that the file lacks.

    `token` is unique to this hand-over and stays the same when the file is read again, so that a Message-ID made
    from it does too. `at` is in seconds since 1970. `name` is what the file's writer called it.
    `beside` opens a file of the same folder by its name alone, for a format that keeps envelope or content there; what
    it raises, FileNotFoundError where the file is not there yet, goes out of `decode`.
    """

    token: str
    at: float
    name: str = ""
    beside: Callable[[str], Blob] | None = None


Filter = Callable[[Iterator[bytes]], Iterator[bytes]]
"""A change of octets that come in pieces of any size, such as the undoing of a quotation; made anew for each use."""


@quickly_made
@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the file: the octets [start, end), through `filter` where there is one.

    `file` is the name of a file beside it that this is a stretch of, opened by `Stamp.beside`, claimed and finished
    with the message's file; empty for the message's own.
    """

    start: int
    end: int
    filter: Filter | None = None
    file: str = ""


@dataclass(frozen=True, slots=True)
class Beside:
    """The octets of another file, which the message names, as lines of base64.

    `name` is a file name alone, without any folder: a codec refuses every other. `folder` is relative to the inbox,
    empty for the folder that the connector is configured with. The file is claimed, and goes where its message's file
    goes, unless `keep`.
    """

    name: str
    folder: str = ""
    keep: bool = False


Piece = bytes | Span | Beside


@quickly_made
@dataclass(frozen=True, slots=True)
class Part:
    """One message found in a file: its envelope, and its content piece by piece, as RFC 5322 octets.

    A content that travels as it stands is one Span. `key` is what the other system calls the message; a status
    report names it.
    """

    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    content: tuple[Piece, ...]
    ret: Literal["full", "hdrs"] | None = None
    envid: str | None = None
    priority: int = 0
    expires_at: float | None = None
    key: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    item: tuple[bytes | Span, ...] | None = None
    """A file of its own that holds this message alone, in a format of many a file: what is kept of it where it is
    refused, so that the others need not be kept with it."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A file, or a message in it, that cannot be taken: which rule, where, what was found, and the mend.

    `rule` is a stable id such as `pickup.no-sender`; `offset` is in octets from 0, `line` from 1, 0 where the place
    has no lines. `item` is a file of its own that holds this item alone, so that the others need not be kept with it;
    None where the whole file is bad, or is this item.
    """

    rule: str
    offset: int
    line: int
    text: str
    mend: str
    found: bytes = b""
    item: tuple[bytes | Span, ...] | None = None


@dataclass(frozen=True, slots=True)
class Enclosure:
    """A file that a message's file names: put before it, durable before it."""

    name: str
    octets: Callable[[], Iterable[bytes]]
    folder: str = ""
    """Where it is put, relative to the outbox; empty: beside the message's file. From a format's settings alone."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One message, or one report, in a format: what its file holds, and what was kept, mapped and dropped.

    `octets` is called once for each attempt to write, in a thread; it may block on a Blob, and raises OSError alone.
    `hop` is where the file is to go, where the folder's layout parts files by it (a FidoNet node), empty else.
    """

    octets: Callable[[], Iterable[bytes]]
    enclosures: tuple[Enclosure, ...] = ()
    notes: tuple[Note, ...] = ()
    hop: str = ""
    name: str = ""
    """The file's whole name, where it is not to be made of the stem and the extension; must not be another file's."""


class Bare:
    """What most codecs share: nothing stands around the messages of a file, and reports go by mail."""

    __slots__ = ()

    def opening(self, encoded: Encoded) -> bytes:
        return b""

    def closing(self) -> bytes:
        return b""

    def status(self, report: Report, key: str, stem: str) -> Encoded | None:
        return None
