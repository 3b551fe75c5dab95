"""A folder's delta: what has changed in it since a link that Graph gave. Pure.

The token is Graph's own nextLink or deltaLink, kept whole: what is in it is Graph's affair. A page is asked with the
same Prefer fields as its first one. An item that comes without its properties, as an update of a few of them may, is
listed by its id alone.

Sources: learn.microsoft.com "message: delta", "Use delta query to track changes in Microsoft Graph data".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from connectors.exchange.graph.answers import Malformed
from connectors.exchange.organisation import SYNC_STATE_LOST, Fault, Page, Ref, Seen
from connectors.exchange.properties import TAKEN

SELECT: Final = "id,changeKey,receivedDateTime,internetMessageId,categories,isDraft"
_LOST: Final = frozenset({"syncstatenotfound", "resyncrequired", "syncstateinvalid", "errorinvalidsyncstatedata"})
_MEETING: Final = "#microsoft.graph.eventmessage"


def lost(e: Fault) -> Fault:
    """Return a fault of a page; one that says that the token is not known any more becomes SYNC_STATE_LOST."""
    return Fault(SYNC_STATE_LOST, e.text) if e.code.lower() in _LOST or e.code == "HTTP 410" else e


def page(answer: Mapping[str, Any], mailbox: str) -> Page:
    """Read a page. Raises: Malformed."""
    more = answer.get("@odata.nextLink")
    token = more if more is not None else answer.get("@odata.deltaLink")
    if not isinstance(token, str) or not token:
        raise Malformed("a page of changes has neither nextLink nor deltaLink")
    items = answer.get("value")
    if not isinstance(items, list):
        raise Malformed("a page of changes has no list of items")
    seen: list[Seen] = []
    gone: list[str] = []
    for each in items:
        if not isinstance(each, dict) or not isinstance(each.get("id"), str):
            raise Malformed("a page of changes lists something without an id")
        if "@removed" in each:
            gone.append(each["id"])
        else:
            seen.append(item(each, mailbox))
    # Delta does not tell a new item from a changed one: both are shown as seen, and whoever asks knows what it knows.
    return Page(tuple(seen), tuple(gone), (), token, more is not None)


def item(each: Mapping[str, Any], mailbox: str) -> Seen:
    """Read an item of a list. Its size is not told there."""
    categories = each.get("categories")
    kind = str(each.get("@odata.type") or "")
    message_id = each.get("internetMessageId")
    return Seen(
        ref=Ref(mailbox, each["id"], str(each.get("changeKey") or "")),
        size=0,
        item_class="IPM.Schedule.Meeting" if kind.lower().startswith(_MEETING) else "IPM.Note",
        message_id=message_id if isinstance(message_id, str) else None,
        received_at=seconds(each.get("receivedDateTime")),
        marked=isinstance(categories, list) and TAKEN in categories,
        draft=each.get("isDraft") is True,
    )


def seconds(text: object) -> float | None:
    """Read a time such as 2026-11-29T21:47:00Z; None: no time."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text[:40])
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def time(at: float) -> str:
    """Write a time in whole seconds: a fraction makes other programs fail that read the item by EWS."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
