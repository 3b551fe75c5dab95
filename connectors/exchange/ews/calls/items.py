"""Items: made, read, changed, moved and deleted (MS-OXWSCORE, MS-OXWSMSG)."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

from connectors.exchange.ews.answer import Answer, stamp, when
from connectors.exchange.ews.body import Body
from connectors.exchange.ews.call import Single
from connectors.exchange.ews.calls.paths import (
    FLAGS,
    FOLLOW_UP,
    RECEIVED,
    Place,
    any_of,
    delivery,
    equals,
    field,
    item_ids,
    read_delivery,
    read_item_id,
    shape,
    tagged,
    valued,
)
from connectors.exchange.ews.xml import Element, M, T, element, truth
from connectors.exchange.organisation import Addressed, New, Party, Ref, Seen
from connectors.exchange.properties import TAKEN
from gateway.contract import Content

LISTED: Final = (
    "item:ItemClass",
    "item:DateTimeReceived",
    "item:Size",
    "item:Categories",
    "item:IsDraft",
    "message:InternetMessageId",
)
_ADDRESSED: Final = (
    "item:InReplyTo",
    "message:Sender",
    "message:ToRecipients",
    "message:CcRecipients",
    "message:BccRecipients",
    "message:From",
    "message:ReceivedBy",
)
_INLINE: Final = 256 * 1024
_MARK: Final = b"*"
_OPEN, _CLOSE = b"MimeContent>", b"</"
"""Where a large content goes: no base64 has a star, and in no other text a tag's sign stands unescaped."""
_MIME_TAG: Final = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?MimeContent(?:\s[^<>]*)?>")
_TAKEN: Final = "*"
"""In front of the number of a content that was taken out; no base64 begins with it."""
_FLAGGED: Final = "2"
_READ: Final = 1
Deletion = Literal["HardDelete", "MoveToDeletedItems"]


class CreateItem(Single):
    """Makes items in a folder from MIME; one answer an item.

    Nothing but what is named here goes along: the library's items bring Sensitivity, Importance, reminders and receipts
    with them, which would stand against what the MIME's own header says.
    """

    SERVICE_NAME = "CreateItem"

    def ask(self, folder: Place, items: Sequence[New]) -> list[Answer]:
        self._large = [each.mime for each in items if is_large(each.mime)]
        return self._answers(
            element(
                "m:CreateItem",
                element("m:SavedItemFolderId", folder.element()),
                element("m:Items", *(new_item(each) for each in items)),
                MessageDisposition="SaveOnly",
            )
        )

    def wrap(self, content: Element, api_version: str | None = None) -> bytes | Body:
        """Return the envelope, with large contents where their marks are."""
        octets: bytes = super().wrap(content, api_version)
        if not self._large:
            return octets
        first, *others = octets.split(_OPEN + _MARK + _CLOSE)
        parts: list[bytes | Content] = [first]
        for large, after in zip(self._large, others, strict=True):
            parts += [_OPEN, large, _CLOSE + after]
        return Body(parts)


def is_large(content: Content) -> bool:
    """Say whether a content is encoded only while it is sent."""
    return not content.is_inline or content.size > _INLINE


def new_item(new: New) -> Element:
    """Return an item to create. One that is no draft is told so by its flags: a created item is unsent otherwise."""
    mime = _MARK if is_large(new.mime) else b64encode(new.mime.octets())
    return element(
        "t:Message",
        element("t:MimeContent", text=mime.decode("ascii")),
        element("t:Categories", *(element("t:String", text=each) for each in new.categories))
        if new.categories
        else None,
        valued(delivery(), new.key),
        None if new.received_at is None else valued(tagged(RECEIVED), stamp(new.received_at)),
        None if new.draft else valued(tagged(FLAGS), str(_READ if new.is_read else 0)),
        valued(tagged(FOLLOW_UP), _FLAGGED) if new.flagged else None,
        element("t:IsRead", text="true" if new.is_read else "false"),
    )


class GetMime(Single):
    """Asks for the MIME of items; one answer an item.

    The MIME is decoded before the answer is parsed: in a tree and as a text it would take three times its size more.
    """

    SERVICE_NAME = "GetItem"

    def ask(self, ids: Sequence[str]) -> list[Answer]:
        self._taken: list[bytes] = []
        payload = element("m:GetItem", shape(mime=True), item_ids([(each, "") for each in ids]))
        return [replace(each, mime=self._mime(each.element)) for each in self._answers(payload)]

    def _octets(self, payload: Element) -> bytes:
        octets, self._taken = take_mime(super()._octets(payload))
        return octets

    def _mime(self, message: Element) -> bytes | None:
        for item in items_of(message):
            text = item.findtext(f"{T}MimeContent")
            if text is not None and text[:1] == _TAKEN and text[1:].isdecimal() and int(text[1:]) < len(self._taken):
                return self._taken[int(text[1:])]
        return read_mime(message)


class GetFields(Single):
    """Asks for fields of items; one answer an item."""

    SERVICE_NAME = "GetItem"

    def ask(self, ids: Sequence[str], fields: Sequence[str]) -> list[Answer]:
        return self._answers(
            element("m:GetItem", shape(*(field(each) for each in fields)), item_ids([(each, "") for each in ids]))
        )


class GetAddressed(GetFields):
    """Asks whom items are from and to; one answer an item."""

    def ask(self, ids: Sequence[str], fields: Sequence[str] = _ADDRESSED) -> list[Answer]:
        return super().ask(ids, fields)


class FindDelivered(Single):
    """Looks for items of ours by their keys, in several folders of one mailbox; one answer a folder.

    By a restriction, which reads the folder: a query string asks the search index, which lags behind.
    """

    SERVICE_NAME = "FindItem"

    def ask(self, folders: Sequence[Place], keys: Sequence[str]) -> list[Answer]:
        return self._answers(
            element(
                "m:FindItem",
                shape(delivery()),
                element("m:IndexedPageItemView", MaxEntriesReturned="200", Offset="0", BasePoint="Beginning"),
                element("m:Restriction", any_of([equals(delivery(), each) for each in keys])),
                element("m:ParentFolderIds", *(each.element() for each in folders)),
                Traversal="Shallow",
            )
        )


class FindLeftOver(Single):
    """Looks for items of ours in a folder that were made before a moment; one answer."""

    SERVICE_NAME = "FindItem"

    def ask(self, folder: Place, before: float) -> list[Answer]:
        moment = element("t:FieldURIOrConstant", element("t:Constant", Value=stamp(before)))
        return self._answers(
            element(
                "m:FindItem",
                shape(delivery()),
                element("m:IndexedPageItemView", MaxEntriesReturned="200", Offset="0", BasePoint="Beginning"),
                element(
                    "m:Restriction",
                    element(
                        "t:And",
                        element("t:Exists", delivery()),
                        element("t:IsLessThan", field("item:DateTimeCreated"), moment),
                    ),
                ),
                element("m:ParentFolderIds", folder.element()),
                Traversal="Shallow",
            )
        )


class SetCategories(Single):
    """Gives items (id, version, categories) these in place of what they have; one answer an item.

    Refused where an item changed since.
    """

    SERVICE_NAME = "UpdateItem"

    def ask(self, changes: Sequence[tuple[str, str, Sequence[str]]]) -> list[Answer]:
        return self._answers(
            element(
                "m:UpdateItem",
                element("m:ItemChanges", *(_categories(*each) for each in changes)),
                MessageDisposition="SaveOnly",
                ConflictResolution="NeverOverwrite",
                SendMeetingInvitationsOrCancellations="SendToNone",
            )
        )


def _categories(id: str, version: str, categories: Sequence[str]) -> Element:
    value = element("t:Item", element("t:Categories", *(element("t:String", text=each) for each in categories)))
    return element(
        "t:ItemChange",
        element("t:ItemId", Id=id, ChangeKey=version or None),
        element("t:Updates", element("t:SetItemField", field("item:Categories"), value)),
    )


class MoveItem(Single):
    """Moves items into a folder; one answer an item, with the id it has there."""

    SERVICE_NAME = "MoveItem"

    def ask(self, ids: Sequence[str], folder: Place) -> list[Answer]:
        return self._answers(
            element("m:MoveItem", element("m:ToFolderId", folder.element()), item_ids([(each, "") for each in ids]))
        )


class DeleteItem(Single):
    """Deletes items; one answer an item."""

    SERVICE_NAME = "DeleteItem"

    def ask(self, ids: Sequence[str], deletion: Deletion) -> list[Answer]:
        return self._answers(
            element(
                "m:DeleteItem",
                item_ids([(each, "") for each in ids]),
                DeleteType=deletion,
                SendMeetingCancellations="SendToNone",
                AffectedTaskOccurrences="AllOccurrences",
            )
        )


# -- reading


def items_of(message: Element) -> list[Element]:
    """Return the items of an answer, whatever their class."""
    holder = message.find(f"{M}Items")
    if holder is None:
        holder = message.find(f"{M}RootFolder/{T}Items")
    return [] if holder is None else list(holder.iterchildren(tag="*"))


def read_created(message: Element, mailbox: str) -> Ref | None:
    """Return the item of a CreateItem or MoveItem answer; None where the server doesn't tell it."""
    for item in items_of(message):
        found = read_item_id(item)
        if found is not None:
            return Ref(mailbox, *found)
    return None


def take_mime(octets: bytes) -> tuple[bytes, list[bytes]]:
    """Return an answer with a number in place of each MIME content, and these contents, decoded.

    What is not base64 through and through stays where it is.
    """
    taken: list[bytes] = []
    left: list[bytes] = []
    view = memoryview(octets)
    at = 0
    for tag in _MIME_TAG.finditer(octets):
        end = octets.find(b"<", tag.end())
        if end <= tag.end():
            continue
        try:
            content = binascii.a2b_base64(view[tag.end() : end], strict_mode=True)
        except binascii.Error:
            continue
        left += [octets[at : tag.end()], f"{_TAKEN}{len(taken)}".encode()]
        taken.append(content)
        at = end
    if not taken:
        return octets, taken
    return b"".join([*left, octets[at:]]), taken


def read_mime(message: Element) -> bytes | None:
    """Return an item's MIME; None where it has none, or where it is not base64."""
    for item in items_of(message):
        text = item.findtext(f"{T}MimeContent")
        if text is None:
            continue
        try:
            return b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            pass
        try:
            return b64decode("".join(text.split()), validate=True)  # in lines
        except (binascii.Error, ValueError):
            return None
    return None


def read_delivered(message: Element) -> list[tuple[str, str, str]]:
    """Return key, id and version of each item of ours."""
    found: list[tuple[str, str, str]] = []
    for item in items_of(message):
        key, ids = read_delivery(item), read_item_id(item)
        if key is not None and ids is not None:
            found.append((key, *ids))
    return found


def read_seen(item: Element, mailbox: str) -> Seen | None:
    """Return an item as a list shows it; None where it has no id."""
    ids = read_item_id(item)
    if ids is None:
        return None
    size = item.findtext(f"{T}Size") or ""
    return Seen(
        ref=Ref(mailbox, *ids),
        size=int(size) if size.isascii() and size.isdigit() and len(size) < 19 else 0,
        item_class=item.findtext(f"{T}ItemClass") or "",
        message_id=item.findtext(f"{T}InternetMessageId"),
        received_at=when(item.findtext(f"{T}DateTimeReceived")),
        marked=TAKEN in read_categories(item),
        draft=truth(item.findtext(f"{T}IsDraft")),
    )


def read_categories(item: Element) -> list[str]:
    """Return an item's categories."""
    return [each.text for each in item.iterfind(f"{T}Categories/{T}String") if each.text]


def read_addressed(item: Element) -> Addressed:
    """Return whom an item is from and to."""
    sender = _party(item.find(f"{T}From/{T}Mailbox"))
    if sender is None:
        sender = _party(item.find(f"{T}Sender/{T}Mailbox"))
    return Addressed(
        sender=sender,
        to=_parties(item, "ToRecipients"),
        cc=_parties(item, "CcRecipients"),
        bcc=_parties(item, "BccRecipients"),
        received_by=_party(item.find(f"{T}ReceivedBy/{T}Mailbox")),
        in_reply_to=item.findtext(f"{T}InReplyTo"),
    )


def _parties(item: Element, name: str) -> tuple[Party, ...]:
    found = (_party(each) for each in item.iterfind(f"{T}{name}/{T}Mailbox"))
    return tuple(each for each in found if each is not None)


def _party(mailbox: Element | None) -> Party | None:
    if mailbox is None:
        return None
    address = (mailbox.findtext(f"{T}EmailAddress") or "").strip()
    if not address:
        return None
    routing = (mailbox.findtext(f"{T}RoutingType") or "SMTP").strip().upper()
    return Party(mailbox.findtext(f"{T}Name") or "", address, routing)
