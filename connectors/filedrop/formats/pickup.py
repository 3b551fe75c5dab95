"""pickup: one RFC 5322 message a file, as Exchange's Pickup folder and IIS's Pickup and Drop folders have it.

In: where the file begins with `X-Sender:` and `X-Receiver:` lines, they are the envelope (with the parameters of
MAIL and RCPT behind the address, `<>` for the null reverse-path) and Received and Resent fields stay, for whoever
writes them passes a message on. Else the sender is the one address of From, or of Sender where From has several;
the recipients are those of To, Cc and Bcc; Received and Resent fields go, except our own Received, by which a loop
is seen. Either way Bcc goes, and a Message-ID and a Date are added where they are missing. Everything else,
line ends included, stays octet for octet.
Out, by the dialect: `lines`, the message with the envelope in such lines on top, or without them where
`envelope_headers` is off; `iis`, the same in lower case and without angle brackets, as IIS writes them; `exchange`,
a message whose header is its envelope, which is all that Exchange's Pickup reads.
Source: Microsoft's "Pickup directory and Replay directory"; the lines `x-sender`, `x-receiver` as IIS writes them.
Neither Exchange nor IIS was at hand to try it on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from pydantic import Field

from connectors.filedrop.formats.envelope_lines import (
    closed,
    envelope_of_lines,
    injected,
    names_envelope,
    parted,
    receiver_line,
    receiver_parameters,
    sender_line,
    sender_parameters,
    writer_in,
)
from connectors.filedrop.formats.header_envelope import (
    HeaderLine,
    Mistake,
    completed,
    envelope_of_header,
    header_octets,
    part_of,
    read_header,
)
from connectors.filedrop.formats.losses import envelope_losses
from connectors.filedrop.formats.pickup_fit import MAX_RECIPIENTS, fit
from connectors.filedrop.formats.values import Bad, Bare, Encoded, FormatSettings, Options, Part, Span, Stamp
from gateway.contract import Blob, Capabilities, Fate, Item, Note, Parcel

EXTENSION: Final = ".eml"
_PARAMETERS: Final = ("NOTIFY", "ORCPT", "RET", "ENVID")


class PickupSettings(FormatSettings):
    """What can be set for pickup alone."""

    dialect: Literal["lines", "exchange", "iis"] = Field(
        "lines",
        description="What is written. lines: the envelope in X-Sender and X-Receiver lines on top of each file. iis: "
        "the same as x-sender and x-receiver, without angle brackets. exchange: no such lines, for Exchange's Pickup "
        "folder does not read them: To, Cc and Bcc name those who get the file, and nobody else. All three are read.",
    )
    parameters: bool = Field(
        False,
        description="Write wishes for delivery reports as parameters behind the addresses of X-Sender and X-Receiver "
        "lines (dialect lines).",
    )


@dataclass(frozen=True, slots=True)
class Pickup(Bare):
    """The codec of Pickup and Drop folders."""

    name: str
    options: Options
    settings: PickupSettings
    Settings: ClassVar[type[FormatSettings]] = PickupSettings
    extension: ClassVar[str] = EXTENSION
    many_a_file: ClassVar[bool] = False

    @property
    def capabilities(self) -> Capabilities:
        networks = (self.options.network,)
        if self.settings.dialect == "exchange":
            return Capabilities(header_networks=networks, utf8_addresses=False, nul=False, max_line_octets=998)
        return Capabilities(header_networks=networks, bare_newlines=True)

    @property
    def one_a_recipient(self) -> bool:
        return self.options.envelope_headers and self.settings.dialect != "exchange"

    @property
    def max_recipients_a_file(self) -> int | None:
        return MAX_RECIPIENTS if self.settings.dialect == "exchange" else None

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        """Yield the one message of a pickup file, or what is wrong with it. Raises: OSError alone."""
        start = file.read(0, header_octets(self.options))
        try:
            yield self._part(start, file.size, stamp)
        except Mistake as mistake:
            yield mistake.bad(self.name, start)

    def _part(self, start: bytes, size: int, stamp: Stamp) -> Part:
        header = read_header(start, self.options)
        count = injected(header.lines)
        if names_envelope(header.lines[:count]):
            envelope = envelope_of_lines(header.lines[:count], self.options)
            kept = [line for line in header.lines[count:] if line.name != b"bcc"]
        else:
            envelope = envelope_of_header(header.lines, self.options)
            kept = self._kept(header.lines)
        head = completed(header, kept, stamp, self.options)
        content = (Span(0, size),) if head is None else (head, Span(len(header.head), size))
        return part_of(envelope, content)

    def _kept(self, lines: tuple[HeaderLine, ...]) -> list[HeaderLine]:
        dropped = [line for line in lines if line.name in (b"bcc", b"received") or line.name.startswith(b"resent-")]
        if not dropped:
            return list(lines)
        by_us = re.compile(rb"\bby[ \t]+" + re.escape(self.options.hostname.encode()) + rb"[ \t;(]", re.IGNORECASE)
        ours = {line.start for line in dropped if line.name == b"received" and by_us.search(line.value)}
        gone = {line.start for line in dropped} - ours
        return [line for line in lines if line.start not in gone]

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return the file for these recipients."""
        content = parcel.content
        notes = self._envelope_losses(parcel, items)
        top = b""
        if self.settings.dialect == "exchange":
            content, more = fit(parcel, items, self.options)
            notes += more
        elif self.options.envelope_headers:
            top = closed(self._lines(parcel, items), content)
        end = parted(content)

        def octets() -> Iterator[bytes]:
            if top:
                yield top
            yield from content.chunks()
            yield end

        return Encoded(octets, notes=notes)

    def _envelope_losses(self, parcel: Parcel, items: tuple[Item, ...]) -> tuple[Note, ...]:
        settings = self.settings
        if settings.dialect != "lines":
            return envelope_losses(parcel, items, f"the dialect {settings.dialect} has no place for it")
        if not self.options.envelope_headers:
            why = "envelope_headers is off"
            lost = Note(Fate.DROPPED, "reverse-path and recipients of the envelope", why)
            return (lost, *envelope_losses(parcel, items, why))
        if settings.parameters:
            return envelope_losses(parcel, items, "the lines on top have no parameter for it", told=_PARAMETERS)
        return envelope_losses(parcel, items, "addresses stand without parameters; set parameters")

    def _lines(self, parcel: Parcel, items: tuple[Item, ...]) -> list[str]:
        write = writer_in(self.options.network)
        if self.settings.dialect == "iis":
            sender = parcel.envelope.reverse_path
            # An empty value would be a line without an address; the null reverse-path keeps its brackets.
            first = "x-sender: " + ("<>" if sender is None else write(sender))
            return [first, *(f"x-receiver: {write(item.address)}" for item in items)]
        if not self.settings.parameters:
            return [sender_line(parcel.envelope, write), *(receiver_line(item, write) for item in items)]
        content = parcel.content
        lines = [sender_line(parcel.envelope, write, sender_parameters(parcel.envelope, content))]
        return lines + [receiver_line(item, write, receiver_parameters(item, content, "rfc3461")) for item in items]
