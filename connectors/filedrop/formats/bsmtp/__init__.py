"""bsmtp: batches of SMTP commands: of BITNET and UUCP, of `exim -bS` and `use_bsmtp`, of application/batch-SMTP.

In: a batch as it stands, or as a MIME object of the type application/batch-SMTP, whose required extensions must be
ours; with CRLF or LF, in ASCII or EBCDIC, in lines or on cards, each line behind a sign or not. A content travels as
it stands in the file, but for its doubled dots and its line ends. HELO, EHLO and RSET begin anew, VRFY, EXPN, NOOP,
HELP and VERB mean nothing, TICK names the message that follows, QUIT ends. A file that is cut off gives the messages
before the cut.
Out: a transaction a message, its recipients in RCPT commands; parameters only where the reader takes them.
A status file is a response file: SMTP's replies to the commands of one message, for its messages come to their ends
one by one. Without a folder for these, senders are told by mail, as RFC 2442 §2 says.
Sources: RFC 2442; RFC 976 §4; Exim's specification, "The -bS option" and "Batched SMTP". EBCDIC, cards and the
response file are made after descriptions of BITNET mailers and not tried against one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from connectors.filedrop.formats.bsmtp.opening import batch_start
from connectors.filedrop.formats.bsmtp.reader import BatchReader
from connectors.filedrop.formats.bsmtp.settings import BsmtpSettings
from connectors.filedrop.formats.bsmtp.text import BatchText
from connectors.filedrop.formats.bsmtp.wrapping import Coded, Signed
from connectors.filedrop.formats.bsmtp.writer import (
    commands,
    greeting,
    notes,
    replies,
    transaction,
    wrapped,
)
from connectors.filedrop.formats.values import Bad, Encoded, FormatSettings, Options, Part, Stamp
from gateway.contract import Blob, Capabilities, Item, Parcel, Report

MAX_LINE_OCTETS: Final = 998
"""RFC 2442 §2: SMTP's own limits hold (RFC 5321 §4.5.3.1.6)."""


@dataclass(frozen=True, slots=True)
class Bsmtp:
    """The codec of batches."""

    name: str
    options: Options
    settings: BsmtpSettings
    Settings: ClassVar[type[FormatSettings]] = BsmtpSettings
    extension: ClassVar[str] = ".bsmtp"
    status_extension: ClassVar[str] = ".rsp"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            header_networks=(self.options.network,),
            utf8_addresses=False,
            nul=False,
            eight_bit=self.settings.charset == "ascii",
            max_line_octets=MAX_LINE_OCTETS,
        )

    @property
    def one_a_recipient(self) -> bool:
        return self.settings.one_recipient

    @property
    def many_a_file(self) -> bool:
        # RFC 2442 §2: an object should hold few messages, ideally one.
        return not self.settings.wrap

    def decode(self, file: Blob, stamp: Stamp) -> Iterator[Part | Bad]:
        """Yield the messages of a batch, each when its final dot is read. Raises: OSError alone."""
        start = batch_start(file, self.options, self.settings)
        if isinstance(start, Bad):
            yield start
            return
        text = BatchText(file, start.wrapping, start.offset, start.line)
        yield from BatchReader(text, stamp, self.options, self.settings).read()

    def encode(self, parcel: Parcel, items: tuple[Item, ...], stem: str) -> Encoded:
        """Return the transaction of a message; all of its file where it is wrapped. Raises: OSError, Refused."""
        lines = commands(parcel, items, self.options, self.settings)

        def octets() -> Iterable[bytes]:
            pieces = transaction(lines, parcel.content.chunks(), self.settings.newline)
            if not self.settings.wrap:
                return self._outer(pieces)
            return wrapped(self._whole(pieces), self.settings)

        return Encoded(octets, notes=notes(parcel, items, self.settings))

    def opening(self, encoded: Encoded) -> bytes:
        line = greeting(self.options, self.settings)
        return b"" if self.settings.wrap or not line else self._lines((line,))

    def closing(self) -> bytes:
        return b"" if self.settings.wrap else self._lines(("QUIT",))

    def status(self, report: Report, key: str, stem: str) -> Encoded | None:
        """Return a response file: the replies to the commands by which a message came in."""
        answer = replies(report, key, self.options, self.settings)
        octets = self._lines((f"250 {self.options.hostname}", *answer, "221 2.0.0 closing"))
        return Encoded(lambda: (octets,))

    def _whole(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        line = greeting(self.options, self.settings)
        if line:
            yield line.encode() + self.settings.newline
        yield from pieces
        yield b"QUIT" + self.settings.newline

    def _outer(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Give the batch's octets the form that the files have."""
        if self.settings.prefix:
            return Signed(self.settings.prefix).encode(pieces)
        return Coded(self.settings.charset).encode(pieces) if self.settings.charset != "ascii" else pieces

    def _lines(self, lines: Iterable[str]) -> bytes:
        newline = self.settings.newline
        return b"".join(self._outer(iter((b"".join(line.encode() + newline for line in lines),))))


__all__ = ["Bsmtp", "BsmtpSettings"]
