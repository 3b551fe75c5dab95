"""What goes in and out of a format's codec: values alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.contract import Address, Recipient


@dataclass(frozen=True, slots=True)
class Options:
    """How a codec reads and writes. `network` is the one whose addresses the folder's other side uses."""

    network: str = "smtp"
    hostname: str = "localhost"
    """Our own name: the domain of a Message-ID that we add, and the name in our trace fields."""
    envelope_headers: bool = True
    max_recipients: int = 1000
    max_header_bytes: int = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file's reader knows beside its octets; used for fields that the file lacks.

    `token` is unique to this hand-over and stays the same when the file is read again, so that a Message-ID made
    from it does too. `at` is in seconds since 1970.
    """

    token: str
    at: float


@dataclass(frozen=True, slots=True)
class Part:
    """One message found in a file: its content is `head`, then the file's octets from `start` to `end`.

    Where nothing had to be edited, `head` is empty and the content is a plain stretch of the file.
    """

    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    head: bytes
    start: int
    end: int
    ret: Literal["full", "hdrs"] | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class Bad:
    """A file, or a message in it, that cannot be taken: which rule, where, what was found, and the mend.

    `rule` is a stable id such as `pickup.no-sender`; `offset` is in octets from 0, `line` from 1.
    """

    rule: str
    offset: int
    line: int
    text: str
    mend: str
    found: bytes = b""
