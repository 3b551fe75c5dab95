"""What an operator can set for SMF files, and the limits of each version."""

from __future__ import annotations

import codecs
from typing import Final, Literal

from pydantic import Field, field_validator

from connectors.filedrop.formats.values import FormatSettings

SMF70: Final = "smf70"
MAX_LINE: Final = 256
"""Characters of a header line of SMF-70."""
MAX_HEADER: Final = 16 * 1024
MAX_SUBJECT: Final = 240
MAX_ATTACHMENTS: Final = 256
MAX_RECIPIENTS: Final = 64


class SmfSettings(FormatSettings):
    """What can be set for smf70 and smf71."""

    charset: str = Field("cp437", description="The DOS code page of the files, such as cp437, cp850 or cp866.")
    keep_parcels: bool = Field(
        False,
        description="Leave attachment files where they are after their message was taken, for others may name them.",
    )
    recipients: Literal["to", "send-to"] = Field(
        "to",
        description="to: one file a recipient, named in To; who else the message names stands in X-To and X-Copies-to. "
        "send-to: one file for all; To and Copies-to are the message's own, and Send-To names those this file is for.",
    )
    separator: str = Field(
        "",
        max_length=40,
        description="A line that ends each message in a file of several, as %&%&% for Mailer2000; empty: one message "
        "a file.",
    )
    wrap_columns: int | None = Field(None, ge=20, le=1000, description="Break longer lines of text; none: leave them.")
    postmaster: str = Field(
        "postmaster@gatepost", description="Who notifications are from, and messages that name no sender."
    )

    @field_validator("charset")
    @classmethod
    def _is_code_page(cls, value: str) -> str:
        ascii_octets = bytes(range(0x20, 0x7F))
        try:
            same = ascii_octets.decode(value) == ascii_octets.decode("ascii")
            one_octet = len("\xa0".encode(value, "replace")) == 1
        except (LookupError, UnicodeError):
            same = one_octet = False
        if not (same and one_octet):
            raise ValueError(f"{value!r} is no code page over ASCII with one octet a character, such as cp437")
        return codecs.lookup(value).name

    @field_validator("separator")
    @classmethod
    def _is_line(cls, value: str) -> str:
        if value and (len(value) < 3 or not value.isascii() or not value.isprintable() or value != value.strip()):
            raise ValueError("a separator is three or more ASCII characters without blanks around them")
        return value
