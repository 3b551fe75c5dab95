"""DSN: a Report as a multipart/report message, and back. Pure.

Promises: what a person reads comes first, in their words; only the recipients of the Report are named, as the sender
wrote them, never where mail for them is sent inside; no Bcc field of the returned message is shown; every line is
bounded. `parse` takes any octets and returns None where they hold no delivery status.
Sources: RFC 3464 (fields), RFC 3462 and 6522 (multipart/report), RFC 3461 §4.1, §5.2, §6 (when, and what is
returned), RFC 6533 (UTF-8 addresses), RFC 3834 §3.1.8, §5 (Auto-Submitted).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from email.utils import formatdate
from typing import Final

from gateway import mime, suppression
from gateway.compose import addr_spec
from gateway.explain import explain
from gateway.ids import text as id_text
from gateway.message import Content, Notify
from gateway.octets import encode_quoted_printable, encoded_words, fold, no_controls
from gateway.report import Action, RecipientReport, Report
from gateway.spool.api import Stored
from mappings.address import Address
from mappings.fields import scan, unfold

MAX_RETURNED: Final = 64 * 1024
"""Octets of the original that come back whole; of a larger one, or where not asked for, its header (RFC 3461 §4.3)."""
STATUS_TYPES: Final = ("message/delivery-status", "message/global-delivery-status")
WHOLE_TYPES: Final = ("message/rfc822", "message/global")
_MAX_HEAD: Final = 32 * 1024
_MAX_RECIPIENTS: Final = 10_000

_WANTED: Final = {
    Action.DELIVERED: Notify.SUCCESS,
    Action.RELAYED: Notify.SUCCESS,
    Action.FAILED: Notify.FAILURE,
    Action.DELAYED: Notify.DELAY,
}

_SUBJECTS: Final = {
    Action.FAILED: "Not delivered",
    Action.DELAYED: "Not delivered yet",
    Action.RELAYED: "Passed on",
    Action.DELIVERED: "Delivered",
}

_OPENINGS: Final = {
    Action.FAILED: "could not be delivered to:",
    Action.DELAYED: "has not been delivered yet to the following. You need not send it again; this gateway tries on:",
    Action.RELAYED: "was passed on to a mail system that gives no further reports, for:",
    Action.DELIVERED: "was delivered to:",
}


def due(action: Action, notify: Notify, reverse_path: Address | None) -> bool:
    """Say whether a DSN is to be given.

    Never for a null reverse-path (RFC 5321 §6.1), never for NOTIFY=NEVER. Where NOTIFY was absent: for failures and
    delays (RFC 3461 §4.1). Nothing that a header says (Auto-Submitted, Precedence) is asked: RFC 3834 is about
    responders, and a failure that nobody hears of is mail lost. `displayed` is no DSN; see `gateway.mdn`.
    """
    if reverse_path is None or notify & Notify.NEVER:
        return False
    if not notify:
        return action in (Action.FAILED, Action.DELAYED)
    return bool(notify & _WANTED.get(action, 0))


def build(
    report: Report,
    about: Stored,
    *,
    hostname: str,
    now: float,
    sender: str = "",
    to: str = "",
    max_returned: int = MAX_RETURNED,
) -> Content:
    """Return the message that tells `report` of the message `about` to its reverse-path.

    `hostname` is the gateway's own name; `sender` the addr-spec in From, MAILER-DAEMON there where empty; `to` the
    addr-spec in To where it is not the reverse-path's own. Of a message that is not in memory the header alone
    comes back, which is read here.
    """
    original = about.content
    utf8 = not report.reverse_path.value.isascii()
    returned, returned_type = _returned(report, original, max_returned, utf8)
    readable = _readable(report, original, hostname).encode()
    status = _status(report, hostname, utf8)
    mark = f"{id_text(report.message_id)}.{int(now * 1000):x}{zlib.crc32(status):08x}"
    boundary = _boundary(mark, (readable, status, returned))
    subject = _SUBJECTS[_gravest(report)]
    title = original.get(b"subject")
    if title is not None and title.isascii():
        subject += ": " + no_controls(title.decode("ascii"))[:200]
    head = [
        f"From: Mail gateway <{no_controls(sender or f'MAILER-DAEMON@{hostname}')}>",
        f"To: {no_controls(to or addr_spec(report.reverse_path, hostname))}",
        f"Subject: {subject}",
        f"Date: {formatdate(now, localtime=True)}",
        f"Message-ID: <{mark}@{hostname}>",
    ]
    references = original.get(b"message-id")
    if references is not None and re.fullmatch(rb"<[!-~]{3,500}>", references):
        head += [f"In-Reply-To: {references.decode('ascii')}", f"References: {references.decode('ascii')}"]
    head += [
        "Auto-Submitted: auto-replied",  # RFC 3834 §3.1.8: so that no responder answers it
        suppression.LINE,
        "MIME-Version: 1.0",
        # RFC 2045 §6.4: an enclosing type names the widest of what is inside
        *(() if status.isascii() and returned.isascii() else ("Content-Transfer-Encoding: 8bit",)),
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
    ]
    kind = "message/global-delivery-status" if utf8 else "message/delivery-status"
    parts = [
        (_text_header(readable), readable if readable.isascii() else encode_quoted_printable(readable)),
        (f"Content-Description: Delivery report\r\nContent-Type: {kind}{_eight_bit(status)}", status),
        (f"Content-Description: Your message\r\nContent-Type: {returned_type}{_eight_bit(returned)}", returned),
    ]
    octets = b"".join(fold(line.encode()) + b"\r\n" for line in head) + b"\r\n"
    for part_head, body in parts:
        octets += f"--{boundary}\r\n{part_head}\r\n\r\n".encode() + body + b"\r\n"
    return Content(octets + f"--{boundary}--\r\n".encode())


def _gravest(report: Report) -> Action:
    found = {r.action for r in report.recipients}
    return next((a for a in _SUBJECTS if a in found), Action.FAILED)


def _text_header(readable: bytes) -> str:
    if readable.isascii():
        return "Content-Type: text/plain; charset=us-ascii"
    return "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable"


def _eight_bit(octets: bytes) -> str:
    return "" if octets.isascii() else "\r\nContent-Transfer-Encoding: 8bit"


def _boundary(mark: str, parts: tuple[bytes, ...]) -> str:
    n = 0
    while True:
        boundary = f"report-{mark}-{n}"
        if not any(boundary.encode() in part for part in parts):
            return boundary
        n += 1


# -- what a person reads


def _readable(report: Report, original: Content, hostname: str) -> str:
    lines = [f"This is the mail gateway {hostname}.", ""]
    title = original.get(b"subject")
    named = f' "{_decoded(title)[:120]}"' if title else ""
    subject = f"Your message{named} of {formatdate(report.arrived_at, localtime=True)}"
    for action, opening in _OPENINGS.items():
        recipients = [r for r in report.recipients if r.action is action]
        if not recipients:
            continue
        lines += [f"{subject} {opening}", ""]
        subject = "It"
        for r in recipients:
            lines += _told(r, hostname)
    lines += ["The details for mail programs, and your message or its header, are attached.", ""]
    return "\r\n".join(line for text in lines for line in _wrapped(text))


def _told(r: RecipientReport, hostname: str) -> Iterator[str]:
    status = r.status
    yield f"  {no_controls(as_written(r))}"
    if r.action in (Action.FAILED, Action.DELAYED):
        words = explain(status.code)
        yield f"    Why: {words.why} ({status.code})."
        if r.action is Action.FAILED:
            yield f"    What to do: {words.mend}"
        elif r.retry_until is not None:
            yield f"    It is tried until {formatdate(r.retry_until, localtime=True)}; after that you are told."
    if status.reply:
        peer = f"The mail system {no_controls(status.remote)}" if status.remote else "The other mail system"
        yield f"    {peer} said: {no_controls(status.reply)[:1000]}"
    elif status.text and r.action in (Action.FAILED, Action.DELAYED):
        yield f"    {hostname} says: {no_controls(status.text)[:1000]}"
    yield ""


def as_written(r: RecipientReport) -> str:
    """Return the recipient's address as the originator knows it: ORCPT where given, else as it came in."""
    if r.orcpt:
        kind, _, address = r.orcpt.partition(";")
        if kind.lower() in ("rfc822", "utf-8") and address:
            return address
    return r.original.value


def _wrapped(text: str, width: int = 72) -> Iterator[str]:
    """Yield a line in pieces of about `width`, the following ones indented like the first."""
    indent = " " * (len(text) - len(text.lstrip()))
    while len(text) > width:
        cut = text.rfind(" ", len(indent) + 1, width)
        if cut < 0:
            cut = text.find(" ", width)
            if cut < 0 or cut > 900:
                break
        yield text[:cut]
        text = indent + text[cut + 1 :]
    while len(text) > 900:
        yield text[:900]
        text = text[900:]
    yield text


def _decoded(value: bytes) -> str:
    """Return a header value for a person: encoded words decoded, anything unreadable replaced."""
    return no_controls(encoded_words(value))


# -- what a program reads


def _status(report: Report, hostname: str, utf8: bool) -> bytes:
    lines = []
    if report.envid:
        lines.append(f"Original-Envelope-Id: {no_controls(report.envid)}")
    lines += [
        f"Reporting-MTA: dns; {no_controls(hostname)}",
        f"Arrival-Date: {formatdate(report.arrived_at, localtime=True)}",
        "",
    ]
    for r in report.recipients:
        if r.orcpt and ";" in r.orcpt:
            # RFC 3464 §2.3.1: only where the sender gave one
            kind, _, address = r.orcpt.partition(";")
            lines.append(f"Original-Recipient: {_typed(kind, address, utf8)}")
        # RFC 3464 §2.3.2: as it was when this gateway accepted the message; where it is sent from here is ours
        kind = {"smtp": "rfc822", "x400": "x400"}.get(r.original.network, f"x-{r.original.network}")
        lines.append(f"Final-Recipient: {_typed(kind, r.original.value, utf8)}")
        lines.append(f"Action: {r.action.value}")
        lines.append(f"Status: {r.status.code}")
        if r.status.remote:
            lines.append(f"Remote-MTA: dns; {_plain(no_controls(r.status.remote), utf8)}")
        if r.status.reply:
            # RFC 3464 §2.3.6: the type smtp is for what an SMTP peer said word for word
            said = "smtp" if r.status.reply[:3].isdigit() else "x-gatepost"
            lines.append(f"Diagnostic-Code: {said}; {_plain(no_controls(r.status.reply), utf8)[:1500]}")
        if r.last_attempt_at is not None:
            lines.append(f"Last-Attempt-Date: {formatdate(r.last_attempt_at, localtime=True)}")
        if r.retry_until is not None and r.action is Action.DELAYED:
            lines.append(f"Will-Retry-Until: {formatdate(r.retry_until, localtime=True)}")
        lines.append("")
    return b"\r\n".join(fold(line.encode()) for line in lines)


def _typed(kind: str, address: str, utf8: bool) -> str:
    """Return `type; address`. RFC 6533 §3: an address beyond ASCII has the type utf-8, and outside of a global report
    its `\\x{…}` form."""
    address = no_controls(address)
    if address.isascii():
        # Decoded for us (RFC 3461 §4.2 xtext); a blank or a backslash could only come from an odd sender.
        return f"{no_controls(kind).strip().lower() or 'rfc822'}; {address}"
    return f"utf-8; {address if utf8 else _plain(address, False)}"


def _plain(text: str, utf8: bool) -> str:
    if utf8 or text.isascii():
        return text
    return "".join(c if c.isascii() else f"\\x{{{ord(c):X}}}" for c in text)


def _returned(report: Report, original: Content, most: int, utf8: bool) -> tuple[bytes, str]:
    """Return the third part and its type."""
    whole = report.ret_full and any(r.action is Action.FAILED for r in report.recipients)
    head = _shown_head(original)
    if whole and original.is_inline and original.size <= most:
        return head + b"\r\n" + b"".join(
            original.body_chunks()
        ), "message/global" if utf8 and not head.isascii() else "message/rfc822"
    return head, "message/global-headers" if utf8 and not head.isascii() else "text/rfc822-headers"


def _shown_head(original: Content) -> bytes:
    """Return the original's header, bounded, without Bcc fields: a report may be read by others than the author."""
    head = original.head
    kept: list[bytes] = []
    size = 0
    for f in scan(head):
        size += f.end - f.start
        if size > _MAX_HEAD:
            break
        if f.name not in (b"bcc", b"resent-bcc"):
            kept.append(head[f.start : f.end].rstrip(b"\r\n") + b"\r\n")
    return b"".join(kept)


# -- and back


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """One recipient's part of a report that came in; addresses are (type in lower case, address)."""

    final: tuple[str, str]
    action: Action | None
    code: str
    original: tuple[str, str] | None = None
    remote: str = ""
    diagnostic: str = ""
    retry_until: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A report that came in. `message_id` is that of the returned message, empty where it is not there."""

    recipients: tuple[RecipientStatus, ...]
    reporting_mta: str = ""
    envid: str | None = None
    arrival: str = ""
    message_id: str = ""


def parse(octets: bytes) -> Parsed | None:
    """Read a DSN; None where there is no delivery status in it."""
    whole = mime.parse(mime.InMemory(octets))
    message_id = ""
    found: Parsed | None = None
    for part in whole.walk():
        if part.type in STATUS_TYPES and found is None:
            found = read_status(octets[part.body : part.end])
        elif part.type in ("text/rfc822-headers", "message/global-headers") and found and not message_id:
            message_id = _message_id(octets[part.body : part.end])
        elif part.type in WHOLE_TYPES and found and not message_id and part.children:
            message_id = _message_id(part.children[0].head)
    return None if found is None else replace(found, message_id=message_id)


def read_status(octets: bytes) -> Parsed | None:
    """Read what a part of STATUS_TYPES holds, without its own header; None where it tells of no recipient."""
    blocks = list(_blocks(octets))
    if not blocks:
        return None
    first = blocks[0]
    recipients = tuple(
        RecipientStatus(
            final=_address(b["final-recipient"]),
            action=_action(b.get("action", "")),
            code=b.get("status", "").partition(" ")[0],
            original=_address(b["original-recipient"]) if "original-recipient" in b else None,
            remote=b.get("remote-mta", "").partition(";")[2].strip(),
            diagnostic=b.get("diagnostic-code", "").partition(";")[2].strip(),
            retry_until=b.get("will-retry-until", ""),
        )
        for b in blocks[:_MAX_RECIPIENTS]
        if "final-recipient" in b
    )
    if not recipients:
        return None
    return Parsed(
        recipients,
        reporting_mta=first.get("reporting-mta", "").partition(";")[2].strip(),
        envid=first.get("original-envelope-id"),
        arrival=first.get("arrival-date", ""),
    )


def _blocks(octets: bytes) -> Iterator[dict[str, str]]:
    for block in re.split(rb"\r?\n[ \t]*\r?\n", octets.strip(b"\r\n")):
        found: dict[str, str] = {}
        for f in scan(block.lstrip(b"\r\n")):
            value = unfold(block.lstrip(b"\r\n")[f.value_start : f.end]).decode("utf-8", "replace")
            found.setdefault(f.name.decode("latin-1"), value)
        if found:
            yield found


def _address(value: str) -> tuple[str, str]:
    kind, semicolon, address = value.partition(";")
    if not semicolon:
        return "rfc822", kind.strip()
    address = re.sub(r"\\x\{([0-9A-Fa-f]{2,6})\}", lambda m: _character(m[1]), address.strip())
    return kind.strip().lower(), address


def _character(digits: str) -> str:
    point = int(digits, 16)
    return chr(point) if point < 0x110000 and not 0xD800 <= point < 0xE000 else "\ufffd"


def _action(value: str) -> Action | None:
    word = value.strip().lower()
    return next((a for a in Action if a.value == word), None)


def _message_id(head: bytes) -> str:
    for f in scan(head):
        if f.name == b"message-id":
            return unfold(head[f.value_start : f.end]).decode("latin-1")
    return ""
