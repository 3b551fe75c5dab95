"""What a message loses on its way through Graph's properties, told before it goes. Pure.

Sources: learn.microsoft.com "message resource type" (one author, a moment without a zone, a wish for a receipt without
an address), MS-OXCMAIL §2.1.3 (what Exchange writes of them).
"""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import parsedate_tz
from typing import Final

from gateway.contract import Fate, Memo, Note

AUTHORS: Final = Note(Fate.DROPPED, "further authors of From", "a message of Exchange has one author")
ZONE: Final = Note(Fate.MAPPED, "the Date's time zone", "Exchange keeps a moment, and writes it as UTC")
TRACE: Final = Note(
    Fate.DROPPED,
    "Received and other trace fields",
    "they are kept among the item's Internet headers, and the newest Received as X-Gatepost-Pass fields",
)
PRIORITY: Final = Note(Fate.MAPPED, "X-Priority", "Exchange keeps an importance alone")
RECEIPT: Final = Note(
    Fate.MAPPED, "Disposition-Notification-To", "Exchange keeps the wish for a receipt, which goes to the author"
)
EMPTY: Final = Note(Fate.DROPPED, "an empty text", "it comes back as an empty line")


def told(content: Memo, trace: tuple[bytes, ...]) -> Iterator[Note]:
    """Yield what is known before of one message. `trace` is how the names of trace fields begin."""
    names = [field.name for field in content.content.fields]
    if len(content.mailboxes(b"from", ("smtp",))) > 1:
        yield AUTHORS
    date = parsedate_tz(content.get(b"date"))
    if date is not None and date[9]:
        yield ZONE
    if any(name.startswith(trace) for name in names):
        yield TRACE
    if b"x-priority" in names:
        yield PRIORITY
    if b"disposition-notification-to" in names:
        yield RECEIPT
    if not content.text and not content.attachments:
        yield EMPTY
