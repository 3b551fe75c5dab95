"""The file formats of the file-drop connector: each is a codec of pure functions, no I/O.

A codec reads a file through a Blob, so that one of any size is never whole in memory, and yields its messages as
places in it; and it writes one message as pieces of octets. A new format is one module here and one line in
`FORMATS`. Whatever a codec is given, it yields a Part, yields a Bad, or has a bug: it raises nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, Literal, Protocol

from connectors.filedrop.formats import pickup
from connectors.filedrop.formats.values import Bad, Options, Part, Stamp
from gateway.contract import Blob, Item, Parcel

FormatName = Literal["pickup"]


class Format(Protocol):
    """What a format's module offers."""

    @property
    def EXTENSION(self) -> str:
        """The usual end of its files' names, with the dot."""
        ...

    def decode(self, file: Blob, stamp: Stamp, options: Options) -> Iterator[Part | Bad]:
        """Yield the messages of a file in order. Reads no more than `options.max_header_bytes` at once.

        Raises: OSError where the file cannot be read, and nothing else.
        """
        ...

    def encode(self, parcel: Parcel, items: tuple[Item, ...], options: Options) -> Iterator[bytes]:
        """Yield the octets of the file that carries a message to these of its recipients.

        Blocks where the content is in a Blob. Raises: OSError where that cannot be read.
        """
        ...


FORMATS: Final[Mapping[str, Format]] = MappingProxyType({"pickup": pickup})

__all__ = ["FORMATS", "Bad", "Format", "FormatName", "Options", "Part", "Stamp"]
