"""Items: [MS-OXWSCORE], FindItem of [MS-OXWSSRCH], and what is made of MIME ([MS-OXWSMSG])."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, Final

from lxml import etree

from tests.peers.ews import compose, ids, outbox, restrictions, shapes
from tests.peers.ews.call import Call, Payload, no_items
from tests.peers.ews.paging import natural_order, ordered, page, root_folder
from tests.peers.ews.properties import KEYWORDS, View, key_of, seconds_of
from tests.peers.ews.soap import Element, ItemError, M, SoapFault, T, element, name, truth, under
from tests.peers.ews.store import Folder, Full, Item, NewItem

MAX_BYTES: Final = 64 * 1024 * 1024
"""The most octets of one message: the default of EWS's maxAllowedContentLength, less base64's third, is near this."""
_CLASSES: Final = {tag: prefix for prefix, (tag, _) in shapes.KINDS.items()}


def find_item(call: Call) -> Element:
    restriction = call.find("m:Restriction")
    if call.find("m:QueryString") is not None:
        raise SoapFault("ErrorInvalidOperation", "queries are not served")

    def found(parent: Element) -> Payload:
        folder = call.folder(parent)
        if restriction is None and (order := natural_order(call)) is not None:
            # Only the page is read: a client that pages through a large folder would else read all of it each time.
            ids_found = call.store.ids_in(folder.id, order)
            some_ids, last = page(call, ids_found, "IndexedPageItemView", "FractionalPageItemView")
            return _found(call, [View(call.store, each) for each in call.store.items(some_ids)], last, len(ids_found))
        indexed = restrictions.equals(restriction[0]) if restriction is not None else None
        if indexed is not None and indexed[0] != KEYWORDS:
            numbers = call.store.having(folder.id, *indexed)
        else:
            numbers = call.store.ids_in(folder.id)
        views = [View(call.store, each) for each in call.store.items(numbers)]
        if restriction is not None and indexed is None:
            views = [each for each in views if restrictions.holds(restriction[0], each.value)]
        views = ordered(call, views, View.value, lambda v: (v.item.received_at, v.item.uid))
        some, last = page(call, views, "IndexedPageItemView", "FractionalPageItemView")
        return _found(call, some, last, len(views))

    return call.answer(call.need("m:ParentFolderIds"), found)


def _found(call: Call, some: Sequence[View], last: int, total: int) -> Payload:
    shape = shapes.asked(call.find("m:ItemShape"))
    made = under(element(f"{T}Items"), [shapes.item(each, shape, whole=False) for each in some])
    return (under(root_folder(total, last, total), [made]),)


def get_item(call: Call) -> Element:
    shape = shapes.asked(call.find("m:ItemShape"))
    return call.answer(
        call.need("m:ItemIds"),
        lambda each: _one(shapes.item(View(call.store, call.item(each)), shape, whole=True)),
        no_items,
    )


def create_item(call: Call) -> Element:
    disposition = call.body.get("MessageDisposition")
    folder_id = call.find("m:SavedItemFolderId")

    def made(new: Element) -> Payload:
        if name(new) == "Message" and disposition is None:
            raise ItemError("ErrorMessageDispositionRequired", "Message disposition is required for email messages.")
        item = new_item(call, new, saved=disposition in (None, "SaveOnly"))
        if len(item.octets) > MAX_BYTES:
            raise ItemError("ErrorMessageSizeExceeded", "The message exceeds the maximum supported size.")
        target: Folder | None = None
        if disposition != "SendOnly":
            target = call.folder(folder_id[0]) if folder_id is not None else _usual(call, name(new), disposition)
        if disposition in ("SendOnly", "SendAndSaveCopy"):
            item.is_draft, item.is_read = False, True
            outbox.check(call, item)
        number = _stored(call, target, item) if target is not None else None
        if disposition in ("SendOnly", "SendAndSaveCopy"):
            outbox.send(call, item)
            # What is sent is not answered with an id, as the copy is made later.
            return no_items()
        return _one(shapes.bare_item(call.store, number or 0))

    return call.answer(call.need("m:Items"), made, no_items)


def update_item(call: Call) -> Element:
    disposition = call.body.get("MessageDisposition")
    conflicts = call.body.get("ConflictResolution")

    def changed(change: Element) -> Payload:
        item = call.item(change[0])
        if disposition is None and shapes.kind_of(item.class_)[0] == "Message":
            raise ItemError("ErrorMessageDispositionRequired", "Message disposition is required for email messages.")
        _check_version(
            item, change[0], required=conflicts != "AlwaysOverwrite", stale_is_error=conflicts == "NeverOverwrite"
        )
        _update(call, item, change[1])
        if disposition in ("SendOnly", "SendAndSaveCopy"):
            raise ItemError("ErrorInvalidOperation", "sending by UpdateItem is not served")
        conflict = under(element(f"{M}ConflictResults"), [element(f"{T}Count", "0")])
        return (*_one(shapes.bare_item(call.store, item.id)), conflict)

    return call.answer(call.need("m:ItemChanges"), changed, no_items)


def delete_item(call: Call) -> Element:
    how = call.body.get("DeleteType")
    roles = {"SoftDelete": "recoverableitemsdeletions", "MoveToDeletedItems": "deleteditems"}

    def deleted(item_id: Element) -> Payload:
        item = call.item(item_id)
        target = call.store.well_known(item.mailbox, roles.get(how or "", ""))
        if target is None or target.id == item.folder:
            call.store.remove(item.id)
        else:
            call.store.copy(item.id, target.id, move=True)
        return ()

    return call.answer(call.need("m:ItemIds"), deleted)


def move_item(call: Call) -> Element:
    return _carry(call, move=True)


def copy_item(call: Call) -> Element:
    return _carry(call, move=False)


def _carry(call: Call, move: bool) -> Element:
    target_id = call.need("m:ToFolderId")[0]

    def carried(item_id: Element) -> Payload:
        item, target = call.item(item_id), call.folder(target_id)
        try:
            number = call.store.copy(item.id, target.id, move=move)
        except Full:
            raise ItemError("ErrorQuotaExceeded", "The mailbox has exceeded its quota.") from None
        wants_id = call.find("m:ReturnNewItemIds")
        if target.mailbox != item.mailbox or (wants_id is not None and not truth(wants_id.text)):
            # A new id is told only within one mailbox ([MS-OXWSCORE]).
            return no_items()
        return _one(shapes.bare_item(call.store, number))

    return call.answer(call.need("m:ItemIds"), carried, no_items)


def send_item(call: Call) -> Element:
    keep = truth(call.body.get("SaveItemToFolder"))
    folder_id = call.find("m:SavedItemFolderId")

    def sent(item_id: Element) -> Payload:
        item = call.item(item_id)
        _check_version(item, item_id, required=True, stale_is_error=True)
        new = NewItem(call.store.mime(item.id), item.class_, bcc=item.bcc, properties=call.store.properties(item.id))
        outbox.check(call, new)
        if keep:
            target = call.folder(folder_id[0]) if folder_id is not None else _usual(call, "Message", "SendAndSaveCopy")
            call.store.alter(item.id, columns={"is_draft": 0, "is_read": 1})
            call.store.copy(item.id, target.id, move=True)
        else:
            call.store.remove(item.id)
        outbox.send(call, new)
        return ()

    return call.answer(call.need("m:ItemIds"), sent)


def new_item(call: Call, new: Element, *, saved: bool) -> NewItem:
    """Return what a Message, or an item of another kind, is to be made of. Raises: ItemError."""
    encoded = new.findtext(f"{T}MimeContent")
    if encoded is None:
        octets, hidden = compose.message(call, new), compose.hidden(new)
    else:
        try:
            octets, hidden = base64.b64decode("".join(encoded.split()), validate=True), ()
        except binascii.Error:
            raise ItemError("ErrorMimeContentInvalidBase64String", "MIME content is not valid base64.") from None
        if not octets.strip():
            raise ItemError("ErrorMimeContentInvalid", "The MIME content is invalid.")
    extended = dict(extended_of(each) for each in new.iterfind(f"{T}ExtendedProperty"))
    flags, received = extended.pop("0xe07", None), extended.pop("0xe06", None)
    is_read = new.findtext(f"{T}IsRead")
    keywords = extended.pop(KEYWORDS, None)
    categories = [each.text or "" for each in new.iterfind(f"{T}Categories/{T}String")]
    status = new.findtext(f"{T}Flag/{T}FlagStatus")
    if status is not None:
        extended["0x1090"] = ("Integer", {"Complete": "1", "Flagged": "2"}.get(status, "0"))
    is_draft = saved if flags is None else bool(int(flags[1]) & 8)
    return NewItem(
        octets,
        new.findtext(f"{T}ItemClass") or _CLASSES.get(name(new)),
        _time(received[1]) if received else None,
        truth(is_read) if is_read is not None else is_draft if flags is None else bool(int(flags[1]) & 1),
        is_draft,
        categories or (keywords[1] if keywords else ()),
        hidden,
        extended,
        _native(new) if name(new) != "Message" else None,
    )


def extended_of(node: Element) -> tuple[str, tuple[str, Any]]:
    """Return an ExtendedProperty's key and (type, value). Raises: ItemError."""
    path, value = node[0], node[1]
    type_ = path.get("PropertyType", "")
    if not path.get("PropertyTag") and not (path.get("PropertyName") or path.get("PropertyId")):
        raise ItemError("ErrorInvalidExtendedProperty", "The extended property has no name.")
    held = [each.text or "" for each in value] if name(value) == "Values" else value.text or ""
    if type_.endswith("Array") != isinstance(held, list):
        raise ItemError("ErrorInvalidExtendedPropertyValue", "The value does not fit the type.")
    if type_ == "Integer" and isinstance(held, str):
        try:
            held = str(int(held))
        except ValueError:
            raise ItemError("ErrorInvalidExtendedPropertyValue", "not an Integer") from None
    return key_of(path), (type_, held)


def _time(text: str) -> float:
    try:
        return seconds_of(text)
    except ValueError:
        raise ItemError("ErrorInvalidExtendedPropertyValue", "not a SystemTime") from None


def _native(new: Element) -> bytes:
    top = element(f"{T}Fields")
    for each in new:
        if name(each) not in ("MimeContent", "ExtendedProperty", "Categories", "ItemClass", "Attachments"):
            top.append(etree.fromstring(etree.tostring(each)))
    return etree.tostring(top)


def _usual(call: Call, kind: str, disposition: str | None) -> Folder:
    role = "sentitems" if disposition == "SendAndSaveCopy" else "drafts"
    role = {"CalendarItem": "calendar", "Contact": "contacts", "Task": "tasks"}.get(kind, role)
    found = call.store.well_known(call.check(call.mailbox), role)
    if found is None:
        raise ItemError("ErrorFolderNotFound", role)
    return found


def _stored(call: Call, target: Folder, item: NewItem) -> int:
    try:
        return call.store.add(target.mailbox, target.id, item)
    except Full:
        raise ItemError("ErrorQuotaExceeded", "The mailbox has exceeded its quota.") from None


def _check_version(item: Item, item_id: Element, *, required: bool, stale_is_error: bool) -> None:
    key = item_id.get("ChangeKey")
    if not key:
        if required:
            raise ItemError("ErrorChangeKeyRequired", "A change key is required for this operation.")
        return
    if ids.version_of(key) != item.version and stale_is_error:
        raise ItemError("ErrorIrresolvableConflict", "The send or update operation could not be performed: stale.")


def _update(call: Call, item: Item, updates: Element) -> None:
    is_read: bool | None = None
    categories: list[str] | None = None
    properties: dict[str, tuple[str, Any] | None] = {}
    columns: dict[str, object] = {}
    octets: bytes | None = None
    for update in updates:
        key = key_of(update[0])
        new = update[1] if len(update) > 1 else None
        value = new[0] if new is not None and len(new) else None
        if key == "message:IsRead":
            is_read = truth(value.text if value is not None else None)
        elif key == "item:Categories":
            said = [each.text or "" for each in value] if value is not None else []
            categories = said if name(update) != "AppendToItemField" else [*item.categories, *said]
        elif key == KEYWORDS:
            categories = list(extended_of(value)[1][1]) if value is not None else []
        elif key == "item:Flag":
            status = value.findtext(f"{T}FlagStatus") if value is not None else ""
            properties["0x1090"] = ("Integer", {"Complete": "1", "Flagged": "2"}.get(status or "", "0"))
        elif key == "0xe06":
            columns["received_at"] = _time(extended_of(value)[1][1]) if value is not None else item.received_at
        elif key in ("0xe07", "0xe69"):
            # The flags of a stored message do not change by themselves; only the read mark does, by IsRead.
            continue
        elif key == "item:MimeContent" and value is not None:
            octets = base64.b64decode(value.text or "")
        elif key == "item:ItemClass" and value is not None:
            columns["class"] = value.text
        elif name(update[0]) == "ExtendedFieldURI":
            properties[key] = extended_of(value)[1] if value is not None else None
        else:
            octets = compose.with_field(octets or call.store.mime(item.id), key, value)
    call.store.alter(
        item.id, is_read=is_read, categories=categories, properties=properties, octets=octets, columns=columns
    )


def _one(item: Element) -> Payload:
    return (under(element(f"{M}Items"), [item]),)


HANDLERS: Final[dict[str, Callable[[Call], Element]]] = {
    "FindItem": find_item,
    "GetItem": get_item,
    "CreateItem": create_item,
    "UpdateItem": update_item,
    "DeleteItem": delete_item,
    "MoveItem": move_item,
    "CopyItem": copy_item,
    "SendItem": send_item,
}
