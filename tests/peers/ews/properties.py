"""What a property of an item or a folder is worth: by FieldURI or by its MAPI tag, id or name.

A key is `item:Subject` for a FieldURI, `0xe06` for a tag, `{property set}/name or id` for a named property. What is
worked out from the item is in the tables here; any other extended property is as it was set.
"""

from __future__ import annotations

import base64
import calendar
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from tests.peers.ews import ids, mime
from tests.peers.ews.soap import Element, name
from tests.peers.ews.store import Folder, Item, Store

SETS: Final = {
    "Meeting": "6ed8da90-450b-101b-98da-00aa003f1305",
    "Appointment": "00062002-0000-0000-c000-000000000046",
    "Common": "00062008-0000-0000-c000-000000000046",
    "PublicStrings": "00020329-0000-0000-c000-000000000046",
    "Address": "00062004-0000-0000-c000-000000000046",
    "InternetHeaders": "00020386-0000-0000-c000-000000000046",
    "CalendarAssistant": "11000e07-b51b-40d6-af21-caa85edab1d0",
    "UnifiedMessaging": "4442858e-a9e3-4e80-b900-317a210cc15b",
    "Task": "00062003-0000-0000-c000-000000000046",
    "Sharing": "00062040-0000-0000-c000-000000000046",
}
"""DistinguishedPropertySetId -> the property set it stands for ([MS-OXPROPS])."""
KEYWORDS: Final = f"{SETS['PublicStrings']}/Keywords"
_HEADERS: Final = f"{SETS['InternetHeaders']}/"


def key_of(path: Element) -> str:
    """Return a FieldURI's, IndexedFieldURI's or ExtendedFieldURI's key."""
    if name(path) == "FieldURI":
        return path.get("FieldURI", "")
    if name(path) == "IndexedFieldURI":
        return f"{path.get('FieldURI')}/{path.get('FieldIndex')}"
    tag = path.get("PropertyTag")
    if tag:
        return hex(int(tag, 0))
    of = SETS.get(path.get("DistinguishedPropertySetId", ""), "") or path.get("PropertySetId", "").lower()
    number = path.get("PropertyId")
    return f"{of}/{path.get('PropertyName') or (hex(int(number, 0)) if number else '')}"


def when(seconds: float) -> str:
    """Return a time as xs:dateTime in UTC, without fractions: DavMail reads no others."""
    at = time.gmtime(seconds)
    return f"{at.tm_year:04}-{time.strftime('%m-%dT%H:%M:%SZ', at)}"


def seconds_of(text: str) -> float:
    """Read an xs:dateTime, with or without a fraction and a zone. Raises: ValueError."""
    found = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)?", text.strip())
    if not found:
        raise ValueError(text)
    at = calendar.timegm(time.strptime(found[1], "%Y-%m-%dT%H:%M:%S"))
    zone = found[2] or "Z"
    return float(at if zone == "Z" else at - (int(zone[:3]) * 60 + int(zone[0] + zone[4:])) * 60)


class View:
    """An item and what is read of it only where it is asked for."""

    def __init__(self, store: Store, item: Item) -> None:
        self.store = store
        self.item = item
        self._extended: dict[str, tuple[str, Any]] | None = None
        self._octets: bytes | None = None

    @property
    def octets(self) -> bytes:
        if self._octets is None:
            self._octets = self.store.mime(self.item.id)
        return self._octets

    @property
    def extended(self) -> dict[str, tuple[str, Any]]:
        if self._extended is None:
            self._extended = self.store.properties(self.item.id)
        return self._extended

    def first(self, field: str) -> str | None:
        """Return a header field's first value, readable."""
        found = self.item.header.get(field)
        return mime.decoded(found[0]) if found else None

    def raw(self, field: str) -> str | None:
        """Return a header field's first value as it stands, as an id does."""
        found = self.item.header.get(field)
        return found[0] if found else None

    def people(self, *fields: str) -> list[tuple[str, str]]:
        return mime.addresses([value for field in fields for value in self.item.header.get(field, ())])

    def sender(self) -> tuple[str, str] | None:
        return next(iter(self.people("sender") or self.people("from")), None)

    def author(self) -> tuple[str, str] | None:
        return next(iter(self.people("from") or self.people("sender")), None)

    def hidden(self) -> list[tuple[str, str]]:
        return self.people("bcc") + mime.addresses(self.item.bcc)

    def value(self, key: str) -> Any:
        """Return a property's text, list of texts, or None where the item has none."""
        worked_out = _ITEM.get(key)
        if worked_out is not None:
            return worked_out(self)
        if key == KEYWORDS:
            return list(self.item.categories) or None
        if key.startswith(_HEADERS):
            return self.first(key[len(_HEADERS) :].lower())
        found = self.extended.get(key)
        return found[1] if found else None


def _shown(people: list[tuple[str, str]]) -> str | None:
    return "; ".join(shown or address for shown, address in people) or None


def _whole(people: Sequence[tuple[str, str] | None]) -> str | None:
    return "; ".join(f"{each[0]} <{each[1]}>" for each in people if each is not None) or None


def _flags(view: View) -> str:
    item = view.item
    return str(item.is_read * 1 | item.is_submitted * 4 | item.is_draft * 8 | _has_attachments(view) * 16)


def _has_attachments(view: View) -> bool:
    kind = (view.item.header.get("content-type") or [""])[0].lower()
    return kind.startswith("multipart/") and bool(mime.attachments_of(view.octets))


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _topic(view: View) -> str | None:
    subject = view.first("subject")
    return re.sub(r"(?i)^((re|fw|fwd|aw|wg)\s*:\s*)+", "", subject) if subject else None


def _importance(view: View) -> str:
    said = (view.first("importance") or view.first("x-priority") or "normal").lower()
    return "High" if said[:1] in ("h", "1", "2") else "Low" if said[:1] in ("l", "4", "5") else "Normal"


def _name(of: Callable[[View], tuple[str, str] | None], part: int) -> Callable[[View], str | None]:
    def found(view: View) -> str | None:
        one = of(view)
        return (one[part] or one[1]) if one else None

    return found


def _headers_whole(view: View) -> str:
    head = re.split(rb"\r?\n\r?\n", view.octets, maxsplit=1)[0]
    return re.sub(r"[^\t\n\r\x20-\ud7ff]", "?", head.decode("latin-1")) + "\r\n\r\n"


_ITEM: Final[dict[str, Callable[[View], Any]]] = {
    "item:ItemClass": lambda v: v.item.class_,
    "item:Subject": lambda v: v.first("subject"),
    "item:Sensitivity": lambda v: "Normal",
    "item:Importance": _importance,
    "item:DateTimeReceived": lambda v: when(v.item.received_at),
    "item:DateTimeSent": lambda v: when(v.item.sent_at),
    "item:DateTimeCreated": lambda v: when(v.item.created_at),
    "item:LastModifiedTime": lambda v: when(v.item.modified_at),
    "item:Size": lambda v: str(v.item.size),
    "item:InReplyTo": lambda v: v.raw("in-reply-to"),
    "item:IsSubmitted": lambda v: _truth(v.item.is_submitted),
    "item:IsDraft": lambda v: _truth(v.item.is_draft),
    "item:IsFromMe": lambda v: "false",
    "item:IsResend": lambda v: "false",
    "item:IsUnmodified": lambda v: _truth(v.item.version == 1),
    "item:IsAssociated": lambda v: "false",
    "item:ReminderIsSet": lambda v: "false",
    "item:DisplayCc": lambda v: _shown(v.people("cc")) or "",
    "item:DisplayTo": lambda v: _shown(v.people("to")) or "",
    "item:HasAttachments": lambda v: _truth(_has_attachments(v)),
    "item:Culture": lambda v: "en-US",
    "message:IsRead": lambda v: _truth(v.item.is_read),
    "message:InternetMessageId": lambda v: v.raw("message-id"),
    "message:References": lambda v: v.raw("references"),
    "message:ConversationTopic": _topic,
    "message:IsReadReceiptRequested": lambda v: _truth("disposition-notification-to" in v.item.header),
    "message:IsDeliveryReceiptRequested": lambda v: _truth("return-receipt-to" in v.item.header),
    "message:IsResponseRequested": lambda v: "false",
    # What has parts is searched by the text that stands for it.
    "message:From": lambda v: _whole([v.author()]),
    "message:Sender": lambda v: _whole([v.sender()]),
    "message:ToRecipients": lambda v: _whole(v.people("to")),
    "message:CcRecipients": lambda v: _whole(v.people("cc")),
    "message:BccRecipients": lambda v: _whole(v.hidden()),
    "item:Body": lambda v: mime.body_of(v.octets)[1],
    "item:Categories": lambda v: list(v.item.categories) or None,
    "0x1a": lambda v: v.item.class_,
    "0x37": lambda v: v.first("subject"),
    "0xe1d": _topic,
    "0x70": _topic,
    "0x39": lambda v: when(v.item.sent_at),
    "0x42": _name(View.author, 0),
    "0x65": _name(View.author, 1),
    "0xc1a": _name(View.sender, 0),
    "0xc1f": _name(View.sender, 1),
    "0x5d01": _name(View.sender, 1),
    "0x5d02": _name(View.author, 1),
    "0x7d": _headers_whole,
    "0xe02": lambda v: _shown(v.hidden()),
    "0xe03": lambda v: _shown(v.people("cc")),
    "0xe04": lambda v: _shown(v.people("to")),
    "0xe06": lambda v: when(v.item.received_at),
    "0xe07": _flags,
    "0xe08": lambda v: str(v.item.size),
    "0xe1b": lambda v: _truth(_has_attachments(v)),
    "0xe23": lambda v: str(v.item.uid),
    "0xe69": lambda v: _truth(v.item.is_read),
    "0xff9": lambda v: base64.b64encode(ids.entry_id("item", v.item.birth)).decode(),
    "0xfff": lambda v: base64.b64encode(ids.entry_id("item", v.item.id)).decode(),
    "0x1000": lambda v: mime.body_of(v.octets)[1],
    "0x1035": lambda v: v.raw("message-id"),
    "0x1039": lambda v: v.raw("references"),
    "0x1042": lambda v: v.raw("in-reply-to"),
    "0x3007": lambda v: when(v.item.created_at),
    "0x3008": lambda v: when(v.item.modified_at),
    "0x670e": lambda v: f"/{v.item.folder}/{v.item.birth}.EML",
}


def folder_value(store: Store, folder: Folder, key: str) -> Any:
    """Return a folder's property: its text, or None."""
    items, unread, below = store.counts(folder.id)
    worked_out: dict[str, Callable[[], Any]] = {
        "folder:DisplayName": lambda: folder.name,
        "folder:FolderClass": lambda: folder.class_ or "IPF.Note",
        "folder:TotalCount": lambda: str(items),
        "folder:UnreadCount": lambda: str(unread),
        "folder:ChildFolderCount": lambda: str(below),
        "folder:DistinguishedFolderId": lambda: folder.role or None,
        "0x3001": lambda: folder.name,
        "0x3602": lambda: str(items),
        "0x3603": lambda: str(unread),
        "0x3613": lambda: folder.class_ or None,
        "0x360a": lambda: _truth(bool(below)),
        "0x3601": lambda: "1",
        "0x10f4": lambda: "false",
        "0x6751": lambda: str((store.row("select coalesce(max(id), 0) from item") or (0,))[0] + 1),
        "0xff9": lambda: base64.b64encode(ids.entry_id("folder", folder.id)).decode(),
        "0xfff": lambda: base64.b64encode(ids.entry_id("folder", folder.id)).decode(),
        "0x3008": lambda: when(_changed(store, folder.id)),
        "0x670a": lambda: when(_changed(store, folder.id)),
    }
    found = worked_out.get(key)
    return found() if found else None


def _changed(store: Store, folder: int) -> float:
    found = store.row("select max(modified_at) from item where folder=?", folder)
    return float(found[0]) if found and found[0] else 1767225600.0
