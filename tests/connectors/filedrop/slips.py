"""A format of the tests' own, small enough to see what the connector makes of it: slips in a row in one file.

    to=bob@acme.example number=7 text=1000 attach=a.pdf keep=b.pdf
    (1000 octets of text)

A slip with `bad` in its first line is bad alone, one with `rotten` makes the file bad.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from connectors.filedrop.formats import Bad, Beside, Encoded, FormatSettings, Options, Part, Span, Stamp
from connectors.filedrop.formats.values import Piece
from gateway.contract import Blob, Capabilities, Item, Parcel, Recipient, Report
from mappings.network import parse

HEAD = 512
FROM = parse("mhs:ann@sales")


def slip(number: int, text: bytes = b"text\r\n", **more: str) -> bytes:
    words = "".join(f" {key}={value}" for key, value in more.items())
    return f"to=bob@acme.example number={number} text={len(text)}{words}\n".encode() + text


class SlipSettings(FormatSettings):
    """None."""


@dataclass(frozen=True, slots=True)
class Slips:
    """The codec. It reads `HEAD` octets of each slip, and yields it before it reads the next."""

    name: str
    options: Options
    settings: FormatSettings
    Settings: ClassVar[type[FormatSettings]] = SlipSettings
    extension: ClassVar[str] = ".slip"
    one_a_recipient: ClassVar[bool] = False
    many_a_file: ClassVar[bool] = True
    capabilities: ClassVar[Capabilities] = Capabilities(header_networks=("mhs",), bare_newlines=True)

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        at = 0
        while at < file.size:
            line = file.read(at, HEAD).split(b"\n")[0]
            words = dict(word.partition("=")[::2] for word in line.decode().split())
            start = at + len(line) + 1
            at_next = start + int(words.get("text", "0"))
            item = (Span(at, at_next),)
            if "bad" in words:
                yield Bad("slips.bad", at, 0, "it says so", "say otherwise", line, item=item)
            elif "rotten" in words:
                yield Bad("slips.rotten", at, 0, "it says so", "say otherwise", line)
                return
            else:
                yield self._part(words, start, at_next, item)
            at = at_next

    def _part(self, words: dict[str, str], start: int, end: int, item: tuple[Span, ...]) -> Part:
        number = words["number"]
        head = f"X-Kit: {number}\r\nFrom: ann@sales\r\nMessage-ID: <{number}@slips>\r\n\r\n".encode()
        content: list[Piece] = [head, Span(start, end)]
        content += [Beside(name, words.get("folder", "")) for name in words.get("attach", "").split(",") if name]
        content += [Beside(name, keep=True) for name in words.get("keep", "").split(",") if name]
        recipient = Recipient(parse(f"smtp:{words['to']}"))
        return Part(FROM, (recipient,), tuple(content), key=f"no. {number}", item=item)

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        octets = b"".join(parcel.content.chunks())
        return Encoded(lambda: (slip(parcel.message_id, octets),))

    def opening(self, encoded: Encoded) -> bytes:
        return b"slips=\n"

    def closing(self) -> bytes:
        return b"end=\n"

    def status(self, report: Report, key: str, stem: str) -> Encoded | None:
        return None
