"""The file formats of the file-drop connector: each is a codec of pure functions, no I/O.

A codec reads a file through a Blob, so that one of any size is never whole in memory, and yields its messages as
pieces of it; and it writes one message as pieces of octets. A new format is one module here, one line in `FORMATS`
and a table of options in the connector's Config. Whatever a codec is given, it yields a Part, yields a Bad, or has a
bug: it raises nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, Protocol, cast

from connectors.filedrop.formats.values import (
    Bad,
    Beside,
    Enclosure,
    Encoded,
    Filter,
    FormatSettings,
    Options,
    Part,
    Piece,
    Span,
    Stamp,
)
from gateway.contract import Blob, Capabilities, Item, Parcel, Report

FormatName = Literal[
    "pickup",
    "replay",
    "foreign",
    "bsmtp",
    "uucp",
    "mbox",
    "mmdf",
    "maildir",
    "mh",
    "smf70",
    "smf71",
    "ftn",
    "records",
]


class Codec(Protocol):
    """One format, with its options: immutable, and safe to use from several threads at once."""

    @property
    def name(self) -> str:
        """The format's name, which begins the rules of its Bads."""
        ...

    @property
    def extension(self) -> str:
        """The usual end of its files' names, with the dot; empty where they have none."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What its files can carry, `max_size_bytes` aside."""
        ...

    @property
    def one_a_recipient(self) -> bool:
        """A file tells the envelope of one recipient, so that nobody reads of another; else one serves them all."""
        ...

    @property
    def many_a_file(self) -> bool:
        """A file may hold several messages: between `opening` and `closing`, in any number."""
        ...

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        """Yield the messages of a file in order, without reading much more of it than the next one needs.

        Raises: OSError where the file cannot be read, and nothing else.
        """
        ...

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return what carries a message to these of its recipients. Pure but for reading the parcel's content.

        `stem` is the file's name without its extension: unique in the folder, the same for every attempt, and what
        the names of enclosures are to begin with. Raises: OSError where the content cannot be read.
        """
        ...

    def opening(self, encoded: Encoded) -> bytes:
        """Return what stands before the first message of a file that `many_a_file` allows."""
        ...

    def closing(self) -> bytes:
        """Return what stands after the last."""
        ...

    def status(self, report: Report, key: str, stem: str) -> Encoded | None:
        """Return the format's own status file about a message that came in by it; None where it has no such form."""
        ...


class CodecClass(Protocol):
    """What a format's module offers: the class of its codec."""

    Settings: ClassVar[type[FormatSettings]]

    def __call__(self, name: str, options: Options, settings: Any) -> Codec: ...


FORMATS: Final[Mapping[FormatName, str]] = MappingProxyType(
    {
        "pickup": "connectors.filedrop.formats.pickup:Pickup",
        "replay": "connectors.filedrop.formats.replay:Replay",
        "foreign": "connectors.filedrop.formats.replay:Replay",
        "bsmtp": "connectors.filedrop.formats.bsmtp:Bsmtp",
        "uucp": "connectors.filedrop.formats.uucp:Uucp",
        "mbox": "connectors.filedrop.formats.mbox:Mbox",
        "mmdf": "connectors.filedrop.formats.mmdf:Mmdf",
        "maildir": "connectors.filedrop.formats.maildir:MaildirFile",
        "mh": "connectors.filedrop.formats.mh:MhFile",
        "smf70": "connectors.filedrop.formats.smf.codec:Smf",
        "smf71": "connectors.filedrop.formats.smf.codec:Smf",
        "ftn": "connectors.filedrop.formats.ftn.codec:Ftn",
        "records": "connectors.filedrop.formats.records.codec:Records",
    }
)
"""Where each format's class is; imported only for a connector that uses it."""


def codec_class(name: FormatName) -> CodecClass:
    """Return the class of a format's codec."""
    module, _, attribute = FORMATS[name].partition(":")
    return cast(CodecClass, getattr(import_module(module), attribute))


__all__ = [
    "FORMATS",
    "Bad",
    "Beside",
    "Codec",
    "CodecClass",
    "Enclosure",
    "Encoded",
    "Filter",
    "FormatName",
    "FormatSettings",
    "Options",
    "Part",
    "Piece",
    "Span",
    "Stamp",
    "codec_class",
]
