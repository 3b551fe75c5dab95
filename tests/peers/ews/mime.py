"""What the peer reads in a message when it comes in: its header, once, so that no property parses it again.

Nothing of the gateway's is used, so that a mistake of its own is not made twice.
"""

from __future__ import annotations

import email
import email.utils
import re
from email.errors import MessageError
from email.header import decode_header
from email.message import Message
from typing import Final

_NAME: Final = re.compile(r"[!-9;-~]+")
_CALENDAR: Final = re.compile(rb"(?i)^content-type:[ \t]*text/calendar\b", re.MULTILINE)
_METHOD: Final = re.compile(rb"(?im)^method:[ \t]*(\w+)|text/calendar[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*?method=\"?(\w+)")
_ACTION: Final = re.compile(rb"(?im)^action:[ \t]*(\w+)")
_MEETINGS: Final = {
    b"REQUEST": "IPM.Schedule.Meeting.Request",
    b"CANCEL": "IPM.Schedule.Meeting.Canceled",
    b"REPLY": "IPM.Schedule.Meeting.Resp.Pos",
}
_REPORTS: Final = {b"failed": "REPORT.IPM.Note.NDR", b"delayed": "REPORT.IPM.Note.Delayed"}


def fields_of(octets: bytes) -> list[tuple[str, str]]:
    """Return the header's fields, unfolded, octets above 127 as Latin-1 characters; what is no field is left out."""
    text = octets.replace(b"\0", b"").decode("latin-1")
    end = min((i for i in (text.find("\n\r\n"), text.find("\n\n")) if i >= 0), default=len(text))
    found: list[tuple[str, str]] = []
    for line in re.split(r"\r?\n", text[: end + 1]):
        if line[:1] in (" ", "\t"):
            if found:
                found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}" if line.strip() else found[-1][1])
            continue
        name, colon, value = line.partition(":")
        if colon and _NAME.fullmatch(name.rstrip()):
            found.append((name.rstrip(), value.strip()))
    return found


def header_of(octets: bytes) -> dict[str, list[str]]:
    """Return the header by lower-case names, the values of each in their order."""
    found: dict[str, list[str]] = {}
    for name, value in fields_of(octets):
        found.setdefault(name.lower(), []).append(value)
    return found


def decoded(value: str) -> str:
    """Return a field's value with its encoded words, and its raw octets, made readable."""
    if "=?" not in value:
        return _readable(value.encode("latin-1", "replace"), "utf-8") if not value.isascii() else value
    try:
        parts = decode_header(value)
    except (ValueError, MessageError):
        # A word that is no base64 stays as it stands.
        return value
    return "".join(_readable(p, c or "utf-8") if isinstance(p, bytes) else p for p, c in parts)


def _readable(octets: bytes, charset: str) -> str:
    for each in (charset, "cp1252"):
        try:
            return octets.decode(each)
        except (LookupError, UnicodeDecodeError):
            continue
    return octets.decode("latin-1")


def addresses(values: list[str]) -> list[tuple[str, str]]:
    """Return the (display name, address) pairs of address fields."""
    return [(decoded(n), a) for n, a in email.utils.getaddresses([v for v in values if v]) if a]


def date_of(header: dict[str, list[str]]) -> float | None:
    """Return when the Date field says that a message was sent, in seconds since 1970."""
    for value in header.get("date", ())[:1]:
        try:
            return email.utils.parsedate_to_datetime(value).timestamp()
        except (ValueError, TypeError, OverflowError):
            return None
    return None


def item_class(octets: bytes, header: dict[str, list[str]]) -> str:
    """Return the message class that a message gets from its MIME ([MS-OXCMAIL], [MS-OXOSMIME])."""
    kind = (header.get("content-type") or [""])[0].lower()
    if kind.startswith("multipart/signed"):
        return "IPM.Note.SMIME.MultipartSigned"
    if re.match(r"application/(x-)?pkcs7-mime", kind):
        return "IPM.Note.SMIME"
    if kind.startswith("multipart/report"):
        if "disposition-notification" in kind:
            return "REPORT.IPM.Note.IPNRN"
        action = _ACTION.search(octets)
        return _REPORTS.get(action[1].lower() if action else b"", "REPORT.IPM.Note.DR")
    if kind.startswith("text/calendar") or _CALENDAR.search(octets):
        method = _METHOD.search(octets)
        return _MEETINGS.get((method[1] or method[2] or b"").upper() if method else b"", "IPM.Note")
    return "IPM.Note"


def parsed(octets: bytes) -> Message:
    """Return a message as the standard library takes it apart."""
    return email.message_from_bytes(octets)


def text_of(part: Message) -> str:
    """Return a text part's characters."""
    payload = part.get_payload(decode=True)
    charset = part.get_content_charset() or "utf-8"
    return _readable(payload, charset) if isinstance(payload, bytes) else str(payload or "")


def body_of(octets: bytes) -> tuple[str, str]:
    """Return a message's own text as (`Text` | `HTML`, characters): the last of an alternative that is understood."""
    plain = html = None
    for part in parsed(octets).walk():
        if part.is_multipart() or part.get_content_disposition() == "attachment":
            continue
        if part.get_content_type() == "text/plain" and plain is None:
            plain = text_of(part)
        elif part.get_content_type() == "text/html" and html is None:
            html = text_of(part)
    return ("HTML", html) if html is not None else ("Text", plain or "")


def attachments_of(octets: bytes) -> list[Message]:
    """Return the parts that a client shows as attachments, embedded messages among them, in their order."""
    found: list[Message] = []

    def walk(part: Message) -> None:
        if part.get_content_type() == "message/rfc822":
            found.append(part)
        elif part.is_multipart():
            for each in part.get_payload():
                if isinstance(each, Message):
                    walk(each)
        elif (
            part.get_filename()
            or part.get_content_disposition() == "attachment"
            or (part.get_content_maintype() not in ("text", "multipart"))
        ):
            found.append(part)

    top = parsed(octets)
    if top.is_multipart() or top.get_content_maintype() != "text":
        walk(top)
    return found
