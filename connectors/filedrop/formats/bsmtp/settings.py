"""What can be set for bsmtp, and what each dialect makes of what is left unset."""

from __future__ import annotations

from typing import ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from connectors.filedrop.formats.values import FormatSettings

Dialect = Literal["classic", "exim", "rfc2442"]
LineEnd = Literal["crlf", "lf"]

LATIN_CHARSETS: Final = ("ascii", "cp037", "cp273", "cp500")
"""Charsets whose every octet is one of ISO 8859-1, so that a batch keeps its length; `ascii` leaves it as it is."""


class BsmtpSettings(FormatSettings):
    """What can be set for bsmtp alone."""

    dialect: Dialect = Field(
        default="classic",
        description="Whose batches these are. classic: any of the old ones. exim: as `exim -bS` and `use_bsmtp` have "
        "them. rfc2442: application/batch-SMTP, with CRLF and delivery status parameters.",
    )
    line_end: LineEnd | None = Field(
        default=None,
        description="How written lines end; none: crlf for classic and rfc2442, lf for exim. Read is what is there.",
    )
    esmtp_parameters: bool | None = Field(
        default=None,
        description="Write EHLO, and BODY, SIZE, RET, ENVID, NOTIFY, ORCPT where they have something to say; without, "
        "they are dropped and told in the trace. None: only for rfc2442.",
    )
    greeting: bool = Field(default=True, description="Begin a written batch with HELO (EHLO with parameters).")
    one_recipient: bool = Field(
        default=False, description="Write a transaction for each recipient, for readers that take no more than one."
    )
    on_error: Literal["abandon", "skip"] = Field(
        default="abandon",
        description="What a command that cannot be understood does to what follows it. abandon: it is not read, and "
        "kept for a look. skip: reading goes on behind the transaction.",
    )
    qualify: str = Field(
        default="",
        description="Domain of an address that has none, such as <ann>; empty: the gateway's own name for exim, and "
        "else such an address is an error.",
    )
    wrap: bool = Field(
        default=False, description="Write each batch as a MIME object of the type application/batch-SMTP."
    )
    transfer_encoding: Literal["8bit", "quoted-printable", "base64"] = Field(
        default="8bit", description="How a wrapped batch is encoded, for a carrier of 7 bits or of short lines."
    )
    required_extensions: tuple[str, ...] = Field(
        default=(),
        description="Keywords of SMTP extensions beyond 8BITMIME, SIZE and NOTARY that a batch read may demand, by "
        "agreement with whoever writes it.",
    )
    prefix: str = Field(
        default="",
        max_length=1,
        description="The sign before each line of the batch, # in RFC 976; lines without it are not part of it.",
    )
    charset: Literal["ascii", "cp037", "cp273", "cp500"] = Field(
        default="ascii", description="The charset of the files: ascii, with any 8-bit text in it, or EBCDIC."
    )
    record_octets: int = Field(
        default=0,
        ge=0,
        le=32760,
        description="Files read are of fixed records of so many octets without line ends, 80 for cards; blanks at a "
        "record's end are filling. 0: lines.",
    )
    echo: bool = Field(default=False, description="Repeat each command before its reply in a status file.")

    supported: ClassVar[frozenset[str]] = frozenset(("8BITMIME", "SIZE", "NOTARY", "DSN"))
    """What a batch may demand without an agreement (RFC 2442 §2)."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.prefix and (self.charset != "ascii" or self.record_octets):
            raise ValueError("prefix goes with lines of ASCII alone; leave out charset and record_octets")
        if self.wrap and (self.prefix or self.charset != "ascii"):
            raise ValueError("a wrapped batch has neither a prefix nor a charset of its own")
        return self

    @property
    def newline(self) -> bytes:
        end = self.line_end or ("lf" if self.dialect == "exim" else "crlf")
        return b"\n" if end == "lf" else b"\r\n"

    @property
    def parameters(self) -> bool:
        return self.dialect == "rfc2442" if self.esmtp_parameters is None else self.esmtp_parameters

    @property
    def extensions(self) -> frozenset[str]:
        return self.supported | {each.upper() for each in self.required_extensions}
