"""replay and foreign: the files of Exchange's Replay folder, and those of a Foreign connector's Drop folder.

One form serves both: an envelope in X-header lines, then an ordinary message.
In: the envelope is that of the lines alone; Bcc goes, a missing Message-ID or Date is added, all else stays octet for
octet. In a file of `foreign`, `IMCEA<type>-...` addresses, by which Exchange writes those beyond internet mail, are
read as the addresses they carry.
Out: X-Sender, X-Receiver for each recipient, X-CreatedBy, X-HeloDomain, X-Source and X-SourceIPAddress, in this order,
with the wishes for delivery reports as parameters. `foreign` writes addresses beyond internet mail as `IMCEA<type>-`.
Sources: Microsoft's "Pickup directory and Replay directory", "Foreign connectors"; MS-OXCMAIL for IMCEA. Not tried
against an Exchange server: the null reverse-path as `<>`, and the Drop folder's files, which are taken to have the
form that Replay reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import ClassVar, Final

from pydantic import Field, field_validator

from connectors.filedrop.formats.addresses import from_imcea, read_one, to_imcea, write_one
from connectors.filedrop.formats.envelope_lines import (
    OrcptStyle,
    closed,
    envelope_of_lines,
    injected,
    kept_lines,
    parted,
    receiver_line,
    receiver_parameters,
    sender_line,
    sender_parameters,
)
from connectors.filedrop.formats.header_envelope import (
    HeaderLine,
    Mistake,
    completed,
    header_octets,
    part_of,
    read_header,
)
from connectors.filedrop.formats.losses import envelope_losses
from connectors.filedrop.formats.values import Bad, Bare, Encoded, FormatSettings, Options, Part, Span, Stamp
from gateway.contract import Address, Blob, Capabilities, Item, Parcel
from mappings.network import registry

EXTENSION: Final = ".eml"
MAX_LINE: Final = 998
_TOLD: Final = ("NOTIFY", "ORCPT", "RET", "ENVID")


class ReplaySettings(FormatSettings):
    """What can be set for replay and foreign."""

    created_by: str = Field(
        "Gatepost",
        max_length=64,
        pattern=r"^[!-~]*$",
        description="The value of X-CreatedBy. MSExchange15 makes Exchange trust the header as its own: use it only "
        "where that is meant. Empty: no such line.",
    )
    source: str = Field(
        "Gatepost",
        max_length=64,
        pattern=r"[ -~]*",
        description="The value of X-Source; Exchange's queue viewer shows it.",
    )
    orcpt_style: OrcptStyle = Field(
        "rfc3461",
        description="How an original recipient is written: rfc3461 as ORcpt=rfc822;address, bare as ORcpt=address, "
        "which is the form of Microsoft's own example.",
    )
    one_file_a_recipient: bool = Field(
        False, description="Write a file for each recipient, rather than one with all of them."
    )
    utf8_addresses: bool = Field(
        False, description="The other side takes addresses beyond ASCII; otherwise they are brought to ASCII."
    )
    imcea_domain: str = Field(
        "", description="The domain of the IMCEA addresses that foreign writes; empty: the gateway's own name."
    )

    @field_validator("source")
    @classmethod
    def _is_clean(cls, value: str) -> str:
        if value != value.strip():
            raise ValueError("write it without blanks around it")
        return value


@dataclass(frozen=True, slots=True)
class Replay(Bare):
    """The codec of Replay and Foreign Drop folders."""

    name: str
    options: Options
    settings: ReplaySettings
    Settings: ClassVar[type[FormatSettings]] = ReplaySettings
    extension: ClassVar[str] = EXTENSION
    many_a_file: ClassVar[bool] = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            header_networks=(self.options.network,),
            utf8_addresses=self.settings.utf8_addresses,
            nul=False,
            max_line_octets=MAX_LINE,
        )

    @property
    def one_a_recipient(self) -> bool:
        return self.settings.one_file_a_recipient

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        """Yield the one message of a file, or what is wrong with it. Raises: OSError alone."""
        start = file.read(0, header_octets(self.options))
        try:
            yield self._part(start, file.size, stamp)
        except Mistake as mistake:
            yield mistake.bad(self.name, start)

    def _part(self, start: bytes, size: int, stamp: Stamp) -> Part:
        header = read_header(start, self.options)
        count = injected(header.lines)
        envelope = envelope_of_lines(header.lines[:count], self.options, self._read)
        _check(header.lines[:count])
        if not header.has_end:
            raise Mistake(
                "rfc5322.no-separator",
                len(header.head),
                "no empty line ends the header",
                "put an empty line between header and text; the file may have been cut",
            )
        kept = [line for line in header.lines[count:] if line.name != b"bcc"]
        head = completed(header, kept, stamp, self.options)
        content = (Span(0, size),) if head is None else (head, Span(len(header.head), size))
        return part_of(envelope, content)

    def _read(self, text: str) -> Address:
        address = read_one(text, self.options.network)
        return (from_imcea(address) or address) if self.name == "foreign" else address

    def _write(self, address: Address) -> str:
        is_foreign = address.network not in ("smtp", self.options.network) and registry().is_installed(address.network)
        if self.name == "foreign" and is_foreign:
            return to_imcea(address, self.settings.imcea_domain or self.options.hostname)
        return write_one(address, self.options.network)

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return the file for these recipients. Raises: OSError where the content cannot be read."""
        envelope, content, settings = parcel.envelope, parcel.content, self.settings
        body = "BODY=8bitmime" if content.traits.eight_bit else "BODY=7bit"
        lines = [sender_line(envelope, self._write, (body, *sender_parameters(envelope, content)))]
        lines += [
            receiver_line(item, self._write, receiver_parameters(item, content, settings.orcpt_style)) for item in items
        ]
        if settings.created_by:
            lines.append(f"X-CreatedBy: {settings.created_by}")
        if _is_plain(envelope.origin.helo):
            lines.append(f"X-HeloDomain: {envelope.origin.helo}")
        lines += kept_lines(content)
        if settings.source:
            lines.append(f"X-Source: {settings.source}")
        lines.append(f"X-SourceIPAddress: {_ip(envelope.origin.peer)}")
        top, end = closed(lines, content), parted(content)

        def octets() -> Iterator[bytes]:
            yield top
            yield from content.chunks()
            yield end

        notes = envelope_losses(parcel, items, "the lines on top have no parameter for it", told=_TOLD)
        return Encoded(octets, notes=notes)


def _check(lines: tuple[HeaderLine, ...]) -> None:
    """Refuse what Exchange refuses beside a broken envelope. Raises: Mistake."""
    blank = next((line for line in lines if line.name == b"x-createdby" and not line.value), None)
    if blank is not None:
        mend = "say who made the file, or leave the line out"
        raise Mistake("blank-createdby", blank.start, "X-CreatedBy is there without a value", mend)


def _is_plain(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _ip(peer: str) -> str:
    """Return the peer's address; 0.0.0.0, as Exchange has it, where none is known."""
    try:
        return str(ip_address(peer.strip("[]")))
    except ValueError:
        return "0.0.0.0"
