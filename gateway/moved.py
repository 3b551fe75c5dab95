"""Notice of a new address: one polite answer to whoever writes to a former one.

Promises: none to a null reverse-path, to what a program sent, or to a list (RFC 3834 §2); sent with `<>` and marked
as automatic, so that nothing answers it.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, make_msgid
from typing import Final

from gateway.automatic import is_automatic, is_machine
from gateway.message import Content
from gateway.planned import Moved
from gateway.spool.api import Stored

_ID: Final = re.compile(rb"<[!-~]{3,500}>")


def key(each: Moved) -> str:
    """Return the name under which one sender's notice about one address is remembered."""
    text = f"{each.sender.network}:{each.sender.key}\0{each.former.network}:{each.former.key}"
    return f"moved:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def notice(each: Moved, about: Stored, hostname: str, now: float) -> Content | None:
    """Return the notice, None where none may be sent."""
    if each.sender.network != "smtp" or is_automatic(about.content):
        return None
    if is_machine(each.sender.value):
        return None
    message = EmailMessage(policy=SMTP if each.sender.value.isascii() else SMTPUTF8)
    message["From"] = f"Mail gateway <postmaster@{hostname}>"
    message["To"] = each.sender.value
    message["Subject"] = f"New address of {each.former.value}"
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Message-ID"] = make_msgid(domain=hostname)
    message["Auto-Submitted"] = "auto-replied"
    message["X-Auto-Response-Suppress"] = "All"
    original = (about.content.get(b"message-id") or b"").strip()
    if _ID.fullmatch(original):
        message["In-Reply-To"] = original.decode("ascii")
    message.set_content(
        f"Your message to {each.former.value} is passed on.\n\n"
        f"The address has changed. Please write to {each.now.value} from now on, and put it into your address book.\n\n"
        "You get this notice once in a while only, however often you write.\n"
    )
    return Content(message.as_bytes())
