"""MDN: the `displayed` report as a multipart/report message, and back. Pure.

Promises: made only where the message asks for it by Disposition-Notification-To, and only of a receipt that the
destination itself gave: nothing here guesses that somebody has read a message. `parse` takes any octets.
Source: RFC 8098 (§2.1 when, §3.1 fields, §3.2.6 disposition).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final

from gateway import mime, suppression
from gateway.dsn import as_written
from gateway.ids import text as id_text
from gateway.message import Content
from gateway.octets import encode_quoted_printable, fold, no_controls
from gateway.report import Action, RecipientReport
from mappings.fields import scan, unfold

_ADDRESS: Final = re.compile(r"<([^<>\s]{3,320})>|([^<>\s,;:\"()]{3,320}@[^<>\s,;:\"()]+)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where a receipt is asked to go: one addr-spec."""

    address: str


def wanted(original: Content, reverse_path: str | None) -> Wanted | None:
    """Return where the originator wants a receipt; None where none is to be given.

    None too where the field names several addresses, or another than the reverse-path, since there the recipient
    would have to be asked (RFC 8098 §2.1).
    """
    values = list(original.get_all(b"disposition-notification-to"))
    if len(values) != 1 or reverse_path is None:
        return None
    found = [a or b for a, b in _ADDRESS.findall(values[0].decode("utf-8", "replace"))]
    if len(found) != 1 or found[0].lower() != reverse_path.lower():
        return None
    return Wanted(found[0])


def build(
    to: Wanted, recipient: RecipientReport, original: Content, hostname: str, receipt_id: int, now: float
) -> Content:
    """Return the message that says that a recipient's own system has shown the message. It goes out with a null
    reverse-path (RFC 8098 §3)."""
    address = no_controls(as_written(recipient))
    about = original.get(b"message-id")
    shown_id = about.decode("ascii") if about is not None and re.fullmatch(rb"<[!-~]{3,500}>", about) else ""
    text = f"Your message was displayed to {address}.\r\nThis says nothing about whether it was read or understood.\r\n"
    readable = text.encode()
    fields = [f"Reporting-UA: {no_controls(hostname)}; Gatepost"]
    if recipient.orcpt and ";" in recipient.orcpt:
        fields.append(f"Original-Recipient: {no_controls(recipient.orcpt)}")
    kind = "rfc822" if address.isascii() else "utf-8"
    fields.append(f"Final-Recipient: {kind}; {address}")
    if shown_id:
        fields.append(f"Original-Message-ID: {shown_id}")
    fields.append("Disposition: manual-action/MDN-sent-automatically; displayed")
    status = b"".join(fold(f.encode()) + b"\r\n" for f in fields)
    boundary = f"receipt-{id_text(receipt_id)}"
    head = [
        f"From: <{address}>",
        f"To: <{to.address}>",
        "Subject: Displayed",
        f"Date: {formatdate(now, localtime=True)}",
        f"Message-ID: <{id_text(receipt_id)}.receipt@{hostname}>",
        *([f"In-Reply-To: {shown_id}", f"References: {shown_id}"] if shown_id else []),
        "Auto-Submitted: auto-replied",
        suppression.LINE,
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=disposition-notification;\r\n boundary="{boundary}"',
    ]
    is_ascii = readable.isascii()
    text_head = "Content-Type: text/plain; charset=" + (
        "us-ascii" if is_ascii else "utf-8\r\nContent-Transfer-Encoding: quoted-printable"
    )
    status_kind = "message/disposition-notification" if status.isascii() else "message/global-disposition-notification"
    octets = b"".join(fold(line.encode()) + b"\r\n" for line in head) + b"\r\n"
    octets += f"--{boundary}\r\n{text_head}\r\n\r\n".encode()
    octets += (readable if is_ascii else encode_quoted_printable(readable)) + b"\r\n"
    octets += f"--{boundary}\r\nContent-Type: {status_kind}\r\n\r\n".encode() + status
    return Content(octets + f"\r\n--{boundary}--\r\n".encode())


@dataclass(frozen=True, slots=True)
class Parsed:
    """A receipt that came in. Addresses are (type in lower case, address)."""

    final: tuple[str, str]
    action: Action | None
    """DISPLAYED, or None for any other disposition (deleted, dispatched, processed)."""
    original: tuple[str, str] | None = None
    message_id: str = ""


def parse(octets: bytes) -> Parsed | None:
    """Read an MDN; None where there is no disposition in it."""
    for part in mime.parse(mime.InMemory(octets)).walk():
        if part.type not in ("message/disposition-notification", "message/global-disposition-notification"):
            continue
        body = octets[part.body : part.end].lstrip(b"\r\n")
        fields: dict[bytes, str] = {}
        for f in scan(body):
            fields.setdefault(f.name, unfold(body[f.value_start : f.end]).decode("utf-8", "replace"))
        final = fields.get(b"final-recipient")
        disposition = fields.get(b"disposition")
        if final is None or disposition is None:
            return None
        kind = disposition.partition(";")[2].partition("/")[0].strip().lower()
        return Parsed(
            _typed(final),
            Action.DISPLAYED if kind == "displayed" else None,
            _typed(fields[b"original-recipient"]) if b"original-recipient" in fields else None,
            fields.get(b"original-message-id", ""),
        )
    return None


def _typed(value: str) -> tuple[str, str]:
    kind, semicolon, address = value.partition(";")
    return (kind.strip().lower(), address.strip()) if semicolon else ("rfc822", kind.strip())
