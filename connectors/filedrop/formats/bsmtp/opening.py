"""Where in a file its batch begins, and how it lies there.

Promises: a MIME object is a batch only where its type is application/batch-SMTP and every extension it requires is
one of ours; else nothing of it is taken. Sources: RFC 2442 §3; RFC 2045 §5, §6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from connectors.filedrop.formats.bsmtp.settings import BsmtpSettings
from connectors.filedrop.formats.bsmtp.wrapping import Base64, Cards, Coded, QuotedPrintable, Signed, Wrapping
from connectors.filedrop.formats.values import Bad, Options
from gateway.contract import Blob, Content

_FIELD: Final = re.compile(rb"[!-9;-~]+:")
_EXTENSIONS: Final = re.compile(r';\s*required-extensions\s*=\s*(?:"([^"]*)"|([^;\s"]*))', re.IGNORECASE)
_AS_IT_IS: Final = frozenset(("", "7bit", "8bit", "binary"))
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class BatchStart:
    """The place of the batch's first octet in the file, its line, and the wrapping from there on; None for none."""

    wrapping: Wrapping | None = None
    offset: int = 0
    line: int = 1


def batch_start(file: Blob, options: Options, settings: BsmtpSettings) -> BatchStart | Bad:
    """Find the batch in a file. Raises: OSError."""
    if settings.prefix:
        return BatchStart(Signed(settings.prefix))
    if settings.record_octets:
        return BatchStart(Cards(settings.record_octets, settings.charset))
    if settings.charset != "ascii":
        return BatchStart(Coded(settings.charset))
    if not _FIELD.match(file.read(0, min(file.size, _SHOWN))):
        return BatchStart()
    return _in_object(file.read(0, min(file.size, options.max_header_bytes + 4)), settings)


def _in_object(start: bytes, settings: BsmtpSettings) -> BatchStart | Bad:
    content = Content(start)
    kind = _text(content, b"content-type")
    if kind.partition(";")[0].strip().lower() != "application/batch-smtp":
        text = "501 5.5.2 this is neither a batch nor a MIME object of the type application/batch-SMTP"
        mend = "begin with HELO, EHLO or MAIL FROM:<…>, or with Content-Type: application/batch-SMTP"
        return _bad("not-a-batch", text, mend, kind)
    found = _EXTENSIONS.search(kind)
    named = (found[1] or found[2] or "") if found is not None else ""
    missing = sorted({each.strip().upper() for each in named.split(",") if each.strip()} - settings.extensions)
    if missing:
        text = f"504 5.5.4 the batch requires the extensions {', '.join(missing)}"[:_SHOWN]
        return _bad("required-extension", text, "write it without them, or agree on them in required_extensions", kind)
    encoding = _text(content, b"content-transfer-encoding").strip().lower()
    rest = start[len(content.head) :]
    offset = len(content.head) + (2 if rest.startswith(b"\r\n") else 1)
    match encoding:
        case "base64":
            return BatchStart(Base64(), offset)
        case "quoted-printable":
            return BatchStart(QuotedPrintable(), offset)
        case _ if encoding in _AS_IT_IS:
            return BatchStart(None, offset, start.count(b"\n", 0, offset) + 1)
        case _:
            text = "504 5.5.4 the object's transfer encoding is not known"
            return _bad("transfer-encoding", text, "use 8bit, quoted-printable or base64", encoding)


def _text(content: Content, name: bytes) -> str:
    return (content.get(name) or b"").decode("utf-8", "replace")


def _bad(rule: str, text: str, mend: str, found: str) -> Bad:
    return Bad(f"bsmtp.{rule}", 0, 1, text, mend, found.encode()[:_SHOWN])
