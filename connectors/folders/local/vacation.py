"""Vacation: whether somebody who is away answers a message, and with what. Pure.

Promises (RFC 3834 §2 to §5, RFC 5230 §4.5, §4.6): no answer to the null reverse-path, to a program's message or
address, to a list's; only where an address of the person stands in To, Cc or Bcc; the answer goes to the reverse-path,
under the null one, is marked as automatic, and names what it answers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, formataddr, getaddresses
from typing import Final

from gateway.automatic import is_automatic, is_machine
from gateway.contract import Address, Content, MailRules, Vacation

_ADDRESSED: Final = (b"to", b"cc", b"bcc", b"resent-to", b"resent-cc", b"resent-bcc")
_MOST_OCTETS: Final = 256 * 1024
_MOST_SUBJECT: Final = 200
_MOST_REFERENCES: Final = 2000


def why_not(
    content: Content, sender: Address | None, rules: MailRules, further: Collection[Address], now: float
) -> str | None:
    """Return why a message is not answered, None where it is to be. `further` are addresses that count as the person's,
    too: those by which this very message came."""
    vacation = rules.vacation
    if vacation is None or not vacation.holds_at(now):
        return "nobody is away"
    if sender is None or sender.network != "smtp":
        return "it has no sender to answer to"
    if is_machine(sender.value):
        return "a program has sent it"
    own = {address.key for address in (*rules.addresses, *further) if address.network == "smtp"}
    if sender.key in own:
        return "it is from the person"
    if is_automatic(content):
        return "it is a list's or a program's"
    if not _names_one(content, own):
        return "it is not addressed to the person"
    return None


def _names_one(content: Content, own: Collection[str]) -> bool:
    """Tell whether a field of recipients names one of these addresses."""
    left = _MOST_OCTETS
    for name, value in content.named:
        if name.lower() not in _ADDRESSED:
            continue
        left -= len(value)
        if left < 0:
            return False
        text = value.decode("utf-8", "replace").replace("\r", " ").replace("\n", " ")
        try:
            named = getaddresses([text])
        except RecursionError:  # colons without end, which name nobody
            continue
        for _, found in named:
            if found.strip().lower() in own or _without_tag(found.strip().lower()) in own:
                return True
    return False


def _without_tag(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"{local.partition('+')[0]}@{domain}"


def answer(
    content: Content, sender: Address, rules: MailRules, vacation: Vacation, own: Address, now: float, id: str
) -> Content:
    """Return the answer: `own` is the person's address on it, `id` its Message-ID, without brackets."""
    is_ascii = sender.value.isascii() and own.value.isascii()
    message = EmailMessage(policy=SMTP if is_ascii else SMTPUTF8)
    message["From"] = _from(rules.name, own.value)
    message["To"] = sender.value
    message["Subject"] = vacation.subject or f"Auto: {_subject(content)}"
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Message-ID"] = f"<{id}>"
    message["Auto-Submitted"] = "auto-replied"
    message["X-Auto-Response-Suppress"] = "All"
    original = _ids(content.get(b"message-id"))[:1]
    if original:
        # RFC 5322 §3.6.4: the answer refers to what the message did, and to it.
        message["In-Reply-To"] = original[0]
        before = _ids(content.get(b"references")) or _ids(content.get(b"in-reply-to"))[:1]
        message["References"] = " ".join((*before, original[0]))
    message.set_content(vacation.text.rstrip("\n") + "\n")
    return Content(message.as_bytes())


def _from(name: str, spec: str) -> str:
    if not name or not name.isprintable():
        return spec
    if spec.isascii():
        return formataddr((name, spec))
    # `formataddr` takes no address beyond ASCII.
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + f'" <{spec}>'


def _ids(value: bytes | None) -> Sequence[str]:
    """Return the ids in a field, as far as they are few and plain."""
    if value is None or len(value) > _MOST_REFERENCES or not value.isascii():
        return ()
    words = value.decode("ascii").split()
    return [word for word in words if word.startswith("<") and word.endswith(">") and word.isprintable()]


def _subject(content: Content) -> str:
    """Return a message's subject on one line."""
    raw = (content.get(b"subject") or b"")[: 4 * _MOST_SUBJECT].decode("utf-8", "replace")
    try:
        text = str(make_header(decode_header(raw)))
    except (HeaderParseError, LookupError, ValueError):
        text = raw
    return "".join(char for char in text if char.isprintable())[:_MOST_SUBJECT].strip() or "your message"
